"""Ports: found, remembered, and refused with a name when somebody else has them."""

import socket
from pathlib import Path

import pytest

from carrara.embedded.ports import PortWish, choose_ports, free_port
from carrara.kernel.errors import Conflict, Invalid


def wish(**given: int | None) -> PortWish:
    return PortWish("platform", "CARRARA_PLATFORM_PORT", "--port", **given)  # type: ignore[arg-type]


def test_a_chosen_port_is_the_same_next_time(tmp_path: Path) -> None:
    first, _ = choose_ports((PortWish("postgres", "CARRARA_POSTGRES_PORT"),), tmp_path / "ports.json")
    again, _ = choose_ports((PortWish("postgres", "CARRARA_POSTGRES_PORT"),), tmp_path / "ports.json")
    assert first == again


def test_another_is_chosen_and_said_when_the_preferred_one_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = holder.getsockname()[1]
        chosen, said = choose_ports((wish(preferred=taken),), tmp_path / "ports.json")
    assert chosen["platform"] != taken
    assert str(taken) in said[0]


@pytest.mark.parametrize("remembered", [False, True])
def test_a_port_that_is_known_or_was_asked_for_is_not_silently_changed(tmp_path: Path, remembered: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = holder.getsockname()[1]
        if remembered:
            (tmp_path / "ports.json").write_text(f'{{"platform": {taken}}}')
        with pytest.raises(Conflict, match=f"{taken}.*--port or CARRARA_PLATFORM_PORT"):
            choose_ports((wish(preferred=free_port()) if remembered else wish(asked=taken),), tmp_path / "ports.json")


def test_an_internal_port_that_is_taken_is_replaced(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = holder.getsockname()[1]
        (tmp_path / "ports.json").write_text(f'{{"postgres": {taken}}}')
        chosen, _ = choose_ports((PortWish("postgres", "CARRARA_POSTGRES_PORT"),), tmp_path / "ports.json")
    assert chosen["postgres"] != taken


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_number_that_is_no_port_is_refused(tmp_path: Path, port: int) -> None:
    with pytest.raises(Invalid, match="is not a port"):
        choose_ports((wish(asked=port),), tmp_path / "ports.json")


def test_an_unreadable_memory_of_ports_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "ports.json").write_text("{")
    chosen, _ = choose_ports((PortWish("valkey", "CARRARA_VALKEY_PORT"),), tmp_path / "ports.json")
    assert chosen["valkey"] > 0
