"""The logical digest: what it does not depend on, all that it does, and its very bytes."""

import hashlib
import json
import math
import struct
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrara.contracts.datasets import IngestOptions, StoredType
from carrara.datasets.columns import ARROW_TYPES, Column, arrow_schema, columns_of
from carrara.datasets.digest import TableDigest, digest_parquet
from carrara.datasets.ingest import ingest

T = StoredType
COLUMNS = (
    Column("i", T.INTEGER),
    Column("n", T.NUMBER),
    Column("b", T.BOOLEAN),
    Column("t", T.TEXT),
    Column("at", T.TIMESTAMP),
    Column("utc", T.TIMESTAMP_UTC),
    Column("d", T.DATE),
)
ROWS: list[list[Any]] = [
    [1, 1.5, True, "a", 0, 0, 0],
    [-(2**63), -0.0, False, "", -1, 1357030800000000, 15706],
    [None, None, None, None, None, None, None],
    [2**63 - 1, math.nan, True, "größe\n\u0001日本", 2**62, -(2**62), -1],
    [0, math.inf, False, "NA", 1, 1, 2932896],
]
# written down from the reference below, which follows the words of `digest.py` in plain Python
KNOWN = "sha256:134ba20c2873f9d77df549926ce06e04d77268f7d67403f2e842be3b3ed3e5f9"
KNOWN_COLUMNS = ["sha256:d2d98d965e4df40d767a770b5d2f02ae6345cf57a9fc02dbd9ce493173592f3c"]


def _table(rows: list[list[Any]], columns: tuple[Column, ...] = COLUMNS) -> pa.Table:
    arrays = []
    for index, column in enumerate(columns):
        values = [row[index] for row in rows]
        if column.type in (T.TIMESTAMP, T.TIMESTAMP_UTC):
            arrays.append(pa.array(values, pa.int64()).cast(ARROW_TYPES[column.type]))
        elif column.type is T.DATE:
            arrays.append(pa.array(values, pa.int32()).cast(pa.date32()))
        else:
            arrays.append(pa.array(values, ARROW_TYPES[column.type]))
    return pa.Table.from_arrays(arrays, schema=arrow_schema(columns))


def _digest(table: pa.Table, batch_rows: int = 1000) -> str:
    digest = TableDigest(columns_of(table.schema))
    for batch in table.to_batches(max_chunksize=batch_rows):
        digest.update(batch)
    return digest.digest()


def _reference(rows: list[list[Any]], columns: tuple[Column, ...] = COLUMNS) -> str:
    """The digest as its definition says it, with struct and hashlib alone."""

    def canonical(value: Any) -> str:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    digests = []
    for index, column in enumerate(columns):
        values = [row[index] for row in rows]
        valid = bytes(value is not None for value in values)
        text = b""
        if column.type is T.TEXT:
            encoded = [b"" if value is None else value.encode() for value in values]
            data, text = b"".join(struct.pack("<I", len(value)) for value in encoded), b"".join(encoded)
        elif column.type is T.NUMBER:
            nan = bytes.fromhex("000000000000f87f")
            data = b"".join(
                nan if value != value else struct.pack("<d", value or 0.0 if value is None else value)
                for value in values
            )
        else:
            code = {T.BOOLEAN: "<?", T.DATE: "<i"}.get(column.type, "<q")
            data = b"".join(struct.pack(code, value or 0) for value in values)
        parts = {"valid": hashlib.sha256(valid).hexdigest(), "data": hashlib.sha256(data).hexdigest()}
        if column.type is T.TEXT:
            parts["text"] = hashlib.sha256(text).hexdigest()
        digests.append(canonical({"name": column.name, "type": column.type.value, **parts}))
    return canonical({"format": "carrara-table/1", "rows": len(rows), "columns": digests})


def test_the_digest_is_the_one_that_was_written_down() -> None:
    assert _digest(_table(ROWS)) == KNOWN
    assert _reference(ROWS) == KNOWN


def test_the_digest_of_one_column_is_the_one_that_was_written_down() -> None:
    digest = TableDigest([Column("x", T.INTEGER)])
    digest.update(pa.record_batch({"x": pa.array([1, None], pa.int64())}))

    assert digest.column_digests() == KNOWN_COLUMNS


@pytest.mark.parametrize("batch_rows", [1, 2, 3, 4, 5])
def test_how_the_rows_are_cut_does_not_matter(batch_rows: int) -> None:
    assert _digest(_table(ROWS), batch_rows) == _digest(_table(ROWS))
    sliced = pa.concat_tables([_table([ROWS[4]]), _table(ROWS)]).slice(1)
    assert _digest(sliced, batch_rows) == _digest(_table(ROWS))


@pytest.mark.parametrize(
    "how",
    [
        {"compression": "snappy"},
        {"compression": "gzip", "row_group_size": 2},
        {"use_dictionary": False, "data_page_version": "2.0"},
        {"version": "2.4", "write_statistics": False, "data_page_size": 64},
    ],
)
def test_how_parquet_was_written_does_not_matter(tmp_path: Path, how: dict[str, Any]) -> None:
    pq.write_table(_table(ROWS), tmp_path / "x.parquet", **how)

    assert digest_parquet([str(tmp_path / "x.parquet")]) == _digest(_table(ROWS))
    assert ingest(tmp_path / "x.parquet", tmp_path / "out.parquet").digest == _digest(_table(ROWS))


def test_a_table_in_two_files_has_the_digest_of_the_whole(tmp_path: Path) -> None:
    for name, rows in (("a", ROWS[:2]), ("b", ROWS[2:])):
        pq.write_table(_table(rows), tmp_path / name)

    assert digest_parquet([str(tmp_path / "a"), str(tmp_path / "b")]) == _digest(_table(ROWS))


CHANGES: list[tuple[str, pa.Table]] = [
    ("row order", _table([ROWS[1], ROWS[0], *ROWS[2:]])),
    ("a row less", _table(ROWS[:-1])),
    ("a row twice", _table([*ROWS, ROWS[-1]])),
    ("column order", _table(ROWS).select(["n", "i", "b", "t", "at", "utc", "d"])),
    ("a column less", _table(ROWS).drop_columns(["d"])),
    ("a name", _table(ROWS).rename_columns(["I", "n", "b", "t", "at", "utc", "d"])),
    ("a type", _table(ROWS).set_column(4, "at", _table(ROWS)["utc"].cast(pa.int64()).cast(pa.timestamp("us")))),
    ("null for 0", _table([*ROWS[:4], [None, *ROWS[4][1:]]])),
    ("empty for null", _table([*ROWS[:2], [None, None, None, "", None, None, None], *ROWS[3:]])),
    ("null for NaN", _table([*ROWS[:3], [ROWS[3][0], None, *ROWS[3][2:]], ROWS[4]])),
    ("0.0 for -0.0", _table([ROWS[0], [ROWS[1][0], 0.0, *ROWS[1][2:]], *ROWS[2:]])),
    ("the last bit of a number", _table([[1, math.nextafter(1.5, 2), *ROWS[0][2:]], *ROWS[1:]])),
    ("a letter of the last text", _table([*ROWS[:4], [0, math.inf, False, "Na", 1, 1, 2932896]])),
    ("a microsecond", _table([[*ROWS[0][:4], 1, 0, 0], *ROWS[1:]])),
]


@pytest.mark.parametrize("table", [change[1] for change in CHANGES], ids=[change[0] for change in CHANGES])
def test_every_value_name_and_type_counts(table: pa.Table) -> None:
    assert _digest(table) != _digest(_table(ROWS))


def test_text_cannot_move_between_rows_or_into_nulls() -> None:
    tables = [["ab", "c"], ["a", "bc"], ["abc", ""], ["abc", None], [None, "abc"]]

    assert len({_digest(_table([[text] for text in texts], (Column("t", T.TEXT),))) for texts in tables}) == 5


def test_every_nan_is_one_value() -> None:
    payload = struct.unpack("<d", bytes.fromhex("010000000000f8ff"))[0]
    one = (Column("n", T.NUMBER),)

    assert _digest(_table([[payload]], one)) == _digest(_table([[math.nan]], one))


def test_what_lies_under_a_null_does_not_count() -> None:
    hidden = pa.Array.from_buffers(
        pa.int64(), 2, [pa.py_buffer(b"\x01"), pa.py_buffer(struct.pack("<qq", 1, 99))], null_count=1
    )

    assert _digest(pa.table({"i": hidden})) == _digest(_table([[1], [None]], (Column("i", T.INTEGER),)))


TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00"), max_size=6)
VALUES = st.tuples(
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.floats(allow_subnormal=True),
    st.none() | st.booleans(),
    st.none() | TEXTS,
    st.none() | st.integers(-62135596800000000, 253402300799999999),  # years 1 to 9999
    st.none() | st.integers(-62135596800000000, 253402300799999999),
    st.none() | st.integers(-719162, 2932896),
)


@given(rows=st.lists(VALUES.map(list), min_size=1, max_size=6))
@settings(max_examples=150, deadline=None)
def test_the_digest_follows_its_definition(rows: list[list[Any]]) -> None:
    assert _digest(_table(rows), 2) == _reference(rows)


@given(rows=st.lists(VALUES.map(list), min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_a_table_has_one_digest_as_csv_and_as_parquet(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[Any]]
) -> None:
    folder = tmp_path_factory.mktemp("roundtrip")
    table = _table(rows)
    pyarrow.csv.write_csv(table, folder / "x.csv")
    pq.write_table(table, folder / "x.parquet")
    types = {column.name: column.type for column in COLUMNS}

    from_csv = ingest(folder / "x.csv", folder / "a", IngestOptions(types=types, null_values=[""]))
    from_parquet = ingest(folder / "x.parquet", folder / "b")

    assert from_csv.digest == from_parquet.digest == _digest(table)
    assert from_csv.column_digests == from_parquet.column_digests


@given(rows=st.lists(VALUES.map(list), min_size=1, max_size=6))
@settings(max_examples=50, deadline=None)
def test_inferred_types_are_stable_when_the_table_is_written_again(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[Any]]
) -> None:
    folder = tmp_path_factory.mktemp("again")
    pyarrow.csv.write_csv(_table(rows), folder / "x.csv")
    first = ingest(folder / "x.csv", folder / "a", IngestOptions(null_values=[""]))
    pyarrow.csv.write_csv(pq.read_table(first.path), folder / "y.csv")
    types = {column.name: column.type for column in first.columns}

    again = ingest(folder / "y.csv", folder / "b", IngestOptions(types=types, null_values=[""]))

    assert again.digest == first.digest
