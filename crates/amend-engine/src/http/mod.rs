//! A model behind OpenAI-compatible servers: llama-server, vLLM, SGLang, Ollama, LM Studio,
//! OpenRouter, or others. There may be several servers of the same model.
//!
//! A pool of threads talks to the servers, one for each request in flight. [`Http::step`]
//! gives them the requests that the fleet selects, and waits for their results. It differs
//! from a model in this process as follows:
//!
//! - The server applies its own chat template and tokenizer. Tokens therefore can't be
//!   shown or counted in advance, and whether content can become a control token is up
//!   to the server.
//! - The seed of a request is derived from its stream, but a server may use it as it
//!   likes: the same request need not give the same text twice.
//! - The probability of a choice is read from the twenty most likely tokens, the
//!   maximum that the API allows. A choice that is not among them gets the
//!   log-probability of the least likely one, which is an upper bound.
//! - A final assistant turn is the beginning of the response. Some servers continue it, some
//!   only on request, and some start a new turn. The probe finds out which, and how
//!   choices are asked for.
//! - Servers differ in the names of settings, in how they switch, limit and return thoughts,
//!   and in what they refuse. The dialect has what is known in advance, and the profile what
//!   was found out.
//! - A given text can't be scored: only some servers report the log-probabilities of a
//!   prompt, each in its own format.

mod address;
mod batch;
mod client;
mod dialect;
mod endpoints_file;
mod fleet;
mod gate;
mod jobs;
mod known_server;
mod model_entry;
mod notices;
mod pool;
mod probe;
mod profile;
mod retry;
mod send_error;
mod servers;
mod settings;
mod transport;
mod wire;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

pub use self::address::{Address, AddressError, Key};
pub use self::batch::{
    BatchEngine, BatchExchange, BatchResult, BatchServer, BatchSettings, MAX_TRIES,
};
use self::client::AttemptError;
pub use self::endpoints_file::{EndpointsError, EndpointsFile};
use self::fleet::{Fault, Fleet, MemberId, NextTry};
use self::jobs::{Exchange, HttpJob, HttpResult};
use self::pool::Pool;
pub use self::profile::ChoiceWay;
pub use self::retry::Retry;
use self::send_error::SendError;
use self::servers::Servers;
pub use self::settings::{API_KEY, EndpointSettings};
pub use self::wire::parse as parse_reply;
use amend_core::model::{
    Capabilities, Counters, Description, Engine, EngineError, Event, Failure, ProbeError,
    ProbeNeeds, PromptTokens, Request, RequestId,
};

/// What this engine can do. A server batches requests as it likes, so its results
/// are not deterministic.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    scores_texts: false,
    knows_tokens: false,
    is_deterministic: false,
    measures_batches: false,
};

/// How long a step waits before it returns to its caller, which may drive a second
/// engine: no longer than a batch of that engine takes.
const STEP_TIMEOUT: Duration = Duration::from_millis(5);

/// An engine that sends its requests to servers.
pub struct Http {
    settings: Arc<EndpointSettings>,
    servers: Servers,
    fleet: Fleet,
    pool: Pool<HttpJob, HttpResult>,
    /// The requests that have no result yet, by their serial numbers. `None` while a thread has
    /// the request.
    pending: HashMap<u64, Option<Box<Request>>>,
    /// The serial numbers of the pending requests. Ids may be used again after a cancellation.
    serials: HashMap<RequestId, u64>,
    submitted: u64,
    counters: Counters,
}

impl Http {
    /// Requests each server's list of models.
    ///
    /// # Errors
    /// No server can be reached, or one rejects the key or does not have the model.
    pub fn connect(settings: &EndpointSettings) -> Result<Self, EngineError> {
        let settings = Arc::new(settings.clone());
        let servers = Servers::connect(&settings)?;
        let mut fleet = Fleet::new(settings.parallel(), settings.retry);
        for id in servers.ids() {
            match servers.client(id) {
                Some(_) => fleet.add(),
                None => fleet.add_unchecked(Instant::now() + settings.retry.first_pause),
            };
        }
        Ok(Self {
            settings,
            servers,
            fleet,
            pool: Pool::new(HttpJob::run),
            pending: HashMap::new(),
            serials: HashMap::new(),
            submitted: 0,
            counters: Counters::default(),
        })
    }

    /// Gives the threads the checks and the requests that are due.
    fn send(&mut self) -> Result<(), EngineError> {
        let now = Instant::now();
        self.reread(now);
        while let Some(member) = self.fleet.next_check(now) {
            let checkup = Box::new(self.servers.checkup(member));
            self.start(HttpJob::Check { member, checkup })?;
        }
        while let Some((serial, member)) = self.fleet.next(now) {
            let request = self.pending.get_mut(&serial).and_then(Option::take);
            let (Some(request), Some(client)) = (request, self.servers.client(member)) else {
                self.fleet.ended(serial, member);
                continue;
            };
            let client = Arc::clone(client);
            self.start(HttpJob::Run { serial, member, client, request })?;
        }
        Ok(())
    }

    fn start(&mut self, job: HttpJob) -> Result<(), EngineError> {
        self.pool.send(job).map_err(|error| {
            EngineError::new("failed to start another thread for a request to a server")
                .hinted("lower --parallel")
                .caused_by(error)
        })
    }

    /// Adds and removes servers if the file that lists them has changed.
    fn reread(&mut self, now: Instant) {
        let addresses = match self.servers.poll(now) {
            None => return,
            Some(Ok(addresses)) => addresses,
            Some(Err(error)) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                let cause = cause.filter(|cause| !error.to_string().contains(cause));
                let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
                tracing::warn!("{error}{cause}; the servers stay as they are");
                return;
            }
        };
        let mut known = Vec::new();
        for id in self.servers.ids() {
            let address = self.servers.address(id).clone();
            match (self.fleet.is_listed(id), addresses.contains(&address)) {
                (true, false) => {
                    tracing::info!("{address} gets no more requests");
                    self.fleet.unlist(id);
                }
                (false, true) => self.fleet.list(id, now),
                (true, true) | (false, false) => {}
            }
            known.push(address);
        }
        if addresses.is_empty() {
            tracing::warn!("no server is listed any more: requests wait until there is one");
        }
        for address in addresses {
            if !known.contains(&address) {
                self.servers.add(address);
                self.fleet.add_unchecked(now);
            }
        }
    }

    /// Takes a result, and appends its events to `events`.
    fn receive(&mut self, result: HttpResult, events: &mut Vec<Event>) -> Result<(), EngineError> {
        match result {
            HttpResult::Checked { member, result } => {
                let passed = self.servers.checked(member, result);
                self.fleet.checked(member, passed, Instant::now());
                Ok(())
            }
            HttpResult::Ran(exchange) => self.take(*exchange, events),
        }
    }

    fn take(&mut self, exchange: Exchange, events: &mut Vec<Event>) -> Result<(), EngineError> {
        let Exchange { serial, member, client, request, sent, taken, usage, events: result } =
            exchange;
        let now = Instant::now();
        let is_wanted = self.pending.contains_key(&serial);
        if is_wanted {
            self.counters.prefilled += u64::from(usage.prefilled());
            self.counters.cached += u64::from(usage.cached);
            self.counters.decoded += u64::from(usage.decoded);
        }
        match result {
            Ok(new_events) => {
                client.transport.succeeded();
                match size(&new_events) {
                    Some(size) => self.fleet.replied(serial, member, size, taken, now),
                    None => self.fleet.ended(serial, member),
                }
                if is_wanted {
                    self.end(serial, request.id);
                    events.extend(new_events);
                }
                Ok(())
            }
            Err(AttemptError::Retry(error)) if error.is_rate_limit() => {
                client.transport.rate_limited(&error, sent);
                // Not all clients of a server should send at once when a pause is over.
                let jitter = self.settings.retry.first_pause.mul_f32(fastrand::f32());
                let open = client.transport.open_at().map(|open| open + jitter);
                self.fleet.refused(serial, member, sent, now, open);
                self.keep(serial, request);
                Ok(())
            }
            Err(AttemptError::Retry(error)) => {
                if error.is_overload() {
                    self.fleet.overloaded(member, sent, now);
                }
                let failed = (fault(&error), error.retry_after());
                self.try_again(serial, member, request, failed, &error.to_string(), events);
                Ok(())
            }
            Err(AttemptError::Final(error)) if self.fleet.has_other(member) => {
                let failed = (Fault::Unusable, None);
                self.try_again(serial, member, request, failed, &error.to_string(), events);
                Ok(())
            }
            Err(AttemptError::Final(error)) => Err(error),
        }
    }

    /// Decides what becomes of a request and of its server after a failure. `failed` is what
    /// failed, and the pause that the server asks for.
    fn try_again(
        &mut self,
        serial: u64,
        member: MemberId,
        request: Box<Request>,
        failed: (Fault, Option<Duration>),
        error: &str,
        events: &mut Vec<Event>,
    ) {
        let (fault, retry_after) = failed;
        let after = self.fleet.failed(serial, member, fault, retry_after, Instant::now());
        if let Some(pause) = after.aside {
            let address = self.servers.address(member);
            let seconds = pause.as_secs_f32();
            tracing::warn!("{error}; {address} is set aside and tried again in {seconds:.1} s");
            self.servers.report(member);
        }
        match after.request {
            NextTry::Moves => self.keep(serial, request),
            NextTry::Pauses(pause) => {
                tracing::warn!("{error}; retrying in {:.1} s", pause.as_secs_f32());
                self.keep(serial, request);
            }
            NextTry::GivesUp => {
                if self.pending.contains_key(&serial) {
                    let failure = Failure::Endpoint { message: error.to_owned() };
                    events.push(Event::Failed { id: request.id, failure });
                    self.end(serial, request.id);
                }
            }
        }
    }

    /// Keeps a request that is sent again, unless it was cancelled.
    fn keep(&mut self, serial: u64, request: Box<Request>) {
        if let Some(kept) = self.pending.get_mut(&serial) {
            *kept = Some(request);
        }
    }

    /// Forgets a request that has its result.
    fn end(&mut self, serial: u64, id: RequestId) {
        self.counters.batches += 1;
        self.pending.remove(&serial);
        self.serials.remove(&id);
    }
}

/// The number of tokens in the reply with these events, or an estimate if the server does not
/// report it. `None` if the request failed.
fn size(events: &[Event]) -> Option<u32> {
    match events.last()? {
        Event::Done { completion, .. } => match completion.usage.decoded {
            0 => Some((completion.text.len() / 4) as u32),
            decoded => Some(decoded),
        },
        Event::Chosen { .. } | Event::Likelihood { .. } => Some(0),
        Event::Failed { .. } | Event::Text { .. } => None,
    }
}

fn fault(error: &SendError) -> Fault {
    match error {
        SendError::Unreachable { .. } => Fault::Unreachable,
        SendError::Timeout { .. } => Fault::Timeout,
        SendError::Status { .. }
        | SendError::NoChoices { .. }
        | SendError::CutOff { .. }
        | SendError::Malformed { .. } => Fault::Status,
    }
}

/// The tokens of a server's model are not known.
impl PromptTokens for Http {}

impl Engine for Http {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn describe(&self) -> Result<Description, EngineError> {
        let EndpointSettings { addresses, timeout, .. } = &*self.settings;
        let endpoint = match (&**addresses, self.settings.is_fleet()) {
            ([address], false) => json!(address),
            (addresses, _) => json!(addresses),
        };
        let mut settings = json!({
            "endpoint": endpoint,
            "parallel": self.settings.parallel(),
            "timeout_seconds": timeout.as_secs_f64(),
        });
        if let Some(client) = self.servers.probed() {
            settings["probe"] = client.server.profile().to_json();
        }
        let model = self.servers.model();
        Ok(Description {
            model: json!({ "engine": "http", "name": model.name(), "server": model.identity() }),
            settings,
        })
    }

    fn width(&self) -> usize {
        self.fleet.width()
    }

    fn probe(&mut self, needs: &ProbeNeeds) -> Result<(), ProbeError> {
        for member in self.servers.probe(needs)? {
            self.fleet.list(member, Instant::now());
        }
        Ok(())
    }

    fn submit(&mut self, request: Request) {
        self.submitted += 1;
        let serial = self.submitted;
        self.serials.insert(request.id, serial);
        self.fleet.submit(serial, request.item, Instant::now());
        self.pending.insert(serial, Some(Box::new(request)));
    }

    fn cancel(&mut self, id: RequestId) {
        if let Some(serial) = self.serials.remove(&id) {
            self.pending.remove(&serial);
            self.fleet.cancel(serial);
        }
    }

    fn reset(&mut self) {}

    /// Waits for a result, but not longer than `STEP_TIMEOUT`.
    fn step(&mut self, events: &mut Vec<Event>) -> Result<bool, EngineError> {
        if self.pending.is_empty() {
            return Ok(false);
        }
        self.send()?;
        let start = Instant::now();
        let mut result = self.pool.receive(STEP_TIMEOUT);
        self.counters.compute_seconds += start.elapsed().as_secs_f64();
        while let Some(received) = result {
            self.receive(received, events)?;
            result = self.pool.receive(Duration::ZERO);
        }
        Ok(!self.pending.is_empty())
    }

    /// Counts tokens as the server reports them. A batch is a request with a response;
    /// its rows are unknown.
    fn counters(&self) -> Counters {
        self.counters
    }

    /// How busy each server was, if there are several or one got fewer requests at once than
    /// the maximum.
    fn report(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for id in self.servers.ids() {
            let report = self.fleet.report(id);
            if !self.settings.is_fleet() && report.decreases == 0 {
                continue;
            }
            let mut line = format!(
                "{}: {} replies, at most {} requests at once",
                self.servers.address(id),
                report.replies,
                report.peak
            );
            let (limit, most) = (report.limit, self.settings.parallel());
            match report.decreases {
                0 => {}
                1 => {
                    line.push_str(&format!("; the limit was lowered once and is {limit} of {most}"))
                }
                times => line.push_str(&format!(
                    "; the limit was lowered {times} times and is {limit} of {most}"
                )),
            }
            lines.push(line);
        }
        lines
    }
}

impl Drop for Http {
    /// Does not wait for the responses to requests that were sent.
    fn drop(&mut self) {
        for id in self.servers.ids() {
            if let Some(client) = self.servers.client(id) {
                client.server.summarise();
            }
        }
    }
}
