"""SQL of the leases of serving processes. Not project-owned: a process serves all projects."""

from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from carrara.contracts.routes import InstanceReport
from carrara.deployments.instances import Instance, instance_of
from carrara.deployments.store import ROLLOUTS_CHANNEL, ROUTES_CHANNEL
from carrara.deployments.tables import InstanceRow

FORGET_AFTER_SECONDS = 300.0
"""How long a process that stopped reporting still counts as missing, not as gone."""

_UPSERT = text(
    "INSERT INTO serving_instances (boot_id, instance, index, sequence, generation, report, lease_until)"
    " VALUES (:boot_id, :instance, :index, :sequence, :generation, CAST(:report AS jsonb),"
    " now() + :seconds * interval '1 second')"
    " ON CONFLICT (boot_id) DO UPDATE SET sequence = excluded.sequence, generation = excluded.generation,"
    " report = excluded.report, reported_at = now(), lease_until = excluded.lease_until"
    " WHERE serving_instances.left_at IS NULL AND serving_instances.sequence < excluded.sequence"
)
_LEAVE = text(
    "INSERT INTO serving_instances (boot_id, instance, index, sequence, generation, report, lease_until, left_at)"
    " VALUES (:boot_id, '', 0, 0, -1, '{}', now(), now())"
    " ON CONFLICT (boot_id) DO UPDATE SET lease_until = excluded.lease_until, left_at = excluded.left_at"
    " WHERE serving_instances.left_at IS NULL"
)
_OUTRUN = text("UPDATE route_generation SET generation = :seen + 1 WHERE id = 1 AND generation < :seen")
_WAKE = text("SELECT pg_notify(:channel, '') WHERE EXISTS (SELECT 1 FROM rollouts WHERE finished_at IS NULL)")
_FORGET = text("DELETE FROM serving_instances WHERE lease_until < now() - :seconds * interval '1 second'")


def renew_lease(session: Session, report: InstanceReport, *, lease_seconds: float) -> int:
    """Keeps the report, unless a newer one is here, renews the lease by the database's clock, and gives the generation
    that serving should have.

    Wakes the reconciler if a rollout waits for evidence. A process that has seen a higher number (the database came
    back from a backup) makes ours outrun it.
    """
    session.execute(
        _UPSERT,
        {
            "boot_id": report.boot_id,
            "instance": report.instance,
            "index": report.index,
            "sequence": report.sequence,
            "generation": report.generation,
            "report": report.model_dump_json(),
            "seconds": lease_seconds,
        },
    )
    session.execute(_WAKE, {"channel": ROLLOUTS_CHANNEL})
    generation = current_generation(session)
    if report.generation > generation:
        session.execute(_OUTRUN, {"seen": report.generation})
        generation = current_generation(session)
        tell = text("SELECT pg_notify(:channel, :payload)")
        session.execute(tell, {"channel": ROUTES_CHANNEL, "payload": str(generation)})
    return generation


def current_generation(session: Session) -> int:
    generation: int = session.execute(text("SELECT generation FROM route_generation WHERE id = 1")).scalar_one()
    return generation


def end_lease(session: Session, boot_id: UUID) -> None:
    """A process that ends in good order says so: it is gone, not missing. A report of its that comes late is too."""
    session.execute(_LEAVE, {"boot_id": boot_id})


def known_instances(session: Session) -> list[Instance]:
    """Every process that reported, did not leave and was not forgotten, by name."""
    expired = (InstanceRow.lease_until <= func.now()).label("expired")
    chosen = select(InstanceRow.report, InstanceRow.reported_at, expired).where(InstanceRow.left_at.is_(None))
    rows = session.execute(chosen.order_by(InstanceRow.instance, InstanceRow.index, InstanceRow.started_at))
    return [
        instance_of(InstanceReport.model_validate(row.report), row.reported_at, is_expired=row.expired) for row in rows
    ]


def forget_silent(session: Session, after_seconds: float = FORGET_AFTER_SECONDS) -> int:
    """Removes processes whose lease ran out, or that left, that long ago; gives how many."""
    return int(session.execute(_FORGET, {"seconds": after_seconds}).rowcount)  # type: ignore[attr-defined]  # a DELETE gives a CursorResult
