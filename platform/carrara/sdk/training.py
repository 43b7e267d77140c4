"""Training: a spec and, for your own trainer, the directory with its code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from carrara.contracts.jobs import CodeBundleView, JobView
from carrara.kernel.errors import Invalid
from carrara.kernel.ids import uuid7
from carrara.sdk.bundles import bundle_directory
from carrara.sdk.jobs import Jobs
from carrara.sdk.transport import Transport


class Training:
    """Starts training jobs in one project."""

    def __init__(self, transport: Transport, path: str, jobs: Jobs) -> None:
        self._transport = transport
        self._path = path
        self._jobs = jobs

    def push_code(self, directory: Path) -> CodeBundleView:
        """Uploads the code below `directory`, stamped with its git commit. The same files are one bundle."""
        bundle = bundle_directory(directory)
        stamp = {"git_commit": bundle.git_commit, "git_is_dirty": bundle.git_is_dirty}
        response = self._transport.send(
            "POST",
            f"{self._path}/code-bundles",
            params={key: value for key, value in stamp.items() if value is not None},
            content=bundle.archive,
            headers={"Content-Type": "application/gzip", "Idempotency-Key": str(uuid7())},
        )
        return CodeBundleView.model_validate_json(response.content)

    def start(
        self, spec: Mapping[str, Any] | Path, *, code: Path | None = None, priority: int = 0, key: str | None = None
    ) -> JobView:
        """Queues a training job. `spec`: the document, or a YAML or JSON file of it.

        If its trainer has an `entry` but no `bundle`, the code is pushed first: from `code`, or the spec's own folder.
        """
        document = read_document(spec) if isinstance(spec, Path) else dict(spec)
        trainer = document.get("trainer")
        if isinstance(trainer, Mapping) and "entry" in trainer and "bundle" not in trainer:
            folder = code or (spec.resolve().parent if isinstance(spec, Path) else None)
            if folder is None:
                raise Invalid("the trainer names code: pass `code`, the directory that holds it", code="no_code")
            document["trainer"] = {**trainer, "bundle": self.push_code(folder).digest}
        return self._jobs.submit(document, priority=priority, key=key)


def read_document(path: Path) -> dict[str, Any]:
    """A YAML or JSON file as a mapping; `Invalid` with line and column if it is malformed."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror}", code="unreadable_file") from error
    except UnicodeDecodeError as error:
        raise Invalid(f"{path}: byte {error.start} is not UTF-8", code="malformed_file") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or error
        raise Invalid(f"{path}{where}: {problem}", code="malformed_file") from error
    if not isinstance(document, dict):
        raise Invalid(f"{path}: expected keys and values, found {type(document).__name__}", code="malformed_file")
    return document
