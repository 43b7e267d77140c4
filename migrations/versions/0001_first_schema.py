"""The first schema: every table, tenancy by row-level security, append-only records, four eyes."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

APP = "carrara_app"
CONTROLLER = "carrara_controller"
PROJECT_OWNED = (
    "approvals",
    "audit_records",
    "code_bundles",
    "datasets",
    "endpoints",
    "evaluations",
    "gate_policies",
    "job_attempts",
    "job_logs",
    "jobs",
    "ledger_entries",
    "memberships",
    "models",
    "outbox",
    "releases",
    "rollouts",
    "snapshots",
    "splits",
    "versions",
)
# What the application may change in a row once it is there; all else is for ever, whoever asks.
CHANGEABLE = {
    "approvals": ("revoked_at", "revoked_by", "revocation_reason"),
    "api_tokens": ("last_used_at", "revoked_at"),
    "projects": ("description",),
    "users": ("disabled_at",),
    "versions": (
        *("state", "rejection", "mlflow_run_id", "mlflow_source", "task"),
        *("artifact_digest", "artifact_bytes", "artifact_files", "flavor", "serialization", "inspection"),
        *("contract", "golden_candidates", "metrics", "lineage"),
    ),
}


def upgrade() -> None:
    op.create_table(
        "audit_seals",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("record_id", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("sealed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_audit_seals")),
        sa.UniqueConstraint("record_id", name=op.f("uq_audit_seals_record_id")),
    )
    op.create_index(op.f("ix_audit_seals_sequence"), "audit_seals", ["sequence"], unique=False)
    op.create_table(
        "idempotency_keys",
        sa.Column("actor_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("request_digest", sa.String(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("answer", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("actor_id", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_table(
        "projects",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("tier", sa.Integer(), nullable=False),
        sa.Column("settings", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("tier BETWEEN 1 AND 4", name=op.f("ck_projects_tier")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("name", name=op.f("uq_projects_name")),
    )
    op.create_table(
        "route_generation",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_route_generation_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_route_generation")),
    )
    op.create_table(
        "serving_instances",
        sa.Column("boot_id", sa.Uuid(), nullable=False),
        sa.Column("instance", sa.String(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("report", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("reported_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("left_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("boot_id", name=op.f("pk_serving_instances")),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("is_platform_admin", sa.Boolean(), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind IN ('person', 'service')", name=op.f("ck_users_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("name", name=op.f("uq_users_name")),
    )
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("prefix", sa.String(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_api_tokens_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_tokens")),
        sa.UniqueConstraint("hash", name=op.f("uq_api_tokens_hash")),
    )
    op.create_index(op.f("ix_api_tokens_prefix"), "api_tokens", ["prefix"], unique=False)
    op.create_index(op.f("ix_api_tokens_user_id"), "api_tokens", ["user_id"], unique=False)
    op.create_table(
        "audit_records",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("subject_kind", sa.String(), nullable=False),
        sa.Column("subject_id", sa.String(), nullable=False),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_audit_records_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_records")),
        sa.UniqueConstraint("sequence", name=op.f("uq_audit_records_sequence")),
    )
    op.create_index(op.f("ix_audit_records_project_id"), "audit_records", ["project_id"], unique=False)
    op.create_index("ix_audit_records_subject", "audit_records", ["subject_kind", "subject_id"], unique=False)
    op.create_table(
        "code_bundles",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("byte_count", sa.BigInteger(), nullable=False),
        sa.Column("files", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("git_commit", sa.String(), nullable=True),
        sa.Column("git_is_dirty", sa.Boolean(), nullable=True),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_code_bundles_project_id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_code_bundles")),
        sa.UniqueConstraint("project_id", "digest", name=op.f("uq_code_bundles_project_id_digest")),
        sa.UniqueConstraint("project_id", "id", name="uq_code_bundles_project_id_id"),
    )
    op.create_table(
        "datasets",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_datasets_project_id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
        sa.UniqueConstraint("project_id", "id", name="uq_datasets_project_id_id"),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_datasets_project_id_name")),
    )
    op.create_table(
        "gate_policies",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("document", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_gate_policies_project_id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gate_policies")),
        sa.UniqueConstraint("project_id", "digest", name=op.f("uq_gate_policies_project_id_digest")),
        sa.UniqueConstraint("project_id", "id", name="uq_gate_policies_project_id_id"),
    )
    op.create_table(
        "jobs",
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("schema_version", sa.Integer(), nullable=False),
        sa.Column("spec", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("ready_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("lease_owner", sa.String(), nullable=True),
        sa.Column("progress", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("result", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("error", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("submitted_by", sa.Uuid(), nullable=False),
        sa.Column("parent_job_id", sa.Uuid(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name=op.f("ck_jobs_state")
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_jobs_project_id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("project_id", "id", name="uq_jobs_project_id_id"),
    )
    op.create_index(
        "ix_jobs_claim",
        "jobs",
        [sa.literal_column("priority DESC"), "ready_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('queued', 'running')"),
    )
    op.create_index("ix_jobs_project_id_created", "jobs", ["project_id", sa.literal_column("id DESC")], unique=False)
    op.create_table(
        "memberships",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "role IN ('viewer', 'data_scientist', 'approver', 'admin')", name=op.f("ck_memberships_role")
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_memberships_project_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_memberships_user_id")),
        sa.PrimaryKeyConstraint("project_id", "user_id", "role", name=op.f("pk_memberships")),
    )
    op.create_index(op.f("ix_memberships_user_id"), "memberships", ["user_id"], unique=False)
    op.create_table(
        "models",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_models_project_id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint("project_id", "id", name="uq_models_project_id_id"),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_models_project_id_name")),
    )
    op.create_table(
        "outbox",
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("ready_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_outbox_project_id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sa.UniqueConstraint("project_id", "id", name="uq_outbox_project_id_id"),
    )
    op.create_index(
        "ix_outbox_ready_at_open",
        "outbox",
        ["ready_at"],
        unique=False,
        postgresql_where=sa.text("done_at IS NULL AND failed_at IS NULL"),
    )
    op.create_index(
        "ix_outbox_job_not_done",
        "outbox",
        [sa.text("(payload ->> 'job_id')")],
        unique=False,
        postgresql_where=sa.text("done_at IS NULL"),
    )
    op.create_table(
        "job_attempts",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(), nullable=False),
        sa.Column("token_hash", sa.String(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.String(), nullable=True),
        sa.Column("error", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("peak_memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id", "job_id"], ["jobs.project_id", "jobs.id"], name=op.f("fk_job_attempts_project_id_job_id")
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_job_attempts_project_id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_attempts")),
        sa.UniqueConstraint("project_id", "id", name="uq_job_attempts_project_id_id"),
        sa.UniqueConstraint("project_id", "job_id", "attempt", name=op.f("uq_job_attempts_project_id_job_id_attempt")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_job_attempts_token_hash")),
    )
    op.create_index(
        "ix_job_attempts_open",
        "job_attempts",
        ["job_id"],
        unique=False,
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_table(
        "job_logs",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("chunk", sa.Integer(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id", "job_id"], ["jobs.project_id", "jobs.id"], name=op.f("fk_job_logs_project_id_job_id")
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_job_logs_project_id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_logs")),
        sa.UniqueConstraint("project_id", "id", name="uq_job_logs_project_id_id"),
        sa.UniqueConstraint(
            "project_id", "job_id", "attempt", "chunk", name=op.f("uq_job_logs_project_id_job_id_attempt_chunk")
        ),
    )
    op.create_table(
        "snapshots",
        sa.Column("dataset_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("row_count", sa.BigInteger(), nullable=False),
        sa.Column("byte_count", sa.BigInteger(), nullable=False),
        sa.Column("columns", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("profile", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("files", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("time_column", sa.String(), nullable=True),
        sa.Column("time_from", sa.DateTime(timezone=True), nullable=True),
        sa.Column("time_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id", "dataset_id"],
            ["datasets.project_id", "datasets.id"],
            name=op.f("fk_snapshots_project_id_dataset_id"),
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_snapshots_project_id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshots")),
        sa.UniqueConstraint(
            "project_id", "dataset_id", "digest", name=op.f("uq_snapshots_project_id_dataset_id_digest")
        ),
        sa.UniqueConstraint(
            "project_id", "dataset_id", "number", name=op.f("uq_snapshots_project_id_dataset_id_number")
        ),
        sa.UniqueConstraint("project_id", "id", name="uq_snapshots_project_id_id"),
    )
    op.create_table(
        "versions",
        sa.Column("model_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("rejection", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("mlflow_run_id", sa.String(), nullable=True),
        sa.Column("mlflow_source", sa.String(), nullable=True),
        sa.Column("task", sa.String(), nullable=True),
        sa.Column("artifact_digest", sa.String(), nullable=True),
        sa.Column("artifact_bytes", sa.BigInteger(), nullable=True),
        sa.Column("artifact_files", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("flavor", sa.String(), nullable=True),
        sa.Column("serialization", sa.String(), nullable=True),
        sa.Column("inspection", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("contract", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("golden_candidates", sa.String(), nullable=True),
        sa.Column("metrics", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("lineage", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("author_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("state <> 'rejected' OR rejection IS NOT NULL", name=op.f("ck_versions_rejection")),
        sa.CheckConstraint("source IN ('job', 'mlflow')", name=op.f("ck_versions_source")),
        sa.CheckConstraint(
            "state IN ('registered', 'validated', 'evaluated', 'rejected', 'retired')", name=op.f("ck_versions_state")
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "job_id"], ["jobs.project_id", "jobs.id"], name=op.f("fk_versions_project_id_job_id")
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "model_id"], ["models.project_id", "models.id"], name=op.f("fk_versions_project_id_model_id")
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_versions_project_id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_versions")),
        sa.UniqueConstraint("project_id", "id", name="uq_versions_project_id_id"),
        sa.UniqueConstraint("project_id", "job_id", name=op.f("uq_versions_project_id_job_id")),
        sa.UniqueConstraint("project_id", "model_id", "number", name=op.f("uq_versions_project_id_model_id_number")),
    )
    op.create_index(
        "ix_versions_state", "versions", ["project_id", "state", sa.literal_column("id DESC")], unique=False
    )
    op.create_index(
        "ix_versions_model_state",
        "versions",
        ["project_id", "model_id", "state", sa.literal_column("number DESC")],
        unique=False,
    )
    op.create_table(
        "releases",
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("manifest", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id", "version_id"],
            ["versions.project_id", "versions.id"],
            name=op.f("fk_releases_project_id_version_id"),
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_releases_project_id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_releases")),
        sa.UniqueConstraint("project_id", "digest", name=op.f("uq_releases_project_id_digest")),
        sa.UniqueConstraint("project_id", "id", name="uq_releases_project_id_id"),
        sa.UniqueConstraint("project_id", "version_id", name=op.f("uq_releases_project_id_version_id")),
    )
    op.create_table(
        "splits",
        sa.Column("snapshot_id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("spec", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("train_rows", sa.BigInteger(), nullable=False),
        sa.Column("holdout_rows", sa.BigInteger(), nullable=False),
        sa.Column("shared_rows", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("holdout_looks", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id", "snapshot_id"],
            ["snapshots.project_id", "snapshots.id"],
            name=op.f("fk_splits_project_id_snapshot_id"),
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_splits_project_id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_splits")),
        sa.UniqueConstraint("project_id", "id", name="uq_splits_project_id_id"),
        sa.UniqueConstraint(
            "project_id", "snapshot_id", "digest", name=op.f("uq_splits_project_id_snapshot_id_digest")
        ),
    )
    op.create_table(
        "endpoints",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("desired_release_id", sa.Uuid(), nullable=True),
        sa.Column("candidate_release_id", sa.Uuid(), nullable=True),
        sa.Column("current_release_id", sa.Uuid(), nullable=True),
        sa.Column("rollback_target_id", sa.Uuid(), nullable=True),
        sa.Column("fallback", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("policy_id", sa.Uuid(), nullable=True),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id", "candidate_release_id"],
            ["releases.project_id", "releases.id"],
            name=op.f("fk_endpoints_project_id_candidate_release_id"),
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "current_release_id"],
            ["releases.project_id", "releases.id"],
            name=op.f("fk_endpoints_project_id_current_release_id"),
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "desired_release_id"],
            ["releases.project_id", "releases.id"],
            name=op.f("fk_endpoints_project_id_desired_release_id"),
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "policy_id"],
            ["gate_policies.project_id", "gate_policies.id"],
            name=op.f("fk_endpoints_project_id_policy_id"),
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "rollback_target_id"],
            ["releases.project_id", "releases.id"],
            name=op.f("fk_endpoints_project_id_rollback_target_id"),
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_endpoints_project_id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_endpoints")),
        sa.UniqueConstraint("project_id", "id", name="uq_endpoints_project_id_id"),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_endpoints_project_id_name")),
    )
    op.create_table(
        "evaluations",
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("split_id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("baseline_release_id", sa.Uuid(), nullable=True),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("report", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("predictions", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id", "baseline_release_id"],
            ["releases.project_id", "releases.id"],
            name=op.f("fk_evaluations_project_id_baseline_release_id"),
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "job_id"], ["jobs.project_id", "jobs.id"], name=op.f("fk_evaluations_project_id_job_id")
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "split_id"],
            ["splits.project_id", "splits.id"],
            name=op.f("fk_evaluations_project_id_split_id"),
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "version_id"],
            ["versions.project_id", "versions.id"],
            name=op.f("fk_evaluations_project_id_version_id"),
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_evaluations_project_id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluations")),
        sa.UniqueConstraint("project_id", "id", name="uq_evaluations_project_id_id"),
        sa.UniqueConstraint("project_id", "job_id", name=op.f("uq_evaluations_project_id_job_id")),
    )
    op.create_index(
        "ix_evaluations_version",
        "evaluations",
        ["project_id", "version_id", sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_table(
        "approvals",
        sa.Column("release_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("evaluation_id", sa.Uuid(), nullable=True),
        sa.Column("evaluation_digest", sa.String(), nullable=True),
        sa.Column("policy_digest", sa.String(), nullable=True),
        sa.Column("decision", sa.String(), nullable=False),
        sa.Column("comment", sa.String(), nullable=False),
        sa.Column("approver_id", sa.Uuid(), nullable=False),
        sa.Column("is_self_approval", sa.Boolean(), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_by", sa.Uuid(), nullable=True),
        sa.Column("revocation_reason", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("decision IN ('approved', 'rejected')", name=op.f("ck_approvals_decision")),
        sa.CheckConstraint("revoked_at IS NULL OR decision = 'approved'", name=op.f("ck_approvals_revocable")),
        sa.ForeignKeyConstraint(
            ["project_id", "endpoint_id"],
            ["endpoints.project_id", "endpoints.id"],
            name=op.f("fk_approvals_project_id_endpoint_id"),
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "evaluation_id"],
            ["evaluations.project_id", "evaluations.id"],
            name=op.f("fk_approvals_project_id_evaluation_id"),
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "release_id"],
            ["releases.project_id", "releases.id"],
            name=op.f("fk_approvals_project_id_release_id"),
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_approvals_project_id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approvals")),
        sa.UniqueConstraint("project_id", "id", name="uq_approvals_project_id_id"),
    )
    op.create_index("ix_approvals_subject", "approvals", ["project_id", "endpoint_id", "release_id"], unique=False)
    op.create_table(
        "rollouts",
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("release_id", sa.Uuid(), nullable=False),
        sa.Column("previous_release_id", sa.Uuid(), nullable=True),
        sa.Column("approval_id", sa.Uuid(), nullable=False),
        sa.Column("strategy", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("evidence", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=True),
        sa.Column("started_by", sa.Uuid(), nullable=False),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id", "approval_id"],
            ["approvals.project_id", "approvals.id"],
            name=op.f("fk_rollouts_project_id_approval_id"),
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "endpoint_id"],
            ["endpoints.project_id", "endpoints.id"],
            name=op.f("fk_rollouts_project_id_endpoint_id"),
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "previous_release_id"],
            ["releases.project_id", "releases.id"],
            name=op.f("fk_rollouts_project_id_previous_release_id"),
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "release_id"],
            ["releases.project_id", "releases.id"],
            name=op.f("fk_rollouts_project_id_release_id"),
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_rollouts_project_id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rollouts")),
        sa.UniqueConstraint("project_id", "id", name="uq_rollouts_project_id_id"),
    )
    op.create_index(
        "uq_rollouts_one_open",
        "rollouts",
        ["project_id", "endpoint_id"],
        unique=True,
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_table(
        "ledger_entries",
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("release_id", sa.Uuid(), nullable=True),
        sa.Column("previous_release_id", sa.Uuid(), nullable=True),
        sa.Column("rollout_id", sa.Uuid(), nullable=True),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("evidence", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("kind IN ('promotion', 'rollback')", name=op.f("ck_ledger_entries_kind")),
        sa.ForeignKeyConstraint(
            ["project_id", "endpoint_id"],
            ["endpoints.project_id", "endpoints.id"],
            name=op.f("fk_ledger_entries_project_id_endpoint_id"),
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "previous_release_id"],
            ["releases.project_id", "releases.id"],
            name=op.f("fk_ledger_entries_project_id_previous_release_id"),
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "release_id"],
            ["releases.project_id", "releases.id"],
            name=op.f("fk_ledger_entries_project_id_release_id"),
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "rollout_id"],
            ["rollouts.project_id", "rollouts.id"],
            name=op.f("fk_ledger_entries_project_id_rollout_id"),
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_ledger_entries_project_id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_entries")),
        sa.UniqueConstraint(
            "project_id", "endpoint_id", "sequence", name=op.f("uq_ledger_entries_project_id_endpoint_id_sequence")
        ),
        sa.UniqueConstraint("project_id", "id", name="uq_ledger_entries_project_id_id"),
    )
    _protect()


def _protect() -> None:
    """Roles, tenancy and append-only records: see docs/adr/0002-tenancy-in-postgres.md."""
    for statement in (*_roles(), *_tenancy(), *_append_only(), *_four_eyes()):
        op.execute(statement)
    op.execute("INSERT INTO route_generation (id, generation) VALUES (1, 0)")


def _roles() -> list[str]:
    create = """
        DO $$ BEGIN CREATE ROLE {role} NOLOGIN;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$
    """
    statements = []
    for role in (APP, CONTROLLER):
        statements += [
            create.format(role=role),
            f"GRANT {role} TO CURRENT_USER WITH INHERIT FALSE, SET TRUE",
            f"GRANT USAGE ON SCHEMA public TO {role}",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
        ]
    return [*statements, f"REVOKE ALL ON audit_seals FROM {APP}", f"REVOKE ALL ON alembic_version FROM {APP}"]


def _tenancy() -> list[str]:
    mine = "project_id = nullif(current_setting('carrara.project', true), '')::uuid"
    me = "user_id = nullif(current_setting('carrara.actor', true), '')::uuid"
    special = {
        "audit_records": f"project_id IS NULL OR {mine}",
        "memberships": f"{mine} OR {me}",
    }
    statements = []
    for table in PROJECT_OWNED:
        visible = special.get(table, mine)
        writable = mine if table == "memberships" else visible
        statements += [
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
            f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
            f"CREATE POLICY {table}_of_project ON {table} TO {APP} USING ({visible}) WITH CHECK ({writable})",
            f"CREATE POLICY {table}_of_all ON {table} TO {CONTROLLER} USING (true) WITH CHECK (true)",
        ]
    return statements


def _append_only() -> list[str]:
    statements = [
        """
        CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege'; END $$
        """
    ]
    for table in ("audit_records", "audit_seals", "ledger_entries"):
        statements += [
            f"REVOKE UPDATE, DELETE, TRUNCATE ON {table} FROM {APP}, {CONTROLLER}",
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION refuse_change()",
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()",
        ]
    return [
        *statements,
        *(
            statement
            for table, columns in CHANGEABLE.items()
            for statement in (
                f"REVOKE UPDATE, DELETE, TRUNCATE ON {table} FROM {APP}",
                f"GRANT UPDATE ({', '.join(columns)}) ON {table} TO {APP}",
            )
        ),
    ]


def _four_eyes() -> list[str]:
    return [
        """
        CREATE FUNCTION check_four_eyes() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            author uuid;
            project_tier integer;
        BEGIN
            SELECT v.author_id INTO author FROM releases r
                JOIN versions v ON v.project_id = r.project_id AND v.id = r.version_id
                WHERE r.project_id = NEW.project_id AND r.id = NEW.release_id;
            SELECT tier INTO project_tier FROM projects WHERE id = NEW.project_id;
            NEW.is_self_approval := (author = NEW.approver_id);
            IF NEW.decision = 'approved' AND NEW.is_self_approval AND project_tier < 4 THEN
                RAISE EXCEPTION 'the author of a version cannot approve it' USING ERRCODE = 'CA001';
            END IF;
            RETURN NEW;
        END $$
        """,
        "CREATE TRIGGER approvals_four_eyes BEFORE INSERT OR UPDATE OF decision, approver_id, release_id ON approvals"
        " FOR EACH ROW EXECUTE FUNCTION check_four_eyes()",
    ]


def downgrade() -> None:
    raise NotImplementedError("the first schema has nothing before it; restore a backup instead")
