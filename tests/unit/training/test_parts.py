"""Dividing a snapshot before a child sees it."""

from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from carrara.contracts.training import PinnedTraining
from carrara.datasets.splits import part_masks
from carrara.training.parts import GOLDEN_ROWS, WrittenParts, write_parts

DIGEST = "sha256:" + "0" * 64
ROWS = 5000


def _spec(**changes: object) -> PinnedTraining:
    pinned = {"snapshot_id": uuid4(), "snapshot_number": 1, "snapshot_digest": DIGEST}
    return PinnedTraining.model_validate(
        {
            "model": "m",
            "dataset": "d",
            "split": {"kind": "key", "column": "key", "holdout_percent": 30},
            "target": "y",
            "task": "regression",
            "features": ["x"],
            "trainer": {"builtin": "ridge"},
            "pinned": pinned | {"split_id": uuid4(), "split_digest": DIGEST},
            "allows_pickle": False,
            **changes,
        }
    )


def _divide(folder: Path, group_rows: int, **changes: object) -> tuple[pa.Table, WrittenParts]:
    known = [None if row % 10 == 0 else float("nan") if row % 10 == 1 else float(row) for row in range(ROWS)]
    table = pa.table({"key": range(ROWS), "x": range(ROWS), "y": pa.array(known, pa.float64())})
    pq.write_table(table, folder / "snapshot.parquet", row_group_size=group_rows)
    return table, write_parts([folder / "snapshot.parquet"], _spec(**changes), folder / f"parts-{uuid4()}")


def test_the_training_part_has_every_column_of_exactly_the_training_rows(tmp_path: Path) -> None:
    table, parts = _divide(tmp_path, 700)
    train, _ = part_masks(table["key"], _spec().split)
    wanted = table.filter(pa.array(train))
    written = pq.read_table(parts.train)
    assert written.schema.names == table.schema.names
    assert written["key"].equals(wanted["key"])
    assert written["y"].to_pylist()[:1] == wanted["y"].to_pylist()[:1]


def test_the_unlabelled_rows_are_held_out_and_carry_no_target(tmp_path: Path) -> None:
    table, parts = _divide(tmp_path, 700)
    _, holdout = part_masks(table["key"], _spec().split)
    unlabelled = pq.read_table(parts.unlabelled)
    assert unlabelled.column_names == ["x"]
    assert len(unlabelled) == GOLDEN_ROWS
    drawn = unlabelled["x"].to_pylist()
    assert all(holdout[row] and row % 10 > 1 for row in drawn)
    assert max(drawn) - min(drawn) > ROWS // 2  # from the whole holdout, not its beginning
    assert parts.holdout_dropped == int(sum(holdout[row] for row in range(ROWS) if row % 10 < 2))


def test_what_is_drawn_depends_on_the_seed_and_not_on_row_groups(tmp_path: Path) -> None:
    drawn = [
        pq.read_table(_divide(tmp_path, size, seed=seed)[1].unlabelled) for size, seed in ((700, 1), (64, 1), (64, 2))
    ]
    assert drawn[0].equals(drawn[1])
    assert pc.sum(drawn[1]["x"]) != pc.sum(drawn[2]["x"])
