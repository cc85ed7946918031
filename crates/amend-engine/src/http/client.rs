//! Runs one request at a time: sends it, and sends what the server refuses another way from
//! then on, by all clients.

use super::dialect::is_budget;
use super::known_server::KnownServer;
use super::profile::{Profile, Refused};
use super::send_error::SendError;
use super::transport::Transport;
use super::wire::{Body, ServerReply};
use amend_core::model::{EngineError, Event, Failure, Request, Usage};

/// What to do about a server that fails to parse what its model writes.
pub const PARSE_ITSELF: &str = "start llama-server with --skip-chat-parsing --special: amend then \
                                separates thoughts and answers. If the probe then finds no way to \
                                read verdicts, judge with a model file (--judge-model MODEL.gguf)";

/// The page that answers requests.
const PAGE: &str = "chat/completions";

/// How often a request is changed because the server refuses a part of it.
const MAX_CHANGES: usize = 8;

/// A client of one server. All threads share it.
pub struct Client {
    pub transport: Transport,
    pub key_variable: &'static str,
    pub server: KnownServer,
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
        match self.answer(request, usage) {
            Ok(events) => Ok(events),
            Err(Stop::Failed(failure)) => Ok(vec![Event::Failed { id: request.id, failure }]),
            Err(Stop::Run(error)) => Err(error),
        }
    }

    fn answer(&self, request: &Request, usage: &mut Usage) -> Result<Vec<Event>, Stop> {
        let write = self.server.write(request).map_err(Stop::Failed)?;
        let reply = self.send(write, self.server.thinks(&request.task))?;
        *usage = reply.usage;
        self.server.events(request, reply).map_err(Stop::Failed)
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
            let body = write(&self.server.profile());
            let text = serde_json::to_string(&body).unwrap_or_default();
            let sent = match sending {
                Sending::Once => self.transport.post_once(PAGE, &text),
                Sending::Retrying => self.transport.post(PAGE, &text),
            };
            let error = match sent {
                Ok(reply) => {
                    let mut reply = self.server.read(&reply, thinks);
                    let has_budget = body.keys().any(|field| is_budget(field));
                    self.server.complete(&mut reply, has_budget, thinks);
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
            let before = self.server.profile().refused;
            if !may_be_refusal || changes == MAX_CHANGES || !self.server.adapt(message, &body) {
                // The same words for a request without the parts that they name: they quote
                // the prompt.
                if let Some((words, before)) = last
                    && words == *message
                {
                    self.server.lock().refused = before;
                    tracing::warn!(
                        "{}: that refusal quotes the prompt; nothing changes",
                        self.server.name
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
