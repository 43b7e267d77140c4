"""Predictions from Python, over the serving port."""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from carrara.kernel.errors import Invalid, Unavailable
from carrara.sdk.connection import Connection
from carrara.sdk.transport import error_of


class Predictions:
    """The endpoints of one project, as a serving client calls them. Safe to share between threads."""

    def __init__(self, connection: Connection, project: str, *, timeout_seconds: float = 30.0) -> None:
        if connection.serving_url is None:
            raise Invalid(
                "no address of serving: set CARRARA_SERVING_URL, for example http://127.0.0.1:8081",
                code="not_connected",
            )
        self._client = httpx.Client(
            base_url=f"{connection.serving_url}/endpoints/{project}",
            headers={"Authorization": f"Bearer {connection.token}"},
            timeout=timeout_seconds,
        )

    def predict(self, endpoint: str, instances: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The endpoint's answer for these rows: `release`, `model`, `version`, `prediction_id`, `predictions`."""
        return self._ask("POST", f"/{endpoint}/predict", {"instances": list(instances)})

    def describe(self, endpoint: str) -> dict[str, Any]:
        """The endpoint's contract, an example row, and the release that is live in the process that answered."""
        return self._ask("GET", f"/{endpoint}", None)

    def close(self) -> None:
        self._client.close()

    def _ask(self, method: str, path: str, body: Any) -> dict[str, Any]:
        try:
            response = self._client.request(method, path, json=body)
        except httpx.TransportError as error:
            raise Unavailable(f"serving at {self._client.base_url} does not answer: {error}") from error
        if not response.is_success:
            raise error_of(response)
        answer: dict[str, Any] = response.json()
        return answer
