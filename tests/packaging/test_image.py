"""The packages installed where no systemd runs, as images are made; then the image boots."""

from package import UNITS, UnbootedTest


class Image(UnbootedTest):

    def test_nothing_is_enabled_by_the_first_boot_either(self):
        machine = self.machine
        before = self.files()
        packages = sorted(f"/packages/{deb.name}" for deb in (machine.root / "packages").glob("ruptime*-rs_*.deb"))
        told = machine.chroot("apt-get", "-y", "install", *packages)
        self.assertNotRegex(told, "(?i)fail|error|cannot")
        machine.chroot("dpkg", "--remove", "ruptime-rs", "ruptimed-rs")
        machine.chroot("dpkg", "--purge", "ruptime-rs", "ruptimed-rs")
        self.assert_files(before)

        machine.chroot("apt-get", "-y", "install", *packages)
        # Without a machine-id the presets decide, and Debian's default is to enable.
        self.assertEqual((machine.root / "etc/machine-id").read_text(), "")
        machine.boot()
        self.assert_all_is_off(UNITS)
        self.started()
        self.ask()


class RpmImage(UnbootedTest):
    releases = ("bookworm",)

    root = "{}-build"

    def rpm(self, *args):
        # --force-debian: without it rpm advises against itself, on a Debian.
        return self.machine.chroot("rpm", "--dbpath", "/var/lib/rpm", "--force-debian", *args)

    def test_no_scriptlet_fails(self):
        # Of Fedora's package filesystem, and rpm's own files, which its first command makes.
        (self.machine.root / "usr/share/licenses").mkdir()
        self.rpm("-qa")
        before = self.files()
        self.assertEqual(self.rpm("-i", "--nodeps", *self.rpms()), "")
        enabled = (self.machine.root / "etc/systemd/system").rglob("ruptime*")
        self.assertEqual(list(enabled), [])
        self.assertEqual(self.rpm("-U", "--nodeps", *self.rpms("higher_")), "")
        self.assertEqual(self.rpm("-e", "ruptime-rs", "ruptimed-rs"), "")
        self.assert_files(before)
