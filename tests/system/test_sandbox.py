"""What a command of one's own reaches through the sandbox, and what the sandbox asks of the machine."""

from case import TCP, SystemTest

UNITS = ("ruptime.socket", "ruptime-udp.socket", "ruptime-inetd.socket")


class Sandbox(SystemTest):

    def answer(self, *command):
        """What the command says when it is run for a client."""
        self.machine.exec_start("ruptime.service", " ".join(("/usr/sbin/ruptimed", "--", *command)))
        self.started()
        return self.machine.run("ruptime", "127.0.0.1").stdout

    def test_of_run_only_what_uptime_needs(self):
        seen = self.answer("/usr/bin/find", "/run/", "/dev/shm/", "-mindepth", "1", "-not", "-type", "d").splitlines()
        allowed = ("/run/systemd/notify", "/run/systemd/journal/socket", "/run/utmp", "/run/systemd/sessions/",
                   "/run/systemd/system/")
        self.assertIn("/run/systemd/notify", seen)
        self.assertEqual([path for path in seen if not path.startswith((*allowed, "/usr/bin/find: "))], [])

    def test_nothing_can_be_written(self):
        places = "/ /run /dev/shm /dev/mqueue /tmp /var/tmp /var/lib /etc /sys /proc/sys/kernel"
        script = f"for place in {places}; do touch $place/ruptime-test 2>/dev/null && echo $place; done; echo end"
        written = self.answer("/bin/sh", "-c", f"'{script}'").split()
        # Of its own, and gone with it.
        self.assertEqual([place for place in written if place not in ("/tmp", "/var/tmp", "/dev/mqueue")], ["end"])
        for place in places.split():
            self.assertFalse(self.machine.path(f"{place}/ruptime-test").exists(), place)


class WithoutUserNamespaces(SystemTest):
    """As with user.max_user_namespaces=0, which hardened machines set (Debian's hardening-runtime).
    The machine has a user namespace of its own, in which that can be set for it alone."""

    nspawn = ("--private-users=identity",)

    def test_every_service_starts(self):
        self.machine.sysctl("user.max_user_namespaces", 0)
        self.assertNotEqual(self.machine.run("unshare", "--user", "true", check=False).returncode, 0)
        for unit in UNITS:
            with self.subTest(unit):
                self.started(unit)
                host = "udp:127.0.0.1" if "udp" in unit else "127.0.0.1"
                self.assertIn("load average:", self.machine.run("ruptime", host).stdout)
                self.assert_nothing_failed(unit)
                self.machine.systemctl("disable", "-q", "--now", unit)
