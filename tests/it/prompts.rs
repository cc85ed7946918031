//! `amend prompts` through the binary, on a server of canned replies and on a tiny model.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::common::server::{Asked, Reply, Server, says};
use crate::common::{Place, tiny_model_path};
use serde_json::Value;

/// A list of entries that have no words in common with those of other numbers.
fn list(number: usize) -> String {
    let entry = |at: usize| {
        let words: Vec<String> = (0..5).map(|word| format!("w{number}x{at}y{word}")).collect();
        format!("{}. {}?\n", at + 1, words.join(" "))
    };
    format!("Sure!\n\n{}", (0..4).map(entry).collect::<String>())
}

/// A server that answers each request with new entries.
fn inventive() -> Server {
    let requests = AtomicUsize::new(0);
    Server::start(move |_| says(&list(requests.fetch_add(1, Ordering::SeqCst))))
}

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn prompts_are_written_for_every_principle_and_read_by_run() {
    let place = Place::new();
    let server = inventive();
    let line = format!("prompts -c privacy -n 20 --out new.jsonl -m {}", server.url);
    let ran = place.run(&mut place.amend(&line));
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""), "{}", ran.err);
    assert!(ran.err.contains("20 of 20 prompts for "), "{}", ran.err);
    let next = format!("amend run new.jsonl --out DIR -c privacy -m {}", server.url);
    let end = format!("the prompts are in new.jsonl; read them first\nnext: {next}\n");
    assert!(ran.err.ends_with(&end), "{}", ran.err);
    let found = rows(&std::fs::read_to_string(place.path("new.jsonl")).unwrap());
    assert_eq!(found.len(), 20);
    let count = |kind: &str| found.iter().filter(|row| row["kind"] == kind).count();
    assert_eq!(count("tests") + count("contrast"), 20);
    assert!(count("contrast") >= 5, "{found:?}");
    let ids: std::collections::BTreeSet<_> =
        found.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 20);
    let checked = place.run(&mut place.amend("check new.jsonl"));
    assert_eq!(checked.out, "new.jsonl: 20 input rows\n");
    let ran = place.run(&mut place.small("run new.jsonl --limit 2 --out runs/new"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
}

#[test]
fn an_existing_file_is_kept_and_resumed() {
    let place = Place::new();
    let server = inventive();
    let line = |number| format!("prompts -c privacy -n {number} --out new.jsonl -m {}", server.url);
    assert_eq!(place.run(&mut place.amend(&line(5))).code, Some(0));
    let first = std::fs::read_to_string(place.path("new.jsonl")).unwrap();
    // It is refused before a model is needed.
    let ran = place.run(&mut place.amend("prompts -c privacy --out new.jsonl"));
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("error: new.jsonl exists\nhelp: pass --resume"), "{}", ran.err);
    assert_eq!(std::fs::read_to_string(place.path("new.jsonl")).unwrap(), first);
    // A process that ended within a line.
    place.write("new.jsonl", format!("{first}{{\"id\": \"x"));
    let ran = place.run(&mut place.amend(&format!("{} --resume", line(8))));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let text = std::fs::read_to_string(place.path("new.jsonl")).unwrap();
    assert!(text.starts_with(&first) && rows(&text).len() == 8, "{text}");
    // Nothing is missing, so nothing is asked for.
    let before = server.asked().len();
    let ran = place.run(&mut place.amend("prompts -c privacy -n 8 --out new.jsonl --resume"));
    assert_eq!((ran.code, server.asked().len()), (Some(0), before), "{}", ran.err);
}

#[test]
fn missing_prompts_are_reported_with_the_reasons() {
    let place = Place::new();
    let server = Server::start(|asked| match asked.last().contains("breaks no rule") {
        true => says("I'm sorry, but I can't help with that."),
        false => says("1. What is a good time to water basil?\n2. Water basil at a good time?"),
    });
    let line = format!("prompts -c small.toml -n 4 -m {}", server.url);
    let ran = place.run(&mut place.amend(&line));
    assert_eq!((ran.code, rows(&ran.out).len()), (Some(1), 2), "{}", ran.err);
    for text in [
        "2 of 4 prompts for 1 of 1 principle: 2 that test a principle, 0 contrasts\n",
        "  left out: 4 replies that decline\n",
        "error: 2 prompts are missing, because 4 requests in a row brought nothing new: \
         kind-contrast (2)\n",
        "help: pass another --seed, or use a larger model\n",
    ] {
        assert!(ran.err.contains(text), "{text}: {}", ran.err);
    }
}

/// Waits, at most ten seconds, until `count` requests are there together.
#[derive(Default)]
struct Meeting {
    present: Mutex<usize>,
    changed: Condvar,
}

impl Meeting {
    fn wait(&self, count: usize) -> bool {
        let mut present = self.present.lock().unwrap();
        *present += 1;
        self.changed.notify_all();
        let limit = Duration::from_secs(10);
        let wait = self.changed.wait_timeout_while(present, limit, |present| *present < count);
        !wait.unwrap().1.timed_out()
    }
}

#[test]
fn several_requests_are_in_flight_together() {
    let place = Place::new();
    let meeting = Arc::new(Meeting::default());
    let number = Arc::new(AtomicUsize::new(0));
    let server = Server::start(move |asked: &Asked| {
        // The probe comes alone.
        if !asked.last().contains("different messages") {
            return says("Blue.");
        }
        let (meeting, number) = (Arc::clone(&meeting), Arc::clone(&number));
        Reply::Later(Box::new(move || match meeting.wait(4) {
            true => says(&list(number.fetch_add(1, Ordering::SeqCst))),
            false => Reply::Status(400, "the request came alone".to_owned()),
        }))
    });
    let line = format!("prompts -c privacy -n 8 -np 4 -m {}", server.url);
    let ran = place.run(&mut place.amend(&line));
    assert_eq!((ran.code, rows(&ran.out).len()), (Some(0), 8), "{}", ran.err);
}

#[test]
fn the_same_seed_gives_the_same_rows_on_a_model_file() {
    let place = Place::new();
    let written = |seed: u32| {
        let line = format!("prompts -c small.toml -n 2 --seed {seed}");
        let mut command = place.amend(&line);
        command.env("AMEND_MODEL", tiny_model_path("words")).env("AMEND_THREADS", "1");
        let ran = place.run(&mut command);
        // The model writes words without a list, so prompts are missing.
        assert!(matches!(ran.code, Some(0 | 1)), "{}", ran.err);
        assert!(ran.err.contains("of 2 prompts for "), "{}", ran.err);
        (ran.out, ran.err)
    };
    assert_eq!(written(1), written(1));
}
