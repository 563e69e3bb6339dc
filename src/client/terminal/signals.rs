//! The signals that mean something to a screen.

use std::fs;
use std::future::poll_fn;
use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread;

use nix::sys::signal::{SigSet, Signal as Number};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// SIGINT (Ctrl-C), SIGTERM, SIGHUP, SIGQUIT.
    Leave,
    /// SIGWINCH: the terminal has another size.
    Resized,
    /// SIGTSTP: Ctrl-Z.
    Suspend,
}

/// The signals, from now on ours: for a screen, which has to be left in order. What was ignored
/// from the start stays so, as under nohup(1).
#[derive(Debug)]
pub(crate) struct Events(Vec<(Signal, Event)>);

impl Events {
    /// # Errors
    /// A signal handler cannot be installed.
    pub(crate) fn new() -> io::Result<Self> {
        let wanted = [
            (SignalKind::interrupt(), Event::Leave),
            (SignalKind::terminate(), Event::Leave),
            (SignalKind::hangup(), Event::Leave),
            (SignalKind::quit(), Event::Leave),
            (SignalKind::window_change(), Event::Resized),
            (SignalKind::from_raw(nix::libc::SIGTSTP), Event::Suspend),
        ];
        let install = |(kind, event)| Ok((signal(kind)?, event));
        let ignored = ignored();
        wanted
            .into_iter()
            .filter(|(kind, _)| !has(ignored, kind.as_raw_value()))
            .map(install)
            .collect::<io::Result<_>>()
            .map(Self)
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Event {
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

/// Where there is no screen: ends the process with status 0 or 1, by what is known to be `good`
/// when SIGINT, SIGTERM or SIGHUP comes. On a thread of its own, because a write to a pipe whose
/// reader sleeps cannot be interrupted.
///
/// # Errors
/// There can be no thread.
pub(crate) fn leave_apart(good: Arc<AtomicBool>) -> io::Result<()> {
    let ignored = ignored();
    let wanted = [Number::SIGINT, Number::SIGTERM, Number::SIGHUP].into_iter();
    let wanted: SigSet = wanted.filter(|n| !has(ignored, *n as i32)).collect();
    // Of every thread that starts from here on too, so that only this one gets them.
    wanted.thread_block()?;
    let wait = move || {
        while wanted.wait().is_err() {}
        process::exit(if good.load(Ordering::Relaxed) { 0 } else { 1 });
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)?;
    Ok(())
}

/// The signals that are ignored, a bit each; proc(5). Without /proc, none.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    mask(&status)
}

fn mask(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

fn has(mask: u64, number: i32) -> bool {
    (1..=64).contains(&number) && mask >> (number - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_read_from_proc() {
        // SIGHUP and SIGPIPE.
        let mask = mask("Name:\truptime\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\n");
        assert!(has(mask, 1) && has(mask, 13) && !has(mask, 2) && !has(mask, 0));
        assert_eq!(super::mask(""), 0);
        // The Rust runtime's own.
        assert!(has(ignored(), Number::SIGPIPE as i32));
    }
}
