//! A small server that answers as the Hugging Face Hub does: lists of branches and files,
//! and contents behind a redirect to another address.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// The repository of the server.
pub const REPO: &str = "org/tiny-GGUF";

/// The commit of its branch `main`.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A file of the repository.
#[derive(Clone)]
pub struct HubFile {
    pub path: String,
    pub content: Vec<u8>,
    /// The checksum that the server states.
    pub sha256: String,
}

/// How the server answers. Tests change it while the server runs.
#[derive(Clone, Default)]
pub struct Answers {
    pub files: Vec<HubFile>,
    /// The number of entries on a page of the list of files; 0 for all of them.
    pub page_size: usize,
    /// The connection of the next contents is cut after so many bytes each.
    pub cuts: Vec<usize>,
    /// The status and the name of the error that all contents get.
    pub refused: Option<(u16, &'static str)>,
    /// Whether contents are sent from the start whatever range is asked for.
    pub ignores_ranges: bool,
    /// Whether the answer to a range names another range.
    pub misstates_ranges: bool,
}

/// The server. It runs until the test ends.
pub struct Hub {
    pub url: String,
    pub answers: Arc<Mutex<Answers>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Hub {
    /// Starts a server whose repository has these files.
    pub fn start(files: Vec<HubFile>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answers = Arc::new(Mutex::new(Answers { files, ..Answers::default() }));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let hub = Self { url, answers: Arc::clone(&answers), requests: Arc::clone(&requests) };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answers, requests) = (Arc::clone(&answers), Arc::clone(&requests));
                // The client may have closed the connection.
                std::thread::spawn(move || answer(stream, &answers, &requests).ok());
            }
        });
        hub
    }

    /// The requests since the last call: the path of each, its range and its token.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }

    /// Changes how the server answers.
    pub fn change(&self, change: impl FnOnce(&mut Answers)) {
        change(&mut self.answers.lock().unwrap());
    }
}

/// Answers one request, and closes the connection.
fn answer(
    stream: TcpStream,
    answers: &Mutex<Answers>,
    requests: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let (mut host, mut request, mut from) = (String::new(), path.clone(), 0);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "host" => host = value.to_owned(),
            "range" => {
                request += &format!(" {value}");
                let start = value.trim_start_matches("bytes=").trim_end_matches('-');
                from = start.parse().unwrap();
            }
            "authorization" => request += &format!(" {value}"),
            _ => {}
        }
    }
    requests.lock().unwrap().push(request);

    let answers_now = answers.lock().unwrap().clone();
    if path == format!("/api/models/{REPO}/refs") {
        let branches = json!([{"name": "main", "targetCommit": COMMIT}]);
        return send_json(&mut stream, "", &json!({"branches": branches, "tags": []}));
    }
    let list = format!("/api/models/{REPO}/tree/{COMMIT}?recursive=true");
    if let Some(cursor) = path.strip_prefix(&list) {
        let entries = tree(&answers_now.files);
        let from = cursor.strip_prefix("&cursor=").map_or(0, |from| from.parse().unwrap());
        let size = if answers_now.page_size == 0 { entries.len() } else { answers_now.page_size };
        let end = entries.len().min(from + size);
        let link = if end < entries.len() {
            format!("Link: <https://other.example{list}&cursor={end}>; rel=\"next\"\r\n")
        } else {
            String::new()
        };
        return send_json(&mut stream, &link, &json!(entries[from..end]));
    }
    let content = path.strip_prefix(&format!("/{REPO}/resolve/{COMMIT}/"));
    if let (Some(_), Some((status, error))) = (content, answers_now.refused) {
        let page = json!({"error": "Access is restricted."}).to_string();
        let length = page.len();
        return write!(
            stream,
            "HTTP/1.1 {status} -\r\nX-Error-Code: {error}\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{page}"
        );
    }
    if let Some(file) = content {
        // The same server under another name, as the Hub redirects to another host.
        let port = host.rsplit(':').next().unwrap_or_default();
        return write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: http://localhost:{port}/content/{file}\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    let file = path.strip_prefix("/content/");
    let file = answers_now.files.into_iter().find(|known| Some(known.path.as_str()) == file);
    let Some(HubFile { content, sha256, .. }) = file else {
        let head = "X-Error-Code: RepoNotFound\r\nContent-Length: 0\r\nConnection: close";
        return write!(stream, "HTTP/1.1 404 -\r\n{head}\r\n\r\n");
    };
    let size = content.len();
    let start = if answers_now.ignores_ranges { 0 } else { from };
    let rest = &content[start.min(size)..];
    let head = if start > 0 {
        let stated = if answers_now.misstates_ranges { 0 } else { start };
        format!("206 -\r\nContent-Range: bytes {stated}-{}/{size}", size - 1)
    } else {
        "200 OK".to_owned()
    };
    write!(
        stream,
        "HTTP/1.1 {head}\r\nETag: \"{sha256}\"\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        rest.len()
    )?;
    let mut cuts = answers.lock().unwrap();
    let sent = if cuts.cuts.is_empty() { rest.len() } else { cuts.cuts.remove(0) };
    stream.write_all(&rest[..sent.min(rest.len())])
}

fn send_json(stream: &mut TcpStream, headers: &str, value: &Value) -> std::io::Result<()> {
    let text = value.to_string();
    let length = text.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\n{headers}Content-Type: application/json\r\n\
         Content-Length: {length}\r\n\
         Connection: close\r\n\r\n{text}"
    )
}

/// The list of files, as the Hub gives it: with folders, and with small files that are not
/// in large file storage.
fn tree(files: &[HubFile]) -> Vec<Value> {
    let mut entries = vec![
        json!({"type": "directory", "oid": "a".repeat(40), "size": 0, "path": "folder"}),
        json!({"type": "file", "oid": "b".repeat(40), "size": 7, "path": "README.md"}),
    ];
    for HubFile { path, content, sha256 } in files {
        let size = content.len();
        entries.push(json!({
            "type": "file", "oid": "c".repeat(40), "size": size, "path": path,
            "lfs": {"oid": sha256, "size": size, "pointerSize": 134},
        }));
    }
    entries
}
