//! The requests that the server answers and refuses.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Served, decision, lines, place, reviews, with};

#[test]
fn only_requests_of_the_page_are_answered() {
    let place = place(3);
    let served = Served::start(&place, "");
    let (port, token) = (served.port(), served.token().to_owned());
    let state = served.state();
    let valid = decision(&state, "left").to_string();
    let raw = |text: String| served.raw(&text).0;

    // Host and origin.
    for (host, origin, expected) in [
        ("Host: 127.0.0.1:PORT", "", 200),
        ("Host: localhost:PORT", "", 200),
        ("Host: 127.0.0.1:PORT", "Origin: http://127.0.0.1:PORT", 200),
        ("Host: localhost:PORT", "Origin: http://localhost:PORT", 200),
        ("X-No: host", "", 403),
        ("Host: 127.0.0.1", "", 403),
        ("Host: example.com", "", 403),
        ("Host: example.com:PORT", "", 403),
        ("Host: 127.0.0.1:PORT.example.com", "", 403),
        ("Host: 127.0.0.1:PORT\r\nHost: 127.0.0.1:PORT", "", 403),
        ("Host: 127.0.0.1:PORT", "Origin: null", 403),
        ("Host: 127.0.0.1:PORT", "Origin: https://127.0.0.1:PORT", 403),
        ("Host: 127.0.0.1:PORT", "Origin: http://127.0.0.1", 403),
        ("Host: 127.0.0.1:PORT", "Origin: http://example.com", 403),
    ] {
        let headers = [host, origin].map(|header| header.replace("PORT", &port.to_string()));
        let headers = headers.join("\r\n").trim_end().to_owned();
        let request =
            format!("GET /{token}/state HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n");
        assert_eq!(raw(request), expected, "{headers}");
    }
    let request = format!(
        "POST /{token}/decision HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{valid}",
        valid.len()
    );
    assert_eq!(raw(request), 403, "a decision without an origin");

    // Path, method, content type and form of the body.
    let kind = "Content-Type: application/json\r\n";
    for (line, headers, body, expected) in [
        ("GET /TOKEN/", "", "", 200),
        ("GET /TOKEN/page.js", "", "", 200),
        ("GET /TOKEN/page.css", "", "", 200),
        ("GET /", "", "", 404),
        ("GET /TOKEN", "", "", 404),
        ("GET /favicon.ico", "", "", 404),
        ("GET /0123456789abcdef0123456789abcdef/", "", "", 403),
        ("GET /TOKENx/", "", "", 403),
        ("GET //TOKEN/", "", "", 403),
        ("GET /TOKEN/../run/journal.jsonl", "", "", 404),
        ("GET /TOKEN/journal.jsonl", "", "", 404),
        ("GET /TOKEN/state?x=1", "", "", 404),
        ("GET /TOKEN/decision", "", "", 405),
        ("POST /TOKEN/state", kind, "{}", 405),
        ("PUT /TOKEN/decision", kind, valid.as_str(), 405),
        ("DELETE /TOKEN/", "", "", 405),
        ("OPTIONS /TOKEN/decision", "", "", 405),
        ("POST /TOKEN/decision", "", valid.as_str(), 415),
        ("POST /TOKEN/decision", "Content-Type: text/plain\r\n", valid.as_str(), 415),
        ("POST /TOKEN/decision", kind, "", 400),
        ("POST /TOKEN/decision", kind, "{", 400),
        ("POST /TOKEN/decision", kind, "[]", 400),
        ("POST /TOKEN/decision", kind, "{\"counter\":0}", 400),
        ("POST /TOKEN/undo", kind, "{\"counter\":-1}", 400),
        ("POST /TOKEN/undo", kind, "{\"counter\":0,\"more\":1}", 400),
    ] {
        let (status, reply) = served.ask(line, headers, body);
        assert_eq!(status, expected, "{line} {headers} {body}: {reply}");
        if status != 200 {
            assert!(!reply.contains(&token), "{line}: {reply}");
        }
    }

    // Values in the body.
    let base = decision(&state, "left");
    for (key, value) in [
        ("choice", json!("middle")),
        ("edited", json!(" \n")),
        ("edited", json!("x".repeat(300_000))),
        ("comment", json!("x".repeat(300_000))),
        ("tags", json!([""])),
        ("tags", json!(["x".repeat(65)])),
        ("tags", json!(vec!["x"; 17])),
        ("seconds", json!(-1)),
        ("seconds", json!(1e300)),
        ("key", json!("none")),
        ("more", json!(1)),
    ] {
        let (status, reply) = served.post("decision", &with(base.clone(), key, value));
        assert_eq!(status, 400, "{key}: {reply}");
        assert!(reply["error"].is_string(), "{reply}");
    }
    let (status, _) =
        served.post("decision", &with(with(base, "edited", json!("x")), "choice", json!("tie")));
    assert_eq!(status, 400);

    // Size of the body.
    let head = |length: &str| {
        format!(
            "POST /{token}/decision HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\
             Origin: http://127.0.0.1:{port}\r\nConnection: close\r\n{kind}{length}\r\n\r\n"
        )
    };
    let large = " ".repeat((1 << 20) + 1);
    assert_eq!(raw(head(&format!("Content-Length: {}", large.len())) + &large), 413);
    let chunked = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    assert_eq!(raw(head("Transfer-Encoding: chunked") + &chunked), 413);

    // None of these changed anything, and a valid decision does.
    assert_eq!(served.state(), state);
    assert_eq!(served.post("decision", &decision(&state, "left")).0, 200);
    assert_eq!(reviews(&place).len(), 1);
}

/// Sends a decision without its body, so that the server waits for it. tiny_http itself reads
/// bodies of up to 1,024 bytes, so this one is longer.
fn stall(served: &Served) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", served.port())).unwrap();
    let (port, token) = (served.port(), served.token());
    let head = format!(
        "POST /{token}/decision HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\
         Origin: http://127.0.0.1:{port}\r\nContent-Type: application/json\r\n\
         Content-Length: 2000\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

#[test]
fn stalled_requests_do_not_block_others_or_start_threads() {
    let place = place(2);
    let served = Served::start(&place, "");
    let state = served.state();
    let mut stalled = Vec::new();
    for _ in 0..8 {
        stalled.push(stall(&served));
        // tiny_http counts a thread as idle until it runs. After a burst of connections, the
        // next one could therefore wait for the thread of a stalled one.
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(served.state(), state);
    stalled.extend((0..40).map(|_| stall(&served)));
    if cfg!(target_os = "linux") {
        std::thread::sleep(Duration::from_millis(300));
        let tasks = std::fs::read_dir(format!("/proc/{}/task", served.child.id())).unwrap();
        let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")));
        let is_worker = |name: &String| name.trim() == "review-worker";
        assert_eq!(names.filter(|name| name.as_ref().is_ok_and(is_worker)).count(), 16);
    }
    // Once these clients have closed their connections, the workers are free again.
    drop(stalled);
    assert_eq!(served.state(), state);
}

#[test]
fn every_response_has_the_security_headers() {
    let place = place(1);
    let served = Served::start(&place, "");
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    for name in ["", "state", "page.js", "nothing"] {
        let answer = agent.get(format!("{}{name}", served.link)).call().unwrap();
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(policy.ends_with("frame-ancestors 'none'"), "{policy}");
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("referrer-policy"), "no-referrer");
        assert_eq!(header("x-content-type-options"), "nosniff");
    }
    assert!(TcpStream::connect(("127.0.0.1", served.port())).is_ok());
}

#[test]
fn decision_is_recorded_once_and_never_from_an_outdated_page() {
    let place = place(4);
    let served = Served::start(&place, "--reviewer ada");
    let first = served.state();
    assert_eq!((&first["done"], &first["total"]), (&json!(0), &json!(4)));
    let sent = decision(&first, "left");
    let (status, reply) = served.post("decision", &sent);
    assert_eq!((status, &reply["state"]["done"]), (200, &json!(1)));
    // The same decision again, as after a lost response.
    let (status, again) = served.post("decision", &sent);
    assert_eq!((status, &again), (200, &reply));
    // Another decision on the same item from an outdated page.
    for other in [
        with(sent.clone(), "choice", json!("right")),
        with(sent.clone(), "comment", json!("x")),
        with(sent.clone(), "counter", json!(9)),
        // The item is decided, even though the counter is current.
        with(sent.clone(), "counter", json!(1)),
    ] {
        let (status, refused) = served.post("decision", &other);
        assert_eq!((status, &refused["state"]), (409, &reply["state"]), "{other}");
    }
    // The next item, with its sides swapped.
    let next = decision(&reply["state"], "left");
    let turned =
        with(with(next.clone(), "left", next["right"].clone()), "right", next["left"].clone());
    assert_eq!(served.post("decision", &turned).0, 409);
    assert_eq!(lines(&place), 1);

    let (status, reply) = served.post("undo", &json!({"counter": 0}));
    assert_eq!((status, &reply["state"]["counter"]), (409, &json!(1)));
    let (status, reply) = served.post("undo", &json!({"counter": 1}));
    assert_eq!((status, &reply["review"]["choice"]), (200, &json!("left")));
    assert_eq!(reply["state"]["item"], first["item"]);
    // A decision from before the undo is not recorded again.
    assert_eq!(served.post("decision", &sent).0, 409);
    assert_eq!((lines(&place), reviews(&place).len()), (2, 0));
}

#[test]
fn killed_server_loses_no_decision_and_the_next_one_continues() {
    let place = place(6);
    let mut served = Served::start(&place, "--reviewer ada --seed 3");
    let mut seen = Vec::new();
    for _ in 0..3 {
        let state = served.state();
        seen.push(state["item"]["key"].clone());
        assert_eq!(served.post("decision", &decision(&state, "right")).0, 200);
    }
    let next = served.state();
    let other = place.run(&mut place.amend("review run --reviewer bob"));
    assert_eq!(other.code, Some(2));
    assert!(other.err.contains("is writing to run/reviews.jsonl: wait for it"), "{}", other.err);
    served.child.kill().unwrap();
    served.child.wait().unwrap();
    // The process was killed in the middle of a line.
    let path = place.path("run/reviews.jsonl");
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"n\":3,").unwrap();

    let served = Served::start(&place, "--reviewer ada --seed 3");
    assert_eq!(served.state(), next);
    assert_eq!(served.post("decision", &decision(&next, "tie")).0, 200);
    let err = served.interrupt();
    assert!(err.starts_with("ada: 3 of 6 items decided; Ctrl-C stops\n"), "{err}");
    let end = "\nada: 4 of 6 items decided\nnext: amend review run --reviewer ada --seed 3\n";
    assert!(err.ends_with(end), "{err}");
    let kept: Vec<Value> = reviews(&place).iter().map(|one| json!(one.key)).collect();
    assert_eq!(kept[..3], seen);
    assert_eq!(kept.len(), 4);
}
