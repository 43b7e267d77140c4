"""Which types columns get, what a declared type promises, and what of Parquet can be stored."""

import datetime as dt
import decimal
import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from carrara.contracts.datasets import IngestOptions, StoredType
from carrara.datasets.ingest import IngestLimits, ingest
from carrara.kernel.errors import Invalid, TooLarge

T = StoredType
UTC = dt.UTC
_at = dt.datetime.fromisoformat


def _ingest(folder: Path, content: bytes | str, options: IngestOptions | None = None) -> pa.Table:
    upload = folder / "upload"
    upload.write_bytes(content.encode() if isinstance(content, str) else content)
    return pq.read_table(ingest(upload, folder / "out.parquet", options).path)


def _column(folder: Path, values: list[str], options: IngestOptions | None = None) -> tuple[str, list[object]]:
    table = _ingest(folder, "x,row\n" + "".join(f"{value},{row}\n" for row, value in enumerate(values)), options)
    return str(table.schema.field("x").type), table.column("x").to_pylist()


INFERRED = [
    (["1", "-2", "9223372036854775807", "-9223372036854775808"], "int64", [1, -2, 2**63 - 1, -(2**63)]),
    (["1", "2.5"], "double", [1.0, 2.5]),
    (["1e3", "-.5", "3."], "double", [1000.0, -0.5, 3.0]),
    (["inf", "-inf", "1"], "double", [float("inf"), float("-inf"), 1.0]),
    (["-0", "1"], "double", [-0.0, 1.0]),
    (["9007199254740992", "0.5"], "double", [2.0**53, 0.5]),
    (["10000000000000000000000"], "string", ["10000000000000000000000"]),
    (["true", "FALSE", "True"], "bool", [True, False, True]),
    (["2013-01-01", "2013-12-31"], "date32[day]", [dt.date(2013, 1, 1), dt.date(2013, 12, 31)]),
    (["2013-01-01", "2013-01-01 05:30"], "timestamp[us]", [_at("2013-01-01"), _at("2013-01-01T05:30")]),
    (["2013-01-01T05:00:00.123456"], "timestamp[us]", [_at("2013-01-01T05:00:00.123456")]),
    (["2013-01-01T05:00:00.123456000"], "timestamp[us]", [_at("2013-01-01T05:00:00.123456")]),
    (["2013-01-01T05:00:00Z"], "timestamp[us, tz=UTC]", [dt.datetime(2013, 1, 1, 5, tzinfo=UTC)]),
    (["2013-01-01T05:00:00+05:30"], "timestamp[us, tz=UTC]", [dt.datetime(2012, 12, 31, 23, 30, tzinfo=UTC)]),
    # text, since another type would change what is written
    (["007", "8"], "string", ["007", "8"]),
    (["007.5", "8"], "string", ["007.5", "8"]),
    (["+5", "8"], "string", ["+5", "8"]),
    (["0x1F"], "string", ["0x1F"]),
    (["1_000"], "string", ["1_000"]),
    ([" 1", "2"], "string", [" 1", "2"]),
    (["9223372036854775808"], "string", ["9223372036854775808"]),
    (["9007199254740993", "0.5"], "string", ["9007199254740993", "0.5"]),
    (["1e999"], "string", ["1e999"]),
    (["1", "true"], "string", ["1", "true"]),
    (["yes", "no"], "string", ["yes", "no"]),
    (["1", "2013-01-01"], "string", ["1", "2013-01-01"]),
    (["2013-01-01T05:00:00.1234567"], "string", ["2013-01-01T05:00:00.1234567"]),
    (["2013-01-01T05:00:00Z", "2013-01-01T05:00:00"], "string", ["2013-01-01T05:00:00Z", "2013-01-01T05:00:00"]),
    (["2013-02-30"], "string", ["2013-02-30"]),
    (["01/02/2013"], "string", ["01/02/2013"]),
    # nulls
    (["", "1"], "int64", [None, 1]),
    (["NA", "N/A", "NULL", "null", "1"], "int64", [None, None, None, None, 1]),
    (['""', '"2"', '"NA"'], "int64", [None, 2, None]),
    (['""', "x", '"NA"', "NA", ""], "string", ["", "x", "NA", None, None]),
    (["", "NA"], "string", [None, None]),
    (["nan", "1"], "double", ["nan", 1.0]),
]


@pytest.mark.parametrize(("values", "arrow", "expected"), INFERRED, ids=[str(case[0]) for case in INFERRED])
def test_the_narrowest_type_that_changes_nothing_is_inferred(
    tmp_path: Path, values: list[str], arrow: str, expected: list[object]
) -> None:
    found, got = _column(tmp_path, values)

    assert found == arrow
    assert [str(value) if value != value else value for value in got] == expected
    if found == "double":
        assert [str(value) for value in got] == [str(value) for value in expected]  # -0.0 is not 0.0


def test_types_are_inferred_over_the_whole_file(tmp_path: Path) -> None:
    filler = "y" * 300  # the late value is in the second block that Arrow reads
    values = [*(str(number) for number in range(30_000)), "late"]

    table = _ingest(tmp_path, "x,y\n" + "".join(f"{value},{filler}\n" for value in values))

    assert table.schema.field("x").type == pa.string()
    assert table.column("x").to_pylist() == values


def test_records_just_below_the_limit_are_read_wherever_they_lie(tmp_path: Path) -> None:
    long = IngestLimits().max_record_bytes - 20
    values = [letter * long for letter in "abcdefg"]

    table = _ingest(tmp_path, "x,y\n" + "".join(f'"{value}",\n' for value in values))

    assert table.column("x").to_pylist() == values
    with pytest.raises(Invalid, match="line 2, column 'x': the record has more than"):
        _ingest(tmp_path, f"x,y\n{'a' * (long + 20)},\n")


def test_the_nulls_can_be_chosen(tmp_path: Path) -> None:
    assert _column(tmp_path, ["NA", "DE"], IngestOptions(null_values=[""])) == ("string", ["NA", "DE"])
    assert _column(tmp_path, ["-99", "1"], IngestOptions(null_values=["-99"])) == ("int64", [None, 1])


def test_one_column_keeps_its_empty_lines_as_nulls(tmp_path: Path) -> None:
    assert _ingest(tmp_path, "x\n1\n\n3\n").column("x").to_pylist() == [1, None, 3]


def test_delimiters_byte_order_marks_and_compression_do_not_matter(tmp_path: Path) -> None:
    plain = _ingest(tmp_path, 'x,y\n1,"a,b"\n')

    assert _ingest(tmp_path, b"\xef\xbb\xbf" + b'x,y\n1,"a,b"\n') == plain
    assert _ingest(tmp_path, gzip.compress(b'x,y\n1,"a,b"\n')) == plain
    assert _ingest(tmp_path, pa.compress(b'x,y\n1,"a,b"\n', "zstd", asbytes=True)) == plain
    assert _ingest(tmp_path, 'x\ty\n1\t"a,b"\n', IngestOptions(delimiter="\t")) == plain
    assert _ingest(tmp_path, 'x;y\r1;"a,b"\r', IngestOptions(delimiter=";")) == plain


DECLARED = [
    (T.INTEGER, ["7", "007", "-1"], "int64", [7, 7, -1]),
    (T.NUMBER, ["1", "2.5", "007"], "double", [1.0, 2.5, 7.0]),
    (T.TEXT, ["1", "2.5"], "string", ["1", "2.5"]),
    (T.TEXT, ["2013-01-01"], "string", ["2013-01-01"]),
    (T.TIMESTAMP, ["2013-01-01"], "timestamp[us]", [_at("2013-01-01")]),
    (T.BOOLEAN, ["", "true"], "bool", [None, True]),
    (T.INTEGER, ["", "NA"], "int64", [None, None]),
]


@pytest.mark.parametrize(("kind", "values", "arrow", "expected"), DECLARED)
def test_a_declared_type_is_obeyed(
    tmp_path: Path, kind: StoredType, values: list[str], arrow: str, expected: list[object]
) -> None:
    assert _column(tmp_path, values, IngestOptions(types={"x": kind})) == (arrow, expected)


BROKEN_PROMISES = [
    (T.INTEGER, "2.5", "'2.5' is not a whole number"),
    (T.INTEGER, "9223372036854775808", "is not a whole number"),
    (T.INTEGER, "0x1F", "'0x1F' is not a whole number"),
    (T.NUMBER, "1e999", "'1e999' is not a number"),
    (T.NUMBER, "1;5", "'1;5' is not a number"),
    (T.BOOLEAN, "1", "'1' is not true or false"),
    (T.DATE, "2013-01-01T05:00", "is not a date, such as 2013-01-01"),
    (T.TIMESTAMP, "2013-01-01T05:00:00Z", "is not a time without a zone"),
    (T.TIMESTAMP_UTC, "2013-01-01T05:00:00", "is not a time with a zone"),
    (T.TIMESTAMP, "2013-01-01T05:00:00.1234567", "to the microsecond"),
    (T.INTEGER, "y" * 200, "'" + "y" * 77 + "...' is not"),
]


@pytest.mark.parametrize(("kind", "value", "words"), BROKEN_PROMISES)
def test_a_value_that_breaks_its_declared_type_is_refused_at_its_line(
    tmp_path: Path, kind: StoredType, value: str, words: str
) -> None:
    good = {T.BOOLEAN: "true", T.DATE: "2013-01-01", T.TIMESTAMP: "2013-01-01", T.TIMESTAMP_UTC: "2013-01-01T00:00Z"}
    rows = [f'"two\nlines",{good.get(kind, "1")}'] * 1000 + ["", f"x,{value}", f"x,{good.get(kind, '1')}"]
    content = "note,x\n" + "\n".join(rows) + "\n"

    with pytest.raises(Invalid) as caught:
        _ingest(tmp_path, content, IngestOptions(types={"x": kind}))

    assert caught.value.code == "bad_value"
    assert str(caught.value).startswith("line 2003, column 'x': ")
    assert words in str(caught.value)


def test_types_for_a_column_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="declared for 'y', which the header does not have; it has 'x'"):
        _ingest(tmp_path, "x\n1\n", IngestOptions(types={"y": T.TEXT}))


def _parquet(folder: Path, table: pa.Table, **how: object) -> pa.Table:
    upload = folder / "upload.parquet"
    pq.write_table(table, upload, **how)
    return pq.read_table(ingest(upload, folder / "out.parquet").path)


TAKEN = [
    (pa.array([1, None, -5], pa.int8()), "int64", [1, None, -5]),
    (pa.array([2**32 - 1], pa.uint32()), "int64", [2**32 - 1]),
    (pa.array([2**63 - 1], pa.uint64()), "int64", [2**63 - 1]),
    (pa.array([0.5, None], pa.float32()), "double", [0.5, None]),
    (pa.array([0.5], pa.float16()), "double", [0.5]),
    (pa.array([decimal.Decimal(12), None], pa.decimal128(10, 0)), "int64", [12, None]),
    (pa.array(["a", None, ""], pa.large_string()), "string", ["a", None, ""]),
    (pa.array(["a", None, "a"]).dictionary_encode(), "string", ["a", None, "a"]),
    (pa.array([None, None], pa.null()), "string", [None, None]),
    (pa.array([True, None]), "bool", [True, None]),
    (pa.array([dt.date(2013, 1, 1)], pa.date64()), "date32[day]", [dt.date(2013, 1, 1)]),
    (pa.array([_at("2013-01-01T05:00")], pa.timestamp("s")), "timestamp[us]", [_at("2013-01-01T05:00")]),
    (pa.array([1_000_000], pa.timestamp("ns")), "timestamp[us]", [_at("1970-01-01T00:00:00.001")]),
    (
        pa.array([dt.datetime(2013, 1, 1, 5, tzinfo=UTC)], pa.timestamp("ms", "America/New_York")),
        "timestamp[us, tz=UTC]",
        [dt.datetime(2013, 1, 1, 5, tzinfo=UTC)],
    ),
]


@pytest.mark.parametrize(("values", "arrow", "expected"), TAKEN, ids=[str(case[0].type) for case in TAKEN])
def test_parquet_types_are_mapped_without_loss(
    tmp_path: Path, values: pa.Array, arrow: str, expected: list[object]
) -> None:
    stored = _parquet(tmp_path, pa.table({"x": values}))

    assert str(stored.schema.field("x").type) == arrow
    assert stored.column("x").to_pylist() == expected


REFUSED = [
    (pa.array([[1]]), "column 'x': the type list<", "unknown_type"),
    (pa.array([{"a": 1}]), "the type struct<", "unknown_type"),
    (pa.array([b"x"]), "the type binary", "unknown_type"),
    (pa.array([decimal.Decimal("1.5")]), "the type decimal", "unknown_type"),
    (pa.array([dt.time(5)], pa.time64("us")), "the type time64", "unknown_type"),
    (pa.array([dt.timedelta(1)]), "the type duration", "unknown_type"),
    (pa.array([1, 2**63], pa.uint64()), "column 'x', row 1", "bad_value"),
    (pa.array([1000, 1001], pa.timestamp("ns")), "column 'x', row 1", "bad_value"),
    (pa.array(["a", "b\x00"]), "column 'x', row 1 (from 0): the text holds a NUL", "bad_value"),
]


@pytest.mark.parametrize(("values", "words", "code"), REFUSED, ids=[str(case[0].type) for case in REFUSED])
def test_what_cannot_be_stored_is_refused_with_its_column(
    tmp_path: Path, values: pa.Array, words: str, code: str
) -> None:
    with pytest.raises(Invalid) as caught:
        _parquet(tmp_path, pa.table({"fine": pa.array(range(len(values))), "x": values}))

    assert words in str(caught.value)
    assert caught.value.code == code


def test_every_column_that_cannot_be_stored_is_an_issue(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as caught:
        _parquet(tmp_path, pa.table({"a": [[1]], "b": [1], "c": [b"x"]}))

    assert [issue.where for issue in caught.value.issues] == ["column 'a'", "column 'c'"]


def test_text_in_parquet_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    broken = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff\xfe"]).buffers())

    with pytest.raises(Invalid) as caught:
        _parquet(tmp_path, pa.table({"x": broken}))

    assert caught.value.code == "malformed_parquet"


@pytest.mark.parametrize("damage", ["cut", "footer", "page"])
def test_damaged_parquet_is_refused(tmp_path: Path, damage: str) -> None:
    good = tmp_path / "good.parquet"
    pq.write_table(pa.table({"x": list(range(10_000)), "y": [str(n) for n in range(10_000)]}), good)
    content = bytearray(good.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "footer":
        content[-60:-10] = bytes(50)
    else:
        content[20:4000] = b"\xff" * 3980
    good.write_bytes(content)

    with pytest.raises(Invalid) as caught:
        ingest(good, tmp_path / "out.parquet")

    assert caught.value.code == "malformed_parquet"


def test_parquet_without_rows_or_with_a_name_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="columns and no rows"):
        _parquet(tmp_path, pa.table({"x": pa.array([], pa.int64())}))
    with pytest.raises(Invalid, match="'x' is that of column 1 too"):
        _parquet(tmp_path, pa.table([[1], [2]], names=["x", "x"]))


def test_parquet_that_unpacks_without_end_is_stopped(tmp_path: Path) -> None:
    upload = tmp_path / "upload.parquet"
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array(["x" * 100_000]))
    pq.write_table(pa.table({"x": long}), upload)
    assert upload.stat().st_size < 500_000

    with pytest.raises(TooLarge):
        ingest(upload, tmp_path / "out.parquet", limits=IngestLimits(max_table_bytes=1 << 28))


def test_columns_whose_names_have_dots_are_not_mixed_up(tmp_path: Path) -> None:
    stored = _ingest(tmp_path, "a.b,a,a.b.c\n1,2,3\n")

    assert stored.to_pydict() == {"a.b": [1], "a": [2], "a.b.c": [3]}
