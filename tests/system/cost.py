"""What each directive of the sandbox costs, and what it is worth.

In: a booted machine with ruptime.service. Out: a table on standard output: per directive the overall
exposure without it, and the cost of a cold start (from the first connection to its last byte, with
no daemon running) with the whole sandbox, as a multiple of the cost without this one directive.

A directive that is set in one unit is unset in its copy; the copies take turns, so that a busy
moment hurts all alike. The time is the lower quartile, the processor time (the machine's own,
systemd's part included) the median.
"""

import re
import socket
import statistics
import time

SERVICE = "usr/lib/systemd/system/ruptime.service"
# Enough for the daemon to leave (it does after 50 ms) and for its namespaces to be taken down.
REST = 0.25
# How to unset what is not a boolean.
UNSET = {"UMask": "0022", "CapabilityBoundingSet": "~", "AmbientCapabilities": None,
         "ProtectProc": "default", "RestrictAddressFamilies": "", "KeyringMode": "inherit",
         "DevicePolicy": "auto", "SystemCallArchitectures": "", "SystemCallFilter": "",
         "SystemCallErrorNumber": None, "IPAddressDeny": "", "TemporaryFileSystem": None,
         "BindReadOnlyPaths": None}
# Those that systemd implies (DynamicUser=) or that one namespace serves: unset together.
TOGETHER = {
    "TemporaryFileSystem": "TemporaryFileSystem|BindReadOnlyPaths",
    "everything": None,
    "all of seccomp(2)": r"SystemCall|Restrict|LockPers|MemoryDeny|ProtectClock|ProtectHostname|"
                         r"ProtectKernel(Logs|Modules|Tunables)",
    "all mounts": r"Private(Devices|Tmp|Mounts)|TemporaryFileSystem|BindReadOnlyPaths|Protect(System|Home|Proc|Control|Kernel|Hostname)|"
                  r"DynamicUser",
}


def variants(text):
    """Names and texts of the service as it is, and with one directive or one group unset."""
    head, sandbox = text.split("# The sandbox", 1)
    head = re.sub("(?m)^ExecStart=.*", "ExecStart=/usr/sbin/ruptimed --idle-timeout 0.05", head)
    head = re.sub("(?m)^(Requisite|After)=.*\n", "", head)
    lines = [line for line in sandbox.splitlines() if re.match(r"\w+=", line)]
    names = list(dict.fromkeys(line.split("=")[0] for line in lines))
    yield "", head + "\n".join(lines)
    for name in names:
        if UNSET.get(name, "no") is not None:
            yield name, head + unset(lines, name)
    for name, pattern in TOGETHER.items():
        yield name, head + unset(lines, pattern or ".*")


def unset(lines, pattern):
    kept = [line for line in lines if not re.match(pattern, line)]
    for name in dict.fromkeys(line.split("=")[0] for line in lines if re.match(pattern, line)):
        if (value := UNSET.get(name, "no")) is not None:
            kept.append(f"{name}={value}")
    return "\n".join(kept)


def ask(path):
    """Seconds to the last byte."""
    began = time.monotonic()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(path)
        reply = b""
        while chunk := sock.recv(4096):
            reply += chunk
    if b"load average" not in reply:
        raise SystemExit(f"no answer at {path}: {reply!r}")
    return time.monotonic() - began


def processor_time(machine):
    return int(re.search(r"usage_usec (\d+)", (machine.cgroup / "cpu.stat").read_text())[1]) / 1e6


def measure(machine, rounds):
    etc = machine.root / "etc/systemd/system"
    units = {}
    for number, (name, text) in enumerate(variants((machine.root / SERVICE).read_text())):
        units[name] = f"cost{number}"
        (etc / f"cost{number}.service").write_text(text + "\n")
        (etc / f"cost{number}.socket").write_text(
            f"[Socket]\nListenStream=/run/cost{number}.sock\nTriggerLimitIntervalSec=0\n")
    machine.systemctl("daemon-reload")
    machine.systemctl("start", *(f"{unit}.socket" for unit in units.values()))
    times, processor = {name: [] for name in units}, {name: [] for name in units}
    for _ in range(rounds):
        for name, unit in units.items():
            before = processor_time(machine)
            times[name].append(ask(str(machine.path(f"/run/{unit}.sock"))))
            time.sleep(REST)
            processor[name].append(processor_time(machine) - before)
    report(machine, units, {name: statistics.quantiles(values)[0] for name, values in times.items()},
           {name: statistics.median(values) for name, values in processor.items()})


def report(machine, units, times, processor):
    print(f"whole sandbox: {times[''] * 1000:.1f} ms, {processor[''] * 1000:.1f} ms of a processor")
    print("| without | exposure | time | processor |\n|---|---|---|---|")
    for name, unit in units.items():
        out = machine.run("systemd-analyze", "security", "--no-pager", f"{unit}.service").stdout
        exposure = re.search(r"exposure level for \S+: ([\d.]+)", out)[1]
        print(f"| {name or '(nothing)'} | {exposure} | {times[''] / times[name]:.2f} "
              f"| {processor[''] / processor[name]:.2f} |")
