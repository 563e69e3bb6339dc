"""The packages of each release, built by `make deb`, `make deb-archive` and `make rpm`, but in a root.

In: the tarballs in dist/ and the roots (tests/system/roots.py). Out: a directory per release with the
packages, packages of a higher version, and what lintian and rpmlint say; kept in the cache for as
long as the tarballs, the tools and this file stay the same. It exists because only a build without a
network, with the release's own tools, says whether a distribution could build it.

With vendored crates everything is packaged twice, from different folders, in different time zones and with different
masks. The programs are compiled once for the .deb and once for the .rpm, so that they can be
compared too; what is packaged for the second time takes the first time's programs. With the crates of
Debian testing, which change from day to day, packages are built once, with their unit tests.
"""

import concurrent.futures
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import time

import roots
from machine import PATH, mount

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
DIST = REPOSITORY / "dist"
BUILDS = pathlib.Path("/run/builds")

TIMEOUT = 1800
KEPT = 4

TOOLS = [*roots.PACKAGES, "build-essential", "debhelper", "lintian", "pkgconf"]


def build_depends():
    """What the source package wants where it is built with the archive's crates."""
    control = (REPOSITORY / "packaging/debian/control").read_text()
    listed = re.search(r"^Build-Depends:\n((?: .*\n)+)", control, re.MULTILINE)[1]
    return sorted(set(re.findall(r"^ ([a-z0-9.+-]+)", listed, re.MULTILINE)) - {"debhelper-compat", *TOOLS})


# Debian 12 has Rust 1.63. Its root also boots, for the RPMs.
roots.ROOTS["bookworm-build"] = ("bookworm", [*TOOLS, "python3", "rpm", "rpmlint"])
roots.ROOTS["trixie-build"] = ("trixie", [*TOOLS, "cargo", "libstd-rust-dev", "rustc", "systemd-dev"])
roots.ROOTS["forky-build"] = (roots.TESTING, [*TOOLS, *build_depends()])

# In front of the real cargo: gives a second build the programs of the first.
CARGO = """\
#!/bin/sh
PATH=${PATH#*:}
kept=$(cat /build/kept)
if [ "$1" = build ] && [ -e "$kept/ruptimed" ]; then
    mkdir -p target/release
    cp -p "$kept/ruptime" "$kept/ruptimed" target/release/
    exit
fi
cargo "$@" || exit
if [ "$1" = build ]; then
    mkdir -p "$kept"
    cp -p target/release/ruptime target/release/ruptimed "$kept/"
fi
"""


# In a folder above the sources, and in the environment, as a builder may have them.
SETTINGS = """\
[source.crates-io]
replace-with = "elsewhere"
[source.elsewhere]
directory = "/nowhere"
[build]
target-dir = "/build/elsewhere"
"""


def version():
    return next(DIST.glob("ruptime-*-vendor.tar.gz")).name.split("-")[1]


def rust():
    """The folder of the Rust in PATH, or None where it is not in a folder of its own."""
    try:
        found = subprocess.run(["rustc", "--print", "sysroot"], cwd=REPOSITORY, check=True,
                               capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        return None
    return None if found == "/usr" else found


def kept(kind, release, files):
    """Where something is kept that is made in this release's root from these files."""
    parts = hashlib.sha256()
    for file in (*sorted(files), pathlib.Path(__file__)):
        parts.update(file.read_bytes())
    parts.update(roots.path(f"{release}-build").name.encode())
    if release == "bookworm":
        parts.update(subprocess.run(["rustc", "-Vv"], cwd=REPOSITORY, check=True,
                                    capture_output=True).stdout)
    return roots.CACHE / f"{kind}-{release}-{parts.hexdigest()[:16]}"


def path(release):
    """Where the packages of this release are kept."""
    tarballs = f"ruptime-{version()}.tar.gz" if release == roots.TESTING else f"ruptime-{version()}*.tar.gz"
    return kept("packages", release, DIST.glob(tarballs))


def programs(release):
    """Where the programs in them are kept, which are more often the same."""
    return kept("programs", release, [
        *(file for file in (REPOSITORY / "src").rglob("*") if file.is_file()),
        REPOSITORY / "Cargo.toml", REPOSITORY / "Makefile", REPOSITORY / "packaging/cargo-config.toml",
        REPOSITORY / "packaging/debian/rules", REPOSITORY / "packaging/debian/vendored.mk", REPOSITORY / "packaging/rpm/ruptime-rs.spec", DIST / f"ruptime-{version()}-vendor.tar.gz"])


def ready(releases):
    """Builds what is missing, side by side."""
    missing = [release for release in releases if not path(release).is_dir()]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for done in [pool.submit(build, release) for release in missing]:
            done.result()


def build(release):
    began = time.monotonic()
    builder = Builder(release)
    try:
        builder.prepare()
        if release == roots.TESTING:
            builder.archive()
        else:
            builder.debs()
        if release == "bookworm":
            builder.rpms()
        builder.keep()
    finally:
        builder.close()
    print(f"packages for {release} built in {time.monotonic() - began:.0f} s", flush=True)


class Builder:
    """A root to build in, thrown away afterwards."""

    def __init__(self, release):
        self.release = release
        self.directory = BUILDS / release
        self.root = self.directory / "root"
        self.build = self.directory / "build"

    def prepare(self):
        for part in ("upper", "work", "root", "build/bin", "build/out"):
            (self.directory / part).mkdir(parents=True)
        lower = roots.path(f"{self.release}-build")
        mount("-t", "overlay", "overlay", "-o", f"lowerdir={lower},upperdir={self.directory / 'upper'},"
              f"workdir={self.directory / 'work'}", str(self.root))
        for target in ("build", "opt/rust"):
            (self.root / target).mkdir(parents=True)
        mount("--bind", str(self.build), str(self.root / "build"))
        mount("--rbind", "/dev", str(self.root / "dev"))
        if programs(self.release).is_dir():
            shutil.copytree(programs(self.release), self.build / "compiled")
        if self.release == "bookworm":
            mount("--bind", "-o", "ro", rust(), str(self.root / "opt/rust"))
        (self.build / ".cargo").mkdir()
        (self.build / ".cargo/config.toml").write_text(SETTINGS)
        (self.build / "bin/cargo").write_text(CARGO)
        (self.build / "bin/cargo").chmod(0o755)

    def close(self):
        if os.path.ismount(self.root):
            subprocess.run(["umount", "-R", "-l", str(self.root)], check=True)
        shutil.rmtree(self.directory)

    def run(self, command, timezone="UTC", mask="022", options="nocheck"):
        """Runs a shell command in the root, with a loopback for the unit tests but without a network,
        with the tools in PATH."""
        log = self.build / "log"
        with open(log, "ab") as out:
            done = subprocess.run(
                ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec",
                 'mount -t proc proc "$0/proc"; ip link set lo up; exec chroot "$0" "$@"', str(self.root),
                 "env", "-i", f"PATH=/build/bin:/opt/rust/bin:{PATH}", "HOME=/root", "LANG=C.UTF-8",
                 f"TZ={timezone}", "CARGO_TARGET_DIR=/build/elsewhere", f"DEB_BUILD_OPTIONS={options}",
                 "sh", "-ec", f"umask {mask}; {command}"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=TIMEOUT)
        if done.returncode != 0:
            raise SystemExit(f"{self.release}: the build failed:\n"
                             + "\n".join(log.read_text(errors="replace").splitlines()[-60:]))

    def unpacked(self, folder, programs):
        """The source as a user unpacks it, with the programs of that name where they are there."""
        (self.build / "kept").write_text(f"/build/compiled/{programs}")
        where = self.build / folder
        where.mkdir()
        subprocess.run(["tar", "-xzf", str(DIST / f"ruptime-{version()}.tar.gz"), "-C", str(where)], check=True)
        where = where / f"ruptime-{version()}"
        (where / "dist").mkdir()
        for tarball in DIST.glob(f"ruptime-{version()}*.tar.gz"):
            shutil.copy(tarball, where / "dist")
        # What may lie about in there, and is no part of it.
        for junk in (".env", "tests/bench/target/debug/load", "tests/fuzz/corpus/host/1"):
            (where / junk).parent.mkdir(parents=True, exist_ok=True)
            (where / junk).touch()
        return f"/build/{folder}/ruptime-{version()}"

    def make(self, command, folder, programs, **options):
        """Makes packages in a source as a user unpacks it; says where. The tarball of the crates is there
        already: nothing could be fetched."""
        where = self.unpacked(folder, programs)
        source = f"dist/ruptime-{version()}.tar.gz"
        crates = f"dist/ruptime-{version()}-vendor.tar.gz"
        log = self.build / "log"
        self.run(f"cd {where}; packaging/dist --id >{crates}.id; make {command}", **options)
        shutil.copy(log, self.build / "out/log")
        made = self.build / where.removeprefix("/build/") / source
        self.differences([(DIST.parent / source, made)])
        return where

    def archive(self):
        """Without Cargo's settings in a directory above: dh-cargo's wrapper is not proof against them.
        Without link-time optimization, which takes longer than all else."""
        shutil.rmtree(self.build / ".cargo")
        first = self.make("deb-archive", "first", "none", options="optimize=-lto")
        for file in (self.build / first.removeprefix("/build/") / "dist").iterdir():
            if re.search(r"\.(deb|dsc|buildinfo)$", file.name):
                shutil.copy(file, self.build / "out")
        self.higher_and_lintian(first)

    def debs(self):
        first = self.make("deb", "first", "deb")
        self.make("deb", "second", "deb", timezone="Asia/Tokyo", mask="077")
        self.collect("first", "second", "*.deb", "*.dsc", "*.tar.*")
        self.higher_and_lintian(first)

    def higher_and_lintian(self, first):
        self.run(f"cd {first}/dist; for deb in ruptime-rs_*.deb ruptimed-rs_*.deb; do"
                 "  dpkg-deb --raw-extract $deb higher; sed -i 's/^Version: .*/&+1/' higher/DEBIAN/control;"
                 "  dpkg-deb --root-owner-group --build higher ../$deb; mv ../$deb /build/out/higher_$deb;"
                 "  rm -r higher; done")
        self.run(f"cd {first}/dist; lintian --allow-root --fail-on none --display-info --pedantic *.changes"
                 " >/build/out/lintian")

    def rpms(self):
        # In a folder of the same name, which a source RPM records.
        for folder, options in (("third", {}), ("fourth", {"timezone": "Asia/Tokyo", "mask": "077"})):
            self.make("rpm FLAGS='--without check'", "rpm", "rpm", **options)
            (self.build / "rpm").rename(self.build / folder)
        self.collect("third", "fourth", "*.rpm")
        for prefix, define in (("higher", "dist .1"), ("merged", "_sbindir /usr/bin")):
            made = self.make(f"""rpm FLAGS="--without check --define '{define}'" """, prefix, "rpm")
            self.run(f"cd {made}; rm dist/*.src.rpm;"
                     f" for rpm in dist/*.rpm; do mv $rpm /build/out/{prefix}_${{rpm#dist/}}; done")
        self.run("cd /build/third/ruptime-*; rpmlint -c packaging/rpm/rpmlint.toml"
                 " /build/out/ruptime*.rpm packaging/rpm/*.spec >/build/out/rpmlint 2>&1 || :")
        self.differences([(self.build / "compiled/deb" / name, self.build / "compiled/rpm" / name)
                          for name in ("ruptime", "ruptimed")])

    def collect(self, first, second, *patterns):
        """Keeps the packages of the first build, and what differs in the second."""
        def made(folder):
            dist = next((self.build / folder).glob("ruptime-*")) / "dist"
            return {file.name: file for pattern in patterns for file in dist.glob(pattern)}
        ones, others = made(first), made(second)
        self.differences([(file, others.get(name)) for name, file in ones.items()])
        for file in ones.values():
            shutil.copy(file, self.build / "out")

    def differences(self, pairs):
        with open(self.build / "out/differences", "a") as out:
            for one, other in pairs:
                if other is None or one.read_bytes() != other.read_bytes():
                    out.write(f"{one} {other}\n")
        with open(self.build / "out/compared", "a") as out:
            out.writelines(f"{one.name}\n" for one, _ in pairs)

    def keep(self):
        if (self.build / "compiled").is_dir():
            self.keep_as(programs(self.release), "compiled")
        self.keep_as(path(self.release), "out")

    def keep_as(self, where, folder):
        kind = where.name.rpartition("-")[0]
        for old in sorted(roots.CACHE.glob(f"{kind}-*"), key=os.path.getmtime)[:-KEPT + 1]:
            shutil.rmtree(old)
        new = where.with_name(f"{where.name}.{os.environ['RUPTIME_TEST_RUN']}")
        shutil.copytree(self.build / folder, new)
        try:
            new.rename(where)
        except OSError:
            # Somebody else has built the same meanwhile.
            shutil.rmtree(new)
