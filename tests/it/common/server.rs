//! A small server with the part of the OpenAI API that tests need.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value, json};

/// A request to the server.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    pub line: String,
    pub key: Option<String>,
    pub body: Value,
}

impl Asked {
    /// The content of the last turn.
    pub fn last(&self) -> &str {
        let turns = self.body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
        turns.last().and_then(|turn| turn["content"].as_str()).unwrap_or_default()
    }
}

/// The reply of the server.
pub enum Reply {
    Json(Value),
    Status(u16, String),
    /// Status 200 and these bytes.
    Bytes(Vec<u8>),
    /// A status, and a header such as `Retry-After: 1`.
    Head(u16, String),
    /// The server never replies.
    Hang,
    /// A reply that takes a while, in which other requests are handled.
    Later(Box<dyn FnOnce() -> Self + Send>),
}

/// A server that runs until it is dropped. Every connection has a thread, but requests
/// are handled one after another.
pub struct Server {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server that replies to requests with `reply`, and to requests for the
    /// models with one named "tiny".
    pub fn start(mut reply: impl FnMut(&Asked) -> Reply + Send + 'static) -> Self {
        Self::bare(move |asked| match asked.line.as_str() {
            "GET /v1/models" => Reply::Json(models()),
            _ => reply(asked),
        })
    }

    /// Starts a server that replies to every request with `reply`.
    pub fn bare(reply: impl FnMut(&Asked) -> Reply + Send + 'static) -> Self {
        Self::at("127.0.0.1:0", reply)
    }

    /// As [`Server::bare`], at a given host and port.
    pub fn at(place: &str, reply: impl FnMut(&Asked) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind(place).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (all, stopped) = (Arc::clone(&asked), Arc::clone(&stop));
        let reply = Arc::new(Mutex::new(reply));
        let thread = std::thread::spawn(move || {
            let mut open = Vec::new();
            for stream in listener.incoming().map(Result::unwrap) {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                open.push(stream.try_clone().unwrap());
                let (all, reply) = (Arc::clone(&all), Arc::clone(&reply));
                // The client may have closed the connection.
                std::thread::spawn(move || converse(stream, &all, &*reply).ok());
            }
            for stream in open {
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
        Self { url, asked, stop, thread: Some(thread) }
    }

    /// The requests so far, except those for the models.
    pub fn asked(&self) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|asked| !asked.line.starts_with("GET")).cloned().collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // A connection wakes the thread that waits for one.
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Replies to the requests of a connection until it is closed.
fn converse(
    stream: TcpStream,
    all: &Mutex<Vec<Asked>>,
    reply: &Mutex<impl FnMut(&Asked) -> Reply>,
) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    while let Some(asked) = read(&mut reader)? {
        all.lock().unwrap().push(asked.clone());
        let mut replied = (*reply.lock().unwrap())(&asked);
        while let Reply::Later(later) = replied {
            replied = later();
        }
        let (status, header, bytes) = match replied {
            Reply::Json(value) => (200, None, value.to_string().into_bytes()),
            Reply::Bytes(bytes) => (200, None, bytes),
            Reply::Status(code, text) => (code, None, text.into_bytes()),
            Reply::Head(code, header) => (code, Some(header), b"busy".to_vec()),
            Reply::Hang | Reply::Later(_) => continue,
        };
        let header = header.map(|header| format!("{header}\r\n")).unwrap_or_default();
        let length = bytes.len();
        let mut response =
            format!("HTTP/1.1 {status} -\r\n{header}Content-Length: {length}\r\n\r\n").into_bytes();
        response.extend(bytes);
        writer.write_all(&response)?;
    }
    Ok(())
}

/// The next request. `None` at the end of the connection.
pub fn read(reader: &mut impl BufRead) -> io::Result<Option<Asked>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    let (mut key, mut length) = (None, 0);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => key = Some(value.to_owned()),
            "content-length" => length = value.parse().map_err(io::Error::other)?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Asked { line, key, body: serde_json::from_slice(&body).unwrap_or_default() }))
}

/// A list of one model, with fields that differ between replies.
pub fn models() -> Value {
    json!({"object": "list", "data": [{
        "id": "tiny", "object": "model", "owned_by": "llamacpp", "created": 1,
        "meta": {"n_params": 134_515_008, "n_ctx": 4096},
    }]})
}

/// A reply with one token per word, to a prompt of ten tokens, of which four were in
/// the cache.
pub fn says(text: &str) -> Reply {
    Reply::Json(json!({
        "choices": [{"index": 0, "finish_reason": "stop",
                     "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": text.split_whitespace().count(),
                  "prompt_tokens_details": {"cached_tokens": 4}},
    }))
}

/// A reply that begins with one of these tokens, with these probabilities.
pub fn labels(tokens: &[(&str, f64)]) -> Reply {
    let top: Vec<Value> =
        tokens.iter().map(|(token, p)| json!({"token": token, "logprob": p.ln()})).collect();
    Reply::Json(json!({"choices": [{
        "message": {"content": tokens[0].0}, "finish_reason": "length",
        "logprobs": {"content": [{"token": tokens[0].0, "top_logprobs": top}]},
    }]}))
}

/// A server that plays the small loop. As a judge it prefers the response that does not
/// begin with "No".
pub fn plays() -> Server {
    Server::start(|asked| match asked.last() {
        _ if asked.body["logprobs"] == true => {
            let both = asked.body["messages"][1]["content"].as_str().unwrap();
            let is_first = both.find("Grüße") < both.find("No, ");
            let (better, worse) = if is_first { (" A", " B") } else { (" B", " A") };
            let top = [(better, 0.75_f64), (worse, 0.25)];
            let top = top.map(|(token, p)| json!({"token": token, "logprob": p.ln()}));
            Reply::Json(json!({"choices": [{
                "message": {"content": better}, "logprobs": {"content": [{"top_logprobs": top}]},
            }]}))
        }
        last if last.contains("What is wrong?") => says("It is cold."),
        last if last.contains("Say it better.") => says("Grüße aus 東京 🐝"),
        last => says(&format!("No, {last}")),
    })
}
