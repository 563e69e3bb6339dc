"""Nothing is refused or lost: bursts, restarts under load, idle exits with clients just arriving.

Every test counts each question and its outcome (load.py), and every test first makes sure that what
it is about has really happened. No test asks for a pace: how long a load may take only ends a hang."""

import re

from case import TCP, UNIX, SystemTest

# systemd's MESSAGE_ID for a unit that has been started (systemd.journal-fields(7), its catalog).
STARTED = "39f53479d3a045ac8e11786248231fbf"

# Seconds. What a test waits for ends its load long before.
LONGEST = 600


class Load(SystemTest):

    def starts(self, unit="ruptime.service"):
        return len(self.records(MESSAGE_ID=STARTED, UNIT=unit))

    def restarts_under_load(self, unit, target, times, least=0):
        load = self.load(target, count=1_000_000, at_once=32, until_eof=True, least=least, seconds=LONGEST)
        for number in range(times):
            before = self.machine.wait_until(lambda: self.main_pid(unit), "the daemon runs")
            # A stop leaves it to the next client to start the daemon again.
            self.machine.systemctl("stop" if number % 2 else "restart", unit)
            self.machine.wait_until(lambda: self.main_pid(unit) not in (None, before),
                                    "the daemon starts again")
        tally = load.result(LONGEST)
        self.assert_all_answered(tally, max(least, 32 * times))
        self.assert_nothing_failed(unit.replace(".service", ".socket"))
        self.assertEqual(self.machine.show(unit, "NRestarts"), "0", "a daemon has failed")

    def test_burst(self):
        self.started()
        self.assert_all_answered(self.load(TCP, count=3000, at_once=3000).result(), 3000)
        self.assert_all_answered(self.load(UNIX, count=500, at_once=500).result(), 500)
        self.assertEqual(self.starts(), 1)
        self.assert_nothing_failed()

    def test_clients_that_talk(self):
        """Unread bytes must not turn the end of a reply into a reset."""
        self.started()
        tally = self.load(TCP, count=200, send="GET / HTTP/1.1\r\n\r\n" * 100).result()
        self.assert_all_answered(tally, 200)

    def test_restarts_under_load(self):
        self.started()
        self.restarts_under_load("ruptime.service", TCP, 50, least=20_000)

    def test_restarts_under_load_unix(self):
        self.started()
        self.restarts_under_load("ruptime.service", UNIX, 6)

    def test_restarts_under_load_capture(self):
        self.machine.exec_start("ruptime.service", "/usr/sbin/ruptimed --handoff capture")
        self.started()
        self.restarts_under_load("ruptime.service", TCP, 10)

    def test_restarts_under_load_datagrams(self):
        self.machine.exec_start("ruptime-udp.service", "/usr/sbin/ruptimed --rate-limit 0")
        self.started("ruptime-udp.socket")
        self.restarts_under_load("ruptime-udp.service", f"udp:{TCP}", 10)

    def idle_exits(self, unit, target, command, times, burst):
        """Pauses by chance about as long as the idle time: some clients come while the daemon
        runs, some as it leaves, some after."""
        self.machine.exec_start(unit, command)
        socket = unit.replace(".service", ".socket")
        self.started(socket)
        load = self.load(target, count=1_000_000, at_once=1, burst=burst, pause=0.2, until_eof=True,
                         seconds=LONGEST)
        self.machine.wait_until(lambda: self.starts(unit) > times, f"{times} idle exits",
                                timeout=LONGEST / 2, interval=1)
        self.assert_all_answered(load.result(LONGEST), times)
        self.assert_nothing_failed(socket)

    def test_idle_exits(self):
        self.idle_exits("ruptime.service", TCP, "/usr/sbin/ruptimed --idle-timeout 0.05", 50, 64)

    def test_idle_exits_as_fast_as_they_can_be(self):
        """An exit after every answer, and a client that is there again at once: far from the
        socket's trigger limit (200 in a second), or it would fail here."""
        self.machine.exec_start("ruptime.service", "/usr/sbin/ruptimed --idle-timeout 0.001")
        self.started()
        load = self.load(TCP, count=1_000_000, at_once=1, pause=0.02, until_eof=True, seconds=LONGEST)
        self.machine.wait_until(lambda: self.starts() > 100, "100 idle exits", timeout=LONGEST / 2,
                                interval=1)
        self.assert_all_answered(load.result(LONGEST), 100)
        self.assert_nothing_failed()
        times = [int(record["__MONOTONIC_TIMESTAMP"]) for record in
                 self.records(MESSAGE_ID=STARTED, UNIT="ruptime.service")]
        most = max(sum(begin <= time < begin + 1_000_000 for time in times) for begin in times)
        print(f"\n        {most} starts in a second at most", end=" ")

    def test_idle_exits_datagrams(self):
        self.idle_exits("ruptime-udp.service", f"udp:{TCP}",
                        "/usr/sbin/ruptimed --idle-timeout 0.05 --rate-limit 0", 15, 1)

    def test_sigkill_under_load(self):
        """Whoever had a command running may lose the answer; nobody else does."""
        children, kills = 4, 6
        self.machine.exec_start("ruptime.service", f"/usr/sbin/ruptimed --max-children {children}")
        self.started()
        load = self.load(TCP, count=1_000_000, at_once=64, until_eof=True, seconds=LONGEST)
        killed = None
        for _ in range(kills):
            killed = self.machine.wait_until(lambda: self.has_answered(killed), "the daemon answers")
            self.machine.systemctl("kill", "-s", "KILL", "--kill-who=main", "ruptime.service")
        self.machine.wait_until(lambda: self.has_answered(killed), "the daemon answers")
        tally = load.result(LONGEST)
        self.assertEqual(tally["answered"] + sum(tally["lost"].values()), tally["asked"])
        self.assertLessEqual(sum(tally["lost"].values()), children * kills, tally)
        self.assertEqual(self.machine.show("ruptime.service", "NRestarts"), str(kills))
        self.assert_nothing_failed()

    def has_answered(self, killed):
        """The daemon's process, once it has told of answers; the manager may not know yet that the
        one before, `killed`, has ended."""
        pid = self.main_pid("ruptime.service")
        status = self.machine.show("ruptime.service", "StatusText")
        return pid if pid != killed and re.search("answered [1-9]", status) else None

    def main_pid(self, unit):
        """The daemon's process once it is ready, else None."""
        out = self.machine.systemctl("show", "-p", "MainPID,SubState", unit)
        values = dict(line.split("=") for line in out.split())
        return values["MainPID"] if values["SubState"] == "running" else None
