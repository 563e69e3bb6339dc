"""The Debian packages on a running system, from the installation to the purge."""

import re
import tempfile

import build
from case import TCP, UNIX
from package import SOCKETS, UNITS, PackageTest, fake_deb

BOTH = ("ruptime-rs", "ruptimed-rs")


class Deb(PackageTest):

    def setUp(self):
        super().setUp()
        self.before = self.files()
        self.addCleanup(self.dpkg, "--purge", *BOTH, check=False)

    def dpkg(self, *args, **kwargs):
        return self.machine.run("dpkg", *args, timeout=300, **kwargs)

    def file(self, package, prefix=""):
        found = next((self.machine.root / "packages").glob(f"{prefix}{package}_*.deb"))
        return f"/packages/{found.name}"

    def apt(self, command, *args, **kwargs):
        return self.machine.run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-y",
                                "--no-install-recommends", command, *args, timeout=300, **kwargs)

    def install(self, *packages, prefix=""):
        done = self.apt("install", *(self.file(package, prefix) for package in packages or BOTH))
        self.assertNotRegex(done.stdout + done.stderr, "(?i)fail|error|cannot")

    def test_from_the_installation_to_the_purge(self):
        self.install()
        self.assert_all_is_off()
        self.started()
        self.ask()
        self.upgrade_under_load(lambda: self.install(prefix="higher_"))
        self.assertEqual(self.state("ruptime.socket"), ("enabled", "active"))
        self.apt("remove", *BOTH)
        self.assertFalse(self.listens())
        self.assertEqual(self.runs(), [])
        self.assert_no_unit_failed()
        self.apt("purge", *BOTH)
        self.assert_files(self.before)

    def test_an_upgrade_while_nobody_asks(self):
        self.install()
        self.machine.systemctl("enable", "-q", "--now", "ruptime.socket", "ruptime-udp.socket")
        self.install(prefix="higher_")
        self.assertEqual(self.runs(), [], "the upgrade started a daemon")
        self.ask(TCP, UNIX, f"udp:{TCP}")
        self.assertEqual(self.state("ruptime-inetd.socket"), ("disabled", "inactive"))

    def test_an_upgrade_enables_nothing(self):
        self.install()
        self.install(prefix="higher_")
        self.assert_all_is_off()

    def test_an_administrators_preset_goes_before_ours(self):
        self.install()
        preset = self.machine.root / "etc/systemd/system-preset/80-fleet.preset"
        preset.parent.mkdir(exist_ok=True)
        self.addCleanup(preset.unlink)
        for word, state in (("enable", "enabled"), ("disable", "disabled")):
            preset.write_text(f"{word} ruptime.socket\n")
            self.machine.systemctl("preset", "-q", "ruptime.socket")
            self.assertEqual(self.state("ruptime.socket"), (state, "inactive"))

    def test_each_package_alone(self):
        self.install("ruptime-rs")
        self.assertEqual(self.state("ruptime-metrics.timer"), ("disabled", "inactive"))
        down = self.machine.run("ruptime", TCP, check=False)
        self.assertEqual((down.returncode, down.stderr), (1, f"ruptime: {TCP}: connection refused\n"))
        self.dpkg("--purge", "ruptime-rs")
        self.install("ruptimed-rs")
        self.assert_all_is_off(set(UNITS) - {"ruptime-metrics.timer"})
        self.dpkg("--purge", "ruptimed-rs")
        self.assert_files(self.before)

    def test_metrics_end_with_the_client(self):
        for how in ("--remove", "--purge"):
            with self.subTest(how):
                self.collected()
                before = self.files()
                self.install()
                self.metrics_until(lambda how=how: self.dpkg(how, "ruptime-rs"))
                self.dpkg("--purge", *BOTH)
                self.assert_files(before)
                self.doCleanups()

    def test_what_is_enabled_is_enabled_again_after_a_removal(self):
        """As of every package of Debian's: only a purge forgets."""
        self.install()
        self.started()
        self.dpkg("--remove", "ruptimed-rs")
        self.assertFalse(self.listens())
        self.install("ruptimed-rs")
        self.ask()

    def test_a_removal_stops_every_way_to_serve(self):
        self.install()
        for sockets in (SOCKETS[:2], SOCKETS[2:]):
            self.machine.systemctl("start", *sockets)
            self.ask()
            self.dpkg("--remove", "ruptimed-rs")
            self.assertFalse(self.listens())
            self.assertEqual(self.runs(), [])
            self.assert_no_unit_failed()
            self.install("ruptimed-rs")

    def test_the_packages_of_the_distribution_are_not_overwritten(self):
        for package, theirs, path in (("ruptime-rs", "rwho", "usr/bin/ruptime"),
                                      ("ruptime-rs", "ruptime", "usr/bin/ruptime"),
                                      ("ruptimed-rs", "ruptimed", "usr/sbin/ruptimed")):
            with self.subTest(theirs), tempfile.TemporaryDirectory() as directory:
                fake_deb(directory, theirs, path)
                there = f"/root/{theirs}_9_all.deb"
                with open(f"{directory}/{theirs}_9_all.deb", "rb") as deb:
                    (self.machine.root / there[1:]).write_bytes(deb.read())
                self.dpkg("--install", there)
                told = self.dpkg("--install", self.file(package), check=False)
                self.assertNotEqual(told.returncode, 0)
                self.assertRegex(told.stderr, f"{package} conflicts with {theirs}")
                told = self.apt("install", "--no-remove", self.file(package), check=False)
                self.assertNotEqual(told.returncode, 0)
                self.assertRegex(told.stdout, f"REMOVED:\\n +{theirs}\n")
                self.assertEqual((self.machine.root / path).read_text(), "another\n")
                self.dpkg("--purge", theirs)

                self.install(package)
                ours = (self.machine.root / path).read_bytes()
                self.assertNotEqual(self.dpkg("--install", there, check=False).returncode, 0)
                self.assertEqual((self.machine.root / path).read_bytes(), ours)
                self.dpkg("--purge", package)

    def test_records_are_explained(self):
        self.install()
        catalog = (build.REPOSITORY / "packaging/systemd/ruptime.catalog").read_text()
        ids = re.findall(r"^-- ([0-9a-f]{32})$", catalog, re.MULTILINE)
        known = self.machine.run("journalctl", "--list-catalog").stdout
        self.assertEqual([each for each in ids if f"\n{each} ruptime:" not in f"\n{known}"], [])
        self.addCleanup(self.machine.run, "rm", "-rf", "/etc/systemd/system/ruptime.service.d")
        self.machine.exec_start("ruptime.service", "/usr/sbin/ruptimed -- /no/such/command")
        self.started()
        self.assertIn("error: /no/such/command", self.machine.run("ruptime", TCP, check=False).stderr)
        self.machine.run("journalctl", "--sync")
        told = self.machine.run("journalctl", "-x", "-u", "ruptime.service", "--no-pager").stdout
        self.assertIn("The command cannot be started", told)
        self.assertIn("/no/such/command could not be started", told)

    def test_the_packages_own_test(self):
        self.install()
        script = (build.REPOSITORY / "packaging/debian/tests/ask").read_text()
        done = self.machine.run("sh", "-c", script)
        self.assertEqual(done.stdout.count("load average:"), 4, done.stdout)
        self.assertFalse(self.listens())
