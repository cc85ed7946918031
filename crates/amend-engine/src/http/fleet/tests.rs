//! Scheduling with a simulated clock.

use super::*;

const RETRY: Retry =
    Retry { tries: 3, first_pause: Duration::from_secs(1), longest_pause: Duration::from_secs(8) };

/// A fleet of servers that take `parallel` requests each.
fn fleet(members: usize, parallel: usize) -> (Fleet, Instant) {
    let mut fleet = Fleet::new(parallel, RETRY);
    for _ in 0..members {
        fleet.add();
    }
    (fleet, Instant::now())
}

/// The requests that are sent now, with the numbers of their servers.
fn send(fleet: &mut Fleet, now: Instant) -> Vec<(RequestId, usize)> {
    std::iter::from_fn(|| fleet.next(now)).map(|(id, member)| (id, member.0)).collect()
}

fn second() -> Duration {
    Duration::from_secs(1)
}

fn reply(fleet: &mut Fleet, id: RequestId, member: usize, now: Instant) {
    fleet.replied(id, MemberId(member), 10, second(), now);
}

#[test]
fn new_items_go_to_the_least_busy_server_and_stay_there() {
    let (mut fleet, now) = fleet(3, 4);
    for id in 0..6 {
        fleet.submit(id, id, now);
    }
    let mut sent = send(&mut fleet, now);
    sent.sort_unstable();
    assert_eq!(sent, [(0, 0), (1, 1), (2, 2), (3, 0), (4, 1), (5, 2)]);
    // The next requests of the items, in another order and with other loads.
    for (id, member) in sent {
        if id != 0 && id != 3 {
            reply(&mut fleet, id, member, now);
        }
    }
    for item in [5, 1, 4, 2] {
        fleet.submit(10 + item, item, now);
    }
    let mut sent = send(&mut fleet, now);
    sent.sort_unstable();
    assert_eq!(sent, [(11, 1), (12, 2), (14, 1), (15, 2)]);
}

#[test]
fn a_server_gets_no_more_than_its_limit() {
    let (mut fleet, now) = fleet(2, 2);
    for id in 0..10 {
        fleet.submit(id, id, now);
    }
    let sent = send(&mut fleet, now);
    assert_eq!(sent.len(), 4);
    assert_eq!(fleet.width(), 4);
    let (id, member) = sent[0];
    reply(&mut fleet, id, member, now);
    assert_eq!(send(&mut fleet, now).len(), 1);
}

#[test]
fn an_idle_server_takes_over_what_waits_at_another() {
    let (mut fleet, now) = fleet(2, 2);
    // Five requests about one item.
    for id in 0..5 {
        fleet.submit(id, 7, now);
    }
    let sent = send(&mut fleet, now);
    let of = |member| sent.iter().filter(|&&(_, other)| other == member).count();
    assert_eq!((of(0), of(1)), (2, 2), "{sent:?}");
}

#[test]
fn a_few_waiting_requests_stay_where_their_prefix_is() {
    let (mut fleet, now) = fleet(2, 4);
    for id in 0..8 {
        fleet.submit(id, id % 2, now);
    }
    assert_eq!(send(&mut fleet, now).len(), 8);
    // One more of item 0, whose server is full; the other has one free place of four.
    fleet.submit(20, 0, now);
    reply(&mut fleet, 1, 1, now);
    assert_eq!(send(&mut fleet, now), []);
    reply(&mut fleet, 0, 0, now);
    assert_eq!(send(&mut fleet, now), [(20, 0)]);
}

#[test]
fn a_single_server_is_never_set_aside_and_has_all_tries() {
    let (mut fleet, mut now) = fleet(1, 4);
    fleet.submit(1, 1, now);
    for base in [1, 2] {
        assert_eq!(send(&mut fleet, now), [(1, 0)]);
        let after = fleet.failed(1, MemberId(0), Fault::Unreachable, None, now);
        assert_eq!(after.aside, None);
        let NextTry::Pauses(pause) = after.request else { panic!("{after:?}") };
        assert!((base..=2 * base).contains(&pause.as_secs()), "{pause:?}");
        assert_eq!(send(&mut fleet, now), [], "it pauses");
        now += pause;
    }
    assert_eq!(send(&mut fleet, now), [(1, 0)]);
    let after = fleet.failed(1, MemberId(0), Fault::Unreachable, None, now);
    assert_eq!(after, AfterFailure { request: NextTry::GivesUp, aside: None });
    assert_eq!(send(&mut fleet, now + 100 * second()), []);
}

#[test]
fn a_pause_that_the_server_asks_for_replaces_that_of_the_retry() {
    let (mut fleet, now) = fleet(1, 4);
    fleet.submit(1, 1, now);
    send(&mut fleet, now);
    let asked = Some(Duration::from_secs(99));
    let after = fleet.failed(1, MemberId(0), Fault::Status, asked, now);
    assert_eq!(after.request, NextTry::Pauses(Duration::from_secs(99)));
}

#[test]
fn requests_move_away_from_a_server_that_fails() {
    let (mut fleet, now) = fleet(2, 2);
    for id in 0..6 {
        fleet.submit(id, id, now);
    }
    assert_eq!(send(&mut fleet, now).len(), 4);
    // Server 0 has requests 0 and 2, and 4 waits for it.
    let after = fleet.failed(0, MemberId(0), Fault::Unreachable, None, now);
    assert_eq!(after, AfterFailure { request: NextTry::Moves, aside: Some(second()) });
    let after = fleet.failed(2, MemberId(0), Fault::Unreachable, None, now);
    assert_eq!(after, AfterFailure { request: NextTry::Moves, aside: None });
    assert_eq!(fleet.width(), 2);
    let mut served = Vec::new();
    for (id, member) in [(1, 1), (3, 1)] {
        reply(&mut fleet, id, member, now);
    }
    loop {
        let sent = send(&mut fleet, now);
        if sent.is_empty() {
            break;
        }
        for (id, member) in sent {
            assert_eq!(member, 1);
            reply(&mut fleet, id, member, now);
            served.push(id);
        }
    }
    served.sort_unstable();
    assert_eq!(served, [0, 2, 4, 5], "each exactly once");
}

#[test]
fn a_server_is_set_aside_for_growing_pauses_until_it_passes_and_replies() {
    let (mut fleet, mut now) = fleet(2, 1);
    fleet.submit(1, 1, now);
    send(&mut fleet, now);
    fleet.failed(1, MemberId(0), Fault::Unreachable, None, now);
    assert_eq!(fleet.next_check(now), None, "its pause has just begun");
    for pause in [2, 4, 8, 8] {
        now += 8 * second();
        assert_eq!(fleet.next_check(now), Some(MemberId(0)));
        assert_eq!(fleet.next_check(now), None, "it is being checked");
        let again = fleet.checked(MemberId(0), false, now);
        assert_eq!(again, Some(Duration::from_secs(pause)));
    }
    now += 8 * second();
    fleet.next_check(now);
    assert_eq!(fleet.checked(MemberId(0), true, now), None);
    assert_eq!(fleet.width(), 2);
    assert_eq!(send(&mut fleet, now), [(1, 1)]);
    // It passes checks, but no request: the pauses stay long.
    fleet.submit(2, 2, now);
    assert_eq!(send(&mut fleet, now), [(2, 0)]);
    let after = fleet.failed(2, MemberId(0), Fault::Unreachable, None, now);
    assert_eq!(after.aside, Some(8 * second()));
    now += 8 * second();
    fleet.next_check(now);
    fleet.checked(MemberId(0), true, now);
    assert_eq!(send(&mut fleet, now), [(2, 0)], "server 1 is busy");
    reply(&mut fleet, 2, 0, now);
    fleet.submit(3, 2, now);
    assert_eq!(send(&mut fleet, now), [(3, 0)]);
    let after = fleet.failed(3, MemberId(0), Fault::Unreachable, None, now);
    assert_eq!(after.aside, Some(second()), "a reply has made up for it");
}

#[test]
fn errors_and_timeouts_in_a_row_set_a_server_aside() {
    for fault in [Fault::Status, Fault::Timeout] {
        let (mut fleet, now) = fleet(2, 8);
        for id in 0..16 {
            fleet.submit(id, id, now);
        }
        send(&mut fleet, now);
        let mut aside = Vec::new();
        for id in [0, 2, 4, 6] {
            aside.push(fleet.failed(id, MemberId(0), fault, None, now).aside.is_some());
        }
        assert_eq!(aside, [false, false, true, false], "{fault:?}");
    }
}

#[test]
fn a_reply_between_errors_keeps_a_server() {
    let (mut fleet, now) = fleet(2, 8);
    for id in 0..16 {
        fleet.submit(id, id, now);
    }
    send(&mut fleet, now);
    for id in [0, 4, 8] {
        assert_eq!(fleet.failed(id, MemberId(0), Fault::Status, None, now).aside, None);
        reply(&mut fleet, id + 2, 0, now);
    }
}

#[test]
fn a_request_fails_after_every_try_visited_several_servers() {
    let (mut fleet, mut now) = fleet(4, 8);
    fleet.submit(1, 1, now);
    let mut visits = 0;
    let mut pauses = 0;
    loop {
        let sent = send(&mut fleet, now);
        let &[(1, member)] = &*sent else { panic!("{sent:?}") };
        visits += 1;
        match fleet.failed(1, MemberId(member), Fault::Status, None, now).request {
            NextTry::Moves => {}
            NextTry::Pauses(pause) => {
                pauses += 1;
                now += pause;
            }
            NextTry::GivesUp => break,
        }
    }
    assert_eq!((visits, pauses), (9, 2), "three tries of three servers each");
}

#[test]
fn a_timeout_is_tried_at_other_servers_but_not_again() {
    let (mut fleet, now) = fleet(2, 8);
    fleet.submit(1, 1, now);
    send(&mut fleet, now);
    let after = fleet.failed(1, MemberId(0), Fault::Timeout, None, now);
    assert_eq!(after.request, NextTry::Moves);
    assert_eq!(send(&mut fleet, now), [(1, 1)]);
    let after = fleet.failed(1, MemberId(1), Fault::Timeout, None, now);
    assert_eq!(after.request, NextTry::GivesUp);
}

#[test]
fn a_closed_server_waits_and_others_take_over() {
    let (mut fleet, now) = fleet(1, 4);
    for id in 0..4 {
        fleet.submit(id, id, now);
    }
    send(&mut fleet, now);
    let later = now + second();
    let open = later + 10 * second();
    for id in 0..4 {
        fleet.refused(id, MemberId(0), now, later, Some(open));
    }
    assert_eq!(send(&mut fleet, later), []);
    assert_eq!(send(&mut fleet, open).len(), 3, "the limit is lower");
    let id = fleet.add();
    assert_eq!(send(&mut fleet, open), [(0, id.0)]);
}

#[test]
fn a_server_that_is_removed_ends_its_requests_and_gets_no_others() {
    let (mut fleet, now) = fleet(2, 2);
    for id in 0..6 {
        fleet.submit(id, id, now);
    }
    assert_eq!(send(&mut fleet, now).len(), 4);
    fleet.unlist(MemberId(0));
    reply(&mut fleet, 0, 0, now);
    assert_eq!(send(&mut fleet, now), []);
    reply(&mut fleet, 1, 1, now);
    let sent = send(&mut fleet, now);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].1, 1);
    assert_eq!(fleet.next_check(now + 100 * second()), None);
    // It is listed again.
    fleet.list(MemberId(0), now);
    assert_eq!(fleet.next_check(now), Some(MemberId(0)));
    fleet.checked(MemberId(0), true, now);
    assert_eq!(send(&mut fleet, now).len(), 1);
}

#[test]
fn without_servers_requests_wait() {
    let (mut fleet, now) = fleet(1, 2);
    fleet.unlist(MemberId(0));
    fleet.submit(1, 1, now);
    assert_eq!(send(&mut fleet, now + 1000 * second()), []);
    assert!(!fleet.is_up());
    let id = fleet.add_unchecked(now);
    assert_eq!(send(&mut fleet, now), [], "it is not checked yet");
    assert_eq!(fleet.next_check(now), Some(id));
    fleet.checked(id, true, now);
    assert_eq!(send(&mut fleet, now), [(1, id.0)]);
}

#[test]
fn cancelled_requests_are_not_sent() {
    let (mut fleet, now) = fleet(1, 1);
    for id in 0..3 {
        fleet.submit(id, id, now);
    }
    assert_eq!(send(&mut fleet, now), [(0, 0)]);
    fleet.cancel(1);
    // One that is under way keeps its place until its result is here.
    fleet.cancel(0);
    assert_eq!(send(&mut fleet, now), []);
    fleet.ended(0, MemberId(0));
    assert_eq!(send(&mut fleet, now), [(2, 0)]);
    let after = fleet.failed(2, MemberId(0), Fault::Status, None, now);
    assert!(matches!(after.request, NextTry::Pauses(_)));
    fleet.cancel(2);
    assert_eq!(send(&mut fleet, now + 100 * second()), []);
}

/// Servers that fail, recover, join, leave, close and reply at random: no request is lost or
/// sent twice at once.
#[test]
fn no_request_is_lost_or_duplicated() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut fleet, mut now) = fleet(3, 3);
        let mut under_way: Vec<(RequestId, MemberId)> = Vec::new();
        let mut over = std::collections::BTreeSet::new();
        let mut submitted = 0;
        while over.len() < 120 {
            now += Duration::from_millis(random.u64(0..400));
            if submitted < 120 && submitted - over.len() < 20 {
                fleet.submit(submitted as u64, submitted as u64 / 4, now);
                submitted += 1;
            }
            while let Some((id, member)) = fleet.next(now) {
                assert!(!over.contains(&id), "it has ended");
                assert!(under_way.iter().all(|&(other, _)| other != id), "it is under way");
                under_way.push((id, member));
            }
            while let Some(member) = fleet.next_check(now) {
                fleet.checked(member, random.bool(), now);
            }
            let member = MemberId(random.usize(0..3));
            match random.u32(0..60) {
                0 => fleet.unlist(member),
                1 | 2 => fleet.list(member, now),
                _ => {}
            }
            if under_way.is_empty() {
                continue;
            }
            let (id, member) = under_way.swap_remove(random.usize(0..under_way.len()));
            let fault = [Fault::Unreachable, Fault::Status, Fault::Timeout][random.usize(0..3)];
            match random.u32(0..10) {
                0 => fleet.refused(id, member, now, now, Some(now + second())),
                1..=3 => {
                    let after = fleet.failed(id, member, fault, None, now);
                    if after.request == NextTry::GivesUp {
                        assert!(over.insert(id));
                    }
                }
                _ => {
                    fleet.replied(id, member, 5, second(), now);
                    assert!(over.insert(id));
                }
            }
        }
    }
}
