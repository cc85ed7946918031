//! The pause of all requests to a server that limits their rate.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::retry::Retry;

/// Stands before every request to one server. A rate limit closes it for all of them, for as
/// long as the server asks. If the server does not say how long, the pauses double from the
/// shortest to the longest of [`Retry`] until a request succeeds.
#[derive(Debug, Default)]
pub struct RateLimitGate(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// When the gate was closed last, and until when.
    closed: Option<(Instant, Instant)>,
    /// How often it was closed since a request succeeded.
    strikes: u32,
}

impl RateLimitGate {
    /// Waits until the gate is open, and a random moment longer, so that not all requests
    /// are sent at once.
    pub fn pass(&self, retry: Retry) {
        let mut has_waited = false;
        loop {
            let left = self.left(Instant::now());
            if left.is_zero() {
                break;
            }
            has_waited = true;
            std::thread::sleep(left);
        }
        if has_waited {
            std::thread::sleep(retry.first_pause.mul_f32(fastrand::f32()));
        }
    }

    /// Closes the gate after the rate limit of a request that was sent at `sent`. Returns how
    /// long it is closed from `now` on, or `None` if this changes nothing.
    pub fn close(
        &self,
        retry: Retry,
        sent: Instant,
        now: Instant,
        requested: Option<Duration>,
    ) -> Option<Duration> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Requests that were under way when the gate was closed meet the same limit.
        let is_known = state.closed.is_some_and(|(closed, _)| sent <= closed);
        if !is_known {
            state.strikes += 1;
        }
        let pause = match requested {
            Some(requested) if requested >= retry.first_pause => requested,
            // A server that asks for no pause may do so forever.
            Some(requested) if state.strikes <= 1 => requested,
            _ if is_known => return None,
            _ => {
                let doublings = (state.strikes - 1).min(16);
                retry.first_pause.saturating_mul(1 << doublings).min(retry.longest_pause)
            }
        };
        // A date so far away that the clock can't hold it is as good as a year.
        let until = now.checked_add(pause).unwrap_or(now + Duration::from_secs(365 * 86400));
        if state.closed.is_some_and(|(_, open)| until <= open) {
            return None;
        }
        // The first of many requests reports the pause; the others prolong it by the moment
        // that they came later.
        let is_longer = match state.closed {
            Some((_, open)) if is_known => until.duration_since(open) > retry.first_pause,
            _ => true,
        };
        state.closed = Some((now, until));
        if is_longer { Some(pause) } else { None }
    }

    /// Notes that a request succeeded.
    pub fn succeeded(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).strikes = 0;
    }

    /// When it is open again, or was opened last. `None` if it was never closed.
    pub fn open_at(&self) -> Option<Instant> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.closed.map(|(_, open)| open)
    }

    /// How long it is still closed.
    fn left(&self, now: Instant) -> Duration {
        match self.open_at() {
            Some(open) => open.saturating_duration_since(now),
            None => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Retry = Retry {
        tries: 1,
        first_pause: Duration::from_millis(500),
        longest_pause: Duration::from_secs(3),
    };

    #[test]
    fn bare_limits_close_the_gate_for_doubling_pauses_until_a_request_succeeds() {
        let gate = RateLimitGate::default();
        let mut now = Instant::now();
        for seconds in [0.5, 1.0, 2.0, 3.0, 3.0] {
            let pause = gate.close(RETRY, now, now, None).unwrap();
            assert_eq!(pause.as_secs_f64(), seconds);
            assert_eq!(gate.left(now), pause);
            now += pause + Duration::from_millis(1);
            assert_eq!(gate.left(now), Duration::ZERO);
        }
        gate.succeeded();
        assert_eq!(gate.close(RETRY, now, now, None), Some(RETRY.first_pause));
    }

    #[test]
    fn requests_that_were_under_way_share_one_pause() {
        let gate = RateLimitGate::default();
        let sent = Instant::now();
        let close = |milliseconds, requested| {
            gate.close(RETRY, sent, sent + Duration::from_millis(milliseconds), requested)
        };
        assert!(close(1, None).is_some());
        assert_eq!(close(2, None), None);
        let minute = Duration::from_secs(60);
        assert_eq!(close(3, Some(minute)), Some(minute));
        assert_eq!(close(4, Some(minute)), None, "it is the same minute");
        let far = Duration::from_secs(u64::MAX);
        assert_eq!(close(5, Some(far)), Some(far));
    }

    #[test]
    fn a_server_that_asks_for_no_pause_is_not_asked_without_end() {
        let gate = RateLimitGate::default();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..4 {
            now += Duration::from_secs(10);
            gate.close(RETRY, now, now, Some(Duration::ZERO));
            pauses.push(gate.left(now).as_millis());
        }
        assert_eq!(pauses, [0, 1000, 2000, 3000]);
    }
}
