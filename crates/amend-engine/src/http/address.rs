//! The address of a server, and its API key.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use ureq::http::Uri;

/// The base URL of a server's `chat/completions` and `models`, such as
/// `http://localhost:8080/v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Address(String);

/// Why a text is not a valid address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is not a URL of the expected form.
    #[error("{0:?} is not an address of the form http://HOST[:PORT][/PATH] or https://…")]
    Form(String),
    /// It contains a user name or password, which would end up in manifests.
    #[error(
        "an address must not contain a user name or password: put the server's key in \
         AMEND_API_KEY, or in AMEND_JUDGE_API_KEY for a server that judges"
    )]
    Credentials,
}

impl Address {
    /// Whether a text is meant as an address rather than a file name.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.starts_with("http://") || text.starts_with("https://")
    }

    /// Whether another address has the same scheme, host and port.
    #[must_use]
    pub fn is_of_server(&self, other: &Self) -> bool {
        self.server() == other.server()
    }

    /// The URL of a page below the address.
    pub(super) fn page(&self, name: &str) -> String {
        format!("{}/{name}", self.0)
    }

    pub(super) fn uri(&self) -> Uri {
        // The constructor has parsed it.
        self.0.parse().unwrap_or_default()
    }

    /// Scheme, host and port.
    fn server(&self) -> (bool, String, u16) {
        let uri = self.uri();
        let secure = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        (secure, host, uri.port_u16().unwrap_or(if secure { 443 } else { 80 }))
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// Parses an address. An empty path becomes `/v1`.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let invalid = || AddressError::Form(text.to_owned());
        // The parser would drop a fragment silently.
        if !Self::is_meant(text) || text.contains('#') {
            return Err(invalid());
        }
        let uri: Uri = text.parse().map_err(|_| invalid())?;
        let authority = uri.authority().ok_or_else(invalid)?;
        if authority.as_str().contains('@') {
            return Err(AddressError::Credentials);
        }
        if authority.host().is_empty() || uri.query().is_some() {
            return Err(invalid());
        }
        let path = match uri.path().trim_end_matches('/') {
            "" => "/v1",
            path => path,
        };
        Ok(Self(format!("{}://{authority}{path}", uri.scheme_str().unwrap_or("http"))))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A server's API key. It is never displayed.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// Creates a key. Returns `None` if the text is blank.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        Some(Self(text.to_owned()))
    }

    /// The value of the `Authorization` header.
    pub(crate) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Replaces the key in a text by `***`: servers quote it in errors.
    pub(crate) fn hide_in(&self, text: &str) -> String {
        text.replace(&self.0, "***")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_normalised() {
        for (written, address) in [
            ("http://localhost:8080", "http://localhost:8080/v1"),
            ("http://localhost:8080/", "http://localhost:8080/v1"),
            ("http://localhost:8080/v1/", "http://localhost:8080/v1"),
            ("https://example.org/openai/v1", "https://example.org/openai/v1"),
            ("http://[::1]:8000", "http://[::1]:8000/v1"),
        ] {
            let parsed: Address = written.parse().unwrap();
            assert_eq!(parsed.to_string(), address);
            assert_eq!(parsed.page("models"), format!("{address}/models"));
        }
    }

    #[test]
    fn invalid_addresses_are_rejected() {
        for text in [
            "localhost:8080",
            "ftp://host/v1",
            "http://",
            "http:///v1",
            "http://host/v1?key=1",
            "http://host/v1#models",
            "http://ho st/",
        ] {
            assert_eq!(text.parse::<Address>(), Err(AddressError::Form(text.to_owned())), "{text}");
        }
        for text in ["http://me:secret@host/v1", "https://me@host"] {
            let error = text.parse::<Address>().unwrap_err();
            assert_eq!(error, AddressError::Credentials);
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn servers_are_compared_by_scheme_host_and_port() {
        let address = |text: &str| text.parse::<Address>().unwrap();
        for (left, right, is_same) in [
            ("http://a.example/v1", "http://A.example:80/other", true),
            ("https://a.example", "https://a.example:443/v1", true),
            ("http://a.example", "https://a.example", false),
            ("http://a.example", "http://a.example:8080", false),
            ("http://a.example", "http://b.example", false),
        ] {
            assert_eq!(address(left).is_of_server(&address(right)), is_same, "{left} {right}");
        }
    }

    #[test]
    fn a_key_is_never_displayed() {
        let key = Key::new(" sk-123\n").unwrap();
        assert_eq!(format!("{key:?}"), "Key(***)");
        assert_eq!(key.header(), "Bearer sk-123");
        assert_eq!(key.hide_in("the key sk-123 is wrong"), "the key *** is wrong");
        assert_eq!(Key::new(" \n"), None);
    }
}
