//! What requests to all servers have in common: certificates, proxies, and the shortening of
//! what a server says.

use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

use ureq::config::ConfigBuilder;
use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::typestate::AgentScope;
use ureq::{Agent, Proxy};

/// The timeout for opening a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How many characters of a server's message are displayed.
const MAX_MESSAGE: usize = 300;

/// The variables that replace the system's certificates.
const VARIABLES: &str = "SSL_CERT_FILE and SSL_CERT_DIR";

/// The settings of an agent for the server of a URL. Error statuses are responses.
pub fn agent(url: &str, proxy: Option<Proxy>) -> ConfigBuilder<AgentScope> {
    Agent::config_builder()
        .tls_config(tls(url))
        .proxy(proxy)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .http_status_as_error(false)
        .user_agent(concat!("amend/", env!("CARGO_PKG_VERSION")))
}

/// The proxy that the environment names. `None` for a server on this machine, which is reached
/// without one.
pub fn proxy(uri: &Uri) -> Option<Proxy> {
    if is_loopback(uri) { None } else { Proxy::try_from_env() }
}

/// Whether a server is on this machine.
fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback())
}

/// The beginning of a text, for messages.
pub fn shorten(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() {
        return "(empty)".to_owned();
    }
    match text.char_indices().nth(MAX_MESSAGE) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// How to trust the server of a URL: by the certificates of the operating system, or those
/// that `SSL_CERT_FILE` and `SSL_CERT_DIR` name. If there are none, by those of Mozilla, which
/// are built in. They are only read if the URL needs them.
fn tls(url: &str) -> TlsConfig {
    static ROOTS: LazyLock<RootCerts> = LazyLock::new(load);
    if url.starts_with("https:") {
        TlsConfig::builder().root_certs(ROOTS.clone()).build()
    } else {
        TlsConfig::default()
    }
}

fn load() -> RootCerts {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!("failed to read a certificate ({VARIABLES} name others): {error}");
    }
    if found.certs.is_empty() {
        return RootCerts::WebPki;
    }
    let certificates = found.certs.iter().map(|der| Certificate::from_der(der).to_owned());
    RootCerts::from(certificates.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_this_machine_is_recognised() {
        for (url, expected) in [
            ("http://localhost:8080", true),
            ("http://LOCALHOST", true),
            ("http://127.1.2.3/v1", true),
            ("http://[::1]:8000", true),
            ("http://localhost.example", false),
            ("http://192.168.0.1", false),
            ("http://[::2]", false),
            ("https://huggingface.co", false),
        ] {
            assert_eq!(is_loopback(&url.parse().unwrap()), expected, "{url}");
        }
    }
}
