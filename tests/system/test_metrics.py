"""ruptime-metrics.timer: what node_exporter's textfile collector finds, and when.

Prometheus itself is run in tests/it/metrics.rs.
"""

import shutil

from case import SystemTest
from machine import wait_until

DIRECTORY = "/run/ruptime-metrics"
FILE = f"{DIRECTORY}/ruptime.prom"
SERVICE = "ruptime-metrics.service"
TIMER = "ruptime-metrics.timer"
UP = 'ruptime_up{host="127.0.0.1"} 1'
DOWN = 'ruptime_up{host="127.0.0.1:1"} 0'


class Metrics(SystemTest):

    def setUp(self):
        super().setUp()
        self.machine.systemctl("disable", "-q", TIMER)
        self.machine.run("sh", "-c", f"rm -rf {DIRECTORY}* /etc/ruptime")

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

    def collected(self):
        """What the real node_exporter gives to Prometheus."""
        fetch = ("use IO::Socket::INET; my $s = IO::Socket::INET->new('127.0.0.1:9100') or exit 1;"
                 'print $s "GET /metrics HTTP/1.0\\r\\n\\r\\n"; print while <$s>;')
        return self.machine.run("perl", "-e", fetch, check=False).stdout.splitlines()

    def test_one_round(self):
        self.started()
        self.hosts("127.0.0.1", "localhost", "127.0.0.1:1  # nobody there")
        self.machine.systemctl("start", SERVICE)
        lines = self.metrics()
        self.assertIn(UP, lines)
        self.assertIn('ruptime_up{host="localhost"} 1', lines)
        self.assertIn(DOWN, lines)
        self.assertEqual(lines[-1], "# EOF")
        # Whole, for every reader, and nothing beside it.
        self.assertEqual(self.names(), ["ruptime.prom"])
        state = self.machine.path(FILE).stat()
        self.assertEqual((state.st_mode & 0o777, state.st_uid), (0o644, 0))
        self.assertEqual(list(self.machine.path("/run").glob("ruptime-metrics*")), [self.machine.path(DIRECTORY)])
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

    def test_nothing_runs_without_hosts(self):
        self.machine.systemctl("start", SERVICE)
        self.assertFalse(self.machine.path(DIRECTORY).exists())
        self.assertEqual(self.machine.show(SERVICE, "ConditionResult"), "no")
        self.assert_nothing_failed("dbus.socket")

    def test_the_readmes_recipe_and_the_real_collector(self):
        """Pasted into a root shell word for word; then a bad line in the hosts file, which costs no
        metric and is told in the journal."""
        machine = self.machine
        defaults = machine.root / "etc/default/prometheus-node-exporter"
        before = defaults.read_text()
        self.addCleanup(defaults.write_text, before)
        self.addCleanup(machine.systemctl, "stop", "prometheus-node-exporter", TIMER)
        self.started()
        # The machine has booted just now, but a minute need not be waited for.
        machine.dropin(TIMER, "[Timer]\nOnBootSec=1s\nOnUnitActiveSec=1s\n")
        recipe = self.recipe("Metrics").replace("web1 web2 db1", "127.0.0.1 127.0.0.1:1")
        # Twice is as good as once.
        for _ in range(2):
            machine.run("sh", "-euc", f'sudo() {{ "$@"; }}\n{recipe}')
        shown = lambda line: line in self.collected()
        wait_until(lambda: shown('ruptime_up{host="127.0.0.1"} 1'), "node_exporter shows a host")
        self.assertTrue(shown(DOWN))
        self.assertTrue(shown('node_textfile_scrape_error 0'))
        self.hosts("127.0.0.1:1", "no host at all", "127.0.0.1")
        wait_until(lambda: self.records(_SYSTEMD_UNIT=SERVICE), "the journal tells of the bad line")
        machine.systemctl("start", SERVICE)
        lines = self.collected()
        for line in (UP, DOWN, "node_textfile_scrape_error 0"):
            self.assertIn(line, lines)
        messages = [record["MESSAGE"] for record in self.records(_SYSTEMD_UNIT=SERVICE)]
        self.assertTrue(any("/etc/ruptime/hosts:2" in message for message in messages), messages)
        machine.systemctl("disable", "-q", "--now", TIMER)

    def test_nothing_is_written_where_others_may_write(self):
        """The collector's user exchanges its directories for links: root follows none of them."""
        machine = self.machine
        victims = machine.root / "root/victims"
        shutil.rmtree(victims, ignore_errors=True)
        victims.mkdir()
        (victims / "ruptime.prom").write_text("untouched\n")
        (victims / ".ruptime.new").write_text("untouched\n")
        theirs = machine.root / "var/lib/prometheus"
        moved = theirs / "node-exporter"
        # Copied: a directory of the lower layer cannot be renamed (overlayfs).
        shutil.copytree(moved, theirs / "old")
        shutil.rmtree(moved)
        moved.symlink_to("/root/victims")

        def restore():
            moved.unlink()
            shutil.move(theirs / "old", moved)
        self.addCleanup(restore)
        self.hosts("127.0.0.1:1")
        machine.systemctl("start", SERVICE)
        self.assertIn(DOWN, self.metrics())
        self.assertEqual({path.name: path.read_text() for path in victims.iterdir()},
                         {"ruptime.prom": "untouched\n", ".ruptime.new": "untouched\n"})
        # Every directory that root wrote below is root's alone.
        for path in ("/", "/run", DIRECTORY):
            state = machine.path(path).stat()
            self.assertEqual((state.st_uid, state.st_mode & 0o022), (0, 0), path)

    def test_the_metrics_come_in_time_with_dead_name_servers(self):
        """700 names, and a name server that never answers: all are down, within the deadline."""
        machine = self.machine
        resolv = machine.path("/etc/resolv.conf")
        before = resolv.read_bytes()
        self.addCleanup(resolv.write_bytes, before)
        silent = "my $s = IO::Socket::INET->new(Proto => 'udp', LocalAddr => '127.0.0.9:53') or die; sleep 600"
        server = machine.start("perl", "-MIO::Socket::INET", "-e", silent)
        self.addCleanup(server.wait)
        self.addCleanup(machine.run, "pkill", "-x", "perl")
        wait_until(lambda: machine.run("ss", "-Hlnu", "src 127.0.0.9").stdout, "the name server listens")
        resolv.write_text("nameserver 127.0.0.9\n")
        self.started()
        self.hosts("127.0.0.1", *(f"host{number}.example" for number in range(700)))
        machine.systemctl("start", SERVICE, timeout=120)
        lines = self.metrics()
        self.assertEqual(sum(line.startswith("ruptime_up{") for line in lines), 701)
        self.assertEqual(sum(line.startswith("ruptime_up{") and line.endswith(" 0") for line in lines), 700)
        self.assertIn(UP, lines)
        self.assert_nothing_failed()
