"""ruptime-inetd.socket: a process for each connection, on the addresses of ruptime.socket."""

import shutil

from case import TCP, UNIX, SystemTest

INETD = "ruptime-inetd.socket"
PER_SOURCE = 64


class Inetd(SystemTest):

    def test_one_replaces_the_other(self):
        """They listen on the same addresses: Conflicts= stops the one as the other starts."""
        machine = self.machine
        for here, there in (("ruptime.socket", INETD), (INETD, "ruptime.socket")):
            machine.systemctl("start", here)
            machine.run("ruptime", "127.0.0.1")
            self.assertEqual(machine.show(here, "ActiveState"), "active")
            self.assertEqual(machine.show(there, "ActiveState"), "inactive")
        machine.systemctl("start", "ruptime.socket")
        machine.run("ruptime", "unix:/run/ruptime.sock")
        self.assert_nothing_failed("ruptime.socket")

    def test_many_at_once(self):
        self.started(INETD)
        self.assert_all_answered(self.load(TCP, count=40, at_once=20).result(), 40)
        self.assert_all_answered(self.load(UNIX, count=20, at_once=20).result(), 20)
        self.assert_nothing_failed(INETD)

    def test_a_burst_beyond_the_limits_closes_nothing_for_good(self):
        """More than TriggerLimitBurst='s default, most of them turned away by the limits."""
        self.started(INETD)
        tally = self.load(TCP, count=300, at_once=300).result()
        self.assertGreaterEqual(tally["answered"], PER_SOURCE, tally)
        self.machine.run("ruptime", "--wait", "20", "127.0.0.1")
        self.assert_nothing_failed(INETD)

    def test_clients_that_talk_or_leave(self):
        self.started(INETD)
        tally = self.load(TCP, count=10, at_once=2, send="GET / HTTP/1.1\r\n\r\n").result()
        self.assert_all_answered(tally, 10)
        # Gone before the answer: patience for none.
        self.load(TCP, count=10, at_once=2, patience=0.001).result()
        self.machine.wait_until(lambda: self.machine.show(INETD, "NConnections") == "0",
                                "the connections end")
        units = self.machine.systemctl("list-units", "--all", "--plain", "--no-legend",
                                       "ruptime-inetd@*")
        self.assertEqual(units, "", "units are left")
        self.assert_nothing_failed(INETD)

    def test_a_process_that_hangs_is_ended(self):
        machine = self.machine
        machine.exec_start("ruptime-inetd@.service", "/bin/sleep infinity", "RuntimeMaxSec=1s\n")
        self.started(INETD)
        tally = self.load(TCP, count=1, patience=60).result()
        self.assertEqual(tally["lost"], {"answer ''": 1}, "closed, not left to wait")
        machine.wait_until(lambda: machine.show(INETD, "NConnections") == "0", "the connection ends")
        self.assert_nothing_failed(INETD)

    def test_a_condition_that_does_not_hold_costs_a_moment(self):
        """With Accept=yes a connection is closed, and triggers nothing again."""
        machine = self.machine
        machine.dropin("ruptime-inetd@.service", "[Unit]\nConditionPathExists=/nowhere\n")
        self.started(INETD)
        self.assertEqual(self.load(TCP, count=1).result()["answered"], 0)
        shutil.rmtree(machine.root / "etc/systemd/system/ruptime-inetd@.service.d")
        machine.systemctl("daemon-reload")
        self.assert_all_answered(self.load(TCP, count=1).result())
        self.assert_nothing_failed(INETD)
