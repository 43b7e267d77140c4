"""Small Parquet files that unpack to much: refused, or read in pieces, in little memory."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from carrara.datasets.ingest import ingest
from carrara.kernel.errors import CarraraError

MIB = 1 << 20
_MEASURED = """
import sys
from pathlib import Path
from carrara.datasets.ingest import ingest
from carrara.kernel.errors import CarraraError
def peak():  # ru_maxrss would begin with what the test process has, VmHWM begins anew
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmHWM"))
before = peak()
try:
    ingest(Path(sys.argv[1]), Path(sys.argv[2]))
    print("taken")
except CarraraError as error:
    print(error.code)
print(peak() - before)
"""


def _repeated(text: str, rows: int) -> pa.Table:
    indices = pa.repeat(pa.scalar(0, pa.int32()), rows)
    return pa.table({"a": pa.DictionaryArray.from_arrays(indices, pa.array([text])), "y": pa.repeat(1, rows)})


def _measured(table: pa.Table, folder: Path, **options: object) -> tuple[int, str, int]:
    upload = folder / "upload.parquet"
    pq.write_table(table, upload, compression="zstd", **options)
    command = [sys.executable, "-c", _MEASURED, str(upload), str(folder / "out.parquet")]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    outcome, grown = ran.stdout.split()
    return upload.stat().st_size, outcome, int(grown)


def test_one_text_of_200_megabytes_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    size, outcome, grown = _measured(pa.table({"a": ["A" * 200_000_000], "y": [1]}), tmp_path)
    assert size < 100_000
    assert outcome == "cell_too_large"
    assert grown < 64 * MIB


def test_a_long_text_among_short_ones_is_refused_in_little_memory(tmp_path: Path) -> None:
    texts = [*["a"] * 30_000, "A" * 30_000_000]
    _, outcome, grown = _measured(pa.table({"a": texts}), tmp_path, use_dictionary=False)
    assert outcome == "cell_too_large"
    assert grown < 400 * MIB


def test_a_dictionary_that_unpacks_to_100_gigabytes_is_stopped(tmp_path: Path) -> None:
    size, outcome, grown = _measured(_repeated("A" * 50_000, 2_000_000), tmp_path)
    assert size < 100_000
    assert outcome == "too_large"
    assert grown < 300 * MIB


def test_many_middling_texts_packed_tightly_are_refused(tmp_path: Path) -> None:
    table = pa.table({f"c{n}": ["A" * 100_000 + str(row) for row in range(300)] for n in range(10)})
    size, outcome, grown = _measured(table, tmp_path, use_dictionary=False)
    assert size < 2 * MIB
    assert outcome == "too_large"
    assert grown < 64 * MIB


@pytest.mark.parametrize("use_dictionary", [True, False])
def test_a_constant_column_of_ten_million_rows_is_taken(tmp_path: Path, use_dictionary: bool) -> None:
    upload = tmp_path / "upload.parquet"
    table = pa.table({"a": pa.repeat(7, 10_000_000)})
    pq.write_table(table, upload, compression="zstd", use_dictionary=use_dictionary)
    assert upload.stat().st_size < 4 * MIB
    assert ingest(upload, tmp_path / "out.parquet").row_count == 10_000_000


def test_a_text_of_one_mebibyte_is_taken_and_one_more_is_not(tmp_path: Path) -> None:
    for length, is_taken in ((MIB, True), (MIB + 1, False)):
        pq.write_table(pa.table({"a": ["A" * length, "b"]}), tmp_path / "upload.parquet")
        try:
            ingest(tmp_path / "upload.parquet", tmp_path / "out.parquet")
        except CarraraError as error:
            assert (error.code, is_taken) == ("cell_too_large", False)
        else:
            assert is_taken
