//! Why there is no answer: errno and circumstance → one line of words. Pure.
//!
//! The names follow connect(2), recv(2) and the error codes of getaddrinfo(3). Whether a failure
//! may pass (a machine that is rebooting) is decided here too, for `--wait`.

use std::time::Duration;

use nix::errno::Errno;

/// What kept a host from answering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The name has no address (yet).
    LookUp(String),
    /// The host cannot be asked as it is written, whatever the network does.
    Unusable(String),
    /// A system call failed before anything of an answer came.
    Os(Errno),
    /// A system call failed in the middle of an answer.
    Broken(Errno),
    /// The end of the stream came before the first byte.
    Closed,
    /// ssh failed, and this is what it said.
    Ssh(String),
    /// The time was over.
    TimedOut {
        /// What was being waited for.
        stage: Stage,
        /// How long.
        after: Duration,
    },
}

/// How far an exchange had come when its time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The name was being looked up.
    LookUp,
    /// Connecting, or waiting for the first byte.
    Answer,
    /// Something had come, but not the end.
    End,
}

impl Failure {
    /// One line, safe to print.
    pub(crate) fn reason(&self) -> String {
        match self {
            Failure::LookUp(words) | Failure::Unusable(words) | Failure::Ssh(words) => {
                words.clone()
            }
            Failure::Os(errno) => words(*errno),
            Failure::Broken(errno) => format!("{} in the middle of the answer", words(*errno)),
            Failure::Closed => "closed without an answer".to_owned(),
            Failure::TimedOut { stage, after } => {
                let what = match stage {
                    Stage::LookUp => "the name server did not answer",
                    Stage::Answer => "no answer",
                    Stage::End => "no end of the answer",
                };
                format!("{what} within {} s", seconds(*after))
            }
        }
    }

    /// Whether the same question may be answered later: the machine or its service is starting,
    /// the network or the name server is not there yet.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Failure::LookUp(_) | Failure::TimedOut { .. } | Failure::Broken(_) => true,
            // Only its words tell a machine that is booting from a key that is refused.
            Failure::Ssh(_) => true,
            // A forwarder before its server (docker-proxy, socat, ssh -L).
            Failure::Closed => true,
            Failure::Unusable(_) => false,
            Failure::Os(errno) => matches!(
                errno,
                // Nobody listens yet, or the path of the UNIX socket is not there yet.
                Errno::ECONNREFUSED | Errno::ENOENT
                // The machine or a router on the way is not up; or the network is not.
                | Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EHOSTDOWN | Errno::ENETDOWN
                | Errno::EADDRNOTAVAIL | Errno::ENODEV
                | Errno::ETIMEDOUT
                // It went down under the connection.
                | Errno::ECONNRESET | Errno::ECONNABORTED | Errno::EPIPE | Errno::ENETRESET
                // This machine is short of something for now.
                | Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM | Errno::EAGAIN
            ),
        }
    }

    /// Whether nothing at all came from the host.
    pub(crate) fn is_silence(&self) -> bool {
        matches!(
            self,
            Failure::TimedOut {
                stage: Stage::Answer,
                ..
            } | Failure::Os(Errno::EHOSTUNREACH)
        )
    }

    /// How much it says about the host, to choose one among the failures of several addresses:
    /// what came from the host itself says more than what this machine could not even send.
    pub(crate) fn weight(&self) -> u8 {
        match self {
            Failure::Broken(_) | Failure::Closed => 3,
            Failure::Os(Errno::ECONNREFUSED | Errno::ECONNRESET) => 2,
            Failure::Os(Errno::ENETUNREACH | Errno::EADDRNOTAVAIL | Errno::EAFNOSUPPORT) => 0,
            _ => 1,
        }
    }
}

/// An errno in words.
pub(crate) fn words(errno: Errno) -> String {
    let text = match errno {
        Errno::ECONNREFUSED => "connection refused",
        Errno::ECONNRESET => "connection reset",
        Errno::ECONNABORTED => "connection aborted",
        Errno::ETIMEDOUT => "connection timed out",
        Errno::EHOSTUNREACH => "no route to host",
        Errno::EHOSTDOWN => "host is down",
        Errno::ENETUNREACH => "network is unreachable",
        Errno::ENETDOWN => "network is down",
        Errno::EADDRNOTAVAIL => "no local address or port to ask from",
        Errno::EAFNOSUPPORT => "this machine does not have that address family",
        Errno::EACCES | Errno::EPERM => "permission denied",
        Errno::ENOENT => "no such socket",
        Errno::ENOTDIR => "a part of the path is not a directory",
        Errno::ELOOP => "too many symbolic links in the path",
        Errno::EINVAL => "not an address that can be asked",
        Errno::EMFILE => "too many open files (see ulimit -n, or use fewer --jobs)",
        Errno::ENFILE => "too many open files on this machine",
        Errno::ENOBUFS | Errno::ENOMEM => "this machine is out of memory for sockets",
        Errno::EAGAIN => "the socket's queue is full",
        other => return other.desc().to_lowercase(),
    };
    text.to_owned()
}

/// `5`, `0.25`: exact, without the rounding of a float.
pub(crate) fn seconds(time: Duration) -> String {
    let text = format!("{}.{:09}", time.as_secs(), time.subsec_nanos());
    let text = text.trim_end_matches('0');
    text.strip_suffix('.').unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_one_line_for_every_errno() {
        for number in 0..200 {
            for failure in [
                Failure::Os(Errno::from_raw(number)),
                Failure::Broken(Errno::from_raw(number)),
            ] {
                let reason = failure.reason();
                assert!(
                    !reason.is_empty() && !reason.contains(char::is_control),
                    "{number}"
                );
            }
        }
    }

    #[test]
    fn times_are_told_as_they_were_given() {
        let told = |stage, after| Failure::TimedOut { stage, after }.reason();
        assert_eq!(
            told(Stage::Answer, Duration::from_secs(5)),
            "no answer within 5 s"
        );
        assert_eq!(
            told(Stage::Answer, Duration::from_millis(10_020)),
            "no answer within 10.02 s"
        );
        assert_eq!(
            told(Stage::End, Duration::from_millis(250)),
            "no end of the answer within 0.25 s"
        );
        assert_eq!(
            told(Stage::LookUp, Duration::from_secs(1)),
            "the name server did not answer within 1 s"
        );
    }

    #[test]
    fn what_a_reboot_looks_like_may_pass() {
        let passes = [
            Errno::ECONNREFUSED,
            Errno::EHOSTUNREACH,
            Errno::ENETUNREACH,
            Errno::ETIMEDOUT,
        ];
        for errno in passes {
            assert!(Failure::Os(errno).may_pass(), "{errno}");
        }
        assert!(Failure::LookUp("unknown name".into()).may_pass());
        assert!(!Failure::Os(Errno::EACCES).may_pass());
        assert!(!Failure::Unusable("no such interface".into()).may_pass());
        assert!(Failure::Closed.may_pass() && Failure::Broken(Errno::ECONNRESET).may_pass());
    }

    #[test]
    fn a_refusal_says_more_than_a_missing_route() {
        let (refused, unreachable) = (
            Failure::Os(Errno::ECONNREFUSED),
            Failure::Os(Errno::ENETUNREACH),
        );
        assert!(refused.weight() > unreachable.weight());
    }
}
