//! The signals that mean something to a screen.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// SIGINT (Ctrl-C), SIGTERM, SIGHUP.
    Leave,
    /// SIGWINCH: the terminal has another size.
    Resized,
    /// SIGTSTP: Ctrl-Z.
    Suspend,
}

/// The signals, from now on ours. Only for a screen that has to be left in order: elsewhere they
/// do what they always do, and under nohup(1) nothing.
#[derive(Debug)]
pub(super) struct Events(Vec<(Signal, Event)>);

impl Events {
    /// # Errors
    /// A signal handler cannot be installed.
    pub(super) fn new() -> io::Result<Self> {
        let wanted = [
            (SignalKind::interrupt(), Event::Leave),
            (SignalKind::terminate(), Event::Leave),
            (SignalKind::hangup(), Event::Leave),
            (SignalKind::window_change(), Event::Resized),
            (SignalKind::from_raw(nix::libc::SIGTSTP), Event::Suspend),
        ];
        let install = |(kind, event)| Ok((signal(kind)?, event));
        wanted
            .into_iter()
            .map(install)
            .collect::<io::Result<_>>()
            .map(Self)
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Event {
        poll_fn(|context| {
            let come = |(signal, event): &mut (Signal, Event)| {
                signal.poll_recv(context).is_ready().then_some(*event)
            };
            self.0
                .iter_mut()
                .find_map(come)
                .map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}
