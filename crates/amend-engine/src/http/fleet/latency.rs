//! Notices when a server answers clearly more slowly than it used to.
//!
//! Replies differ in length, so each is compared with earlier ones of about its own size: the
//! sizes form classes of powers of two, and each class has a long-term mean. The means are of
//! logarithms, which a few very slow replies hardly move.
//!
//! As in the Gradient2 limit of Netflix's concurrency-limits, what counts as normal follows the
//! server. A lasting rise is reported for a while and is then the new normal: a server that
//! became slower for good is not throttled more and more.

use std::time::Duration;

/// How much slower than normal counts as a rise.
const TOLERANCE: f64 = 1.5;

/// How many windows in a row must be too slow.
const SUSTAINED: u32 = 2;

/// The least number of replies in a window.
const LEAST_WINDOW: usize = 32;

/// The number of replies over which the mean of a class forgets.
const MEMORY: f64 = 1000.0;

/// Replies that take less count as if they took this many seconds: the time of very fast ones
/// depends on how busy this machine is.
const LEAST_SECONDS: f64 = 0.05;

/// A class needs this many replies before others are compared with its mean.
const FAMILIAR: f64 = 8.0;

/// How far what counts as normal moves towards a window that is slower, and one that is faster.
const UPWARD: f64 = 0.125;
const DOWNWARD: f64 = 0.5;

/// How long replies took, by size.
#[derive(Debug, Default)]
pub struct Latency {
    classes: [Class; 24],
    /// The sum of the logarithms of the ratios to the means of the classes, in this window.
    sum: f64,
    count: usize,
    /// The mean of such logarithms that is normal now.
    normal: f64,
    /// How many windows in a row were too slow.
    slow: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Class {
    /// The number of replies, up to [`MEMORY`].
    weight: f64,
    /// The mean of the logarithms of their seconds.
    mean: f64,
}

impl Latency {
    /// Adds a reply of `size` tokens. Returns whether it ends a window with which the replies
    /// have been too slow for some time. `in_flight` is how many requests are under way: a
    /// window spans at least two rounds of them.
    pub fn add(&mut self, size: u32, taken: Duration, in_flight: usize) -> bool {
        let at = size.checked_ilog2().map_or(0, |log| log as usize + 1);
        let class = &mut self.classes[at.min(23)];
        let seconds = taken.as_secs_f64().max(LEAST_SECONDS).ln();
        if class.weight >= FAMILIAR {
            self.sum += seconds - class.mean;
            self.count += 1;
        }
        class.weight = (class.weight + 1.0).min(MEMORY);
        class.mean += (seconds - class.mean) / class.weight;
        if self.count < LEAST_WINDOW.max(2 * in_flight) {
            return false;
        }
        let rise = self.sum / self.count as f64 - self.normal;
        (self.sum, self.count) = (0.0, 0);
        self.normal += rise * if rise > 0.0 { UPWARD } else { DOWNWARD };
        self.slow = if rise > TOLERANCE.ln() { self.slow + 1 } else { 0 };
        self.slow >= SUSTAINED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many rises are noticed in replies with these sizes and milliseconds.
    fn rises(replies: impl IntoIterator<Item = (u32, u64)>) -> usize {
        let mut latency = Latency::default();
        let replies = replies.into_iter();
        replies.filter(|&(size, ms)| latency.add(size, Duration::from_millis(ms), 8)).count()
    }

    #[test]
    fn a_lasting_rise_is_noticed_and_becomes_the_new_normal() {
        let steady = (0..1000).map(|_| (100, 1000));
        assert_eq!(rises(steady.clone()), 0);
        let slower = steady.clone().chain((0..2000).map(|_| (100, 3000)));
        let noticed = rises(slower);
        assert!((3..12).contains(&noticed), "{noticed}");
        assert_eq!(rises(steady.clone().chain((0..2000).map(|_| (100, 1300)))), 0);
    }

    #[test]
    fn longer_replies_are_no_rise() {
        let short = (0..500).map(|_| (10, 200));
        let long = (0..500).map(|_| (1000, 20_000));
        assert_eq!(rises(short.chain(long)), 0);
    }

    #[test]
    fn very_fast_replies_are_no_rise() {
        let fast = (0..500).map(|_| (100, 1));
        assert_eq!(rises(fast.chain((0..500).map(|_| (100, 20)))), 0);
    }

    #[test]
    fn a_few_slow_replies_are_no_rise() {
        assert_eq!(rises((0..2000).map(|n| (100, if n % 20 == 0 { 60_000 } else { 1000 }))), 0);
    }
}
