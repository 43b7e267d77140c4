"""Settings, read once at the start of a process from `CARRARA_*` variables; `docs/reference/settings.md` lists them."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseSettings):
    """What any of our processes may need. A process reads only what its row in `processes.py` hands to it."""

    model_config = SettingsConfigDict(env_prefix="CARRARA_", extra="ignore", frozen=True)

    data_dir: Path = Field(Path(".carrara"), description="where a process keeps its own files on its machine")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")
    insecure_http: bool = Field(
        False,
        description="1 lets a process listen beyond loopback: TLS ends at a proxy before it, or the network is trusted",
    )

    database_url: SecretStr | None = Field(None, description="postgresql+psycopg://user:password@host:port/database")
    redis_url: SecretStr | None = Field(None, description="redis://:password@host:port/0; only a doorbell")
    object_store: str | None = Field(None, description="a directory, or s3://bucket/prefix")
    s3_endpoint_url: str | None = Field(None, description="for an S3 that is not Amazon's")
    mlflow_url: str | None = Field(None, description="http://host:port of an MLflow server that only we can reach")
    mlflow_secret: SecretStr | None = Field(None, description="shared secret that our MLflow child asks for")
    mlflow_database_url: SecretStr | None = Field(
        None, description="the database of our MLflow child, another than the platform's"
    )
    mlflow_artifacts: str | None = Field(
        None, description="where our MLflow child keeps artifacts: an absolute directory, or s3://bucket/prefix"
    )
    mlflow_host: str = Field("127.0.0.1", description="the address at which our MLflow child listens")
    mlflow_port: Port | None = Field(None, description="the port of our MLflow child")
    mlflow_workspaces: bool = Field(True, description="off makes our MLflow child do without workspaces")
    postgres_port: Port | None = Field(None, description="only `carrara up`: the port of its PostgreSQL")
    valkey_port: Port | None = Field(None, description="only `carrara up`: the port of its Valkey")

    platform_host: str = Field("127.0.0.1", description="the address at which the API listens")
    platform_port: Port = Field(8080, description="the port of the API")
    platform_url: str = Field(
        "http://127.0.0.1:8080", description="where serving and the jobs of a worker reach the API; jobs need http"
    )
    serving_host: str = Field("127.0.0.1", description="the address at which predictions are answered")
    serving_port: Port = Field(8081, description="the port of predictions")
    serving_url: str = Field("http://127.0.0.1:8081", description="where clients reach predictions")
    serving_workers: int = Field(2, ge=1, le=64, description="processes behind one serving port")
    serving_secret: SecretStr | None = Field(None, description="what serving shows to the platform")

    worker_slots: int = Field(2, ge=1, le=64, description="jobs at once in one worker")
    worker_drain_seconds: float = Field(3.0, ge=0, description="what running jobs get when their worker must stop")
    sandbox_level: str = Field(
        "auto", pattern="^(auto|strict|standard|none)$", description="the least that must confine jobs and models"
    )
    job_timeout_seconds: int = Field(3600, ge=1, description="how long a job may run that asks for nothing else")
    job_memory_bytes: int = Field(4 << 30, ge=64 << 20, description="of one job, beyond shared libraries")
    job_max_timeout_seconds: int = Field(7 * 86400, ge=1, description="how long a job may ask to run")
    job_disk_bytes: int = Field(20 << 30, ge=1 << 20, description="of all files that one running job has written")
    job_processes: int = Field(64, ge=1, description="processes and threads of one job")

    lease_seconds: float = Field(30.0, gt=0, description="after this silence a job goes to another worker")
    heartbeat_seconds: float = Field(10.0, gt=0, description="how often a worker renews the lease of a job")
    heartbeat_file: Path | None = Field(
        None, description="controller and worker touch it in each round of their main loop, for who watches them"
    )
    poll_seconds: float = Field(2.0, gt=0, description="how often a worker looks for jobs when nothing rings")
    instance_lease_seconds: float = Field(10.0, gt=0, description="after this silence a serving process counts as gone")
    rollout_deadline_seconds: float = Field(120.0, gt=0, description="how long serving may take to confirm a release")
    max_upload_bytes: int = Field(4 << 30, ge=1 << 20, description="of one uploaded file")
    max_body_bytes: int = Field(8 << 20, ge=1 << 10, description="of one prediction request")
    max_rows: int = Field(10_000, ge=1, description="in one prediction request")
    max_in_flight: int = Field(64, ge=1, description="requests at once, for each endpoint and serving process")
    predict_timeout_seconds: float = Field(10.0, gt=0, description="after it a prediction is given up, with 504")
    model_load_timeout_seconds: float = Field(60.0, gt=0, description="for loading and warming one release")
    model_memory_bytes: int = Field(2 << 30, ge=64 << 20, description="of one loaded model, beyond shared libraries")
    max_stale_auth_seconds: float = Field(3600.0, gt=0, description="how long serving believes tokens while cut off")

    def host(self, process: str) -> str:
        """Where `process` listens; ValueError if that is plain HTTP on a network and nobody has said that it may be."""
        host: str = getattr(self, f"{process}_host")
        if not (self.insecure_http or host == "localhost" or is_loopback(host)):
            raise ValueError(
                f"CARRARA_{process.upper()}_HOST is {host}: passwords and data would cross the network as plain HTTP."
                " Put a proxy that ends TLS before it (docs/how-to/production.md), then set CARRARA_INSECURE_HTTP=1"
            )
        return host

    def required(self, name: str) -> str:
        """The text of a setting that this process cannot do without; ValueError names the variable."""
        value = getattr(self, name)
        if value is None:
            raise ValueError(
                f"CARRARA_{name.upper()} is not set; `carrara up` sets it, or see docs/reference/settings.md"
            )
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def is_loopback(host: str) -> bool:
    """Whether `host` is an address that only this machine reaches. A name is not an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
