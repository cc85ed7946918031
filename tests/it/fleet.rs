//! Several servers of one model.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::http::{complete, results, settings};
use crate::common::server::{Asked, Reply, Server, models, plays, says};
use crate::common::{Place, Ran};
use amend_core::model::{Engine, Event, Request};
use amend_engine::http::{EndpointSettings, EndpointsFile, Http};
use serde_json::{Value, json};

/// An engine over several servers.
fn engine(urls: &[&str]) -> Http {
    let addresses = urls.iter().map(|url| url.parse().unwrap()).collect();
    Http::connect(&EndpointSettings { addresses, ..settings(urls[0]) }).unwrap()
}

/// A request about an item.
fn about(item: u64, id: u64) -> Request {
    Request { item, ..complete(id, &format!("Q{id}?")) }
}

fn greets(asked: &Asked) -> Reply {
    says(&format!("To {}", asked.last()))
}

/// A server at the place of one that ended.
fn again(url: &str, reply: fn(&Asked) -> Reply) -> Server {
    Server::at(url.trim_start_matches("http://"), move |asked| match asked.line.as_str() {
        "GET /v1/models" => Reply::Json(models()),
        _ => reply(asked),
    })
}

/// The texts of requests by their ids, each exactly once.
fn texts(events: Vec<Event>) -> BTreeMap<u64, String> {
    let mut texts = BTreeMap::new();
    for event in events {
        match event {
            Event::Done { id, completion } => {
                assert_eq!(texts.insert(id, completion.text), None, "{id} ended twice");
            }
            Event::Text { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    texts
}

fn run(place: &Place, arguments: &str) -> Ran {
    let mut command = place.small(arguments);
    place.run(command.env_remove("AMEND_MODEL"))
}

#[test]
fn requests_move_while_a_server_is_down_and_come_back() {
    let replies = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&replies);
    let mut first = Some(Server::start(move |asked| {
        counted.fetch_add(1, Ordering::SeqCst);
        greets(asked)
    }));
    let second = Server::start(greets);
    let url = first.as_ref().unwrap().url.clone();
    let mut engine = engine(&[&url, &second.url]);
    assert_eq!(engine.width(), 6);
    let mut events = Vec::new();
    for id in 0..60 {
        engine.submit(about(id, id));
    }
    while engine.step(&mut events).unwrap() {
        if replies.load(Ordering::SeqCst) >= 5 {
            first = None;
        }
    }
    assert!(first.is_none(), "it was killed in the middle");
    let expected = |ids: std::ops::Range<u64>| {
        ids.map(|id| (id, format!("To Q{id}?"))).collect::<BTreeMap<u64, String>>()
    };
    assert_eq!(texts(std::mem::take(&mut events)), expected(0..60));
    assert!(second.asked().len() >= 50, "{}", second.asked().len());

    let first = again(&url, greets);
    let mut id = 60;
    while first.asked().is_empty() {
        assert!(id < 100_000, "it does not come back");
        engine.submit(about(id, id));
        id += 1;
        while engine.step(&mut events).unwrap() {}
    }
    assert_eq!(texts(events), expected(60..id));
}

#[test]
fn an_item_stays_with_one_server() {
    let (left, right) = (plays(), plays());
    let place = Place::new();
    let prompts: Vec<String> = (0..6).map(|n| format!("\"Q{n}?\"\n")).collect();
    place.write("in.jsonl", prompts.concat());
    let arguments = format!("run in.jsonl --out r -m {} -m {}", left.url, right.url);
    let ran = run(&place, &arguments);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let items = |server: &Server| -> BTreeSet<usize> {
        let bodies: Vec<String> =
            server.asked().iter().map(|asked| asked.body["messages"].to_string()).collect();
        (0..6).filter(|n| bodies.iter().any(|body| body.contains(&format!("Q{n}?")))).collect()
    };
    let (left_items, right_items) = (items(&left), items(&right));
    // Without affinity every item is at both. A busy machine may make a server look slow, and an
    // item then moves.
    let shared = left_items.intersection(&right_items).count();
    assert!(shared <= 2, "{left_items:?} {right_items:?}");
    assert!(left_items.len() >= 2 && right_items.len() >= 2, "{left_items:?} {right_items:?}");
    for server in [&left, &right] {
        let line = format!("{}/v1: ", server.url);
        let of_server = ran.err.lines().find(|it| it.starts_with(&line));
        assert!(of_server.is_some_and(|it| it.contains("requests at once")), "{}", ran.err);
    }
    let manifest = std::fs::read_to_string(place.path("r/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    let addresses = [&left, &right].map(|server| format!("{}/v1", server.url));
    assert_eq!(manifest["settings"]["endpoint"], json!(addresses));
    // One of them can resume the run.
    let ran = run(&place, &format!("run in.jsonl --out r --resume -m {}", right.url));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
}

#[test]
fn servers_that_are_down_at_the_start_are_used_when_they_come() {
    let first = Server::start(greets);
    let url = first.url.clone();
    drop(first);
    let second = Server::start(greets);
    let mut engine = engine(&[&url, &second.url]);
    assert_eq!(engine.width(), 3);
    engine.submit(about(1, 1));
    assert_eq!(texts(results(&mut engine).unwrap()).len(), 1);
    let first = again(&url, greets);
    let mut id = 2;
    while first.asked().is_empty() {
        assert!(id < 100_000, "it is not used");
        engine.submit(about(id, id));
        id += 1;
        assert_eq!(texts(results(&mut engine).unwrap()).len(), 1);
    }
    assert_eq!(engine.width(), 6);
}

#[test]
fn without_any_server_the_start_fails() {
    let ports = [(); 2].map(|()| Server::start(greets).url.clone());
    let addresses = ports.iter().map(|url| url.parse().unwrap()).collect();
    let error = Http::connect(&EndpointSettings { addresses, ..settings(&ports[0]) });
    let error = error.map(drop).unwrap_err();
    assert!(error.message.contains("failed to reach"), "{error}");
}

#[test]
fn a_file_of_servers_is_read_again_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("servers");
    let (first, second) = (Server::start(greets), Server::start(greets));
    std::fs::write(&path, format!("# all of them\n{}\n", first.url)).unwrap();
    let (file, addresses) = EndpointsFile::open(&path).unwrap();
    let settings = EndpointSettings { addresses, file: Some(file), ..settings(&first.url) };
    let mut engine = Http::connect(&settings).unwrap();
    let mut id = 0;
    let mut ask = |engine: &mut Http| {
        id += 1;
        assert!(id < 1_000_000, "the file is not read");
        engine.submit(about(id, id));
        assert_eq!(texts(results(engine).unwrap()).len(), 1);
    };
    ask(&mut engine);
    assert_eq!((first.asked().len(), second.asked().len()), (1, 0));
    // Another server takes its place.
    std::fs::write(&path, &second.url).unwrap();
    while second.asked().is_empty() {
        ask(&mut engine);
    }
    let before = first.asked().len();
    for _ in 0..10 {
        ask(&mut engine);
    }
    assert_eq!(first.asked().len(), before, "it gets no more requests");
    // Both.
    std::fs::write(&path, format!("{}\n{}", first.url, second.url)).unwrap();
    while first.asked().len() == before {
        ask(&mut engine);
    }
    assert_eq!(engine.width(), 6);
}

#[test]
fn a_server_that_is_busy_gets_fewer_requests_at_once() {
    let mut before = 0;
    let busy = Server::start(move |asked| {
        before += 1;
        match before {
            2 => Reply::Head(429, "Retry-After: 0".to_owned()),
            _ => greets(asked),
        }
    });
    let mut engine = engine(&[&busy.url]);
    for id in 0..8 {
        engine.submit(about(id, id));
    }
    assert_eq!(texts(results(&mut engine).unwrap()).len(), 8);
    let report = engine.report().concat();
    assert!(report.contains("8 replies"), "{report}");
    assert!(report.contains("the limit was lowered once and is "), "{report}");
    let idle = Server::start(greets);
    let mut engine = self::engine(&[&idle.url]);
    engine.submit(about(1, 1));
    results(&mut engine).unwrap();
    assert_eq!(engine.report(), [""; 0], "there is nothing to say about a single server");
}

/// A server of another model.
fn other() -> Server {
    Server::bare(|asked| match asked.line.as_str() {
        "GET /v1/models" => Reply::Json(json!({"data": [{"id": "large", "owned_by": "llamacpp"}]})),
        _ => greets(asked),
    })
}

#[test]
fn a_server_of_another_model_is_refused_at_the_start_and_not_used_later() {
    let (first, other) = (Server::start(greets), other());
    let place = Place::new();
    let ran = run(&place, &format!("-m {} -m {} Why?", first.url, other.url));
    assert_eq!(ran.code, Some(3), "{}", ran.err);
    let message = format!(
        "{}/v1 serves another model than {}/v1: its id is \"large\", not \"tiny\"",
        other.url, first.url
    );
    assert!(ran.err.contains(&message), "{}", ran.err);
    assert_eq!(other.asked(), []);

    // It comes later, in the place of one that is down.
    let (url, _) = (other.url.clone(), drop(other));
    let mut engine = engine(&[&first.url, &url]);
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let other = Server::at(url.trim_start_matches("http://"), move |asked| {
        counted.fetch_add(1, Ordering::SeqCst);
        match asked.line.as_str() {
            "GET /v1/models" => Reply::Json(json!({"data": [{"id": "large"}]})),
            _ => greets(asked),
        }
    });
    let mut id = 0;
    while asked.load(Ordering::SeqCst) < 2 {
        id += 1;
        assert!(id < 100_000, "it is not checked");
        engine.submit(about(id, id));
        assert_eq!(texts(results(&mut engine).unwrap()).len(), 1);
    }
    assert_eq!(other.asked(), []);
    assert_eq!(engine.width(), 3);
}

#[test]
fn mistakes_in_lists_of_servers_are_reported() {
    let place = Place::new();
    place.write("servers", "http://a:1\n");
    place.write("none", "# later\n");
    place.write("faulty", "http://a:1\nb:2\n");
    place.write("twice", "http://a:1\nhttp://a:1/v1\n");
    let mut all = String::new();
    for arguments in [
        "-m http://a:1 -m http://a:1/v1/ Why?",
        "-m http://a:1 -m model.gguf Why?",
        "-m http://a:1 --endpoints servers Why?",
        "-hf o/m --endpoints servers Why?",
        "--endpoints none Why?",
        "--endpoints faulty Why?",
        "--endpoints twice Why?",
        "--endpoints absent Why?",
    ] {
        let ran = run(&place, arguments);
        assert_eq!(ran.code, Some(2), "{arguments}: {}", ran.err);
        all.push_str(&ran.err);
    }
    insta::assert_snapshot!(all);
}
