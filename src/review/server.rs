//! The page's server: on this machine alone, for whoever has the link. Nothing
//! else is served, and no page from elsewhere can ask for anything.
//!
//! A request must name this server as its host, so that no other name leads here;
//! one that comes from a page must come from ours; its path must begin with the
//! link's token. Each is answered on a thread of its own, so that one that stalls
//! holds up no other.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tiny_http::{Header, Method, Request, Response};

use super::session::{Refusal, Session, Submission};
use amend_core::hash::sha256;

/// The most bytes of a request's body.
const MAX_BODY: usize = 1 << 20;

/// How often the server looks whether it is to stop.
const WATCH: Duration = Duration::from_millis(100);

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";

/// What every answer tells the browser.
const HEADERS: [(&str, &str); 6] = [
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
];

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The port can't be listened on.
    #[error("failed to listen on port {port} of 127.0.0.1")]
    Bind {
        /// The port that was asked for; 0 for any.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// No request can be taken any more.
    #[error("failed to take a request")]
    Accept(#[source] io::Error),
}

/// A page of a review, and what answers it.
pub struct Server {
    server: tiny_http::Server,
    desk: Arc<Desk>,
}

/// What answers requests.
struct Desk {
    port: u16,
    token: String,
    session: Mutex<Session>,
}

impl Server {
    /// Listens on a port of this machine's own address; 0 takes a free one.
    ///
    /// # Errors
    /// The port is taken or may not be used.
    pub fn bind(session: Session, port: u16) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Bind { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let server = tiny_http::Server::from_listener(listener, None)
            .map_err(|error| failed(io::Error::other(error.to_string())))?;
        let desk = Desk { port, token: token(), session: Mutex::new(session) };
        Ok(Self { server, desk: Arc::new(desk) })
    }

    /// The page's address.
    #[must_use]
    pub fn link(&self) -> String {
        format!("http://127.0.0.1:{}/{}/", self.desk.port, self.desk.token)
    }

    /// Answers until `stops`.
    ///
    /// # Errors
    /// No request can be taken any more.
    pub fn serve(&self, stops: impl Fn() -> bool) -> Result<(), ServeError> {
        while !stops() {
            let request = self.server.recv_timeout(WATCH).map_err(ServeError::Accept)?;
            if let Some(mut request) = request {
                let desk = Arc::clone(&self.desk);
                thread::spawn(move || {
                    let answer = desk.answer(&mut request);
                    // Whoever asked may have gone.
                    let _ = request.respond(answer.response());
                });
            }
        }
        Ok(())
    }

    /// The review, as far as it got.
    pub fn session(&self) -> MutexGuard<'_, Session> {
        self.desk.session()
    }
}

/// A name that nobody guesses: 128 bits and more of the operating system's random
/// numbers, by way of the keys that it gives to hash tables.
fn token() -> String {
    let drawn: Vec<u8> =
        (0..4_u8).flat_map(|at| RandomState::new().hash_one(at).to_le_bytes()).collect();
    sha256(&drawn)[..32].to_owned()
}

/// An answer to a request.
#[derive(Debug)]
struct Answer {
    status: u16,
    kind: &'static str,
    body: String,
}

impl Answer {
    fn file(kind: &'static str, body: &str) -> Self {
        Self { status: 200, kind, body: body.to_owned() }
    }

    fn json(status: u16, body: &Value) -> Self {
        Self { status, kind: JSON, body: body.to_string() }
    }

    fn refusal(status: u16, error: &str) -> Self {
        Self::json(status, &json!({ "error": error }))
    }

    fn response(self) -> Response<io::Cursor<Vec<u8>>> {
        let mut response = Response::from_string(self.body).with_status_code(self.status);
        let headers = HEADERS.into_iter().chain([("Content-Type", self.kind)]);
        for header in headers.filter_map(|(name, value)| Header::from_bytes(name, value).ok()) {
            response.add_header(header);
        }
        response
    }
}

/// The one field of a request to take a decision back.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Undo {
    counter: u64,
}

impl Desk {
    fn session(&self) -> MutexGuard<'_, Session> {
        // A thread that panicked left no line half-written: the writer sees to it.
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, request: &mut Request) -> Answer {
        self.route(request).unwrap_or_else(|refused| refused)
    }

    fn route(&self, request: &mut Request) -> Result<Answer, Answer> {
        self.check_sender(request)?;
        let path = request.url().to_owned();
        let Some((token, name)) = path.strip_prefix('/').and_then(|path| path.split_once('/'))
        else {
            return Err(Answer::refusal(404, "there is nothing here"));
        };
        if !same(token, &self.token) {
            let error = "this link is of an earlier start of amend review: open the one that it \
                         printed last";
            return Err(Answer::refusal(403, error));
        }
        let method = match name {
            "" | "page.css" | "page.js" | "state" => Method::Get,
            "decision" | "undo" => Method::Post,
            _ => return Err(Answer::refusal(404, "there is nothing here")),
        };
        if *request.method() != method {
            return Err(Answer::refusal(405, "this is not how to ask for it"));
        }
        Ok(match name {
            "" => Answer::file(HTML, PAGE),
            "page.css" => Answer::file("text/css; charset=utf-8", STYLE),
            "page.js" => Answer::file("text/javascript; charset=utf-8", SCRIPT),
            "state" => Answer::json(200, &json!({ "state": self.session().view() })),
            "decision" => self.decide(parse(request)?),
            _ => self.undo(&parse(request)?),
        })
    }

    /// Refuses what does not come from this machine's own browser and page.
    fn check_sender(&self, request: &Request) -> Result<(), Answer> {
        let names = names(self.port);
        let hosts = values(request, "Host");
        if !matches!(hosts[..], [host] if names.iter().any(|name| name == host)) {
            return Err(Answer::refusal(403, "this is no name of this server"));
        }
        let ours = |origin: &&str| names.iter().any(|name| *origin == format!("http://{name}"));
        let origins = values(request, "Origin");
        let from_page = *request.method() == Method::Get && origins.is_empty();
        if !(from_page || matches!(&origins[..], [origin] if ours(origin))) {
            return Err(Answer::refusal(403, "this comes from no page of this server"));
        }
        Ok(())
    }

    fn decide(&self, given: Submission) -> Answer {
        let mut session = self.session();
        let opinion = session.decide(given).map(|opinion| json!(opinion));
        let reply = |opinion| json!({ "opinion": opinion, "state": session.view() });
        match opinion {
            Ok(opinion) => Answer::json(200, &reply(opinion)),
            Err(refusal) => refused(&refusal, &session),
        }
    }

    fn undo(&self, given: &Undo) -> Answer {
        let mut session = self.session();
        match session.undo(given.counter) {
            Ok(review) => Answer::json(200, &json!({ "review": review, "state": session.view() })),
            Err(refusal) => refused(&refusal, &session),
        }
    }
}

/// What a page is told whose request changed nothing, with what is so instead.
fn refused(refusal: &Refusal, session: &Session) -> Answer {
    let (status, error) = match refusal {
        Refusal::Invalid(message) => return Answer::refusal(400, message),
        Refusal::Stale => (409, refusal.to_string()),
        Refusal::Failed(error) => {
            let cause = std::error::Error::source(error);
            let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
            return Answer::refusal(500, &format!("nothing was recorded: {error}{cause}"));
        }
    };
    Answer::json(status, &json!({ "error": error, "state": session.view() }))
}

/// What browsers may call a server on a port of this machine. The port that is
/// HTTP's own they leave out.
fn names(port: u16) -> Vec<String> {
    let hosts = ["127.0.0.1", "localhost"];
    let bare = hosts.iter().filter(|_| port == 80).map(|&host| host.to_owned());
    hosts.iter().map(|host| format!("{host}:{port}")).chain(bare).collect()
}

/// The values of a header.
fn values<'a>(request: &'a Request, name: &'static str) -> Vec<&'a str> {
    let named = request.headers().iter().filter(|header| header.field.equiv(name));
    named.map(|header| header.value.as_str()).collect()
}

/// Whether two texts are equal, in a time that does not tell where they differ.
fn same(one: &str, other: &str) -> bool {
    let differing = one.bytes().zip(other.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    one.len() == other.len() && differing == 0
}

/// The body of a request.
fn parse<T: for<'de> Deserialize<'de>>(request: &mut Request) -> Result<T, Answer> {
    let kinds = values(request, "Content-Type");
    if kinds != [JSON] {
        return Err(Answer::refusal(415, "this takes application/json"));
    }
    let too_large = || Answer::refusal(413, "this is more than a megabyte");
    if request.body_length().is_some_and(|length| length > MAX_BODY) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    let mut reader = request.as_reader().take(MAX_BODY as u64 + 1);
    reader.read_to_end(&mut body).map_err(|_| Answer::refusal(400, "the request broke off"))?;
    if body.len() > MAX_BODY {
        return Err(too_large());
    }
    serde_json::from_slice(&body)
        .map_err(|error| Answer::refusal(400, &format!("this can't be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_s_own_port_goes_without_saying() {
        assert_eq!(names(8080), ["127.0.0.1:8080", "localhost:8080"]);
        assert_eq!(names(80), ["127.0.0.1:80", "localhost:80", "127.0.0.1", "localhost"]);
    }
}
