"""A local user passes descriptors whose last close takes days: nobody else waits, and the units stop."""

import array
import contextlib
import socket
import struct
import threading
import time

from case import TCP, UNIX, SystemTest

# Messages at once, each with one of those descriptors.
MESSAGES = 40
# Seconds that TimeoutStopSec= allows; a stop that is not held up takes a fraction of one.
ALLOWED = 20


def lingering():
    """A TCP socket whose last close sleeps for eleven days, and its other end, which is to be kept."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    ours.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            ours.send(bytes(65536))
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 1_000_000))
    return ours, theirs


class PassedDescriptors(SystemTest):

    def attack(self, keep):
        """Connects and passes a descriptor; whatever is refused is refused."""
        for number in range(MESSAGES):
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(self.machine.path(UNIX)))
            ours, theirs = lingering()
            passed = array.array("i", [ours.fileno()])
            try:
                client.sendmsg([b"?"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)])
            except OSError:
                # Closed here, which must not sleep.
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
            keep.callback(theirs.close)
            # Where the message has gone already, this is the last close, and sleeps until then.
            threading.Thread(target=ours.close, daemon=True).start()
            if number % 2:
                client.close()
            else:
                keep.callback(client.close)

    def test_nobody_waits_and_the_units_stop(self):
        self.machine.dropin("ruptime.socket", "[Socket]\nSocketMode=0666\n")
        self.started()
        with contextlib.ExitStack() as keep:
            # The first of them start the daemon: what they pass is queued before it can refuse.
            self.attack(keep)
            for target in (TCP, UNIX):
                self.assert_all_answered(self.load(target, count=40, at_once=4).result())
            self.attack(keep)
            begin = time.monotonic()
            self.machine.systemctl("stop", "ruptime.socket", "ruptime.service")
            self.assertLess(time.monotonic() - begin, ALLOWED)
        self.assert_no_unit_failed()
