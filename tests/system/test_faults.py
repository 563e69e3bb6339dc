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

    def test_a_condition_that_does_not_hold_costs_a_moment(self):
        """The client cannot be served, and systemd itself tries again at once: the trigger limit
        ends that, and a restart of the mended socket begins anew."""
        for socket, host in (("ruptime.socket", TCP), ("ruptime-udp.socket", f"udp:{TCP}")):
            with self.subTest(socket):
                service = socket.replace(".socket", ".service")
                self.machine.dropin(service, "[Unit]\nConditionPathExists=/nowhere\n")
                self.started(socket)
                load = self.load(host, count=1)
                self.machine.wait_until(lambda: self.machine.show(socket, "Result") == "trigger-limit-hit",
                                        "the socket's trigger limit is reached")
                self.assertLessEqual(len(self.records(UNIT=service)), 1000)
                load.kill()
                self.mend(service)
                self.machine.wait_until(lambda: self.answers_after_restart(socket, host), "it answers again")

    def answers_after_restart(self, socket, host):
        """The starts of the last second still count in the trigger limit: not at the first try."""
        self.machine.systemctl("restart", socket)
        return self.load(host, count=1, patience=5).result()["answered"]

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
