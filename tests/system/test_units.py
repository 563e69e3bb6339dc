"""The unit files themselves: what systemd thinks of them, and what installing, enabling, stopping
and disabling them does."""

import os
import pathlib
import re
import subprocess
import tempfile

from case import REPOSITORY, TCP, UNIX, SystemTest

EXPOSURE = 0.4
# Of a client, which cannot be without the network.
CLIENT_EXPOSURE = 1.3


class Units(SystemTest):

    def files(self):
        return sorted(path.name for path in (self.installed / "usr/lib/systemd/system").iterdir())

    def services(self):
        return [name for name in self.files() if name.endswith(".service")]

    def test_verify_is_silent(self):
        for unit in self.files():
            with self.subTest(unit):
                # The manual pages may not be installed here.
                done = self.machine.run("systemd-analyze", "verify", "--man=no",
                                        unit.replace("@.", "@test."), check=False)
                self.assertEqual((done.stdout + done.stderr, done.returncode), ("", 0))

    def test_exposure(self):
        for unit in self.services():
            with self.subTest(unit):
                out = self.machine.run("systemd-analyze", "security", "--no-pager",
                                       unit.replace("@.", "@test."), check=False).stdout
                level = float(re.search(r"Overall exposure level for \S+: ([\d.]+)", out)[1])
                client = unit.startswith("ruptime-metrics")
                self.assertLessEqual(level, CLIENT_EXPOSURE if client else EXPOSURE, out)

    def test_every_service_has_the_same_sandbox(self):
        texts = [(self.installed / "usr/lib/systemd/system" / unit).read_text()
                 for unit in self.services() if not unit.startswith("ruptime-metrics")]
        sandboxes = {text[text.index("# The sandbox"):] for text in texts}
        self.assertEqual(len(sandboxes), 1, "the sandboxes differ")

    def test_descriptors_are_refused_where_systemd_can(self):
        """AcceptFileDescriptors= is of 258; older ones warn about it."""
        for version, expected in (("", []), ("257", []), ("258", ["ruptime-inetd.socket", "ruptime.socket"])):
            with self.subTest(version), tempfile.TemporaryDirectory() as directory:
                subprocess.run(["make", "-s", "-C", str(REPOSITORY), "install", f"DESTDIR={directory}", "PREFIX=/usr",
                                f"BUILT={os.environ['RUPTIME_BIN_DIR']}", f"SYSTEMD_VERSION={version}"],
                               check=True, stdout=subprocess.DEVNULL)
                units = (pathlib.Path(directory) / "usr/lib/systemd/system").glob("*.socket")
                self.assertEqual(sorted(unit.name for unit in units
                                        if "\nAcceptFileDescriptors=no\n" in unit.read_text()), expected)

    def test_presets_leave_everything_off(self):
        for unit in self.sockets():
            with self.subTest(unit):
                self.assertEqual(self.enabled(unit), "disabled")
                self.machine.systemctl("enable", "-q", unit)
                self.assertEqual(self.enabled(unit), "enabled")
                self.machine.systemctl("preset", "-q", unit)
                self.assertEqual(self.enabled(unit), "disabled")

    def enabled(self, unit):
        return self.machine.run("systemctl", "is-enabled", unit, check=False).stdout.strip()

    def test_enable_ask_disable(self):
        machine = self.machine
        self.started()
        self.assertEqual(machine.show("ruptime.service", "ActiveState"), "inactive",
                         "nobody has asked yet")
        self.assertIn("load average:", machine.run("ruptime", "127.0.0.1").stdout)
        self.assertEqual(machine.show("ruptime.service", "ActiveState"), "active")
        machine.systemctl("disable", "--now", "-q", "ruptime.socket")
        self.assertEqual(machine.show("ruptime.service", "ActiveState"), "inactive",
                         "the daemon goes with its socket")
        self.assertFalse(machine.path(UNIX).exists(), "the UNIX socket is left")
        refused = machine.run("ruptime", "127.0.0.1", check=False)
        self.assertEqual((refused.returncode, refused.stdout), (1, ""))
        self.assertIn("refused", refused.stderr)
        self.assert_no_unit_failed()

    def test_the_service_alone_cannot_be_started(self):
        """Without its socket it would have nothing to do: systemd says so, once."""
        done = self.machine.run("systemctl", "start", "ruptime.service", check=False)
        self.assertRegex(done.stderr, "[Dd]ependency")
        self.assertEqual(self.machine.show("ruptime.service", "ActiveState"), "inactive")
        self.assertEqual(self.machine.show("ruptime.service", "NRestarts"), "0")

    def test_a_socket_can_be_restarted_while_its_daemon_runs(self):
        self.started()
        # More often than StartLimitBurst='s default.
        for _ in range(10):
            self.machine.run("ruptime", "127.0.0.1")
            self.machine.systemctl("restart", "ruptime.socket")
        self.machine.run("ruptime", "127.0.0.1")
        self.machine.run("ruptime", "unix:/run/ruptime.sock")
        self.assert_nothing_failed()

    def test_stopping_lets_a_running_command_finish(self):
        machine = self.machine
        # It ends when it may, not by the clock.
        word = machine.path("/srv/ruptime-test-word")
        word.unlink(missing_ok=True)
        self.addCleanup(word.unlink, missing_ok=True)
        command = "until [ -e /srv/ruptime-test-word ]; do sleep 0.05; done; echo whole"
        machine.exec_start("ruptime.service", f"/usr/sbin/ruptimed -- /bin/sh -c '{command}'")
        self.started()
        load = self.load(TCP, count=1, expect=r"\Awhole\n\Z")
        state = lambda: machine.show("ruptime.service", "ActiveState")
        machine.wait_until(lambda: state() == "active", "the daemon runs")
        daemon = machine.show("ruptime.service", "MainPID")
        machine.wait_until(lambda: machine.run("pgrep", "-P", daemon, check=False).stdout,
                           "the command runs")
        machine.systemctl("stop", "--no-block", "ruptime.socket")
        machine.wait_until(lambda: state() == "deactivating", "the daemon is being stopped")
        word.touch()
        self.assert_all_answered(load.result(), 1)
        machine.wait_until(lambda: state() == "inactive", "the daemon has left")

    def test_a_hanging_command_does_not_outlast_the_stop(self):
        """TimeoutStopSec= leaves room for --child-timeout, so that the daemon itself ends the
        command, tells the client and leaves cleanly."""
        machine = self.machine
        machine.exec_start("ruptime.service", "/usr/sbin/ruptimed -- /bin/sleep 600")
        self.started()
        load = self.load(TCP, count=1, expect=r"\Aerror: .*\n\Z")
        self.wait_for_sleep()
        machine.systemctl("stop", "ruptime.service")
        self.assert_all_answered(load.result(), 1)
        self.assertEqual(machine.show("ruptime.service", "Result"), "success")

    def wait_for_sleep(self):
        self.machine.wait_until(
            lambda: self.machine.run("pgrep", "-x", "sleep", check=False).stdout, "the command runs")
