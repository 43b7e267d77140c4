"""Settings, read once at the start of a process from `CARRARA_*` variables; `docs/reference/settings.md` lists them."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseSettings):
    """What any of our processes may need. A process reads only what its row in `processes.py` hands to it."""

    model_config = SettingsConfigDict(env_prefix="CARRARA_", extra="ignore", frozen=True)

    data_dir: Path = Path(".carrara")
    log_level: str = "INFO"

    database_url: SecretStr | None = Field(None, description="postgresql+psycopg://user:password@host:port/database")
    redis_url: SecretStr | None = Field(None, description="redis://:password@host:port/0; only a doorbell")
    object_store: str | None = Field(None, description="a directory, or s3://bucket/prefix")
    s3_endpoint_url: str | None = Field(None, description="for an S3 that is not Amazon's")
    mlflow_url: str | None = Field(None, description="http://host:port of an MLflow server that only we can reach")
    mlflow_secret: SecretStr | None = Field(None, description="shared secret that our MLflow child asks for")

    platform_host: str = "127.0.0.1"
    platform_port: Port = 8080
    platform_url: str = "http://127.0.0.1:8080"
    serving_host: str = "127.0.0.1"
    serving_port: Port = 8081
    serving_url: str = "http://127.0.0.1:8081"
    serving_workers: int = Field(2, ge=1, le=64)
    serving_secret: SecretStr | None = Field(None, description="what serving shows to the platform")

    worker_slots: int = Field(2, ge=1, le=64, description="jobs at once in one worker")
    worker_drain_seconds: float = Field(3.0, ge=0, description="what running jobs get when their worker must stop")
    sandbox_level: str = Field("auto", pattern="^(auto|strict|standard|none)$")
    job_timeout_seconds: int = Field(3600, ge=1)
    job_memory_bytes: int = Field(4 << 30, ge=64 << 20)
    job_processes: int = Field(64, ge=1)

    lease_seconds: float = Field(30.0, gt=0)
    heartbeat_seconds: float = Field(10.0, gt=0)
    poll_seconds: float = Field(2.0, gt=0)
    instance_lease_seconds: float = Field(10.0, gt=0)
    rollout_deadline_seconds: float = Field(120.0, gt=0)
    max_upload_bytes: int = Field(4 << 30, ge=1 << 20)
    max_body_bytes: int = Field(8 << 20, ge=1 << 10, description="of one prediction request")
    max_rows: int = Field(10_000, ge=1, description="in one prediction request")
    max_in_flight: int = Field(64, ge=1, description="requests at once, for each endpoint and serving process")
    predict_timeout_seconds: float = Field(10.0, gt=0)
    model_load_timeout_seconds: float = Field(60.0, gt=0)
    model_memory_bytes: int = Field(2 << 30, ge=64 << 20, description="of one loaded model, beyond shared libraries")
    max_stale_auth_seconds: float = Field(3600.0, gt=0, description="how long serving believes tokens while cut off")

    def required(self, name: str) -> str:
        """The text of a setting that this process cannot do without; ValueError names the variable."""
        value = getattr(self, name)
        if value is None:
            raise ValueError(
                f"CARRARA_{name.upper()} is not set; `carrara up` sets it, or see docs/reference/settings.md"
            )
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
