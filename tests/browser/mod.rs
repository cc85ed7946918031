//! A headless Chromium, driven by chromedriver over the WebDriver protocol.

#![allow(dead_code, reason = "each test binary uses a part of it")]

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
    /// Starts one; none, with a word on stderr, where there is no chromedriver.
    pub fn start() -> Option<Self> {
        let driver = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).spawn();
        let mut driver = match driver {
            Ok(driver) => driver,
            Err(error) => {
                eprintln!("skipped: no browser to try the page in (chromedriver: {error})");
                return None;
            }
        };
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines
            .find_map(|line| {
                let line = line.unwrap();
                // The line before it says "on port 0".
                Some(line.rsplit_once("successfully on port ")?.1.trim_end_matches('.').to_owned())
            })
            .expect("chromedriver names its port");
        // A pipe that nobody reads would end it.
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

    /// Opens a file from the disk, at a place in it.
    pub fn open(&self, file: &Path, fragment: &str) {
        // An address that differs in its fragment alone would not load again.
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

    /// Opens a tab and goes there; gives the name of the one before.
    pub fn new_tab(&self) -> String {
        let before = self.get("/window").as_str().unwrap().to_owned();
        let tab = self.post("/window/new", json!({"type": "tab"}));
        self.go_to(tab["handle"].as_str().unwrap());
        before
    }

    /// Goes to a tab, by its name.
    pub fn go_to(&self, tab: &str) {
        self.post("/window", json!({ "handle": tab }));
    }

    /// What a function's body returns in the page.
    pub fn run(&self, body: &str) -> Value {
        self.post("/execute/sync", json!({"script": body, "args": []}))
    }

    /// As [`Browser::run`], for a body that awaits.
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

    /// What was written to the console since the last call.
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
