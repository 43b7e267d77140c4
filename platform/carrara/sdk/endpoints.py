"""Endpoints: approve, promote, roll back, and what was live when."""

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from carrara.contracts.deployments import (
    AbortRollout,
    ApprovalView,
    CreateEndpoint,
    DecideApproval,
    EndpointView,
    HistoryEntry,
    Promote,
    PromotionView,
    RevokeApproval,
    RollBack,
    RollbackView,
    RolloutView,
    SetFallback,
    SetPolicy,
)
from carrara.contracts.gates import GateReport
from carrara.contracts.routes import Fallback
from carrara.sdk.transport import Transport


class Endpoints:
    """The endpoints of one project."""

    def __init__(self, transport: Transport, path: str) -> None:
        self._transport = transport
        self._path = f"{path}/endpoints"

    def create(
        self, name: str, *, policy: str | None = None, fallback: Fallback | None = None, description: str = ""
    ) -> EndpointView:
        body = CreateEndpoint(name=name, policy=policy, fallback=fallback, description=description)
        return self._transport.write("POST", self._path, EndpointView, body=body)

    def all(self) -> Iterator[EndpointView]:
        return self._transport.pages(self._path, EndpointView)

    def get(self, name: str) -> EndpointView:
        return self._transport.get(f"{self._path}/{name}", EndpointView)

    def set_policy(self, name: str, policy: str | None, *, reason: str) -> EndpointView:
        body = SetPolicy(policy=policy, reason=reason)
        return self._transport.write("PUT", f"{self._path}/{name}/policy", EndpointView, body=body)

    def set_fallback(self, name: str, fallback: Fallback | None, *, reason: str) -> EndpointView:
        body = SetFallback(fallback=fallback, reason=reason)
        return self._transport.write("PUT", f"{self._path}/{name}/fallback", EndpointView, body=body)

    def decide(
        self,
        name: str,
        model: str,
        version: int,
        *,
        decision: Literal["approved", "rejected"] = "approved",
        comment: str = "",
        seen: GateReport | None = None,
    ) -> ApprovalView:
        """A person's yes or no to this version's release at this endpoint. Its author may not approve it.

        `seen`: the gate report that the person was shown; `Conflict` if it no longer is what the decision rests on.
        """
        shown = {"evaluation": seen.evaluation_digest, "policy": seen.policy_digest} if seen is not None else {}
        body = DecideApproval(model=model, version=version, decision=decision, comment=comment, **shown)
        return self._transport.write("POST", f"{self._path}/{name}/approvals", ApprovalView, body=body)

    def approvals(self, name: str) -> Iterator[ApprovalView]:
        """Newest first."""
        return self._transport.pages(f"{self._path}/{name}/approvals", ApprovalView)

    def revoke_approval(self, name: str, approval_id: UUID, *, reason: str) -> ApprovalView:
        path = f"{self._path}/{name}/approvals/{approval_id}/revoke"
        return self._transport.write("POST", path, ApprovalView, body=RevokeApproval(reason=reason))

    def promote(
        self, name: str, model: str, version: int, *, reason: str, fallback: Fallback | None = None, **options: Any
    ) -> PromotionView:
        """Starts to make the version live; `Refused` with the reason if a condition is not met.

        `options`: `expected_revision`, `strategy`, `dry_run` (only explain, start nothing).
        """
        given = {"fallback": fallback, **options}
        body = Promote(model=model, version=version, reason=reason, **{k: v for k, v in given.items() if v is not None})
        return self._transport.write("POST", f"{self._path}/{name}/promotions", PromotionView, body=body)

    def rollouts(self, name: str) -> Iterator[RolloutView]:
        """Newest first."""
        return self._transport.pages(f"{self._path}/{name}/rollouts", RolloutView)

    def rollout(self, name: str, rollout_id: UUID) -> RolloutView:
        return self._transport.get(f"{self._path}/{name}/rollouts/{rollout_id}", RolloutView)

    def abort(self, name: str, rollout_id: UUID, *, reason: str) -> RolloutView:
        path = f"{self._path}/{name}/rollouts/{rollout_id}/abort"
        return self._transport.write("POST", path, RolloutView, body=AbortRollout(reason=reason))

    def wait_for_rollout(
        self, name: str, rollout_id: UUID, *, on_change: Callable[[RolloutView], None] | None = None
    ) -> RolloutView:
        """The rollout once it has ended: confirmed, failed or aborted. It has a deadline of its own."""
        while True:
            rollout = self.rollout(name, rollout_id)
            if on_change is not None:
                on_change(rollout)
            if rollout.finished_at is not None:
                return rollout
            time.sleep(0.1)

    def roll_back(self, name: str, *, reason: str, to: str | None = None, leaving: str | None = None) -> RollbackView:
        """Goes back to the rollback target, or to `to`: a digest of a release that every process holds, or `fallback`.

        `leaving`: the digest of what is to go; `Conflict` with who was quicker if it does not answer any more. Without
        `to`, a rollout that has not switched is only ended. Committed when this returns.
        """
        body = RollBack(reason=reason, to=to, leaving=leaving)
        return self._transport.write("POST", f"{self._path}/{name}/rollback", RollbackView, body=body)

    def wait_until_confirmed(self, name: str, *, timeout_seconds: float = 30.0) -> EndpointView:
        """The endpoint once every serving process answers with what is desired."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            endpoint = self.get(name)
            if endpoint.status.state == "serving":
                return endpoint
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name} after {timeout_seconds:g} s: {endpoint.status.message}")
            time.sleep(0.05)

    def history(self, name: str, *, at: datetime | None = None) -> list[HistoryEntry]:
        """What was live, newest first; with `at`, the one entry of that moment."""
        moment = at.isoformat() if at is not None else None
        return list(self._transport.pages(f"{self._path}/{name}/history", HistoryEntry, at=moment))
