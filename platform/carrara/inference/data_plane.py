"""One data plane under every transport: route, decode, run, check, answer. Knows nothing of HTTP.

One assignment swaps the whole routing; a request keeps the release that it started with.
"""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from carrara.contracts.contract import ModelContract
from carrara.contracts.routes import Fallback
from carrara.inference.breaker import Breaker
from carrara.inference.decode import Batch, RequestDecoder, count_rows
from carrara.inference.failures import BadModelOutput, ModelCrashed, ModelRaised, ModelTooSlow, ModelUnavailable
from carrara.inference.prediction_ids import PredictionIds
from carrara.inference.routing import Address, EndpointRouting
from carrara.inference.slot import LoadedRelease
from carrara.inference.stats import EndpointStats
from carrara.kernel.errors import CarraraError, NotFound, Unavailable

MODEL_FAULTS = (BadModelOutput, ModelRaised, ModelCrashed, ModelTooSlow)


class Request(Protocol):
    """A request as its transport read it. Decoding waits for the release, whose contract it needs."""

    def batch(self, decoder: RequestDecoder) -> Batch: ...

    def row_count(self, max_rows: int) -> int:
        """How many rows it has, when no release is there to say what they should look like."""
        ...


@dataclass(frozen=True)
class JsonRequest:
    """Our own JSON: `decode.RequestDecoder.decode`."""

    body: bytes

    def batch(self, decoder: RequestDecoder) -> Batch:
        return decoder.decode(self.body)

    def row_count(self, max_rows: int) -> int:
        return count_rows(self.body, max_rows)


@dataclass(frozen=True)
class Prediction:
    """An answer. Without a release, `outputs` are the endpoint's declared fallback, and `release` is None."""

    id: str
    release: LoadedRelease | None
    rows: int
    outputs: Mapping[str, list[Any]]
    ignored: int = 0

    def to_json(self) -> dict[str, Any]:
        """As the wire has it; probabilities by class."""
        manifest = self.release.manifest if self.release is not None else None
        answer: dict[str, Any] = {
            "prediction_id": self.id,
            "release": self.release.digest if self.release is not None else None,
            "model": manifest.model if manifest is not None else None,
            "version": manifest.version if manifest is not None else None,
            "fallback": self.release is None,
            "predictions": _by_row(self.outputs, manifest.contract if manifest is not None else None),
        }
        if self.ignored:
            answer["ignored_values"] = self.ignored
        return answer


@dataclass
class DataPlane:
    """Answers requests on one event loop. `give_up(digest, why)` is told when a release should get no more."""

    ids: PredictionIds
    max_in_flight: int
    max_rows: int
    give_up: Callable[[str, str], None] | None = None
    routing: Mapping[Address, EndpointRouting] = field(default_factory=dict)
    stats: dict[Address, EndpointStats] = field(default_factory=dict)
    _breakers: dict[tuple[Address, str], Breaker] = field(default_factory=dict)

    def swap(self, routing: Mapping[Address, EndpointRouting]) -> None:
        """From now on requests go by this."""
        self.routing = routing
        for address in routing:
            self.stats.setdefault(address, EndpointStats())
        live = {(address, release.digest) for address, endpoint in routing.items() for release in endpoint.live}
        self._breakers = {key: breaker for key, breaker in self._breakers.items() if key in live}

    async def predict(self, address: Address, request: Request) -> Prediction:
        """The answer of the release that is live for this request.

        `NotFound`, `ModelUnavailable` (overloaded, not ready), what `RequestDecoder` raises, and the model's faults.
        """
        endpoint = self.routing.get(address)
        if endpoint is None:
            raise NotFound("endpoint", project=address[0], endpoint=address[1])
        stats = self.stats[address]
        if stats.in_flight >= self.max_in_flight:
            stats.overloaded += 1
            raise ModelUnavailable(
                f"{stats.in_flight} requests are being answered already; at most {self.max_in_flight} at once",
                code="overloaded",
                retry_after_seconds=1,
            )
        started = time.perf_counter()
        stats.in_flight += 1
        try:
            prediction = await self._answer(address, endpoint, request)
        except MODEL_FAULTS:
            stats.count_fault()
            raise
        except Unavailable:
            stats.count_error()
            raise
        except CarraraError as error:
            stats.count_refusal(error.code)
            raise
        finally:
            stats.in_flight -= 1
        stats.count_answer(time.perf_counter() - started, prediction.rows, prediction.ignored)
        return prediction

    async def _answer(self, address: Address, endpoint: EndpointRouting, request: Request) -> Prediction:
        release = endpoint.choose(random.random())  # noqa: S311  # a share of traffic, not a secret
        if release is None:
            return self._fall_back(endpoint, request)
        release.in_flight += 1
        try:
            batch = request.batch(release.decoder)
            outputs = await self._run(address, release, batch)
        finally:
            release.in_flight -= 1
        return Prediction(self.ids.next(), release, batch.rows, outputs, batch.ignored)

    async def _run(self, address: Address, release: LoadedRelease, batch: Batch) -> dict[str, list[Any]]:
        if not batch.rows:
            return {"prediction": []}
        try:
            outputs = await release.runtime.predict(batch.columns, batch.rows)
        except MODEL_FAULTS as error:
            self._record(address, release, error)
            raise
        except ModelUnavailable as error:
            if trouble := release.runtime.trouble:
                self._give_up(release.digest, f"{error.message} ({trouble})")
            raise
        self._record(address, release, None)
        return outputs

    def _record(self, address: Address, release: LoadedRelease, fault: CarraraError | None) -> None:
        breaker = self._breakers.setdefault((address, release.digest), Breaker())
        is_too_much = breaker.record(time.monotonic(), is_fault=fault is not None)
        if fault is None:
            return
        if is_too_much:
            self._give_up(release.digest, f"most of its answers are faults, lately: {fault.message}")
        elif trouble := release.runtime.trouble:
            self._give_up(release.digest, trouble)

    def _give_up(self, digest: str, why: str) -> None:
        if self.give_up is not None:
            self.give_up(digest, why)

    def _fall_back(self, endpoint: EndpointRouting, request: Request) -> Prediction:
        if endpoint.waiting_for:
            raise ModelUnavailable(f"no release is ready here: {endpoint.waiting_for}", code="not_ready")
        fallback = endpoint.fallback
        if fallback is None or fallback.kind == "unavailable":
            raise ModelUnavailable(
                "no release is live at this endpoint", code="no_live_release", retry_after_seconds=10
            )
        rows = request.row_count(self.max_rows)
        return Prediction(self.ids.next(), None, rows, {"prediction": [_constant(fallback)] * rows})


def _constant(fallback: Fallback) -> str | int | float | bool | None:
    return fallback.prediction


def _by_row(outputs: Mapping[str, list[Any]], contract: ModelContract | None) -> list[dict[str, Any]]:
    labels = outputs.get("prediction", [])
    table = outputs.get("probabilities")
    if table is None or contract is None:
        return [{"prediction": label} for label in labels]
    names = [class_name(label) for label in contract.classes or ()]
    return [
        {"prediction": label, "probabilities": dict(zip(names, row, strict=True))}
        for label, row in zip(labels, table, strict=True)
    ]


def class_name(label: str | int | float | bool) -> str:
    """A class as the key of a JSON object: text as it is, others as JSON writes them (`true`, `1`, `0.5`)."""
    if isinstance(label, bool):
        return "true" if label else "false"
    return str(label)
