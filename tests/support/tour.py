"""What the tour of the README needs, in small: people, a table, a spec."""

import csv
import json
import random
from pathlib import Path
from uuid import uuid4

from tests.support.command_line import CommandLine
from tests.support.stack import Stack

ROWS = 3000
POLICY = "rules:\n  - {rule: metric, name: roc_auc, at_least: 0.7}\n  - {rule: shared_rows, at_most: 100}\n"


def make_people(stack: Stack, folder: Path) -> dict[str, CommandLine]:
    """A project of its own: `boss` its admin, `ada` who trains, `grace` who approves."""
    project = f"tour-{uuid4().hex[:8]}"
    boss = CommandLine(stack, stack.admin_token, project, folder)
    boss.ok("project", "create", project, "--tier", "2")
    found = {"boss": boss}
    for name, role in (("ada", "data_scientist"), ("grace", "approver")):
        user = f"{name}-{uuid4().hex[:8]}"
        boss.ok("user", "create", user)
        boss.ok("member", "set", user, role)
        secret = boss.ok("token", "create", "tour", "--user", user)["secret"]
        found[name] = CommandLine(stack, secret, project, folder)
    return found


def write_table(path: Path, *, seed: int = 1) -> None:
    """Two numbers, a category with gaps, and a label that depends on them."""
    source = random.Random(seed)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["at", "x", "y", "colour", "late"])
        for row in range(ROWS):
            x, y, colour = source.gauss(0, 1), source.gauss(0, 1), source.choice(["red", "green", ""])
            late = x + 0.5 * y + (1 if colour == "red" else 0) + source.gauss(0, 0.5) > 0.5
            writer.writerow([f"2026-01-{1 + row * 28 // ROWS:02d}", f"{x:.4f}", f"{y:.4f}", colour, int(late)])


def write_spec(path: Path, **changes: object) -> Path:
    """A training spec as a person would write it, in JSON, which is YAML too."""
    spec: dict[str, object] = {
        "model": "late",
        "dataset": "rows",
        "split": {"kind": "time", "column": "at", "holdout_from": "2026-01-20"},
        "target": "late",
        "task": "classification",
        "exclude": ["at"],
        "trainer": {"builtin": "logistic"},
        **changes,
    }
    path.write_text(json.dumps({key: value for key, value in spec.items() if value is not None}))
    return path


def go_live(people: dict[str, CommandLine], folder: Path) -> str:
    """Version 1 of `late`, live at `lateness`; gives its release."""
    ada = people["ada"]
    write_table(folder / "rows.csv")
    ada.ok("data", "push", "rows", "rows.csv", "--time-column", "at")
    version = ada.ok("train", write_spec(folder / "spec.json"), "--wait")["version"]
    ada.ok("endpoint", "create", "lateness")
    people["grace"].ok("approve", "late", "1", "--endpoint", "lateness")
    ada.ok("promote", "late", "1", "--endpoint", "lateness", "--fallback", "0", "--reason", "first")
    return str(version["release"])
