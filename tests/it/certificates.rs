//! Servers whose certificate is signed by an authority of their own. `certificates` holds one
//! for localhost, its key, and the authority: all three are for this test only.

use std::io::{BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use crate::common::Place;
use crate::common::server::{models, read};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

fn file(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/certificates");
    folder.join(name).to_str().unwrap().to_owned()
}

/// Starts a server with a certificate. It lists a model, and gives each prompt one answer.
fn start() -> String {
    let chain = CertificateDer::pem_file_iter(file("leaf.pem")).unwrap();
    let chain = chain.map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(file("leaf.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map(Result::unwrap) {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = BufReader::new(StreamOwned::new(connection, stream));
            // A client that does not trust the certificate closes the connection.
            std::thread::spawn(move || while reply(&mut stream).is_ok() {});
        }
    });
    format!("https://localhost:{port}")
}

/// Replies to one request.
fn reply(
    stream: &mut BufReader<StreamOwned<ServerConnection, std::net::TcpStream>>,
) -> std::io::Result<()> {
    let Some(asked) = read(stream)? else {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    };
    let body = match asked.line.starts_with("GET") {
        true => models(),
        false => json!({"choices": [{"message": {"content": "Tea."}, "finish_reason": "stop"}]}),
    };
    let body = body.to_string();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.get_mut().write_all(head.as_bytes())?;
    stream.get_mut().write_all(body.as_bytes())
}

#[test]
fn a_servers_own_authority_is_trusted_if_it_is_named() {
    let (place, url) = (Place::new(), start());
    let run = |authority: Option<&str>| {
        let mut command = place.small("Why?");
        command.envs(authority.map(|name| ("SSL_CERT_FILE", file(name))));
        place.run(command.env("AMEND_MODEL", &url))
    };
    let trusted = run(Some("ca.pem"));
    assert_eq!((trusted.code, trusted.out.as_str()), (Some(0), "Tea.\n"), "{}", trusted.err);
    let unknown = run(None);
    assert_eq!(unknown.code, Some(3));
    assert!(unknown.err.contains("invalid peer certificate"), "{}", unknown.err);
    assert!(unknown.err.contains("SSL_CERT_FILE"), "{}", unknown.err);
}
