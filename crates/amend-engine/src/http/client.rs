//! Runs one request at a time: writes it in the words of the server, sends it, and reads the
//! reply. What the server refuses is sent another way from then on, by all clients.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::address::Address;
use super::dialect::{Dialect, is_budget};
use super::notices::Notices;
use super::profile::{Profile, Refused};
use super::send_error::SendError;
use super::transport::Transport;
use super::wire::{Body, RequestWriter, ServerReply};
use amend_core::chat::{Message, Role};
use amend_core::model::{EngineError, Event, Failure, Request, Task, Usage};

/// What to do about a server that fails to parse what its model writes.
pub const PARSE_ITSELF: &str = "start llama-server with --skip-chat-parsing --special: amend then \
                                separates thoughts and answers. If the probe then finds no way to \
                                read verdicts, judge with a model file (--judge-model MODEL.gguf)";

/// The page that answers requests.
const PAGE: &str = "chat/completions";

/// How often a request is changed because the server refuses a part of it.
const MAX_CHANGES: usize = 8;

/// A client of one server, with what is known about it. All threads share it.
pub struct Client {
    pub transport: Transport,
    pub address: Address,
    pub key_variable: &'static str,
    pub dialect: Dialect,
    pub model: String,
    pub profile: Mutex<Profile>,
    pub notices: Notices,
}

/// How often a request is sent.
#[derive(Clone, Copy)]
pub enum Sending {
    /// Once.
    Once,
    /// Until it succeeds or has no tries left.
    Retrying,
}

/// Why a request has no result yet.
pub enum AttemptError {
    /// Every further request to this server would fail too.
    Final(EngineError),
    /// It may succeed later, or at another server.
    Retry(SendError),
}

/// Why a request has no reply.
pub enum ClientError {
    /// Every further request would fail too.
    Final(EngineError),
    /// The server refuses this request.
    Refused(SendError),
    /// It failed otherwise.
    Failed(SendError),
}

impl Client {
    /// Sends a request once and returns its events.
    ///
    /// # Errors
    /// Only errors that don't concern this request alone.
    pub fn run(&self, request: &Request, usage: &mut Usage) -> Result<Vec<Event>, AttemptError> {
        let id = request.id;
        let turns = &request.turns;
        let outcome = match &request.task {
            Task::Complete { sampling, stream, ignore_eos, thought_only, .. } => {
                let write = |profile: &Profile| {
                    let mut body =
                        self.writer(profile).complete(turns, sampling, *stream, *thought_only);
                    if *ignore_eos {
                        body.insert("ignore_eos".into(), true.into());
                    }
                    body
                };
                let thinks = *thought_only || self.profile().thinks(&sampling.reasoning);
                self.send(write, thinks).and_then(|mut reply| {
                    *usage = reply.usage;
                    self.watch_prompt(turns, reply.usage.prompt);
                    self.notices.replaced(&self.address, reply.replaced());
                    if let Some(turn) = turns.last()
                        && turn.role == Role::Assistant
                    {
                        reply.strip_beginning(&turn.content);
                    }
                    let completion = match thought_only {
                        true => reply.only_thought(self.profile().is_known_to_think),
                        false => self.whole(reply).and_then(ServerReply::completion),
                    };
                    completion.map_err(Stop::Failed).map(|completion| {
                        let text = completion.text.clone();
                        vec![Event::Text { id, text }, Event::Done { id, completion }]
                    })
                })
            }
            Task::Choose { choices, reasoning } => {
                let write =
                    |profile: &Profile| self.writer(profile).choose(turns, choices, reasoning);
                let thinks = self.profile().thinks_anyway;
                self.send(write, thinks).and_then(|reply| {
                    *usage = reply.usage;
                    self.watch_prompt(turns, reply.usage.prompt);
                    let position = self.profile().way.position(&reply);
                    let Some(log_probs) = position.and_then(|at| at.log_probs(choices)) else {
                        return Err(Stop::Failed(reply.why_no_log_probs()));
                    };
                    Ok(vec![Event::Chosen { id, log_probs, usage: *usage }])
                })
            }
            Task::Likelihood { .. } => Err(Stop::Failed(Failure::CannotScore)),
        };
        match outcome {
            Ok(events) => Ok(events),
            Err(Stop::Failed(failure)) => Ok(vec![Event::Failed { id, failure }]),
            Err(Stop::Run(error)) => Err(error),
        }
    }

    /// A copy of what is known about the server.
    pub fn profile(&self) -> Profile {
        self.lock().clone()
    }

    /// Changes what is known about the server.
    pub fn lock(&self) -> MutexGuard<'_, Profile> {
        self.profile.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes requests by a profile.
    pub fn writer<'a>(&'a self, profile: &'a Profile) -> RequestWriter<'a> {
        RequestWriter { dialect: self.dialect, model: &self.model, profile }
    }

    /// Sends the request that `write` makes of what is known about the server. If the server
    /// refuses a part that the request can do without, sends it again without that part.
    /// `thinks` is whether the model is known to think before this answer.
    pub fn exchange(
        &self,
        write: impl Fn(&Profile) -> Body,
        thinks: bool,
        sending: Sending,
    ) -> Result<ServerReply, ClientError> {
        let mut changes = 0;
        // The words of the last refusal, and what was known to be refused before it.
        let mut last: Option<(String, Refused)> = None;
        loop {
            let body = write(&self.profile());
            let text = serde_json::to_string(&body).unwrap_or_default();
            let sent = match sending {
                Sending::Once => self.transport.post_once(PAGE, &text),
                Sending::Retrying => self.transport.post(PAGE, &text),
            };
            let error = match sent {
                Ok(reply) => {
                    let mut reply = ServerReply::read(&reply, thinks);
                    let opens_thoughts = {
                        let mut profile = self.lock();
                        profile.opens_thoughts |= reply.lacks_start();
                        profile.opens_thoughts
                    };
                    if thinks && opens_thoughts {
                        reply.take_cut_thought();
                    }
                    if reply.is_all_thought() && body.keys().any(|field| is_budget(field)) {
                        self.report_unlimited_thoughts();
                    }
                    return Ok(reply);
                }
                Err(error) => error,
            };
            if self.is_final(&error) {
                return Err(ClientError::Final(connection_error(&error, self.key_variable)));
            }
            let SendError::Status { code, message, .. } = &error else {
                return Err(ClientError::Failed(error));
            };
            // Some servers report a refusal as an error of their own.
            let may_be_refusal = matches!(code, 400 | 403 | 405 | 413 | 415 | 422 | 500);
            let before = self.profile().refused;
            if !may_be_refusal || changes == MAX_CHANGES || !self.adapt(message, &body) {
                // The same words for a request without the parts that they name: they quote
                // the prompt.
                if let Some((words, before)) = last
                    && words == *message
                {
                    self.lock().refused = before;
                    tracing::warn!(
                        "{}: that refusal quotes the prompt; nothing changes",
                        self.address
                    );
                }
                let is_refusal = may_be_refusal && *code != 500;
                return Err(match is_refusal {
                    true => ClientError::Refused(error),
                    false => ClientError::Failed(error),
                });
            }
            if last.as_ref().is_none_or(|(words, _)| words != message) {
                last = Some((message.clone(), before));
            }
            changes += 1;
        }
    }

    /// Learns from an error. Returns whether the request is worth sending again.
    fn adapt(&self, message: &str, body: &Body) -> bool {
        let mut profile = self.lock();
        // Another thread may have met the same error before.
        let mut known = body.clone();
        profile.refused.apply(&mut known);
        if known != *body {
            return true;
        }
        let Some(change) = profile.refused.learn(message, body) else { return false };
        tracing::warn!("{} refuses a request ({message}): {change}", self.address);
        if profile.refused.has_budget() {
            self.report_unlimited_thoughts();
        }
        true
    }

    fn report_unlimited_thoughts(&self) {
        if let Some(remedy) = self.dialect.how_to_enforce_budget() {
            self.notices.unlimited_thoughts(&self.address, remedy);
        }
    }

    /// As [`Client::exchange`], once, with errors as results of a request.
    fn send(&self, write: impl Fn(&Profile) -> Body, thinks: bool) -> Result<ServerReply, Stop> {
        self.exchange(write, thinks, Sending::Once).map_err(|error| match error {
            ClientError::Final(error) => Stop::Run(AttemptError::Final(error)),
            ClientError::Failed(error) if error.may_pass() => Stop::Run(AttemptError::Retry(error)),
            ClientError::Failed(error) if error.is_parse_failure() => {
                Stop::Failed(Failure::Endpoint { message: format!("{error}: {PARSE_ITSELF}") })
            }
            ClientError::Refused(error) | ClientError::Failed(error) => {
                Stop::Failed(Failure::Endpoint { message: error.to_string() })
            }
        })
    }

    /// The reply, if thought and answer can be told apart.
    fn whole(&self, reply: ServerReply) -> Result<ServerReply, Failure> {
        if !reply.has_lost_channels() {
            return Ok(reply);
        }
        let remedy = self.dialect.how_to_separate_thoughts();
        Err(Failure::Endpoint {
            message: format!(
                "the reply is a thought and an answer of gpt-oss without the marks between them \
                 (analysis…assistantfinal…), which {} removed: {remedy}",
                self.dialect.name()
            ),
        })
    }

    fn watch_prompt(&self, turns: &[Message], tokens: u32) {
        let bytes = turns.iter().map(|turn| turn.content.len()).sum();
        let dialect = self.dialect;
        self.notices.prompt(bytes, tokens, dialect.name(), dialect.how_to_raise_context());
    }

    /// Whether every further request would fail too. Status 403 may mean that the key
    /// is invalid, or that a service moderated this one prompt. In the second case the
    /// server still lists its models.
    fn is_final(&self, error: &SendError) -> bool {
        match error {
            SendError::Status { is_out_of_credit: true, .. }
            | SendError::Status { code: 300..=399 | 401 | 404, .. } => true,
            SendError::Status { code: 403, .. } => {
                let models = self.transport.get("models");
                matches!(models, Err(SendError::Status { code: 401 | 403, .. }))
            }
            _ => false,
        }
    }
}

/// Why a request has no result.
enum Stop {
    Failed(Failure),
    Run(AttemptError),
}

/// The error that a server can't be used at all, with a hint.
pub fn connection_error(error: &SendError, key_variable: &str) -> EngineError {
    let hint = match error {
        SendError::Status { is_out_of_credit: true, .. } => {
            "add credit to the account of the key, then continue with --resume".to_owned()
        }
        SendError::Status { code: 401 | 403, .. } => {
            format!("put the server's key in {key_variable}")
        }
        SendError::Status { code: 300..=399, .. } => {
            "pass the address that the server names: -m URL".to_owned()
        }
        SendError::Status { code: 404, .. } => {
            "is the address right? The address of an OpenAI-compatible server usually ends in /v1; \
             choose a model with --endpoint-model"
                .to_owned()
        }
        SendError::Unreachable { proxy: Some(variable), .. } => format!(
            "is the proxy in {variable} right, and is the server running? To reach it without a \
             proxy, add its host to NO_PROXY"
        ),
        SendError::Unreachable { proxy: None, source, .. } if is_certificate(source) => {
            "if the server's certificate is one of your own, name a file with the certificate that \
             signed it in SSL_CERT_FILE"
                .to_owned()
        }
        SendError::Unreachable { proxy: None, .. } => {
            "is the server running, and is this its address?".to_owned()
        }
        SendError::Status { code: 500.., .. } => {
            "look for the cause in the log of the server".to_owned()
        }
        SendError::Timeout { .. }
        | SendError::Status { .. }
        | SendError::NoChoices { .. }
        | SendError::CutOff { .. }
        | SendError::Malformed { .. } => "is this an OpenAI-compatible server?".to_owned(),
    };
    EngineError::new(error.to_string()).hinted(hint)
}

fn is_certificate(error: &ureq::Error) -> bool {
    error.to_string().contains("certificate")
}
