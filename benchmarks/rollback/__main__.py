"""`python -m benchmarks.rollback`: from the call to the last answer by the release that was left, seen by the clients.

Starts a platform of its own, trains two small models, and promotes and rolls back in turn while clients keep asking.
"""

import csv
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from examples.demo.traffic import SteadyTraffic

from carrara.contracts.registry import VersionState
from carrara.contracts.routes import Fallback
from carrara.sdk.client import Carrara
from carrara.sdk.connection import Connection
from carrara.sdk.project import ProjectClient

CARRARA = [sys.executable, "-m", "carrara.cli.main"]
ROUNDS = 15
SPEC = {
    "model": "m",
    "dataset": "rows",
    "split": {"kind": "key", "column": "id", "holdout_percent": 30},
    "target": "late",
    "task": "classification",
    "exclude": ["id"],
    "trainer": {"builtin": "logistic"},
}


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="carrara-bench-"))
    folder.chmod(0o711)
    data = folder / "data"
    try:
        subprocess.run([*CARRARA, "up", "--detach", "--data-dir", str(data)], check=True, capture_output=True)
        client = json.loads((data / "client.json").read_text())
        token = (data / client["token_file"]).read_text().strip()
        with Carrara(Connection(client["url"], token, client["serving_url"])) as carrara:
            carrara.create_project("bench", tier=4)
            project = carrara.project("bench")
            project.set_roles("admin", ["admin", "data_scientist", "approver"])
            prepare(project, folder / "rows.csv")
            measure(project)
    finally:
        subprocess.run([*CARRARA, "down", "--data-dir", str(data)], check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def prepare(project: ProjectClient, table: Path) -> None:
    """Two versions, approved (tier 4 lets their author), the first one live."""
    source = random.Random(1)
    with table.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "x", "y", "late"])
        for number in range(5000):
            x, y = source.gauss(0, 1), source.gauss(0, 1)
            rows.writerow([number, f"{x:.4f}", f"{y:.4f}", int(x + y + source.gauss(0, 0.5) > 0)])
    project.datasets.push("rows", table)
    policy = project.evaluations.put_policy({"rules": [{"rule": "metric", "name": "roc_auc", "at_least": 0.5}]})
    project.endpoints.create("e", policy=policy.digest, fallback=Fallback(kind="unavailable"))
    for strength in (1.0, 0.5):
        job = project.jobs.wait(project.training.start({**SPEC, "params": {"C": strength}}).id)
        version = project.models.wait_for_job("m", job.id)
        if version.state is not VersionState.EVALUATED:
            raise SystemExit(f"m {version.number} is {version.state}: {version.rejection}")
        project.endpoints.decide("e", "m", version.number)
    promote(project, 1)


def promote(project: ProjectClient, number: int) -> float:
    began = time.monotonic()
    started = project.endpoints.promote("e", "m", number, reason="benchmark")
    if started.rollout is None:
        raise SystemExit(f"not promoted: {started.checks}")
    ended = project.endpoints.wait_for_rollout("e", started.rollout.id)
    if ended.state != "confirmed":
        raise SystemExit(f"{ended.state}: {ended.reason}")
    return time.monotonic() - began


def measure(project: ProjectClient) -> None:
    rows = [{"x": 0.1 * n, "y": 1.0} for n in range(50)]
    promotions, calls, lasts = [], [], []
    with SteadyTraffic(project.predictions, "e", rows) as traffic:
        for _ in range(ROUNDS):
            promotions.append(promote(project, 2))
            time.sleep(0.5)
            called = time.monotonic()
            project.endpoints.roll_back("e", reason="benchmark")
            calls.append(time.monotonic() - called)
            project.endpoints.wait_until_confirmed("e")
            time.sleep(0.5)
            lasts.append(max(0.0, traffic.last_seen["m 2"] - called))
            project.endpoints.decide("e", "m", 2)  # it was withdrawn by the rollback
    print(f"{traffic.requests} requests meanwhile, {len(traffic.failures)} failed")
    for name, values in (("promotion, call to confirmed", promotions), ("rollback, call to committed", calls)):
        print(f"{name}: median {statistics.median(values) * 1000:.0f} ms, worst {max(values) * 1000:.0f} ms")
    print(
        f"rollback, call to the last answer by the release that was left:"
        f" median {statistics.median(lasts) * 1000:.0f} ms, worst {max(lasts) * 1000:.0f} ms (goal 1000)"
    )


if __name__ == "__main__":
    main()
