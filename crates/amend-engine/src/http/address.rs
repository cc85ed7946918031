//! Where a server answers, and the key it asks for.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::Serialize;
use ureq::http::Uri;

/// The address under which a server's `chat/completions` and `models` stand, as
/// `http://localhost:8080/v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Address(String);

/// Why a text is no such address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It has another form.
    #[error("{0:?} is no address of the form http://HOST[:PORT][/PATH] or https://…")]
    Form(String),
    /// It holds a user's name or password, which would end up in manifests.
    #[error(
        "an address holds no user name or password: put a key in AMEND_API_KEY, that of a \
         server that judges in AMEND_JUDGE_API_KEY"
    )]
    Credentials,
}

impl Address {
    /// Whether a text is meant as an address rather than a file's name.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.starts_with("http://") || text.starts_with("https://")
    }

    /// Whether another address is of the same server: scheme, host and port.
    #[must_use]
    pub fn is_of_server(&self, other: &Self) -> bool {
        self.server() == other.server()
    }

    /// Whether the server is on this machine.
    pub(super) fn is_loopback(&self) -> bool {
        let (_, host, _) = self.server();
        let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
        host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    }

    /// The URL of one of its pages.
    pub(super) fn page(&self, name: &str) -> String {
        format!("{}/{name}", self.0)
    }

    pub(super) fn uri(&self) -> Uri {
        // It was parsed before.
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

    /// Where no path is written it is `/v1`.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let form = || AddressError::Form(text.to_owned());
        // A fragment is dropped by the parser.
        if !Self::is_meant(text) || text.contains('#') {
            return Err(form());
        }
        let uri: Uri = text.parse().map_err(|_| form())?;
        let authority = uri.authority().ok_or_else(form)?;
        if authority.as_str().contains('@') {
            return Err(AddressError::Credentials);
        }
        if authority.host().is_empty() || uri.query().is_some() {
            return Err(form());
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

/// A server's key. It is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// A key; none where the text is blank.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    /// The value of the `Authorization` header.
    pub(super) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// A text with the key blacked out, where a server quotes it.
    pub(super) fn hide_in(&self, text: &str) -> String {
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
    fn addresses_are_brought_to_one_form() {
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
    fn other_texts_are_refused() {
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
    fn servers_are_told_apart_by_scheme_host_and_port() {
        let address = |text: &str| text.parse::<Address>().unwrap();
        for (one, other, same) in [
            ("http://a.example/v1", "http://A.example:80/other", true),
            ("https://a.example", "https://a.example:443/v1", true),
            ("http://a.example", "https://a.example", false),
            ("http://a.example", "http://a.example:8080", false),
            ("http://a.example", "http://b.example", false),
        ] {
            assert_eq!(address(one).is_of_server(&address(other)), same, "{one} {other}");
        }
        for (text, is_loopback) in [
            ("http://localhost:8080", true),
            ("http://LOCALHOST", true),
            ("http://127.1.2.3/v1", true),
            ("http://[::1]:8000", true),
            ("http://localhost.example", false),
            ("http://192.168.0.1", false),
            ("http://[::2]", false),
        ] {
            assert_eq!(address(text).is_loopback(), is_loopback, "{text}");
        }
    }

    #[test]
    fn a_key_is_never_shown() {
        let key = Key::new(" sk-123\n").unwrap();
        assert_eq!(format!("{key:?}"), "Key(***)");
        assert_eq!(key.header(), "Bearer sk-123");
        assert_eq!(key.hide_in("the key sk-123 is wrong"), "the key *** is wrong");
        assert_eq!(Key::new(" \n"), None);
    }
}
