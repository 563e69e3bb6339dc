"""A broken daemon or command, and its mending: whoever waits is served at last."""

import shutil

from case import TCP, SystemTest


class Faults(SystemTest):

    def mend(self, unit="ruptime.service"):
        shutil.rmtree(self.machine.root / f"etc/systemd/system/{unit}.d")
        self.machine.systemctl("daemon-reload")

    def test_a_daemon_that_fails_is_started_again_until_it_is_mended(self):
        for command in ("/bin/false", "/usr/sbin/missing"):
            with self.subTest(command):
                self.setUp()
                self.machine.exec_start("ruptime.service", command)
                self.started()
                load = self.load(TCP, count=5, at_once=5)
                self.machine.wait_until(
                    lambda: int(self.machine.show("ruptime.service", "NRestarts")) >= 2,
                    "two new starts")
                self.assertTrue(load.running(), "the clients wait")
                self.assertEqual(self.machine.show("ruptime.socket", "SubState"), "running")
                self.mend()
                self.assert_all_answered(load.result(), 5)
                self.assert_nothing_failed()

    def test_a_command_that_is_missing_is_an_answer(self):
        machine = self.machine
        machine.exec_start("ruptime.service", "/usr/sbin/ruptimed -- /usr/local/bin/report")
        self.started()
        done = machine.run("ruptime", "127.0.0.1", check=False)
        self.assertEqual(done.returncode, 1, done)
        self.assertRegex(done.stdout + done.stderr, "error: .*No such file")
        pid = machine.show("ruptime.service", "MainPID")
        script = machine.root / "usr/local/bin/report"
        script.write_text("#!/bin/sh\necho back again\n")
        script.chmod(0o755)
        self.assertEqual(machine.run("ruptime", "127.0.0.1").stdout, "back again\n")
        self.assertEqual(machine.show("ruptime.service", "MainPID"), pid, "the daemon went on")
        self.assert_nothing_failed()

    def test_a_daemon_that_hangs_is_replaced(self):
        machine = self.machine
        machine.dropin("ruptime.service", "[Service]\nWatchdogSec=2s\nLimitCORE=0\n")
        self.started()
        machine.run("ruptime", "127.0.0.1")
        pid = machine.show("ruptime.service", "MainPID")
        machine.systemctl("kill", "-s", "STOP", "--kill-who=main", "ruptime.service")
        self.assert_all_answered(self.load(TCP, count=3, at_once=3).result(), 3)
        self.assertNotEqual(machine.show("ruptime.service", "MainPID"), pid)
        told = [record["MESSAGE"] for record in self.records(UNIT="ruptime.service")]
        self.assertTrue(any("Watchdog timeout" in message for message in told), told)
        self.assert_nothing_failed()

    def test_the_watchdog_hears_from_an_idle_daemon(self):
        machine = self.machine
        machine.dropin("ruptime.service", "[Service]\nWatchdogSec=4s\n")
        self.started()
        machine.run("ruptime", "127.0.0.1")
        heard = lambda: int(machine.show("ruptime.service", "WatchdogTimestampMonotonic"))
        first = heard()
        machine.wait_until(lambda: heard() > first + 6_000_000, "the watchdog hears more than once")
        self.assertEqual(machine.show("ruptime.service", "NRestarts"), "0")
