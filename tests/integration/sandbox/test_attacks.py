"""F12 and S17: what hostile code tries is held, whoever runs the platform, and would get through if nothing held it."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.identities import Identity, folder_for_anybody, run_as

from carrara.sandbox.domain import Level

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE / "children"))
from hostile import ATTACKS  # noqa: E402  # user code, which no package holds

IDENTITIES = tuple(Identity) if os.geteuid() == 0 else (Identity.ROOT,)
STRONGEST = {
    Identity.ROOT: Level.STRICT if os.geteuid() == 0 else Level.STANDARD,
    Identity.CONTAINER_ROOT: Level.STRICT,
    Identity.USER: Level.STANDARD,
    Identity.BARE_USER: Level.STANDARD,
}

# Held by how the forkserver is started, so at every level; or refused by every kernel to whom it is tried as.
HELD_BY_NATURE = {"find_secret_in_environment", "use_inherited_descriptors", "read_first_process_environment"}
NEEDS_ROOT = {
    "read_shadow", "make_a_disk_node", "open_a_raw_socket", "become_root", "mount_something", "use_bpf",
    "open_core_pattern", "leave_the_control_group", "append_to_our_code",
}  # fmt: skip
NEEDS_SYS_ADMIN = {"mount_something", "use_bpf"}
NEEDS_USER_NAMESPACES = {"make_a_user_namespace", "clone_into_a_namespace"}
# Kernels are built and set up differently: without these features there is nothing to hold.
OPTIONAL_IN_KERNELS = {
    "use_io_uring", "use_bpf", "use_keyring", "use_perf", "use_userfaultfd", "make_a_user_namespace",
    "clone_into_a_namespace", "trace_parent", "read_parent_memory", "steal_a_descriptor", "leave_the_control_group",
}  # fmt: skip

Outcomes = dict[str, dict[str, Any]]


def outcomes_of(identity: Identity, level: Level) -> Outcomes:
    with folder_for_anybody() as folder:
        arguments = [str(HERE / "drive_attacks.py"), str(folder), str(level)]
        done = run_as(identity, arguments, folder=folder, timeout_seconds=240)
    assert done.returncode == 0, done.stderr
    outcomes: Outcomes = json.loads(done.stdout)
    assert set(outcomes) == set(ATTACKS)
    return outcomes


@pytest.mark.parametrize("identity", IDENTITIES)
def test_fault_f12_every_attack_is_held(identity: Identity) -> None:
    outcomes = outcomes_of(identity, STRONGEST[identity])

    got_through = {name: outcome["detail"] for name, outcome in outcomes.items() if outcome["breached"]}

    assert got_through == {}


@pytest.mark.parametrize("identity", IDENTITIES)
def test_every_attack_gets_through_where_nothing_holds_it(identity: Identity) -> None:
    expected = set(ATTACKS) - HELD_BY_NATURE - OPTIONAL_IN_KERNELS - _refused_to(identity)

    outcomes = outcomes_of(identity, Level.NONE)

    held = {name: outcomes[name]["detail"] for name in expected if not outcomes[name]["breached"]}
    assert held == {}


def _refused_to(identity: Identity) -> set[str]:
    if os.geteuid() != 0 or identity in (Identity.USER, Identity.BARE_USER):
        return NEEDS_ROOT | (NEEDS_USER_NAMESPACES if identity is Identity.BARE_USER else set())
    return NEEDS_SYS_ADMIN if identity is Identity.CONTAINER_ROOT else set()
