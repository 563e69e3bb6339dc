//! Datagrams that say they come from somebody else.

// Each test program uses its own part of this.
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, sendto, socket,
};

const UDP: u8 = 17;

/// A raw socket of each family, for whole packets (raw(7), ipv6(7)). Only root has any.
pub(crate) struct Forger {
    v4: OwnedFd,
    v6: OwnedFd,
}

impl Forger {
    /// In the namespace of this thread.
    pub(crate) fn new() -> Forger {
        let raw = |family| {
            socket(
                family,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                SockProtocol::Raw,
            )
            .expect("a raw socket")
        };
        Forger {
            v4: raw(AddressFamily::Inet),
            v6: raw(AddressFamily::Inet6),
        }
    }

    /// Sends a datagram of one byte. What finds no room on its way is lost, as in any flood.
    pub(crate) fn send(&self, from: SocketAddr, to: SocketAddr) {
        let (fd, packet) = match (from.ip(), to.ip()) {
            (IpAddr::V4(from_ip), IpAddr::V4(to_ip)) => {
                let udp = udp(from.port(), to.port(), 0);
                (&self.v4, v4(from_ip.octets(), to_ip.octets(), &udp))
            }
            (IpAddr::V6(from_ip), IpAddr::V6(to_ip)) => {
                let (from_ip, to_ip) = (from_ip.octets(), to_ip.octets());
                let mut datagram = udp(from.port(), to.port(), 0);
                let sum = checksum(&[&from_ip, &to_ip, &[0, 0, 0, 9, 0, 0, 0, UDP], &datagram]);
                datagram = udp(from.port(), to.port(), sum);
                (&self.v6, v6(from_ip, to_ip, &datagram))
            }
            _ => panic!("two families: {from} and {to}"),
        };
        // The port has no meaning for a raw socket, and must be 0.
        let to = SockaddrStorage::from(SocketAddr::new(to.ip(), 0));
        match sendto(fd.as_raw_fd(), &packet, &to, MsgFlags::empty()) {
            Ok(_) | Err(Errno::ENOBUFS) => {}
            Err(errno) => panic!("a forged datagram from {from}: {errno}"),
        }
    }
}

/// RFC 768: a header, and one byte.
fn udp(from: u16, to: u16, sum: u16) -> Vec<u8> {
    let words = [from, to, 9, sum];
    let mut datagram: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    datagram.push(0);
    datagram
}

/// RFC 791. The kernel fills in the length, the identification and the checksum; without a
/// checksum of its own the datagram goes through over IPv4.
fn v4(from: [u8; 4], to: [u8; 4], datagram: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, UDP, 0, 0];
    packet.extend(from.iter().chain(&to).chain(datagram));
    packet
}

/// RFC 8200.
fn v6(from: [u8; 16], to: [u8; 16], datagram: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, datagram.len() as u8, UDP, 64];
    packet.extend(from.iter().chain(&to).chain(datagram));
    packet
}

/// RFC 1071, where 0 is written as all ones (RFC 768).
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u32 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    match !(sum as u16) {
        0 => 0xffff,
        sum => sum,
    }
}
