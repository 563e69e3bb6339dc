//! System calls that neither std nor nix offers in a safe form, and the words for one that failed.
//! Nothing else in the daemon is `unsafe`.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::Result;
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::socket::{SockFlag, SockaddrLike, UnixAddr, accept4};
use nix::unistd::Pid;
use nix::{setsockopt_impl, sockopt_impl};

/// The words for a call that failed.
pub(crate) fn failed(call: &str) -> impl Fn(Errno) -> String {
    move |errno| format!("{call}: {}", errno.desc())
}

/// Takes the next connection out of a listener's backlog, close-on-exec and blocking
/// (accept4(2)). `O_NONBLOCK` is not set: it would belong to the open file description that the
/// command shares.
///
/// std's own `accept` is not used because it retries EINTR by itself, without a bound, and
/// refuses the connections of families that it does not know (vsock) after having taken them.
///
/// # Errors
/// Each errno of accept4(2), for the caller to decide.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> Result<OwnedFd> {
    let fd = accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: accept4 has just made this descriptor, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Closes every descriptor from `first` on (close_range(2)); nothing of ours may be open there yet. A
/// filter of system calls may refuse it: then they stay.
pub(crate) fn close_from(first: usize) {
    // SAFETY: no value of ours owns such a descriptor, as said above.
    unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
}

/// Gives SIGCHLD its default action. A launcher that ignores it passes that on through exec, and
/// then the kernel reaps every child by itself and wait(2) fails with ECHILD.
///
/// # Errors
/// Those of sigaction(2); none is expected for a valid signal.
pub(crate) fn stop_ignoring_sigchld() -> Result<()> {
    // SAFETY: SIG_DFL installs no handler, so no code of ours can run at a bad moment.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }.map(drop)
}

/// Gives the address of a UNIX socket no more than the length that the kernel takes. It tells one
/// more for a path that fills `sun_path`: its closing NUL, for which there is no room (unix(7),
/// BUGS).
pub(crate) fn clamp(address: &mut UnixAddr) {
    let longest = size_of::<libc::sockaddr_un>();
    if address.len() as usize > longest {
        // SAFETY: the length is that of the whole structure, all of which is initialized. It cannot
        // fail: a UNIX address has no fixed length.
        let _ = unsafe { address.set_length(longest) };
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Exited(i32),
    /// By the signal of this number; real-time signals have no name.
    Killed(i32),
}

/// Finds a child that has ended, without reaping it (waitid(2), WNOWAIT): any, or this one. None
/// while it runs, or all of them do.
///
/// nix's own `waitid` fails for a child that a real-time signal has killed, without its number, and
/// finds the same child again with each call.
///
/// # Errors
/// Those of waitid(2): ECHILD where there is no child at all; EINTR.
pub(crate) fn find_zombie(child: Option<Pid>) -> Result<Option<(Pid, Ending)>> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    let (kind, number) = match child {
        Some(pid) => (libc::P_PID, pid.as_raw().unsigned_abs()),
        None => (libc::P_ALL, 0),
    };
    // SAFETY: `info` is a siginfo_t of our own, to which the call may write.
    Errno::result(unsafe { libc::waitid(kind, number, info.as_mut_ptr(), flags) })?;
    // SAFETY: zeros are a valid siginfo_t, and so is what the call has written.
    let info = unsafe { info.assume_init() };
    // SAFETY: waitid sets si_pid, and leaves it 0 where no child has ended (wait(2)).
    let pid = unsafe { info.si_pid() };
    // SAFETY: waitid sets si_status along with si_pid; before that it is 0.
    let status = unsafe { info.si_status() };
    let ending = match info.si_code {
        libc::CLD_EXITED => Ending::Exited(status),
        _ => Ending::Killed(status),
    };
    Ok((pid != 0).then_some((Pid::from_raw(pid), ending)))
}

/// Fails as sending to a UNIX socket would, and sends nothing: EFAULT where it could be sent to,
/// because the kernel looks first whether the other end reads (EPIPE), then for room (EAGAIN), and
/// then for the content, which is nowhere. An empty message would be read as the end of a seqpacket
/// connection.
///
/// # Errors
/// Always one.
pub(crate) fn send_nothing(socket: BorrowedFd<'_>) -> Result<()> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the kernel alone looks at the address, and reports that nothing is there.
    let sent = unsafe { libc::send(socket.as_raw_fd(), std::ptr::null(), 1, flags) };
    Errno::result(sent).map(drop)
}

sockopt_impl!(
    /// A security label comes with each message (PassSecurity= in systemd.socket(5)).
    PassSecurity, SetOnly, libc::SOL_SOCKET, libc::SO_PASSSEC, bool
);
sockopt_impl!(
    /// A descriptor of the sender's process does (PassPIDFD=).
    PassPidFd, SetOnly, libc::SOL_SOCKET, libc::SO_PASSPIDFD, bool
);

/// True where the launcher has set a signal to be ignored, as nohup(1) does.
pub(crate) fn is_ignored(signal: Signal) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action the call only writes the present one to `action`, our own.
    let result = unsafe { libc::sigaction(signal as i32, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: zeros are a valid sigaction, and so is what the call has written.
    let action = unsafe { action.assume_init() };
    result == 0 && action.sa_sigaction == libc::SIG_IGN
}
