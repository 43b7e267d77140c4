"""The command line, as a person or a CI job runs it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.stack import Stack


@dataclass(frozen=True)
class Ran:
    """What a command gave."""

    code: int
    out: str
    err: str

    @property
    def answer(self) -> Any:
        """The JSON document on standard output."""
        return json.loads(self.out)


@dataclass(frozen=True)
class CommandLine:
    """`carrara` as one person, in one project, from one folder."""

    stack: Stack
    token: str
    project: str
    folder: Path

    def run(self, *arguments: str | Path, environment: Mapping[str, str] | None = None) -> Ran:
        """Runs one command to its end; time-outs are the test's own."""
        named = {
            "CARRARA_URL": self.stack.url,
            "CARRARA_SERVING_URL": self.stack.serving_url,
            "CARRARA_TOKEN": self.token,
            "CARRARA_PROJECT": self.project,
        }
        kept = {key: value for key, value in os.environ.items() if not key.startswith("CARRARA_")}
        done = subprocess.run(
            [sys.executable, "-m", "carrara.cli.main", *map(str, arguments)],
            env={**kept, **named, **(environment or {})},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def ok(self, *arguments: str | Path) -> Any:
        """The JSON answer of a command that must succeed."""
        ran = self.run(*arguments, "--json")
        assert ran.code == 0, f"carrara {' '.join(map(str, arguments))} ended with {ran.code}:\n{ran.out}\n{ran.err}"
        return ran.answer

    def refused(self, *arguments: str | Path, code: int) -> Any:
        """The error of a command that must end with this exit code."""
        ran = self.run(*arguments, "--json")
        assert ran.code == code, f"carrara {' '.join(map(str, arguments))} ended with {ran.code}:\n{ran.out}\n{ran.err}"
        return ran.answer.get("error", ran.answer)
