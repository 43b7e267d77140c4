"""What a pickle would import, read without loading it."""

import io
import os
import pickle
import subprocess
from typing import Any

import pytest

from carrara.registry.pickle_scan import PickleFindings, is_dangerous, scan


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> Any:
        return self._call


def scanned(data: bytes) -> PickleFindings:
    return scan(io.BufferedReader(io.BytesIO(data)))  # type: ignore[arg-type]  # a BytesIO is raw enough


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    ("function", "name"),
    [(os.system, "posix.system"), (eval, "builtins.eval"), (subprocess.Popen, "subprocess.Popen")],
)
def test_dangerous_imports_are_found_in_every_protocol(protocol: int, function: Any, name: str) -> None:
    found = scanned(pickle.dumps(Calls(function, "x"), protocol))
    old_names = {"__builtin__.eval": "builtins.eval", "commands.Popen": "subprocess.Popen"}
    assert [old_names.get(found_name, found_name) for found_name in found.dangerous] == [name]
    assert found.is_pickle


def test_a_second_pickle_behind_the_first_is_read() -> None:
    found = scanned(pickle.dumps([1]) + pickle.dumps(Calls(os.system, "x")))
    assert found.dangerous == ("posix.system",)


def test_harmless_pickles_are_pickles_without_dangers() -> None:
    found = scanned(pickle.dumps({"a": [1, 2.0, "x"]}))
    assert (found.is_pickle, found.dangerous, found.imports) == (True, (), ())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"channels:\n- defaults\ndependencies:\n- pip\n",
        b'{"columns": ["a"], "data": [[1]]}',
        b"artifact_path: model\nflavors:\n",
        b"PK\x03\x04nothing",
        b"\x93NUMPY\x01\x00v\x00",
        b"N.",
        bytes(range(256)),
    ],
)
def test_other_files_are_no_pickles(data: bytes) -> None:
    assert not scanned(data).is_pickle


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x80\x02I" + b"9" * 10_000 + b"\n.",
        b"\x80\x04\x93.",
        b"\x80\x02\x82\x01.",
    ],
)
def test_broken_pickles_are_pickles_all_the_same(data: bytes) -> None:
    found = scanned(data)
    assert found.is_pickle
    assert found.broken or found.dangerous


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("os.path.join", True),
        ("ossaudio.x", False),
        ("builtins.getattr", False),
        ("builtins.exec", True),
        ("sklearn.linear_model._logistic.LogisticRegression", False),
        ("numpy.load", False),
    ],
)
def test_danger_goes_by_the_module(name: str, answer: bool) -> None:
    assert is_dangerous(name) is answer
