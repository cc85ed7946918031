//! How many requests a second amend's client of a server makes.
//!
//! ```console
//! $ cargo build --release --example canned_server --example http_rate
//! $ target/release/examples/canned_server --port 8080 &
//! $ target/release/examples/http_rate 64 10 http://127.0.0.1:8080
//! ```
//!
//! The arguments are the requests in flight to each server, the seconds, and one or more
//! servers. Each request has about a kilobyte.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use amend_core::chat::{Message, Role};
use amend_core::model::{Engine, EngineError, Event, Request, Sampling, Task};
use amend_core::random::Stream;
use amend_engine::http::{EndpointSettings, Http};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [parallel, seconds, urls @ ..] = arguments.as_slice() else { return usage() };
    let (Ok(parallel), Ok(seconds)) = (parallel.parse(), seconds.parse()) else { return usage() };
    let mut addresses = Vec::new();
    for url in urls {
        match url.parse() {
            Ok(address) => addresses.push(address),
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::from(2);
            }
        }
    }
    match measure(EndpointSettings { parallel, ..EndpointSettings::of_fleet(addresses) }, seconds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(3)
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: http_rate IN_FLIGHT SECONDS URL…");
    ExitCode::from(2)
}

fn measure(settings: EndpointSettings, seconds: u64) -> Result<(), EngineError> {
    let mut engine = Http::connect(&settings)?;
    let end = Duration::from_secs(seconds);
    let start = Instant::now();
    let (mut submitted, mut done, mut failed) = (0, 0, 0);
    let mut events = Vec::new();
    while start.elapsed() < end {
        while submitted - done - failed < engine.width() as u64 {
            submitted += 1;
            engine.submit(request(submitted));
        }
        engine.step(&mut events)?;
        for event in events.drain(..) {
            match event {
                Event::Text { .. } => {}
                Event::Failed { failure, .. } => {
                    failed += 1;
                    eprintln!("{failure}");
                }
                Event::Done { .. } | Event::Chosen { .. } | Event::Likelihood { .. } => done += 1,
            }
        }
    }
    let rate = done as f64 / start.elapsed().as_secs_f64();
    println!("{done} replies, {failed} failures, {rate:.0} replies per second");
    for line in engine.report() {
        println!("{line}");
    }
    Ok(())
}

/// A request with a conversation of its own.
fn request(id: u64) -> Request {
    let question = format!("Question {id}: ") + &"how do I keep bread fresh? ".repeat(36);
    Request {
        id,
        turns: vec![Message::new(Role::User, question)],
        shared_turns: 0,
        continues: None,
        item: id / 8,
        task: Task::Complete {
            sampling: Sampling::default(),
            stream: Stream::new(id),
            ignore_eos: false,
            copies: false,
            thought_only: false,
        },
    }
}
