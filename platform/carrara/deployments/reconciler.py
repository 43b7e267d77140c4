"""Carries out what `rollout.advance` decides: one transaction for one step, safe to stop and to run twice."""

import logging

from sqlalchemy.orm import Session

from carrara.access.domain import Project
from carrara.deployments import acts, history_store, instance_store, releases, store
from carrara.deployments.domain import CARRARA, By, Endpoint, Rollout, RolloutState
from carrara.deployments.instances import unexpired
from carrara.deployments.ledger import ways_back
from carrara.deployments.rolling_back import take_back
from carrara.deployments.rollout import Step, World, advance
from carrara.kernel.errors import Refused
from carrara.kernel.ids import EndpointId
from carrara.kernel.telemetry import log_context
from carrara.persistence.database import EVERYTHING, Database

_MOST_STEPS = len(RolloutState)
_log = logging.getLogger(__name__)


def reconcile(database: Database) -> int:
    """Takes every open rollout as far as the evidence allows. Gives the number of steps that were taken.

    One that cannot be advanced is logged and looked at again in the next round; it holds up no other.
    """
    with database.transaction(EVERYTHING) as session:
        endpoints = store.open_rollout_endpoints(session)
    taken = 0
    for endpoint_id in endpoints:
        try:
            taken += _advance_endpoint(database, endpoint_id)
        except Exception:  # noqa: BLE001  # whatever it is, the other endpoints must go on
            _log.exception("the rollout of endpoint %s could not be advanced", endpoint_id)
    return taken


def _advance_endpoint(database: Database, endpoint_id: EndpointId) -> int:
    for taken in range(_MOST_STEPS):
        with database.transaction(EVERYTHING) as session, log_context(endpoint=endpoint_id):
            if not take_step(session, endpoint_id):
                return taken
    return _MOST_STEPS


def take_step(session: Session, endpoint_id: EndpointId) -> bool:
    """One step of the endpoint's open rollout under its row lock; False if there was nothing to do yet, or if somebody
    else is changing the endpoint."""
    endpoint = store.lock_if_free(session, endpoint_id)
    rollout = store.open_rollout(session, endpoint) if endpoint is not None else None
    if endpoint is None or rollout is None:
        return False
    project = releases.project_by_id(session, endpoint.project_id)
    world = _look(session, project, endpoint, rollout)
    step = advance(rollout, world, store.database_now(session))
    if step.to is None:
        store.note_waiting(session, rollout, step.reason)
        return False
    _log.info("rollout %s: %s -> %s: %s", rollout.id, rollout.state, step.to, step.reason)
    _act(session, project, endpoint, rollout, step)
    return True


def _look(session: Session, project: Project, endpoint: Endpoint, rollout: Rollout) -> World:
    entries = history_store.ledger_of(session, endpoint)
    back = ways_back(entries, history_store.approvals_of(session, endpoint), rollout.release_id)
    known = releases.releases_by_id(session, project.id, [rollout.release_id, *back[:1]])
    return World(
        address=(project.name, endpoint.name),
        candidate=known[rollout.release_id],
        way_back=known[back[0]] if back else None,
        has_fallback=endpoint.fallback is not None,
        instances=unexpired(instance_store.known_instances(session)),
    )


def _act(session: Session, project: Project, endpoint: Endpoint, rollout: Rollout, step: Step) -> None:
    evidence = dict(step.evidence)
    if step.to is RolloutState.REHEARSING:
        acts.move_on(session, endpoint, rollout, reason=step.reason, evidence=evidence)
    elif step.to is RolloutState.SWITCHING:
        person = By(rollout.started_by, releases.person_name(session, rollout.started_by))
        why = str(rollout.evidence.get("asked_for", ""))
        acts.switch(session, endpoint, rollout, evidence=evidence, by=person, why=why)
    elif step.to is RolloutState.CONFIRMED:
        acts.confirm(session, endpoint, rollout, reason=step.reason, evidence=evidence)
    else:
        _fail(session, project, endpoint, rollout, step)


def _fail(session: Session, project: Project, endpoint: Endpoint, rollout: Rollout, step: Step) -> None:
    reason = step.reason
    if step.goes_back:
        try:
            take_back(session, project, endpoint, by=CARRARA, reason=reason)
        except Refused as refusal:
            reason = f"{reason}; and it stays, since {refusal.message}"
        else:
            return
    acts.end_rollout(session, endpoint, rollout, state=RolloutState.FAILED, by=CARRARA, reason=reason)
    store.bump_generation(session)
