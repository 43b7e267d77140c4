"""The catalogue of malformed CSV: each is refused at its exact line and column, however the file is cut into blocks."""

import csv
import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrara.datasets.csv_scan import line_of_record, scan
from carrara.datasets.ingest import IngestLimits, ingest
from carrara.kernel.errors import Invalid, TooLarge

NAMES = ["a", "b", "c"]
HEADER = b"a,b,c\n"

MALFORMED = [
    # what, bytes behind the header, line, column, words of the message
    ("too few fields", b"1,2,3\n4,5\n", 3, "'c'", "expected 3 fields, found 2"),
    ("too many fields", b"1,2,3\n4,5,6,7\n", 3, "4", "expected 3 fields, found 4"),
    ("far too many fields", b"1,2,3,,,,,\n", 2, "4", "expected 3 fields, found 8"),
    ("too few at the end without newline", b"1,2,3\n4", 3, "'b'", "expected 3 fields, found 1"),
    ("spaces alone", b"1,2,3\n   \n", 3, "'b'", "found 1"),
    ("too few after empty lines", b"\n\r\n1,2,3\n\n4,5\n", 6, "'c'", "found 2"),
    ("too few, CRLF", b"1,2,3\r\n4,5\r\n", 3, "'c'", "found 2"),
    ("too few, old Mac line ends", b"1,2,3\r4,5\r", 3, "'c'", "found 2"),
    ("too few after a value of three lines", b'1,"x\ny\nz",3\n4,5\n', 5, "'c'", "found 2"),
    ("record of two lines with too few", b'1,2,3\n"4\n5",6\n', 3, "'c'", "found 2"),
    ("quote never closed", b'1,"2,3\n4,5,6\n', 2, "'b'", "never closed"),
    ("quote never closed, last byte", b'1,2,"', 2, "'c'", "never closed"),
    ("quote closed three lines later", b'1,"2,3\n4,5,6\n7,"8",9\n', 2, "'b'", "closing quote on line 4"),
    ("text after a closing quote", b'1,"2"x,3\n', 2, "'b'", "goes on after its closing quote"),
    ("space after a closing quote", b'1,"2" ,3\n', 2, "'b'", "goes on after its closing quote"),
    ("space before an opening quote", b'1, "2",3\n', 2, "'b'", "a quote inside a value"),
    ("quote inside a value", b'1,5" pipe,3\n', 2, "'b'", "a quote inside a value"),
    ("backslash is no escape", b'1,"a\\"b",3\n', 2, "'b'", "goes on after its closing quote"),
    ("text after a doubled quote and a closing one", b'1,"a""b"c,3\n', 2, "'b'", "goes on after"),
    ("Latin-1", b"1,caf\xe9,3\n", 2, "'b'", "byte 0xe9 is not UTF-8"),
    ("UTF-8 cut short at the end", b"1,2,\xe2\x82", 2, "'c'", "byte 0xe2 is not UTF-8"),
    ("overlong UTF-8", b"1,2,3\n\xc0\xaf,2,3\n", 3, "'a'", "byte 0xc0 is not UTF-8"),
    ("surrogate in UTF-8", b"1,2,\xed\xa0\x80\n", 2, "'c'", "byte 0xed is not UTF-8"),
    ("NUL", b"1,2,3\n4,\x005,6\n", 3, "'b'", "NUL"),
    ("NUL inside quotes", b'1,2,3\n4,"\n\x00",6\n', 4, "'b'", "NUL"),
    ("first of several faults", b'1,2,3\n4,\xff,6\n7\n8,"x"y,9\n', 3, "'b'", "0xff"),
]


@pytest.mark.parametrize("block_size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("content", "line", "column", "words"), [case[1:] for case in MALFORMED], ids=[c[0] for c in MALFORMED]
)
def test_a_fault_is_found_at_its_line_and_column(
    content: bytes, line: int, column: str, words: str, block_size: int
) -> None:
    data = HEADER + content
    blocks = [data[start : start + block_size] for start in range(0, len(data), block_size)]

    with pytest.raises(Invalid) as caught:
        scan(blocks, NAMES, delimiter=",", max_record_bytes=1000)

    assert (caught.value.code, caught.value.facts) == ("malformed_csv", {"line": line, "column": column})
    assert str(caught.value).startswith(f"line {line}, column {column}: ")
    assert words in str(caught.value)
    assert [issue.where for issue in caught.value.issues] == [f"line {line}, column {column}"]


@pytest.mark.parametrize(
    ("content", "records"),
    [
        (b"1,2,3\n4,5,6\n", 3),
        (b"1,2,3\n4,5,6", 3),
        (b"1,2,3\r\n4,5,6\r\n", 3),
        (b"\n\n1,2,3\r\n\r\n4,5,6\n\n", 3),
        (b'"1","2","3"\n', 2),
        (b'"","",""""\n', 2),
        (b'1,"a ""quoted"" word",3\n', 2),
        (b'1,"two\r\nlines, one value",3\n', 2),
        (b",,\n", 2),
        ("1,€,日本\n".encode(), 2),
        (b"", 1),
    ],
)
@pytest.mark.parametrize("block_size", [1, 2, 5, 1000])
def test_well_formed_records_are_counted(content: bytes, records: int, block_size: int) -> None:
    data = HEADER + content
    blocks = [data[start : start + block_size] for start in range(0, len(data), block_size)]

    assert scan(blocks, NAMES, delimiter=",", max_record_bytes=1000) == records


def test_a_record_without_end_is_refused_before_it_fills_memory() -> None:
    endless = (b'"' + b"x" * 100 if number == 0 else b"x" * 100 for number in range(10**9))

    with pytest.raises(Invalid, match="more than 1000 bytes"):
        scan(endless, NAMES, delimiter=",", max_record_bytes=1000)


VALUES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00"), max_size=8)


@given(
    rows=st.lists(st.lists(VALUES, min_size=2, max_size=2), min_size=1, max_size=8),
    line_end=st.sampled_from(["\n", "\r\n"]),
    block_size=st.integers(1, 40),
)
@settings(max_examples=200, deadline=None)
def test_what_pythons_writer_writes_is_well_formed(rows: list[list[str]], line_end: str, block_size: int) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator=line_end, quoting=csv.QUOTE_ALL).writerows(rows)
    data = text.getvalue().encode()
    blocks = [data[start : start + block_size] for start in range(0, len(data), block_size)]

    assert scan(blocks, ["a", "b"], delimiter=",", max_record_bytes=10_000) == len(rows)


@given(
    rows=st.lists(
        st.lists(st.sampled_from(["x", "", 'q"', "l\nl", "c,", "\r\n"]), min_size=2, max_size=2), min_size=1, max_size=5
    ),
    block_size=st.integers(1, 20),
)
@settings(max_examples=80, deadline=None)
def test_the_line_of_each_record_is_known(rows: list[list[str]], block_size: int) -> None:
    expected, text, line = [], "", 1
    for row in rows:
        part = io.StringIO()
        csv.writer(part, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow(row)
        expected.append(line)
        text += part.getvalue()
        line += part.getvalue().count("\n")
    data = text.encode()
    blocks = [data[start : start + block_size] for start in range(0, len(data), block_size)]

    found = [line_of_record(blocks, ["a", "b"], delimiter=",", record=number) for number in range(len(rows))]

    assert found == expected


REFUSED_FILES = [
    # what, bytes, code, words
    ("nothing", b"", "empty_file", "empty"),
    ("a byte order mark", b"\xef\xbb\xbf", "empty_file", "empty"),
    ("an empty first line", b"\na,b\n1,2\n", "malformed_csv", "line 1, column 1: the first line is empty"),
    ("a header alone", b"a,b\n", "no_rows", "a header and no rows"),
    ("a header and empty lines", b"a,b\n\n\n", "no_rows", "a header and no rows"),
    ("a name twice", b"a,b,a\n1,2,3\n", "bad_column_name", "line 1, column 3: the name 'a' is that of column 1 too"),
    ("one name in two spellings", "é,e\u0301\n1,2\n".encode(), "bad_column_name", "that of column 1 too"),
    ("an empty name", b"a,,c\n1,2,3\n", "bad_column_name", "line 1, column 2: the name is empty"),
    ("a trailing comma", b"a,b,\n1,2,\n", "bad_column_name", "line 1, column 3: the name is empty"),
    ("a blank name", b"a,  \n1,2\n", "bad_column_name", "column 2: the name is empty"),
    ("a line break in a name", b'a,"b\nc"\n1,2\n', "bad_column_name", "characters that cannot be shown"),
    ("right-to-left override", "a,b\u202ec\n1,2\n".encode(), "bad_column_name", "characters that cannot be shown"),
    ("a name of 129", b"a," + b"x" * 129 + b"\n1,2\n", "bad_column_name", "has 129 characters"),
    ("a broken header", b'a,"b"c\n1,2\n', "malformed_csv", "line 1, column"),
    ("Latin-1 in the header", b"a,caf\xe9\n1,2\n", "malformed_csv", "line 1, column"),
    ("NUL in the header", b"a,b\x00\n1,2\n", "malformed_csv", "line 1, column"),
    ("an open quote in the header", b'a,"b\n1,2\n', "malformed_csv", "line 1, column"),
    ("UTF-16", "a,b\n1,2\n".encode("utf-16"), "unknown_format", "UTF-16"),
    ("a zip", b"PK\x03\x04" + bytes(30), "unknown_format", "zip archive or an Excel workbook"),
    (
        "2,001 columns",
        b",".join(b"c%d" % n for n in range(2001)) + b"\n" + b"," * 2000 + b"\n",
        "too_many_columns",
        "2001",
    ),
    ("gzip cut short", gzip.compress(b"a,b\n" + b"1,2\n" * 9999)[:60], "bad_compression", "cut short"),
    ("gzip of nothing", gzip.compress(b""), "malformed_csv", "first line is empty"),
    ("no gzip", b"\x1f\x8b" + bytes(30), "bad_compression", "damaged"),
    ("no zstd", b"\x28\xb5\x2f\xfd" + b"\xff" * 30, "bad_compression", "damaged"),
    ("no parquet", b"PAR1" + bytes(30) + b"PAR1", "malformed_parquet", "cannot be read as Parquet"),
]


@pytest.mark.parametrize(
    ("content", "code", "words"), [case[1:] for case in REFUSED_FILES], ids=[c[0] for c in REFUSED_FILES]
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: bytes, code: str, words: str) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(content)

    with pytest.raises(Invalid) as caught:
        ingest(upload, tmp_path / "out.parquet")

    assert caught.value.code == code, str(caught.value)
    assert words in str(caught.value)


def test_a_bomb_is_stopped_at_the_limit(tmp_path: Path) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 3_000_000))

    with pytest.raises(TooLarge, match="more than 5000000 bytes when unpacked"):
        ingest(upload, tmp_path / "out.parquet", limits=IngestLimits(max_table_bytes=5_000_000))
