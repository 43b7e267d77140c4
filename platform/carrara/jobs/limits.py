"""What a job may ask for. Asked at the submission, and again by the worker, whose operator may allow less."""

from dataclasses import dataclass

from carrara.kernel.errors import Invalid, Issue


@dataclass(frozen=True)
class MostAllowed:
    """The operator's limits: bytes of memory beyond shared libraries, seconds from start to end."""

    memory_bytes: int = 1 << 40
    timeout_seconds: int = 7 * 86400

    def refuse_more(self, *, memory_bytes: int | None, timeout_seconds: int | None) -> None:
        """`Invalid` names the limit; a job that got less than it asked for would fail where nobody looks."""
        for name, wanted, most, code in (
            ("memory_bytes", memory_bytes, self.memory_bytes, "memory_limit"),
            ("timeout_seconds", timeout_seconds, self.timeout_seconds, "timeout_limit"),
        ):
            if wanted is not None and wanted > most:
                message = f"spec.{name} is {wanted}, but the operator allows at most {most}; ask for less, or nothing"
                issue = Issue(f"spec.{name}", message, code=code)
                raise Invalid(message, code=code, issues=[issue], wanted=wanted, limit=most)
