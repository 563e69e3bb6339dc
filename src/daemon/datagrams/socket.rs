//! Datagram requests and replies: a socket comes in, requests come out of it, and replies leave
//! from the very address that the request came to.
//!
//! A client may have connected its socket, and then drops what comes from another address, so on
//! a machine with several the reply's source is chosen with IP_PKTINFO (ip(7)) and IPV6_PKTINFO
//! (RFC 3542, 6). A request that was broadcast, or sent to a multicast group, is answered from
//! the address of the interface that it came in on.

use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::libc::{in_pktinfo, in6_pktinfo, sa_family_t};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockaddrLike, SockaddrStorage,
    UnixAddr, recv, recvmsg, sendmsg, sendto, setsockopt, sockopt,
};

use crate::daemon::intake::peer::Peer;
use crate::daemon::sockets::Socket;
use crate::daemon::sys;
use crate::rights::{self, Refusal};

/// The longest payload of a UDP datagram over IPv4 (RFC 768 within RFC 791), in bytes.
const LONGEST: usize = 65_507;

/// The ports below are for services (RFC 6335, 6).
const RESERVED: u16 = 1024;

/// Room for the control messages that a socket may have been set to give, in bytes.
const CONTROL: usize = 256;

/// Never waits, whatever the open file description says: others share it, and each start of a
/// service sets or clears its O_NONBLOCK (NonBlocking= in systemd.exec(5)).
const NOW: MsgFlags = MsgFlags::MSG_DONTWAIT.union(MsgFlags::MSG_NOSIGNAL);

/// Entries of an error queue that are thrown away in one go.
const ERRORS: usize = 1024;

/// A datagram socket, ready to receive with where each datagram was sent to.
#[derive(Debug)]
pub(crate) enum DatagramSocket {
    Inet {
        fd: OwnedFd,
        port: u16,
    },
    Unix {
        /// Shared with the threads that receive and send what may sleep.
        fd: Arc<OwnedFd>,
        may_be_laden: bool,
    },
}

/// Where a request came from, and where it was sent to: what a reply needs.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    Inet { from: SocketAddr, to: To },
    Unix(UnixAddr),
}

/// The local end of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum To {
    /// The kernel did not say; it chooses the source.
    Any,
    V4(in_pktinfo),
    V6(in6_pktinfo),
}

/// What came of one attempt to receive.
#[derive(Debug)]
pub(crate) enum Received {
    Request(Request),
    /// A client that cannot be answered, for this reason.
    Unanswerable(&'static str),
    /// Descriptors were passed with it, and it has not been received: that may sleep, and is for
    /// [`DatagramSocket::discard`].
    Laden,
}

/// What came of one attempt to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    Done,
    /// The socket's buffer is full; it will have room again.
    Full,
    /// This client cannot be answered, for this reason; no other one is concerned.
    Lost(Errno),
    /// No client can be answered: something is wrong on this side.
    Failed(Errno),
}

impl DatagramSocket {
    /// Prepares a classified socket.
    ///
    /// # Errors
    /// Those of setsockopt(2) and getsockname(2): none is expected for a datagram socket.
    pub(crate) fn new(socket: Socket) -> nix::Result<Self> {
        if socket.family == AddressFamily::Unix {
            return Ok(Self::unix(socket.fd));
        }
        let fd = socket.fd;
        // An IPv6 socket gets IPv4's datagrams too, and asks for their addresses in IPv4's way:
        // IPV6_PKTINFO would give the broadcast address they were sent to, not one to answer from.
        setsockopt(&fd, sockopt::Ipv4PacketInfo, &true).or_else(not_for_this_family)?;
        if socket.family == AddressFamily::Inet6 {
            setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
        // No error queue is read here, and one that is not empty would be reported for ever.
        setsockopt(&fd, sockopt::Ipv4RecvErr, &false).or_else(not_for_this_family)?;
        if socket.family == AddressFamily::Inet6 {
            setsockopt(&fd, sockopt::Ipv6RecvErr, &false)?;
        }
        let local = nix::sys::socket::getsockname::<SockaddrStorage>(fd.as_raw_fd())?;
        let port = match Peer::from_address(&local) {
            Some(Peer::Inet(address)) => address.port(),
            _ => 0,
        };
        Ok(DatagramSocket::Inet { fd, port })
    }

    fn unix(fd: OwnedFd) -> Self {
        let may_be_laden = match rights::refuse(fd.as_fd()) {
            // By an earlier process, which may have left some that came before.
            Refusal::Before => rights::may_be_queued(fd.as_fd()),
            Refusal::FromNow | Refusal::Never => true,
        };
        // What comes with every datagram would look like descriptors that do.
        let _ = setsockopt(&fd, sockopt::PassCred, &false);
        let _ = setsockopt(&fd, sockopt::ReceiveTimestamp, &false);
        let _ = setsockopt(&fd, sys::PassSecurity, &false);
        let _ = setsockopt(&fd, sys::PassPidFd, &false);
        DatagramSocket::Unix {
            fd: Arc::new(fd),
            may_be_laden,
        }
    }

    /// A job for a thread of its own: receives datagrams, with whatever was passed, and throws them
    /// away, until one comes without.
    pub(crate) fn discard(&self) -> Option<impl FnOnce() + Send + 'static> {
        let DatagramSocket::Unix { fd, .. } = self else {
            return None;
        };
        let fd = Arc::clone(fd);
        Some(move || {
            // Without room for descriptors, so that none is received: they are dropped.
            while let Ok(true) = is_next_laden(fd.as_fd()) {
                let _ = recv(fd.as_raw_fd(), &mut [0], NOW);
            }
        })
    }

    /// A job for a thread of its own: a reply to a socket in the file system, which may not answer
    /// for as long as it likes (a network file system whose server is gone). None where it leaves
    /// at once.
    pub(crate) fn reply_later(
        &self,
        request: &Request,
        answer: &Arc<[u8]>,
    ) -> Option<impl FnOnce() + Send + 'static> {
        let (DatagramSocket::Unix { fd, .. }, Request::Unix(to)) = (self, request) else {
            return None;
        };
        to.path()?;
        let (fd, to, answer) = (Arc::clone(fd), *to, Arc::clone(answer));
        Some(move || {
            // Its client does not read or has gone: no other client is concerned.
            let _ = sendto(fd.as_raw_fd(), &answer, &to, NOW);
        })
    }

    /// Takes one request out of the socket's queue. Its content is not looked at.
    ///
    /// # Errors
    /// Those of recvmsg(2); EAGAIN where the queue is empty.
    pub(crate) fn receive(&self) -> nix::Result<Received> {
        match self {
            DatagramSocket::Inet { fd, .. } => receive_inet(fd.as_fd()),
            DatagramSocket::Unix { fd, may_be_laden } => receive_unix(fd.as_fd(), *may_be_laden),
        }
    }

    /// Throws away what is in the error queue (ICMP errors, transmit time stamps; recvmsg(2),
    /// MSG_ERRQUEUE), where another process has enabled it.
    pub(crate) fn clear_errors(&self) {
        if let DatagramSocket::Inet { fd, .. } = self {
            let flags = MsgFlags::MSG_ERRQUEUE | NOW;
            let mut content = [0];
            for _ in 0..ERRORS {
                let mut iov = [IoSliceMut::new(&mut content)];
                if recvmsg::<SockaddrStorage>(fd.as_raw_fd(), &mut iov, None, flags).is_err() {
                    return;
                }
            }
        }
    }

    /// The port that it is bound to; None for a UNIX socket.
    pub(crate) fn port(&self) -> Option<u16> {
        match self {
            DatagramSocket::Inet { port, .. } => Some(*port),
            DatagramSocket::Unix { .. } => None,
        }
    }

    /// Sends a reply: one datagram, whole or not at all.
    pub(crate) fn reply(&self, request: &Request, answer: &[u8]) -> Sent {
        match self.send(request, answer) {
            // An ICMP error that an earlier reply met surfaces here; it was not this client's.
            // Or a signal came: none of ours does, but a debugger's stop is one (signal(7)).
            Sent::Lost(
                Errno::ECONNREFUSED | Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EINTR,
            ) => self.send(request, answer),
            Sent::Lost(Errno::EMSGSIZE) => {
                let word = format!(
                    "error: the answer's {} bytes are too many for a datagram here\n",
                    answer.len()
                );
                self.send(request, word.as_bytes())
            }
            sent => sent,
        }
    }

    fn send(&self, request: &Request, answer: &[u8]) -> Sent {
        let result = match (self, request) {
            (DatagramSocket::Inet { fd, .. }, Request::Inet { from, to }) => {
                send_inet(fd.as_fd(), from, *to, answer)
            }
            (DatagramSocket::Unix { fd, .. }, Request::Unix(to)) => {
                return match sendto(fd.as_raw_fd(), answer, to, NOW) {
                    Ok(_) => Sent::Done,
                    // EAGAIN: that client's own queue is full. It does not read, and ours is free.
                    Err(errno) => Sent::Lost(errno),
                };
            }
            // A request goes back to the socket that it came from.
            _ => Err(Errno::EAFNOSUPPORT),
        };
        match result {
            Ok(()) => Sent::Done,
            Err(Errno::EAGAIN) => Sent::Full,
            // A full queue, no memory, a rule of the firewall, no network.
            Err(errno @ (Errno::ENOBUFS | Errno::ENOMEM | Errno::EPERM | Errno::ENETDOWN)) => {
                Sent::Failed(errno)
            }
            Err(errno) => Sent::Lost(errno),
        }
    }
}

impl AsFd for DatagramSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            DatagramSocket::Inet { fd, .. } => fd.as_fd(),
            DatagramSocket::Unix { fd, .. } => fd.as_fd(),
        }
    }
}

impl Request {
    pub(crate) fn peer(&self) -> Peer {
        match self {
            Request::Inet { from, .. } => Peer::inet(*from),
            Request::Unix(_) => Peer::Unix(None),
        }
    }
}

/// True where a datagram from this port must not be answered: a daemon like this one answers
/// there (`own` are the ports of this one), or it is a reserved port, where no client is but many a
/// service that would answer our answer (echo, chargen, a name server). Two that answer each other
/// never end (CERT CA-1996-01).
pub(crate) fn is_a_servers(port: u16, own: &[u16]) -> bool {
    port < RESERVED || port == crate::PORT || own.contains(&port)
}

/// An IPv6 socket has IPv4's options only where the kernel has IPv4.
fn not_for_this_family(errno: Errno) -> nix::Result<()> {
    if errno == Errno::ENOPROTOOPT {
        Ok(())
    } else {
        Err(errno)
    }
}

/// True where the next datagram was passed descriptors. A peek leaves it and them where they are;
/// without room for control messages it tells that there are some (recvmsg(2), MSG_CTRUNC).
fn is_next_laden(fd: BorrowedFd<'_>) -> nix::Result<bool> {
    let mut content = [0];
    let mut iov = [IoSliceMut::new(&mut content)];
    let message = recvmsg::<()>(fd.as_raw_fd(), &mut iov, None, NOW | MsgFlags::MSG_PEEK)?;
    Ok(message.flags.contains(MsgFlags::MSG_CTRUNC))
}

fn receive_unix(fd: BorrowedFd<'_>, may_be_laden: bool) -> nix::Result<Received> {
    if may_be_laden && is_next_laden(fd)? {
        return Ok(Received::Laden);
    }
    let mut content = [0];
    let mut iov = [IoSliceMut::new(&mut content)];
    let message = recvmsg::<UnixAddr>(fd.as_raw_fd(), &mut iov, None, NOW)?;
    // The family alone, or nothing at all (unix(7)); nix panics when asked for the name of nothing.
    let is_named = |from: &UnixAddr| from.len() as usize > size_of::<sa_family_t>();
    let Some(mut from) = message.address.filter(is_named) else {
        return Ok(Received::Unanswerable("its socket has no name"));
    };
    sys::clamp(&mut from);
    // The file that a relative path names for the client is another one, or none, for us.
    if from.path().is_some_and(Path::is_relative) {
        return Ok(Received::Unanswerable("its socket's path is relative"));
    }
    Ok(Received::Request(Request::Unix(from)))
}

fn receive_inet(fd: BorrowedFd<'_>) -> nix::Result<Received> {
    let mut content = [0];
    let mut iov = [IoSliceMut::new(&mut content)];
    let mut space = [0; CONTROL];
    let message = recvmsg::<SockaddrStorage>(fd.as_raw_fd(), &mut iov, Some(&mut space), NOW)?;
    let mut to = To::Any;
    // A truncated list says nothing; then the kernel chooses the source.
    for control in message.cmsgs().into_iter().flatten() {
        match control {
            ControlMessageOwned::Ipv4PacketInfo(info) => to = To::V4(info),
            // For a datagram of IPv4 both come; the other one has the address to answer from.
            ControlMessageOwned::Ipv6PacketInfo(info) if matches!(to, To::Any) => to = To::V6(info),
            _ => {}
        }
    }
    let address = message.address.ok_or(Errno::EAFNOSUPPORT)?;
    let from = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(v4), _) => SocketAddr::V4((*v4).into()),
        (_, Some(v6)) => SocketAddr::V6((*v6).into()),
        _ => return Err(Errno::EAFNOSUPPORT),
    };
    // Sent to there, a reply would go to this machine (RFC 1122, 3.2.1.3; RFC 4291, 2.5.2).
    if from.ip().is_unspecified() {
        return Ok(Received::Unanswerable("its address is unspecified"));
    }
    Ok(Received::Request(Request::Inet { from, to }))
}

fn send_inet(fd: BorrowedFd<'_>, client: &SocketAddr, to: To, answer: &[u8]) -> nix::Result<()> {
    if answer.len() > LONGEST {
        return Err(Errno::EMSGSIZE);
    }
    let iov = [IoSlice::new(answer)];
    let client = SockaddrStorage::from(*client);
    let send =
        |control: &[ControlMessage<'_>]| sendmsg(fd.as_raw_fd(), &iov, control, NOW, Some(&client));
    let v4 = |info: in_pktinfo| send(&[ControlMessage::Ipv4PacketInfo(&info)]);
    let v6 = |info: in6_pktinfo| send(&[ControlMessage::Ipv6PacketInfo(&info)]);
    let sent = match to {
        To::Any => send(&[]),
        To::V4(info) => v4(source_v4(info)),
        To::V6(info) => v6(source_v6(info)),
    };
    match (sent, to) {
        // The way back may be known only to the routing table of the interface that the request came
        // in on: a VRF's, where net.ipv4.udp_l3mdev_accept lets its requests in.
        (Err(Errno::ENETUNREACH), To::V4(info)) => v4(in_pktinfo {
            ipi_ifindex: info.ipi_ifindex,
            ..source_v4(info)
        }),
        (Err(Errno::ENETUNREACH), To::V6(info)) => v6(in6_pktinfo {
            ipi6_ifindex: info.ipi6_ifindex,
            ..source_v6(info)
        }),
        // It was sent to a network's broadcast address, which looks like any other.
        (Err(Errno::EINVAL), To::V4(info)) if info.ipi_spec_dst.s_addr == 0 => send(&[]),
        (sent, _) => sent,
    }
    .map(drop)
}

/// The address to answer from: ipi_spec_dst is it, also for a broadcast. The way back is for the
/// routing table to choose.
///
/// A datagram that came before the option was set has none; then it is the address that the datagram
/// was sent to, if that is one machine's.
fn source_v4(info: in_pktinfo) -> in_pktinfo {
    let mut source = info.ipi_spec_dst;
    let sent_to = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
    if source.s_addr == 0 && !sent_to.is_multicast() && !sent_to.is_broadcast() {
        source = info.ipi_addr;
    }
    in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: source,
        ..info
    }
}

/// The address to answer from: where the request was sent to; for a multicast group none, so
/// that the kernel takes one of the interface's (RFC 6724). The interface is named only where
/// an address means nothing without it.
fn source_v6(info: in6_pktinfo) -> in6_pktinfo {
    let mut address = std::net::Ipv6Addr::from(info.ipi6_addr.s6_addr);
    let mut interface = 0;
    if address.is_multicast() || address.is_unicast_link_local() {
        interface = info.ipi6_ifindex;
    }
    if address.is_multicast() {
        address = std::net::Ipv6Addr::UNSPECIFIED;
    }
    in6_pktinfo {
        ipi6_addr: nix::libc::in6_addr {
            s6_addr: address.octets(),
        },
        ipi6_ifindex: interface,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::sockets::classify;
    use std::net::UdpSocket;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
    use std::time::Duration;

    fn serving(address: &str) -> (DatagramSocket, SocketAddr) {
        let socket = UdpSocket::bind(address).expect("a port");
        let address = socket.local_addr().expect("an address");
        let socket = classify(socket.into(), "it").expect("served");
        (DatagramSocket::new(socket).expect("prepared"), address)
    }

    fn receive(socket: &DatagramSocket) -> Request {
        match socket.receive() {
            Ok(Received::Request(request)) => request,
            other => panic!("no request: {other:?}"),
        }
    }

    /// The client's socket is connected, so a reply from another address does not reach it.
    #[test]
    fn a_reply_leaves_from_the_address_that_was_asked() {
        for (bind, ask, from) in [
            ("0.0.0.0:0", "127.9.8.7", "127.0.0.1:0"),
            ("[::]:0", "127.9.8.7", "127.0.0.1:0"),
            ("[::]:0", "::1", "[::1]:0"),
            ("[::1]:0", "::1", "[::1]:0"),
        ] {
            let (socket, address) = serving(bind);
            let client = UdpSocket::bind(from).expect("a port");
            client.connect((ask, address.port())).expect("connected");
            client
                .set_read_timeout(Some(Duration::from_secs(20)))
                .expect("set");
            client.send(b"\0").expect("sent");
            let request = receive(&socket);
            assert_eq!(
                socket.reply(&request, b"up\n"),
                Sent::Done,
                "{bind} asked at {ask}"
            );
            let mut reply = [0; 16];
            let bytes = client.recv(&mut reply).expect("the reply");
            assert_eq!(&reply[..bytes], b"up\n");
        }
    }

    #[test]
    fn a_reply_that_is_too_long_becomes_an_error_line() {
        let (socket, address) = serving("127.0.0.1:0");
        let client = UdpSocket::bind("127.0.0.1:0").expect("a port");
        client.send_to(b"", address).expect("sent");
        let request = receive(&socket);
        assert_eq!(socket.reply(&request, &vec![b'x'; LONGEST + 1]), Sent::Done);
        let mut reply = [0; 100];
        let bytes = client.recv(&mut reply).expect("the reply");
        assert!(reply[..bytes].starts_with(b"error: "));
    }

    #[test]
    fn a_server_is_not_answered() {
        for (port, refused) in [
            (0, true),
            (53, true),
            (1023, true),
            (crate::PORT, true),
            (5000, true),
            (5001, true),
            (4000, false),
        ] {
            assert_eq!(is_a_servers(port, &[5000, 5001]), refused, "port {port}");
        }
    }

    /// The kernel refuses what is passed now, but an earlier process has left something.
    #[test]
    fn what_was_queued_for_an_earlier_process_is_known() {
        let (ours, theirs) = UnixDatagram::pair().expect("a pair");
        let (passed, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
        rights::tests::pass(&theirs, &passed, MsgFlags::empty()).expect("passed");
        theirs.send(b"?").expect("room");
        let copy = ours.try_clone().expect("a copy");
        for socket in [
            DatagramSocket::unix(copy.into()),
            DatagramSocket::unix(ours.into()),
        ] {
            assert!(matches!(socket.receive(), Ok(Received::Laden)));
        }
        let socket = DatagramSocket::unix(theirs.into());
        assert!(matches!(socket.receive(), Err(Errno::EAGAIN)));
    }

    #[test]
    fn all_that_is_laden_is_discarded_and_nothing_else() {
        let (ours, theirs) = UnixDatagram::pair().expect("a pair");
        let (passed, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
        for _ in 0..3 {
            rights::tests::pass(&theirs, &passed, MsgFlags::empty()).expect("passed");
        }
        theirs.send(b"?").expect("room");
        let socket = DatagramSocket::unix(ours.into());
        assert!(matches!(socket.receive(), Ok(Received::Laden)));
        socket.discard().expect("a UNIX socket")();
        assert!(matches!(socket.receive(), Ok(Received::Unanswerable(_))));
    }

    #[test]
    fn a_unix_client_needs_an_address() {
        // In the abstract namespace, which keeps nothing of a test that failed.
        let name = |who| format!("ruptime-datagram-{}-{who}", std::process::id());
        let address = |who| UnixAddress::from_abstract_name(name(who)).expect("a name");
        let path = address("server");
        let server = UnixDatagram::bind_addr(&path).expect("bound");
        let server =
            DatagramSocket::new(classify(server.into(), "it").expect("served")).expect("prepared");
        UnixDatagram::unbound()
            .expect("a socket")
            .send_to_addr(b"", &path)
            .expect("sent");
        assert!(matches!(server.receive(), Ok(Received::Unanswerable(_))));
        let client = UnixDatagram::bind_addr(&address("client")).expect("bound");
        client.send_to_addr(b"?", &path).expect("sent");
        let request = receive(&server);
        assert_eq!(server.reply(&request, b"up\n"), Sent::Done);
        let mut reply = [0; 16];
        assert_eq!(client.recv(&mut reply).expect("the reply"), 3);
        drop(client);
        assert!(matches!(server.reply(&request, b"up\n"), Sent::Lost(_)));
    }
}
