"""Processes, ports and /proc.

In: a command line. Out: a running process that is surely stopped, and what the kernel says about it.
Every process begins a session of its own, so that stopping it takes its children too, and dies with this program.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from typing import Callable

PATIENCE = 10.0
TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """Something could not be measured; the text says what and why."""


class Process:
    """A process with its children, stopped at the end of a `with` block."""

    def __init__(self, argv: list[str], env: dict[str, str], **popen):
        guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        popen.setdefault("stdin", subprocess.DEVNULL)
        popen.setdefault("stdout", subprocess.DEVNULL)
        # A file and not a pipe: nobody reads it until something has gone wrong.
        self._stderr = tempfile.TemporaryFile()
        popen.setdefault("stderr", self._stderr)
        # The programs are looked up here: an emptied environment has no PATH.
        argv = [located(word) if i == 0 else word for i, word in enumerate(argv)]
        guard = [located(word) if i == 0 else word for i, word in enumerate(guard)]
        self.argv = argv
        self._popen = subprocess.Popen(guard + argv, env=env, start_new_session=True, **popen)
        self.pid = self._popen.pid
        self.stdout = self._popen.stdout

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def alive(self) -> bool:
        return self._popen.poll() is None

    def stop(self) -> None:
        """Asks the process to end, then makes it and whatever is left of its session end."""
        if self.alive():
            self._popen.terminate()
            try:
                self._popen.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._popen.wait(PATIENCE)
        if self.stdout:
            self.stdout.close()
        self._stderr.close()

    def complaint(self) -> str:
        """The last line that the process wrote on standard error."""
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def finish(self, timeout: float) -> tuple[int, bytes]:
        """Waits for the end; exit status and standard output."""
        try:
            out, _ = self._popen.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as e:
            raise Failed(f"{self.argv[0]} did not end within {timeout:.0f} s") from e
        return self._popen.returncode, out or b""


def located(program: str) -> str:
    """The path of a program, sbin included: an ordinary user's PATH has none."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/local/sbin")
    if not found:
        raise Failed(f"{program} is not installed")
    return found


def installed(program: str) -> bool:
    try:
        located(program)
    except Failed:
        return False
    return True


def wait_for(what: str, condition: Callable[[], object], patience: float = PATIENCE):
    """The first true value of `condition`; Failed when there is none in time."""
    deadline = time.monotonic() + patience
    pause = 0.001
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise Failed(f"{what}: not within {patience:.0f} s")
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody uses now, for servers that cannot take one from the kernel."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port: int) -> bool:
    """Whether a whole answer comes from this port of 127.0.0.1."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
            data = b""
            while chunk := connection.recv(4096):
                data += chunk
    except OSError:
        return False
    return b"load average" in data


@dataclass
class Cpu:
    """CPU seconds of a process and of the children that it has waited for (proc(5), /proc/PID/stat)."""

    own: float
    children: float

    @staticmethod
    def of(pid: int) -> "Cpu":
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            # The second field is the name in parentheses and may hold anything.
            fields = stat.read().rpartition(")")[2].split()
        utime, stime, cutime, cstime = (int(field) for field in fields[11:15])
        return Cpu((utime + stime) / TICKS, (cutime + cstime) / TICKS)

    def __sub__(self, earlier: "Cpu") -> "Cpu":
        return Cpu(self.own - earlier.own, self.children - earlier.children)


def memory(pid: int) -> dict[str, int]:
    """Resident, anonymous and peak resident memory of a process in KiB."""
    wanted = {"VmRSS": "rss_kib", "RssAnon": "anon_kib", "VmHWM": "peak_kib"}
    found = {}
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
        for line in status:
            name, _, rest = line.partition(":")
            if name in wanted:
                found[wanted[name]] = int(rest.split()[0])
    return found


def raise_descriptor_limit() -> None:
    """4,000 clients need as many descriptors; every server gets the same limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
