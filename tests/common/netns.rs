//! Network namespaces of a test's own (network_namespaces(7)), with wires between them.
//!
//! A namespace has no name: it is there as long as this process holds it open or something runs
//! in it, so nothing is left behind however a test ends. A thread enters one, and what it opens or
//! starts there stays there.

// Each test program uses its own part of this.
use std::fs::File;
use std::os::fd::AsRawFd;
use std::panic::resume_unwind;
use std::process::{Command, id};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

use crate::common::{is_installed, leave_out};

/// Runs `work` on a thread of its own, and gives what it gives, or panics as it panics.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        scope
            .spawn(work)
            .join()
            .unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// A network of its own: interfaces, addresses, routes, ports.
pub(crate) struct Namespace {
    file: File,
}

impl Namespace {
    /// A new one, with loopback only; or one line that says why it cannot be had here.
    pub(crate) fn new() -> Option<Namespace> {
        if !is_installed("ip", "iproute2") {
            return None;
        }
        let made = apart(|| {
            unshare(CloneFlags::CLONE_NEWNET).map(|()| File::open("/proc/thread-self/ns/net"))
        });
        let file = match made {
            Ok(file) => file.expect("/proc"),
            Err(errno) => {
                leave_out(&format!("network namespaces of our own: {errno}"));
                return None;
            }
        };
        let namespace = Namespace { file };
        // Addresses are there at once, and only those that a test gives.
        for (setting, value) in [
            ("ipv6/conf/all/accept_dad", "0"),
            ("ipv6/conf/default/accept_dad", "0"),
            ("ipv6/conf/default/addr_gen_mode", "1"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "0"),
        ] {
            namespace.set(setting, value);
        }
        namespace.ip("link set lo up");
        Some(namespace)
    }

    /// Does `work` in it.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        apart(|| {
            setns(&self.file, CloneFlags::CLONE_NEWNET).expect("a namespace of our own");
            work()
        })
    }

    /// Runs ip(8) in it.
    pub(crate) fn ip(&self, words: &str) {
        let output = self.enter(|| Command::new("ip").args(words.split_whitespace()).output());
        let output = output.expect("ip");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ip {words}: {told}");
    }

    /// Sets something below /proc/sys/net.
    fn set(&self, setting: &str, value: &str) {
        self.enter(|| std::fs::write(format!("/proc/sys/net/{setting}"), value))
            .expect(setting);
    }

    /// A wire to another one: an interface of this name in both, up.
    pub(crate) fn wire(&self, other: &Namespace, name: &str) {
        // ip(8) takes a path where it takes a name.
        let there = format!("/proc/{}/fd/{}", id(), other.file.as_raw_fd());
        self.ip(&format!(
            "link add {name} type veth peer name {name} netns {there}"
        ));
        for end in [self, other] {
            end.ip(&format!("link set {name} up"));
        }
    }

    /// Gives an interface addresses. An IPv4 one has its network's broadcast address.
    pub(crate) fn addresses(&self, name: &str, addresses: &[&str]) {
        for address in addresses {
            let how = if address.contains(':') {
                "nodad"
            } else if name == "lo" {
                ""
            } else {
                "broadcast +"
            };
            self.ip(&format!("address add {address} dev {name} {how}"));
        }
    }
}
