//! The jobs of the threads that talk to servers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::{AttemptError, Client};
use super::fleet::MemberId;
use super::servers::Checkup;
use amend_core::model::{EngineError, Event, Request, Usage};

/// What a thread does.
pub enum HttpJob {
    /// Send a request.
    Run { serial: u64, member: MemberId, client: Arc<Client>, request: Box<Request> },
    /// Check a server.
    Check { member: MemberId, checkup: Box<Checkup> },
}

/// What a thread did.
pub enum HttpResult {
    /// It sent a request.
    Ran(Box<Exchange>),
    /// It checked a server.
    Checked { member: MemberId, result: Result<Arc<Client>, EngineError> },
}

/// A request that was sent.
pub struct Exchange {
    pub serial: u64,
    pub member: MemberId,
    pub client: Arc<Client>,
    pub request: Box<Request>,
    pub sent: Instant,
    pub taken: Duration,
    pub usage: Usage,
    pub events: Result<Vec<Event>, AttemptError>,
}

impl HttpJob {
    /// Runs the job, which blocks.
    pub fn run(self) -> HttpResult {
        match self {
            Self::Check { member, checkup } => {
                HttpResult::Checked { member, result: checkup.run() }
            }
            Self::Run { serial, member, client, request } => {
                let mut usage = Usage::default();
                let sent = Instant::now();
                let events = client.run(&request, &mut usage);
                let taken = sent.elapsed();
                HttpResult::Ran(Box::new(Exchange {
                    serial,
                    member,
                    client,
                    request,
                    sent,
                    taken,
                    usage,
                    events,
                }))
            }
        }
    }
}
