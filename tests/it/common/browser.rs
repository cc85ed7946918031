//! A headless Chromium, controlled by chromedriver over the WebDriver protocol.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// A browser with one window.
pub struct Browser {
    driver: Child,
    agent: ureq::Agent,
    session: String,
}

impl Browser {
    /// Starts a browser. Without chromedriver, prints a note and returns `None`.
    pub fn start() -> Option<Self> {
        let driver = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).spawn();
        let mut driver = match driver {
            Ok(driver) => driver,
            Err(error) => {
                eprintln!("skipped: no browser to test the page in (chromedriver: {error})");
                return None;
            }
        };
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines
            .find_map(|line| {
                let line = line.unwrap();
                // The line before this one says "on port 0".
                Some(line.rsplit_once("successfully on port ")?.1.trim_end_matches('.').to_owned())
            })
            .expect("the port of chromedriver");
        // Read the rest: chromedriver ends when its output pipe is full or closed.
        std::thread::spawn(move || lines.for_each(drop));
        let port: u16 = port.parse().unwrap();
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        let mut browser = Self {
            driver,
            agent: config.into(),
            session: format!("http://127.0.0.1:{port}/session"),
        };
        let arguments =
            ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"];
        let session = browser.post(
            "",
            json!({"capabilities": {"alwaysMatch": {
                "goog:chromeOptions": {"args": arguments},
                "goog:loggingPrefs": {"browser": "ALL"},
            }}}),
        );
        let id = session["sessionId"].as_str().expect("a session");
        browser.session = format!("{}/{id}", browser.session);
        Some(browser)
    }

    /// Opens a file at a fragment such as `#items`.
    pub fn open(&self, file: &Path, fragment: &str) {
        // A change of the fragment alone would not load the page again.
        self.post("/url", json!({"url": "about:blank"}));
        self.post("/url", json!({"url": format!("file://{}{fragment}", file.display())}));
    }

    /// Opens an address.
    pub fn visit(&self, url: &str) {
        self.post("/url", json!({ "url": url }));
    }

    /// Loads the page again.
    pub fn reload(&self) {
        self.post("/refresh", json!({}));
    }

    /// Opens a tab and switches to it. Returns the handle of the tab before.
    pub fn new_tab(&self) -> String {
        let before = self.get("/window").as_str().unwrap().to_owned();
        let tab = self.post("/window/new", json!({"type": "tab"}));
        self.go_to(tab["handle"].as_str().unwrap());
        before
    }

    /// Switches to the tab with this handle.
    pub fn go_to(&self, tab: &str) {
        self.post("/window", json!({ "handle": tab }));
    }

    /// Runs a function body in the page and returns its result.
    pub fn run(&self, body: &str) -> Value {
        self.post("/execute/sync", json!({"script": body, "args": []}))
    }

    /// As [`Browser::run`], for an asynchronous body.
    pub fn wait(&self, body: &str) -> Value {
        let script = format!(
            "const done = arguments[0]; (async () => {{ {body} }})().then(done, (e) => done(String(e)))"
        );
        self.post("/execute/async", json!({"script": script, "args": []}))
    }

    /// Presses keys, one after another.
    pub fn press(&self, keys: &[&str]) {
        let actions: Vec<Value> = keys
            .iter()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key})))
            .collect();
        self.post(
            "/actions",
            json!({"actions": [{"type": "key", "id": "keys", "actions": actions}]}),
        );
    }

    /// The console messages since the last call.
    pub fn console(&self) -> Vec<String> {
        let entries = self.post("/se/log", json!({"type": "browser"}));
        let entries = entries.as_array().expect("a log");
        entries.iter().map(|entry| entry["message"].to_string()).collect()
    }

    fn get(&self, path: &str) -> Value {
        let answer = self.agent.get(format!("{}{path}", self.session)).call().unwrap();
        Self::value(path, answer)
    }

    fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.agent.post(format!("{}{path}", self.session)).send_json(body).unwrap();
        Self::value(path, answer)
    }

    fn value(path: &str, mut answer: ureq::http::Response<ureq::Body>) -> Value {
        let mut answer: Value =
            answer.body_mut().with_config().limit(64 << 20).read_json().unwrap();
        let value = answer["value"].take();
        assert!(value.get("error").is_none(), "{path}: {value}");
        value
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
