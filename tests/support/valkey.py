"""A real Valkey of a test's own, which it may flush, freeze, kill and start again."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import redis
from tests.support.waiting import eventually

from carrara.embedded.ports import free_port
from carrara.embedded.valkey import valkey_binary, write_configuration

_PASSWORD = "a-password-of-the-tests-only"


@dataclass
class ValkeyServer:
    """`kill` and `start` again keep the port, and the data as far as it was written."""

    folder: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://:{_PASSWORD}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self.port = self.port or free_port()
        configuration = write_configuration(self.folder, self.port, _PASSWORD)
        self.process = subprocess.Popen(
            [str(valkey_binary()), str(configuration)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        eventually(self._answers, within_seconds=20, what="Valkey answers")

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def flush(self) -> None:
        """Everything that it holds is gone."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False
