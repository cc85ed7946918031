//! A small server that speaks as much of the OpenAI API as a test needs.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use tiny_http::{Header, Response};

/// What was asked of the server.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    pub line: String,
    pub key: Option<String>,
    pub body: Value,
}

impl Asked {
    /// What the last turn of the conversation says.
    pub fn last(&self) -> &str {
        let turns = self.body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
        turns.last().and_then(|turn| turn["content"].as_str()).unwrap_or_default()
    }
}

/// What the server does about it.
pub enum Reply {
    Json(Value),
    Status(u16, String),
    /// Status 429, and when to come again.
    Later(u64),
    /// No answer, ever.
    Hang,
}

/// Runs until it is dropped.
pub struct Server {
    pub url: String,
    inner: Arc<tiny_http::Server>,
    asked: Arc<Mutex<Vec<Asked>>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Answers requests one after another by `reply`; those for the models by
    /// naming one, "tiny".
    pub fn start(mut reply: impl FnMut(&Asked) -> Reply + Send + 'static) -> Self {
        Self::bare(move |asked| match asked.line.as_str() {
            "GET /v1/models" => Reply::Json(models()),
            _ => reply(asked),
        })
    }

    /// Answers every request by `reply`.
    pub fn bare(mut reply: impl FnMut(&Asked) -> Reply + Send + 'static) -> Self {
        let inner = Arc::new(tiny_http::Server::http("127.0.0.1:0").unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let url = format!("http://{}", inner.server_addr().to_ip().unwrap());
        let (server, all) = (Arc::clone(&inner), Arc::clone(&asked));
        let thread = std::thread::spawn(move || {
            // Dropped, a request is answered by the library.
            let mut hanging = Vec::new();
            for mut request in server.incoming_requests() {
                let mut body = String::new();
                request.as_reader().read_to_string(&mut body).unwrap();
                let key = request.headers().iter().find(|one| one.field.equiv("Authorization"));
                let asked = Asked {
                    line: format!("{} {}", request.method(), request.url()),
                    key: key.map(|one| one.value.to_string()),
                    body: serde_json::from_str(&body).unwrap_or_default(),
                };
                all.lock().unwrap().push(asked.clone());
                let response = match reply(&asked) {
                    Reply::Json(value) => Response::from_string(value.to_string()),
                    Reply::Status(code, text) => Response::from_string(text).with_status_code(code),
                    Reply::Later(seconds) => Response::from_string("busy")
                        .with_status_code(429)
                        .with_header(format!("Retry-After: {seconds}").parse::<Header>().unwrap()),
                    Reply::Hang => {
                        hanging.push(request);
                        continue;
                    }
                };
                // Whoever asked may have gone.
                let _ = request.respond(response);
            }
        });
        Self { url, inner, asked, thread: Some(thread) }
    }

    /// What was asked so far, the question for the models left out.
    pub fn asked(&self) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|asked| !asked.line.starts_with("GET")).cloned().collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.inner.unblock();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A list of one model, with what changes from one answer to the next.
pub fn models() -> Value {
    json!({"object": "list", "data": [{
        "id": "tiny", "object": "model", "owned_by": "llamacpp", "created": 1,
        "meta": {"n_params": 134_515_008, "n_ctx": 4096},
    }]})
}

/// An answer of one token a word, with a prompt of ten tokens, of which four were
/// in the cache.
pub fn says(text: &str) -> Reply {
    Reply::Json(json!({
        "choices": [{"index": 0, "finish_reason": "stop",
                     "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": text.split_whitespace().count(),
                  "prompt_tokens_details": {"cached_tokens": 4}},
    }))
}
