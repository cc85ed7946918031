//! Why an exchange with the server failed, and what may be done about it.

use std::time::{Duration, SystemTime};

use serde_json::Value;
use ureq::http::HeaderMap;

use super::wire::{ReplyError, error_in};
use crate::network::shorten;

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
    /// The server responded with an error status, or with a body that names one.
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
        /// Whether the account is out of credit, which no pause changes.
        is_out_of_credit: bool,
    },
    /// The response has no choices.
    #[error("{url} responded without choices: {message}")]
    NoChoices {
        /// The URL of the request.
        url: String,
        /// The response.
        message: String,
    },
    /// The response ends in the middle.
    #[error("the response of {url} ends early")]
    CutOff {
        /// The URL of the request.
        url: String,
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
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::NoChoices { .. } | Self::CutOff { .. } => true,
            Self::Status { code, .. } => {
                matches!(code, 408 | 409 | 425 | 500..) && !self.is_parse_failure()
            }
            Self::Timeout { .. } | Self::Malformed { .. } => false,
        }
    }

    /// Whether the same request may succeed at another time or at another server.
    pub fn may_pass(&self) -> bool {
        self.is_transient() || self.is_rate_limit() || matches!(self, Self::Timeout { .. })
    }

    /// Whether the server has too much to do.
    pub fn is_overload(&self) -> bool {
        self.is_rate_limit() || matches!(self, Self::Status { code: 503, .. })
    }

    /// Whether the server limits the rate of requests.
    pub fn is_rate_limit(&self) -> bool {
        match self {
            Self::Status { is_out_of_credit: true, .. } => false,
            Self::Status { code: 429, .. } => true,
            Self::Status { code: 503, retry_after, .. } => retry_after.is_some(),
            Self::Status { .. }
            | Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::NoChoices { .. }
            | Self::CutOff { .. }
            | Self::Malformed { .. } => false,
        }
    }

    /// Whether llama-server failed to parse what its model wrote.
    pub fn is_parse_failure(&self) -> bool {
        match self {
            Self::Status { message, .. } => {
                message.contains("output that does not match the expected")
            }
            _ => false,
        }
    }

    /// The pause that the server requests.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

fn proxy_suffix(proxy: Option<&str>) -> String {
    proxy.map_or_else(String::new, |variable| format!(" through the proxy in {variable}"))
}

/// The error of a response that names another address. The request was not sent there.
pub fn from_redirect(url: String, code: u16, headers: &HeaderMap) -> SendError {
    let location = headers.get("Location").and_then(|value| value.to_str().ok());
    let message = match location {
        Some(location) => format!("it redirects to {location}: use that address"),
        None => "it redirects, but does not say where to".to_owned(),
    };
    SendError::Status { url, code, message, retry_after: None, is_out_of_credit: false }
}

/// The error of a response with an error status.
pub fn from_status(
    url: String,
    code: u16,
    headers: &HeaderMap,
    page: &str,
    hide_key: impl Fn(&str) -> String,
) -> SendError {
    let body: Value = serde_json::from_str(page).unwrap_or_default();
    let error = error_in(&body);
    let message = hide_key(&error_message(&body, page));
    let retry_after = requested_pause(headers, SystemTime::now());
    let is_out_of_credit = code == 402 || error.as_ref().is_some_and(is_out_of_credit);
    SendError::Status { url, code, message, retry_after, is_out_of_credit }
}

/// The error in the body of a response whose status is good, if it has one.
pub fn in_body(
    url: &str,
    headers: &HeaderMap,
    body: &Value,
    hide_key: impl Fn(&str) -> String,
) -> Option<SendError> {
    let error = error_in(body)?;
    // An error without a status is most likely one of a server behind this one.
    let code = error.status.unwrap_or(502);
    Some(SendError::Status {
        url: url.to_owned(),
        code,
        message: hide_key(&shorten(&error.message)),
        retry_after: requested_pause(headers, SystemTime::now()),
        is_out_of_credit: code == 402 || is_out_of_credit(&error),
    })
}

fn is_out_of_credit(error: &ReplyError) -> bool {
    error.kind.as_deref().is_some_and(|kind| kind.contains("insufficient_quota"))
}

/// The pause that a response requests: in milliseconds, in seconds, or until a date.
fn requested_pause(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let seconds = |text: &str, unit: f64| {
        let count: f64 = text.parse().ok()?;
        Duration::try_from_secs_f64(count * unit).ok()
    };
    if let Some(pause) = text("retry-after-ms").and_then(|text| seconds(text, 1e-3)) {
        return Some(pause);
    }
    let after = text("retry-after")?;
    if let Some(pause) = seconds(after, 1.0) {
        return Some(pause);
    }
    let date = httpdate::parse_http_date(after).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// The message of an error page: the JSON field that servers use for it, or the beginning of
/// the page.
fn error_message(body: &Value, page: &str) -> String {
    let message = ["/error/message", "/error", "/message", "/detail"]
        .iter()
        .find_map(|pointer| body.pointer(pointer)?.as_str());
    shorten(message.unwrap_or(page))
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let body = serde_json::from_str(page).unwrap_or_default();
            assert_eq!(error_message(&body, page), message);
        }
        let long = "é".repeat(400);
        assert_eq!(error_message(&Value::Null, &long), format!("{}…", "é".repeat(300)));
    }

    #[test]
    fn a_requested_pause_is_read_in_every_form() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        for (name, value, milliseconds) in [
            ("retry-after", "2", Some(2000)),
            ("retry-after", " 0.5 ", Some(500)),
            ("retry-after", "7200", Some(7_200_000)),
            ("retry-after", "Sun, 06 Nov 1994 08:51:07 GMT", Some(90_000)),
            ("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("retry-after", "soon", None),
            ("retry-after", "-1", None),
            ("retry-after-ms", "250", Some(250)),
            ("x-other", "1", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            let expected = milliseconds.map(Duration::from_millis);
            assert_eq!(requested_pause(&headers, now), expected, "{name}: {value}");
        }
        let mut both = HeaderMap::new();
        both.insert("retry-after", "1".parse().unwrap());
        both.insert("retry-after-ms", "1500".parse().unwrap());
        assert_eq!(requested_pause(&both, now), Some(Duration::from_millis(1500)));
    }

    #[test]
    fn statuses_are_transient_a_rate_limit_or_final() {
        let error = |code, retry_after: Option<u64>, page: &str| {
            let mut headers = HeaderMap::new();
            if let Some(seconds) = retry_after {
                headers.insert("retry-after", seconds.into());
            }
            let error = from_status(String::new(), code, &headers, page, str::to_owned);
            (error.is_rate_limit(), error.is_transient())
        };
        for code in [408, 409, 425, 500, 502, 503, 529] {
            assert_eq!(error(code, None, ""), (false, true), "{code}");
        }
        for code in [400, 401, 402, 403, 404, 422] {
            assert_eq!(error(code, None, ""), (false, false), "{code}");
        }
        assert_eq!(error(429, None, ""), (true, false));
        assert_eq!(error(503, Some(1), ""), (true, true));
        let quota = r#"{"error": {"message": "pay", "type": "insufficient_quota"}}"#;
        assert_eq!(error(429, None, quota), (false, false));
        let parser = "The model produced output that does not match the expected peg-native format";
        assert_eq!(error(500, None, parser), (false, false));
    }
}
