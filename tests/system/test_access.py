"""Who may ask: a network, a group, this machine only. Each with somebody who is turned away."""

from case import TCP, SystemTest

# For documentation (RFC 5737); here an address of the container's own loopback.
OTHER = "192.0.2.1"


class Access(SystemTest):

    def assert_refused(self, done, reason):
        self.assertEqual((done.returncode, done.stdout), (1, ""), done)
        self.assertRegex(done.stderr, reason)

    def test_only_a_network(self):
        machine = self.machine
        machine.exec_start("ruptime.service",
                           "/usr/sbin/ruptimed --allow 127.0.0.2 --allow 127.0.3.0/24 --log-level info")
        self.started()
        for source in ("127.0.0.2", "127.0.3.7"):
            tally = self.load(TCP, count=5, at_once=1, source=source).result()
            self.assert_all_answered(tally, 5)
        self.assert_refused(machine.run("ruptime", "127.0.0.1", check=False), "127.0.0.1")
        self.assert_refused(machine.run("ruptime", "::1", check=False), "::1")
        machine.run("ruptime", "unix:/run/ruptime.sock")
        refused = [record for record in self.records(_SYSTEMD_UNIT="ruptime.service", PRIORITY="6")
                   if "not allowed" in record["MESSAGE"]]
        self.assertEqual(len(refused), 2, refused)
        self.assertTrue(refused[0]["RUPTIME_PEER"].startswith("127.0.0.1:"), refused[0])
        self.assert_nothing_failed()

    def test_only_a_group(self):
        machine = self.machine
        machine.dropin("ruptime.socket", "[Socket]\nListenStream=\nListenStream=/run/ruptime.sock\n"
                                         "SocketMode=0660\nSocketGroup=adm\n")
        self.started()
        as_nobody = ("setpriv", "--reuid=nobody", "--regid=nogroup")
        ask = ("ruptime", "unix:/run/ruptime.sock")
        self.assertIn("load average:", machine.run(*as_nobody, "--groups=adm", *ask).stdout)
        self.assert_refused(machine.run(*as_nobody, "--clear-groups", *ask, check=False),
                            "[Pp]ermission denied")
        self.assert_refused(machine.run("ruptime", "127.0.0.1", check=False), "refused")
        self.assert_nothing_failed()

    def test_only_this_machine(self):
        machine = self.machine
        machine.run("ip", "address", "replace", f"{OTHER}/32", "dev", "lo")
        self.started()
        self.assertIn("load average:", machine.run("ruptime", OTHER).stdout)
        machine.dropin("ruptime.socket", "[Socket]\nListenStream=\nListenStream=127.0.0.1:10513\n"
                                         "ListenStream=[::1]:10513\nListenStream=/run/ruptime.sock\n")
        machine.systemctl("restart", "ruptime.socket")
        for host in ("127.0.0.1", "::1", "unix:/run/ruptime.sock"):
            self.assertIn("load average:", machine.run("ruptime", host).stdout)
        self.assert_refused(machine.run("ruptime", OTHER, check=False), "refused")
        self.assert_nothing_failed()
