//! Pauses between attempts.

use std::time::Duration;

/// The pause after a first failure; it doubles with every further one.
const FIRST: Duration = Duration::from_millis(100);

/// Twice as long after every failure, and never the same for two who failed together.
pub(crate) fn pause(failures: u32, longest: Duration) -> Duration {
    let pause = (FIRST * 2_u32.saturating_pow(failures.min(20))).min(longest);
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_differ() {
        let longest = Duration::from_secs(10);
        assert!(pause(0, longest) <= FIRST && pause(0, longest) >= FIRST / 2);
        for failures in 0..40 {
            assert!(pause(failures, longest) <= longest);
        }
        assert!(pause(40, longest) >= longest / 2);
        assert_ne!(pause(10, longest), pause(10, longest));
    }
}
