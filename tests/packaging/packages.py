"""Builds the packages of each release and tests them; says how many tests passed.

In: releases, and optionally words that select tests. Out: a line per test, the reason of each
failure with what the machine's journal says, and the closing line `N passed, N failed`; status 0
when none failed. Started by ./run, in namespaces of its own.
"""

import argparse
import importlib
import os
import pathlib
import signal
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "system"))

import build  # noqa: E402
import roots  # noqa: E402
from case import SystemTest  # noqa: E402
from suite import Result, interrupted, private_mounts  # noqa: E402


def arguments():
    parser = argparse.ArgumentParser(prog="tests/packaging/run", description=__doc__.splitlines()[0])
    parser.add_argument("--build", action="store_true", help="build the packages that are missing, and test nothing")
    parser.add_argument("release", nargs="?", default="all", choices=[*roots.RELEASES, "all"])
    parser.add_argument("word", nargs="*", help="run only tests whose name has one of these")
    return parser.parse_args()


def buildable(releases):
    """Without those whose packages cannot be built here."""
    if "bookworm" in releases and build.rust() is None:
        print("left out: the packages for Debian 12, which need a Rust in a folder of its own (rustup)",
              file=sys.stderr)
        if os.environ.get("CI") == "true":
            raise SystemExit(1)
        return [release for release in releases if release != "bookworm"]
    return releases


def tests_of(release, words):
    """Every test class that is for this release, made anew for it."""
    suite = unittest.TestSuite()
    for module in sorted(HERE.glob("test_*.py")):
        for name, made in vars(importlib.import_module(module.stem)).items():
            if not (isinstance(made, type) and made.__module__ == module.stem
                    and release in getattr(made, "releases", ())):
                continue
            case = type(name, (made,), {"release": release, "packages": build.path(release)})
            tests = unittest.defaultTestLoader.loadTestsFromTestCase(case)
            suite.addTests(test for test in tests
                           if not words or any(word in str(test) for word in words))
    return suite


def main():
    args = arguments()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, interrupted)
    releases = roots.available(list(roots.RELEASES) if args.release == "all" else [args.release])
    releases = buildable(releases)
    names = [name for release in releases for name in (release, f"{release}-build")]
    began = time.monotonic()
    with roots.ready(names):
        private_mounts()
        try:
            build.ready(releases)
            if args.build:
                return 0
            suite = unittest.TestSuite(tests_of(release, args.word) for release in releases)
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
