//! Rates as they stand in a setting, like `100/1h`.

use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use service_shell::settings::duration;

/// So many at once, and on average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub(super) count: NonZeroU32,
    period: Duration,
}

impl Rate {
    /// This many in this time; neither can be zero.
    #[must_use]
    pub fn new(count: u32, period: Duration) -> Option<Self> {
        let count = NonZeroU32::new(count)?;
        let each = period / count.get();
        (!each.is_zero()).then_some(Self { count, period })
    }

    pub(super) fn each(self) -> Duration {
        self.period / self.count.get()
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let remedy = || "write a rate like 100/1h or 5/1m, or off".to_owned();
        let (count, period) = text.split_once('/').ok_or_else(remedy)?;
        let (count, period) = (count.trim(), period.trim());
        // `5/m` is said as well as `5/1m`.
        let period = if period.starts_with(|first: char| first.is_ascii_digit()) {
            duration(period)
        } else {
            duration(&format!("1{period}"))
        };
        let period = period.map_err(|_| remedy())?;
        let count = count.parse().map_err(|_| remedy())?;
        if period > Duration::from_hours(24) {
            return Err(
                "use a time of a day at the most: what is counted is forgotten with a restart"
                    .to_owned(),
            );
        }
        Self::new(count, period).ok_or_else(remedy)
    }
}

/// A rate, or none.
///
/// # Errors
/// What would be right.
pub(crate) fn rate_or_off(text: &str) -> Result<Limit, String> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(Limit(None));
    }
    text.parse().map(|rate| Limit(Some(rate)))
}

/// A rate, or no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(pub Option<Rate>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_written_as_people_say_them() {
        let rate = |count, seconds| Ok(Limit(Rate::new(count, Duration::from_secs(seconds))));
        assert_eq!(rate_or_off("100/1h"), rate(100, 3600));
        assert_eq!(rate_or_off("5/m"), rate(5, 60));
        assert_eq!(rate_or_off(" 5 / 90s"), rate(5, 90));
        assert_eq!(rate_or_off("OFF"), Ok(Limit(None)));
        for text in [
            "",
            "5",
            "0/1m",
            "5/0s",
            "-1/1m",
            "5/",
            "/1m",
            "5/x",
            "5/2d",
            "1000000000/1ns",
        ] {
            assert!(rate_or_off(text).is_err(), "{text}");
        }
    }
}
