"""The demo's own embedded platform: started by the command line like anybody's, fresh each time."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from examples.demo.narrator import Narrator

from carrara.kernel.errors import Unavailable
from carrara.sdk.client import Carrara
from carrara.sdk.connection import Connection
from carrara.sdk.project import ProjectClient

CLI = Path(sys.executable).parent / "carrara"


class DemoPlatform:
    """`carrara up` in a directory that the demo owns; what an earlier demo left there is removed first."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.url = self.serving_url = ""
        self.secrets: dict[str, str] = {}

    def start(self, narrator: Narrator) -> None:
        """Starts everything and waits until it is ready."""
        with narrator.step("start the whole platform"):
            if self.data_dir.exists():
                self.stop()
                shutil.rmtree(self.data_dir)
            run = subprocess.run(
                [str(CLI), "up", "--detach", "--data-dir", str(self.data_dir)], capture_output=True, text=True
            )
            if run.returncode != 0:
                raise Unavailable(f"`carrara up` ended with {run.returncode}: {(run.stderr or run.stdout).strip()}")
            client = json.loads((self.data_dir / "client.json").read_text())
            self.url, self.serving_url = client["url"], client["serving_url"]
            token_file = Path(self.data_dir / client["token_file"])
            self.secrets["admin"] = token_file.read_text().strip()
            narrator.outcome(f"PostgreSQL, Valkey, MLflow, platform, controller, worker, serving at {self.url}")

    def stop(self) -> None:
        """Stops everything; fine if nothing runs."""
        subprocess.run([str(CLI), "down", "--data-dir", str(self.data_dir)], capture_output=True, check=False)

    def as_(self, who: str) -> Carrara:
        """The platform as one of the story's people."""
        return Carrara(Connection(self.url, self.secrets[who], self.serving_url, "flights"))

    def project_as(self, who: str) -> ProjectClient:
        """The story's project as one of its people."""
        return self.as_(who).project("flights")
