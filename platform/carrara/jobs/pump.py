"""Takes from a child what it says and prints until it is gone."""

import contextlib
import selectors
import socket
import sys
from collections.abc import Callable

from carrara.jobs.disk_watch import DiskWatch
from carrara.jobs.keeper import LeaseKeeper
from carrara.jobs.reporter import Reporter
from carrara.sandbox import frames
from carrara.sandbox.client import Child
from carrara.sandbox.domain import ChildExit

MAX_EVENT_BYTES = 8 << 20
_EVENTS_AT_ONCE = 500
_READS_LEFT_OVER = 64


def run_to_end(child: Child, keeper: LeaseKeeper, reporter: Reporter, disk: DiskWatch) -> ChildExit:
    """How the child ended, once all that it said has reached the reporter. An interruption of the keeper, or a
    complaint of the disk watch, kills it."""
    woken, waker = socket.socketpair()
    with woken, waker, selectors.DefaultSelector() as selector:
        keeper.when_interrupted(lambda: _wake(waker))
        try:
            return _pump(child, keeper, reporter, disk, selector=selector, woken=woken)
        finally:
            keeper.when_interrupted(None)


def _pump(
    child: Child,
    keeper: LeaseKeeper,
    reporter: Reporter,
    disk: DiskWatch,
    *,
    selector: selectors.DefaultSelector,
    woken: socket.socket,
) -> ChildExit:
    def take_events() -> None:
        if not _take_events(child, reporter, _EVENTS_AT_ONCE):
            selector.unregister(child.fileno())

    def take_output() -> None:
        if not _take_output(child, reporter, 1):
            selector.unregister(child.output_fileno())

    def kill() -> None:
        woken.recv(16)
        child.kill(f"the attempt was interrupted: {keeper.interruption}")

    handlers: dict[int, Callable[[], None]] = {
        child.fileno(): take_events,
        child.output_fileno(): take_output,
        woken.fileno(): kill,
        child.exit_fileno(): lambda: None,
    }
    for descriptor in handlers:
        selector.register(descriptor, selectors.EVENT_READ)
    while (ended := child.wait(0)) is None:
        for key, _ in selector.select(max(reporter.seconds_to_flush(), 0.05)):
            handlers[key.fd]()
        reporter.flush_if_due()
        if disk.complaint is not None:
            child.kill(f"disk limit: {disk.complaint}")
    _take_events(child, reporter, sys.maxsize)
    _take_output(child, reporter, _READS_LEFT_OVER)
    return ended


def _take_events(child: Child, reporter: Reporter, at_most: int) -> bool:
    """Takes what is there, at most so many; False when there will be no more."""
    for _ in range(at_most):
        try:
            payload = child.receive(0)
        except TimeoutError:
            return True
        except frames.FrameError as error:
            reporter.complain(f"the job sent what is no event: {error}")
            return False
        if payload is None:
            return False
        try:
            reporter.add_event(frames.decode_message(payload))
        except frames.FrameError as error:
            reporter.complain(f"the job sent what is no event: {error}")
    return True


def _take_output(child: Child, reporter: Reporter, at_most: int) -> bool:
    """Reads what is there, at most so often; False when there will be no more."""
    for _ in range(at_most):
        data = child.read_output()
        if data is None:
            return False
        if not data:
            break
        reporter.add_output(data)
    return True


def _wake(waker: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the child has ended meanwhile, and this end is closed
        waker.send(b"!")
