"""The file trees that the test machines boot from.

In: a Debian release. Out: the path of a minimal root with that release's systemd, made by
mmdebstrap once and kept in a cache outside the source tree; it is only ever read (machine.py lays a
file system of its own over it). It exists so that a second run starts at once.
"""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

# The systemd of each.
RELEASES = {"bookworm": "252", "trixie": "257", "forky": "262"}

# Debian's testing distribution, which not every mirror has.
TESTING = "forky"

# procps has uptime; libpam-systemd makes a login a session, which uptime counts; tzdata is for a
# local time that is not UTC; prometheus-node-exporter reads what ruptime-metrics.service writes.
PACKAGES = ["systemd", "systemd-sysv", "dbus", "procps", "iproute2", "libpam-systemd", "tzdata",
            "prometheus-node-exporter"]

# Each root's release and packages, by its name; others may add theirs.
ROOTS = {release: (release, PACKAGES) for release in RELEASES}

CACHE = pathlib.Path(os.environ.get("RUPTIME_TEST_CACHE") or "/var/cache/ruptime-tests")

MAKE_TIMEOUT = 600

# A mirror's index of testing may be older than it is valid.
CHECK_VALID_UNTIL = '--aptopt=Acquire::Check-Valid-Until "false"'


def path(name):
    """Where the root of this name is kept. Another list of packages, or another way to make it
    (this file), is another root."""
    text = " ".join(ROOTS[name][1]).encode() + pathlib.Path(__file__).read_bytes()
    return CACHE / f"{name}-{hashlib.sha256(text).hexdigest()[:16]}"


@contextlib.contextmanager
def ready(names):
    """Makes the roots that are missing, and keeps other runs from removing them meanwhile."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        if missing := [name for name in names if not path(name).is_dir()]:
            print(f"making {', '.join(missing)} in {CACHE}", flush=True)
            # Waits for runs that still use what is there now.
            fcntl.flock(lock, fcntl.LOCK_EX)
            make([name for name in missing if not path(name).is_dir()])
            fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def available(releases):
    """Without Debian testing where the mirror does not have it."""
    if TESTING not in releases or path(TESTING).is_dir():
        return releases
    simulated = subprocess.run(
        ["mmdebstrap", "--simulate", "--variant=essential", CHECK_VALID_UNTIL, TESTING, "/dev/null"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=MAKE_TIMEOUT)
    if simulated.returncode == 0:
        return releases
    print(f"left out: {TESTING}, which the mirror does not have: "
          + (simulated.stderr.strip().splitlines() or ["no reason"])[-1], file=sys.stderr)
    if os.environ.get("CI") == "true":
        raise SystemExit(1)
    return [release for release in releases if release != TESTING]


def make(names):
    """Makes roots side by side, in place only once they are whole; removes what they replace."""
    running = []
    try:
        for name in names:
            new = CACHE / f"{name}-new"
            # Of another key, or of a run that was killed.
            for old in [*CACHE.glob(f"{name}-{'[0-9a-f]' * 16}"), *CACHE.glob(new.name)]:
                shutil.rmtree(old)
            log = open(CACHE / f"{name}.log", "wb")
            release, packages = ROOTS[name]
            command = ["mmdebstrap", "--variant=minbase", f"--include={','.join(packages)}"]
            if release == TESTING:
                command.append(CHECK_VALID_UNTIL)
            command += [release, str(new)]
            running.append((name, new, log, subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)))
        for name, new, log, process in running:
            if process.wait(MAKE_TIMEOUT) != 0:
                raise SystemExit(f"cannot make a root of {name}; mmdebstrap says in {log.name}:\n"
                                 + pathlib.Path(log.name).read_text(errors="replace")[-2000:])
            furnish(new)
            new.rename(path(name))
    finally:
        for _name, new, log, process in running:
            if process.poll() is None:
                process.terminate()
                process.wait()
            log.close()
            shutil.rmtree(new, ignore_errors=True)


def furnish(root):
    """What a minimal root lacks: names for the loopback, and an identity to be found at boot."""
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    (root / "etc/machine-id").write_text("")
    # Started only by the tests that are about it.
    for enabled in (root / "etc/systemd/system").glob("*.wants/prometheus-*"):
        enabled.unlink()
