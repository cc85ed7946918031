//! When to retry a request.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// When to retry a request, and how often.
///
/// Transient errors are retried: a failed connection, and statuses that say that the server
/// is at fault. Pauses double from try to try, and random jitter lengthens each by up to its
/// own length, so that requests that fail together are not retried together.
///
/// A rate limit uses up no try: it pauses all requests instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// The maximum number of tries, including the first.
    pub tries: u32,
    /// The pause after the first try, before jitter.
    pub first_pause: Duration,
    /// The longest pause that the server did not ask for, before jitter.
    pub longest_pause: Duration,
}

impl Default for Retry {
    /// Seven tries over half a minute to a minute.
    fn default() -> Self {
        Self {
            tries: 7,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(60),
        }
    }
}

impl Retry {
    /// The pause after each try but the last.
    pub(super) fn pauses(self) -> ExponentialBackoff {
        ExponentialBuilder::new()
            .with_factor(2.0)
            .with_min_delay(self.first_pause.min(self.longest_pause))
            .with_max_delay(self.longest_pause)
            .with_max_times(self.tries.saturating_sub(1) as usize)
            .with_jitter()
            .build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Retry = Retry {
        tries: 6,
        first_pause: Duration::from_millis(500),
        longest_pause: Duration::from_secs(3),
    };

    #[test]
    fn pauses_double_up_to_the_longest_with_jitter() {
        let bases = [0.5, 1.0, 2.0, 3.0, 3.0];
        let pauses: Vec<f64> = RETRY.pauses().map(|pause| pause.as_secs_f64()).collect();
        assert_eq!(pauses.len(), bases.len());
        for (pause, base) in pauses.iter().zip(bases) {
            assert!((base..=2.0 * base).contains(pause), "{pauses:?}");
        }
        let others: Vec<f64> = RETRY.pauses().map(|pause| pause.as_secs_f64()).collect();
        assert_ne!(pauses, others);
    }
}
