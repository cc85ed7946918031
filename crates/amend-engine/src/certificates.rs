//! The certificates by which a server is trusted.

use std::sync::LazyLock;

use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// The variables that replace the system's certificates.
const VARIABLES: &str = "SSL_CERT_FILE and SSL_CERT_DIR";

/// How to trust the server of a URL: by the certificates of the operating system, or those
/// that `SSL_CERT_FILE` and `SSL_CERT_DIR` name. If there are none, by those of Mozilla, which
/// are built in. They are only read if the URL needs them.
pub fn tls(url: &str) -> TlsConfig {
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
