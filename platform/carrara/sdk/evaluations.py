"""Evaluations and gates: the evidence, and what the policy says of it."""

from pathlib import Path
from typing import Any

from carrara.contracts.evaluation import EvaluationView, RequestEvaluation
from carrara.contracts.gates import GateReport, PolicyView, PutPolicy
from carrara.contracts.jobs import JobView
from carrara.sdk.training import read_document
from carrara.sdk.transport import Transport


class Evaluations:
    """The evidence on a project's versions."""

    def __init__(self, transport: Transport, path: str) -> None:
        self._transport = transport
        self._path = path

    def request(self, model: str, version: int, *, endpoint: str | None = None, **options: Any) -> JobView:
        """Queues an evaluation, against what is live at `endpoint` on the same rows."""
        body = RequestEvaluation(endpoint=endpoint, **options)
        return self._transport.write("POST", f"{self._version(model, version)}/evaluations", JobView, body=body)

    def newest(self, model: str, version: int) -> EvaluationView | None:
        found = self._transport.pages(f"{self._version(model, version)}/evaluations", EvaluationView, limit=1)
        return next(found, None)

    def download_predictions(self, evaluation: EvaluationView, path: Path) -> None:
        """Writes the scored holdout as Parquet: row, label, prediction and the probability of each class."""
        source = f"{self._path}/evaluations/{evaluation.id}/predictions"
        with self._transport.stream("GET", source) as response, path.open("wb") as target:
            response.raise_for_status()
            for block in response.iter_bytes():
                target.write(block)

    def gates(self, model: str, version: int, *, endpoint: str | None = None) -> GateReport:
        """Each rule judged, with its evidence and what would make it pass. Changes nothing."""
        return self._transport.get(f"{self._version(model, version)}/gates", GateReport, endpoint=endpoint)

    def put_policy(self, document: dict[str, Any] | Path) -> PolicyView:
        """Keeps a gate policy; its digest is its name."""
        read = read_document(document) if isinstance(document, Path) else document
        return self._transport.write("POST", f"{self._path}/policies", PolicyView, body=PutPolicy(document=read))

    def _version(self, model: str, version: int) -> str:
        return f"{self._path}/models/{model}/versions/{version}"
