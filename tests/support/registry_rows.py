"""Versions and releases as rows, many at once, for tests and benchmarks of what reads them."""

from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.orm import Session
from tests.support.example_contract import CONTRACT

from carrara.access.domain import Actor, Project
from carrara.contracts.release import ArtifactFile, GoldenSet, ReleaseManifest, Runtime, digest_files
from carrara.kernel.digests import digest_bytes
from carrara.kernel.ids import uuid7
from carrara.registry.tables import ModelRow, ReleaseRow, VersionRow


def add_model(session: Session, project: Project, author: Actor, name: str) -> UUID:
    row = ModelRow(id=uuid7(), project_id=project.id, name=name, description="", created_by=author.id)
    session.add(row)
    session.flush()
    return row.id


def add_versions(
    session: Session,
    project: Project,
    author: Actor,
    model_id: UUID,
    numbers: range,
    *,
    state: str = "evaluated",
) -> list[UUID]:
    """Versions with these numbers, with releases unless they are registered or rejected; gives the ids of those."""
    name = session.execute(select(ModelRow.name).where(ModelRow.id == model_id)).scalar_one()
    versions, releases = [], []
    for number in numbers:
        files = [ArtifactFile(path="MLmodel", digest=digest_bytes(f"{name} {number}".encode()), size=10)]
        version_id = uuid7()
        versions.append(
            {
                "id": version_id,
                "project_id": project.id,
                "model_id": model_id,
                "number": number,
                "state": state,
                "rejection": {"reason": "unsafe", "message": "a pickle", "facts": {}} if state == "rejected" else None,
                "source": "mlflow",
                "task": "classification",
                "artifact_digest": digest_files(files),
                "artifact_bytes": 10,
                "artifact_files": [file.model_dump(mode="json") for file in files],
                "contract": CONTRACT.model_dump(mode="json"),
                "metrics": {"auc": 0.9, "log_loss": 0.3},
                "lineage": {"mlflow": {"run_id": None, "source": f"runs:/x/{number}"}},
                "author_id": author.id,
            }
        )
        if state in ("validated", "evaluated", "retired"):
            manifest = _manifest(project.name, name, number, files)
            releases.append(
                {
                    "id": uuid7(),
                    "project_id": project.id,
                    "version_id": version_id,
                    "digest": manifest.digest(),
                    "manifest": manifest.model_dump(mode="json"),
                }
            )
    session.execute(insert(VersionRow), versions)
    if releases:
        session.execute(insert(ReleaseRow), releases)
    return [release["id"] for release in releases]


def _manifest(project: str, model: str, version: int, files: list[ArtifactFile]) -> ReleaseManifest:
    return ReleaseManifest(
        project=project,
        model=model,
        version=version,
        artifact_digest=digest_files(files),
        files=files,
        contract=CONTRACT,
        golden=GoldenSet(digest=digest_bytes(b"golden"), rows=3, absolute_tolerance=1e-8),
        runtime=Runtime(
            kind="python",
            flavor="sklearn",
            serialization="skops",
            python_version="3.11.7",
            environment_digest=digest_bytes(b"environment"),
        ),
    )
