//! `amend --jsonl`: a process that answers rows while they arrive.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::Place;
use crate::common::server::{Reply, Server, says};

/// A worker whose parent holds its pipes.
struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Worker {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        Self { child, input, output: BufReader::new(output) }
    }

    fn write(&mut self, text: &str) {
        self.input.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// The next record.
    fn record(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "{line:?}");
        serde_json::from_str(&line).unwrap()
    }

    fn signal(&self, name: &str) {
        let line = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success());
    }

    /// Closes the input, and returns the exit code, the rest of the records, and stderr.
    fn end(mut self) -> (Option<i32>, Vec<Value>, String) {
        drop(self.input.take());
        let (mut rest, mut err) = (String::new(), String::new());
        self.output.read_to_string(&mut rest).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert!(rest.is_empty() || rest.ends_with('\n'), "half a line: {rest:?}");
        let records = rest.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (self.child.wait().unwrap().code(), records, err)
    }
}

/// A worker with a server as its model, and without judging.
fn with_server(place: &Place, server: &Server, flags: &str) -> Worker {
    let unjudged = "[constitution]\nname = \"unjudged\"\nextends = [\"small.toml\"]\n\
                    [judge]\nenabled = false\n";
    place.write("unjudged.toml", unjudged);
    let mut command = place.small(&format!("--jsonl -c unjudged.toml {flags}"));
    Worker::start(command.env("AMEND_MODEL", &server.url))
}

/// Waits until the server is asked about a prompt.
fn wait_for(worker: &mut Worker, server: &Server, prompt: &str) {
    while !server.asked().iter().any(|asked| asked.last() == prompt) {
        let ended = worker.child.try_wait().unwrap();
        assert!(ended.is_none(), "the worker has ended: {ended:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What the server says.
const TEA: &str = "Tea is fine.";

fn rows(records: &[Value]) -> Vec<u64> {
    records.iter().map(|record| record["row"].as_u64().unwrap()).collect()
}

#[test]
fn each_row_is_answered_before_the_next_one_is_written() {
    let place = Place::new();
    let mut worker = Worker::start(&mut place.small("--jsonl"));
    for (row, id) in [(1, "seven"), (2, "a"), (3, "b")] {
        // Blank lines make no record.
        worker.write(&format!("\n{{\"prompt\": \"Why?\", \"id\": \"{id}\", \"n\": {row}}}\n"));
        let record = worker.record();
        assert_eq!((&record["row"], &record["id"]), (&json!(row), &json!(id)));
        assert_eq!(record["metadata"], json!({ "n": row }));
        assert_eq!(record["outcome"]["kind"], "done");
    }
    let (code, rest, err) = worker.end();
    assert_eq!((code, rest.len()), (Some(0), 0), "{err}");
    assert!(err.contains("standard input: JSON Lines, 3 rows, prompt column: prompt\n"), "{err}");
}

#[test]
fn a_bad_row_has_a_record_and_ends_nothing() {
    let place = Place::new();
    let mut worker = Worker::start(&mut place.small("--jsonl"));
    for (row, kind, id, message) in [
        ("{\"prompt\": oops}", "invalid", Value::Null, "standard input:1: invalid JSON"),
        ("{\"prompt\": \"Why?\", \"id\": 2}", "done", json!("2"), ""),
        ("{\"prompt\": \" \", \"id\": 3}", "invalid", json!("3"), "\"prompt\" is blank"),
        ("7", "invalid", Value::Null, "standard input:4: a row must be a JSON string or object"),
        ("\"How?\"", "done", Value::Null, ""),
    ] {
        worker.write(&format!("{row}\n"));
        let record = worker.record();
        assert_eq!((&record["outcome"]["kind"], &record["id"]), (&json!(kind), &id), "{record}");
        let found = record["outcome"]["message"].as_str().unwrap_or_default();
        assert!(found.contains(message), "{found}");
        for key in ["row", "key", "messages", "response", "outcome", "steps", "constitution"] {
            assert!(record.get(key).is_some(), "{key}: {record}");
        }
    }
    let (code, rest, err) = worker.end();
    assert_eq!((code, rest.len()), (Some(1), 0), "{err}");
}

#[test]
fn with_skip_bad_a_bad_row_has_no_record_and_the_rest_keeps_its_order() {
    let place = Place::new();
    let mut worker = Worker::start(&mut place.small("--jsonl --skip-bad"));
    worker.write("\"One?\"\n7\n\"Two?\"\n");
    let (code, records, err) = worker.end();
    assert_eq!((code, rows(&records)), (Some(0), vec![1, 3]), "{err}");
    assert!(err.contains("1 row skipped"), "{err}");
}

#[test]
fn nothing_and_a_last_line_without_a_line_break_are_ends() {
    let place = Place::new();
    for (input, answered) in [("", vec![]), ("\n \n", vec![]), ("\"One?\"\n\"Two?\"", vec![1, 2])] {
        let mut worker = Worker::start(&mut place.small("--jsonl"));
        worker.write(input);
        let (code, records, err) = worker.end();
        assert_eq!((code, rows(&records)), (Some(0), answered), "{input:?}: {err}");
    }
}

#[test]
fn other_kinds_of_rows_are_read_too() {
    let place = Place::new();
    for input in [
        "prompt,id\nOne?,1\nTwo?,2\n",
        "One?\nTwo?\n",
        "[{\"prompt\": \"One?\"},\n\"Two?\"]\n",
        "{\n\"prompt\": \"One?\"}\n{\"prompt\": \"Two?\"}\n",
        "{\"prompt\": [\"One?\", \"Two?\"]}",
        "\"prompt\"\n\"One?\"\n\"Two?\"\n",
        "\u{feff}\"One?\"\n\"Two?\"\n",
    ] {
        let mut worker = Worker::start(&mut place.small("--jsonl"));
        worker.write(input);
        let (code, records, err) = worker.end();
        assert_eq!((code, records.len()), (Some(0), 2), "{input:?}: {err}");
        for (record, prompt) in records.iter().zip(["One?", "Two?"]) {
            assert_eq!(record["messages"][0]["content"], prompt, "{input:?}");
        }
    }
}

#[test]
fn an_input_that_is_damaged_ends_after_the_rows_before_the_damage() {
    let place = Place::new();
    let mut worker = Worker::start(&mut place.small("--jsonl"));
    worker.write("[\"One?\", \"Two");
    let (code, records, err) = worker.end();
    assert_eq!((code, rows(&records)), (Some(2), vec![1]), "{err}");
    assert!(err.contains("error: standard input:1: a bracket is not closed"), "{err}");
}

#[test]
fn records_keep_the_order_of_the_rows_or_come_as_they_end() {
    for (flags, expected) in [("--parallel 2", [1, 2, 3]), ("--parallel 2 --unordered", [2, 3, 1])]
    {
        let place = Place::new();
        let (release, released) = mpsc::channel::<()>();
        let mut released = Some(released);
        let server =
            Server::start(move |asked| match released.take_if(|_| asked.last() == "Slow?") {
                Some(released) => Reply::Later(Box::new(move || {
                    released.recv().unwrap();
                    says(TEA)
                })),
                None => says(TEA),
            });
        let mut worker = with_server(&place, &server, flags);
        worker.write("\"Slow?\"\n\"Two?\"\n\"Three?\"\n");
        let mut records = Vec::new();
        if expected[0] == 1 {
            // The third row begins when the second one has ended.
            wait_for(&mut worker, &server, "Three?");
        } else {
            records.extend([worker.record(), worker.record()]);
        }
        release.send(()).unwrap();
        let (code, rest, err) = worker.end();
        records.extend(rest);
        assert_eq!((code, rows(&records)), (Some(0), expected.to_vec()), "{err}");
    }
}

#[test]
fn a_signal_prints_what_has_ended_and_cancels_the_rest() {
    for (flags, signal) in [("", "TERM"), ("--unordered", "TERM"), ("", "INT")] {
        let place = Place::new();
        let server = Server::start(|asked| match asked.last() {
            "Two?" | "Four?" => Reply::Hang,
            _ => says(TEA),
        });
        let mut worker = with_server(&place, &server, &format!("--parallel 2 {flags}"));
        worker.write("\"One?\"\n\"Two?\"\n\"Three?\"\n\"Four?\"\n\"Five?\"\n");
        // The fourth row begins when the third one has ended.
        wait_for(&mut worker, &server, "Four?");
        worker.signal(signal);
        // The input stays open: the signal alone ends the worker.
        let input = worker.input.take();
        let (code, records, err) = worker.end();
        assert_eq!((code, rows(&records)), (Some(130), vec![1, 3]), "{flags} {signal}: {err}");
        drop(input);
    }
}

#[test]
fn a_signal_ends_an_idle_worker() {
    let place = Place::new();
    let mut worker = Worker::start(&mut place.small("--jsonl"));
    worker.write("\"One?\"\n");
    assert_eq!(worker.record()["row"], 1);
    worker.signal("TERM");
    let input = worker.input.take();
    let (code, rest, err) = worker.end();
    assert_eq!((code, rest.len()), (Some(130), 0), "{err}");
    drop(input);
}

#[test]
fn a_closed_stdout_ends_the_worker_with_the_code_of_an_interrupt() {
    let place = Place::new();
    for input in ["\"One?\"\n", "7\n"] {
        let mut command = place.small("--jsonl");
        let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut stdin = child.stdin.take().unwrap();
        // The input stays open.
        stdin.write_all(b"{\"prompt\": \"Zero?\"}\n").unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(130), ""));
    }
}

#[test]
fn an_answer_does_not_depend_on_the_other_rows() {
    let place = Place::new();
    let answers = |input: &str| {
        let mut worker = Worker::start(&mut place.small("--jsonl -s 5 --parallel 1"));
        worker.write(input);
        let (code, records, err) = worker.end();
        assert_eq!(code, Some(0), "{err}");
        let of = |record: &Value| {
            (record["key"].clone(), record["steps"].as_array().unwrap()[0]["text"].clone())
        };
        records.iter().map(of).collect::<Vec<_>>()
    };
    let [alone, among] = ["\"Why?\"\n", "\"How?\"\n\"Why?\"\n\"Why?\"\n"].map(answers);
    assert_eq!(alone[0], among[1]);
    // The second equal prompt has a key, and with it random numbers, of its own.
    assert_ne!(among[1].0, among[2].0);
}

#[test]
#[cfg(target_os = "linux")]
fn memory_does_not_grow_with_the_rows() {
    const ROWS: usize = 20_000;
    let place = Place::new();
    let server = Server::start(|_| says(TEA));
    let mut worker = with_server(&place, &server, "--parallel 16");
    let peak = |worker: &Worker| -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", worker.child.id()));
        let status = status.unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let mut input = worker.input.take().unwrap();
    let padding = "so long ".repeat(250);
    let writer = std::thread::spawn(move || {
        for row in 0..ROWS {
            let row = json!({"prompt": format!("{row}? {padding}"), "response": TEA});
            writeln!(input, "{row}").unwrap();
        }
        input
    });
    let mut early = 0;
    for row in 1..=ROWS {
        assert_eq!(worker.record()["row"], row);
        if row == ROWS / 10 {
            early = peak(&worker);
        }
    }
    let late = peak(&worker);
    worker.input = Some(writer.join().unwrap());
    let (code, rest, err) = worker.end();
    assert_eq!((code, rest.len()), (Some(0), 0), "{err}");
    // The rows after the first tenth have more than 36 MB of prompts.
    assert!(late < early + (12 << 10), "{early} kB, then {late} kB");
}
