#!/usr/bin/env python3
"""Asks many times at once, and counts what came of each question.

In: a target (HOST:PORT, udp:HOST:PORT or a path of a UNIX socket), how many questions and how many
of them at once. Out: one JSON object on standard output, with every question accounted for:
answered, or lost and why. It exists because "nothing lost" can only be said by whoever counts, and
it needs nothing but Python, since it runs on the host's file system inside a test machine's network.

Bounded by --count and --seconds; with --until-eof it also ends when standard input does, but not
before --least questions.
"""

import argparse
import asyncio
import collections
import json
import random
import re
import resource
import socket
import sys
import time

REPLY_LIMIT = 64 * 1024


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target")
    parser.add_argument("--count", type=int, default=1000, help="questions in all")
    parser.add_argument("--at-once", type=int, default=16, help="questions at once")
    parser.add_argument("--seconds", type=float, default=60, help="no new question after so long")
    parser.add_argument("--patience", type=float, default=60, help="seconds to wait for one answer")
    parser.add_argument("--pause", type=float, default=0,
                        help="at most so many seconds between a client's questions, by chance")
    parser.add_argument("--until-eof", action="store_true", help="end when standard input does")
    parser.add_argument("--least", type=int, default=0, help="with --until-eof: at least so many questions")
    parser.add_argument("--burst", type=int, default=1, help="a client asks so many questions at a time")
    parser.add_argument("--send", default="", help="send this before reading (streams)")
    parser.add_argument("--expect", default=r"\A \d\d:\d\d:\d\d up .* load average: .*\n\Z",
                        help="what an answer looks like, as a regular expression")
    parser.add_argument("--source", default="", help="ask from this address")
    return parser.parse_args()


class Load:
    """The tally, and the clients that fill it."""

    def __init__(self, args):
        self.args = args
        self.expect = re.compile(args.expect, re.DOTALL)
        self.started = 0
        self.answered = 0
        self.lost = collections.Counter()
        self.slowest = 0.0
        self.stop = False
        self.end = time.monotonic() + args.seconds

    def next(self):
        """Counts one more question; False when no more are to be asked."""
        count = self.args.least if self.stop else self.args.count
        if self.started >= count or time.monotonic() >= self.end:
            return False
        self.started += 1
        return True

    async def client(self):
        while any(await asyncio.gather(*(self.question() for _ in range(self.args.burst)))):
            if self.args.pause:
                await asyncio.sleep(random.uniform(0, self.args.pause))

    async def question(self):
        """Asks once, and counts what came of it; False when no more are to be asked."""
        if not self.next():
            return False
        began = time.monotonic()
        try:
            reply = await asyncio.wait_for(self.ask(), self.args.patience)
            outcome = None if self.expect.search(reply) else f"answer {reply[:80]!r}"
        except asyncio.TimeoutError:
            outcome = "no answer in time"
        except OSError as error:
            outcome = error.strerror or str(error)
        if outcome is None:
            self.answered += 1
            self.slowest = max(self.slowest, time.monotonic() - began)
        else:
            self.lost[outcome] += 1
        return True

    async def ask(self):
        loop = asyncio.get_running_loop()
        target = self.args.target
        if target.startswith("/"):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                sock.setblocking(False)
                await connect_unix(sock, target)
                return await self.read_all(loop, sock)
        kind = socket.SOCK_DGRAM if target.startswith("udp:") else socket.SOCK_STREAM
        host, port = target.removeprefix("udp:").rsplit(":", 1)
        host = host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, kind) as sock:
            sock.setblocking(False)
            if self.args.source:
                sock.bind((self.args.source, 0))
            await loop.sock_connect(sock, (host, int(port)))
            if kind == socket.SOCK_STREAM:
                return await self.read_all(loop, sock)
            await loop.sock_sendall(sock, b"\0")
            return (await loop.sock_recv(sock, REPLY_LIMIT)).decode(errors="replace")

    async def read_all(self, loop, sock):
        if self.args.send:
            await loop.sock_sendall(sock, self.args.send.encode())
        reply = b""
        while chunk := await loop.sock_recv(sock, 4096):
            reply += chunk
            if len(reply) > REPLY_LIMIT:
                break
        return reply.decode(errors="replace")

    async def run(self):
        if self.args.until_eof:
            loop = asyncio.get_running_loop()
            loop.add_reader(sys.stdin, self.ended, loop)
        await asyncio.gather(*(self.client() for _ in range(self.args.at_once)))

    def ended(self, loop):
        if not sys.stdin.buffer.raw.read(1):
            self.stop = True
            loop.remove_reader(sys.stdin)


async def connect_unix(sock, path):
    """A full backlog is EAGAIN to a non-blocking connect of a UNIX socket (connect(2)), where a
    blocking one would wait: wait in its stead."""
    while True:
        try:
            return sock.connect(path)
        except BlockingIOError:
            await asyncio.sleep(0.01)


def main():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    load = Load(arguments())
    began = time.monotonic()
    asyncio.run(load.run())
    json.dump({"asked": load.started, "answered": load.answered, "lost": load.lost,
               "seconds": round(time.monotonic() - began, 3),
               "slowest": round(load.slowest, 3)}, sys.stdout)


if __name__ == "__main__":
    main()
