"""Profiles: exact figures against published and hand-made ones, and estimates within the error that they name."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.support.flights import flights_folder

from carrara.contracts.datasets import ColumnProfile, ColumnSchema
from carrara.datasets.distinct import KEPT_HASHES, RELATIVE_ERROR, DistinctCount
from carrara.datasets.ingest import ingest
from carrara.datasets.profile import profile_parquet
from carrara.datasets.profile_numbers import profile_numbers
from carrara.datasets.profile_texts import TextCounts


def _profile(folder: Path, csv: str) -> dict[str, ColumnProfile]:
    (folder / "x.csv").write_text(csv)
    table = ingest(folder / "x.csv", folder / "x.parquet")
    return {column.name: column for column in profile_parquet(table.path, table.columns).profile.columns}


def _schema(folder: Path, csv: str) -> dict[str, ColumnSchema]:
    (folder / "x.csv").write_text(csv)
    table = ingest(folder / "x.csv", folder / "x.parquet")
    found = profile_parquet(table.path, table.columns)
    return {column.name: column for column in found.schema(table.column_digests)}


def test_the_figures_of_a_small_column_are_those_on_paper(tmp_path: Path) -> None:
    found = _profile(tmp_path, "x,y\n1,\n2,a\n2,b\n3,a\n,a\n")

    x = found["x"]
    assert (x.count, x.nulls, x.distinct, x.minimum, x.maximum, x.mean) == (5, 1, 3, 1, 3, 2.0)
    assert x.std == pytest.approx(math.sqrt(2 / 3))
    assert x.quantiles is not None
    assert (x.quantiles["0.25"], x.quantiles["0.5"], x.quantiles["0.75"]) == (1.75, 2.0, 2.25)
    assert x.histogram is not None
    assert (x.histogram.edges, x.histogram.counts) == ([0.5, 1.5, 2.5, 3.5], [1, 2, 1])
    y = found["y"]
    assert (y.nulls, y.distinct, y.other_rows) == (1, 2, 0)
    assert y.top is not None
    assert [(each.value, each.count) for each in y.top] == [("a", 3), ("b", 1)]


def test_nan_and_infinity_are_counted_and_left_out(tmp_path: Path) -> None:
    x = _profile(tmp_path, "x,y\nnan,1\ninf,1\n-inf,1\n1.5,1\n2.5,1\n0,1\n-0.0,1\n")["x"]

    assert (x.count, x.nan, x.infinite, x.distinct) == (7, 1, 2, 3)
    assert (x.minimum, x.maximum, x.mean) == (0, 2.5, 1.0)
    assert x.histogram is not None
    assert (len(x.histogram.counts), sum(x.histogram.counts)) == (20, 4)


@pytest.mark.parametrize(
    ("values", "mean", "std"),
    [
        (["5"], 5.0, None),
        (["7", "7", "7"], 7.0, 0.0),
        (["", "nan"], None, None),
        (["1e308", "1.7e308", "-1e308"], None, None),
        (["1000000000.1", "1000000000.2", "1000000000.3"], 1000000000.2, 0.1),
        (["9223372036854775807", "-9223372036854775808"], -0.5, 1.3043817825332783e19),
    ],
)
def test_extreme_columns_have_figures_that_json_can_hold(
    tmp_path: Path, values: list[str], mean: float | None, std: float | None
) -> None:
    x = _profile(tmp_path, "x,y\n" + "".join(f"{value},1\n" for value in values))["x"]

    if mean is not None:
        assert x.mean == pytest.approx(mean, abs=1)
    assert x.std == (None if std is None else pytest.approx(std, rel=1e-5))
    assert ColumnProfile.model_validate_json(x.model_dump_json()) == x
    assert "NaN" not in x.model_dump_json() and "Infinity" not in x.model_dump_json()


def test_times_dates_and_booleans(tmp_path: Path) -> None:
    found = _profile(
        tmp_path,
        "utc,at,day,flag\n"
        "2013-01-01T00:00Z,2013-01-01T00:00,2013-01-01,true\n"
        "2013-01-11T00:00Z,2013-01-01T00:00,2013-01-21,false\n"
        "2013-01-21T00:00Z,2013-01-01T00:00,,true\n",
    )

    utc, at, day, flag = (found[name] for name in ("utc", "at", "day", "flag"))
    assert (utc.minimum, utc.maximum, utc.distinct) == ("2013-01-01T00:00:00Z", "2013-01-21T00:00:00Z", 3)
    assert utc.histogram is not None
    assert utc.histogram.counts == [1] + [0] * 9 + [1] + [0] * 8 + [1]
    assert utc.histogram.edges[1] == "2013-01-02T00:00:00"
    assert (at.minimum, at.maximum, at.distinct) == ("2013-01-01T00:00:00", "2013-01-01T00:00:00", 1)
    assert at.histogram is not None
    assert at.histogram.counts == [3]
    assert (day.minimum, day.maximum, day.nulls) == ("2013-01-01", "2013-01-21", 1)
    assert flag.top is not None
    assert [(each.value, each.count) for each in flag.top] == [("true", 2), ("false", 1)]


def test_the_schema_tells_range_nullability_and_few_categories(tmp_path: Path) -> None:
    many = "".join(f"{number},c{number % 200},v{number % 201},{number / 2}\n" for number in range(1000))

    schema = _schema(tmp_path, "id,few,many,half\n" + many + ",c0,v0,\n")

    assert (schema["id"].nullable, schema["id"].minimum, schema["id"].maximum) == (True, 0, 999)
    assert (schema["half"].minimum, schema["half"].maximum) == (0.0, 499.5)
    assert schema["few"].categories == sorted(f"c{number}" for number in range(200))
    assert (schema["few"].nullable, schema["many"].categories) == (False, None)


def test_the_weather_has_its_published_figures(tmp_path: Path) -> None:
    # summary(nycflights13::weather) in R: temp 10.94 39.92 55.40 55.26 69.98 100.04, 1 NA; EWR 8703, JFK 8706, LGA 8706
    found = _profile(tmp_path, (flights_folder() / "weather.csv").read_text())

    temp, origin = found["temp"], found["origin"]
    assert (temp.count, temp.nulls, temp.minimum, temp.maximum) == (26_115, 1, 10.94, 100.04)
    assert temp.quantiles is not None and temp.mean is not None
    assert (temp.quantiles["0.25"], temp.quantiles["0.5"], temp.quantiles["0.75"]) == (39.92, 55.4, 69.98)
    assert round(temp.mean, 2) == 55.26
    assert origin.top is not None
    assert {each.value: each.count for each in origin.top} == {"EWR": 8703, "JFK": 8706, "LGA": 8706}


@pytest.mark.parametrize("dtype", ["f8", "i8"])
def test_long_columns_are_sampled_for_quantiles_and_exact_for_the_rest(dtype: str) -> None:
    values = np.random.default_rng(7).normal(1000, 200, 300_000).astype(dtype)

    def pieces() -> object:
        return iter(np.array_split(values, 7))

    exact = profile_numbers(pieces, values.size)  # type: ignore[arg-type]
    sampled = profile_numbers(pieces, values.size, exact_values=40_000)  # type: ignore[arg-type]

    assert (exact["quantiles_are_exact"], sampled["quantiles_are_exact"]) == (True, False)
    for name in ("minimum", "maximum", "histogram"):
        assert sampled[name] == exact[name]
    assert sampled["mean"] == pytest.approx(values.mean())
    assert sampled["std"] == exact["std"] == pytest.approx(values.std(ddof=1))
    assert exact["quantiles"]["0.95"] == pytest.approx(np.quantile(values, 0.95))
    assert sampled["quantiles"]["0.95"] == pytest.approx(exact["quantiles"]["0.95"], rel=0.01)
    assert exact["distinct"] == np.unique(values).size
    assert sampled["distinct"] == pytest.approx(exact["distinct"], rel=4 * RELATIVE_ERROR)


@pytest.mark.parametrize("count", [0, 1, KEPT_HASHES - 1, 50_000, 1_000_000])
def test_the_number_of_different_values_is_exact_while_small_and_close_when_large(count: int) -> None:
    counter = DistinctCount()
    for _ in range(2):
        for piece in np.array_split(np.arange(count, dtype=np.int64), 5):
            counter.see_bits(piece)

    assert counter.is_exact == (count < KEPT_HASHES)
    if counter.is_exact:
        assert counter.count == count
    else:
        assert counter.count == pytest.approx(count, rel=4 * RELATIVE_ERROR)


def test_too_many_texts_are_counted_within_the_error_that_is_told() -> None:
    rng = np.random.default_rng(11)
    common = [f"common{number}" for number in rng.zipf(1.5, 40_000) if number <= 20]
    rare = [f"rare{number}" for number in range(30_000)]
    texts = np.array(common + rare)
    rng.shuffle(texts)
    true = {value: int(count) for value, count in zip(*np.unique(texts, return_counts=True), strict=True)}
    counts = TextCounts(kept_texts=2_000)
    for piece in np.array_split(texts, 40):
        counts.see(pa.array(piece.tolist()))

    found = counts.fields()

    assert (found["top_is_exact"], found["distinct_is_exact"]) == (False, False)
    assert found["distinct"] == pytest.approx(len(true), rel=4 * RELATIVE_ERROR)
    for each in found["top"][:10]:
        assert true[each.value] - found["top_error"] <= each.count <= true[each.value]
    assert found["other_rows"] == len(texts) - sum(each.count for each in found["top"])
    assert counts.categories() is None


def test_long_texts_are_shown_short_and_are_no_categories() -> None:
    counts = TextCounts()
    counts.see(pa.array(["x" * 1000, "y"]))

    assert counts.categories() is None
    assert [len(each.value) for each in counts.fields()["top"]] == [256, 1]
