//! One exchange with the server: a request out, JSON back, and another try
//! where trying again may help.

use std::time::Duration;

use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Proxy};

use super::address::{Address, Key};

/// The largest answer that is read, in bytes.
const MAX_ANSWER: u64 = 16 << 20;

/// How many characters of an error page are shown.
const SHOWN: usize = 300;

/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// The variables that name a proxy, in the order in which ureq looks at them.
const PROXIES: [&str; 6] =
    ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];

/// When to try again, and how often.
///
/// What passes by itself is tried again: a connection that fails, status 429 and
/// 5xx. Pauses double from try to try. Where the server names a pause in seconds
/// (`Retry-After`) that one is kept to. No pause is longer than the longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// The most tries, the first included.
    pub tries: u32,
    /// The pause after the first.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
}

impl Default for Retry {
    /// Seven tries over half a minute.
    fn default() -> Self {
        Self {
            tries: 7,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(60),
        }
    }
}

impl Retry {
    /// The pause after the try of that number, from 1.
    fn pause(self, tried: u32, asked: Option<Duration>) -> Duration {
        let doubled = || self.first_pause.saturating_mul(1 << (tried - 1).min(30));
        asked.unwrap_or_else(doubled).min(self.longest_pause)
    }
}

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No connection, or it broke.
    #[error("failed to reach {url}{}: {source}", through(*.proxy))]
    Unreachable {
        /// What was asked for.
        url: String,
        /// The variable that names the proxy it was tried through.
        proxy: Option<&'static str>,
        /// What the network said.
        source: Box<ureq::Error>,
    },
    /// No answer in time.
    #[error(
        "{url} gave no answer within {} s: raise --endpoint-timeout, or lower --parallel",
        .after.as_secs_f32()
    )]
    Timeout {
        /// What was asked for.
        url: String,
        /// How long was waited.
        after: Duration,
    },
    /// An answer that is a refusal.
    #[error("{url} answered {code}: {message}")]
    Status {
        /// What was asked for.
        url: String,
        /// The status code.
        code: u16,
        /// The server's words.
        message: String,
        /// The pause it asks for.
        retry_after: Option<Duration>,
    },
    /// An answer that says nothing.
    #[error("{url} answered something other than was asked for: {message}")]
    Malformed {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        message: String,
    },
}

impl SendError {
    /// Whether another try may help.
    fn passes(&self) -> bool {
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

fn through(proxy: Option<&str>) -> String {
    proxy.map_or_else(String::new, |variable| format!(" through the proxy in {variable}"))
}

/// The way to one server.
#[derive(Debug, Clone)]
pub struct Transport {
    agent: Agent,
    /// The variable that names the proxy on the way, if there is one.
    proxy: Option<&'static str>,
    address: Address,
    key: Option<Key>,
    timeout: Duration,
    retry: Retry,
}

impl Transport {
    pub fn new(address: Address, key: Option<Key>, timeout: Duration, retry: Retry) -> Self {
        // No proxy leads to this machine.
        let proxy = Proxy::try_from_env()
            .filter(|proxy| !address.is_loopback() && !proxy.is_no_proxy(&address.uri()));
        let named = proxy.as_ref().and_then(|_| PROXIES.into_iter().find(|name| names_proxy(name)));
        let agent = Agent::config_builder()
            .proxy(proxy)
            .timeout_global(Some(timeout))
            .timeout_connect(Some(CONNECT.min(timeout)))
            .http_status_as_error(false)
            .user_agent(concat!("amend/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Self { agent, proxy: named, address, key, timeout, retry }
    }

    /// Asks for a page. A server that can't be reached is not waited for:
    /// whoever asks first has most likely named another one than was meant.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn get(&self, page: &str) -> Result<Value, SendError> {
        let patient = |error: &SendError| !matches!(error, SendError::Unreachable { .. });
        self.persist(patient, || self.exchange(page, None))
    }

    /// Sends a body of JSON. `wanted` says whether anyone still waits for the
    /// answer.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn post(
        &self,
        page: &str,
        body: &str,
        wanted: impl Fn() -> bool,
    ) -> Result<Value, SendError> {
        self.persist(|_| wanted(), || self.exchange(page, Some(body)))
    }

    fn persist(
        &self,
        goes_on: impl Fn(&SendError) -> bool,
        mut exchange: impl FnMut() -> Result<Value, SendError>,
    ) -> Result<Value, SendError> {
        let mut tried = 1;
        loop {
            let error = match exchange() {
                Err(error) if error.passes() && tried < self.retry.tries && goes_on(&error) => {
                    error
                }
                result => return result,
            };
            let pause = self.retry.pause(tried, error.retry_after());
            tracing::warn!("{error}; trying again in {} s", pause.as_secs_f32());
            std::thread::sleep(pause);
            tried += 1;
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
            let bytes = response.body_mut().with_config().limit(MAX_ANSWER).read_to_vec()?;
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
                message: format!("it is longer than {MAX_ANSWER} bytes"),
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
            let message = self.hide_key(&said(&text()));
            return Err(SendError::Status {
                url,
                code: status.as_u16(),
                message,
                retry_after: seconds,
            });
        }
        serde_json::from_slice(bytes).map_err(|error| {
            let message = format!("it is no JSON ({error}): {}", shorten(&text()));
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

/// Whether a variable holds a proxy that can be read: ureq passes others by.
fn names_proxy(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| Proxy::new(&value).is_ok())
}

/// The words of an error page: where servers put them, or its beginning.
fn said(text: &str) -> String {
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    let words = ["/error/message", "/error", "/message", "/detail"]
        .iter()
        .find_map(|place| value.pointer(place)?.as_str());
    shorten(words.unwrap_or(text))
}

fn shorten(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() {
        return "(nothing)".to_owned();
    }
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_are_bounded() {
        let retry = Retry {
            tries: 9,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(3),
        };
        let seconds = |tried, asked: Option<u64>| {
            retry.pause(tried, asked.map(Duration::from_secs)).as_secs_f64()
        };
        assert_eq!([1, 2, 3, 4, 90].map(|tried| seconds(tried, None)), [0.5, 1.0, 2.0, 3.0, 3.0]);
        assert_eq!([0, 2, 3600].map(|asked| seconds(4, Some(asked))), [0.0, 2.0, 3.0]);
    }

    #[test]
    fn the_words_of_an_error_are_found() {
        for (page, words) in [
            (r#"{"error":{"code":400,"message":"too long","type":"x"}}"#, "too long"),
            (r#"{"error":"no model"}"#, "no model"),
            (r#"{"object":"error","message":"bad"}"#, "bad"),
            (r#"{"detail":"Not Found"}"#, "Not Found"),
            ("<h1>Bad gateway</h1>\n", "<h1>Bad gateway</h1>"),
            ("", "(nothing)"),
        ] {
            assert_eq!(said(page), words);
        }
        assert_eq!(said(&"é".repeat(400)), format!("{}…", "é".repeat(SHOWN)));
    }
}
