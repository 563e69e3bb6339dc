"""What comes back through the sandbox is what the machine says of itself."""

import re

from case import SystemTest

LOGIN = ("systemd-run", "-q", "-p", "PAMName=login", "-p", "User=root", "-p", "UtmpMode=user")


class Answers(SystemTest):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # A zone with an odd offset, and two who are logged in: as a terminal's login is, with an
        # entry in utmp (what Debian 12's uptime counts) and a session (what Debian 13's does).
        cls.machine.run("ln", "-sf", "/usr/share/zoneinfo/Asia/Kathmandu", "/etc/localtime")
        for number in ("77", "78"):
            cls.machine.run(*LOGIN, f"--unit=login-{number}", "-p", f"UtmpIdentifier=a{number}",
                            "-p", f"TTYPath=/dev/pts/{number}", "sleep", "infinity")
        cls.machine.wait_until(lambda: " 2 users," in cls.machine.run("uptime").stdout,
                               "two users are logged in")

    def assert_same_as_outside(self, host):
        """The same to the minute, for users and loads: as before or as after, since a minute or
        a load may change between."""
        before = self.machine.run("env", "LC_ALL=C", "uptime").stdout
        answer = self.machine.run("ruptime", host).stdout
        after = self.machine.run("env", "LC_ALL=C", "uptime").stdout
        self.assertIn(" 2 users,", answer)
        self.assertIn(parts(answer), pairs(parts(before), parts(after)))

    def test_every_address_answers(self):
        self.started()
        for host in ("127.0.0.1", "::1", "[::1]:10513", "localhost", "unix:/run/ruptime.sock"):
            with self.subTest(host):
                self.assert_same_as_outside(host)
        self.assert_nothing_failed()

    def test_inetd(self):
        self.started("ruptime-inetd.socket")
        for host in ("127.0.0.1", "::1", "unix:/run/ruptime.sock"):
            with self.subTest(host):
                self.assert_same_as_outside(host)
        self.assert_nothing_failed("ruptime-inetd.socket")

    def test_datagrams(self):
        self.started("ruptime-udp.socket")
        for host in ("udp:127.0.0.1", "udp:[::1]:10513", "udp:localhost"):
            with self.subTest(host):
                self.assert_same_as_outside(host)
        self.assert_nothing_failed("ruptime-udp.socket")

    def test_stream_and_datagrams_side_by_side(self):
        self.started()
        self.started("ruptime-udp.socket")
        self.assert_same_as_outside("127.0.0.1")
        self.assert_same_as_outside("udp:127.0.0.1")


    def test_a_login_while_the_daemon_runs(self):
        """Where logins are listed is part of the sandbox as it was made at the daemon's start."""
        self.started()
        self.assert_same_as_outside("127.0.0.1")
        daemon = self.machine.show("ruptime.service", "MainPID")
        login = ("-p", "UtmpIdentifier=a79", "-p", "TTYPath=/dev/pts/79", "sleep", "infinity")
        self.machine.run(*LOGIN, "--unit=login-79", *login)
        self.addCleanup(self.machine.systemctl, "stop", "login-79")
        self.machine.wait_until(lambda: " 3 users," in self.machine.run("uptime").stdout, "a third user is logged in")
        self.assertIn(" 3 users,", self.machine.run("ruptime", "127.0.0.1").stdout)
        self.assertEqual(self.machine.show("ruptime.service", "MainPID"), daemon)


def parts(line):
    """The parts of uptime's line that can change on their own: the time, how long, and the rest."""
    return re.fullmatch(r" (\d\d:\d\d):\d\d up (.*?),\s+(\d+ users?,  load average: .*)\n", line).groups()


def pairs(before, after):
    return [(time, up, rest) for time in (before[0], after[0]) for up in (before[1], after[1])
            for rest in (before[2], after[2])]
