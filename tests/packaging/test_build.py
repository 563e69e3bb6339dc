"""The packages as they were built: the same again, without complaints, with every licence told."""

import gzip
import pathlib
import platform
import re
import subprocess
import tempfile
import unittest

import build

KNOWN = re.compile("|".join((
    # Gone from lintian in Debian 13, where an override of it would be an error; the daemon runs under
    # any inetd, and systemd's units are what these packages are about.
    r"I: \S+: package-supports-alternative-init-but-no-init.d-script ",
    # Rust makes no calls that _FORTIFY_SOURCE checks; lintian knows it by now.
    r"I: \S+: hardening-no-fortify-functions ",
    # Newer than the lintian of Debian 12 and 13: the policy, and version 5 of the watch file.
    r"W: ruptime-rs source: newer-standards-version 4\.7\.4 ",
    r"W: ruptime-rs source: missing-debian-watch-file-standard ",
    # Debian 12 and 13 have no other.
    r"P: ruptime-rs source: package-uses-old-debhelper-compat-version 13$",
    # There is no public repository or bug tracker yet that it could name.
    r"P: ruptime-rs source: upstream-metadata-file-is-missing$",
)))


class BuiltTest(unittest.TestCase):
    release = None
    packages = None

    def __str__(self):
        return f"{self.release} {type(self).__name__}.{self._testMethodName}"

    def text(self, name):
        return (self.packages / name).read_text()


class Built(BuiltTest):
    releases = ("bookworm", "trixie")

    def test_built_twice_the_bytes_are_the_same(self):
        compared = self.text("compared").split()
        wanted = [f"ruptime-{build.version()}.tar.gz", "ruptime-rs_", "ruptimed-rs_", "ruptimed-rs-dbgsym_", ".dsc", ".debian.tar.xz"]
        if self.release == "bookworm":
            wanted += ["ruptime-rs-", "ruptimed-rs-", ".src.rpm", "ruptimed"]
        for part in wanted:
            self.assertTrue(any(name.startswith(part) or name.endswith(part) for name in compared), part)
        self.assertEqual(self.text("differences"), "")

    def test_lintian_says_nothing(self):
        told = [line for line in self.text("lintian").splitlines() if not KNOWN.match(line)]
        self.assertEqual(told, [])

    def test_the_readme_installs_both_packages_and_no_others(self):
        readme = (build.REPOSITORY / "README.md").read_text()
        for kind in ("deb", "rpm") if self.release == "bookworm" else ("deb",):
            pattern = re.search(rf"install \./dist/(.+\.{kind})$", readme, re.MULTILINE)[1]
            found = self.packages.glob(pattern.replace("$(uname -m)", platform.machine()))
            self.assertEqual(sorted(re.match(r"[a-z]+-rs", file.name)[0] for file in found),
                             ["ruptime-rs", "ruptimed-rs"])

    def test_no_path_of_the_build_is_in_the_programs(self):
        with tempfile.TemporaryDirectory() as directory:
            for deb in self.packages.glob("ruptime*-rs_*.deb"):
                subprocess.run(["dpkg-deb", "--extract", str(deb), directory], check=True)
            for program in ("usr/bin/ruptime", "usr/sbin/ruptimed"):
                self.assertNotIn(b"/build/", (pathlib.Path(directory) / program).read_bytes())

    def test_every_licence_is_told(self):
        with tempfile.TemporaryDirectory() as directory:
            vendor = build.DIST / f"ruptime-{build.version()}-vendor.tar.gz"
            subprocess.run(["tar", "-xzf", str(vendor), "-C", directory], check=True)
            made = subprocess.run([str(build.REPOSITORY / "packaging/crates.py"), "copyright",
                                   f"{directory}/vendor"], check=True, capture_output=True, text=True).stdout
        told = (build.REPOSITORY / "packaging/vendored-copyright").read_text()
        self.assertEqual(told, made, "make it anew with packaging/crates.py copyright")

    def test_manual_pages_are_compressed(self):
        with tempfile.TemporaryDirectory() as directory:
            for deb in self.packages.glob("ruptime*-rs_*.deb"):
                subprocess.run(["dpkg-deb", "--extract", str(deb), directory], check=True)
            pages = pathlib.Path(directory) / "usr/share/man"
            self.assertEqual(sorted(page.name for page in pages.glob("*/*")),
                             ["ruptime.1.gz", "ruptime.socket.8.gz", "ruptimed.8.gz"])
            for page in pages.glob("*/*"):
                self.assertTrue(gzip.decompress(page.read_bytes()).startswith(b".Dd "))


class BuiltFromTheArchive(BuiltTest):
    """The package that Debian could take: no crate of its own, nothing to complain of."""

    releases = ("forky",)

    def test_lintian_says_nothing(self):
        told = [line for line in self.text("lintian").splitlines() if not KNOWN.match(line)]
        self.assertEqual(told, [])

    def test_its_unit_tests_passed(self):
        self.assertRegex(self.text("log"), r"test result: ok\. [1-9][0-9]+ passed; 0 failed")

    def test_there_are_no_crates_in_the_source(self):
        source = self.text(next(self.packages.glob("*.dsc")).name)
        self.assertNotIn("vendor", source.partition("Checksums-Sha1:")[2])

    def test_it_names_what_is_built_in(self):
        for package, crate, other in (("ruptime-rs", "rust-tokio", "rust-libsystemd"),
                                      ("ruptimed-rs", "rust-libsystemd", "rust-tokio")):
            deb = next(self.packages.glob(f"{package}_*.deb"))
            told = subprocess.run(["dpkg-deb", "--field", str(deb), "Static-Built-Using"], check=True,
                                  capture_output=True, text=True).stdout
            for wanted in (crate, "rust-nix", "rust-clap", "rustc"):
                self.assertRegex(told, rf"\b{wanted} \(= ", package)
            self.assertNotIn(f"{other} ", told, package)


class BuiltRpm(BuiltTest):
    releases = ("bookworm",)

    def test_rpmlint_says_nothing(self):
        self.assertIn(" 0 errors, 0 warnings", self.text("rpmlint"))

    def test_the_spec_provides_the_crates(self):
        spec = (build.REPOSITORY / "packaging/rpm/ruptime-rs.spec").read_text()
        told = "".join(re.findall(r"^(?:# packaging/crates.py bundled .*|Provides: .*)\n", spec, re.MULTILINE))
        made = ""
        for program in ("ruptime", "ruptimed"):
            made += f"# packaging/crates.py bundled {program}\n"
            made += subprocess.run([str(build.REPOSITORY / "packaging/crates.py"), "bundled", program],
                                   check=True, capture_output=True, text=True).stdout
        self.assertEqual(told, made)
