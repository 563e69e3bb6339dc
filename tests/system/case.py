"""What every system test starts from: a machine as it is right after installation.

In: a release. Out: a unittest.TestCase with a booted machine, shared by the tests of a class and
set back before each: no unit of ours runs, is enabled or changed, and none has failed.
"""

import re
import shutil
import unittest

import roots
from machine import HERE, Load, Machine

REPOSITORY = HERE.parent.parent

TCP = "127.0.0.1:10513"
UNIX = "/run/ruptime.sock"


class SystemTest(unittest.TestCase):
    """The tests of one class share a machine."""

    release = None
    installed = None
    machine = None
    machines = []
    # What systemd-nspawn starts the machine with besides.
    nspawn = ()
    # Where the test begins in the journal; none until its setUp has come so far.
    cursor = None

    def __str__(self):
        return f"{self.release} {type(self).__name__}.{self._testMethodName}"

    @classmethod
    def setUpClass(cls):
        machine = Machine(f"{cls.release}-{cls.__name__.lower()}", roots.path(cls.release),
                          cls.installed, *cls.nspawn)
        cls.machine = machine
        SystemTest.machines.append(machine)
        machine.boot()

    @classmethod
    def tearDownClass(cls):
        SystemTest.power_off_all()

    @staticmethod
    def power_off_all():
        while SystemTest.machines:
            SystemTest.machines.pop().power_off()

    def setUp(self):
        machine = self.machine
        for dropin in (machine.root / "etc/systemd/system").glob("ruptime*.d"):
            shutil.rmtree(dropin)
        # Disabling reloads the manager.
        machine.run("sh", "-ec", f"systemctl disable -q {' '.join(self.sockets())}\n"
                                 "systemctl stop 'ruptime*'\nsystemctl reset-failed")
        # Records of this test only are this test's business.
        shown = machine.run("journalctl", "-n0", "-q", "--show-cursor").stdout
        self.cursor = shown.split(": ")[-1].strip()

    def load(self, target, **options):
        """Starts load.py in the machine's network, and ends it with the test at the latest."""
        load = Load(self.machine, target, options)
        self.addCleanup(load.kill)
        return load

    def sockets(self):
        return sorted(path.name for path in
                      (self.installed / "usr/lib/systemd/system").glob("ruptime*.socket"))

    def what_happened(self):
        """The journal since the test began, or all of it where it has not."""
        since = [f"--after-cursor={self.cursor}"] if self.cursor else []
        done = self.machine.run("journalctl", "-q", "--no-pager", "-o", "short-precise", *since,
                                check=False)
        lines = (done.stdout + done.stderr).splitlines()
        return "\n".join(lines if len(lines) <= 60 else [*lines[:10], "[...]", *lines[-50:]])

    def recipe(self, title):
        """The text of the README's recipe of this title, as it would be pasted."""
        readme = (REPOSITORY / "README.md").read_text()
        return re.search(rf"^\*\*{re.escape(title)}\*\*.*?^```\w+\n(.*?)^```$", readme,
                         re.MULTILINE | re.DOTALL)[1]

    def records(self, **fields):
        """The journal's records since the test began, with these fields."""
        return self.machine.journal(self.cursor, **fields)

    def started(self, unit="ruptime.socket"):
        """A socket enabled and listening, as the administrator's one command makes it."""
        self.machine.systemctl("enable", "-q", "--now", unit)

    def assert_all_answered(self, tally, least=1):
        self.assertEqual(tally["lost"], {}, tally)
        self.assertEqual(tally["answered"], tally["asked"], tally)
        self.assertGreaterEqual(tally["answered"], least, tally)

    def assert_nothing_failed(self, *sockets):
        """No unit has failed, and the sockets still listen."""
        self.assert_no_unit_failed()
        for unit in sockets or ("ruptime.socket",):
            self.assertIn(self.machine.show(unit, "SubState"), ("listening", "running"), unit)

    def assert_no_unit_failed(self):
        failed = self.machine.systemctl("list-units", "--failed", "--no-legend", "--plain")
        self.assertEqual(failed, "", "units failed")
