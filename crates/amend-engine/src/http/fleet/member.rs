//! One server of a fleet: whether it is used, and how busy it is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Fault;
use super::limit::Limit;
use amend_core::model::RequestId;

/// After how many failures in a row, without a reply between them, a server that can be reached
/// is set aside.
const MOST_STRIKES: u32 = 3;

/// Whether a server gets requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberState {
    /// It does.
    Up,
    /// It does not, and is checked at this time.
    Aside(Instant),
    /// It is being checked.
    Checking,
}

/// A server of a fleet.
#[derive(Debug)]
pub struct Member {
    pub state: MemberState,
    /// Whether it is still one of the servers that the user lists.
    pub is_listed: bool,
    pub limit: Limit,
    /// The requests that it has.
    pub in_flight: usize,
    /// The requests that it gets next.
    pub waiting: VecDeque<RequestId>,
    /// Until when it wants no requests.
    closed: Option<Instant>,
    /// Failures in a row.
    strikes: u32,
    /// How long it is set aside the next time.
    pause: Duration,
    /// The number of requests that it replied to.
    pub replies: u64,
    /// The most requests that it had at once.
    pub peak: usize,
}

impl Member {
    pub fn new(state: MemberState, parallel: usize, first_pause: Duration) -> Self {
        Self {
            state,
            is_listed: true,
            limit: Limit::new(parallel),
            in_flight: 0,
            waiting: VecDeque::new(),
            closed: None,
            strikes: 0,
            pause: first_pause,
            replies: 0,
            peak: 0,
        }
    }

    /// Whether requests may be placed with it.
    pub fn is_usable(&self) -> bool {
        self.is_listed && self.state == MemberState::Up
    }

    /// Whether it has asked for a pause.
    pub fn is_closed(&self, now: Instant) -> bool {
        self.closed.is_some_and(|open| now < open)
    }

    /// Whether it takes another request now.
    pub fn has_room(&self, now: Instant) -> bool {
        self.is_usable() && !self.is_closed(now) && self.in_flight < self.limit.current()
    }

    /// Its requests in relation to its limit.
    pub fn load(&self) -> f64 {
        (self.in_flight + self.waiting.len()) as f64 / self.limit.current() as f64
    }

    /// Notes that it gets a request.
    pub fn sends(&mut self) {
        self.in_flight += 1;
        self.peak = self.peak.max(self.in_flight);
    }

    /// Notes a reply of `size` tokens.
    pub fn replied(&mut self, size: u32, taken: Duration, now: Instant, first_pause: Duration) {
        self.limit.succeeded(size, taken, now, self.in_flight);
        self.replies += 1;
        self.strikes = 0;
        self.pause = first_pause;
    }

    /// Notes that it refused a request because of its load, and wants no others until `open`.
    pub fn refused(&mut self, sent: Instant, now: Instant, open: Option<Instant>) {
        self.limit.refused(sent, now);
        self.closed = self.closed.max(open);
    }

    /// Notes a failure. Returns whether to set it aside, if there are other servers.
    pub fn strikes_out(&mut self, fault: Fault) -> bool {
        self.strikes += 1;
        match fault {
            Fault::Unreachable | Fault::Unusable => true,
            Fault::Status | Fault::Timeout => self.strikes >= MOST_STRIKES,
        }
    }

    /// Sets it aside. Returns for how long.
    pub fn set_aside(&mut self, now: Instant, longest: Duration) -> Duration {
        let pause = self.pause;
        self.state = MemberState::Aside(now + pause);
        self.pause = (2 * pause).min(longest);
        pause
    }

    /// Uses it again.
    pub fn comes_up(&mut self) {
        self.state = MemberState::Up;
        self.strikes = 0;
        self.closed = None;
    }
}
