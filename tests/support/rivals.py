"""Two people who promote at the same moment, and one who does not live to hear the answer."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlalchemy.orm import Session
from tests.support.deployments import FALLBACK, GatesBySheet, Town

from carrara.access import store as access
from carrara.access.domain import Actor
from carrara.contracts import deployments as wire
from carrara.deployments import acts, store
from carrara.deployments.domain import By, RolloutState
from carrara.kernel.errors import Conflict
from carrara.persistence.database import Database, Scope


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


def promote_and_die(town: Town, url: str, digest: str) -> int:
    """Starts a rollout in a process that is killed before it can tell anyone; gives how that ended."""
    argv = [sys.executable, "-m", "tests.support.rivals", url, town.project.name, town.ada.name, digest]
    environment = {**os.environ, "CARRARA_CRASHPOINT": "promote.rollout_started"}
    return subprocess.run(argv, cwd=Path(__file__).resolve().parents[2], env=environment, timeout=60).returncode


def _promote(url: str, project_name: str, user_name: str, digest: str) -> None:
    database = Database(url, pool_size=1)
    with database.transaction(Scope()) as session:
        project = access.project_by_name(session, project_name)
        user = access.user_by_name(session, user_name)
        assert project is not None and user is not None
        ada = access.to_actor(user)
    Town(database, project, ada, ada, ada, GatesBySheet()).promote(digest)


if __name__ == "__main__":
    _promote(*sys.argv[1:])
