"""What a model folder is, from its files alone: how it would be loaded, and whether loading it would run code.

Decided in the worker before any of it is loaded, so that no model can speak for itself.
"""

import bz2
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader, BytesIO, RawIOBase
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

from typing_extensions import Buffer

from carrara.contracts.contract import ModelContract
from carrara.inference.failures import LoadFailed
from carrara.inference.mlmodel import MlModel, Serialization, read_mlmodel
from carrara.kernel.errors import Refused
from carrara.registry.pickle_scan import scan
from carrara.registry.signature import contract_of

MAX_MLMODEL_BYTES = 1 << 20
MAX_UNPACKED_BYTES = 256 << 20
_MAX_MEMBERS = 10_000
_PICKLE_NAMES = frozenset({".pkl", ".pickle", ".cpkl", ".cloudpickle", ".dill", ".joblib", ".pt", ".pth", ".ckpt"})
_CODE_NAMES = frozenset({".py", ".pyc", ".pyo", ".so", ".pth"})
_DATA_ONLY_LOADERS = frozenset(
    {"mlflow.sklearn", "mlflow.xgboost", "mlflow.lightgbm", "mlflow.catboost", "mlflow.onnx"}
)
_NOT_AN_ARCHIVE = (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, ValueError)


class Readable(Protocol):
    """What can be read forward."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class CodeFound:
    """A file, or a setting of MLmodel, that runs code when the model is loaded."""

    where: str
    why: str
    imports: tuple[str, ...] = ()
    dangerous: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelFolder:
    """How a folder is loaded. `code` is empty only if loading it needs no trust in its author."""

    flavor: Literal["sklearn", "pyfunc"]
    serialization: Serialization
    code: tuple[CodeFound, ...]

    def inspection(self) -> dict[str, Any]:
        """What people are shown of it: advice, never proof."""
        return {
            "runs_code": [
                {"where": found.where, "why": found.why, "imports": list(found.imports[:50])}
                for found in self.code[:50]
            ],
            "dangerous_imports": sorted({name for found in self.code for name in found.dangerous})[:50],
        }


def inspect_folder(model_dir: Path) -> ModelFolder:
    """Reads the MLmodel file and looks into every other; `LoadFailed` if there is nothing that Carrara can load."""
    mlmodel = _mlmodel(model_dir)
    code = [*_declared_code(mlmodel), *_files_with_code(model_dir)]
    has_pickle = any(found.why.startswith("pickle") for found in code)
    if "sklearn" in mlmodel.flavors:
        serialization = mlmodel.serialization
        if serialization != "skops":
            code.append(CodeFound("MLmodel", f"scikit-learn model saved as {serialization}"))
        return ModelFolder("sklearn", "pickle" if has_pickle else serialization, tuple(code))
    if "python_function" in mlmodel.flavors:
        return ModelFolder("pyfunc", "pickle" if has_pickle else "other", tuple(code))
    raise LoadFailed(
        f"the model has the flavors {', '.join(sorted(map(str, mlmodel.flavors)))[:200] or 'none'};"
        " Carrara loads sklearn and python_function"
    )


def signed_contract(model_dir: Path) -> ModelContract:
    """The contract in the folder's signature; `Invalid(no_signature)` names what is missing."""
    return contract_of(_mlmodel(model_dir).signature)


def check_allowed(folder: ModelFolder, *, allows_pickle: bool) -> None:
    """`Refused(unsafe)` if loading would run code that the project does not allow, or that looks hostile."""
    if not folder.code:
        return
    facts = folder.inspection()
    named = "; ".join(f"{found.where}: {found.why}" for found in folder.code[:3])
    if not allows_pickle:
        raise Refused(
            f"loading this model would run code from its files ({named}), which the project does not allow. Save it"
            " with serialization_format='skops', or ask an admin of the project to allow pickles",
            code="unsafe",
            **facts,
        )
    if facts["dangerous_imports"]:
        shown = ", ".join(facts["dangerous_imports"][:5])
        raise Refused(
            f"the pickle in this model imports {shown}: no model needs that. Remove it and register again",
            code="unsafe",
            **facts,
        )


def _mlmodel(model_dir: Path) -> MlModel:
    path = model_dir / "MLmodel"
    if path.is_file() and path.stat().st_size > MAX_MLMODEL_BYTES:
        raise LoadFailed(f"MLmodel is larger than {MAX_MLMODEL_BYTES} bytes")
    try:
        return read_mlmodel(model_dir)
    except (RecursionError, ValueError, TypeError) as error:
        raise LoadFailed(f"cannot read the MLmodel file: {type(error).__name__}") from error


def _declared_code(mlmodel: MlModel) -> Iterator[CodeFound]:
    section = mlmodel.flavors.get("python_function", {})
    loader = str(section.get("loader_module", ""))[:200]
    if "sklearn" not in mlmodel.flavors and loader not in _DATA_ONLY_LOADERS:
        yield CodeFound("MLmodel", f"is loaded by {loader or 'an unnamed module'}, which may run anything")
    for flavor, settings in mlmodel.flavors.items():
        if settings.get("code") or settings.get("model_code_path"):
            yield CodeFound("MLmodel", f"flavor {str(flavor)[:80]} brings code of its own")


def _files_with_code(model_dir: Path) -> Iterator[CodeFound]:
    for path in sorted(model_dir.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        where = path.relative_to(model_dir).as_posix()
        if path.suffix.lower() in _CODE_NAMES - _PICKLE_NAMES:
            yield CodeFound(where, "code")
        yield from _pickles(where, path)


def _pickles(where: str, path: Path) -> Iterator[CodeFound]:
    findings = [scan(stream) for stream in _streams(path)]
    imports = tuple(dict.fromkeys(name for found in findings for name in found.imports))
    dangerous = tuple(dict.fromkeys(name for found in findings for name in found.dangerous))
    if any(found.is_pickle for found in findings):
        yield CodeFound(where, "pickle", imports, dangerous)
    elif path.suffix.lower() in _PICKLE_NAMES:
        yield CodeFound(where, "pickle by its name", imports, dangerous)


def _streams(path: Path) -> Iterator[BufferedReader]:
    """The file as it is, and what is inside it if it is compressed or an archive."""
    with path.open("rb") as raw:
        yield _limited(raw)
        raw.seek(0)
        first = raw.read(6)
        raw.seek(0)
        unpacked = _decompressor(raw, first)
        if unpacked is not None:
            yield _limited(unpacked)
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist()[:_MAX_MEMBERS]:
                with archive.open(member) as stream:
                    yield _limited(stream)
    except _NOT_AN_ARCHIVE:
        return


def _decompressor(raw: BinaryIO, first: bytes) -> Readable | None:
    if first.startswith(b"\x1f\x8b"):
        return gzip.open(raw)
    if first.startswith(b"BZh"):
        return bz2.open(raw)
    if first.startswith((b"\xfd7zXZ", b"]\0\0")):
        return lzma.open(raw)
    if first[:1] == b"\x78" and int.from_bytes(first[:2], "big") % 31 == 0:  # RFC 1950: joblib's own default
        data = zlib.decompressobj()
        return BytesIO(data.decompress(raw.read(MAX_UNPACKED_BYTES), MAX_UNPACKED_BYTES))
    return None


def _limited(stream: Readable) -> BufferedReader:
    return BufferedReader(_Limited(stream, MAX_UNPACKED_BYTES))


class _Limited(RawIOBase):
    """Ends after so many bytes, whatever an archive would still unpack."""

    def __init__(self, stream: Readable, left: int) -> None:
        self._stream = stream
        self._left = left
        self._read = 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._read

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer)
        data = self._stream.read(min(len(view), self._left))
        self._left -= len(data)
        self._read += len(data)
        view[: len(data)] = data
        return len(data)
