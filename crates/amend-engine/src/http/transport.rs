//! Sends a request to the server and reads JSON back. Retries transient errors, and pauses
//! for rate limits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Proxy};

use super::address::{Address, Key};
use super::gate::RateLimitGate;
use super::retry::Retry;
use super::send_error::{SendError, from_redirect, from_status, in_body};
use super::wire;
use crate::network::{self, CONNECT_TIMEOUT, shorten};

/// The maximum size of a response, in bytes.
const MAX_RESPONSE: u64 = 64 << 20;

/// The variables that name a proxy, in the order in which ureq reads them.
const PROXIES: [&str; 6] =
    ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];

/// A client of one server. Its clones share the pauses for rate limits.
#[derive(Debug, Clone)]
pub struct Transport {
    agent: Agent,
    /// The variable that names the proxy, if one is used.
    proxy: Option<&'static str>,
    address: Address,
    key: Option<Key>,
    timeout: Duration,
    retry: Retry,
    gate: Arc<RateLimitGate>,
}

impl Transport {
    /// A client that keeps up to `connections` connections open.
    pub fn new(
        address: Address,
        key: Option<Key>,
        timeout: Duration,
        retry: Retry,
        connections: usize,
    ) -> Self {
        let uri = address.uri();
        let proxy = network::proxy(&uri).filter(|proxy| !proxy.is_no_proxy(&uri));
        let variable = match &proxy {
            Some(_) => PROXIES.into_iter().find(|name| names_proxy(name)),
            None => None,
        };
        let agent = network::agent(&address.to_string(), proxy)
            // By default, only three connections would stay open.
            .max_idle_connections(connections)
            .max_idle_connections_per_host(connections)
            .timeout_global(Some(timeout))
            .timeout_connect(Some(CONNECT_TIMEOUT.min(timeout)))
            // A POST that is redirected would become a GET.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .build()
            .new_agent();
        let gate = Arc::default();
        Self { agent, proxy: variable, address, key, timeout, retry, gate }
    }

    /// Sends a GET request for a page. Does not retry when the server can't be
    /// reached: the address is most likely wrong.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn get(&self, page: &str) -> Result<Value, SendError> {
        let can_retry = |error: &SendError| !matches!(error, SendError::Unreachable { .. });
        self.send(can_retry, || self.exchange(page, None))
    }

    /// Sends a GET request for a page once.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn get_once(&self, page: &str) -> Result<Value, SendError> {
        self.exchange(page, None)
    }

    /// Sends a POST request with a JSON body for a reply that has a choice. Neither retries it
    /// nor waits for rate limits.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn post_once(&self, page: &str, body: &str) -> Result<Value, SendError> {
        let reply = self.exchange(page, Some(body))?;
        if reply["choices"][0].is_object() {
            return Ok(reply);
        }
        let message = self.hide_key(&shorten(&reply.to_string()));
        Err(SendError::NoChoices { url: self.address.page(page), message })
    }

    /// As [`Transport::post_once`], but retries, and waits for rate limits.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn post(&self, page: &str, body: &str) -> Result<Value, SendError> {
        self.send(|_| true, || self.post_once(page, body))
    }

    /// Pauses all requests to the server after the rate limit of one that was sent at `sent`.
    pub fn rate_limited(&self, error: &SendError, sent: Instant) {
        let pause = self.gate.close(self.retry, sent, Instant::now(), error.retry_after());
        if let Some(pause) = pause {
            tracing::warn!("{error}; all requests wait for {:.1} s", pause.as_secs_f32());
        }
    }

    /// Notes that a request succeeded, so that the next rate limit begins with a short pause.
    pub fn succeeded(&self) {
        self.gate.succeeded();
    }

    /// When the last pause for a rate limit ends.
    pub fn open_at(&self) -> Option<Instant> {
        self.gate.open_at()
    }

    /// Calls `exchange` until it succeeds, fails for good, or has no tries left. Rate limits use
    /// up no try.
    fn send(
        &self,
        can_retry: impl Fn(&SendError) -> bool,
        mut exchange: impl FnMut() -> Result<Value, SendError>,
    ) -> Result<Value, SendError> {
        let mut pauses = self.retry.pauses();
        loop {
            self.gate.pass(self.retry);
            let sent = Instant::now();
            let error = match exchange() {
                Ok(reply) => {
                    self.gate.succeeded();
                    return Ok(reply);
                }
                Err(error) => error,
            };
            if error.is_rate_limit() {
                self.rate_limited(&error, sent);
            } else if error.is_transient() && can_retry(&error) {
                let Some(pause) = pauses.next() else { return Err(error) };
                let pause = error.retry_after().unwrap_or(pause);
                tracing::warn!("{error}; retrying in {:.1} s", pause.as_secs_f32());
                std::thread::sleep(pause);
            } else {
                return Err(error);
            }
        }
    }

    fn exchange(&self, page: &str, body: Option<&str>) -> Result<Value, SendError> {
        let url = self.address.page(page);
        let sent = match body {
            None => {
                let mut request = self.agent.get(&url);
                if let Some(key) = &self.key {
                    request = request.header("Authorization", key.header());
                }
                request.call()
            }
            Some(body) => {
                let mut request = self.agent.post(&url).header("Content-Type", "application/json");
                if let Some(key) = &self.key {
                    request = request.header("Authorization", key.header());
                }
                request.send(body)
            }
        };
        let read = sent.and_then(|mut response| {
            let bytes = response.body_mut().with_config().limit(MAX_RESPONSE).read_to_vec()?;
            Ok((response, bytes))
        });
        match read {
            Ok((response, bytes)) => self.read(url, &response, &bytes),
            Err(ureq::Error::Timeout(stage))
                if !matches!(stage, ureq::Timeout::Resolve | ureq::Timeout::Connect) =>
            {
                Err(SendError::Timeout { url, after: self.timeout })
            }
            Err(ureq::Error::BodyExceedsLimit(_)) => Err(SendError::Malformed {
                url,
                message: format!("it is longer than {MAX_RESPONSE} bytes"),
            }),
            Err(error) => {
                let proxy = self.proxy;
                Err(SendError::Unreachable { url, proxy, source: Box::new(error) })
            }
        }
    }

    fn read<B>(
        &self,
        url: String,
        response: &Response<B>,
        bytes: &[u8],
    ) -> Result<Value, SendError> {
        let text = || String::from_utf8_lossy(bytes);
        let status = response.status();
        let hide_key = |text: &str| self.hide_key(text);
        if status.is_redirection() {
            return Err(from_redirect(url, status.as_u16(), response.headers()));
        }
        if !status.is_success() {
            return Err(from_status(url, status.as_u16(), response.headers(), &text(), hide_key));
        }
        let body = wire::parse(bytes).map_err(|error| {
            if error.is_eof() && bytes.starts_with(b"{") {
                return SendError::CutOff { url: url.clone() };
            }
            let message = format!("it is not valid JSON ({error}): {}", shorten(&text()));
            SendError::Malformed { url: url.clone(), message: self.hide_key(&message) }
        })?;
        if let Some(error) = in_body(&url, response.headers(), &body, hide_key) {
            return Err(error);
        }
        Ok(body)
    }

    fn hide_key(&self, text: &str) -> String {
        match &self.key {
            Some(key) => key.hide_in(text),
            None => text.to_owned(),
        }
    }
}

/// Whether a variable contains a valid proxy address: ureq ignores invalid ones.
fn names_proxy(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| Proxy::new(&value).is_ok())
}
