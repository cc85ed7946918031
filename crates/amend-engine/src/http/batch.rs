//! A model that is asked through batch files: an engine that answers requests from results
//! that have come, and collects the others.
//!
//! It writes the bodies of a live server and reads its replies the same way, so that a run
//! takes the same steps. There is no probe: the kind of server and how choices are asked for
//! are settings.
//!
//! The id of a request is a hash of its body, which has a seed from the step's random stream,
//! and the number of the try. It is the same whenever the run is continued, and no other
//! request has it. Equal requests have one id and one result; they differ in nothing that the
//! server could answer differently. What a server refuses is left out of the hash, so that no
//! result is lost when that changes.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::CAPABILITIES;
use super::dialect::{Dialect, is_budget};
use super::known_server::KnownServer;
use super::profile::{ChoiceWay, Profile, Refused};
use super::wire::{Body, ResultError, ServerReply, reply_in, request_line};
use crate::network::shorten;
use amend_core::chat::ReasoningMode;
use amend_core::hash;
use amend_core::model::{
    Capabilities, Counters, Description, Engine, EngineError, Event, Failure, ProbeError,
    ProbeNeeds, PromptTokens, Request, RequestId,
};

/// How often a request is asked before its item fails.
pub const MAX_TRIES: u32 = 3;

/// The hexadecimal digits of a hash in an id.
const DIGITS: usize = 32;

/// What reads batch files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchServer {
    /// `vllm run-batch`, which takes files of any size.
    Vllm,
    /// The batches of OpenAI.
    OpenAi,
    /// Another service for batches in the form of OpenAI's.
    Other,
}

impl BatchServer {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Vllm, Self::OpenAi, Self::Other];

    /// The name in manifests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vllm => "vllm",
            Self::OpenAi => "openai",
            Self::Other => "other",
        }
    }

    fn dialect(self) -> Dialect {
        match self {
            Self::Vllm => Dialect::Vllm,
            Self::OpenAi | Self::Other => Dialect::Other,
        }
    }

    /// How choices are asked for by default. A begun reply is certain to be continued by vLLM
    /// only.
    fn choice_way(self) -> ChoiceWay {
        match self {
            Self::Vllm => ChoiceWay::Begun,
            Self::OpenAi | Self::Other => ChoiceWay::Label,
        }
    }

    /// What it is known to refuse.
    fn refused(self) -> &'static [&'static str] {
        match self {
            Self::OpenAi => &["max_tokens", "top_k", "min_p", "repetition_penalty"],
            Self::Vllm | Self::Other => &[],
        }
    }
}

/// How to ask a model through batch files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchSettings {
    /// The name of the model.
    pub model: String,
    /// What reads the files.
    pub server: BatchServer,
    /// How choices are asked for, if not in the way of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choices: Option<ChoiceWay>,
    /// Whether the model thinks although it is not asked to.
    pub thinks: bool,
    /// The fields that are not sent.
    pub without: Vec<String>,
    /// How many items are in flight.
    pub parallel: usize,
}

impl BatchSettings {
    /// Checks that requests can do without a field.
    ///
    /// # Errors
    /// They can't. The error lists the fields that they can do without.
    pub fn check_field(name: &str) -> Result<(), String> {
        Refused::default().add(name)
    }
}

/// A line of results.
pub struct BatchResult {
    /// The line.
    pub line: Value,
    /// Whether it is used for the first time.
    pub is_new: bool,
}

/// Where results come from, and requests go to.
pub trait BatchExchange {
    /// The result with this id, if it has come. It is kept until the run is done.
    ///
    /// # Errors
    /// It can't be read or kept.
    fn result(&mut self, custom_id: &str) -> Result<Option<BatchResult>, EngineError>;

    /// Makes sure that the results so far are kept, before anything is done with them.
    ///
    /// # Errors
    /// They can't be written to the disk.
    fn sync(&mut self) -> Result<(), EngineError>;

    /// Adds a request that has no result. The line has no newline.
    ///
    /// # Errors
    /// It can't be written.
    fn add(&mut self, custom_id: &str, line: &str) -> Result<(), EngineError>;

    /// Takes back a request that was added once more than it is needed.
    fn remove(&mut self, custom_id: &str);

    /// What earlier sessions learnt that the server refuses.
    fn refused(&self) -> &[String];

    /// Keeps what the server refuses for later sessions.
    ///
    /// # Errors
    /// It can't be written.
    fn learn(&mut self, refused: Vec<String>) -> Result<(), EngineError>;
}

/// The engine of a model that is asked through batch files.
pub struct BatchEngine<'a> {
    settings: BatchSettings,
    server: KnownServer,
    exchange: &'a mut dyn BatchExchange,
    /// The answered requests that the next step reports.
    answered: BTreeMap<RequestId, Answered>,
    /// The ids of the requests without a result.
    due: HashMap<RequestId, String>,
    /// Whether the last step had nothing to report: no request has a result.
    at_standstill: Rc<Cell<bool>>,
    error: Option<EngineError>,
    counters: Counters,
}

/// A request with its answer.
struct Answered {
    request: Request,
    answer: Answer,
}

/// What the results say about a request.
enum Answer {
    Reply {
        reply: ServerReply,
        /// Whether the model is known to think before it.
        thinks: bool,
        /// Whether the request limits thoughts.
        has_budget: bool,
    },
    Failed(Failure),
}

/// What is known about a request.
enum Found {
    Answered(Answer),
    /// It has no result yet.
    Due {
        custom_id: String,
        body: Body,
    },
}

impl<'a> BatchEngine<'a> {
    /// An engine that asks through `exchange`.
    ///
    /// # Errors
    /// A request can't do without one of the fields in the settings.
    pub fn new(
        settings: BatchSettings,
        exchange: &'a mut dyn BatchExchange,
    ) -> Result<Self, EngineError> {
        let BatchSettings { server, choices, thinks, .. } = settings;
        let dialect = server.dialect();
        let mut profile = Profile {
            thinks_anyway: thinks,
            is_known_to_think: thinks,
            way: choices.unwrap_or(server.choice_way()),
            ..Profile::new(dialect)
        };
        let given = settings.without.iter().chain(exchange.refused()).map(String::as_str);
        for name in server.refused().iter().copied().chain(given) {
            profile.refused.add(name).map_err(EngineError::new)?;
        }
        let name = "the batch".to_owned();
        let server = KnownServer::new(name, settings.model.clone(), dialect, profile);
        Ok(Self {
            settings,
            server,
            exchange,
            answered: BTreeMap::new(),
            due: HashMap::new(),
            at_standstill: Rc::default(),
            error: None,
            counters: Counters::default(),
        })
    }

    /// A flag that is set once no request in flight has a result, so that nothing is left to
    /// do before others come. Requests that are cancelled from then on stay due.
    #[must_use]
    pub fn standstill(&self) -> Rc<Cell<bool>> {
        Rc::clone(&self.at_standstill)
    }

    /// Looks a request up among the results: those of its first try, and if that failed of the
    /// next.
    fn look_up(&mut self, request: &Request) -> Result<Found, EngineError> {
        let write = match self.server.write(request) {
            Ok(write) => write,
            Err(failure) => return Ok(Found::Answered(Answer::Failed(failure))),
        };
        let whole = write(&Profile { refused: Refused::default(), ..self.server.profile() });
        let digest = hash::sha256(Value::Object(whole.clone()).to_string().as_bytes());
        let mut message = String::new();
        for number in 1..=MAX_TRIES {
            let custom_id = format!("{}-{number}", &digest[..DIGITS]);
            let Some(BatchResult { line, is_new }) = self.exchange.result(&custom_id)? else {
                let body = write(&self.server.profile());
                return Ok(Found::Due { custom_id, body });
            };
            let error = match reply_in(line) {
                Ok(reply) => {
                    let thinks = self.server.thinks(&request.task);
                    let reply = self.server.read(&reply, thinks);
                    if is_new {
                        count(&mut self.counters, &reply);
                    }
                    let has_budget = whole.keys().any(|field| is_budget(field));
                    return Ok(Found::Answered(Answer::Reply { reply, thinks, has_budget }));
                }
                Err(error) => error,
            };
            message = describe_error(&error);
            let before = self.server.profile().refused;
            if !(is_transient(&error) || self.server.adapt_later(&error.message, &whole)) {
                break;
            }
            let refused = self.server.profile().refused;
            if refused != before {
                self.exchange.learn(refused.as_added())?;
            }
        }
        Ok(Found::Answered(Answer::Failed(Failure::Endpoint { message })))
    }

    fn submit_checked(&mut self, request: Request) -> Result<(), EngineError> {
        match self.look_up(&request)? {
            Found::Due { custom_id, body } => {
                self.exchange.add(&custom_id, &request_line(&custom_id, body))?;
                self.due.insert(request.id, custom_id);
            }
            Found::Answered(answer) => {
                self.answered.insert(request.id, Answered { request, answer });
            }
        }
        Ok(())
    }
}

/// Counts the work behind a reply.
fn count(counters: &mut Counters, reply: &ServerReply) {
    let usage = reply.usage;
    counters.prefilled += u64::from(usage.prefilled());
    counters.cached += u64::from(usage.cached);
    counters.decoded += u64::from(usage.decoded);
    counters.batches += 1;
}

/// Whether the same request may succeed in another batch. A batch that is refused as a whole,
/// for its model, its key or its account, says nothing about the request.
fn is_transient(error: &ResultError) -> bool {
    match error.status {
        None => true,
        Some(status) => matches!(status, 401..=404 | 408 | 409 | 425 | 429 | 500..),
    }
}

fn describe_error(error: &ResultError) -> String {
    let message = shorten(&error.message);
    match error.status {
        Some(status) => format!("the batch has status {status} for the request: {message}"),
        None => format!("the batch has an error for the request: {message}"),
    }
}

/// The tokens of a server's model are not known.
impl PromptTokens for BatchEngine<'_> {}

impl Engine for BatchEngine<'_> {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn describe(&self) -> Result<Description, EngineError> {
        let BatchSettings { model, server, parallel, .. } = &self.settings;
        Ok(Description {
            model: json!({ "engine": "batch", "name": model, "server": server.as_str() }),
            settings: json!({
                "parallel": parallel,
                "batch": self.settings,
                "probe": self.server.profile().to_json(),
            }),
        })
    }

    fn width(&self) -> usize {
        self.settings.parallel
    }

    /// Asks for nothing. Takes for certain that a model thinks that is asked to.
    fn probe(&mut self, needs: &ProbeNeeds) -> Result<(), ProbeError> {
        let mut profile = self.server.lock();
        let texts = needs.texts.as_ref();
        profile.is_known_to_think |= texts.is_some_and(|it| it.mode == ReasoningMode::On);
        let Some(choices) = &needs.choices else { return Ok(()) };
        if choices.thought_turns.is_none() {
            return Ok(());
        }
        profile.is_known_to_think = true;
        match profile.way {
            ChoiceWay::Begun | ChoiceWay::Continued => Ok(()),
            // Without the begun reply, the thought has no place.
            ChoiceWay::Unthinking | ChoiceWay::Label => Err(ProbeError::Unfit {
                message: format!(
                    "the judge's reasons are its thoughts (--reasoning on), which have no place in \
                     requests that ask for verdicts in the way {:?}",
                    profile.way.as_str()
                ),
                hint:
                    "pass --reasoning auto, and the judge writes its reasons as an answer; or, if \
                       the server continues begun replies, --choices continued"
                        .to_owned(),
            }),
        }
    }

    fn submit(&mut self, request: Request) {
        if self.error.is_none() {
            self.error = self.submit_checked(request).err();
        }
    }

    fn cancel(&mut self, id: RequestId) {
        if self.at_standstill.get() {
            return;
        }
        self.answered.remove(&id);
        if let Some(custom_id) = self.due.remove(&id) {
            self.exchange.remove(&custom_id);
        }
    }

    fn reset(&mut self) {}

    /// Reports all requests that have results.
    fn step(&mut self, events: &mut Vec<Event>) -> Result<bool, EngineError> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        self.at_standstill.set(self.answered.is_empty());
        self.exchange.sync()?;
        for (id, Answered { request, answer }) in std::mem::take(&mut self.answered) {
            let result = match answer {
                Answer::Reply { mut reply, thinks, has_budget } => {
                    self.server.complete(&mut reply, has_budget, thinks);
                    self.server.events(&request, reply)
                }
                Answer::Failed(failure) => Err(failure),
            };
            match result {
                Ok(new) => events.extend(new),
                Err(failure) => events.push(Event::Failed { id, failure }),
            }
        }
        Ok(!self.at_standstill.get())
    }

    /// Counts the tokens of new results, as the server reports them.
    fn counters(&self) -> Counters {
        self.counters
    }
}

impl Drop for BatchEngine<'_> {
    fn drop(&mut self) {
        self.server.summarise();
    }
}

#[cfg(test)]
mod tests;
