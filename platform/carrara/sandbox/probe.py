"""Finds out what this machine lets us do, by doing it in forked children. To be called before any thread is started."""

import os
import platform
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from carrara.sandbox import confine, landlock, namespaces, seccomp, syscalls, uids, view
from carrara.sandbox.cgroups import ControlGroups, find_control_groups
from carrara.sandbox.domain import Capabilities, Layer, LayerState
from carrara.sandbox.exposure import closed_to_others, exposure_of, machine_trees

_MANY_BYTES = 1 << 20


def probe(mount_point: Path) -> tuple[Capabilities, ControlGroups]:
    """What can hold a child here, and where control groups are made. `mount_point` is an existing folder."""
    if sys.platform != "linux":
        states = tuple(LayerState(layer, False, f"{sys.platform} does not have it") for layer in Layer)
        return Capabilities(as_root=os.geteuid() == 0, layers=states), ControlGroups(None, None)
    groups, memory_reason, pids_reason = find_control_groups()
    as_root = os.geteuid() == 0
    user_namespace = _user_namespace(as_root)
    inside = user_namespace.available
    own_view = _tried(Layer.MOUNT_VIEW, lambda: _try_view(mount_point, inside), "the child sees only what it is given")
    states = (
        _own_uid(as_root, own_view.available),
        user_namespace,
        _tried(Layer.PID_NAMESPACE, lambda: _try_pids(inside), "the child and all it starts end together"),
        _tried(Layer.NETWORK_NAMESPACE, lambda: _try_network(inside), "a network with nobody else in it"),
        own_view,
        _landlock(),
        _tried(Layer.SECCOMP, _try_seccomp, f"filter for {platform.machine()}"),
        LayerState(Layer.MEMORY_CGROUP, groups.memory is not None, memory_reason),
        LayerState(Layer.PIDS_CGROUP, groups.pids is not None, pids_reason),
    )
    return Capabilities(as_root=as_root, layers=states), groups


def print_probe() -> None:
    """Writes the capabilities as JSON to standard output, for `levels.detect`."""
    with tempfile.TemporaryDirectory() as folder:
        capabilities, _ = probe(Path(folder))
    sys.stdout.buffer.write(msgspec.json.encode(capabilities))


def _tried(layer: Layer, step: Callable[[], object], meaning: str) -> LayerState:
    reason = namespaces.attempt(step)
    return LayerState(layer, not reason, reason or meaning)


def _user_namespace(as_root: bool) -> LayerState:
    if as_root:
        return LayerState(Layer.USER_NAMESPACE, False, "not needed: root makes the other namespaces itself")
    state = _tried(Layer.USER_NAMESPACE, namespaces.enter_user_namespace, "an unprivileged user may make namespaces")
    if state.available:
        return state
    advice = "; allow it by sysctl kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns=0"
    return LayerState(Layer.USER_NAMESPACE, False, state.detail + advice)


def _own_uid(as_root: bool, has_view: bool) -> LayerState:
    if not as_root:
        return LayerState(Layer.OWN_UID, False, "only root can give a child a uid of its own")
    numbers = uids.uid_range()
    if numbers is None:
        return LayerState(Layer.OWN_UID, False, "this container maps none of the uids that are free to use")
    state = _tried(Layer.OWN_UID, lambda: confine.drop_uid(numbers.start), f"from {numbers.start} on")
    if state.available and not has_view:
        for path in (Path(sys.prefix), Path(sys.base_prefix), Path(__file__)):
            if (closed := closed_to_others(path)) is not None:
                reason = (
                    f"another uid cannot reach {path}: {closed} is closed to it; move the installation or chmod o+x"
                )
                return LayerState(Layer.OWN_UID, False, reason)
    return state


def _landlock() -> LayerState:
    try:
        version = landlock.abi()
    except OSError as error:
        return LayerState(Layer.LANDLOCK, False, f"the kernel does not offer it ({error.strerror}); it came with 5.13")
    notes = [note for least, note in ((4, "TCP"), (6, "signals and abstract sockets")) if version >= least]
    covers = ", ".join(("files", *notes))
    return _tried(Layer.LANDLOCK, _try_landlock, f"version {version}: {covers}")


def _namespaces(inside: bool) -> None:
    if inside:
        namespaces.enter_user_namespace()


def _try_pids(inside: bool) -> None:
    _namespaces(inside)
    syscalls.unshare(syscalls.CLONE_NEWPID)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if os.getpid() == 1 else 1)
    if os.waitpid(pid, 0)[1] != 0:
        raise OSError("the first process in the namespace is not process 1")


def _try_network(inside: bool) -> None:
    _namespaces(inside)
    listener = namespaces.enter_own_network(listen=True)
    namespaces.enter_private_ipc()
    if listener is None:
        raise OSError("loopback did not come up")


def _try_view(mount_point: Path, inside: bool) -> None:
    """In a pid namespace too if that works: that is how it will be used."""
    _namespaces(inside)
    exposure = exposure_of(machine_trees(), (), ())
    own_processes = not namespaces.attempt(lambda: syscalls.unshare(syscalls.CLONE_NEWPID))
    if own_processes:
        syscalls.unshare(syscalls.CLONE_NEWPID)
    request = view.ViewRequest(
        mount_point, exposure, uid=os.getuid(), own_processes=own_processes, shared_memory_bytes=_MANY_BYTES
    )
    reason = namespaces.attempt(lambda: _look_around(request))
    if reason:
        raise OSError(reason)


def _look_around(request: view.ViewRequest) -> None:
    view.enter_view(request)
    if not Path(os.__file__).exists() or Path("/etc/shadow").exists():
        raise OSError("the view does not show what it should")


def _try_landlock() -> None:
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    landlock.restrict([(Path("/usr"), landlock.READ), (Path("/proc"), landlock.READ)], tcp=False)
    confine.verify_landlock()


def _try_seccomp() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    seccomp.install(seccomp.Profile(allow_fork=False), platform.machine())
    confine.verify_seccomp()
