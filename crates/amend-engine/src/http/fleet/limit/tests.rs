//! The limit against simulated servers.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use proptest::prelude::*;

use super::*;

/// What happens to a request that is sent while `others` are under way.
enum Fate {
    /// A reply of some tokens after some seconds.
    Reply(u32, f64),
    /// It is refused because of the load.
    Refusal,
}

/// The course of a simulation.
struct Course {
    /// The limit after each request.
    limits: Vec<usize>,
    refusals: Vec<bool>,
    /// Seconds in all.
    seconds: f64,
}

impl Course {
    /// The mean limit over the second half.
    fn settled(&self) -> f64 {
        let late = &self.limits[self.limits.len() / 2..];
        late.iter().sum::<usize>() as f64 / late.len() as f64
    }

    /// The share of refusals in the second half.
    fn refused(&self) -> f64 {
        let late = &self.refusals[self.refusals.len() / 2..];
        late.iter().filter(|&&refused| refused).count() as f64 / late.len() as f64
    }
}

/// Sends `count` requests, as many at once as the limit allows. After a refusal, the requests
/// pause for half a second.
fn simulate(maximum: usize, count: usize, mut server: impl FnMut(usize, usize) -> Fate) -> Course {
    let start = Instant::now();
    let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
    let mut limit = Limit::new(maximum);
    let mut course = Course { limits: Vec::new(), refusals: Vec::new(), seconds: 0.0 };
    // The ends of requests in microseconds, with their beginnings and sizes. Size 0 is a refusal.
    let mut under_way: BinaryHeap<Reverse<(u64, u64, u32)>> = BinaryHeap::new();
    let (mut now, mut open, mut sent) = (0.0_f64, 0.0_f64, 0);
    let micros = |seconds: f64| (seconds * 1e6) as u64;
    while course.limits.len() < count {
        now = now.max(if under_way.is_empty() { open } else { now });
        while now >= open && under_way.len() < limit.current() {
            let (size, seconds) = match server(sent, under_way.len()) {
                Fate::Reply(size, seconds) => (size, seconds),
                Fate::Refusal => (0, 0.001),
            };
            sent += 1;
            under_way.push(Reverse((micros(now + seconds), micros(now), size)));
        }
        let Some(Reverse((end, begin, size))) = under_way.pop() else { continue };
        let in_flight = under_way.len() + 1;
        now = now.max(end as f64 / 1e6);
        let begun = begin as f64 / 1e6;
        if size == 0 {
            limit.refused(at(begun), at(now));
            open = open.max(now + 0.5);
        } else {
            let taken = Duration::from_secs_f64((now - begun).max(0.0));
            limit.succeeded(size, taken, at(now), in_flight);
        }
        course.limits.push(limit.current());
        course.refusals.push(size == 0);
    }
    course.seconds = now;
    course
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Lengths over three orders of magnitude, and a server whose speed varies by a third.
    #[test]
    fn variable_lengths_on_a_healthy_server_leave_the_limit_at_its_maximum(
        seed in any::<u64>(),
        maximum in 1_usize..200,
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let course = simulate(maximum, 6000, |_, _| {
            // Pareto with an infinite variance.
            let tokens = (8.0 / (1.0 - random.f64()).powf(0.8)).min(8000.0) as u32;
            let speed = 0.02 * (0.8 + 0.4 * random.f64());
            Fate::Reply(tokens.max(1), 0.1 * random.f64() + f64::from(tokens) * speed)
        });
        prop_assert_eq!(course.limits.iter().min(), Some(&maximum));
    }

    /// A server with `places` that queues the rest loses no throughput.
    #[test]
    fn a_server_that_queues_stays_busy(
        seed in any::<u64>(),
        places in 1_usize..32,
        maximum in 1_usize..64,
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let course = simulate(maximum, 4000, |_, others| {
            let wait = ((others + 1) as f64 / places as f64).max(1.0);
            let tokens = random.u32(20..200);
            Fate::Reply(tokens, f64::from(tokens) * 0.01 * wait)
        });
        prop_assert!(course.settled() >= 0.9 * places.min(maximum) as f64, "{}", course.settled());
    }

    /// A hard cap is found, and seldom tried again.
    #[test]
    fn a_cap_is_found(seed in any::<u64>(), cap in 1_usize..32, over in 1_usize..40) {
        let mut random = fastrand::Rng::with_seed(seed);
        let course = simulate(cap + over, 6000, |_, others| {
            if others >= cap {
                return Fate::Refusal;
            }
            Fate::Reply(100, 0.8 + 0.4 * random.f64())
        });
        let settled = course.settled() / cap as f64;
        prop_assert!((0.7..=1.3).contains(&settled) || cap == 1, "{settled}");
        prop_assert!(course.refused() < 0.05, "{}", course.refused());
    }

    /// A server that becomes slower by a factor gets fewer requests, but never only one, and
    /// all of them again when it has recovered.
    #[test]
    fn a_slower_server_gets_fewer_requests_until_it_recovers(factor in 3_u32..8) {
        let course = simulate(32, 9000, |sent, _| {
            let is_slow = (1000..3000).contains(&sent);
            Fate::Reply(100, if is_slow { f64::from(factor) } else { 1.0 })
        });
        let least = *course.limits.iter().min().unwrap_or(&0);
        prop_assert!((4..28).contains(&least), "{least}");
        prop_assert_eq!(course.limits.last(), Some(&32));
    }
}

#[test]
fn requests_that_were_under_way_lower_the_limit_once() {
    let mut limit = Limit::new(16);
    let start = Instant::now();
    let later = start + Duration::from_millis(10);
    for _ in 0..16 {
        limit.refused(start, later);
    }
    assert_eq!((limit.current(), limit.decreases()), (12, 1));
    limit.refused(later + Duration::from_millis(1), later + Duration::from_millis(2));
    assert_eq!((limit.current(), limit.decreases()), (9, 2));
}

#[test]
fn a_limit_is_at_least_1() {
    let mut limit = Limit::new(2);
    let start = Instant::now();
    for second in 0..20 {
        let sent = start + Duration::from_secs(second);
        limit.refused(sent, sent);
    }
    assert_eq!(limit.current(), 1);
    assert_eq!(Limit::new(0).current(), 1);
}

#[test]
fn a_server_with_free_places_says_nothing_about_a_higher_limit() {
    let mut limit = Limit::new(16);
    let start = Instant::now();
    limit.refused(start, start);
    for _ in 0..500 {
        limit.succeeded(100, Duration::from_secs(1), start, 1);
    }
    assert_eq!(limit.current(), 12);
    for _ in 0..500 {
        limit.succeeded(100, Duration::from_secs(1), start, 12);
    }
    assert_eq!(limit.current(), 16);
}
