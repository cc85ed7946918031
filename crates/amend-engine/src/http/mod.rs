//! A model behind an OpenAI-compatible server: llama-server, vLLM, SGLang, Ollama, LM Studio,
//! OpenRouter, or another.
//!
//! A pool of threads talks to the server, one for each request in flight.
//! [`Http::step`] waits for their results. It differs from a model in this process as
//! follows:
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
mod gate;
mod known_server;
mod notices;
mod probe;
mod profile;
mod retry;
mod send_error;
mod transport;
mod wire;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub use self::address::{Address, AddressError, Key};
pub use self::batch::{
    BatchEngine, BatchExchange, BatchResult, BatchServer, BatchSettings, MAX_TRIES,
};
use self::client::{Client, connection_error};
use self::dialect::Dialect;
use self::known_server::KnownServer;
pub use self::profile::ChoiceWay;
use self::profile::Profile;
use self::retry::Cancellation;
pub use self::retry::Retry;
use self::transport::Transport;
pub use self::wire::parse as parse_reply;
use amend_core::chat::{Message, NextTurn, Reasoning};
use amend_core::model::{
    Capabilities, Counters, Description, Engine, EngineError, Event, Failure, Prepared, ProbeError,
    ProbeNeeds, Request, RequestId, Usage,
};

/// What this engine can do. A server batches requests as it likes, so its results
/// are not deterministic.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    scores_texts: false,
    knows_tokens: false,
    is_deterministic: false,
    measures_batches: false,
};

/// The default number of requests in flight.
const DEFAULT_PARALLEL: usize = 16;

/// The maximum number of requests in flight: each takes a thread and a connection.
const MAX_PARALLEL: usize = 1024;

/// The environment variable with a server's key. A flag would show the key to every
/// user of the machine.
pub const API_KEY: &str = "AMEND_API_KEY";

/// How long a step waits before it returns to its caller, which may drive a second
/// engine: no longer than a batch of that engine takes.
const STEP_TIMEOUT: Duration = Duration::from_millis(5);

/// How to connect to a server.
#[derive(Debug, Clone)]
pub struct EndpointSettings {
    /// Its address.
    pub address: Address,
    /// Its API key.
    pub key: Option<Key>,
    /// The environment variable with the key, for hints.
    pub key_variable: &'static str,
    /// The name of the model. `None` takes the first one that the server lists.
    pub model: Option<String>,
    /// The number of requests in flight; 0 for the default.
    pub parallel: usize,
    /// The timeout of one request.
    pub timeout: Duration,
    /// When to retry.
    pub retry: Retry,
}

impl EndpointSettings {
    /// The default settings, with a timeout of ten minutes.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self {
            address,
            key: None,
            key_variable: API_KEY,
            model: None,
            parallel: 0,
            timeout: Duration::from_secs(600),
            retry: Retry::default(),
        }
    }
}

/// An engine that sends its requests to a server.
pub struct Http {
    settings: EndpointSettings,
    /// The model's entry in the server's list.
    entry: Value,
    client: Client,
    is_probed: bool,
    jobs: mpsc::Sender<Job>,
    results: mpsc::Receiver<JobResult>,
    /// The requests that have no result yet.
    pending: HashMap<RequestId, Cancellation>,
    counters: Counters,
}

struct Job {
    request: Request,
    cancellation: Cancellation,
}

struct JobResult {
    cancellation: Cancellation,
    usage: Usage,
    events: Result<Vec<Event>, EngineError>,
}

impl Http {
    /// Requests the server's list of models and starts the threads.
    ///
    /// # Errors
    /// The server can't be reached, rejects the key, or does not have the model.
    pub fn connect(settings: &EndpointSettings) -> Result<Self, EngineError> {
        let mut settings = settings.clone();
        settings.parallel = match settings.parallel {
            0 => DEFAULT_PARALLEL,
            parallel => parallel.min(MAX_PARALLEL),
        };
        let transport = Transport::new(
            settings.address.clone(),
            settings.key.clone(),
            settings.timeout,
            settings.retry,
        );
        let list = transport
            .get("models", &Cancellation::default())
            .map_err(|error| connection_error(&error, settings.key_variable))?;
        let entry = choose_model(&settings, &list)?;
        let name = entry["id"].as_str().unwrap_or_default().to_owned();
        let dialect = Dialect::detect(&settings.address, entry["owned_by"].as_str());
        let client = Client {
            transport,
            key_variable: settings.key_variable,
            server: Arc::new(KnownServer::new(
                settings.address.to_string(),
                settings.model.clone().unwrap_or(name),
                dialect,
                Profile::new(dialect),
            )),
        };

        let (jobs, job_receiver) = mpsc::channel();
        let (result_sender, results) = mpsc::channel();
        let job_receiver = Arc::new(Mutex::new(job_receiver));
        for number in 1..=settings.parallel {
            let client = client.clone();
            let jobs = Arc::clone(&job_receiver);
            let results = result_sender.clone();
            std::thread::Builder::new()
                .name(format!("http {number}"))
                .spawn(move || work(&client, &jobs, &results))
                .map_err(|error| {
                    EngineError::new(format!("failed to start thread {number} for the server"))
                        .hinted("lower --parallel")
                        .caused_by(error)
                })?;
        }
        let (pending, counters) = (HashMap::new(), Counters::default());
        let is_probed = false;
        Ok(Self { settings, entry, client, is_probed, jobs, results, pending, counters })
    }

    /// Counts the result of a request and appends its events to `events`.
    fn receive(&mut self, result: JobResult, events: &mut Vec<Event>) -> Result<(), EngineError> {
        if result.cancellation.is_cancelled() {
            return Ok(());
        }
        let usage = result.usage;
        self.counters.prefilled += u64::from(usage.prefilled());
        self.counters.cached += u64::from(usage.cached);
        self.counters.decoded += u64::from(usage.decoded);
        self.counters.batches += 1;
        let new_events = result.events?;
        for event in &new_events {
            match event {
                Event::Text { .. } => {}
                Event::Done { id, .. }
                | Event::Chosen { id, .. }
                | Event::Likelihood { id, .. }
                | Event::Failed { id, .. } => {
                    self.pending.remove(id);
                }
            }
        }
        events.extend(new_events);
        Ok(())
    }
}

/// Runs jobs and sends their results until one of the channels is closed.
fn work(client: &Client, jobs: &Mutex<mpsc::Receiver<Job>>, results: &mpsc::Sender<JobResult>) {
    loop {
        let Ok(Ok(job)) = jobs.lock().map(|jobs| jobs.recv()) else { return };
        let Job { request, cancellation } = job;
        if cancellation.is_cancelled() {
            continue;
        }
        let mut usage = Usage::default();
        let events = client.run(&request, &cancellation, &mut usage);
        if results.send(JobResult { cancellation, usage, events }).is_err() {
            return;
        }
    }
}

/// The entry of the model in the server's list.
fn choose_model(settings: &EndpointSettings, list: &Value) -> Result<Value, EngineError> {
    let entries = list["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_named = |entry: &&Value, name: &str| {
        let aliases = entry["aliases"].as_array().map(Vec::as_slice).unwrap_or_default();
        entry["id"] == name || aliases.iter().any(|alias| alias == name)
    };
    let entry = match &settings.model {
        Some(name) => entries.iter().find(|entry| is_named(entry, name)),
        None => entries.iter().find(|entry| entry["id"].is_string()),
    };
    entry.cloned().ok_or_else(|| {
        let ids: Vec<&str> = entries.iter().filter_map(|entry| entry["id"].as_str()).collect();
        let address = &settings.address;
        match &settings.model {
            Some(name) if !ids.is_empty() => EngineError::new(format!(
                "{address} has no model {name:?}"
            ))
            .hinted(format!("choose one that it has: --endpoint-model {}", ids.join(" or "))),
            _ => EngineError::new(format!("{address} lists no model"))
                .hinted("is it an OpenAI-compatible server, with a model loaded?"),
        }
    })
}

impl Engine for Http {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn describe(&self) -> Result<Description, EngineError> {
        let EndpointSettings { address, parallel, timeout, .. } = &self.settings;
        let mut model = self.entry.clone();
        // These fields change between responses or restarts of the server.
        if let Some(entry) = model.as_object_mut() {
            entry.retain(|key, _| !["created", "permission", "max_model_len"].contains(&&**key));
        }
        if let Some(meta) = model.pointer_mut("/meta").and_then(Value::as_object_mut) {
            meta.remove("n_ctx");
        }
        let mut settings = json!({
            "endpoint": address,
            "parallel": parallel,
            "timeout_seconds": timeout.as_secs_f64(),
        });
        if self.is_probed {
            settings["probe"] = self.client.server.profile().to_json();
        }
        Ok(Description {
            model: json!({ "engine": "http", "name": self.entry["id"], "server": model }),
            settings,
        })
    }

    fn width(&self) -> usize {
        self.settings.parallel
    }

    fn prepare(
        &self,
        _: &[Message],
        _: usize,
        _: &Reasoning,
        _: NextTurn,
    ) -> Result<Prepared, Failure> {
        Err(Failure::TokensUnknown)
    }

    fn probe(&mut self, needs: &ProbeNeeds) -> Result<(), ProbeError> {
        probe::probe(&self.client, needs)?;
        self.is_probed = true;
        Ok(())
    }

    fn submit(&mut self, request: Request) {
        let cancellation = Cancellation::default();
        self.pending.insert(request.id, cancellation.clone());
        // If no thread is left to receive it, the next step reports that.
        let _ = self.jobs.send(Job { request, cancellation });
    }

    fn cancel(&mut self, id: RequestId) {
        if let Some(cancellation) = self.pending.remove(&id) {
            cancellation.cancel();
        }
    }

    fn reset(&mut self) {}

    /// Waits for a result, but not longer than `STEP_TIMEOUT`.
    fn step(&mut self, events: &mut Vec<Event>) -> Result<bool, EngineError> {
        if self.pending.is_empty() {
            return Ok(false);
        }
        let start = Instant::now();
        let first = self.results.recv_timeout(STEP_TIMEOUT);
        self.counters.compute_seconds += start.elapsed().as_secs_f64();
        match first {
            Ok(result) => self.receive(result, events)?,
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(EngineError::new("the threads that talk to the server have ended"));
            }
        }
        while let Ok(result) = self.results.try_recv() {
            self.receive(result, events)?;
        }
        Ok(!self.pending.is_empty())
    }

    /// Counts tokens as the server reports them. A batch is a request with a response;
    /// its rows are unknown.
    fn counters(&self) -> Counters {
        self.counters
    }
}

impl Drop for Http {
    /// Cancels all requests: those that wait for a thread or a retry are not sent
    /// any more. Does not wait for the responses of those that were sent.
    fn drop(&mut self) {
        for cancellation in self.pending.values() {
            cancellation.cancel();
        }
        self.client.server.summarise();
    }
}
