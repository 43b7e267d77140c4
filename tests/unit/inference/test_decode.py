"""The contract on the way in: what is taken, and the exact word about what is not."""

import gzip
import json
import tracemalloc
import zlib
from typing import Any

import pytest

from carrara.contracts.contract import ColumnType, InputColumn, ModelContract
from carrara.inference.body import unpack
from carrara.inference.decode import RequestDecoder, count_rows
from carrara.inference.failures import MalformedBody
from carrara.kernel.errors import CarraraError, Invalid, TooLarge

CONTRACT = ModelContract(
    task="regression",
    inputs=[
        InputColumn(name="distance", type=ColumnType.INTEGER),
        InputColumn(name="delay", type=ColumnType.NUMBER, nullable=True),
        InputColumn(name="carrier", type=ColumnType.TEXT),
        InputColumn(name="night", type=ColumnType.BOOLEAN, nullable=True),
        InputColumn(name="at", type=ColumnType.TIMESTAMP, nullable=True),
        InputColumn(name="day", type=ColumnType.DATE, nullable=True),
    ],
)
DECODER = RequestDecoder(CONTRACT, max_rows=100)
LENIENT = RequestDecoder(CONTRACT.model_copy(update={"extra_columns": "ignore"}), max_rows=100)
ROW = {"distance": 200, "delay": 1.5, "carrier": "UA", "night": True, "at": "2013-03-01T10:00:00Z", "day": "2013-03-01"}


def decode(*rows: dict[str, Any], decoder: RequestDecoder = DECODER) -> dict[str, list[Any]]:
    return decoder.decode(json.dumps({"instances": rows}).encode()).columns


def refusal(body: bytes | dict[str, Any], decoder: RequestDecoder = DECODER) -> Invalid:
    with pytest.raises(Invalid) as caught:
        decoder.decode(body if isinstance(body, bytes) else json.dumps(body).encode())
    return caught.value


def facts_of(error: Invalid) -> list[tuple[str, Any, Any]]:
    return [(issue.code, (issue.facts or {}).get("row"), (issue.facts or {}).get("column")) for issue in error.issues]


def test_rows_become_columns_in_the_order_of_the_contract() -> None:
    columns = decode(dict(reversed(ROW.items())), {"distance": 7, "carrier": "AA"})

    assert list(columns) == [column.name for column in CONTRACT.inputs]
    assert columns["distance"] == [200, 7]
    assert columns["delay"] == [1.5, None]
    assert columns["at"] == ["2013-03-01T10:00:00", None]


def test_columns_say_the_same_as_instances() -> None:
    body = json.dumps({"columns": {name: [value, value] for name, value in ROW.items()}}).encode()

    assert DECODER.decode(body).columns == decode(ROW, ROW)


@pytest.mark.parametrize(
    ("column", "given", "expected"),
    [
        ("distance", 1.0, 1),
        ("distance", -(2**63), -(2**63)),
        ("delay", 3, 3.0),
        ("delay", 10**30, 1e30),
        ("delay", None, None),
        ("night", None, None),
        ("carrier", "", ""),
        ("carrier", 'has ":" in it', 'has ":" in it'),
        ("at", "2013-03-01T10:00:00+02:00", "2013-03-01T08:00:00"),
        ("at", "2013-03-01", "2013-03-01T00:00:00"),
        ("day", "2013-12-31", "2013-12-31"),
    ],
)
def test_a_value_takes_its_canonical_form(column: str, given: Any, expected: Any) -> None:
    (found,) = decode({**ROW, column: given})[column]

    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("column", "given", "code", "got"),
    [
        ("distance", "200", "wrong_type", "text '200'"),
        ("distance", True, "wrong_type", "boolean True"),
        ("distance", 1.5, "wrong_type", "number 1.5"),
        ("distance", None, "null_value", "null"),
        ("distance", 2**63, "out_of_range", "9223372036854775808, beyond 64 bits"),
        ("distance", [1], "wrong_type", "list"),
        ("delay", "1.5", "wrong_type", "text '1.5'"),
        ("delay", False, "wrong_type", "boolean False"),
        ("delay", {"a": 1}, "wrong_type", "object"),
        ("carrier", 5, "wrong_type", "integer 5"),
        ("carrier", None, "null_value", "null"),
        ("night", 1, "wrong_type", "integer 1"),
        ("night", "true", "wrong_type", "text 'true'"),
        ("at", "yesterday", "wrong_type", "text 'yesterday', which is no ISO 8601 time"),
        ("at", 1362132000, "wrong_type", "integer 1362132000"),
        (
            "at",
            "0001-01-01T00:00:00+14:00",
            "wrong_type",
            "text '0001-01-01T00:00:00+14:00', which is no ISO 8601 time",
        ),
        ("day", "20130301", "wrong_type", "text '20130301', which is no date YYYY-MM-DD"),
        ("day", "2013-02-30", "wrong_type", "text '2013-02-30', which is no date YYYY-MM-DD"),
    ],
)
def test_a_wrong_value_is_named_with_row_column_expected_and_got(column: str, given: Any, code: str, got: str) -> None:
    error = refusal({"instances": [ROW, {**ROW, column: given}]})

    assert facts_of(error) == [(code, 1, column)]
    (issue,) = error.issues
    assert issue.where == f"row 1, column {column}"
    assert (issue.facts or {})["got"] == got
    assert (issue.facts or {})["expected"].startswith(str(next(c.type for c in CONTRACT.inputs if c.name == column)))


def test_every_fault_of_a_request_is_told_at_once() -> None:
    first = {name: value for name, value in ROW.items() if name != "carrier"}

    error = refusal({"instances": [first, {**ROW, "distance": "x", "colour": 1}]})

    assert sorted(facts_of(error), key=str) == [
        ("extra_column", 1, "colour"),
        ("missing_column", 0, "carrier"),
        ("wrong_type", 1, "distance"),
    ]


def test_at_most_twenty_faults_are_listed_and_the_rest_is_counted() -> None:
    error = refusal({"instances": [{**ROW, "distance": "x"}] * 50})

    assert len(error.issues) == 20
    assert error.facts["issue_count"] == 50
    assert error.facts["issues_not_listed"] == 30


def test_extra_columns_are_ignored_and_counted_where_the_contract_says_so() -> None:
    batch = LENIENT.decode(json.dumps({"instances": [{**ROW, "a": 1, "b": 2}, {**ROW, "a": 3}]}).encode())

    assert batch.ignored == 3
    assert "a" not in batch.columns


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_that_are_not_finite_are_named(literal: str) -> None:
    row = json.dumps({**ROW, "delay": 0}).replace('"delay": 0', f'"delay": {literal}')

    error = refusal(f'{{"instances": [{row}]}}'.encode())

    assert error.code == "non_finite"
    assert facts_of(error) == [("non_finite", 0, "delay")]


def test_no_rows_are_no_error() -> None:
    assert DECODER.decode(b'{"instances": []}').rows == 0
    assert DECODER.decode(b'{"columns": {}}').rows == 0


@pytest.mark.parametrize("form", ["instances", "columns"])
def test_too_many_rows_are_refused_with_a_hint(form: str) -> None:
    content = [ROW] * 101 if form == "instances" else {name: [value] * 101 for name, value in ROW.items()}

    with pytest.raises(TooLarge, match="batch job") as caught:
        DECODER.decode(json.dumps({form: content}).encode())

    assert caught.value.facts == {"rows": 101, "limit": 100}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "bad_json"),
        (b'{"instances": [', "bad_json"),
        (b'{"instances": []} x', "bad_json"),
        (b"\xff\xfe", "not_utf8"),
        (b'{"instances": [{"carrier": "\xc3\x28"}]}', "not_utf8"),
        (b'{"instances": [{"carrier": "\\ud800"}]}', "bad_json"),
        (b"[" * 10_000, "too_deep"),
        (b'{"instances":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "too_deep"),
        (b'{"instances": [{"distance": ' + b"1" * 1_000_000 + b"}]}", "number_too_long"),
        (b'{"instances": [], "instances": []}', "duplicate_key"),
        (b'{"instances": [{"distance": 1, "distance": 2}]}', "duplicate_key"),
        (b'{"columns": {"distance": [1], "distance" : [2]}}', "duplicate_key"),
        (b'{"columns": {"distance" : ["a:b"], "distance" : ["\\u003a"]}}', "duplicate_key"),
    ],
)
def test_fault_f32_a_body_that_is_no_json_of_ours_is_malformed(body: bytes, code: str) -> None:
    error = refusal(body)

    assert isinstance(error, MalformedBody)
    assert error.code == code


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"3",
        b"null",
        b'{"rows": []}',
        b'{"instances": [], "columns": {}}',
        b'{"instances": {}}',
        b'{"instances": [1]}',
        b'{"columns": []}',
        b'{"columns": {"distance": 1}}',
        b'{"columns": {"distance": [1], "carrier": []}}',
        b'{"instances": [], "parameters": {}}',
    ],
)
def test_a_document_of_another_form_says_what_was_expected(body: bytes) -> None:
    error = refusal(body)

    assert error.code == "bad_form"
    assert "expected" in error.message


def test_fault_f32_a_zip_bomb_stops_at_the_limit() -> None:
    bomb = gzip.compress(b"0" * (256 << 20), compresslevel=9)
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            unpack(bomb, "gzip", 1 << 20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 8 << 20


def test_gzip_is_unpacked_whole() -> None:
    assert unpack(gzip.compress(b"one") + gzip.compress(b"two"), "gzip", 100) == b"onetwo"


@pytest.mark.parametrize(
    ("body", "encoding", "code"),
    [
        (b"no gzip", "gzip", "bad_gzip"),
        (gzip.compress(b"cut" * 100, mtime=0)[:-9], "gzip", "bad_gzip"),
        (gzip.compress(b"more", mtime=0) + b"rest", "gzip", "bad_gzip"),
        (zlib.compress(b"x"), "deflate", "unknown_encoding"),
    ],
)
def test_fault_f32_a_broken_or_unknown_encoding_is_malformed(body: bytes, encoding: str, code: str) -> None:
    with pytest.raises(MalformedBody) as caught:
        unpack(body, encoding, 1000)

    assert caught.value.code == code


def test_rows_are_counted_without_a_contract() -> None:
    assert count_rows(b'{"instances": [{"a": 1}, {"b": 2}]}', 10) == 2
    assert count_rows(b'{"columns": {"a": [1, 2, 3]}}', 10) == 3
    with pytest.raises(CarraraError):
        count_rows(b'{"columns": {"a": 5}}', 10)
