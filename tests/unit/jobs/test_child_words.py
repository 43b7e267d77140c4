"""A child's events and output, believed as far as they are well formed."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrara.jobs.events import MAX_METRICS_SHOWN, EventFold
from carrara.jobs.jsonable import NotJson, clean_json, shown_json
from carrara.jobs.output import CHUNK_BYTES, OutputChunks


def test_progress_is_kept_within_bounds_and_only_news_is_given() -> None:
    fold = EventFold()
    fold.add({"event": "progress", "fraction": 7, "message": "x" * 5000})
    progress = fold.take_progress()
    assert progress is not None
    assert progress.fraction == 1.0
    assert len(progress.message) == 2000
    assert fold.take_progress() is None


def test_the_latest_value_of_each_metric_is_shown_and_every_one_is_written() -> None:
    fold = EventFold()
    for step in range(3):
        fold.add({"event": "metric", "name": "loss", "value": 1 / (step + 1), "step": step})
    fold.add({"event": "metric", "name": "odd", "value": math.inf})
    assert fold.progress.metrics == {"loss": 1 / 3}
    points = fold.take_metric_points()
    assert [point["step"] for point in points] == [0, 1, 2, 0]
    assert points[3] == {"name": "odd", "value": math.inf, "step": 0}
    assert fold.take_metric_points() == []


def test_a_flood_of_metric_names_is_bounded() -> None:
    fold = EventFold()
    for number in range(MAX_METRICS_SHOWN + 50):
        fold.add({"event": "metric", "name": f"m{number}", "value": number})
    assert len(fold.progress.metrics) == MAX_METRICS_SHOWN


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"event": None},
        {"event": "dance"},
        {"event": "metric", "name": "", "value": 1},
        {"event": "metric", "name": "x" * 300, "value": 1},
        {"event": "metric", "name": "x", "value": "1"},
        {"event": "metric", "name": "x", "value": True},
        {"event": "metric", "name": "x", "value": 1, "step": 0.5},
        {"event": "progress", "fraction": math.nan},
        {"event": "progress", "fraction": "half"},
        {"event": "result", "value": [1]},
        {"event": "result", "value": {"x": math.nan}},
        {"event": "result", "value": {"x": b"bytes"}},
        {"event": "result", "value": {"x": "y" * (2 << 20)}},
        {"event": "user_error", "reason": "x", "facts": {"x": b""}},
    ],
)
def test_a_malformed_event_is_refused_and_changes_nothing(event: dict[str, Any]) -> None:
    fold = EventFold()
    with pytest.raises(NotJson):
        fold.add(event)
    assert fold == EventFold()


def test_a_second_result_is_refused() -> None:
    fold = EventFold()
    fold.add({"event": "result", "value": {"a": 1}})
    with pytest.raises(NotJson, match="exactly one"):
        fold.add({"event": "result", "value": {"a": 2}})
    assert fold.result == {"a": 1}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


@given(JSON)
def test_what_is_kept_can_be_held_by_postgres(value: Any) -> None:
    text = json.dumps(clean_json(value), allow_nan=False)
    assert "\\u0000" not in text
    assert clean_json(clean_json(value)) == clean_json(value)


@given(st.recursive(JSON | st.binary() | st.floats(), lambda inner: st.lists(inner, max_size=3), max_leaves=10))
def test_an_error_can_always_be_shown(value: Any) -> None:
    json.dumps(shown_json({"fact": value}), allow_nan=False)


def test_deep_nesting_is_refused_and_still_shown() -> None:
    value: Any = 1
    for _ in range(100):
        value = [value]
    with pytest.raises(NotJson, match="deeper"):
        clean_json(value)
    json.dumps(shown_json(value))


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_output_under_the_limit_comes_out_as_it_went_in(parts: list[bytes]) -> None:
    output = OutputChunks()
    given_out: list[str] = []
    for part in parts:
        output.add(part)
        given_out += output.take()
    given_out += output.finish()
    assert "".join(given_out) == b"".join(parts).decode(errors="replace").replace("\x00", "\ufffd")


@pytest.mark.parametrize("character", ["a", "é", "😀"])
def test_no_piece_is_over_its_size_and_no_character_is_cut(character: str) -> None:
    output = OutputChunks()
    output.add((character * 100_001).encode())
    pieces = output.finish()
    assert "".join(pieces) == character * 100_001
    assert max(len(piece.encode()) for piece in pieces) <= CHUNK_BYTES


def test_past_the_limit_the_beginning_and_the_end_are_kept() -> None:
    output = OutputChunks(max_bytes=1000, tail_bytes=100)
    for number in range(1000):
        output.add(b"line %4d\n" % number)
    text = "".join(output.finish())
    assert text.startswith("line    0\n")
    assert text.endswith("line  999\n")
    assert "bytes were dropped here" in text
    assert len(text) < 1300
