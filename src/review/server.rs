//! The local server of the review page. It listens on the loopback address only
//! and serves only the page, to clients that have the link.
//!
//! A request must name this server in its `Host` header, which prevents DNS
//! rebinding. A request from a page must have this server as its origin. The path
//! must begin with the token of the link. A fixed number of threads answers, so
//! that a stalled request does not block others and a flood of requests does not
//! start threads. Requests beyond that number wait.

use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tiny_http::{Header, Method, Request, Response};

use super::session::{Refusal, ReviewSession, ReviewSubmission};

/// The most bytes of a request's body.
const MAX_BODY: usize = 1 << 20;

/// The interval at which the server checks whether to stop.
const WATCH: Duration = Duration::from_millis(100);

/// The number of threads that answer requests. A browser has up to six
/// connections to a server.
const WORKERS: usize = 16;

/// The number of random bytes in a token: 128 bits can't be guessed.
const TOKEN_BYTES: usize = 16;

/// The error for unknown paths.
const NOT_FOUND: &str = "there is nothing at this address";

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";

/// The headers of every response.
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

/// Why the page can't be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The port can't be listened on.
    #[error("failed to listen on port {port} of 127.0.0.1")]
    Bind {
        /// The requested port, where 0 means any free port.
        port: u16,
        /// The cause.
        source: io::Error,
    },
    /// The operating system gave no random bytes for the link.
    #[error("failed to draw a random token for the link")]
    Token(#[source] getrandom::Error),
    /// A thread to answer requests can't be started.
    #[error("failed to start a thread that answers requests")]
    Spawn(#[source] io::Error),
    /// The server can't accept requests any more.
    #[error("failed to accept a request")]
    Accept(#[source] io::Error),
}

/// The server of a review session.
pub struct Server {
    server: tiny_http::Server,
    handler: Arc<Handler>,
}

/// Answers requests.
struct Handler {
    port: u16,
    token: String,
    session: Mutex<ReviewSession>,
}

impl Server {
    /// Listens on a port of the loopback address, where 0 means any free port.
    ///
    /// # Errors
    /// The port is in use or not permitted, or no random token can be drawn.
    pub fn bind(session: ReviewSession, port: u16) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Bind { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let server = tiny_http::Server::from_listener(listener, None)
            .map_err(|error| failed(io::Error::other(error.to_string())))?;
        let handler = Handler { port, token: token()?, session: Mutex::new(session) };
        Ok(Self { server, handler: Arc::new(handler) })
    }

    /// The address of the page.
    #[must_use]
    pub fn link(&self) -> String {
        format!("http://127.0.0.1:{}/{}/", self.handler.port, self.handler.token)
    }

    /// Answers requests until `stops` returns true.
    ///
    /// # Errors
    /// A thread can't be started, or no request can be accepted any more.
    pub fn serve(&self, stops: impl Fn() -> bool) -> Result<(), ServeError> {
        let (sender, receiver) = mpsc::channel();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..WORKERS {
            let (handler, receiver) = (Arc::clone(&self.handler), Arc::clone(&receiver));
            // Not joined: a worker with a stalled request must not delay the end.
            thread::Builder::new()
                .name("review-worker".to_owned())
                .spawn(move || handler.work(&receiver))
                .map_err(ServeError::Spawn)?;
        }
        while !stops() {
            let request = self.server.recv_timeout(WATCH).map_err(ServeError::Accept)?;
            if let Some(request) = request {
                // `receiver` is alive, so the channel is open.
                let _ = sender.send(request);
            }
        }
        Ok(())
    }

    /// The session that the server shows.
    pub fn session(&self) -> MutexGuard<'_, ReviewSession> {
        self.handler.session()
    }
}

/// A random token in hexadecimal, from the operating system's generator.
fn token() -> Result<String, ServeError> {
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes).map_err(ServeError::Token)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The answer to a request.
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

/// The body of a request to undo a decision.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Undo {
    counter: u64,
}

impl Handler {
    fn session(&self) -> MutexGuard<'_, ReviewSession> {
        // After a panic the session is usable: the writer removes a partial line.
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers requests until there are no more senders.
    fn work(&self, receiver: &Mutex<Receiver<Request>>) {
        loop {
            // The lock is released before the request is answered.
            let request = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(mut request) = request else { return };
            let answer = self.answer(&mut request);
            // An error means that the client has closed the connection.
            let _ = request.respond(answer.response());
        }
    }

    fn answer(&self, request: &mut Request) -> Answer {
        self.route(request).unwrap_or_else(|refusal| refusal)
    }

    fn route(&self, request: &mut Request) -> Result<Answer, Answer> {
        self.check_sender(request)?;
        let path = request.url().to_owned();
        let Some((token, name)) = path.strip_prefix('/').and_then(|path| path.split_once('/'))
        else {
            return Err(Answer::refusal(404, NOT_FOUND));
        };
        if !same(token, &self.token) {
            let error = "this link is from an earlier start of amend review: open the link that it \
                         printed last";
            return Err(Answer::refusal(403, error));
        }
        let method = match name {
            "" | "page.css" | "page.js" | "state" => Method::Get,
            "decision" | "undo" => Method::Post,
            _ => return Err(Answer::refusal(404, NOT_FOUND)),
        };
        if *request.method() != method {
            return Err(Answer::refusal(405, "this method is not allowed here"));
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

    /// Checks that a request is for this server and comes from its own page.
    fn check_sender(&self, request: &Request) -> Result<(), Answer> {
        let names = names(self.port);
        let hosts = values(request, "Host");
        if !matches!(hosts[..], [host] if names.iter().any(|name| name == host)) {
            return Err(Answer::refusal(403, "the request names another host"));
        }
        let is_ours = |origin: &str| names.iter().any(|name| origin == format!("http://{name}"));
        let origins = values(request, "Origin");
        // Browsers send no origin when they load a page or its files.
        let allowed = match origins[..] {
            [] => *request.method() == Method::Get,
            [origin] => is_ours(origin),
            _ => false,
        };
        if !allowed {
            return Err(Answer::refusal(403, "the request comes from another page"));
        }
        Ok(())
    }

    fn decide(&self, submission: ReviewSubmission) -> Answer {
        let mut session = self.session();
        let opinion = session.decide(submission).map(|opinion| json!(opinion));
        let reply = |opinion| json!({ "opinion": opinion, "state": session.view() });
        match opinion {
            Ok(opinion) => Answer::json(200, &reply(opinion)),
            Err(refusal) => refused(&refusal, &session),
        }
    }

    fn undo(&self, undo: &Undo) -> Answer {
        let mut session = self.session();
        match session.undo(undo.counter) {
            Ok(review) => Answer::json(200, &json!({ "review": review, "state": session.view() })),
            Err(refusal) => refused(&refusal, &session),
        }
    }
}

/// The answer to a request that changed nothing, with the current state of the
/// session if the page may be out of date.
fn refused(refusal: &Refusal, session: &ReviewSession) -> Answer {
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

/// The names of this server in `Host` and `Origin` headers. Browsers leave out
/// port 80.
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

/// Whether two strings are equal, in a time that does not depend on where they
/// differ.
fn same(a: &str, b: &str) -> bool {
    let differing = a.bytes().zip(b.bytes()).fold(0, |bits, (a, b)| bits | (a ^ b));
    a.len() == b.len() && differing == 0
}

/// Parses the JSON body of a request.
fn parse<T: for<'de> Deserialize<'de>>(request: &mut Request) -> Result<T, Answer> {
    let kinds = values(request, "Content-Type");
    if kinds != [JSON] {
        return Err(Answer::refusal(415, "the content type must be application/json"));
    }
    let too_large = || Answer::refusal(413, "the request is larger than one megabyte");
    if request.body_length().is_some_and(|length| length > MAX_BODY) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    let mut reader = request.as_reader().take(MAX_BODY as u64 + 1);
    reader.read_to_end(&mut body).map_err(|_| Answer::refusal(400, "the request ended early"))?;
    if body.len() > MAX_BODY {
        return Err(too_large());
    }
    serde_json::from_slice(&body)
        .map_err(|error| Answer::refusal(400, &format!("failed to parse the request: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_hexadecimal_and_differ() {
        let [first, second] = [token().unwrap(), token().unwrap()];
        assert_eq!(first.len(), 2 * TOKEN_BYTES);
        assert!(first.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{first}");
        assert_ne!(first, second);
    }

    #[test]
    fn names_leave_out_the_default_port() {
        assert_eq!(names(8080), ["127.0.0.1:8080", "localhost:8080"]);
        assert_eq!(names(80), ["127.0.0.1:80", "localhost:80", "127.0.0.1", "localhost"]);
    }
}
