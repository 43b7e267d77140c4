"""Datasets: push a table, look at it, split it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

from carrara.contracts.datasets import (
    CreateSplit,
    DatasetView,
    KeySplit,
    PushedSnapshot,
    SnapshotView,
    SplitView,
    TableProfile,
    TimeSplit,
)
from carrara.kernel.errors import Invalid
from carrara.kernel.ids import uuid7
from carrara.sdk.transport import Transport

_BLOCK_BYTES = 1 << 20


class Datasets:
    """The datasets of one project."""

    def __init__(self, transport: Transport, path: str) -> None:
        self._transport = transport
        self._path = f"{path}/datasets"
        self._splits = f"{path}/splits"

    def push(
        self,
        dataset: str,
        table: Path,
        *,
        description: str = "",
        on_progress: Callable[[float], None] | None = None,
        **options: Any,
    ) -> PushedSnapshot:
        """Uploads a CSV or Parquet file as a snapshot; the same table twice is the same snapshot.

        `options` as in `IngestOptions`: `types`, `time_column`, `delimiter`, `null_values`. `on_progress` is told the
        fraction that has been sent. `Invalid` names line and column of a malformed file.
        """
        if not table.is_file():
            raise Invalid(f"{table} is no file; name a CSV or Parquet file", code="unreadable_file")
        params = {"description": description, **({"options": json.dumps(options)} if options else {})}
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(table.stat().st_size),
            "Idempotency-Key": str(uuid7()),
        }
        response = self._transport.send(
            "POST",
            f"{self._path}/{dataset}/snapshots",
            params=params,
            content=_Blocks(table, on_progress),
            headers=headers,
            timeout=600.0,
        )
        return PushedSnapshot.model_validate_json(response.content)

    def all(self) -> Iterator[DatasetView]:
        return self._transport.pages(self._path, DatasetView)

    def get(self, dataset: str) -> DatasetView:
        return self._transport.get(f"{self._path}/{dataset}", DatasetView)

    def snapshots(self, dataset: str) -> Iterator[SnapshotView]:
        """Newest first."""
        return self._transport.pages(f"{self._path}/{dataset}/snapshots", SnapshotView)

    def snapshot(self, dataset: str, number: int | str) -> SnapshotView:
        """By number or digest."""
        return self._transport.get(f"{self._path}/{dataset}/snapshots/{number}", SnapshotView)

    def profile(self, dataset: str, number: int | str) -> TableProfile:
        return self._transport.get(f"{self._path}/{dataset}/snapshots/{number}/profile", TableProfile)

    def split(self, dataset: str, number: int | str, spec: TimeSplit | KeySplit) -> SplitView:
        """Train rows and holdout of a snapshot; the same spec twice is the same split."""
        path = f"{self._path}/{dataset}/snapshots/{number}/splits"
        return self._transport.write("POST", path, SplitView, body=CreateSplit(spec=spec))

    def get_split(self, split_id: UUID) -> SplitView:
        return self._transport.get(f"{self._splits}/{split_id}", SplitView)


class _Blocks:
    """The bytes of a file, again from its beginning each time that they are asked for, as a retry needs them."""

    def __init__(self, path: Path, on_progress: Callable[[float], None] | None) -> None:
        self._path = path
        self._on_progress = on_progress

    def __iter__(self) -> Iterator[bytes]:
        size = max(self._path.stat().st_size, 1)
        with self._path.open("rb") as stream:
            while block := stream.read(_BLOCK_BYTES):
                yield block
                if self._on_progress is not None:
                    self._on_progress(stream.tell() / size)
