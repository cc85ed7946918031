//! A model behind an OpenAI-compatible server: vLLM, SGLang, llama-server.
//!
//! A pool of threads talks to the server, as many as requests are worth having
//! under way; [`Http::step`] waits for what they bring. What sets it apart from
//! a model in the process:
//!
//! - The server applies its own chat template and its own tokenizer, so that
//!   tokens can't be shown or counted beforehand, and whether content can become
//!   a control token is up to the server.
//! - The seed of a request follows from its stream, but what a server makes of
//!   it is its own affair: nothing is promised about the same text twice.
//! - A choice is told from the twenty likeliest tokens, all that the API grants.
//!   A choice of which no spelling is among them gets the log-probability of the
//!   last, which is as much as it can have.
//! - A turn of the assistant at the end, which the reply is to go on from, is
//!   gone on from by the servers named above; others may take it for a whole turn.
//! - A given text can't be scored: of the servers, only some tell the
//!   log-probabilities of a prompt, each in its own way.

mod address;
mod transport;
mod wire;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub use self::address::{Address, AddressError, Key};
pub use self::transport::Retry;
use self::transport::{SendError, Transport};
use self::wire::{Answer, Body, Dialect};
use amend_core::chat::Message;
use amend_core::model::{
    Counters, Description, Engine, EngineError, Event, Failure, Prepared, Request, RequestId, Task,
    Usage,
};

/// Requests under way where the user names no number.
const PARALLEL: usize = 16;

/// The most requests under way: each takes a thread and a connection.
const MAX_PARALLEL: usize = 1024;

/// The variable that holds a server's key: a flag would show it to everyone on
/// the machine.
pub const API_KEY: &str = "AMEND_API_KEY";

/// How long a step waits before it lets its caller look around: not longer than
/// a batch takes of an engine beside this one.
const PATIENCE: Duration = Duration::from_millis(5);

/// How to talk to a server.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it answers.
    pub address: Address,
    /// The key it asks for.
    pub key: Option<Key>,
    /// The variable in which the user puts the key.
    pub key_variable: &'static str,
    /// Which of its models; none is the first it names.
    pub model: Option<String>,
    /// Requests under way at once; 0 is a number chosen for it.
    pub parallel: usize,
    /// How long one exchange may take.
    pub timeout: Duration,
    /// When to try again.
    pub retry: Retry,
}

impl Settings {
    /// Ten minutes an exchange, all else as the server and the engine see fit.
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

/// An engine over a server.
pub struct Http {
    settings: Settings,
    /// What the server says of the model.
    entry: Value,
    jobs: mpsc::Sender<Job>,
    answers: mpsc::Receiver<Answered>,
    under_way: HashMap<RequestId, Dropped>,
    counters: Counters,
}

/// Set once nobody waits for a request any more.
type Dropped = Arc<AtomicBool>;

struct Job {
    request: Request,
    dropped: Dropped,
}

struct Answered {
    dropped: Dropped,
    usage: Usage,
    result: Result<Vec<Event>, EngineError>,
}

impl Http {
    /// Asks the server for its models and starts the threads.
    ///
    /// # Errors
    /// A server that can't be reached, asks for another key, or has no such
    /// model.
    pub fn connect(settings: &Settings) -> Result<Self, EngineError> {
        let mut settings = settings.clone();
        settings.parallel = match settings.parallel {
            0 => PARALLEL,
            parallel => parallel.min(MAX_PARALLEL),
        };
        let transport = Transport::new(
            settings.address.clone(),
            settings.key.clone(),
            settings.timeout,
            settings.retry,
        );
        let list =
            transport.get("models").map_err(|error| refused(&error, settings.key_variable))?;
        let entry = choose_model(&settings, &list)?;
        let name = entry["id"].as_str().unwrap_or_default().to_owned();
        let client = Client {
            transport,
            key_variable: settings.key_variable,
            dialect: Dialect::of(entry["owned_by"].as_str()),
            model: settings.model.clone().unwrap_or(name),
        };

        let (jobs, taken) = mpsc::channel();
        let (give, answers) = mpsc::channel();
        let taken = Arc::new(Mutex::new(taken));
        for number in 1..=settings.parallel {
            let (client, taken, give) = (client.clone(), Arc::clone(&taken), give.clone());
            std::thread::Builder::new()
                .name(format!("http {number}"))
                .spawn(move || work(&client, &taken, &give))
                .map_err(|error| EngineError {
                    message: format!("failed to start thread {number}: {error}"),
                    hint: Some("lower --parallel".to_owned()),
                })?;
        }
        let (under_way, counters) = (HashMap::new(), Counters::default());
        Ok(Self { settings, entry, jobs, answers, under_way, counters })
    }

    fn take(&mut self, answered: Answered, events: &mut Vec<Event>) -> Result<(), EngineError> {
        if answered.dropped.load(Ordering::SeqCst) {
            return Ok(());
        }
        let usage = answered.usage;
        self.counters.prefilled += u64::from(usage.prefilled());
        self.counters.cached += u64::from(usage.cached);
        self.counters.decoded += u64::from(usage.decoded);
        self.counters.batches += 1;
        let told = answered.result?;
        for event in &told {
            match event {
                Event::Text { .. } => {}
                Event::Done { id, .. }
                | Event::Chosen { id, .. }
                | Event::Scored { id, .. }
                | Event::Failed { id, .. } => {
                    self.under_way.remove(id);
                }
            }
        }
        events.extend(told);
        Ok(())
    }
}

/// Takes jobs and brings answers until one of the channels is closed.
fn work(client: &Client, jobs: &Mutex<mpsc::Receiver<Job>>, answers: &mpsc::Sender<Answered>) {
    loop {
        let Ok(Ok(Job { request, dropped })) = jobs.lock().map(|jobs| jobs.recv()) else { return };
        if dropped.load(Ordering::SeqCst) {
            continue;
        }
        let mut usage = Usage::default();
        let result = client.answer(&request, &dropped, &mut usage);
        if answers.send(Answered { dropped, usage, result }).is_err() {
            return;
        }
    }
}

/// The entry of the model in the server's list.
fn choose_model(settings: &Settings, list: &Value) -> Result<Value, EngineError> {
    let entries = list["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_named = |entry: &&Value, name: &str| {
        let aliases = entry["aliases"].as_array().map(Vec::as_slice).unwrap_or_default();
        entry["id"] == name || aliases.iter().any(|alias| alias == name)
    };
    let found = match &settings.model {
        Some(name) => entries.iter().find(|entry| is_named(entry, name)),
        None => entries.iter().find(|entry| entry["id"].is_string()),
    };
    found.cloned().ok_or_else(|| {
        let ids: Vec<&str> = entries.iter().filter_map(|entry| entry["id"].as_str()).collect();
        let address = &settings.address;
        match &settings.model {
            Some(name) if !ids.is_empty() => EngineError {
                message: format!("{address} has no model {name:?}"),
                hint: Some(format!("name one that it has: --endpoint-model {}", ids.join(" or "))),
            },
            _ => EngineError {
                message: format!("{address} names no model"),
                hint: Some("is it an OpenAI-compatible server, with a model loaded?".to_owned()),
            },
        }
    })
}

/// Why a server can't be used at all.
fn refused(error: &SendError, key_variable: &str) -> EngineError {
    let hint = match error {
        SendError::Status { code: 401 | 403, .. } => {
            format!("put the server's key in {key_variable}")
        }
        SendError::Status { code: 404, .. } => {
            "is the address right? That of an OpenAI-compatible server mostly ends in /v1; a model \
             is named by --endpoint-model"
                .to_owned()
        }
        SendError::Unreachable { proxy: Some(variable), .. } => format!(
            "is the proxy in {variable} right, and is the server running? With the server's host \
             in NO_PROXY it is reached without a proxy"
        ),
        SendError::Unreachable { proxy: None, .. } => {
            "is the server running, and is this its address?".to_owned()
        }
        SendError::Timeout { .. } | SendError::Status { .. } | SendError::Malformed { .. } => {
            "is this an OpenAI-compatible server?".to_owned()
        }
    };
    EngineError { message: error.to_string(), hint: Some(hint) }
}

/// What each thread has.
#[derive(Clone)]
struct Client {
    transport: Transport,
    key_variable: &'static str,
    dialect: Dialect,
    model: String,
}

impl Client {
    /// What comes of a request, or why none can be answered any more.
    fn answer(
        &self,
        request: &Request,
        dropped: &Dropped,
        usage: &mut Usage,
    ) -> Result<Vec<Event>, EngineError> {
        let id = request.id;
        let outcome = match &request.task {
            Task::Complete { sampling, stream, ignore_eos, .. } => {
                let body = Body::complete(
                    self.dialect,
                    &self.model,
                    &request.turns,
                    sampling,
                    *stream,
                    *ignore_eos,
                );
                self.ask(&body, dropped)?.map(|answer| {
                    let completion = answer.into_completion();
                    *usage = completion.usage;
                    let text = completion.text.clone();
                    vec![Event::Text { id, text }, Event::Done { id, completion }]
                })
            }
            Task::Choose { choices } => {
                let body = Body::choose(self.dialect, &self.model, &request.turns);
                self.ask(&body, dropped)?.and_then(|answer| {
                    *usage = answer.usage();
                    let log_probs = answer.log_probs(choices).ok_or(Failure::NoLogProbs)?;
                    Ok(vec![Event::Chosen { id, log_probs, usage: *usage }])
                })
            }
            Task::Score { .. } => Err(Failure::CannotScore),
        };
        Ok(outcome.unwrap_or_else(|failure| vec![Event::Failed { id, failure }]))
    }

    fn ask(
        &self,
        body: &Body<'_>,
        dropped: &Dropped,
    ) -> Result<Result<Answer, Failure>, EngineError> {
        let failed = |message: String| Ok(Err(Failure::Endpoint { message }));
        let body = match body.to_json() {
            Ok(body) => body,
            Err(error) => return failed(format!("the request can't be written: {error}")),
        };
        let wanted = || !dropped.load(Ordering::SeqCst);
        match self.transport.post("chat/completions", &body, wanted) {
            Ok(value) => match Answer::read(value) {
                Ok(answer) => Ok(Ok(answer)),
                Err(message) => failed(format!("its answer has another form: {message}")),
            },
            Err(error) if self.is_final(&error) => Err(refused(&error, self.key_variable)),
            Err(error) => failed(error.to_string()),
        }
    }

    /// Whether the next request would fare no better. A 403 may be about the key,
    /// or about this one prompt where a service moderates them: then the models
    /// are still told.
    fn is_final(&self, error: &SendError) -> bool {
        match error {
            SendError::Status { code: 401 | 404, .. } => true,
            SendError::Status { code: 403, .. } => {
                let models = self.transport.get("models");
                matches!(models, Err(SendError::Status { code: 401 | 403, .. }))
            }
            _ => false,
        }
    }
}

impl Engine for Http {
    fn describe(&self) -> Result<Description, EngineError> {
        let Settings { address, parallel, timeout, .. } = &self.settings;
        let mut model = self.entry.clone();
        // These change from one answer or start of the server to the next.
        if let Some(entry) = model.as_object_mut() {
            entry.retain(|key, _| !["created", "permission", "max_model_len"].contains(&&**key));
        }
        if let Some(meta) = model.pointer_mut("/meta").and_then(Value::as_object_mut) {
            meta.remove("n_ctx");
        }
        Ok(Description {
            model: json!({ "engine": "http", "name": self.entry["id"], "server": model }),
            settings: json!({
                "endpoint": address,
                "parallel": parallel,
                "timeout_seconds": timeout.as_secs_f64(),
            }),
        })
    }

    fn width(&self) -> usize {
        self.settings.parallel
    }

    fn prepare(&self, _: &[Message], _: usize) -> Result<Prepared, Failure> {
        Err(Failure::TokensUnknown)
    }

    fn submit(&mut self, request: Request) {
        let dropped = Dropped::default();
        self.under_way.insert(request.id, Arc::clone(&dropped));
        // Where no thread is left to take it, the next step says so.
        let _ = self.jobs.send(Job { request, dropped });
    }

    fn cancel(&mut self, id: RequestId) {
        if let Some(dropped) = self.under_way.remove(&id) {
            dropped.store(true, Ordering::SeqCst);
        }
    }

    fn reset(&mut self) {}

    /// Waits for an answer, but not for long.
    fn step(&mut self, events: &mut Vec<Event>) -> Result<bool, EngineError> {
        if self.under_way.is_empty() {
            return Ok(false);
        }
        let start = Instant::now();
        let first = self.answers.recv_timeout(PATIENCE);
        self.counters.compute_seconds += start.elapsed().as_secs_f64();
        match first {
            Ok(answered) => self.take(answered, events)?,
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(EngineError {
                    message: "the threads that talk to the server have ended".to_owned(),
                    hint: None,
                });
            }
        }
        while let Ok(answered) = self.answers.try_recv() {
            self.take(answered, events)?;
        }
        Ok(!self.under_way.is_empty())
    }

    /// Tokens as the server counts them; a batch is a request that was answered,
    /// and its rows are not known.
    fn counters(&self) -> Counters {
        self.counters
    }
}

impl Drop for Http {
    /// What waits is not sent any more. What was sent is not waited for.
    fn drop(&mut self) {
        for dropped in self.under_way.values() {
            dropped.store(true, Ordering::SeqCst);
        }
    }
}
