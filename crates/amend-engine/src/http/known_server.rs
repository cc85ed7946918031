//! What is known about one server: how requests to it are written, and what its replies mean.
//! It does no input or output, so that it serves live servers and batch files alike.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::dialect::Dialect;
use super::notices::Notices;
use super::profile::Profile;
use super::wire::{Body, RequestWriter, ServerReply};
use amend_core::chat::{Message, Role};
use amend_core::model::{Event, Failure, Request, Task};

/// A server, or whatever answers batch files.
pub struct KnownServer {
    /// What messages call it: its address or, without one, what it is.
    pub name: String,
    pub dialect: Dialect,
    /// The name of the model.
    pub model: String,
    profile: Mutex<Profile>,
    notices: Notices,
}

/// Writes the body of a request by what is known about the server.
pub type WriteBody<'a> = Box<dyn Fn(&Profile) -> Body + 'a>;

impl KnownServer {
    pub fn new(name: String, model: String, dialect: Dialect, profile: Profile) -> Self {
        Self { name, dialect, model, profile: Mutex::new(profile), notices: Notices::default() }
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

    /// How the body of a request is written.
    ///
    /// # Errors
    /// [`Failure::CannotScore`] for a likelihood.
    pub fn write<'a>(&'a self, request: &'a Request) -> Result<WriteBody<'a>, Failure> {
        let turns = &request.turns;
        match &request.task {
            Task::Complete { sampling, stream, ignore_eos, thought_only, .. } => {
                Ok(Box::new(move |profile| {
                    let writer = self.writer(profile);
                    let mut body = writer.complete(turns, sampling, *stream, *thought_only);
                    if *ignore_eos {
                        body.insert("ignore_eos".into(), true.into());
                    }
                    body
                }))
            }
            Task::Choose { choices, reasoning } => {
                Ok(Box::new(move |profile| self.writer(profile).choose(turns, choices, reasoning)))
            }
            Task::Likelihood { .. } => Err(Failure::CannotScore),
        }
    }

    /// Whether the model is known to think before the answer to a request.
    pub fn thinks(&self, task: &Task) -> bool {
        match task {
            Task::Complete { sampling, thought_only, .. } => {
                *thought_only || self.lock().thinks(&sampling.reasoning)
            }
            Task::Choose { .. } | Task::Likelihood { .. } => self.lock().thinks_anyway,
        }
    }

    /// Reads a reply, and learns from it where thoughts begin. `thinks` is whether the model
    /// is known to think before this answer.
    pub fn read(&self, reply: &Value, thinks: bool) -> ServerReply {
        let reply = ServerReply::read(reply, thinks);
        self.lock().opens_thoughts |= reply.lacks_start();
        reply
    }

    /// Completes a reply with what is known about thoughts. `has_budget` is whether the request
    /// limited them.
    pub fn complete(&self, reply: &mut ServerReply, has_budget: bool, thinks: bool) {
        if thinks && self.lock().opens_thoughts {
            reply.take_cut_thought();
        }
        if reply.is_all_thought() && has_budget {
            self.report_unlimited_thoughts();
        }
    }

    /// The events of a reply.
    ///
    /// # Errors
    /// The reply is of no use for the request.
    pub fn events(&self, request: &Request, mut reply: ServerReply) -> Result<Vec<Event>, Failure> {
        let id = request.id;
        let turns = &request.turns;
        self.watch_prompt(turns, reply.usage.prompt);
        match &request.task {
            Task::Complete { thought_only, .. } => {
                self.notices.replaced(&self.name, reply.replaced());
                if let Some(turn) = turns.last()
                    && turn.role == Role::Assistant
                {
                    reply.strip_beginning(&turn.content);
                }
                let completion = match thought_only {
                    true => reply.only_thought(self.lock().is_known_to_think)?,
                    false => self.whole(reply)?.completion()?,
                };
                let text = completion.text.clone();
                Ok(vec![Event::Text { id, text }, Event::Done { id, completion }])
            }
            Task::Choose { choices, .. } => {
                let position = self.lock().way.position(&reply);
                match position.and_then(|at| at.log_probs(choices)) {
                    Some(log_probs) => {
                        Ok(vec![Event::Chosen { id, log_probs, usage: reply.usage }])
                    }
                    None => Err(reply.why_no_log_probs()),
                }
            }
            Task::Likelihood { .. } => Err(Failure::CannotScore),
        }
    }

    /// Learns from an error. Returns whether the request is worth sending again.
    pub fn adapt(&self, message: &str, body: &Body) -> bool {
        let mut profile = self.lock();
        // Another request may have met the same error before.
        let mut known = body.clone();
        profile.refused.apply(&mut known);
        if known != *body {
            return true;
        }
        let Some(change) = profile.refused.learn(message, body) else { return false };
        self.report_refusal(message, &change, &profile);
        true
    }

    /// Learns from an error of a request that was written earlier, when less was known about
    /// the server. `whole` is its body without regard to what the server refuses. Returns
    /// whether the request is worth sending again.
    pub fn adapt_later(&self, message: &str, whole: &Body) -> bool {
        let mut profile = self.lock();
        let known = profile.refused.clone();
        let Some(change) = profile.refused.learn(message, whole) else { return false };
        if profile.refused != known {
            self.report_refusal(message, &change, &profile);
        }
        true
    }

    /// Reports what is reported once about all replies.
    pub fn summarise(&self) {
        self.notices.summarise();
    }

    fn report_refusal(&self, message: &str, change: &str, profile: &Profile) {
        tracing::warn!("{} refuses a request ({message}): {change}", self.name);
        if profile.refused.has_budget() {
            self.report_unlimited_thoughts();
        }
    }

    fn report_unlimited_thoughts(&self) {
        if let Some(remedy) = self.dialect.how_to_enforce_budget() {
            self.notices.unlimited_thoughts(&self.name, remedy);
        }
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
}
