//! Seconds since 1970 → dates and times to read.
//!
//! [`SystemTime`] knows no calendar and no time zone; tz-rs knows both without a C library's
//! process-wide lock and without a database of its own.

use std::time::{Duration, SystemTime};

use tz::{TimeZone, UtcDateTime};

use crate::client::answer::unix_seconds;

/// `2026-11-19T15:12:00Z` (RFC 3339, UTC). None beyond the years that it can write.
pub fn rfc3339(unix_seconds: i64) -> Option<String> {
    let t = UtcDateTime::from_timespec(unix_seconds, 0).ok()?;
    let (year, month, day) = (t.year(), t.month(), t.month_day());
    let (hour, minute, second) = (t.hour(), t.minute(), t.second());
    (0..=9999)
        .contains(&year)
        .then(|| format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"))
}

/// BSD's spelling of a span: days, a plus, hours and minutes.
pub fn span(span: Duration) -> String {
    let minutes = span.as_secs() / 60;
    let (days, hours, minutes) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
    if days > 0 {
        format!("{days}+{hours:02}:{minutes:02}")
    } else {
        format!("{hours}:{minutes:02}")
    }
}

/// The wall clock on this machine.
#[derive(Debug)]
pub struct Local(TimeZone);

impl Local {
    /// The time zone of TZ, else of /etc/localtime, else UTC (tzset(3)).
    pub fn new() -> Self {
        Self(TimeZone::local().unwrap_or_else(|_| TimeZone::utc()))
    }

    /// The clock of the tests.
    #[cfg(test)]
    pub(crate) fn utc() -> Self {
        Self(TimeZone::utc())
    }

    /// `15:12:00`, on this machine's wall clock.
    pub fn hms(&self, at: SystemTime) -> String {
        let of_day = self.seconds(at).rem_euclid(86_400);
        format!(
            "{:02}:{:02}:{:02}",
            of_day / 3600,
            of_day / 60 % 60,
            of_day % 60
        )
    }

    /// `15:12:00`, with the date before it when that is another day's than `now`.
    pub fn short(&self, at: SystemTime, now: SystemTime) -> String {
        let day = |at| self.seconds(at).div_euclid(86_400);
        if day(at) == day(now) {
            self.hms(at)
        } else {
            self.date_hms(at)
        }
    }

    /// `2026-11-19 15:12:00`, on this machine's wall clock.
    pub fn date_hms(&self, at: SystemTime) -> String {
        let date = rfc3339(self.seconds(at)).unwrap_or_default();
        format!(
            "{} {}",
            date.split('T').next().unwrap_or_default(),
            self.hms(at)
        )
    }

    /// Since 1970-01-01 00:00 of this machine's wall clock.
    fn seconds(&self, at: SystemTime) -> i64 {
        let seconds = unix_seconds(at).unwrap_or(0);
        let zone = self.0.find_local_time_type(seconds);
        seconds.saturating_add(zone.map_or(0, |zone| zone.ut_offset()).into())
    }
}

impl Default for Local {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_rfc_3339() {
        assert_eq!(rfc3339(0).as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(
            rfc3339(951_782_400).as_deref(),
            Some("2000-02-29T00:00:00Z")
        );
        assert_eq!(rfc3339(-1).as_deref(), Some("1969-12-31T23:59:59Z"));
        assert_eq!(
            rfc3339(253_402_300_799).as_deref(),
            Some("9999-12-31T23:59:59Z")
        );
        assert_eq!(rfc3339(253_402_300_800), None);
        assert_eq!(rfc3339(i64::MAX), None);
    }

    #[test]
    fn the_wall_clock_follows_the_zones_rules() {
        let berlin = Local(TimeZone::from_posix_tz("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone"));
        let at = |s| SystemTime::UNIX_EPOCH + Duration::from_secs(s);
        assert_eq!(berlin.hms(at(1_795_371_389)), "19:16:29"); // winter
        assert_eq!(berlin.hms(at(1_784_743_200)), "20:00:00"); // summer
        assert_eq!(berlin.date_hms(at(1_795_390_000)), "2026-11-23 00:26:40");
        assert_eq!(Local(TimeZone::utc()).hms(at(86_399)), "23:59:59");
    }

    #[test]
    fn the_date_is_there_when_it_is_not_today() {
        let berlin = Local(TimeZone::from_posix_tz("CET-1").expect("a zone"));
        let at = |s| SystemTime::UNIX_EPOCH + Duration::from_secs(s);
        // Midnight in Berlin is 23:00 UTC.
        let midnight = 1_795_388_400;
        let short = |then, now| berlin.short(at(then), at(now));
        assert_eq!(short(midnight, midnight + 86_399), "00:00:00");
        assert_eq!(short(midnight - 1, midnight), "2026-11-22 23:59:59");
        assert_eq!(short(midnight, midnight - 1), "2026-11-23 00:00:00");
    }

    #[test]
    fn a_span_is_spelled_as_in_bsd() {
        let span = |s| span(Duration::from_secs(s));
        assert_eq!((span(0), span(3_599)), ("0:00".into(), "0:59".into()));
        assert_eq!(
            (span(86_399), span(86_400)),
            ("23:59".into(), "1+00:00".into())
        );
    }
}
