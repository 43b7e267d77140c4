"""What an MLflow model folder says about itself, read from its MLmodel file without MLflow."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import yaml

from carrara.inference.failures import LoadFailed

MAX_MLMODEL_BYTES = 16 << 20
Serialization = Literal["skops", "pickle", "other"]
_SERIALIZATIONS: dict[str, Serialization] = {"skops": "skops", "pickle": "pickle", "cloudpickle": "pickle"}


@dataclass(frozen=True)
class MlModel:
    """`flavors` by name, as written. What it declares about trust (`skops_trusted_types`) is never believed."""

    flavors: dict[str, dict[str, Any]]
    signature: dict[str, Any] | None

    @property
    def serialization(self) -> Serialization:
        """How the scikit-learn flavor was saved; `other` without that flavor."""
        sklearn = self.flavors.get("sklearn", {})
        return _SERIALIZATIONS.get(str(sklearn.get("serialization_format")), "other")


def read_mlmodel(model_dir: Path) -> MlModel:
    """The MLmodel file of a folder; `LoadFailed` if it is missing, too large or no MLmodel."""
    path = model_dir / "MLmodel"
    try:
        if path.stat().st_size > MAX_MLMODEL_BYTES:
            raise LoadFailed(f"MLmodel is larger than {MAX_MLMODEL_BYTES} bytes")
        content = yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise LoadFailed(f"cannot read the MLmodel file: {error}") from error
    flavors = content.get("flavors") if isinstance(content, dict) else None
    if not isinstance(flavors, dict) or not all(isinstance(flavor, dict) for flavor in flavors.values()):
        raise LoadFailed("the MLmodel file has no flavors; save the model with mlflow")
    signature = content.get("signature")
    return MlModel(flavors, signature if isinstance(signature, dict) else None)


def path_inside(model_dir: Path, relative: object) -> Path:
    """A file that MLmodel names; `LoadFailed` when it is missing or would leave the folder."""
    text = str(relative)
    parts = PurePosixPath(text)
    if parts.is_absolute() or ".." in parts.parts:
        raise LoadFailed(f"MLmodel names the file {text[:80]!r}, which is outside the model folder")
    path = model_dir / parts
    if not path.is_file():
        raise LoadFailed(f"MLmodel names the file {text[:80]!r}, which is not in the model folder")
    return path
