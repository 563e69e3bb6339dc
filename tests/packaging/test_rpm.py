"""The RPMs on a running system, scriptlets included, as far as a Debian with rpm can show."""

from case import TCP, UNIX
from package import UNITS, PackageTest

BOTH = ("ruptime-rs", "ruptimed-rs")

# The distribution as rpm sees it: whatever the packages require.
BASE = """\
Name: base
Version: 1
Release: 1
Summary: What a distribution of RPMs has
License: MIT
BuildArch: noarch
{provides}
%description
x
%files
%dir /usr/share/licenses
%package -n rwho
Summary: Another ruptime
%description -n rwho
x
%files -n rwho
/usr/bin/ruptime
%install
mkdir -p %{{buildroot}}/usr/share/licenses
install -D /etc/hosts %{{buildroot}}/usr/bin/ruptime
"""


class Rpm(PackageTest):
    releases = ("bookworm",)

    @classmethod
    def setUpClass(cls):
        cls.make_machine(f"{cls.release}-build").boot()
        machine = cls.machine
        required = machine.run("sh", "-ec", "rpm -qpR /packages/ruptime*-rs-*.$(uname -m).rpm").stdout.split("\n")
        provided = sorted({line.split(" ")[0] for line in required if line and not line.startswith(
            ("rpmlib(", "config(", "rtld("))} | {"rtld(GNU_HASH)"})
        spec = BASE.format(provides="\n".join(f"Provides: {name}" for name in provided))
        (machine.root / "root/base.spec").write_text(spec)
        machine.run("rpmbuild", "-bb", "--quiet", "--define", "_topdir /root", "--define", "__os_install_post %{nil}",
                    "--define", "debug_package %{nil}", "--define", "_build_id_links none", "/root/base.spec")
        cls.rpm("-i", "/root/RPMS/noarch/base-1-1.noarch.rpm")

    @classmethod
    def rpm(cls, *args, **kwargs):
        return cls.machine.run("rpm", "--dbpath", "/var/lib/rpm", *args, timeout=300, **kwargs)

    def setUp(self):
        super().setUp()
        self.before = self.files()
        self.addCleanup(self.rpm, "-e", *BOTH, check=False)

    def install(self, action, prefix=""):
        done = self.rpm(action, *self.rpms(prefix))
        self.assertNotRegex(done.stdout + done.stderr, "(?i)fail|error|cannot|warning")

    def test_from_the_installation_to_the_removal(self):
        self.install("-i")
        self.assert_all_is_off(UNITS)
        self.assertEqual(self.rpm("-V", *BOTH).stdout, "")
        self.started()
        self.ask()
        self.upgrade_under_load(lambda: self.install("-U", "higher_"))
        self.assertEqual(self.state("ruptime.socket"), ("enabled", "active"))
        done = self.rpm("-e", *BOTH)
        self.assertEqual(done.stdout, "")
        self.assertFalse(self.listens())
        self.assertEqual(self.runs(), [])
        self.assert_no_unit_failed()
        self.assert_files(self.before)

    def test_an_upgrade_while_nobody_asks(self):
        self.install("-i")
        self.machine.systemctl("enable", "-q", "--now", "ruptime.socket", "ruptime-udp.socket")
        self.install("-U", "higher_")
        self.assertEqual(self.runs(), [])
        self.ask(TCP, UNIX, f"udp:{TCP}")

    def test_metrics_end_with_the_client(self):
        self.collected()
        before = self.files()
        self.install("-i")
        self.metrics_until(lambda: self.rpm("-e", *BOTH))
        self.assert_files(before)

    def test_where_sbin_is_bin(self):
        """As in Fedora 42 and newer."""
        self.install("-i", "merged_")
        self.assertIn("\n/usr/bin/ruptimed\n", self.rpm("-ql", "ruptimed-rs").stdout)
        self.started()
        self.ask()

    def test_another_ruptime_is_not_overwritten(self):
        rwho = "/root/RPMS/noarch/rwho-1-1.noarch.rpm"
        self.rpm("-i", rwho)
        self.addCleanup(self.rpm, "-e", "rwho", check=False)
        told = self.rpm("-i", *self.rpms(), check=False)
        self.assertNotEqual(told.returncode, 0)
        self.assertIn("rwho conflicts with ruptime-rs", told.stderr)
        self.assertEqual(self.rpm("-V", "rwho").stdout, "")

    def test_the_licences_are_there(self):
        out = self.rpm("-qp", "--licensefiles", *self.rpms()).stdout
        self.assertEqual(out.count("LICENSE.dependencies"), 2, out)
        self.assertEqual(out.count("NOTICES.dependencies"), 2, out)
        self.assertEqual(out.count("LICENSE-MIT"), 2, out)
