"""Brings what an evaluation's child needs into its folder."""

from dataclasses import dataclass
from pathlib import Path

from carrara.datasets.domain import Snapshot, Split
from carrara.datasets.preparation import fetch_snapshot
from carrara.evaluation.outcome import ModelToScore, TrainedOn
from carrara.kernel.digests import Digest
from carrara.registry.domain import Version
from carrara.storage.blobs import Blobs, TreeFile


@dataclass(frozen=True)
class InputFolder:
    """Writes below `folder`, which the child may read; a snapshot that is needed twice is written once."""

    blobs: Blobs
    folder: Path

    def snapshot(self, snapshot: Snapshot) -> list[str]:
        """The paths of the snapshot's files, in their order."""
        folder = self.folder / f"snapshot-{snapshot.id}"
        if folder.is_dir():
            return [str(folder / file.path) for file in snapshot.files]
        return [str(path) for path in fetch_snapshot(self.blobs, snapshot, folder)]

    def model(
        self,
        version: Version,
        folder: str,
        *,
        trained_on: tuple[Snapshot, Split] | None,
        shared_rows: int | None = None,
    ) -> ModelToScore:
        """The version's model folder, and what is known of the rows that it was trained on."""
        said = version.said
        files = [TreeFile(file.path, Digest(file.digest), file.size) for file in said.files]
        self.blobs.get_tree(files, self.folder / folder)
        rows = None
        if trained_on is not None:
            rows = TrainedOn(data_files=self.snapshot(trained_on[0]), split=trained_on[1].spec)
        return ModelToScore.model_validate(
            {
                "model_dir": str(self.folder / folder),
                "contract": said.contract,
                "flavor": said.flavor,
                "serialization": said.serialization,
                "trained_on": rows,
                "shared_rows": shared_rows,
            }
        )
