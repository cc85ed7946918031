//! A server with the part of the OpenAI API that amend uses, which replies at once with texts
//! that it makes up. It measures amend itself: how many requests and items a second it manages,
//! and how it reacts to a server that is slow, busy or failing.
//!
//! ```console
//! $ cargo build --release --example canned_server
//! $ target/release/examples/canned_server --port 8080 &
//! $ amend run prompts.jsonl --out runs/canned -m http://127.0.0.1:8080 -np 64
//! ```
//!
//! | flag | default | meaning |
//! | --- | --- | --- |
//! | `--port N` | 8080 | the port on 127.0.0.1 |
//! | `--model NAME` | canned | the name of the model |
//! | `--bytes N` | 400 | the length of a text |
//! | `--latency MS` | 0 | how long a reply takes, on average: from half to one and a half of it |
//! | `--cap N` | none | the requests at once above which it replies with status 429 |
//! | `--fail N` | none | one request in N, chosen by its content, gets status 500 once |
//!
//! A text depends on the request, so that a revision differs from its answer. A request with
//! `logprobs` gets the probabilities of A and B, of Yes and No and of the numbers 1 to 10,
//! which also depend on it. On stderr, the server counts requests every ten seconds in which
//! there were any.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// The words of texts.
const WORDS: [&str; 16] = [
    "water", "stone", "bread", "paper", "river", "light", "house", "table", "green", "quiet",
    "early", "often", "makes", "holds", "turns", "keeps",
];

struct Options {
    port: u16,
    model: String,
    bytes: usize,
    latency: Duration,
    cap: Option<usize>,
    fail: Option<u64>,
}

#[derive(Default)]
struct Counts {
    under_way: AtomicUsize,
    served: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    /// The requests that failed once.
    has_failed: Mutex<HashSet<u64>>,
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => Arc::new(options),
        Err(message) => {
            eprintln!("{message}\nThe beginning of benches/canned-server/main.rs lists the flags.");
            return ExitCode::from(2);
        }
    };
    let listener = match TcpListener::bind(("127.0.0.1", options.port)) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("failed to listen on port {}: {error}", options.port);
            return ExitCode::from(3);
        }
    };
    eprintln!("listening on http://127.0.0.1:{}", options.port);
    let counts = Arc::new(Counts::default());
    let counted = Arc::clone(&counts);
    std::thread::spawn(move || report(&counted));
    for stream in listener.incoming().flatten() {
        let (options, counts) = (Arc::clone(&options), Arc::clone(&counts));
        // An error means that the client has closed the connection.
        std::thread::spawn(move || converse(stream, &options, &counts).ok());
    }
    ExitCode::SUCCESS
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        port: 8080,
        model: "canned".to_owned(),
        bytes: 400,
        latency: Duration::ZERO,
        cap: None,
        fail: None,
    };
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or(format!("{flag} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{flag} {value} is not a number"));
        match flag.as_str() {
            "--port" => {
                options.port = value.parse().map_err(|_| format!("{value} is not a port"))?;
            }
            "--model" => options.model = value,
            "--bytes" => options.bytes = number()? as usize,
            "--latency" => options.latency = Duration::from_millis(number()?),
            "--cap" => options.cap = Some(number()? as usize),
            "--fail" => options.fail = Some(number()?.max(1)),
            _ => return Err(format!("unknown flag {flag}")),
        }
    }
    Ok(options)
}

/// Counts the requests on stderr.
fn report(counts: &Counts) {
    let read = || {
        [&counts.served, &counts.refused, &counts.failed].map(|count| count.load(Ordering::Relaxed))
    };
    let mut before = read();
    loop {
        std::thread::sleep(Duration::from_secs(10));
        let now = read();
        if now != before {
            let [served, refused, failed] = now;
            let rate = (served - before[0]) as f64 / 10.0;
            eprintln!("{served} served ({rate:.0} per second), {refused} refused, {failed} failed");
        }
        before = now;
    }
}

/// Replies to the requests of a connection until it is closed.
fn converse(mut stream: TcpStream, options: &Options, counts: &Counts) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(16 << 10);
    let mut response = Vec::with_capacity(4 << 10);
    loop {
        let Some((head, length)) = read_head(&mut stream, &mut buffer)? else { return Ok(()) };
        let end = head + length;
        while buffer.len() < end {
            if read_more(&mut stream, &mut buffer)? == 0 {
                return Ok(());
            }
        }
        let is_list = buffer.starts_with(b"GET ");
        let under_way = counts.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        let (status, body) = if is_list {
            ("200 OK", models(options))
        } else if options.cap.is_some_and(|cap| under_way > cap) {
            counts.refused.fetch_add(1, Ordering::Relaxed);
            ("429 Too Many Requests", r#"{"error":{"message":"busy"}}"#.to_owned())
        } else {
            answer(&buffer[head..end], options, counts)
        };
        counts.under_way.fetch_sub(1, Ordering::Relaxed);
        response.clear();
        write!(response, "HTTP/1.1 {status}\r\nContent-Type: application/json\r\n")?;
        write!(response, "Content-Length: {}\r\n\r\n", body.len())?;
        response.extend_from_slice(body.as_bytes());
        stream.write_all(&response)?;
        buffer.drain(..end);
    }
}

/// Reads until the buffer has the head of a request. Returns the lengths of head and body, or
/// `None` at the end of the connection.
fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<(usize, usize)>> {
    loop {
        if let Some(at) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..at]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
            return Ok(Some((at + 4, length)));
        }
        if read_more(stream, buffer)? == 0 {
            return Ok(None);
        }
    }
}

fn read_more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let mut bytes = [0; 16 << 10];
    let count = stream.read(&mut bytes)?;
    buffer.extend_from_slice(&bytes[..count]);
    Ok(count)
}

fn models(options: &Options) -> String {
    format!(
        r#"{{"object":"list","data":[{{"id":"{}","object":"model","owned_by":"vllm"}}]}}"#,
        options.model
    )
}

/// The status and body of a reply.
fn answer(request: &[u8], options: &Options, counts: &Counts) -> (&'static str, String) {
    let hash = request.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    if !options.latency.is_zero() {
        let share = 0.5 + (hash >> 40) as f64 / (1_u64 << 24) as f64;
        std::thread::sleep(options.latency.mul_f64(share));
    }
    if options.fail.is_some_and(|fail| hash.is_multiple_of(fail)) {
        let is_first = counts.has_failed.lock().is_ok_and(|mut failed| failed.insert(hash));
        if is_first {
            counts.failed.fetch_add(1, Ordering::Relaxed);
            return ("500 Internal Server Error", r#"{"error":{"message":"canned"}}"#.to_owned());
        }
    }
    counts.served.fetch_add(1, Ordering::Relaxed);
    let is_choice = request.windows(10).any(|bytes| bytes == b"\"logprobs\"");
    let body =
        if is_choice { choice(request.len(), hash) } else { text(request.len(), hash, options) };
    ("200 OK", body)
}

/// A reply with a text of its own.
fn text(length: usize, mut hash: u64, options: &Options) -> String {
    let mut text = format!("Reply {hash:016x}:");
    while text.len() < options.bytes {
        hash = hash.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push(' ');
        text.push_str(WORDS[(hash >> 60) as usize]);
    }
    format!(
        r#"{{"id":"canned","object":"chat.completion","model":"{}","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}."}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":{},"completion_tokens":{}}}}}"#,
        options.model,
        length / 4,
        text.len() / 4,
    )
}

/// A reply of one token, with its probabilities.
fn choice(length: usize, hash: u64) -> String {
    let first = 0.05 + 0.85 * (hash >> 11) as f64 / (1_u64 << 53) as f64;
    let mut tokens = Vec::new();
    for (token, probability) in
        [("A", first), ("B", 0.95 - first), ("Yes", first), ("No", 0.95 - first)]
    {
        tokens.push(likely(token, probability));
    }
    for number in 1..=10 {
        tokens.push(likely(&number.to_string(), 0.095));
    }
    format!(
        r#"{{"choices":[{{"index":0,"message":{{"role":"assistant","content":"A"}},"finish_reason":"length","logprobs":{{"content":[{{"token":"A","logprob":-0.5,"top_logprobs":[{}]}}]}}}}],"usage":{{"prompt_tokens":{},"completion_tokens":1}}}}"#,
        tokens.join(","),
        length / 4,
    )
}

fn likely(token: &str, probability: f64) -> String {
    format!(r#"{{"token":"{token}","logprob":{:.4}}}"#, probability.ln())
}
