"""The client over machines that run no daemon of ours, by ssh, against pdsh and a loop over ssh.

In: a number of hosts. Out: seconds, CPU seconds and peak memory. The hosts are addresses of 127.0.0.0/8, served by an
OpenSSH server with keys and a configuration of its own, for as long as the measurement takes.
"""

from __future__ import annotations

import contextlib
import getpass
import socket
import tempfile
from pathlib import Path
from typing import Iterator

from .fleet import PARALLEL, addresses, run
from .measure import Bench, interleaved
from .process import Failed, Process, free_port, installed, located, wait_for

SERVER = """\
Port {port}
ListenAddress 0.0.0.0
HostKey {folder}/host
PidFile none
AuthorizedKeysFile {folder}/user.pub
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
MaxStartups 500
MaxSessions 500
"""

CLIENT = """\
Host *
Port {port}
IdentityFile {folder}/user
IdentitiesOnly yes
UserKnownHostsFile {folder}/known
GlobalKnownHostsFile none
StrictHostKeyChecking yes
"""


def ssh_section(bench: Bench) -> None:
    for program, package in (("sshd", "openssh-server"), ("ssh", "openssh-client"), ("ssh-keygen", "openssh-client")):
        if not installed(program):
            raise Failed(f"{program} is not installed: apt-get install {package}")
    with tempfile.TemporaryDirectory(prefix="ruptime-bench.") as made:
        folder = Path(made)
        with server(folder):
            hosts = folder / "hosts"
            hosts.write_text("".join(f"{address}\n" for address in addresses(bench.plan.ssh_hosts)))
            for round_ in range(bench.plan.rounds):
                bench.say(f"ssh: round {round_ + 1} of {bench.plan.rounds}")
                for name, argv, env in interleaved(contestants(bench, folder, hosts), round_):
                    run(bench, name, argv, bench.plan.ssh_hosts, round_, section="ssh", env=env)


def contestants(bench: Bench, folder: Path, hosts: Path) -> list[tuple[str, list[str], dict]]:
    config = ["-F", str(folder / "ssh_config"), "-o", "BatchMode=yes"]
    ours = [str(bench.programs.ruptime), "--ssh", "--timeout", "60", "-f", str(hosts), "-o", "text"]
    loop = ["xargs", "-a", str(hosts), "-P", str(PARALLEL), "-I", "{}", "ssh", *config, "{}", "uptime"]
    found = [
        ("ruptime --ssh, text", ours, {"RUPTIME_SSH": f"ssh -F {folder}/ssh_config"}),
        (f"xargs -P {PARALLEL} ssh", loop, {}),
    ]
    if installed("pdsh"):
        pdsh = ["pdsh", "-R", "ssh", "-N", "-f", str(PARALLEL), "-w", f"^{hosts}", "uptime"]
        found.append((f"pdsh -R ssh -f {PARALLEL}", pdsh, {"PDSH_SSH_ARGS_APPEND": " ".join(config)}))
    else:
        bench.leave_out("pdsh over ssh", "not installed", "apt-get install pdsh")
    return found


@contextlib.contextmanager
def server(folder: Path) -> Iterator[None]:
    """An sshd on every address of the loopback device, with a user's key that it lets in."""
    port = free_port()
    for name in ("host", "user"):
        done(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(folder / name)])
    (folder / "known").write_text("* " + (folder / "host.pub").read_text())
    (folder / "sshd_config").write_text(SERVER.format(port=port, folder=folder))
    (folder / "ssh_config").write_text(CLIENT.format(port=port, folder=folder))
    if getpass.getuser() == "root":
        # sshd(8), FILES: where it wants it.
        Path("/run/sshd").mkdir(exist_ok=True)
    argv = [located("sshd"), "-D", "-e", "-f", str(folder / "sshd_config")]
    with Process(argv, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}) as process:
        wait_for("sshd listens", lambda: listens(port) or not process.alive())
        if not process.alive():
            raise Failed(f"sshd: {process.complaint()}")
        yield


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def done(argv: list[str]) -> None:
    with Process(argv, {"PATH": "/usr/bin:/bin"}) as process:
        if process.finish(30)[0] != 0:
            raise Failed(f"{argv[0]}: {process.complaint()}")
