//! Sends a request to the server and reads JSON back. Retries transient errors.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Proxy};

use super::address::{Address, Key};

/// The maximum size of a response, in bytes.
const MAX_RESPONSE: u64 = 16 << 20;

/// How many characters of an error page are displayed.
const MAX_MESSAGE: usize = 300;

/// The timeout for opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The variables that name a proxy, in the order in which ureq reads them.
const PROXIES: [&str; 6] =
    ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];

/// When to retry a request, and how often.
///
/// Only transient errors are retried: a failed connection, status 429 and 5xx.
/// Pauses double from try to try, and random jitter lengthens each by up to its own
/// length, so that requests that fail together are not retried together. If the
/// server names a pause in seconds (`Retry-After`), the pause is that long, plus
/// jitter of up to `first_pause`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// The maximum number of tries, including the first.
    pub tries: u32,
    /// The pause after the first try, before jitter.
    pub first_pause: Duration,
    /// The longest pause, before jitter.
    pub longest_pause: Duration,
}

impl Default for Retry {
    /// Seven tries over half a minute to a minute.
    fn default() -> Self {
        Self {
            tries: 7,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(60),
        }
    }
}

impl Retry {
    /// The pause after each try but the last.
    fn pauses(self) -> impl Iterator<Item = Duration> {
        ExponentialBuilder::new()
            .with_factor(2.0)
            .with_min_delay(self.first_pause.min(self.longest_pause))
            .with_max_delay(self.longest_pause)
            .with_max_times(self.tries.saturating_sub(1) as usize)
            .with_jitter()
            .build()
    }

    /// The pause when the server asks for one.
    fn requested_pause(self, requested: Duration) -> Duration {
        requested.min(self.longest_pause) + self.first_pause.mul_f32(fastrand::f32())
    }
}

/// A flag that cancels one request. Its clones share the flag.
///
/// Cancelling wakes a thread that pauses before a retry.
#[derive(Debug, Clone, Default)]
pub struct Cancellation(Arc<(Mutex<bool>, Condvar)>);

impl Cancellation {
    /// Cancels the request.
    pub fn cancel(&self) {
        let (flag, condvar) = &*self.0;
        *flag.lock().unwrap_or_else(PoisonError::into_inner) = true;
        condvar.notify_all();
    }

    /// Whether the request was cancelled.
    pub fn is_cancelled(&self) -> bool {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `pause` has passed or the request is cancelled. Returns whether it
    /// was cancelled.
    fn pause(&self, pause: Duration) -> bool {
        let (flag, condvar) = &*self.0;
        let flag = flag.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = condvar.wait_timeout_while(flag, pause, |is_cancelled| !*is_cancelled);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The connection could not be opened, or it broke.
    #[error("failed to reach {url}{}: {source}", proxy_suffix(*.proxy))]
    Unreachable {
        /// The URL of the request.
        url: String,
        /// The variable that names the proxy, if the request used one.
        proxy: Option<&'static str>,
        /// The network error.
        source: Box<ureq::Error>,
    },
    /// The server did not respond in time.
    #[error(
        "{url} did not respond within {} s: raise --endpoint-timeout, or lower --parallel",
        .after.as_secs_f32()
    )]
    Timeout {
        /// The URL of the request.
        url: String,
        /// The timeout.
        after: Duration,
    },
    /// The server responded with an error status.
    #[error("{url} responded with status {code}: {message}")]
    Status {
        /// The URL of the request.
        url: String,
        /// The status code.
        code: u16,
        /// The server's message.
        message: String,
        /// The pause that it requests before a retry.
        retry_after: Option<Duration>,
    },
    /// The response can't be read.
    #[error("failed to read the response of {url}: {message}")]
    Malformed {
        /// The URL of the request.
        url: String,
        /// What is wrong with it.
        message: String,
    },
}

impl SendError {
    /// Whether a retry may succeed.
    fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Status { code, .. } => *code == 429 || *code >= 500,
            Self::Timeout { .. } | Self::Malformed { .. } => false,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

fn proxy_suffix(proxy: Option<&str>) -> String {
    proxy.map_or_else(String::new, |variable| format!(" through the proxy in {variable}"))
}

/// A client of one server.
#[derive(Debug, Clone)]
pub struct Transport {
    agent: Agent,
    /// The variable that names the proxy, if one is used.
    proxy: Option<&'static str>,
    address: Address,
    key: Option<Key>,
    timeout: Duration,
    retry: Retry,
}

impl Transport {
    pub fn new(address: Address, key: Option<Key>, timeout: Duration, retry: Retry) -> Self {
        // A server on this machine is reached without a proxy.
        let proxy = Proxy::try_from_env()
            .filter(|proxy| !address.is_loopback() && !proxy.is_no_proxy(&address.uri()));
        let variable = match &proxy {
            Some(_) => PROXIES.into_iter().find(|name| names_proxy(name)),
            None => None,
        };
        let agent = Agent::config_builder()
            .proxy(proxy)
            .timeout_global(Some(timeout))
            .timeout_connect(Some(CONNECT_TIMEOUT.min(timeout)))
            .http_status_as_error(false)
            .user_agent(concat!("amend/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Self { agent, proxy: variable, address, key, timeout, retry }
    }

    /// Sends a GET request for a page. Does not retry when the server can't be
    /// reached: the address is most likely wrong.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn get(&self, page: &str, cancellation: &Cancellation) -> Result<Value, SendError> {
        let can_retry = |error: &SendError| !matches!(error, SendError::Unreachable { .. });
        send_with_retries(self.retry, cancellation, can_retry, || self.exchange(page, None))
    }

    /// Sends a POST request with a JSON body.
    ///
    /// # Errors
    /// See [`SendError`]. If the request is cancelled while it waits for a retry, the
    /// error of its last try.
    pub fn post(
        &self,
        page: &str,
        body: &str,
        cancellation: &Cancellation,
    ) -> Result<Value, SendError> {
        send_with_retries(self.retry, cancellation, |_| true, || self.exchange(page, Some(body)))
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
        if !status.is_success() {
            let seconds = response.headers().get("Retry-After").and_then(|value| {
                value.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
            });
            let message = self.hide_key(&error_message(&text()));
            return Err(SendError::Status {
                url,
                code: status.as_u16(),
                message,
                retry_after: seconds,
            });
        }
        serde_json::from_slice(bytes).map_err(|error| {
            let message = format!("it is not valid JSON ({error}): {}", shorten(&text()));
            SendError::Malformed { url, message: self.hide_key(&message) }
        })
    }

    fn hide_key(&self, text: &str) -> String {
        match &self.key {
            Some(key) => key.hide_in(text),
            None => text.to_owned(),
        }
    }
}

/// Calls `exchange` until it succeeds, fails for good, or has no tries left. A
/// cancelled request is not sent again.
fn send_with_retries(
    retry: Retry,
    cancellation: &Cancellation,
    can_retry: impl Fn(&SendError) -> bool,
    mut exchange: impl FnMut() -> Result<Value, SendError>,
) -> Result<Value, SendError> {
    let mut pauses = retry.pauses();
    loop {
        let error = match exchange() {
            Err(error) if error.is_transient() && can_retry(&error) => error,
            result => return result,
        };
        if cancellation.is_cancelled() {
            return Err(error);
        }
        let Some(pause) = pauses.next() else { return Err(error) };
        let pause = match error.retry_after() {
            Some(requested) => retry.requested_pause(requested),
            None => pause,
        };
        tracing::warn!("{error}; retrying in {:.1} s", pause.as_secs_f32());
        if cancellation.pause(pause) {
            return Err(error);
        }
    }
}

/// Whether a variable contains a valid proxy address: ureq ignores invalid ones.
fn names_proxy(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| Proxy::new(&value).is_ok())
}

/// The message of an error page: the JSON field that servers use for it, or the
/// beginning of the page.
fn error_message(text: &str) -> String {
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    let message = ["/error/message", "/error", "/message", "/detail"]
        .iter()
        .find_map(|pointer| value.pointer(pointer)?.as_str());
    shorten(message.unwrap_or(text))
}

fn shorten(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() {
        return "(empty)".to_owned();
    }
    match text.char_indices().nth(MAX_MESSAGE) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Retry = Retry {
        tries: 6,
        first_pause: Duration::from_millis(500),
        longest_pause: Duration::from_secs(3),
    };

    #[test]
    fn pauses_double_up_to_the_longest_with_jitter() {
        let bases = [0.5, 1.0, 2.0, 3.0, 3.0];
        let pauses: Vec<f64> = RETRY.pauses().map(|pause| pause.as_secs_f64()).collect();
        assert_eq!(pauses.len(), bases.len());
        for (pause, base) in pauses.iter().zip(bases) {
            assert!((base..=2.0 * base).contains(pause), "{pauses:?}");
        }
        let others: Vec<f64> = RETRY.pauses().map(|pause| pause.as_secs_f64()).collect();
        assert_ne!(pauses, others);
    }

    #[test]
    fn a_requested_pause_is_bounded_and_gets_jitter() {
        for (requested, base) in [(0, 0.0), (2, 2.0), (3600, 3.0)] {
            let pause = RETRY.requested_pause(Duration::from_secs(requested)).as_secs_f64();
            assert!((base..=base + 0.5).contains(&pause), "{requested}: {pause}");
        }
    }

    /// The pause is far longer than anyone waits for a test: without cancellation it
    /// would not end.
    #[test]
    fn cancelling_ends_a_pause_without_another_try() {
        let hour = Duration::from_secs(3600);
        let retry = Retry { tries: 3, first_pause: hour, longest_pause: hour };
        let cancellation = Cancellation::default();
        let (tried, wait_for_try) = std::sync::mpsc::channel();
        let canceller = std::thread::spawn({
            let cancellation = cancellation.clone();
            move || {
                wait_for_try.recv().unwrap();
                cancellation.cancel();
            }
        });
        let mut tries = 0;
        let result = send_with_retries(
            retry,
            &cancellation,
            |_| true,
            || {
                tries += 1;
                let _ = tried.send(());
                Err(SendError::Status {
                    url: String::new(),
                    code: 503,
                    message: String::new(),
                    retry_after: None,
                })
            },
        );
        assert!(matches!(result, Err(SendError::Status { code: 503, .. })));
        assert_eq!(tries, 1);
        canceller.join().unwrap();
    }

    #[test]
    fn the_message_of_an_error_page_is_found() {
        for (page, message) in [
            (r#"{"error":{"code":400,"message":"too long","type":"x"}}"#, "too long"),
            (r#"{"error":"no model"}"#, "no model"),
            (r#"{"object":"error","message":"bad"}"#, "bad"),
            (r#"{"detail":"Not Found"}"#, "Not Found"),
            ("<h1>Bad gateway</h1>\n", "<h1>Bad gateway</h1>"),
            ("", "(empty)"),
        ] {
            assert_eq!(error_message(page), message);
        }
        assert_eq!(error_message(&"é".repeat(400)), format!("{}…", "é".repeat(MAX_MESSAGE)));
    }
}
