"""`carrara controller`: rollouts, the outbox, the audit chain, leases that ran out. Several may run; one leads."""

import logging
import signal
import threading
from collections.abc import Callable, Sequence

import psycopg
from sqlalchemy.orm import Session

import carrara.bootstrap.schema  # noqa: F401  # every table, so that foreign keys between features resolve
from carrara.audit import service as audit
from carrara.audit.sealing import HEADS_FILE, Sealer, publish_head
from carrara.bootstrap.jobs import build_jobs
from carrara.bootstrap.leadership import Leader
from carrara.bootstrap.loops import Loop, RunningLoops
from carrara.bootstrap.registry import RegistryParts, build_registry
from carrara.contracts.jobs import JobKind
from carrara.deployments.instance_store import forget_silent
from carrara.deployments.reconciler import reconcile
from carrara.deployments.route_store import ExpiryWatch
from carrara.deployments.store import ROLLOUTS_CHANNEL
from carrara.jobs.attempts import Handlers, end_dead_leases
from carrara.kernel.clock import SystemClock
from carrara.kernel.config import Settings
from carrara.kernel.errors import Unavailable
from carrara.kernel.heartbeat import beat
from carrara.kernel.telemetry import configure_logging
from carrara.persistence.database import EVERYTHING, Database
from carrara.persistence.idempotency import forget_old
from carrara.persistence.listener import Heard, Listener
from carrara.persistence.outbox import OUTBOX_CHANNEL, Message, deliver_next, release_claims
from carrara.storage.blobs import Blobs
from carrara.storage.factory import open_store

_ASK_EVERY_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 15.0
_ADOPT_EVERY_SECONDS = 15.0
_DEAD_SECONDS = 10.0
_LOOK_FOR_DEAD_EVERY_SECONDS = 5.0
_log = logging.getLogger(__name__)


class Controller:
    """Leads while it holds the lock; otherwise stands by and asks for it each second."""

    def __init__(self, leader: Leader, loops: Sequence[Loop], begin: Callable[[], None]) -> None:
        """`begin` is called each time that it has won the lead, before the loops run."""
        self._leader = leader
        self._loops = loops
        self._begin = begin
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Makes `run` return. Safe from a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Until `stop`. Losing the database ends all work at once; it begins again when the lock is won again."""
        pause = _ASK_EVERY_SECONDS
        while not self._stopping.is_set():
            beat()
            try:
                if self._leader.acquire():
                    self._lead()
                pause = _ASK_EVERY_SECONDS
            except psycopg.Error as error:
                _log.warning("cannot ask who leads: %s; again in %g s", error, pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            self._stopping.wait(pause)
        self._leader.release()

    def _lead(self) -> None:
        try:
            self._begin()
        except Unavailable as error:
            _log.warning("this controller cannot begin to lead: %s", error)
            self._leader.release()
            return
        _log.info("this controller leads")
        with RunningLoops(self._loops):
            while not self._stopping.wait(_ASK_EVERY_SECONDS / 2):
                beat()
                if not self._leader.holds():
                    break
        self._leader.release()
        _log.info("this controller no longer leads")


def main(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT, then ends within five seconds."""
    configure_logging("controller", settings.log_level)
    url = settings.required("database_url")
    database = Database(url, pool_size=4)
    loops = _loops(settings, database)
    rung_by = {"rollouts": ROLLOUTS_CHANNEL, "outbox": OUTBOX_CHANNEL}
    listeners = [Listener(url, rung_by[loop.name], _ring(loop)) for loop in loops if loop.name in rung_by]
    controller = Controller(Leader(url), loops, lambda: release_claims(database))
    for wanted in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wanted, lambda *_: controller.stop())
    for listener in listeners:
        listener.start()
    controller.run()
    database.close()


def _ring(loop: Loop) -> Heard:
    return lambda _: loop.bell.set()


def _loops(settings: Settings, database: Database) -> list[Loop]:
    sealer = Sealer(database)
    expiry = ExpiryWatch(database)
    heads = settings.data_dir / HEADS_FILE
    registry = _registry(settings, database)

    failing: Handlers = {JobKind.VALIDATE: registry.validate}  # to the other kinds a final failure means nothing more

    def end_leases() -> None:
        end_dead_leases(database, failing, dead_seconds=_DEAD_SECONDS)

    def forget() -> None:
        with database.transaction(EVERYTHING) as session:
            forget_silent(session)

    def forget_answers() -> bool:
        with database.transaction(EVERYTHING) as session:
            return forget_old(session)

    return [
        Loop("rollouts", lambda: reconcile(database), 0.5),
        Loop("outbox", lambda: deliver_next(database, registry.outbox, _audit_given_up), 1.0),
        Loop("seals", sealer.seal, 0.5),
        Loop("audit head", lambda: publish_head(database, heads), 20.0),
        Loop("silent instances", forget, 10.0),
        Loop("expired tokens", expiry.look, 2.0),
        Loop("adoption", registry.sweep, _ADOPT_EVERY_SECONDS),
        Loop("old answers", forget_answers, 600.0),
        Loop("dead leases", end_leases, _LOOK_FOR_DEAD_EVERY_SECONDS),
    ]


def _audit_given_up(session: Session, message: Message, reason: str) -> None:
    audit.record(
        session,
        "outbox.given_up",
        actor=(None, "controller"),
        subject=("outbox", message.id),
        project_id=message.project_id,
        kind=message.kind,
        reason=reason,
    )


def _registry(settings: Settings, database: Database) -> RegistryParts:
    clock = SystemClock()
    blobs = Blobs(open_store(settings.required("object_store"), s3_endpoint_url=settings.s3_endpoint_url))
    jobs = build_jobs(settings, clock)
    registry = build_registry(settings, database, blobs, jobs.service.submit, clock)
    jobs.handlers[JobKind.VALIDATE] = registry.validate
    return registry
