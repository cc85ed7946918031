//! Decides which server gets which request, and when. Pure: it knows neither threads nor the
//! network, and the caller passes the time.
//!
//! - All requests of an item go to one server, which holds their common prefix. An item moves
//!   if its server fails, or if it waits there while another server has nothing to do.
//! - A new item goes to the server that has the fewest requests in relation to its limit.
//! - Each server has a [`limit::Limit`] on how many requests it gets at once.
//! - A server that fails is set aside and checked after pauses that grow, unless it is the last
//!   one. Its requests move to the others. Each of the tries that [`Retry`] allows may visit
//!   several servers; the pauses are between tries.

mod affinity;
mod latency;
mod limit;
mod member;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use backon::ExponentialBackoff;

use self::affinity::Affinity;
use self::member::{Member, MemberState};
use super::retry::Retry;
use amend_core::model::RequestId;

/// The most servers that one try of a request visits.
const MOST_VISITS: usize = 3;

/// The number of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MemberId(pub usize);

/// How a server failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// There is no connection to it.
    Unreachable,
    /// It reports an error that may pass.
    Status,
    /// It did not reply in time.
    Timeout,
    /// It refuses every request.
    Unusable,
}

/// What becomes of a request after a failure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NextTry {
    /// Another server gets it now.
    Moves,
    /// It is sent again after this pause.
    Pauses(Duration),
    /// It has no tries left.
    GivesUp,
}

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AfterFailure {
    /// What becomes of the request.
    pub request: NextTry,
    /// For how long the server is set aside, if it is.
    pub aside: Option<Duration>,
}

/// How busy a server was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberReport {
    /// The number of replies.
    pub replies: u64,
    /// The most requests that it had at once.
    pub peak: usize,
    /// How many requests it gets at once now.
    pub limit: usize,
    /// How often that number was lowered.
    pub decreases: u64,
}

/// The servers of an engine and the requests that have no result yet.
#[derive(Debug)]
pub struct Fleet {
    members: Vec<Member>,
    /// The largest number of requests that a server gets at once.
    parallel: usize,
    retry: Retry,
    items: Affinity,
    tickets: HashMap<RequestId, Ticket>,
    /// Requests that wait for a server to come.
    unplaced: VecDeque<RequestId>,
    /// Requests that wait for the time of their next try.
    pausing: Vec<(Instant, RequestId)>,
}

/// A request.
#[derive(Debug)]
struct Ticket {
    item: u64,
    /// The servers visited in this try.
    visits: usize,
    /// The pauses that are left.
    pauses: Option<ExponentialBackoff>,
}

impl Fleet {
    pub fn new(parallel: usize, retry: Retry) -> Self {
        Self {
            members: Vec::new(),
            parallel,
            retry,
            items: Affinity::default(),
            tickets: HashMap::new(),
            unplaced: VecDeque::new(),
            pausing: Vec::new(),
        }
    }

    /// Adds a server that has been checked.
    pub fn add(&mut self) -> MemberId {
        self.push(MemberState::Up)
    }

    /// Adds a server that must be checked at `time` before it is used.
    pub fn add_unchecked(&mut self, time: Instant) -> MemberId {
        self.push(MemberState::Aside(time))
    }

    fn push(&mut self, state: MemberState) -> MemberId {
        self.members.push(Member::new(state, self.parallel, self.retry.first_pause));
        MemberId(self.members.len() - 1)
    }

    /// Lists a server again that was removed.
    pub fn list(&mut self, id: MemberId, now: Instant) {
        let member = &mut self.members[id.0];
        member.is_listed = true;
        if member.state != MemberState::Checking {
            member.state = MemberState::Aside(now);
        }
    }

    /// Removes a server. It keeps the requests that it has, and gets no others.
    pub fn unlist(&mut self, id: MemberId) {
        self.members[id.0].is_listed = false;
        self.place_waiting(id);
    }

    /// How many requests the servers that are in use can get at once.
    pub fn width(&self) -> usize {
        self.parallel * self.usable().count().max(1)
    }

    /// Whether a server was not removed.
    pub fn is_listed(&self, id: MemberId) -> bool {
        self.members[id.0].is_listed
    }

    /// Whether there is a server in use.
    pub fn is_up(&self) -> bool {
        self.usable().next().is_some()
    }

    /// Whether there is another server in use.
    pub fn has_other(&self, id: MemberId) -> bool {
        self.usable().any(|other| other != id)
    }

    /// How busy a server was.
    pub fn report(&self, id: MemberId) -> MemberReport {
        let member = &self.members[id.0];
        MemberReport {
            replies: member.replies,
            peak: member.peak,
            limit: member.limit.current(),
            decreases: member.limit.decreases(),
        }
    }

    fn usable(&self) -> impl Iterator<Item = MemberId> {
        let all = self.members.iter().enumerate();
        all.filter(|(_, member)| member.is_usable()).map(|(at, _)| MemberId(at))
    }

    /// Adds a request about an item.
    pub fn submit(&mut self, id: RequestId, item: u64, now: Instant) {
        self.tickets.insert(id, Ticket { item, visits: 0, pauses: None });
        self.place(id, None, now);
    }

    /// Forgets a request that has no server yet, or whose result is not wanted any more.
    pub fn cancel(&mut self, id: RequestId) {
        if self.tickets.remove(&id).is_none() {
            return;
        }
        self.unplaced.retain(|&other| other != id);
        self.pausing.retain(|&(_, other)| other != id);
        for member in &mut self.members {
            member.waiting.retain(|&other| other != id);
        }
    }

    /// The next request to send, and its server. The caller sends it.
    pub fn next(&mut self, now: Instant) -> Option<(RequestId, MemberId)> {
        self.resume(now);
        if self.members.iter().all(|member| member.waiting.is_empty()) {
            return None;
        }
        for at in 0..self.members.len() {
            let id = MemberId(at);
            if !self.members[at].has_room(now) {
                continue;
            }
            let request = match self.members[at].waiting.pop_front() {
                Some(request) => request,
                None => match self.take_over(id, now) {
                    Some(request) => request,
                    None => continue,
                },
            };
            self.members[at].sends();
            return Some((request, id));
        }
        None
    }

    /// A request that waits at another server while this one is free. A few waiting requests
    /// are worth their prefix; they stay unless this server is mostly idle, their server wants
    /// no requests, or more wait than it computes at once.
    fn take_over(&mut self, id: MemberId, now: Instant) -> Option<RequestId> {
        let is_idle = 2 * self.members[id.0].in_flight <= self.members[id.0].limit.current();
        let mut best: Option<(f64, usize)> = None;
        for (at, donor) in self.members.iter().enumerate() {
            if donor.waiting.is_empty() || donor.has_room(now) {
                continue;
            }
            let is_crowded = donor.waiting.len() > donor.limit.current();
            if !(is_idle || is_crowded || donor.is_closed(now)) {
                continue;
            }
            let load = donor.load();
            if best.is_none_or(|(most, _)| load > most) {
                best = Some((load, at));
            }
        }
        let (_, donor) = best?;
        let request = self.members[donor].waiting.pop_front()?;
        if let Some(ticket) = self.tickets.get(&request) {
            self.items.set(ticket.item, id);
        }
        Some(request)
    }

    /// Places the requests whose pause is over, and those that waited for a server.
    fn resume(&mut self, now: Instant) {
        if self.is_up() {
            for id in std::mem::take(&mut self.unplaced) {
                self.place(id, None, now);
            }
        }
        while let Some(at) = self.pausing.iter().position(|&(due, _)| due <= now) {
            let (_, id) = self.pausing.swap_remove(at);
            self.place(id, None, now);
        }
    }

    /// Puts a request in the line of the server that has its item, or else of the least busy
    /// one. `avoid` is used only if there is no other.
    fn place(&mut self, id: RequestId, avoid: Option<MemberId>, now: Instant) {
        let Some(ticket) = self.tickets.get(&id) else { return };
        let item = ticket.item;
        let home = self.items.get(item).filter(|&home| Some(home) != avoid);
        let member = match home.filter(|home| self.members[home.0].is_usable()) {
            Some(home) => home,
            None => {
                let Some(member) = self.least_busy(avoid, now) else {
                    self.unplaced.push_back(id);
                    return;
                };
                self.items.set(item, member);
                member
            }
        };
        self.members[member.0].waiting.push_back(id);
    }

    fn least_busy(&self, avoid: Option<MemberId>, now: Instant) -> Option<MemberId> {
        let rank = |id: &MemberId| {
            let member = &self.members[id.0];
            (Some(*id) == avoid, member.is_closed(now), member.load())
        };
        self.usable().min_by(|left, right| {
            let (left, right) = (rank(left), rank(right));
            (left.0, left.1).cmp(&(right.0, right.1)).then(left.2.total_cmp(&right.2))
        })
    }

    /// Places the requests that wait at a server elsewhere.
    fn place_waiting(&mut self, id: MemberId) {
        // They are placed before the next request is sent.
        let waiting = std::mem::take(&mut self.members[id.0].waiting);
        self.unplaced.extend(waiting);
    }

    /// Notes that a server replied to a request with `size` tokens, after `taken`.
    pub fn replied(
        &mut self,
        id: RequestId,
        member: MemberId,
        size: u32,
        taken: Duration,
        now: Instant,
    ) {
        self.members[member.0].replied(size, taken, now, self.retry.first_pause);
        self.ended(id, member);
    }

    /// Notes that a request has ended without a statement about its server.
    pub fn ended(&mut self, id: RequestId, member: MemberId) {
        self.members[member.0].in_flight -= 1;
        self.tickets.remove(&id);
    }

    /// Notes that a server refused a request that was sent at `sent` because of its load, and
    /// wants no others until `open`. The request is the next one that the server gets.
    pub fn refused(
        &mut self,
        id: RequestId,
        member: MemberId,
        sent: Instant,
        now: Instant,
        open: Option<Instant>,
    ) {
        let member_id = member;
        let member = &mut self.members[member.0];
        member.in_flight -= 1;
        member.refused(sent, now, open);
        if !self.tickets.contains_key(&id) {
            return;
        }
        if member.is_usable() {
            member.waiting.push_front(id);
        } else {
            self.place(id, Some(member_id), now);
        }
    }

    /// Notes that a server failed to serve a request. `retry_after` is the pause that the
    /// server asks for. Overload is a failure that also lowers its limit.
    pub fn failed(
        &mut self,
        id: RequestId,
        member: MemberId,
        fault: Fault,
        retry_after: Option<Duration>,
        now: Instant,
    ) -> AfterFailure {
        let has_other = self.has_other(member);
        self.members[member.0].in_flight -= 1;
        let strikes_out = self.members[member.0].strikes_out(fault);
        let mut aside = None;
        if strikes_out && has_other && self.members[member.0].is_usable() {
            aside = Some(self.members[member.0].set_aside(now, self.retry.longest_pause));
            self.place_waiting(member);
        }
        let others = self.usable().filter(|&other| other != member).count();
        let retry = self.retry;
        let Some(ticket) = self.tickets.get_mut(&id) else {
            return AfterFailure { request: NextTry::GivesUp, aside };
        };
        ticket.visits += 1;
        let request = if ticket.visits < MOST_VISITS.min(others + 1) {
            self.place(id, Some(member), now);
            NextTry::Moves
        } else if fault == Fault::Timeout {
            NextTry::GivesUp
        } else {
            ticket.visits = 0;
            match ticket.pauses.get_or_insert_with(|| retry.pauses()).next() {
                Some(pause) => {
                    let pause = retry_after.unwrap_or(pause);
                    self.pausing.push((now + pause, id));
                    NextTry::Pauses(pause)
                }
                None => NextTry::GivesUp,
            }
        };
        if request == NextTry::GivesUp {
            self.tickets.remove(&id);
        }
        AfterFailure { request, aside }
    }

    /// Notes that a server refused a request as overloaded, beside its failure.
    pub fn overloaded(&mut self, member: MemberId, sent: Instant, now: Instant) {
        self.members[member.0].refused(sent, now, None);
    }

    /// A server that is due to be checked. The caller checks it and reports the result.
    pub fn next_check(&mut self, now: Instant) -> Option<MemberId> {
        let at = self.members.iter().position(|member| {
            member.is_listed && matches!(member.state, MemberState::Aside(due) if due <= now)
        })?;
        self.members[at].state = MemberState::Checking;
        Some(MemberId(at))
    }

    /// Notes the result of a check. Returns when a server that did not pass is checked again.
    pub fn checked(&mut self, id: MemberId, passed: bool, now: Instant) -> Option<Duration> {
        let longest = self.retry.longest_pause;
        let member = &mut self.members[id.0];
        if passed {
            member.comes_up();
            None
        } else {
            Some(member.set_aside(now, longest))
        }
    }
}

#[cfg(test)]
mod tests;
