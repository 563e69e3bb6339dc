"""One booted systemd: a container with nothing but a loopback, thrown away after use.

In: a root (roots.py) and the tree that is installed over it. Out: a Machine whose systemd runs, and
in which commands can be run. It exists because unit files mean what systemd makes of them: nothing
less than a manager that boots, listens, starts and stops says whether they are right.

The caller has put itself into mount and PID namespaces of its own (./run), so that neither mounts
nor processes can survive it, however it ends.
"""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CGROUPS = pathlib.Path("/sys/fs/cgroup")
BOOT_TIMEOUT = 90
STOP_TIMEOUT = 30


def mount(*args):
    subprocess.run(["mount", *args], check=True)


def wait_until(condition, what, timeout=30, interval=0.05):
    """Waits for condition() to give something true, and returns it."""
    end = time.monotonic() + timeout
    while True:
        if result := condition():
            return result
        if time.monotonic() >= end:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(interval)


def remove_dead_cgroups():
    """Those of runs that were killed. A run that has just made one makes it again (boot)."""
    for group in CGROUPS.glob("ruptime-tests-*"):
        with contextlib.suppress(OSError):
            if "populated 0" in (group / "cgroup.events").read_text():
                remove_cgroup(group)


def remove_cgroup(group):
    """With all below it; False where somebody is still in it."""
    for directory, _, _ in os.walk(group, topdown=False):
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            pass
        except OSError:
            return False
    return True


class Machine:
    """A container; see systemd-nspawn(1)."""

    def __init__(self, name, root, installed, *options):
        self.name = name
        # More of systemd-nspawn's.
        self.options = options
        self.directory = pathlib.Path("/run/machines") / name
        self.root = self.directory / "root"
        self.lower = [str(installed), str(root)]
        # Other runs on this host have their own.
        self.cgroup = CGROUPS / f"ruptime-tests-{os.environ['RUPTIME_TEST_RUN']}-{name}"
        self.nspawn = None
        self.init = None

    def prepare(self):
        """Lays its file system out; boot() does it where nobody has."""
        for part in ("upper", "work", "root"):
            (self.directory / part).mkdir(parents=True)
        mount("-t", "overlay", "overlay", "-o",
              f"lowerdir={':'.join(self.lower)},upperdir={self.directory / 'upper'},"
              f"workdir={self.directory / 'work'}", str(self.root))

    def boot(self):
        if not self.directory.is_dir():
            self.prepare()
        console = open(self.directory / "console", "wb")
        # In a cgroup of its own, since nspawn names those below it alike for every machine.
        self.nspawn = subprocess.Popen(
            ["sh", "-c", 'for try in 1 2 3; do '
                         'mkdir -p "$0" && echo $$ >"$0/cgroup.procs" && exec "$@"; done; exit 1',
             str(self.cgroup),
             "systemd-nspawn", "-q", "-D", str(self.root), f"--machine={self.name}", "--boot",
             "--private-network", "--register=no", "--keep-unit", "--console=passive", *self.options],
            stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        console.close()
        self.init = wait_until(self.find_init, f"{self.name} has an init", BOOT_TIMEOUT)
        wait_until(self.is_up, f"{self.name} is up", BOOT_TIMEOUT)

    def find_init(self):
        if self.nspawn.poll() is not None:
            raise AssertionError(f"systemd-nspawn ended with {self.nspawn.returncode}:\n"
                                 f"{self.console()}")
        pid = self.nspawn.pid
        for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            # Others are its helpers while it sets up the namespaces, which init is the last to enter.
            with contextlib.suppress(OSError):
                if pathlib.Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                    return int(child)
        return None

    def console(self):
        return (self.directory / "console").read_text(errors="replace")[-4000:]

    def is_up(self):
        state = self.run("systemctl", "is-system-running", check=False, timeout=BOOT_TIMEOUT)
        return state.stdout.strip() in ("running", "degraded")

    def power_off(self):
        """Ends the machine, by force where it does not end by itself, and frees what it had."""
        if self.nspawn is not None and self.nspawn.poll() is None:
            try:
                self.run("systemctl", "poweroff", check=False, timeout=STOP_TIMEOUT)
                self.nspawn.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                print(f"{self.name} did not power off and is killed:\n{self.console()}",
                      file=sys.stderr)
        if self.cgroup.is_dir():
            (self.cgroup / "cgroup.kill").write_text("1")
            if self.nspawn is not None:
                self.nspawn.wait(STOP_TIMEOUT)
            wait_until(lambda: remove_cgroup(self.cgroup), f"the cgroup of {self.name} is empty")
        if os.path.ismount(self.root):
            subprocess.run(["umount", "-R", "-l", str(self.root)], check=True)
        subprocess.run(["rm", "-rf", "--one-file-system", str(self.directory)], check=True)

    # What tests do in it.

    wait_until = staticmethod(wait_until)

    def run(self, *command, check=True, timeout=60, **kwargs):
        """Runs a command in the machine, with nothing of ours in its environment."""
        done = subprocess.run(self.inside(*command), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=timeout, **kwargs)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: status {done.returncode}\n"
                                 f"{done.stdout}{done.stderr}")
        return done

    def start(self, *command, **kwargs):
        """Starts a command in the machine and returns its Popen; the caller sees to its end."""
        return subprocess.Popen(self.inside(*command), text=True, **kwargs)

    def inside(self, *command):
        return ["nsenter", "-t", str(self.init), "-a", "env", "-i", f"PATH={PATH}", "LANG=C.UTF-8",
                "HOME=/root", *command]

    def sysctl(self, name, value):
        """Sets what belongs to a namespace of the machine's, as its own root cannot."""
        namespace = {"net": "--net", "user": "--user"}[name.split(".")[0]]
        subprocess.run(["nsenter", "-t", str(self.init), namespace, "sh", "-ec",
                        f'echo {value} >"/proc/sys/{name.replace(".", "/")}"'], check=True)

    def systemctl(self, *args, **kwargs):
        return self.run("systemctl", *args, **kwargs).stdout

    def show(self, unit, prop):
        return self.systemctl("show", "-P", prop, unit).strip()

    def path(self, path):
        """A path of the machine as the host sees it, /run and the like included."""
        return pathlib.Path(f"/proc/{self.init}/root{path}")

    def dropin(self, unit, text, name="test.conf"):
        """Adds to a unit as an administrator does; units are not restarted."""
        directory = self.root / "etc/systemd/system" / f"{unit}.d"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
        self.systemctl("daemon-reload")

    def exec_start(self, unit, command, extra=""):
        """Makes a service run another command line."""
        self.dropin(unit, f"[Service]\nExecStart=\nExecStart={command}\n{extra}")

    def journal(self, cursor, **fields):
        """The records after a cursor that have these fields, oldest first; they are written when
        this returns. Chosen here, since a journalctl that is given a cursor and matches (252)
        leaves out the first."""
        self.run("journalctl", "--sync")
        out = self.run("journalctl", "-o", "json", "--all", "--no-pager", "-q",
                       f"--after-cursor={cursor}").stdout
        return [record for record in map(json.loads, out.splitlines())
                if all(record.get(name) == value for name, value in fields.items())]


class Load:
    """A load.py that runs on the host's file system, in the machine's network and among its
    processes (the peer of a UNIX socket has to have a PID there, or systemd 257 gives up an
    Accept=yes socket: "Failed to get peer credentials of socket: No data available")."""

    def __init__(self, machine, target, options):
        if target.startswith("/"):
            target = str(machine.path(target))
        words = []
        for name, value in options.items():
            words.append("--" + name.replace("_", "-"))
            if value is not True:
                words.append(str(value))
        self.target = target
        self.process = subprocess.Popen(
            ["nsenter", "-t", str(machine.init), "--net", "--pid", "setpriv", "--pdeathsig", "KILL",
             sys.executable, "-B", str(HERE / "load.py"), target, *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def running(self):
        return self.process.poll() is None

    def kill(self):
        """For whoever no longer cares for the result."""
        if self.running():
            # Not nsenter itself: load.py would become a child of ours that nobody waits for, and
            # keep the machine's PID namespace.
            pid = self.process.pid
            for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(child), signal.SIGKILL)
        self.process.communicate()

    def result(self, timeout=120):
        """Ends it where it runs until told to, and returns its tally."""
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the load on {self.target} did not end in {timeout} s") from None
        if self.process.returncode != 0:
            raise AssertionError(f"the load on {self.target} failed:\n{err}")
        return json.loads(out)
