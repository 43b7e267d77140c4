"""The one list of processes: who sees what, and that it can be started at all."""

from pydantic import SecretStr

from carrara.kernel.config import Settings
from carrara.processes import PROCESSES, SECRETS, environment_for

BY_NAME = {spec.name: spec for spec in PROCESSES}


def test_every_secret_setting_is_known_as_one() -> None:
    secret_fields = {name for name, field in Settings.model_fields.items() if SecretStr in _kinds(field.annotation)}
    assert {f"CARRARA_{name.upper()}" for name in secret_fields} <= SECRETS


def test_serving_sees_neither_database_nor_redis() -> None:
    everything = {**dict.fromkeys(SECRETS, "x"), "PATH": "/bin", "CARRARA_LOG_LEVEL": "INFO", "EDITOR": "vi"}
    seen = environment_for(BY_NAME["serving"], everything)
    assert "CARRARA_DATABASE_URL" not in seen
    assert "CARRARA_REDIS_URL" not in seen
    assert {"CARRARA_SERVING_SECRET", "PATH", "CARRARA_LOG_LEVEL"} <= set(seen)
    assert "EDITOR" not in seen


def test_a_secret_that_the_list_does_not_name_reaches_nobody() -> None:
    for spec in PROCESSES:
        assert environment_for(spec, {"CARRARA_OIDC_CLIENT_SECRET": "x", "CARRARA_SIGNING_KEY": "y"}) == {}


def test_only_the_processes_that_need_the_database_see_it() -> None:
    seeing = {spec.name for spec in PROCESSES if "CARRARA_DATABASE_URL" in spec.sees}
    assert seeing == {"migrate", "platform", "controller", "worker"}


def test_what_a_process_depends_on_is_listed_before_it() -> None:
    names = [spec.name for spec in PROCESSES]
    for position, spec in enumerate(PROCESSES):
        assert set(spec.depends_on) <= set(names[:position])


def _kinds(annotation: object) -> set[object]:
    return {annotation, *getattr(annotation, "__args__", ())}
