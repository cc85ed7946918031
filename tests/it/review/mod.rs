//! `amend review`: its server, its page in a real browser, and the effects of its
//! decisions on exports.

mod decisions;
mod http;
mod page;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Child;
use std::time::Duration;

use crate::common::Place;
use crate::common::made::{self, ordinary};
use amend_data::store::reviews::{Review, Reviews};
use amend_data::store::run_dir::RunDir;
use serde_json::{Value, json};

/// A working directory with a run `run` of this many items.
fn place(items: u64) -> Place {
    let place = Place::new();
    made::write(&place.path("run"), "", &(1..=items).map(ordinary).collect::<Vec<_>>());
    place
}

/// A running review server.
struct Served {
    child: Child,
    link: String,
}

impl Served {
    fn start(place: &Place, arguments: &str) -> Self {
        let mut child = place.amend(&format!("review run {arguments}")).spawn().unwrap();
        let mut link = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut link).unwrap();
        if link.is_empty() {
            let mut err = String::new();
            child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
            panic!("no link: {err}");
        }
        Self { child, link: link.trim().to_owned() }
    }

    fn port(&self) -> u16 {
        self.link.split([':', '/']).nth(4).unwrap().parse().unwrap()
    }

    fn token(&self) -> &str {
        self.link.trim_end_matches('/').rsplit_once('/').unwrap().1
    }

    /// Sends a request verbatim and returns the status and the body of the answer.
    fn raw(&self, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port())).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // The server may refuse a request before it has read all of it.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap_or_else(|| panic!("{answer:?}"));
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status.parse().unwrap(), body.to_owned())
    }

    /// Sends a request with these headers in addition to those of the page.
    fn ask(&self, line: &str, headers: &str, body: &str) -> (u16, String) {
        let (port, token) = (self.port(), self.token());
        let line = line.replace("TOKEN", token);
        self.raw(&format!(
            "{line} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n\
             Connection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        ))
    }

    fn state(&self) -> Value {
        let (status, body) = self.ask("GET /TOKEN/state", "", "");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).unwrap()["state"].take()
    }

    fn post(&self, name: &str, body: &Value) -> (u16, Value) {
        let line = format!("POST /TOKEN/{name}");
        let (status, reply) =
            self.ask(&line, "Content-Type: application/json\r\n", &body.to_string());
        (status, serde_json::from_str(&reply).unwrap())
    }

    /// Stops the server as Ctrl-C does and returns its standard error.
    fn interrupt(mut self) -> String {
        let pid = self.child.id().to_string();
        assert!(
            std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success()
        );
        let mut err = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{err}");
        err
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A decision on the current item.
fn decision(state: &Value, choice: &str) -> Value {
    json!({
        "counter": state["counter"], "key": state["item"]["key"],
        "left": state["item"]["left"], "right": state["item"]["right"], "choice": choice,
        "edited": null, "tags": [], "comment": "", "seconds": 1.5,
    })
}

fn with(mut value: Value, key: &str, other: Value) -> Value {
    value[key] = other;
    value
}

fn reviews(place: &Place) -> Vec<Review> {
    let run = RunDir::open(&place.path("run")).unwrap();
    Reviews::read(&run).unwrap().iter().cloned().collect()
}

fn lines(place: &Place) -> usize {
    std::fs::read_to_string(place.path("run/reviews.jsonl")).unwrap().lines().count()
}
