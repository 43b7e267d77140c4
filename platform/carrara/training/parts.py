"""What of a snapshot a training child may see: the training rows, and a few held-out rows without their labels.

Whatever lies in the inputs of a child, the user's code can read. So the worker divides the rows before the child is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from carrara.contracts.training import PinnedTraining
from carrara.datasets.labelled import known_labels
from carrara.datasets.splits import part_masks

GOLDEN_ROWS = 200
_TRAIN_FILE, _UNLABELLED_FILE = "train.parquet", "unlabelled.parquet"


@dataclass(frozen=True)
class WrittenParts:
    """`train` has every column of the training rows; `unlabelled` the features of at most 200 held-out rows.

    `holdout_dropped` held-out rows had a null target; of those that had none, `unlabelled` is drawn by the spec's seed.
    """

    train: Path
    unlabelled: Path
    holdout_dropped: int


def write_parts(files: Sequence[Path], spec: PinnedTraining, folder: Path) -> WrittenParts:
    """Divides the snapshot in `files` into `folder`, which is made. Reads a row group at a time. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    schema = pq.read_schema(files[0])
    drawn = _Drawn(pa.schema([schema.field(name) for name in spec.features or []]), np.random.default_rng(spec.seed))
    parts = WrittenParts(folder / _TRAIN_FILE, folder / _UNLABELLED_FILE, 0)
    dropped = 0
    with pq.ParquetWriter(parts.train, schema, compression="zstd") as writer:
        for path in files:
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    table = file.read_row_group(group)
                    train, holdout = part_masks(table.column(spec.split.column), spec.split)
                    if train.any():
                        writer.write_table(table.filter(pa.array(train)))
                    labelled = holdout & known_labels(table.column(spec.target.column))
                    dropped += int(holdout.sum()) - int(labelled.sum())
                    drawn.add(table.filter(pa.array(labelled)))
    pq.write_table(drawn.rows, parts.unlabelled)
    return WrittenParts(parts.train, parts.unlabelled, dropped)


@dataclass
class _Drawn:
    """So many rows, each as likely as any other, of tables that come one after another: those with the least lots."""

    schema: pa.Schema
    lots: np.random.Generator
    rows: pa.Table = field(init=False)
    _kept: npt.NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.rows = self.schema.empty_table()
        self._kept = np.empty(0)

    def add(self, table: pa.Table) -> None:
        lots = np.concatenate([self._kept, self.lots.random(len(table))])
        least = np.sort(np.argsort(lots, kind="stable")[:GOLDEN_ROWS])
        self.rows = (
            pa.concat_tables([self.rows, table.select(self.schema.names)]).take(pa.array(least)).combine_chunks()
        )
        self._kept = lots[least]
