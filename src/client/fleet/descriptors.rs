//! How many sockets may be open: RLIMIT_NOFILE → hosts and look-ups at once.
//!
//! Comes in: `--jobs` and the limit. Goes out: a [`Budget`] that stays within the limit. The soft
//! limit is raised to the hard one first: it is low for the sake of programs that use select(2),
//! which this one does not. If descriptors run out nevertheless, a host waits for the next close.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::client::query::Budget;

/// Standard input, output and error, the reactor's own, a terminal, and what was inherited.
const RESERVE: usize = 12;
/// The most hosts at once unless `--jobs` says more.
const JOBS_MAX: usize = 4096;
/// Memory for the threads that look names up, bytes.
const LOOK_UP_MEMORY: usize = 16 << 20;
/// What such a thread takes of it: 18 to 24 KiB were measured, of its stack and glibc's buffers.
const PER_LOOK_UP_MEMORY: usize = 32 << 10;
/// The most connections beyond one for each host.
const SPARE_MAX: usize = 256;
/// What a look-up may have open: a socket to a name server, and a file.
const PER_LOOK_UP: usize = 2;

/// Raises the soft limit, and gives the limit that holds then.
pub(crate) fn raise_limit() -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        // getrlimit(2) fails only for a bad argument; the limit that every Linux begins with.
        return 1024;
    };
    let limit = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        // Refused by a security module: the soft limit is enough to go on with.
        Err(_) => soft,
    };
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Divides `limit` up. `names`: some host must be looked up, and may have several addresses.
pub(crate) fn divide(limit: usize, jobs: Option<usize>, names: bool) -> Budget {
    let left = limit.saturating_sub(RESERVE).max(1);
    let (look_ups, spare) = if names {
        (
            // A quarter of the descriptors: look-ups come before sockets, and are shorter.
            (left / 4 / PER_LOOK_UP).clamp(1, LOOK_UP_MEMORY / PER_LOOK_UP_MEMORY),
            (left / 8).min(SPARE_MAX),
        )
    } else {
        (1, 0)
    };
    let others = if names {
        look_ups * PER_LOOK_UP + spare
    } else {
        0
    };
    let most = left.saturating_sub(others).max(1);
    Budget {
        jobs: jobs.unwrap_or(JOBS_MAX).min(most),
        look_ups,
        spare,
    }
}

/// For a single host: nothing to divide.
pub(crate) fn of_one() -> Budget {
    Budget {
        jobs: 1,
        look_ups: 1,
        spare: SPARE_MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_whatever_is_asked_for() {
        for limit in (0..2000).chain([4096, 20_000, 1 << 20, usize::MAX]) {
            for jobs in [None, Some(1), Some(7), Some(5000), Some(usize::MAX)] {
                for names in [false, true] {
                    let budget = divide(limit, jobs, names);
                    assert!(
                        budget.jobs >= 1 && budget.look_ups >= 1,
                        "{limit} {budget:?}"
                    );
                    assert!(
                        budget.jobs <= jobs.unwrap_or(JOBS_MAX),
                        "{limit} {budget:?}"
                    );
                    let look_ups = if names {
                        budget.look_ups * PER_LOOK_UP
                    } else {
                        0
                    };
                    let open = RESERVE + budget.jobs + budget.spare + look_ups;
                    assert!(open <= limit.max(RESERVE + 3), "{limit} {budget:?}");
                }
            }
        }
    }

    #[test]
    fn an_ordinary_limit_is_used_well() {
        assert_eq!(divide(1024, None, false).jobs, 1012);
        assert_eq!(divide(20_000, None, true).jobs, JOBS_MAX);
        assert_eq!(divide(20_000, Some(5000), true).jobs, 5000);
        assert_eq!(divide(20_000, None, true).look_ups, 512);
        let scarce = divide(1024, None, true);
        assert!(scarce.jobs > 600 && scarce.look_ups > 120, "{scarce:?}");
        assert!(divide(20, None, true).jobs >= 4);
    }
}
