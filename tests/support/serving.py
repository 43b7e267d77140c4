"""A real `carrara serving` for tests, and the two internal routes of the platform that it speaks to."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import psutil
from tests.support.object_store import free_port
from tests.support.releases import TestRelease
from tests.support.waiting import eventually

from carrara.contracts.routes import EndpointRoute, Fallback, InstanceReport, RouteTable, Slot, SlotMode

SECRET = "serving-secret-of-the-tests"
TOKEN = "token-of-the-tests"
LIVE_PATH = "/endpoints/flights/late/predict"


def route(
    live: TestRelease | None,
    *,
    warm: Sequence[TestRelease] = (),
    target: TestRelease | None = None,
    fallback: Fallback | None = None,
    endpoint: str = "late",
) -> EndpointRoute:
    """An endpoint of project `flights` with one live release, others warm."""
    slots = [Slot(release=live.digest, mode=SlotMode.LIVE, weight=100)] if live else []
    slots += [Slot(release=release.digest, mode=SlotMode.WARM, weight=0) for release in warm]
    return EndpointRoute(
        project="flights",
        endpoint=endpoint,
        slots=slots,
        fallback=fallback,
        rollback_target=target.digest if target else None,
    )


class FakePlatform:
    """Speaks `GET /internal/v1/routes` (a long poll) and `POST /internal/v1/instances`. Can go away and come back."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.body: dict[str, Any] | None = None
        self.reports: dict[tuple[int, str], InstanceReport] = {}
        self.left: set[str] = set()
        self.port = free_port()
        self._server: ThreadingHTTPServer | None = None
        self.is_away = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def publish(
        self,
        generation: int,
        routes: Sequence[EndpointRoute],
        releases: Sequence[TestRelease],
        tokens: Sequence[str] = (TOKEN,),
    ) -> None:
        """A new route table; who polls hears of it at once. `tokens` may predict at all endpoints."""
        described = {release.digest: release.manifest for release in releases}
        hashes = {route.project: [hashlib.sha256(token.encode()).hexdigest() for token in tokens] for route in routes}
        table = RouteTable(generation=generation, endpoints=list(routes), releases=described, token_hashes=hashes)
        self.publish_raw(table.model_dump(mode="json"))

    def publish_raw(self, body: dict[str, Any]) -> None:
        with self.changed:
            self.body = body
            self.changed.notify_all()

    def come(self) -> None:
        platform = self

        class Handler(_Handler):
            fake = platform

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.is_away = False
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def go_away(self) -> None:
        """No more answers, and the polls under way are cut."""
        if self._server is not None:
            self.is_away = True
            with self.changed:
                self.changed.notify_all()
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def newest_reports(self, processes: int) -> list[InstanceReport]:
        """The last report of each process; AssertionError while there are fewer."""
        newest = {index: report for (index, _), report in self.reports.items()}
        assert len(newest) >= processes, sorted(newest)
        return list(newest.values())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakePlatform

    def do_GET(self) -> None:
        if not self._is_serving():
            return
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        after = int(query.get("after", -1))
        deadline = time.monotonic() + float(query["wait"])
        fake = self.fake
        with fake.changed:
            while not fake.is_away and (
                fake.body is None or fake.body["generation"] <= (-1 if after is None else after)
            ):
                if not fake.changed.wait(max(0.0, deadline - time.monotonic())):
                    break
            body = fake.body
        if fake.is_away:
            self.close_connection = True
        elif body is None or body["generation"] <= after:
            self._answer(204)
        else:
            self._answer(200, json.dumps(body).encode())

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["content-length"]))
        if not self._is_serving():
            return
        if self.fake.is_away:
            self.close_connection = True
            return
        report = InstanceReport.model_validate_json(content)
        self.fake.reports[report.index, str(report.boot_id)] = report
        generation = self.fake.body["generation"] if self.fake.body is not None else 0
        self._answer(200, json.dumps({"generation": generation}).encode())

    def do_DELETE(self) -> None:
        boot_id = self.path.rpartition("/")[2]
        if self._is_serving() and not self.fake.is_away:
            self.fake.left.add(boot_id)
            self._answer(204)

    def _is_serving(self) -> bool:
        if self.headers.get("authorization") == f"Bearer {SECRET}":
            return True
        self._answer(401)
        return False

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the standard library's name
        """Silence."""


@dataclass
class Serving:
    """`carrara serving` as a process of its own, with `workers` processes below it."""

    folder: Path
    platform_url: str
    workers: int = 2
    settings: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log_path(self) -> Path:
        return self.folder / "serving.log"

    def start(self) -> None:
        environment = {
            **os.environ,
            "CARRARA_DATA_DIR": str(self.folder / "data"),
            "CARRARA_OBJECT_STORE": str(self.folder / "store"),
            "CARRARA_PLATFORM_URL": self.platform_url,
            "CARRARA_SERVING_SECRET": SECRET,
            "CARRARA_SERVING_PORT": str(self.port),
            "CARRARA_SERVING_WORKERS": str(self.workers),
            **self.settings,
        }
        code = "from carrara.serving.parent import main; from carrara.kernel.config import Settings; main(Settings())"
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        eventually(self._is_up, within_seconds=30, what="serving answers /healthz")

    def stop(self) -> None:
        """As an operator would; kills it if it does not end."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(40)
        finally:
            self.kill()

    def kill(self) -> None:
        """kill -9 of the parent alone."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def processes(self) -> list[psutil.Process]:
        """The serving processes, by index."""
        assert self.process is not None
        children = psutil.Process(self.process.pid).children()
        mine = [child for child in children if "carrara.serving.process" in child.cmdline()]
        return sorted(mine, key=lambda child: int(child.cmdline()[child.cmdline().index("--index") + 1]))

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def client(self, token: str = TOKEN) -> httpx.Client:
        return httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False
        )

    def predict(self, *instances: Mapping[str, Any], endpoint: str = "late") -> httpx.Response:
        with self.client() as client:
            return client.post(f"/endpoints/flights/{endpoint}/predict", json={"instances": list(instances)})

    def _is_up(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"serving ended with {self.process.returncode}: {self.log()[-3000:]}")
        try:
            return httpx.get(f"{self.url}/healthz", timeout=2, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False
