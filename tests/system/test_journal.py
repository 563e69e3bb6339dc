"""What the administrator is told: the journal's records and their fields, the unit's status line;
and what the command is not told."""

from case import TCP, SystemTest

OURS = "ruptime.service"
SPAWN_FAILED = "c1572b3858b94e87aa219faa441724b5"
TIMED_OUT = "663ebe21648247ce919b338f3d17d8a0"
ANSWERED = "f74dc3813e1248a5bc5c396c9cf9f975"
RATE_LIMITED = "b7db917f07714814bce863237634297e"


class Journal(SystemTest):

    def test_nothing_per_request_at_the_default_level(self):
        self.started()
        self.assert_all_answered(self.load(TCP, count=200).result(), 200)
        self.machine.systemctl("stop", "ruptime.service")
        records = self.records(_SYSTEMD_UNIT=OURS)
        self.assertLessEqual(len(records), 2, [record["MESSAGE"] for record in records])

    def test_a_request_at_info(self):
        self.machine.exec_start("ruptime.service", "/usr/sbin/ruptimed --log-level info")
        self.started()
        for host in ("127.0.0.1", "::1", "unix:/run/ruptime.sock"):
            self.machine.run("ruptime", host)
        self.machine.systemctl("stop", "ruptime.service")
        records = self.records(_SYSTEMD_UNIT=OURS, MESSAGE_ID=ANSWERED)
        self.assertEqual(len(records), 3, records)
        for record in records:
            self.assertEqual(record["PRIORITY"], "6")
            self.assertEqual(record["SYSLOG_IDENTIFIER"], "ruptimed")
            self.assertEqual(record["RUPTIME_EXIT_STATUS"], "0")
            self.assertGreater(int(record["RUPTIME_COMMAND_PID"]), 0)
            self.assertGreater(int(record["RUPTIME_DURATION_USEC"]), 0)
        self.assertRegex(records[0]["RUPTIME_PEER"], r"\A127\.0\.0\.1:\d+\Z")
        self.assertRegex(records[1]["RUPTIME_PEER"], r"\A\[::1\]:\d+\Z")
        self.assertTrue(records[2]["RUPTIME_PEER"])

    def test_a_missing_command_is_told_once(self):
        self.machine.exec_start("ruptime.service", "/usr/sbin/ruptimed -- /usr/bin/missing")
        self.started()
        tally = self.load(TCP, count=20, expect=r"\Aerror: .*\n\Z").result()
        self.assert_all_answered(tally, 20)
        records = self.records(_SYSTEMD_UNIT=OURS, MESSAGE_ID=SPAWN_FAILED)
        self.assertEqual(len(records), 1, records)
        self.assertEqual(records[0]["PRIORITY"], "3")
        self.assertEqual(records[0]["RUPTIME_COMMAND"], "/usr/bin/missing")
        self.assertEqual(records[0]["ERRNO"], "2")

    def test_a_command_that_takes_too_long(self):
        self.machine.exec_start("ruptime.service", "/usr/sbin/ruptimed --child-timeout 1 -- /bin/sleep 600")
        self.started()
        self.assert_all_answered(
            self.load(TCP, count=1, expect=r"\Aerror: .*\n\Z").result(), 1)
        record, = self.records(_SYSTEMD_UNIT=OURS, MESSAGE_ID=TIMED_OUT)
        self.assertEqual(record["PRIORITY"], "4")
        self.assertRegex(record["RUPTIME_PEER"], r"\A127\.0\.0\.1:\d+\Z")

    def test_a_source_that_asks_too_often(self):
        """Beyond --rate-limit there is no answer, a record now and then with the count of them, and
        another source is answered all the same."""
        self.started("ruptime-udp.socket")
        # The flood is not to wait for the daemon's start.
        self.assert_all_answered(self.load(f"udp:{TCP}", count=1, source="127.9.9.8").result())
        flood = self.load(f"udp:{TCP}", count=200, at_once=200, patience=3).result()
        self.assertGreater(flood["answered"], 0, flood)
        self.assertGreater(flood["lost"].get("no answer in time", 0), 100, flood)
        other = self.load(f"udp:{TCP}", count=3, at_once=1, source="127.9.9.9").result()
        self.assert_all_answered(other, 3)
        self.machine.systemctl("stop", "ruptime-udp.service")
        records = self.records(_SYSTEMD_UNIT="ruptime-udp.service", MESSAGE_ID=RATE_LIMITED)
        self.assertIn(len(records), range(1, 6), records)
        counted = sum(int(record["RUPTIME_COUNT"]) for record in records)
        self.assertIn(counted, range(100, flood["lost"]["no answer in time"] + 1))

    def test_status(self):
        machine = self.machine
        machine.exec_start("ruptime.service", "/usr/sbin/ruptimed -- /bin/sh -c 'exec /usr/bin/uptime'")
        self.started()
        status = lambda: machine.show("ruptime.service", "StatusText")
        self.assert_all_answered(self.load(TCP, count=50).result(), 50)
        machine.wait_until(lambda: status() == "answered 50, failed 0, running 0",
                           "the status line counts 50 answers")
        self.assertIn("answered 50", machine.systemctl("status", "ruptime.service"))

    def test_what_the_command_gets(self):
        machine = self.machine
        machine.exec_start("ruptime.service", "/usr/sbin/ruptimed -- /usr/bin/env",
                           "Environment=SECRET=1\nWatchdogSec=5s\n")
        self.started()
        environment = machine.run("ruptime", "127.0.0.1").stdout
        names = {line.split("=")[0] for line in environment.splitlines()}
        self.assertIn("LC_ALL=C\n", environment)
        self.assertLessEqual(names, {"LC_ALL", "PATH", "TZ"})

    def test_what_the_command_has_open(self):
        machine = self.machine
        machine.exec_start("ruptime.service", "/usr/sbin/ruptimed -- /bin/ls -l /proc/self/fd")
        self.started()
        lines = machine.run("ruptime", "127.0.0.1").stdout.splitlines()[1:]
        opened = dict(line.split()[-3::2] for line in lines)
        self.assertEqual(opened["0"], "/dev/null")
        self.assertRegex(opened["1"], "socket:")
        self.assertEqual(opened["1"], opened["2"])
        # 3 is the directory that ls reads.
        self.assertRegex(opened["3"], r"\A/proc/\d+/fd\Z")
        self.assertEqual(sorted(opened), ["0", "1", "2", "3"])
