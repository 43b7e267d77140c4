"""A real S3 server of the tests' own: nanio, which checks SigV4 signatures, as a child on a free port."""

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import boto3
import httpx
from botocore.config import Config
from tests.support.waiting import eventually

ACCESS_KEY = "carrara-tests"
SECRET_KEY = "a-secret-of-the-tests-only"


@dataclass
class S3Server:
    """A running nanio. `kill` and `start` again keep the objects."""

    data: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        arguments = ["serve", "--data-dir", str(self.data), "--host", "127.0.0.1", "--port", str(self.port)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nanio", *arguments, "--no-access-log", "--log-level", "error"],
            env={**os.environ, "NANIO_ACCESS_KEY": ACCESS_KEY, "NANIO_SECRET_KEY": SECRET_KEY},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually(self._answers, within_seconds=30, what="nanio answers")

    def kill(self) -> None:
        """kill -9, as a machine that goes away would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def make_bucket(self, name: str) -> None:
        client = boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
        )
        client.create_bucket(Bucket=name)
        client.close()

    def _answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None
        try:
            return httpx.get(self.url).status_code < 500
        except httpx.TransportError:
            return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
