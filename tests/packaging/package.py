"""What every test of an installed package starts from: a machine without it, and the packages there.

In: a release and the folder of its packages (build.py). Out: a unittest.TestCase with a booted
machine that has the packages in /packages, what is on its file system, and what listens.
"""

import hashlib
import os
import pathlib
import platform
import shutil
import stat
import subprocess

import roots
from case import TCP, UNIX, SystemTest
from machine import Machine

LAYERS = pathlib.Path("/run/layers")

SOCKETS = ("ruptime.socket", "ruptime-udp.socket", "ruptime-inetd.socket")
UNITS = (*SOCKETS, "ruptime.service", "ruptime-udp.service", "ruptime-metrics.timer")

METRICS = "ruptime-metrics.service"
COLLECTED = "/run/ruptime-metrics"

# What a package manager and a running system write by themselves, whatever is installed.
VOLATILE = (
    "packages", "var/log", "var/cache", "var/lib/apt", "var/lib/dpkg/status", "var/lib/dpkg/status-old",
    "var/lib/dpkg/available", "var/lib/dpkg/available-old", "var/lib/dpkg/lock", "var/lib/dpkg/lock-frontend",
    "var/lib/dpkg/triggers/Lock", "var/lib/rpm", "var/lib/systemd/catalog/database",
    "var/lib/systemd/timers", "var/lib/systemd/random-seed", "var/lib/systemd/linger", "var/tmp", "tmp", "root",
)


class PackageTest(SystemTest):
    """The tests of one class share a machine; each begins without the packages."""

    releases = tuple(roots.RELEASES)
    packages = None

    @classmethod
    def make_machine(cls, root, machine=Machine):
        """A machine from this root, with the packages in /packages."""
        name = f"{cls.release}-{cls.__name__.lower()}"
        layer = LAYERS / name
        shutil.copytree(cls.packages, layer / "packages")
        cls.machine = machine(name, roots.path(root), layer)
        SystemTest.machines.append(cls.machine)
        return cls.machine

    @classmethod
    def setUpClass(cls):
        cls.make_machine(cls.release).boot()

    def setUp(self):
        shown = self.machine.run("journalctl", "-n0", "-q", "--show-cursor").stdout
        self.cursor = shown.split(": ")[-1].strip()

    def ask(self, *hosts):
        for host in hosts or (TCP, UNIX):
            word = f"unix:{host}" if host.startswith("/") else host
            self.assertIn("load average:", self.machine.run("ruptime", word).stdout)

    def listens(self):
        """Whether anything of ours does."""
        ports = self.machine.run("ss", "-Hlntu", "sport = :10513").stdout
        return bool(ports) or os.path.lexists(self.machine.path(UNIX))

    def runs(self):
        return self.machine.run("pgrep", "-x", "ruptimed", check=False).stdout.split()

    def state(self, unit):
        enabled = self.machine.run("systemctl", "is-enabled", unit, check=False).stdout.strip()
        return enabled, self.machine.show(unit, "ActiveState")

    def assert_all_is_off(self, units=UNITS):
        for unit in units:
            self.assertIn(self.state(unit), (("disabled", "inactive"), ("static", "inactive")), unit)
        self.assertFalse(self.listens())
        self.assertEqual(self.runs(), [])

    def rpms(self, prefix=""):
        found = (self.machine.root / "packages").glob(f"{prefix}ruptime*-rs-*.{platform.machine()}.rpm")
        return sorted(f"/packages/{rpm.name}" for rpm in found)

    def upgrade_under_load(self, upgrade):
        """Upgrades while clients ask without a pause: none may notice."""
        machine = self.machine
        loads = [self.load(target, count=1_000_000_000, seconds=600, at_once=4, until_eof=True)
                 for target in (TCP, UNIX)]
        machine.wait_until(lambda: machine.show("ruptime.service", "ActiveState") == "active", "the daemon runs")
        since = machine.show("ruptime.socket", "ActiveEnterTimestampMonotonic")
        before = machine.show("ruptime.service", "MainPID")
        upgrade()
        machine.wait_until(lambda: machine.show("ruptime.service", "MainPID") not in ("0", before),
                           "the new daemon runs")
        self.ask()
        for load in loads:
            self.assertTrue(load.running(), "the load ended too early")
            tally = load.result()
            self.assert_all_answered(tally)
        self.assertEqual(machine.show("ruptime.socket", "ActiveEnterTimestampMonotonic"), since,
                         "the socket was closed in between")
        self.assert_nothing_failed()
        for pid in self.runs():
            self.assertNotIn("(deleted)", machine.run("readlink", f"/proc/{pid}/exe").stdout)

    def collected(self):
        """A host to ask for metrics."""
        self.machine.run("install", "-d", "/etc/ruptime")
        (self.machine.root / "etc/ruptime/hosts").write_text("127.0.0.1\n")
        self.addCleanup(self.machine.run, "rm", "-r", "/etc/ruptime")

    def metrics_until(self, removed):
        """A round of metrics, and in the middle of another the removal: nothing is left of either."""
        self.machine.systemctl("start", METRICS)
        self.assertEqual(os.listdir(self.machine.path(COLLECTED)), ["ruptime.prom"])
        self.machine.exec_start(METRICS, "/bin/sleep 1000")
        self.machine.systemctl("start", "--no-block", METRICS)
        self.machine.wait_until(lambda: self.machine.show(METRICS, "SubState") == "start"
                                and "sleep" in self.machine.run("ps", "-eo", "comm").stdout, "a round runs")
        removed()
        self.assertEqual(list(self.machine.path("/run").glob("ruptime-metrics*")), [])
        self.machine.run("rm", "-r", f"/etc/systemd/system/{METRICS}.d")
        self.machine.systemctl("daemon-reload")
        self.assertEqual(self.machine.show(METRICS, "ActiveState"), "inactive")

    def files(self):
        """Everything on the machine's disk but what is volatile: path -> what it is."""
        found = {}
        for directory, names, files in os.walk(self.machine.root):
            base = os.path.relpath(directory, self.machine.root)
            names[:] = [name for name in names if os.path.normpath(f"{base}/{name}") not in VOLATILE]
            for name in (*names, *files):
                relative = os.path.normpath(f"{base}/{name}")
                if relative not in VOLATILE:
                    found[relative] = describe(os.path.join(directory, name))
        return found

    def assert_files(self, before):
        """Nothing was left behind, taken away or changed."""
        after = self.files()
        differing = {path: (before.get(path), after.get(path)) for path in before.keys() | after.keys()
                     if before.get(path) != after.get(path)}
        self.assertEqual(differing, {})


class Unbooted(Machine):
    """A root that commands are run in without an init."""

    def chroot(self, *command):
        done = subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec",
             'mount -t proc proc "$0/proc"; mount -t tmpfs tmpfs "$0/run"; mount --rbind /dev "$0/dev"\n'
             'exec chroot "$0" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"',
             str(self.root), *command],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr


class UnbootedTest(PackageTest):
    """Tests of a root where no systemd runs; those of one class share it."""

    # By the release.
    root = "{}"

    @classmethod
    def setUpClass(cls):
        cls.make_machine(cls.root.format(cls.release), Unbooted).prepare()
        cls.cursor = ""

    def setUp(self):
        pass

    def what_happened(self):
        return super().what_happened() if self.machine.init else "not booted yet"


def describe(path):
    info = os.lstat(path)
    what = (stat.filemode(info.st_mode), info.st_uid, info.st_gid)
    if stat.S_ISLNK(info.st_mode):
        return (*what, os.readlink(path))
    if stat.S_ISREG(info.st_mode):
        with open(path, "rb") as file:
            return (*what, hashlib.file_digest(file, "sha1").hexdigest())
    return what


def fake_deb(directory, name, path):
    """A package of that name that has that file and nothing else."""
    tree = pathlib.Path(directory) / name
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: 9\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\n"
        f"Description: another {name}\n")
    (tree / path).parent.mkdir(parents=True)
    (tree / path).write_text("another\n")
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", str(tree), str(directory)],
                   check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(tree)
