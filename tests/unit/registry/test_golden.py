"""Golden rows: what is asked, and when two answers are one."""

import math
from datetime import UTC, date, datetime
from typing import Any

import pytest

from carrara.contracts.contract import ColumnType, InputColumn, ModelContract
from carrara.registry.domain import reason_of
from carrara.registry.environment import environment_digest, environment_document, pinned
from carrara.registry.golden import MAX_ROWS, as_request, edge_rows, first_difference, invented_row, tolerance_for
from carrara.registry.mlflow_names import metric_value, param_name, param_value

CONTRACT = ModelContract(
    task="generic",
    inputs=[
        InputColumn(name="n", type=ColumnType.INTEGER, nullable=True),
        InputColumn(name="t", type=ColumnType.TIMESTAMP),
        InputColumn(name="c", type=ColumnType.TEXT),
    ],
)


def test_rows_are_asked_as_a_request_would() -> None:
    columns = {
        "n": [1.0, math.nan, 3],
        "t": [datetime(2026, 1, 1, 12, tzinfo=UTC), date(2026, 1, 2), None],
        "c": ["a", 5, "b"],
        "other": [1, 2, 3],
    }
    assert as_request(columns, CONTRACT) == {
        "n": [1, None],
        "t": ["2026-01-01T12:00:00+00:00", "2026-01-02"],
        "c": ["a", "5"],
    }


def test_a_nullable_column_may_be_absent_and_another_may_not() -> None:
    assert as_request({"t": ["2026-01-01"], "c": ["a"]}, CONTRACT)["n"] == [None]
    with pytest.raises(KeyError):
        as_request({"n": [1], "t": ["2026-01-01"]}, CONTRACT)


def test_rows_are_limited() -> None:
    many = MAX_ROWS + 10
    assert len(as_request({"t": ["2026-01-01"] * many, "c": ["a"] * many}, CONTRACT)["t"]) == MAX_ROWS


def test_edges_change_one_column_at_a_time() -> None:
    edges = edge_rows(invented_row(CONTRACT), CONTRACT)
    first = {name: values[0] for name, values in invented_row(CONTRACT).items()}
    rows = [dict(zip(edges, values, strict=True)) for values in zip(*edges.values(), strict=True)]
    assert len(rows) == 8
    assert all(sum(row[name] != first[name] for name in row) == 1 for row in rows)


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        ({"p": [1.0, 2.0]}, {"p": [1.0, 2.0 + 1e-12]}, None),
        ({"p": [1.0, 2.0]}, {"p": [1.0, 2.1]}, ("p", 1)),
        ({"p": [1]}, {"p": [1.0]}, None),
        ({"p": [True]}, {"p": [1]}, ("p", 0)),
        ({"p": ["a"]}, {"p": ["b"]}, ("p", 0)),
        ({"p": [[0.1, 0.9]]}, {"p": [[0.1, 0.9 + 1e-12]]}, None),
        ({"p": [{"a": 1.0}]}, {"p": [{"a": 2.0}]}, ("p", 0)),
        ({"p": [1]}, {"p": [1, 2]}, ("p", -1)),
        ({"p": [1]}, {"q": [1]}, ("p", -1)),
        ({"p": [math.nan]}, {"p": [math.nan]}, ("p", 0)),
    ],
)
def test_answers_differ_beyond_the_tolerance(one: Any, other: Any, difference: Any) -> None:
    assert first_difference(one, other, 1e-8) == difference


@pytest.mark.parametrize(("outputs", "tolerance"), [([0.1], 1e-8), ([-5e6, 1.0], 5e-2), (["a"], 1e-8), ([[2e3]], 2e-5)])
def test_the_tolerance_goes_with_the_largest_number(outputs: Any, tolerance: float) -> None:
    assert tolerance_for({"prediction": outputs}) == pytest.approx(tolerance)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("a/b", "a/b"),
        ("a//b", "a__b"),
        ("../x", ".._x"),
        ("..", "_"),
        ("", "_"),
        ("ä|b", "ä_b"),
        ("x" * 300, "x" * 250),
    ],
)
def test_names_are_made_to_fit_mlflow(name: str, kept: str) -> None:
    assert param_name(name) == kept


def test_values_are_made_to_fit_mlflow() -> None:
    assert len(param_value("x" * 7000)) == 6000
    assert [metric_value(value) for value in (1.5, math.nan, math.inf, -math.inf)] == [
        1.5,
        "NaN",
        "Infinity",
        "-Infinity",
    ]


def test_the_environment_is_sorted_normalised_and_without_ourselves() -> None:
    assert pinned([("Zope.Interface", "1"), ("a_b", "2"), ("carrara", "0.1"), ("a-b", "2")]) == [
        "a-b==2",
        "zope-interface==1",
    ]
    assert b"numpy==" in environment_document()
    assert environment_digest().startswith("sha256:")


@pytest.mark.parametrize(
    ("job_error", "reason"),
    [("unsafe_model", "unsafe"), ("unsafe", "unsafe"), ("wrong_answer", "wrong_answer"), ("timed_out", "load_failed")],
)
def test_every_failed_validation_has_a_reason(job_error: str, reason: str) -> None:
    assert reason_of(job_error).value == reason
