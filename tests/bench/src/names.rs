//! In: an address and a delay. Out: a name server (RFC 1035) that knows every name: 127.0.0.1, and no address of
//! the other family. It plays a server that is as far away as the delay says.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};

/// The bytes before the question, RFC 1035 section 4.1.1.
const HEADER: usize = 12;
/// A record type and a class, RFC 1035 sections 3.2.2 and 3.2.4.
const A: u16 = 1;
const IN: u16 = 1;
/// A response to a standard query, by an authority that recurses.
const FLAGS: u16 = 0x8580;
/// A pointer to the name in the question, RFC 1035 section 4.1.4.
const SAME_NAME: u16 = 0xc00c;
const TTL_SECONDS: u32 = 60;

/// Answers each question `delay` after it came.
///
/// # Errors
/// What keeps the server from starting; a poll that fails.
pub fn serve(address: SocketAddr, delay: Duration) -> io::Result<Infallible> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    // Thousands ask at once. Beyond net.core.rmem_max the kernel cuts it.
    setsockopt(&socket, sockopt::RcvBuf, &(8 << 20))?;
    println!("udp:{}", socket.local_addr()?);
    let mut waiting: VecDeque<(Instant, Vec<u8>, SocketAddr)> = VecDeque::new();
    let mut question = [0; 512];
    loop {
        let due = waiting.front().map(|(at, ..)| *at);
        poll(
            &mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)],
            until(due),
        )?;
        // Until nothing is there; a client that went away is the other error, and no concern of the next one.
        while let Ok((size, from)) = socket.recv_from(&mut question) {
            if let Some(answer) = answer(&question[..size]) {
                waiting.push_back((Instant::now() + delay, answer, from));
            }
        }
        let now = Instant::now();
        let due = waiting.partition_point(|(at, ..)| *at <= now);
        for (_, answer, from) in waiting.drain(..due) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// Rounded up to poll(2)'s millisecond.
fn until(due: Option<Instant>) -> PollTimeout {
    let Some(due) = due else {
        return PollTimeout::NONE;
    };
    let left = due.saturating_duration_since(Instant::now());
    PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX)
}

/// What to say to a question; None where it is none.
fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let end = end_of_name(question, HEADER)? + 4;
    let kind = u16::from_be_bytes([*question.get(end - 4)?, *question.get(end - 3)?]);
    let records = u16::from(kind == A);
    let mut answer = question.get(..2)?.to_vec();
    for field in [FLAGS, 1, records, 0, 0] {
        answer.extend(field.to_be_bytes());
    }
    answer.extend(question.get(HEADER..end)?);
    if kind == A {
        for field in [SAME_NAME, A, IN] {
            answer.extend(field.to_be_bytes());
        }
        answer.extend(TTL_SECONDS.to_be_bytes());
        let address = Ipv4Addr::LOCALHOST.octets();
        answer.extend((address.len() as u16).to_be_bytes());
        answer.extend(address);
    }
    Some(answer)
}

/// The place behind a name's last label.
fn end_of_name(question: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *question.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            // Compressed: not in a question.
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(kind: u8) -> Vec<u8> {
        let head = [7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        [&head[..], b"\x04web1\x04test\0", &[0, kind, 0, 1]].concat()
    }

    #[test]
    fn an_address_is_given_and_none_of_the_other_family() {
        let a = answer(&question(1)).unwrap();
        assert_eq!(&a[..8], [7, 9, 0x85, 0x80, 0, 1, 0, 1]);
        assert_eq!(&a[12..27], &question(1)[12..27]);
        assert_eq!(a[a.len() - 6..], [0, 4, 127, 0, 0, 1]);
        let aaaa = answer(&question(28)).unwrap();
        assert_eq!(aaaa[6..8], [0, 0]);
        assert_eq!(aaaa.len(), question(28).len());
    }

    #[test]
    fn half_a_question_is_not_answered() {
        let whole = question(1);
        for end in 0..whole.len() {
            assert_eq!(answer(&whole[..end]), None, "{end} bytes");
        }
    }
}
