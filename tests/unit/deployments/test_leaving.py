"""What the command line says that a rollback is to leave."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from carrara.cli.endpoints import to_leave
from carrara.contracts.deployments import EndpointView, ReleaseRef, RollbackPreview, RolloutView, StatusView

NOW = datetime(2026, 3, 1, tzinfo=UTC)
V1, V2, V3 = (ReleaseRef(digest=f"sha256:{number}", model="delays", version=number) for number in (1, 2, 3))


def _rollout(state: Any) -> RolloutView:
    return RolloutView(
        id=UUID(int=1),
        endpoint="arrivals",
        release=V3,
        previous=V2,
        strategy="all_at_once",
        state=state,
        reason="",
        evidence={},
        generation=1,
        started_by="ada",
        started_at=NOW,
        deadline_at=NOW,
        finished_at=None,
    )


def _seen(desired: ReleaseRef | None, rollout: RolloutView | None) -> EndpointView:
    return EndpointView(
        name="arrivals",
        project="flights",
        description="",
        revision=1,
        desired=desired,
        candidate=rollout.release if rollout else None,
        current=desired,
        fallback=None,
        policy=None,
        status=StatusView(state="serving", message="", confirmed=1, known=1, age_seconds=1.0, missing=[]),
        rollback=RollbackPreview(possible=True, target=V1, reason=""),
        rollout=rollout,
        created_by="ada",
        created_at=NOW,
    )


@pytest.mark.parametrize(
    ("desired", "state", "to", "leaves"),
    [
        (V2, None, None, V2),
        (V2, None, "fallback", V2),
        (V2, "preparing", None, V3),
        (V2, "rehearsing", None, V3),
        (V2, "preparing", "fallback", V2),
        (V3, "switching", None, V3),
        (V3, "switching", V1.digest, V3),
        (None, None, None, None),
        (None, "preparing", None, V3),
    ],
)
def test_rollback_leaves_what_its_caller_saw(
    desired: ReleaseRef | None, state: str | None, to: str | None, leaves: ReleaseRef | None
) -> None:
    assert to_leave(_seen(desired, _rollout(state) if state else None), to) == leaves
