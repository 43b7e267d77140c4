"""The release manifest (D4): the content-addressed description of what goes live. Its digest is its name."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from carrara.contracts.contract import ModelContract
from carrara.contracts.wire import Wire
from carrara.kernel.digests import DIGEST_PATTERN, Digest, digest_json


class ArtifactFile(Wire):
    """A file of the source artifact, stored as a blob. `path` is relative, with `/`, inside the model folder."""

    path: str
    digest: str = Field(pattern=DIGEST_PATTERN)
    size: int


def digest_files(files: Sequence[ArtifactFile]) -> Digest:
    """The `artifact_digest` of a model folder: over path, digest and size of every file, in the order of the paths."""
    ordered = sorted(files, key=lambda file: file.path)
    return digest_json([file.model_dump(mode="json") for file in ordered])


class GoldenSet(Wire):
    """Rows with the answers that this release must give again, as one JSON blob (`GoldenRows`)."""

    digest: str = Field(pattern=DIGEST_PATTERN)
    rows: int
    absolute_tolerance: float


class GoldenRows(Wire):
    """The blob behind `GoldenSet`: `columns` by name, equally long; `outputs` as the data plane answers them."""

    columns: dict[str, list[Any]]
    outputs: dict[str, list[Any]]


class Runtime(Wire):
    """How it runs. `python`: in a confined child, loaded by `flavor` from the model folder."""

    kind: Literal["python"]
    flavor: Literal["sklearn", "pyfunc"]
    serialization: Literal["skops", "pickle", "other"]
    python_version: str
    environment_digest: str = Field(pattern=DIGEST_PATTERN)


class ReleaseManifest(Wire):
    """Everything that decides an answer. Two releases with one digest answer alike."""

    schema_version: Literal[1] = 1
    project: str
    model: str
    version: int
    artifact_digest: str = Field(pattern=DIGEST_PATTERN)
    files: list[ArtifactFile]
    contract: ModelContract
    golden: GoldenSet
    runtime: Runtime
    not_compiled_because: str | None = None

    def digest(self) -> Digest:
        """The name of this release: over the canonical JSON of all of the above."""
        return digest_json(self.model_dump(mode="json"))
