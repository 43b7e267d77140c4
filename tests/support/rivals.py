"""Two people who promote at the same moment, and one who does not live to hear the answer."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy.orm import Session
from tests.support.deployments import FALLBACK, GatesBySheet, Town

from carrara.access.domain import Actor, Project
from carrara.contracts import deployments as wire
from carrara.deployments import acts, store
from carrara.deployments.domain import By, RolloutState
from carrara.kernel.errors import Conflict
from carrara.persistence.database import Database


def race_promotions(town: Town, *, rounds: int) -> dict[str, int]:
    """Two people promote two versions at the same moment, again and again; gives how often each won.

    Asserts that of every two exactly one wins and that the other is told the winner's name.
    """
    v7, v8 = town.version(7), town.version(8)
    town.endpoint(fallback=FALLBACK)
    town.decide(v7)
    town.decide(v8)
    rivals = ((town.ada, v7), (town.cyd, v8))
    wins = {town.ada.name: 0, town.cyd.name: 0}
    barrier = threading.Barrier(2)

    def attempt(rival: tuple[Actor, str], revision: int) -> wire.RolloutView | Conflict:
        actor, digest = rival
        barrier.wait()
        try:
            started: wire.RolloutView = town.promote(digest, by=actor, expected_revision=revision).rollout
        except Conflict as conflict:
            return conflict
        return started

    def abort(session: Session) -> int:
        endpoint = store.find_endpoint(session, town.project.id, "arrivals", lock=True)
        rollout = store.open_rollout(session, endpoint)
        assert rollout is not None
        by = By(town.ada.id, town.ada.name)
        return acts.end_rollout(session, endpoint, rollout, state=RolloutState.ABORTED, by=by, reason="again").revision

    revision = town.look().revision
    with ThreadPoolExecutor(2) as pool:
        for _ in range(rounds):
            attempts = [pool.submit(attempt, rival, revision) for rival in rivals]
            answers = [attempt.result() for attempt in attempts]
            (won,) = [answer for answer in answers if isinstance(answer, wire.RolloutView)]
            (lost,) = [answer for answer in answers if isinstance(answer, Conflict)]
            assert lost.code in ("rollout_open", "revision_changed")
            assert lost.facts["winner"] == won.started_by
            assert won.started_by in lost.message
            wins[won.started_by] += 1
            before, revision = revision, town.do(town.ada, abort)
            assert revision > before
    return wins


def promote_and_die(url: str, project: Project, ada: Actor, gates: GatesBySheet, digest: str) -> None:
    """For a process of its own: starts a rollout and is killed before it can tell anyone."""
    os.environ["CARRARA_CRASHPOINT"] = "promote.rollout_started"
    Town(Database(url, pool_size=1), project, ada, ada, ada, gates).promote(digest)
