"""What all tables share: naming of constraints, column types, and the rule of tenancy."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, ForeignKeyConstraint, MetaData, UniqueConstraint, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from carrara.kernel.ids import uuid7

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Row(DeclarativeBase):
    """Base of all rows. `datetime` is stored with its zone, `dict` and `list` as JSONB, None as SQL's NULL."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # SQLAlchemy's own class attribute
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB(none_as_null=True),
        list[Any]: JSONB(none_as_null=True),
        list[str]: JSONB(none_as_null=True),
    }


class Created:
    """Mixin: when the row was made, by the database's clock."""

    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ProjectOwned:
    """Mixin of every project-owned row; its table arguments are `owned(...)`.

    The migration forces row-level security on each table that has a `project_id` column; a test looks for others.
    """

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    project_id: Mapped[UUID] = mapped_column()


def owned(table: str, *constraints: Any) -> tuple[Any, ...]:
    """The table arguments of a project-owned row: `(project_id, id)` is a key, so foreign keys carry the project."""
    return (
        UniqueConstraint("project_id", "id", name=f"uq_{table}_project_id_id"),
        ForeignKeyConstraint(["project_id"], ["projects.id"], name=f"fk_{table}_project_id"),
        *constraints,
    )


def belongs(column: str, table: str) -> ForeignKeyConstraint:
    """A composite foreign key: `(project_id, column)` names a row of `table` in the same project."""
    return ForeignKeyConstraint(["project_id", column], [f"{table}.project_id", f"{table}.id"])
