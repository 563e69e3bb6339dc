"""The Debian packages installed where no systemd runs, as images are made; then the image boots."""

import subprocess

from machine import Machine
from package import UNITS, PackageTest


class Unbooted(Machine):
    """A root that commands are run in without an init."""

    def chroot(self, *command):
        done = subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec",
             'mount -t proc proc "$0/proc"; mount -t tmpfs tmpfs "$0/run"; mount --rbind /dev "$0/dev"\n'
             'exec chroot "$0" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"',
             str(self.root), *command],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr


class Image(PackageTest):

    @classmethod
    def setUpClass(cls):
        cls.make_machine(cls.release, Unbooted).prepare()
        cls.cursor = ""

    def setUp(self):
        pass

    def what_happened(self):
        return super().what_happened() if self.machine.init else "not booted yet"

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
