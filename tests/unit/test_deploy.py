"""What `deploy/` starts is what the one list of processes says, and nobody is given a secret that is not theirs."""

import re
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy.compose_file import compose_file
from deploy.make_secrets import make_secrets, secret_texts
from deploy.render import main
from deploy.systemd_units import HOME, OTHERS, units

from carrara.embedded.probes import HEARTBEAT_SECONDS
from carrara.processes import PROCESSES, SECRETS, ProbeKind, ProcessSpec

ROOT = Path(__file__).parents[2]
OURS = [spec for spec in PROCESSES if spec.name not in OTHERS]
SERVICES: dict[str, Any] = yaml.safe_load(compose_file())["services"]
UNITS = units()


def name_of(spec: ProcessSpec) -> str:
    return spec.name


def unit(spec: ProcessSpec) -> dict[str, list[str]]:
    """Every key of a unit with all its values."""
    found: dict[str, list[str]] = {}
    for line in UNITS[f"carrara-{spec.name}.service"].splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def secrets_in(text: str) -> set[str]:
    return {name for name in SECRETS if re.search(rf"\b{name}\b", text)}


def test_rendered_files_are_current() -> None:
    assert main(["--check"]) == 0


@pytest.mark.parametrize("spec", OURS, ids=name_of)
def test_every_process_of_ours_has_a_unit_with_its_command_and_its_end(spec: ProcessSpec) -> None:
    settings = unit(spec)
    assert settings["ExecStart"] == [" ".join((f"{HOME}/bin/{spec.argv[0]}", *spec.argv[1:]))]
    if not spec.runs_once:
        assert settings["KillSignal"] == [spec.stop_signal.name]
        assert [float(seconds) for seconds in settings["TimeoutStopSec"]] == [spec.drain_seconds]
        assert settings["KillMode"] == ["mixed"]


@pytest.mark.parametrize("spec", OURS, ids=name_of)
def test_a_unit_comes_after_what_it_depends_on(spec: ProcessSpec) -> None:
    after = unit(spec)["After"][0].split()
    assert {f"carrara-{name}.service" for name in spec.depends_on if name not in OTHERS} <= set(after)
    for name in set(spec.depends_on) & set(OTHERS):
        assert set(OTHERS[name]) <= set(after)


@pytest.mark.parametrize("spec", OURS, ids=name_of)
def test_a_unit_reads_exactly_the_secrets_of_its_process(spec: ProcessSpec) -> None:
    text = UNITS[f"carrara-{spec.name}.service"]
    files = [Path(value.lstrip("-")) for value in unit(spec)["EnvironmentFile"]]
    read = {path.stem for path in files if path.parent.name == "secrets"}
    assert read == secrets_in(text) == set(spec.sees)


@pytest.mark.parametrize("spec", OURS, ids=name_of)
def test_only_who_confines_may_make_namespaces_and_nobody_has_capabilities(spec: ProcessSpec) -> None:
    settings = unit(spec)
    assert settings["CapabilityBoundingSet"] == [""]
    assert settings["NoNewPrivileges"] == ["yes"]
    if spec.confines:
        assert set(settings["RestrictNamespaces"][0].split()) == {"user", "pid", "net", "mnt", "ipc", "uts"}
        assert not {"ProtectKernelTunables", "ProtectProc", "PrivateUsers", "SystemCallFilter"} & set(settings)
        assert f"carrara-{spec.name}.strict.conf" in UNITS
    else:
        assert settings["RestrictNamespaces"] == ["yes"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    """It ends with 0 even for a line that it ignores, so what it says counts. The programs are not installed here."""
    for name, text in UNITS.items():
        if name.endswith(".service"):
            (tmp_path / name).write_text(re.sub(r"^ExecStart=.*", "ExecStart=/bin/true", text, flags=re.MULTILINE))
        else:
            folder = tmp_path / name.replace(".strict.conf", ".service.d")
            folder.mkdir()
            (folder / "strict.conf").write_text(text)
    files = sorted(map(str, tmp_path.glob("*.service")))
    done = subprocess.run(["systemd-analyze", "verify", *files], capture_output=True, text=True, check=False)
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if str(tmp_path) in line]
    assert (done.returncode, complaints) == (0, [])


def test_compose_has_every_process_with_its_command_and_its_end() -> None:
    assert list(SERVICES) == [spec.name for spec in PROCESSES]
    for spec in PROCESSES:
        service = SERVICES[spec.name]
        assert tuple(service["command"][: len(spec.argv)]) == spec.argv
        assert service["stop_signal"] == spec.stop_signal.name
        assert service["stop_grace_period"] == f"{spec.drain_seconds:g}s"
        assert set(service.get("depends_on", ())) == set(spec.depends_on)


@pytest.mark.parametrize("spec", OURS, ids=name_of)
def test_a_container_reads_exactly_the_secrets_of_its_process(spec: ProcessSpec) -> None:
    service = SERVICES[spec.name]
    assert {Path(entry["path"]).stem for entry in service["env_file"]} == set(spec.sees)
    assert not secrets_in(" ".join(service["environment"]))
    assert "secrets" not in service


def test_no_server_that_is_not_ours_reads_a_secret_of_ours() -> None:
    for name in OTHERS:
        assert not secrets_in(yaml.safe_dump(SERVICES[name]))


def test_serving_cannot_reach_the_network_of_the_databases() -> None:
    holders = {spec.name for spec in PROCESSES if set(SERVICES[spec.name]["networks"]) & {"data"}}
    assert "serving" not in holders
    assert holders == {"postgres", "valkey", "mlflow", "migrate", "platform", "controller", "worker"}


def test_every_lasting_container_is_asked_whether_it_works() -> None:
    for spec in PROCESSES:
        check = SERVICES[spec.name].get("healthcheck", {}).get("test", [])
        if spec.probe is ProbeKind.HTTP:
            assert spec.probe_path in check[-1]
        elif spec.probe is ProbeKind.HEARTBEAT:
            assert SERVICES[spec.name]["environment"]["CARRARA_HEARTBEAT_FILE"] in check[-1]
            assert f"{HEARTBEAT_SECONDS:g} seconds ago" in check[-1]
        assert bool(check) == (not spec.runs_once)


def test_only_loopback_is_published() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_made_secrets_are_all_that_compose_asks_for_and_closed_to_others(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    made = make_secrets(folder)
    asked = {entry["path"] for spec in OURS for entry in SERVICES[spec.name]["env_file"]}
    assert {Path(path).name for path in asked if "AWS_" not in path} | {"postgres.env", "valkey.conf"} == set(made)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not stat.S_IMODE((folder / "CARRARA_DATABASE_URL.env").stat().st_mode) & 0o077


def test_secrets_are_made_once_and_never_mixed(tmp_path: Path) -> None:
    made = make_secrets(tmp_path / "secrets")
    before = {name: (tmp_path / "secrets" / name).read_text() for name in made}
    assert make_secrets(tmp_path / "secrets") == []
    assert {name: (tmp_path / "secrets" / name).read_text() for name in made} == before
    (tmp_path / "secrets" / "valkey.conf").unlink()
    with pytest.raises(FileExistsError, match=r"not valkey\.conf"):
        make_secrets(tmp_path / "secrets")


def test_no_two_sets_of_secrets_share_a_password() -> None:
    one, other = secret_texts(), secret_texts()
    assert all(one[name] != other[name] for name in one)


@pytest.mark.parametrize("lock", ["deploy/requirements.lock", "deploy/build.lock"])
def test_the_image_gets_the_very_versions_and_hashes_of_the_lock(lock: str) -> None:
    ours, whole = _pins(ROOT / lock), _pins(ROOT / "requirements.lock")
    assert ours
    assert {name: pin for name, pin in ours.items() if whole.get(name) != pin} == {}


def test_the_image_gets_every_dependency() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.match(r"[\w.-]+", line)[0].lower() for line in wanted}  # type: ignore[index]  # all begin with a name
    assert names <= set(_pins(ROOT / "deploy/requirements.lock"))


def _pins(path: Path) -> dict[str, tuple[str, frozenset[str]]]:
    """Package name to version and hashes."""
    found = {}
    for block in re.split(r"\n(?=[a-z0-9])", path.read_text()):
        if match := re.match(r"([\w.-]+)(?:\[[^\]]*\])?==(\S+)", block):
            found[match[1]] = (match[2], frozenset(re.findall(r"sha256:\w+", block)))
    return found
