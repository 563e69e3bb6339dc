"""Runs the tests on each release, and says how many passed.

In: releases, and optionally words that select tests. Out: a line per test, the reason of each
failure with what the machine's journal says, and the closing line `N passed, N failed`; status 0
when none failed. Started by ./run, in namespaces of its own.
"""

import argparse
import importlib
import os
import pathlib
import signal
import subprocess
import sys
import time
import unittest

import cost
import roots
from case import REPOSITORY, SystemTest
from machine import CGROUPS, HERE, Machine, mount, remove_dead_cgroups

# Half of the time of all; with "all", Debian testing goes without, and has them where it is named.
LONG = {"test_load"}

INSTALLED = pathlib.Path("/run/installed")


def arguments():
    parser = argparse.ArgumentParser(prog="tests/system/run", description=__doc__.splitlines()[0])
    parser.add_argument("release", nargs="?", default="all", choices=[*roots.RELEASES, "all"])
    parser.add_argument("--cost", type=int, metavar="ROUNDS",
                        help="test nothing, but measure what each directive of the sandbox costs")
    parser.add_argument("word", nargs="*", help="run only tests whose name has one of these")
    return parser.parse_args()


def interrupted(number, _frame):
    """unittest takes any other exception for a failure of the test, and goes on."""
    raise KeyboardInterrupt(signal.Signals(number).name)


def private_mounts():
    """What systemd in a container asks of its host, made for this run alone: one cgroup hierarchy
    (systemd 256 and newer refuse the mixed layout), and a /run to keep the machines in."""
    subprocess.run(["umount", "-R", str(CGROUPS)], check=True)
    mount("-t", "cgroup2", "none", str(CGROUPS))
    remove_dead_cgroups()
    mount("-t", "tmpfs", "-o", "mode=0755", "none", "/run")
    pathlib.Path("/run/systemd/nspawn").mkdir(parents=True)


def install(release):
    """The tree that a package of this release would install, as a layer over its root."""
    subprocess.run(["make", "-s", "-C", str(REPOSITORY), "install", f"DESTDIR={INSTALLED / release}", "PREFIX=/usr",
                    f"SYSTEMD_VERSION={roots.RELEASES[release]}", f"BUILT={os.environ['RUPTIME_BIN_DIR']}"],
                   check=True, stdout=subprocess.DEVNULL)


class Result(unittest.TextTestResult):
    """A line per test with its time, and the journal of a test that failed."""

    def startTest(self, test):
        super().startTest(test)
        test.began = time.monotonic()

    def getDescription(self, test):
        return str(test)

    def addSuccess(self, test):
        super().addSuccess(test)
        print(f"        {time.monotonic() - test.began:.1f} s", flush=True)

    def journal(self, test):
        if isinstance(test, SystemTest):
            print(test.what_happened(), flush=True)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.journal(test)

    def addError(self, test, err):
        super().addError(test, err)
        self.journal(test)


def tests_of(release, words, without=()):
    """Every test class, made anew for this release."""
    suite = unittest.TestSuite()
    for module in sorted(HERE.glob("test_*.py")):
        if module.stem in without:
            continue
        for name, made in vars(importlib.import_module(module.stem)).items():
            if not (isinstance(made, type) and issubclass(made, SystemTest)) or made is SystemTest:
                continue
            case = type(name, (made,), {"release": release, "installed": INSTALLED / release})
            tests = unittest.defaultTestLoader.loadTestsFromTestCase(case)
            suite.addTests(test for test in tests
                           if not words or any(word in str(test) for word in words))
    return suite


def measure(releases, rounds):
    for release in releases:
        machine = Machine(f"{release}-cost", roots.path(release), INSTALLED / release)
        try:
            machine.boot()
            print(release)
            cost.measure(machine, rounds)
        finally:
            machine.power_off()


def main():
    args = arguments()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, interrupted)
    releases = roots.available(list(roots.RELEASES) if args.release == "all" else [args.release])
    began = time.monotonic()
    with roots.ready(releases):
        private_mounts()
        for release in releases:
            install(release)
        if args.cost:
            return measure(releases, args.cost)
        suite = unittest.TestSuite(
            tests_of(release, args.word, LONG if args.release == "all" and release == roots.TESTING else ())
            for release in releases)
        try:
            result = unittest.TextTestRunner(sys.stdout, verbosity=2, resultclass=Result).run(suite)
        except KeyboardInterrupt as signalled:
            raise SystemExit(f"ended by {signalled}") from None
        finally:
            SystemTest.power_off_all()
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    if releases and result.testsRun == 0:
        raise SystemExit("no test has such a name")
    print(f"{', '.join(releases)}: {time.monotonic() - began:.0f} s")
    print(f"{result.testsRun - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
