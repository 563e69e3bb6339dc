"""Other ways to put a command on a port: how each is started, and how to install it on Debian.

In: nothing but what the machine has. Out: servers, and for each that is missing the reason and the remedy. All are
started on 127.0.0.1, with the same bounds on children and backlog where they have such bounds, and with their own
brakes (a rate a minute, a name look-up per connection) off, so that they show what they can do.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator

from .process import Failed, Process, answers, free_port, installed, located, wait_for
from .servers import BACKLOG, MAX_CHILDREN, Running, Server

UPTIME = "/usr/bin/uptime"


@dataclass(frozen=True)
class Absent:
    """A peer that is not here."""

    name: str
    why: str
    remedy: str


def tcpserver(port: int, _folder: Path, _env: dict) -> list[str]:
    # -H -R -l0: no look-ups of names; -q: no line per connection.
    bounds = ["-c", str(MAX_CHILDREN), "-b", str(BACKLOG)]
    return ["tcpserver", "-q", "-H", "-R", "-l0", *bounds, "127.0.0.1", str(port), UPTIME]


def xinetd(port: int, folder: Path, env: dict) -> list[str]:
    # cps: the default of 50 a second switches the service off for 10 s. instances: beyond it xinetd closes
    # connections unanswered instead of leaving them in the backlog, so it has none.
    wanted = "\n".join(f"    env += {name}={value}" for name, value in env.items())
    (folder / "xinetd.conf").write_text(
        f"""defaults
{{
    instances = UNLIMITED
    per_source = UNLIMITED
    cps = 1000000 1
}}
service bench
{{
    type = UNLISTED
    bind = 127.0.0.1
    port = {port}
    socket_type = stream
    protocol = tcp
    wait = no
    user = {getpass.getuser()}
    server = {UPTIME}
{wanted}
}}
"""
    )
    conf, pid = folder / "xinetd.conf", folder / "xinetd.pid"
    return ["xinetd", "-dontfork", "-f", str(conf), "-pidfile", str(pid)]


def openbsd_inetd(program: str) -> Callable[[int, Path, dict], list[str]]:
    def argv(port: int, folder: Path, _env: dict) -> list[str]:
        conf = folder / "inetd.conf"
        conf.write_text(
            f"127.0.0.1:{port} stream tcp nowait.1000000 {getpass.getuser()} {UPTIME} uptime\n"
        )
        # -E: hand the environment down; -i: stay in the foreground.
        return [program, "-E", "-i", "-q", str(BACKLOG), "-R", "1000000", str(conf)]

    return argv


def socat(port: int, _folder: Path, _env: dict) -> list[str]:
    options = f"bind=127.0.0.1,fork,reuseaddr,backlog={BACKLOG},max-children={MAX_CHILDREN}"
    return ["socat", f"TCP4-LISTEN:{port},{options}", f"EXEC:{UPTIME}"]


def ncat(port: int, _folder: Path, _env: dict) -> list[str]:
    return ["ncat", "-l", "-k", "-m", str(BACKLOG), "-e", UPTIME, "127.0.0.1", str(port)]


def socket_activate(port: int, _folder: Path, env: dict) -> list[str]:
    # It hands down only the variables that it is told to.
    passed = [word for name in env for word in ("-E", name)]
    return [
        "systemd-socket-activate",
        "--accept",
        "--inetd",
        *passed,
        "-l",
        f"127.0.0.1:{port}",
        UPTIME,
    ]


def peer(name: str, command: Callable[[int, Path, dict], list[str]]) -> Server:
    @contextlib.contextmanager
    def start(env: dict) -> Iterator[Running]:
        port = free_port()
        with tempfile.TemporaryDirectory(prefix="ruptime-bench.") as folder:
            with Process(command(port, Path(folder), env), env) as process:
                wait_for(f"{name} answers", lambda: answers(port) or not process.alive())
                if not process.alive():
                    raise Failed(f"{name} did not start: {' '.join(process.argv)}")
                yield Running(f"tcp:127.0.0.1:{port}", process.pid)

    return Server(name, start, "peer")


def unpacked_inetd(folder: Path) -> str:
    """openbsd-inetd's program, unpacked and not installed: its package and xinetd's exclude each other."""
    program = folder / "usr/sbin/inetd"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            subprocess.run(
                ["apt-get", "download", "-qq", "openbsd-inetd"],
                cwd=folder,
                check=True,
                capture_output=True,
                timeout=120,
            )
            deb = next(folder.glob("openbsd-inetd_*.deb"))
            subprocess.run(["dpkg", "-x", deb, folder], check=True, capture_output=True)
        except (OSError, subprocess.SubprocessError, StopIteration) as e:
            raise Failed("its package could not be fetched") from e
    missing = subprocess.run(["ldd", program], check=False, capture_output=True, text=True)
    if "not found" in missing.stdout:
        raise Failed("libraries are missing")
    return str(program)


def find_inetd(cache: Path) -> str:
    # Any program named inetd may be another one's (inetutils, busybox): ask for this one's manual option.
    if os.path.exists("/usr/share/doc/openbsd-inetd") and installed("inetd"):
        return located("inetd")
    return unpacked_inetd(cache / "openbsd-inetd")


def all_peers(cache: Path) -> tuple[list[Server], list[Absent]]:
    """Every peer that can be started here, and every other with the reason."""
    candidates = [
        ("tcpserver", "tcpserver", tcpserver, "apt-get install ucspi-tcp"),
        ("xinetd", "xinetd", xinetd, "apt-get install xinetd"),
        ("socat", "socat", socat, "apt-get install socat"),
        ("ncat", "ncat", ncat, "apt-get install ncat"),
        (
            "systemd-socket-activate",
            "systemd-socket-activate",
            socket_activate,
            "apt-get install systemd",
        ),
    ]
    here, absent = [], []
    for name, program, command, remedy in candidates:
        if installed(program):
            here.append(peer(name, command))
        else:
            absent.append(Absent(name, "not installed", remedy))
    try:
        here.insert(2, peer("openbsd-inetd", openbsd_inetd(find_inetd(cache))))
    except Failed as e:
        remedy = "apt-get install libwrap0 libbsd0 libevent-2.1-7 libtirpc3 and a Debian mirror, or openbsd-inetd"
        absent.append(Absent("openbsd-inetd", str(e), remedy))
    return here, absent
