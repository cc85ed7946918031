//! How many requests one server gets at once: additive increase, multiplicative decrease.

use std::time::{Duration, Instant};

use super::latency::Latency;

/// What is left of the limit after the server refused a request because of its load.
const AFTER_REFUSAL: f64 = 0.75;

/// What is left of the limit after replies have become slower.
const AFTER_RISE: f64 = 0.9;

/// The longest that the limit waits before it grows again, in rounds of successful requests.
const MOST_PATIENCE: f64 = 64.0;

/// A limit between 1 and the maximum, at which it starts.
///
/// It grows by 1 after a round of successful requests, that is, as many as are allowed at
/// once. Back at the value that was too high, it waits for more rounds. They double with each
/// decrease and halve once that value was passed: the limit seldom tries again what the server
/// just refused, and soon reaches the maximum of a server that has recovered.
#[derive(Debug)]
pub struct Limit {
    maximum: usize,
    current: f64,
    /// The successful requests since the last change.
    successes: f64,
    /// The value that was too high, if the limit did not pass it since.
    ceiling: Option<f64>,
    /// The rounds before that value is tried again.
    patience: f64,
    /// When the limit was lowered last.
    lowered: Option<Instant>,
    /// How often it was lowered.
    decreases: u64,
    latency: Latency,
}

impl Limit {
    pub fn new(maximum: usize) -> Self {
        let maximum = maximum.max(1);
        Self {
            maximum,
            current: maximum as f64,
            successes: 0.0,
            ceiling: None,
            patience: 1.0,
            lowered: None,
            decreases: 0,
            latency: Latency::default(),
        }
    }

    /// How many requests are allowed at once.
    pub fn current(&self) -> usize {
        (self.current as usize).clamp(1, self.maximum)
    }

    /// How often the limit was lowered.
    pub fn decreases(&self) -> u64 {
        self.decreases
    }

    /// Notes a reply of `size` tokens to a request that took `taken` until `now`, while
    /// `in_flight` requests were under way, itself included.
    pub fn succeeded(&mut self, size: u32, taken: Duration, now: Instant, in_flight: usize) {
        if self.latency.add(size, taken, in_flight) {
            self.lower(AFTER_RISE, now);
            return;
        }
        // A server with free places says nothing about a higher limit.
        if 2 * in_flight < self.current() || self.current >= self.maximum as f64 {
            return;
        }
        self.successes += 1.0;
        let next = (self.current + 1.0).min(self.maximum as f64);
        let is_tried = self.ceiling.is_some_and(|ceiling| next.floor() >= ceiling.floor());
        let rounds = if is_tried { self.patience } else { 1.0 };
        if self.successes < rounds * self.current {
            return;
        }
        if self.ceiling.is_some_and(|ceiling| self.current >= ceiling) {
            self.ceiling = None;
            self.patience = (self.patience / 2.0).max(1.0);
        }
        self.current = next;
        self.successes = 0.0;
    }

    /// Notes that the server refused a request that was sent at `sent` because of its load.
    /// Requests that were under way at the last decrease change nothing.
    pub fn refused(&mut self, sent: Instant, now: Instant) {
        if self.lowered.is_none_or(|lowered| sent > lowered) {
            self.lower(AFTER_REFUSAL, now);
        }
    }

    fn lower(&mut self, factor: f64, now: Instant) {
        self.ceiling = Some(self.current);
        self.current = (self.current * factor).max(1.0);
        self.successes = 0.0;
        self.patience = (self.patience * 2.0).min(MOST_PATIENCE);
        self.lowered = Some(now);
        self.decreases += 1;
    }
}

#[cfg(test)]
mod tests;
