//! How to connect to servers.

use std::time::Duration;

use super::address::{Address, Key};
use super::endpoints_file::EndpointsFile;
use super::retry::Retry;

/// The default number of requests in flight to one server.
const DEFAULT_PARALLEL: usize = 16;

/// The maximum number of requests in flight to one server: each takes a thread and a
/// connection.
const MAX_PARALLEL: usize = 1024;

/// The environment variable with a server's key. A flag would show the key to every
/// user of the machine.
pub const API_KEY: &str = "AMEND_API_KEY";

/// How to connect to the servers of one model.
#[derive(Debug, Clone)]
pub struct EndpointSettings {
    /// Their addresses, each once.
    pub addresses: Vec<Address>,
    /// The file that lists the addresses, if it is read again when it changes.
    pub file: Option<EndpointsFile>,
    /// The API key, the same for all.
    pub key: Option<Key>,
    /// The environment variable with the key, for hints.
    pub key_variable: &'static str,
    /// The name of the model. `None` takes the first one that the first server lists.
    pub model: Option<String>,
    /// The number of requests in flight to each server; 0 for the default.
    pub parallel: usize,
    /// The timeout of one request.
    pub timeout: Duration,
    /// When to retry.
    pub retry: Retry,
}

impl EndpointSettings {
    /// The default settings for one server, with a timeout of ten minutes.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self::of_fleet(vec![address])
    }

    /// The default settings for several servers of the same model.
    #[must_use]
    pub fn of_fleet(addresses: Vec<Address>) -> Self {
        Self {
            addresses,
            file: None,
            key: None,
            key_variable: API_KEY,
            model: None,
            parallel: 0,
            timeout: Duration::from_secs(600),
            retry: Retry::default(),
        }
    }

    /// Whether there may be more than one server.
    pub(super) fn is_fleet(&self) -> bool {
        self.addresses.len() > 1 || self.file.is_some()
    }

    /// The number of requests in flight to each server.
    pub(super) fn parallel(&self) -> usize {
        match self.parallel {
            0 => DEFAULT_PARALLEL,
            parallel => parallel.min(MAX_PARALLEL),
        }
    }
}
