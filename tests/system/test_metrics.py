"""ruptime-metrics.timer: what node_exporter's textfile collector finds, and when.

node_exporter and Prometheus themselves are run in tests/it/metrics.rs.
"""

from case import SystemTest
from machine import wait_until

DIRECTORY = "/var/lib/prometheus/node-exporter"
FILE = f"{DIRECTORY}/ruptime.prom"
SERVICE = "ruptime-metrics.service"
TIMER = "ruptime-metrics.timer"
UP = 'ruptime_up{host="127.0.0.1"} 1'
DOWN = 'ruptime_up{host="127.0.0.1:1"} 0'


class Metrics(SystemTest):

    def setUp(self):
        super().setUp()
        self.machine.systemctl("disable", "-q", TIMER)
        self.machine.run("rm", "-rf", DIRECTORY, "/etc/ruptime")
        # As Debian's prometheus-node-exporter leaves it.
        self.machine.run("install", "-d", "-m755", DIRECTORY)

    def hosts(self, *lines):
        directory = self.machine.root / "etc/ruptime"
        directory.mkdir(exist_ok=True)
        (directory / "hosts").write_text("".join(f"{line}\n" for line in lines))

    def metrics(self):
        return self.machine.path(FILE).read_text().splitlines()

    def enabled(self):
        return self.machine.run("systemctl", "is-enabled", TIMER, check=False).stdout.strip()

    def names(self):
        return sorted(path.name for path in self.machine.path(DIRECTORY).iterdir())

    def test_one_round(self):
        self.started()
        self.hosts("127.0.0.1", "localhost", "unix:/run/ruptime.sock", "127.0.0.1:1  # nobody there")
        self.machine.systemctl("start", SERVICE)
        lines = self.metrics()
        self.assertIn(UP, lines)
        self.assertIn('ruptime_up{host="localhost"} 1', lines)
        self.assertIn('ruptime_up{host="unix:/run/ruptime.sock"} 1', lines)
        self.assertIn(DOWN, lines)
        self.assertEqual(lines[-1], "# EOF")
        # Whole, for every reader, and nothing beside it.
        self.assertEqual(self.names(), ["ruptime.prom"])
        state = self.machine.path(FILE).stat()
        self.assertEqual((state.st_mode & 0o777, state.st_uid), (0o644, 0))
        self.assert_nothing_failed()

    def test_the_old_file_stays_when_a_round_fails(self):
        self.started()
        self.hosts("127.0.0.1")
        self.machine.systemctl("start", SERVICE)
        before = self.machine.path(FILE).stat()
        for command in ("/bin/false-start", "/usr/bin/ruptime --no-such-option", "/bin/echo cut"):
            with self.subTest(command):
                self.machine.exec_start(SERVICE, command)
                self.machine.systemctl("start", SERVICE, check=False)
                self.assertEqual(self.machine.show(SERVICE, "ActiveState"), "failed")
                self.assertEqual(self.machine.path(FILE).stat(), before)
                self.machine.systemctl("reset-failed", SERVICE)
        # What a failed round left is no part of the next one.
        self.machine.exec_start(SERVICE, "/usr/bin/ruptime -o openmetrics 127.0.0.1:1")
        self.machine.systemctl("start", SERVICE)
        self.assertIn(DOWN, self.metrics())
        self.assertNotIn("cut", self.metrics())
        self.assertEqual(self.names(), ["ruptime.prom"])

    def test_asking_is_done_without_rights(self):
        self.hosts("127.0.0.1")
        self.machine.exec_start(SERVICE, "/bin/sh -c 'id -u; grep ^Cap /proc/self/status; "
                                f"touch {DIRECTORY}/x 2>/dev/null && echo writable; echo \"# EOF\"'")
        self.machine.systemctl("start", SERVICE)
        lines = self.metrics()
        self.assertGreater(int(lines[0]), 0)
        self.assertEqual({line.split()[1] for line in lines if line.startswith("Cap")}, {"0" * 16}, lines)
        self.assertNotIn("writable", lines)

    def test_the_timer_is_not_enabled_and_asks_again_and_again(self):
        self.assertEqual(self.enabled(), "disabled")
        self.machine.systemctl("enable", "-q", TIMER)
        self.machine.systemctl("preset", "-q", TIMER)
        self.assertEqual(self.enabled(), "disabled")
        self.started()
        self.hosts("127.0.0.1")
        self.machine.dropin(TIMER, "[Timer]\nOnBootSec=\nOnUnitActiveSec=\nOnBootSec=1s\nOnUnitActiveSec=1s\n")
        self.machine.systemctl("enable", "-q", "--now", TIMER)
        wait_until(lambda: self.machine.path(FILE).exists() and UP in self.metrics(), "a first round")
        # The machine goes away, in a way, and the next round tells.
        self.hosts("127.0.0.1:1")
        wait_until(lambda: DOWN in self.metrics(), "a later round")
        self.machine.systemctl("disable", "-q", "--now", TIMER)

    def test_nothing_runs_without_hosts_or_collector(self):
        self.machine.systemctl("start", SERVICE)
        self.assertEqual(self.names(), [])
        self.hosts("127.0.0.1:1")
        self.machine.run("rm", "-r", DIRECTORY)
        self.machine.systemctl("start", SERVICE)
        self.assertFalse(self.machine.path(DIRECTORY).exists())
        self.assertEqual(self.machine.show(SERVICE, "ConditionResult"), "no")
        self.assert_nothing_failed("dbus.socket")
