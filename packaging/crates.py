#!/usr/bin/env python3
"""The crates that are built in: brought along, and accounted for.

In: Cargo.lock, by way of cargo(1). Out, by subcommand:

  vendor DIR         the sources of all crates in DIR; those that no Linux needs as stubs
  copyright DIR      packaging/vendored-copyright for that DIR (DEP-5) on standard output, which takes the
                     place of packaging/debian/copyright where the crates are in the package
  licenses           a line for each crate that is built in: NAME VERSION: LICENSE
  bundled PROGRAM    the spec's Provides for the crates that are linked into the program

It exists because a distribution builds without a network, ships no Windows libraries among its
sources, and wants every licence told.
"""

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# A crate that none of these needs is never compiled.
PLATFORMS = [
    *(f"{cpu}-unknown-linux-{libc}" for cpu in ("x86_64", "aarch64", "i686") for libc in ("gnu", "musl")),
    "armv7-unknown-linux-gnueabihf", "arm-unknown-linux-gnueabi", "powerpc64le-unknown-linux-gnu",
    "riscv64gc-unknown-linux-gnu", "s390x-unknown-linux-gnu", "loongarch64-unknown-linux-gnu",
]

# The feature that each is built with.
PROGRAMS = {"ruptime": "client", "ruptimed": "daemon"}

LICENSE_FILE = re.compile(r"(?i)^(un)?licen[cs]e|^copying|^copyright|^notice")
TARGET_SECTION = re.compile(r"^\[\[?(lib|bin|example|test|bench)\]")


def cargo(*args):
    done = subprocess.run(["cargo", *args], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        # It has said why.
        sys.exit(f"crates.py: cargo {args[0]} failed")
    return done.stdout


def metadata(*args):
    return json.loads(cargo("metadata", "--format-version=1", "--locked", *args))


def is_ours(package):
    return package["source"] is None


def needed():
    """The ids of the packages that are compiled on some Linux, tests included."""
    return {node["id"] for platform in PLATFORMS
            for node in metadata("--filter-platform", platform)["resolve"]["nodes"]}


def built_in():
    """The packages that end up in the programs, or run while they are built."""
    data = metadata("--filter-platform", PLATFORMS[0])
    nodes = {node["id"]: node for node in data["resolve"]["nodes"]}
    reached, waiting = set(), [data["resolve"]["root"]]
    while waiting:
        if (package := waiting.pop()) not in reached:
            reached.add(package)
            waiting += [dep["pkg"] for dep in nodes[package]["deps"]
                        if any(kind["kind"] != "dev" for kind in dep["dep_kinds"])]
    return [package for package in data["packages"] if package["id"] in reached]


def linked(program):
    """Name and version of each crate that ends up in one program."""
    lines = cargo("tree", "--locked", "--edges=normal,no-proc-macro", "--prefix=none", "--format={p}",
                  f"--target={PLATFORMS[0]}", "--no-default-features", f"--features={PROGRAMS[program]}")
    ours, *others = [line.split()[:2] for line in lines.splitlines() if line]
    return sorted({(name, version[1:]) for name, version in others if name != ours[0]})


# vendor

def vendor(directory):
    keep = needed()
    directory = directory.absolute()
    # What it prints is a configuration for the network that it has used.
    cargo("vendor", "--locked", "--quiet", "--versioned-dirs", str(directory))
    for package in metadata()["packages"]:
        if not is_ours(package) and package["id"] not in keep:
            stub(directory / f"{package['name']}-{package['version']}")


def stub(crate):
    """Leaves of a crate what cargo must see to accept Cargo.lock, and its licence. The checksum of
    the whole crate stays, which is the one that Cargo.lock names."""
    for entry in crate.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name not in ("Cargo.toml", ".cargo-checksum.json") and not LICENSE_FILE.match(entry.name):
            entry.unlink()
    manifest, skip = [], False
    for line in (crate / "Cargo.toml").read_text().splitlines():
        if line.startswith("["):
            skip = bool(TARGET_SECTION.match(line))
        if not skip and not re.match(r"(build|links|autolib) = ", line):
            manifest.append(line)
    (crate / "Cargo.toml").write_text("\n".join(manifest) + "\n")
    (crate / "src").mkdir()
    (crate / "src/lib.rs").write_text("// Not needed on Linux.\n")
    checksum = json.loads((crate / ".cargo-checksum.json").read_text())
    (crate / ".cargo-checksum.json").write_text(json.dumps({**checksum, "files": {}}))


# licences

def licenses():
    for package in sorted(built_in(), key=lambda package: package["name"]):
        if not is_ours(package):
            print(f"{package['name']} {package['version']}: {package['license']}")


def bundled(program):
    for name, version in linked(program):
        print(f"Provides:       bundled(crate({name})) = {version}")


# copyright

OWN = ROOT / "packaging/debian/copyright"

COMMENT = """\
Comment: The crates below vendor/ are in the orig-vendor tarball, as crates.io has them, but for what
 debian/README.source tells. Made by packaging/crates.py.
"""

COMMON = """\
License: Apache-2.0
 On Debian systems the full text of the Apache License 2.0 is in
 /usr/share/common-licenses/Apache-2.0.

License: LGPL-2.1+
 On Debian systems the full text of the GNU Lesser General Public License 2.1 is
 in /usr/share/common-licenses/LGPL-2.1.
"""

# Licences whose text is not on every Debian: where it is, from its first line on.
TEXTS = {
    "MIT": ("LICENSE-MIT", "Permission is hereby granted"),
    "BSD-2-Clause": ("zerocopy-*/LICENSE-BSD", "Redistribution and use"),
    "BSD-3-Clause": ("subtle-*/LICENSE", "Redistribution and use"),
    "Unlicense": ("memchr-*/UNLICENSE", "This is free"),
    "Unicode-3.0": ("unicode-ident-*/LICENSE-UNICODE", "UNICODE LICENSE V3"),
    "Unicode-DFS-2016": ("regex-syntax-*/src/unicode_tables/LICENSE-UNICODE", "UNICODE, INC. LICENSE"),
    "Apache-2.0-with-LLVM-exception": ("rustix-*/LICENSE-Apache-2.0_WITH_LLVM-exception", "--- LLVM Exceptions"),
}

# Parts of a crate that are under another licence: the licence's own file below the crate's top ->
# the licence. Another such file has to be read first.
NESTED = {
    "regex-syntax": {"src/unicode_tables/LICENSE-UNICODE": "Unicode-DFS-2016"},
}


def debian_license(expression):
    """SPDX -> DEP-5, which has no parentheses: `A or B, and C`."""
    text = expression.replace("/", " OR ").replace(" WITH ", "-with-").replace("LGPL-2.1-or-later", "LGPL-2.1+")
    text = re.sub(r"\(([^()]*)\) AND ", r"\1, AND ", text)
    if "(" in text:
        sys.exit(f"cannot write in DEP-5: {expression}")
    return text.replace(" OR ", " or ").replace(" AND ", " and ")


def license_files(crate):
    """Those of the crate as a whole, and those of its parts."""
    found = [file for file in sorted(crate.rglob("*")) if file.is_file() and file.suffix != ".rs"
             and any(LICENSE_FILE.match(part) for part in file.relative_to(crate).parts)]
    return ([file for file in found if file.parent == crate], [file for file in found if file.parent != crate])


LINE = re.compile(r"\W*(?:SPDX-FileCopyrightText:|Copyright:?)\s+(?:\([cC]\)\s*|©\s*)*(\d{4}.*|[A-Z].*)")


def holders(files):
    """The copyright lines of licence files."""
    found = set()
    for file in files:
        for line in file.read_text(errors="replace").splitlines():
            if match := LINE.fullmatch(line.rstrip()):
                # Without HTML, ends of comments, and words that go on in the next line.
                found.add(re.sub(r"<br>|\*/|-->|\. See the COPYRIGHT", "", match[1]).rstrip(". ,"))
    return found - {"notice", "License"}


def sources(crate):
    """The files of the program, which have copyright lines of their own at times."""
    return [file for file in sorted(crate.rglob("*")) if file.suffix in (".rs", ".c", ".h", ".sh", ".py")]


def stanza(files, names, expression):
    lines = "\n           ".join(names)
    return f"\nFiles: {files}\nCopyright: {lines}\nLicense: {expression}\n"


def nested_stanzas(name, crates, files):
    """Those of the parts of a crate, which go after the crate's own."""
    made = {}
    for file in files:
        crate = next(crate for crate in crates if crate in file.parents)
        within = file.relative_to(crate)
        if not (expression := NESTED.get(name, {}).get(str(within))):
            sys.exit(f"{file}: a licence of a part of the crate that is not known here (NESTED)")
        made[f"vendor/{name}-*/{within.parent}/*"] = (sorted(holders([file])), expression)
    return made


def copyright_file(directory):
    stanzas = {}
    for package in metadata()["packages"]:
        if not is_ours(package):
            stanzas.setdefault(package["name"], []).append(package)
    own, _, licenses = OWN.read_text().partition("\nFiles: ")
    own_files, _, licenses = licenses.partition("\n\nLicense: ")
    text, used = f"{own}{COMMENT}\nFiles: {own_files}\n", {"MIT", "Apache-2.0"}
    for name, packages in sorted(stanzas.items()):
        crates = [directory / f"{name}-{package['version']}" for package in packages]
        files = [license_files(crate) for crate in crates]
        names = sorted(holders(file for whole, _ in files for file in whole)
                       | holders(file for crate in crates for file in sources(crate))) or sorted(
            {author for package in packages for author in package["authors"]}) or sorted(
            {f"contributors to {package['repository']}, which names no holder" for package in packages})
        expressions = {debian_license(package["license"]) for package in packages}
        if len(expressions) > 1:
            sys.exit(f"{name}: its versions have different licences: {expressions}")
        expression = expressions.pop()
        used.update(word.rstrip(",") for word in expression.split())
        text += stanza(f"vendor/{name}-*", names, expression)
        for part, (names, expression) in nested_stanzas(name, crates, [f for _, parts in files for f in parts]).items():
            used.add(expression)
            text += stanza(part, names, expression)
    for name, (pattern, first) in TEXTS.items():
        if name in used:
            base = ROOT if name == "MIT" else directory
            text += license_text(name, next(base.glob(pattern)), first)
    print(text, COMMON, sep="\n", end="")


def license_text(name, file, first):
    whole = file.read_text()
    body = whole[whole.index(first):].rstrip()
    return f"\nLicense: {name}\n" + "".join(f" {line.rstrip() or '.'}\n" for line in body.splitlines())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("vendor", "copyright"):
        commands.add_parser(name).add_argument("directory", type=pathlib.Path)
    commands.add_parser("licenses")
    commands.add_parser("bundled").add_argument("program", choices=PROGRAMS)
    args = vars(parser.parse_args())
    # Python 3.9 of RHEL 9 has no match.
    {"vendor": vendor, "copyright": copyright_file, "licenses": licenses, "bundled": bundled}[args.pop("command")](
        **args)


if __name__ == "__main__":
    main()
