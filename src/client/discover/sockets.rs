//! The sockets of a search: one for each family that is asked in.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockType, setsockopt, sockopt};

use super::networks::Probe;
use crate::client::query::failure::Failure;
use crate::client::query::socket::{self, Socket};

/// Room for the answers of a whole network at once, bytes; what the system gives of it is enough.
const RECEIVE_BUFFER: usize = 1 << 20;

/// None: this family is not asked in.
pub(super) struct Sockets {
    pub(super) v4: Option<Socket>,
    pub(super) v6: Option<Socket>,
}

impl Sockets {
    pub(super) fn open(probes: &[Probe]) -> Result<Sockets, Errno> {
        let any = |v4: bool| probes.iter().any(|probe| probe.to.is_ipv4() == v4);
        let v4 = any(true).then(|| {
            let fd = prepared(AddressFamily::Inet)?;
            // Without it a send to a broadcast address is EACCES, ip(7).
            setsockopt(&fd, sockopt::Broadcast, &true)?;
            Socket::watch(fd)
        });
        let v6 = any(false).then(|| Socket::watch(prepared(AddressFamily::Inet6)?));
        match (v4, v6) {
            // A family that the kernel does not have is no obstacle to the other.
            (Some(Err(errno)), None | Some(Err(_))) | (None, Some(Err(errno))) => Err(errno),
            (v4, v6) => Ok(Sockets {
                v4: v4.and_then(Result::ok),
                v6: v6.and_then(Result::ok),
            }),
        }
    }

    /// Sends every question once; an error only if none went out.
    pub(super) fn send_all(&self, probes: &[Probe]) -> Result<(), String> {
        let mut last = Errno::ENETUNREACH;
        let mut sent = false;
        for probe in probes {
            let socket = if probe.to.is_ipv4() {
                &self.v4
            } else {
                &self.v6
            };
            let Some(socket) = socket else { continue };
            match socket.ask_everybody(probe.to, probe.interface, probe.from) {
                Ok(()) => sent = true,
                Err(errno) => last = errno,
            }
        }
        if sent {
            Ok(())
        } else {
            Err(Failure::Os(last).reason())
        }
    }
}

fn prepared(family: AddressFamily) -> Result<OwnedFd, Errno> {
    let fd = socket::open(family, SockType::Datagram)?;
    // Bounded by net.core.rmem_max; the default size does for a small network.
    let _ = setsockopt(&fd, sockopt::RcvBuf, &RECEIVE_BUFFER);
    Ok(fd)
}
