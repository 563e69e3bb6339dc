"""What is measured: our daemon, the floors, the textbook's servers.

In: an environment. Out: a running server with the target that the load generator asks, and the process whose
CPU time and memory count as the server's.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Iterator

from .process import PATIENCE, Failed, Process

BACKLOG = 4096
RECEIVE_BUFFER = 1 << 20
MAX_CHILDREN = 64

# The command alone decides most of an exec answer's cost, and its locale decides some 15 % of that.
MATCHED = {"LC_ALL": "C"}


@dataclass
class Running:
    """A server that answers."""

    target: str
    pid: int
    notes: dict = field(default_factory=dict)


Start = Callable[[dict], contextlib.AbstractContextManager[Running]]


@dataclass(frozen=True)
class Server:
    """Something that can be measured. `start` takes an environment."""

    name: str
    start: Start
    # "ours", "peer", "floor" or "textbook"
    kind: str


@dataclass(frozen=True)
class Programs:
    """Where the built programs are."""

    ruptimed: Path
    ruptime: Path
    load: Path
    floor: Path


@contextlib.contextmanager
def notify_socket() -> Iterator[tuple[str, socket.socket]]:
    """A service manager's end of sd_notify(3): its path, and where the messages come."""
    with tempfile.TemporaryDirectory(prefix="ruptime-bench.") as folder:
        path = os.path.join(folder, "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as messages:
            messages.bind(path)
            # Between two looks at whether the daemon is still there.
            messages.settimeout(0.1)
            yield path, messages


def wait_ready(messages: socket.socket, process: Process) -> None:
    """Returns once READY=1 has come; Failed, with what the process said, when it ends before or is late."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            if b"READY=1" in messages.recv(4096).split(b"\n"):
                return
        except TimeoutError:
            if not process.alive():
                raise Failed(f"the daemon ended at its start: {process.complaint()}") from None
    raise Failed(f"no READY=1 within {PATIENCE:.0f} s: {process.complaint()}")


def stream_listener() -> socket.socket:
    """A TCP listener of 127.0.0.1 with a port from the kernel, as a socket unit would hold it."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(BACKLOG)
    return listener


def datagram_socket(address: str = "127.0.0.1", device: bytes | None = None) -> socket.socket:
    """A UDP socket with a port from the kernel; bound to `device` it may have a wildcard address and stay local."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    if device:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
    bound.bind((address, 0))
    return bound


@contextlib.contextmanager
def activated(argv: list[str], env: dict, inherited: socket.socket) -> Iterator[Process]:
    """Runs a daemon with one inherited socket as sd_listen_fds(3) has it, and waits until it is ready."""
    number = inherited.fileno()
    # LISTEN_PID is the daemon's own: known only to a process that becomes it. bash, because dash's
    # redirections stop at descriptor 9.
    script = f'export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@" 3<&{number}' + (
        f" {number}<&-" if number != 3 else ""
    )
    with notify_socket() as (path, messages):
        env = dict(env, NOTIFY_SOCKET=path)
        argv = ["bash", "--norc", "-c", script, "bash", *argv]
        with Process(argv, env, pass_fds=(number,)) as process:
            wait_ready(messages, process)
            yield process


class Ours:
    """ruptimed in each of its ways to answer."""

    def __init__(self, programs: Programs):
        self.program = str(programs.ruptimed)

    def stream(self, name: str, *options: str) -> Server:
        @contextlib.contextmanager
        def start(env: dict) -> Iterator[Running]:
            argv = [self.program, "--max-children", str(MAX_CHILDREN), *options]
            with stream_listener() as listener:
                port = listener.getsockname()[1]
                with activated(argv, env, listener) as process:
                    yield Running(f"tcp:127.0.0.1:{port}", process.pid)

        return Server(name, start, "ours")

    def datagram(self, name: str, *options: str) -> Server:
        @contextlib.contextmanager
        def start(env: dict) -> Iterator[Running]:
            argv = [self.program, "--rate-limit", "0", *options]
            with datagram_socket() as bound:
                port = bound.getsockname()[1]
                with activated(argv, env, bound) as process:
                    yield Running(f"udp:127.0.0.1:{port}", process.pid)

        return Server(name, start, "ours")


def floor(programs: Programs, name: str, kind: str, *words: str) -> Server:
    """A program of ours that prints the target it serves."""

    @contextlib.contextmanager
    def start(env: dict) -> Iterator[Running]:
        with Process([str(programs.floor), *words], env, stdout=subprocess.PIPE) as process:
            target = process.stdout.readline().decode().strip()
            if not target:
                raise Failed(f"floor {' '.join(words)} did not start")
            yield Running(target, process.pid)

    return Server(name, start, kind)
