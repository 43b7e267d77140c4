"""The validate job: bring the files, decide from them what may be loaded, have a child load it, make the release."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from carrara.contracts.contract import ModelContract
from carrara.contracts.documents import parse_document
from carrara.contracts.evaluation import EvaluateSpec
from carrara.contracts.jobs import ErrorClass, JobError, JobKind
from carrara.contracts.registry import ValidateSpec, ValidationResult, VersionState
from carrara.contracts.release import GoldenRows, GoldenSet, ReleaseManifest, Runtime
from carrara.inference.failures import BadModelOutput, LoadFailed
from carrara.inference.outputs import checked_outputs
from carrara.jobs.ports import ChildWork, ClaimedJob, Staging, Submit
from carrara.kernel.crashpoint import crashpoint
from carrara.kernel.digests import Digest, canonical_json
from carrara.kernel.errors import CarraraError, Conflict, Invalid
from carrara.kernel.ids import JobId, ProjectId
from carrara.persistence.database import Database, Scope, savepoint
from carrara.registry import service, store
from carrara.registry.artifacts import ArtifactCopier
from carrara.registry.domain import Checked, NewVersion, Rejection, Version, reason_of
from carrara.registry.environment import environment_document, python_version
from carrara.registry.golden import row_count, tolerance_for
from carrara.registry.model_folder import ModelFolder, check_allowed, inspect_folder, signed_contract
from carrara.registry.outcome import GOLDEN_FILE, ValidateOutcome, ValidateTask
from carrara.storage.blobs import Blobs

MAX_GOLDEN_BYTES = 64 << 20
TIMEOUT_SECONDS = 600
NOT_COMPILED = "compiled plans are not part of this version of Carrara; it runs in the Python runtime"


@dataclass
class ValidateHandler:
    """Implements `JobHandler` for `validate`."""

    database: Database
    blobs: Blobs
    copier: ArtifactCopier
    submit: Submit
    kind: JobKind = JobKind.VALIDATE

    def check(self, session: Session, project_id: ProjectId, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        wanted = parse_document(ValidateSpec, spec, "spec")
        version = store.get_version(session, project_id, wanted.version_id)
        if version.state is not VersionState.REGISTERED:
            raise Conflict(f"{version.name} is {version.state}; only a registered version is validated")
        return wanted.model_dump(mode="json")

    def prepare(self, job: ClaimedJob, staging: Staging) -> ChildWork:
        """Also decides, before anything is loaded, whether it may be: `Refused(unsafe)`, `Invalid(no_signature)` ..."""
        version, allows_pickle = self._version(job)
        model_dir = staging.inputs / "model"
        version = self.copier.bring(version, model_dir, submitted_by=job.submitted_by)
        crashpoint("validate.after_copy")
        folder = _inspected(model_dir)
        self._note(job, version, folder)
        check_allowed(folder, allows_pickle=allows_pickle)
        contract = version.said.contract
        if contract is None:
            contract = signed_contract(model_dir)
            self._note(job, version, folder, contract)
        candidates = None
        if version.said.golden_candidates is not None:
            candidates = staging.inputs / "candidates.parquet"
            self.blobs.download(version.said.golden_candidates, candidates)
        task = ValidateTask(
            model_dir=str(model_dir),
            contract=contract,
            flavor=folder.flavor,
            serialization=folder.serialization,
            outputs=str(staging.outputs),
            candidates=None if candidates is None else str(candidates),
        )
        return ChildWork(
            entry="carrara.registry.child:run",
            argument=task.model_dump(mode="json"),
            timeout_seconds=TIMEOUT_SECONDS,
        )

    def publish(self, job: ClaimedJob, staging: Staging, result: Mapping[str, Any]) -> Mapping[str, Any]:
        """Takes from the child its answers and nothing else: what they belong to was decided before it ran."""
        outcome = _outcome(result)
        said = self._version(job)[0].said
        if said.contract is None or said.artifact_digest is None:
            raise Conflict(f"version {said.number} of {said.model} lost what was noted before it was loaded")
        contract = _with_outcome(said.contract, outcome)
        golden = _golden(staging.outputs / GOLDEN_FILE, contract)
        stored = self.blobs.put_bytes(canonical_json(golden.model_dump(mode="json")))
        environment = self.blobs.put_bytes(environment_document())
        manifest = ReleaseManifest(
            project=job.project,
            model=said.model,
            version=said.number,
            artifact_digest=said.artifact_digest,
            files=list(said.files),
            contract=contract,
            golden=GoldenSet(
                digest=stored.digest, rows=row_count(golden.columns), absolute_tolerance=tolerance_for(golden.outputs)
            ),
            runtime=_runtime(said, environment.digest),
            not_compiled_because=NOT_COMPILED,
        )
        return {
            "manifest": manifest.model_dump(mode="json"),
            "outcome": outcome.model_dump(mode="json"),
        }

    def record(self, session: Session, job: ClaimedJob, published: Mapping[str, Any]) -> Mapping[str, Any]:
        spec = ValidateSpec.model_validate(dict(job.spec))
        version = store.get_version(session, job.project_id, spec.version_id, lock=True)
        manifest = ReleaseManifest.model_validate(published["manifest"])
        outcome = ValidateOutcome.model_validate(published["outcome"])
        checked = Checked(
            contract=manifest.contract,
            flavor=manifest.runtime.flavor,
            serialization=manifest.runtime.serialization,
            manifest=manifest,
        )
        service.validate(session, version, checked)
        notes = list(outcome.notes)
        evaluation = self._evaluate(session, job, version, spec, notes)
        crashpoint("validate.before_commit")
        return ValidationResult(
            version_id=version.id,
            release=manifest.digest(),
            golden_rows=manifest.golden.rows,
            load_seconds=round(outcome.load_seconds, 3),
            single_row_milliseconds=round(outcome.single_row_milliseconds, 3),
            notes=notes,
            evaluation_job_id=evaluation,
        ).model_dump(mode="json")

    def record_failure(self, session: Session, job: ClaimedJob, error: JobError) -> None:
        """A fault of the version's rejects it; if it could not be found out, it stays and can be validated again."""
        spec = ValidateSpec.model_validate(dict(job.spec))
        version = store.get_version(session, job.project_id, spec.version_id, lock=True)
        if version.state is not VersionState.REGISTERED:
            return
        if error.error_class is ErrorClass.SYSTEM:
            service.note_unfinished(session, version, error.reason)
            return
        rejection = Rejection(reason_of(error.reason), error.message, dict(error.facts))
        service.reject(session, version, rejection)

    def _version(self, job: ClaimedJob) -> tuple[Version, bool]:
        spec = ValidateSpec.model_validate(dict(job.spec))
        with self.database.transaction(Scope(job.project_id, job.submitted_by)) as session:
            version = store.get_version(session, job.project_id, spec.version_id)
            return version, store.project(session, job.project_id).allows_pickle

    def _note(
        self, job: ClaimedJob, version: Version, folder: ModelFolder, contract: ModelContract | None = None
    ) -> None:
        """Written before anything is loaded: `publish` believes this and not the child."""
        with self.database.transaction(Scope(job.project_id, job.submitted_by)) as session:
            store.write_inspection(session, version, folder, contract)

    def _evaluate(
        self, session: Session, job: ClaimedJob, version: Version, spec: ValidateSpec, notes: list[str]
    ) -> JobId | None:
        if not spec.evaluate:
            return None
        wanted = EvaluateSpec(
            model=version.said.model,
            version=version.said.number,
            split_id=spec.split_id,
            endpoint=spec.endpoint,
            policy=spec.policy,
        )
        try:
            with savepoint(session):
                return self.submit(
                    session,
                    job.project_id,
                    job.submitted_by,
                    JobKind.EVALUATE,
                    wanted.model_dump(mode="json", exclude_none=True),
                )
        except CarraraError as error:
            notes.append(f"its evaluation could not be started: {error.message}")
            return None


def _inspected(model_dir: Path) -> ModelFolder:
    try:
        return inspect_folder(model_dir)
    except LoadFailed as error:
        raise Invalid(error.message, code="load_failed") from error


def _runtime(said: NewVersion, environment_digest: Digest) -> Runtime:
    return Runtime.model_validate(
        {
            "kind": "python",
            "flavor": said.flavor,
            "serialization": said.serialization,
            "python_version": python_version(),
            "environment_digest": environment_digest,
        }
    )


def _outcome(result: Mapping[str, Any]) -> ValidateOutcome:
    try:
        return ValidateOutcome.model_validate(dict(result))
    except ValidationError as error:
        raise Invalid(f"the child answered with something else than an outcome: {error}", code="load_failed") from error


def _with_outcome(contract: ModelContract, outcome: ValidateOutcome) -> ModelContract:
    """A signature leaves open what the model is for; a contract that says it is not changed by the model."""
    if contract.task != "generic":
        return contract
    return contract.model_copy(update={"task": outcome.task, "classes": outcome.classes})


def _golden(path: Path, contract: ModelContract) -> GoldenRows:
    """The golden rows as the child wrote them, checked as if they came from anywhere; `Invalid(wrong_answer)`."""
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_GOLDEN_BYTES:
            raise Invalid(f"the golden rows are missing or larger than {MAX_GOLDEN_BYTES} bytes", code="wrong_answer")
        golden = GoldenRows.model_validate_json(path.read_bytes())
        canonical_json(golden.model_dump(mode="json"))
        rows = row_count(golden.columns)
        names = {column.name for column in contract.inputs}
        if rows == 0 or golden.columns.keys() != names or {len(v) for v in golden.columns.values()} != {rows}:
            raise Invalid("the golden rows do not have the columns of the contract", code="wrong_answer")
        checked_outputs(golden.outputs, rows, contract)
    except BadModelOutput as error:
        raise Invalid(error.message, code="wrong_answer") from error
    except (OSError, ValueError, RecursionError) as error:
        raise Invalid(f"the golden rows cannot be read: {type(error).__name__}", code="wrong_answer") from error
    return golden
