"""The platform that `carrara up` starts, as its users first meet it."""

import json
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from tests.support.stack import Stack


def carrara(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "carrara.cli.main", *arguments, "--data-dir", str(stack.data_dir)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_every_process_of_the_list_is_healthy(stack: Stack) -> None:
    done = carrara(stack, "status", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout
    assert {row["name"] for row in found["processes"]} == {
        *("postgres", "valkey", "mlflow", "migrate", "platform", "controller", "worker", "serving")
    }


def test_the_doctor_finds_nothing_wrong(stack: Stack) -> None:
    findings = json.loads(carrara(stack, "doctor", "--json").stdout)["findings"]
    wrong = [
        finding for finding in findings if finding["outcome"] != "ok" and finding["name"] not in ("disk", "sandbox")
    ]
    assert wrong == []


def test_the_api_knows_the_first_admin_and_nobody_else(stack: Stack) -> None:
    def ask(token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(f"{stack.url}/api/v1/projects", headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)

    assert (stack.data_dir / "admin-token").stat().st_mode & 0o077 == 0
    assert ask(stack.admin_token) == 200
    with pytest.raises(urllib.error.HTTPError, match="401"):
        ask("wrong")


def test_no_secret_is_on_a_command_line(stack: Stack) -> None:
    listed = subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    for secret in (stack.data_dir / "secrets").iterdir():
        assert secret.read_text().strip() not in listed, secret.name


@pytest.mark.parametrize("option", ["--detach", "--json"])
def test_a_second_up_says_where_the_first_is(stack: Stack, option: str) -> None:
    done = carrara(stack, "up", option)
    assert done.returncode == 11, done.stdout + done.stderr
    assert stack.url in done.stdout + done.stderr
    assert stack.is_healthy()
