"""Who may ask: a network, a group, this machine only. Each with somebody who is turned away."""

import os
import re
import socket

import roots
from case import UNIX, SystemTest


class Access(SystemTest):

    def assert_refused(self, done, reason):
        self.assertEqual((done.returncode, done.stdout), (1, ""), done)
        self.assertRegex(done.stderr, reason)

    def outsider(self, *addresses):
        """Another machine beside ours, which has these addresses: a network namespace in it."""
        machine = self.machine
        machine.run("sh", "-ec", "ip netns add outside; ip link add ours type veth peer name theirs netns outside\n"
                                 "ip link set ours up; ip -n outside link set theirs up\n"
                                 "ip -n outside link set lo up\n"
                                 "ip address add 192.0.2.1/24 dev ours; ip address add 2001:db8::1/64 dev ours nodad")
        self.addCleanup(machine.run, "sh", "-ec", "ip link delete ours; ip netns delete outside")
        for address in addresses:
            machine.run("ip", "-n", "outside", "address", "add", address, "dev", "theirs",
                        *(["nodad"] if ":" in address else []))
        return lambda host, **kwargs: machine.run("ip", "netns", "exec", "outside", "ruptime", host, **kwargs)

    def assert_answers(self, *hosts):
        for host in hosts:
            self.assertIn("load average:", self.machine.run("ruptime", host).stdout)

    def test_only_a_network(self):
        """The recipe's networks and this machine itself; the other address is turned away."""
        self.machine.dropin("ruptime.service", self.recipe("Only a network").rstrip() + " --log-level info\n")
        outside = self.outsider("192.0.2.7/24", "198.51.100.7/24", "2001:db8::7/64")
        self.machine.run("ip", "address", "add", "198.51.100.1/24", "dev", "ours")
        self.started()
        self.assert_answers("localhost", "127.0.0.1", "::1", "unix:/run/ruptime.sock")
        for host in ("192.0.2.1", "2001:db8::1"):
            self.assertIn("load average:", outside(host).stdout)
        self.assert_refused(outside("198.51.100.1", check=False), "198.51.100.1")
        refused = [record for record in self.records(_SYSTEMD_UNIT="ruptime.service", PRIORITY="6")
                   if "not allowed" in record["MESSAGE"]]
        self.assertEqual(len(refused), 1, refused)
        self.assertTrue(refused[0]["RUPTIME_PEER"].startswith("198.51.100.7:"), refused[0])
        self.assert_nothing_failed()

    def test_only_a_group(self):
        machine = self.machine
        machine.dropin("ruptime.socket", self.recipe("Only a group"))
        self.started()
        as_nobody = ("setpriv", "--reuid=nobody", "--regid=nogroup")
        ask = ("ruptime", "unix:/run/ruptime.sock")
        self.assertIn("load average:", machine.run(*as_nobody, "--groups=adm", *ask).stdout)
        self.assert_refused(machine.run(*as_nobody, "--clear-groups", *ask, check=False),
                            "[Pp]ermission denied")
        self.assert_refused(machine.run("ruptime", "127.0.0.1", check=False), "refused")
        self.assert_nothing_failed()

    def test_the_unix_socket_is_roots_alone(self):
        for socket in ("ruptime.socket", "ruptime-inetd.socket"):
            self.started(socket)
            self.assert_refused(
                self.machine.run("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups",
                                 "ruptime", "unix:/run/ruptime.sock", check=False), "[Pp]ermission denied")
            self.assert_answers("unix:/run/ruptime.sock")

    def test_new_systemds_refuse_descriptors(self):
        """From the first connection on, without the daemon's help: here it only sleeps."""
        kernel = tuple(map(int, re.match(r"(\d+)\.(\d+)", os.uname().release).groups()))
        if int(roots.RELEASES[self.release]) < 258 or kernel < (6, 16):
            self.skipTest("AcceptFileDescriptors= needs systemd 258 and Linux 6.16")
        self.machine.exec_start("ruptime.service", "/bin/sleep infinity", "Type=exec\n")
        self.started()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.machine.path(UNIX)))
            with self.assertRaises(PermissionError):
                socket.send_fds(client, [b"?"], [0])
        told = [record["MESSAGE"] for record in self.records(UNIT="ruptime.socket")]
        self.assertFalse(any("AcceptFileDescriptors" in message for message in told), told)

    def test_only_this_machine(self):
        machine = self.machine
        outside = self.outsider("192.0.2.7/24", "2001:db8::7/64")
        self.started()
        self.assertIn("load average:", outside("192.0.2.1").stdout)
        machine.dropin("ruptime.socket", self.recipe("Only this machine"))
        machine.systemctl("restart", "ruptime.socket")
        self.assert_answers("127.0.0.1", "::1", "localhost", "unix:/run/ruptime.sock")
        for host in ("192.0.2.1", "2001:db8::1"):
            self.assert_refused(outside(host, check=False), "refused")
        self.assert_nothing_failed()

    def test_only_this_machine_without_ipv6(self):
        machine = self.machine
        machine.sysctl("net.ipv6.conf.all.disable_ipv6", 1)
        self.addCleanup(machine.sysctl, "net.ipv6.conf.all.disable_ipv6", 0)
        machine.dropin("ruptime.socket", self.recipe("Only this machine"))
        self.started()
        self.assert_answers("127.0.0.1", "localhost", "unix:/run/ruptime.sock")
        self.assert_nothing_failed()

    def test_an_address_that_comes_later(self):
        """As at boot, before the network is up: the sockets listen, and answer once it is there."""
        machine = self.machine
        address = "192.0.2.55"
        for socket, key, scheme in (("ruptime.socket", "ListenStream", ""), ("ruptime-udp.socket", "ListenDatagram", "udp:"),
                                    ("ruptime-inetd.socket", "ListenStream", "")):
            with self.subTest(socket):
                machine.dropin(socket, f"[Socket]\n{key}=\n{key}={address}:10513\n{key}=[2001:db8::55]:10513\n")
                self.started(socket)
                self.assert_nothing_failed(socket)
                machine.run("ip", "address", "add", f"{address}/32", "dev", "lo")
                machine.run("ip", "address", "add", "2001:db8::55/128", "dev", "lo", "nodad")
                self.assert_answers(f"{scheme}{address}", f"{scheme}[2001:db8::55]:10513")
                machine.run("ip", "address", "delete", f"{address}/32", "dev", "lo")
                machine.run("ip", "address", "delete", "2001:db8::55/128", "dev", "lo")
                machine.systemctl("disable", "-q", "--now", socket)
