//! `amend review`: its server, its page in a real browser, and what its decisions
//! do to exports.

mod browser;
mod common;
mod made;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Child;
use std::time::Duration;

use amend::dataset::reviews::{Choice, Opinion, Review, Reviews};
use amend::dataset::run_dir::RunDir;
use browser::Browser;
use common::Place;
use made::{Words, ordinary};
use serde_json::{Value, json};

const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";

/// A place with a run `run` of as many items.
fn place(items: u64) -> Place {
    let place = Place::new();
    made::write(&place.path("run"), "", &(1..=items).map(ordinary).collect::<Vec<_>>());
    place
}

/// A review that is served.
struct Served {
    child: Child,
    link: String,
}

impl Served {
    fn start(place: &Place, arguments: &str) -> Self {
        let mut child = place.amend(&format!("review run {arguments}")).spawn().unwrap();
        let mut link = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut link).unwrap();
        if link.is_empty() {
            let mut err = String::new();
            child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
            panic!("no link: {err}");
        }
        Self { child, link: link.trim().to_owned() }
    }

    fn port(&self) -> u16 {
        self.link.split([':', '/']).nth(4).unwrap().parse().unwrap()
    }

    fn token(&self) -> &str {
        self.link.trim_end_matches('/').rsplit_once('/').unwrap().1
    }

    /// Sends a request as it is written, and gives status and body.
    fn raw(&self, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port())).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // What is refused early is not read to its end.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap_or_else(|| panic!("{answer:?}"));
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status.parse().unwrap(), body.to_owned())
    }

    /// A request with these headers, beside the usual ones of our page.
    fn ask(&self, line: &str, headers: &str, body: &str) -> (u16, String) {
        let (port, token) = (self.port(), self.token());
        let line = line.replace("TOKEN", token);
        self.raw(&format!(
            "{line} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n\
             Connection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        ))
    }

    fn state(&self) -> Value {
        let (status, body) = self.ask("GET /TOKEN/state", "", "");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).unwrap()["state"].take()
    }

    fn post(&self, name: &str, body: &Value) -> (u16, Value) {
        let line = format!("POST /TOKEN/{name}");
        let (status, reply) =
            self.ask(&line, "Content-Type: application/json\r\n", &body.to_string());
        (status, serde_json::from_str(&reply).unwrap())
    }

    /// Ends it as Ctrl-C does, and gives what it says.
    fn interrupt(mut self) -> String {
        let pid = self.child.id().to_string();
        assert!(
            std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success()
        );
        let mut err = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{err}");
        err
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A decision on the item that is shown.
fn decision(state: &Value, choice: &str) -> Value {
    json!({
        "counter": state["counter"], "key": state["item"]["key"],
        "left": state["item"]["left"], "right": state["item"]["right"], "choice": choice,
        "edited": null, "tags": [], "comment": "", "seconds": 1.5,
    })
}

fn with(mut value: Value, key: &str, other: Value) -> Value {
    value[key] = other;
    value
}

fn reviews(place: &Place) -> Vec<Review> {
    let run = RunDir::open(&place.path("run")).unwrap();
    Reviews::read(&run).unwrap().iter().cloned().collect()
}

fn lines(place: &Place) -> usize {
    std::fs::read_to_string(place.path("run/reviews.jsonl")).unwrap().lines().count()
}

#[test]
fn only_the_page_s_own_requests_are_answered() {
    let place = place(3);
    let served = Served::start(&place, "");
    let (port, token) = (served.port(), served.token().to_owned());
    let state = served.state();
    let sound = decision(&state, "left").to_string();
    let raw = |text: String| served.raw(&text).0;

    // Whose name and page it is.
    for (host, origin, expected) in [
        ("Host: 127.0.0.1:PORT", "", 200),
        ("Host: localhost:PORT", "", 200),
        ("Host: 127.0.0.1:PORT", "Origin: http://127.0.0.1:PORT", 200),
        ("Host: localhost:PORT", "Origin: http://localhost:PORT", 200),
        ("X-No: host", "", 403),
        ("Host: 127.0.0.1", "", 403),
        ("Host: example.com", "", 403),
        ("Host: example.com:PORT", "", 403),
        ("Host: 127.0.0.1:PORT.example.com", "", 403),
        ("Host: 127.0.0.1:PORT\r\nHost: 127.0.0.1:PORT", "", 403),
        ("Host: 127.0.0.1:PORT", "Origin: null", 403),
        ("Host: 127.0.0.1:PORT", "Origin: https://127.0.0.1:PORT", 403),
        ("Host: 127.0.0.1:PORT", "Origin: http://127.0.0.1", 403),
        ("Host: 127.0.0.1:PORT", "Origin: http://example.com", 403),
    ] {
        let headers = [host, origin].map(|header| header.replace("PORT", &port.to_string()));
        let headers = headers.join("\r\n").trim_end().to_owned();
        let request =
            format!("GET /{token}/state HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n");
        assert_eq!(raw(request), expected, "{headers}");
    }
    let request = format!(
        "POST /{token}/decision HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{sound}",
        sound.len()
    );
    assert_eq!(raw(request), 403, "a change without an origin");

    // What is asked for, and how.
    let kind = "Content-Type: application/json\r\n";
    for (line, headers, body, expected) in [
        ("GET /TOKEN/", "", "", 200),
        ("GET /TOKEN/page.js", "", "", 200),
        ("GET /TOKEN/page.css", "", "", 200),
        ("GET /", "", "", 404),
        ("GET /TOKEN", "", "", 404),
        ("GET /favicon.ico", "", "", 404),
        ("GET /0123456789abcdef0123456789abcdef/", "", "", 403),
        ("GET /TOKENx/", "", "", 403),
        ("GET //TOKEN/", "", "", 403),
        ("GET /TOKEN/../run/journal.jsonl", "", "", 404),
        ("GET /TOKEN/journal.jsonl", "", "", 404),
        ("GET /TOKEN/state?x=1", "", "", 404),
        ("GET /TOKEN/decision", "", "", 405),
        ("POST /TOKEN/state", kind, "{}", 405),
        ("PUT /TOKEN/decision", kind, sound.as_str(), 405),
        ("DELETE /TOKEN/", "", "", 405),
        ("OPTIONS /TOKEN/decision", "", "", 405),
        ("POST /TOKEN/decision", "", sound.as_str(), 415),
        ("POST /TOKEN/decision", "Content-Type: text/plain\r\n", sound.as_str(), 415),
        ("POST /TOKEN/decision", kind, "", 400),
        ("POST /TOKEN/decision", kind, "{", 400),
        ("POST /TOKEN/decision", kind, "[]", 400),
        ("POST /TOKEN/decision", kind, "{\"counter\":0}", 400),
        ("POST /TOKEN/undo", kind, "{\"counter\":-1}", 400),
        ("POST /TOKEN/undo", kind, "{\"counter\":0,\"more\":1}", 400),
    ] {
        let (status, reply) = served.ask(line, headers, body);
        assert_eq!(status, expected, "{line} {headers} {body}: {reply}");
        if status != 200 {
            assert!(!reply.contains(&token), "{line}: {reply}");
        }
    }

    // What is in it.
    let base = decision(&state, "left");
    for (key, value) in [
        ("choice", json!("middle")),
        ("edited", json!(" \n")),
        ("edited", json!("x".repeat(300_000))),
        ("comment", json!("x".repeat(300_000))),
        ("tags", json!([""])),
        ("tags", json!(["x".repeat(65)])),
        ("tags", json!(vec!["x"; 17])),
        ("seconds", json!(-1)),
        ("seconds", json!(1e300)),
        ("key", json!("none")),
        ("more", json!(1)),
    ] {
        let (status, reply) = served.post("decision", &with(base.clone(), key, value));
        assert_eq!(status, 400, "{key}: {reply}");
        assert!(reply["error"].is_string(), "{reply}");
    }
    let (status, _) =
        served.post("decision", &with(with(base, "edited", json!("x")), "choice", json!("tie")));
    assert_eq!(status, 400);

    // How much.
    let head = |length: &str| {
        format!(
            "POST /{token}/decision HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\
             Origin: http://127.0.0.1:{port}\r\nConnection: close\r\n{kind}{length}\r\n\r\n"
        )
    };
    let large = " ".repeat((1 << 20) + 1);
    assert_eq!(raw(head(&format!("Content-Length: {}", large.len())) + &large), 413);
    let chunked = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    assert_eq!(raw(head("Transfer-Encoding: chunked") + &chunked), 413);

    // None of it did anything, and a sound one does.
    assert_eq!(served.state(), state);
    assert_eq!(served.post("decision", &decision(&state, "left")).0, 200);
    assert_eq!(reviews(&place).len(), 1);
}

#[test]
fn every_answer_forbids_what_the_page_does_not_need() {
    let place = place(1);
    let served = Served::start(&place, "");
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    for name in ["", "state", "page.js", "nothing"] {
        let answer = agent.get(format!("{}{name}", served.link)).call().unwrap();
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(policy.ends_with("frame-ancestors 'none'"), "{policy}");
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("referrer-policy"), "no-referrer");
        assert_eq!(header("x-content-type-options"), "nosniff");
    }
    assert!(TcpStream::connect(("127.0.0.1", served.port())).is_ok());
}

#[test]
fn a_decision_is_recorded_once_and_a_page_out_of_date_records_none() {
    let place = place(4);
    let served = Served::start(&place, "--reviewer ada");
    let first = served.state();
    assert_eq!((&first["done"], &first["total"]), (&json!(0), &json!(4)));
    let sent = decision(&first, "left");
    let (status, reply) = served.post("decision", &sent);
    assert_eq!((status, &reply["state"]["done"]), (200, &json!(1)));
    // The same again, as after an answer that got lost.
    let (status, again) = served.post("decision", &sent);
    assert_eq!((status, &again), (200, &reply));
    // Another word on it from a page that knows no better.
    for other in [
        with(sent.clone(), "choice", json!("right")),
        with(sent.clone(), "comment", json!("x")),
        with(sent.clone(), "counter", json!(9)),
        // The item is decided, whatever counter is named.
        with(sent.clone(), "counter", json!(1)),
    ] {
        let (status, refused) = served.post("decision", &other);
        assert_eq!((status, &refused["state"]), (409, &reply["state"]), "{other}");
    }
    // The next one, its sides the other way round.
    let next = decision(&reply["state"], "left");
    let turned =
        with(with(next.clone(), "left", next["right"].clone()), "right", next["left"].clone());
    assert_eq!(served.post("decision", &turned).0, 409);
    assert_eq!(lines(&place), 1);

    let (status, reply) = served.post("undo", &json!({"counter": 0}));
    assert_eq!((status, &reply["state"]["counter"]), (409, &json!(1)));
    let (status, reply) = served.post("undo", &json!({"counter": 1}));
    assert_eq!((status, &reply["review"]["choice"]), (200, &json!("left")));
    assert_eq!(reply["state"]["item"], first["item"]);
    // What was sent before the undo does not come back.
    assert_eq!(served.post("decision", &sent).0, 409);
    assert_eq!((lines(&place), reviews(&place).len()), (2, 0));
}

#[test]
fn a_killed_server_loses_nothing_and_the_next_goes_on() {
    let place = place(6);
    let mut served = Served::start(&place, "--reviewer ada --seed 3");
    let mut seen = Vec::new();
    for _ in 0..3 {
        let state = served.state();
        seen.push(state["item"]["key"].clone());
        assert_eq!(served.post("decision", &decision(&state, "right")).0, 200);
    }
    let next = served.state();
    let other = place.run(&mut place.amend("review run --reviewer bob"));
    assert_eq!(other.code, Some(2));
    assert!(other.err.contains("is writing to run/reviews.jsonl: wait for it"), "{}", other.err);
    served.child.kill().unwrap();
    served.child.wait().unwrap();
    // Killed in the middle of a line.
    let path = place.path("run/reviews.jsonl");
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"n\":3,").unwrap();

    let served = Served::start(&place, "--reviewer ada --seed 3");
    assert_eq!(served.state(), next);
    assert_eq!(served.post("decision", &decision(&next, "tie")).0, 200);
    let err = served.interrupt();
    assert!(err.starts_with("ada: 3 of 6 items decided; Ctrl-C stops\n"), "{err}");
    assert!(err.ends_with("\nada: 4 of 6 items decided\n"), "{err}");
    let kept: Vec<Value> = reviews(&place).iter().map(|one| json!(one.key)).collect();
    assert_eq!(kept[..3], seen);
    assert_eq!(kept.len(), 4);
}

#[test]
fn reviewers_share_the_work_and_their_agreement_is_told() {
    let place = place(40);
    let decide = |reviewer: &str, flags: &str, choice: &dyn Fn(u64) -> &'static str| {
        let served = Served::start(&place, &format!("--reviewer {reviewer} {flags}"));
        let mut keys = Vec::new();
        loop {
            let state = served.state();
            if state["item"].is_null() {
                break keys;
            }
            keys.push(state["item"]["key"].as_str().unwrap().to_owned());
            // By answer, wherever it stands.
            let better = choice(keys.len() as u64) == "revision";
            let left = state["item"]["left"] == 1;
            let side = if better == left { "left" } else { "right" };
            assert_eq!(served.post("decision", &decision(&state, side)).0, 200);
        }
    };
    let ada = decide("ada", "--overlap 0.5 --limit 30", &|_| "revision");
    assert_eq!(ada.len(), 30);
    let bob = decide("bob", "--overlap 0.5", &|at| if at % 4 == 0 { "first" } else { "revision" });
    let both = bob.iter().filter(|key| ada.contains(key)).count();
    // All that ada left, and of hers about a half.
    assert_eq!(bob.len(), 10 + both);
    assert!((7..=23).contains(&both), "{both}");
    let sides = reviews(&place);
    for reviewer in ["ada", "bob"] {
        let mine = sides.iter().filter(|one| one.reviewer == reviewer);
        let (left, all) =
            mine.fold((0, 0), |(left, all), one| (left + usize::from(one.left == 1), all + 1));
        assert!(left == all / 2 || left == all.div_ceil(2), "{reviewer}: {left} of {all}");
    }

    let ran = place.run(&mut place.amend("review run --summary --json"));
    let figures: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(figures["items"], 40);
    assert_eq!(figures["reviewers"][0]["reviews"], 30);
    assert_eq!(figures["between"][0]["reviewers"], json!(["ada", "bob"]));
    assert_eq!(figures["between"][0]["same"]["n"], both);
    assert!(figures["judge"]["same"]["n"].as_u64().unwrap() > 20, "{figures}");
    let ran = place.run(&mut place.amend("review run --summary"));
    assert!(ran.out.contains("ada and bob: the same on "), "{}", ran.out);
    assert!(ran.out.contains("with the judge: the same on "), "{}", ran.out);
}

/// Waits until a function's body gives true on the page.
fn until(browser: &Browser, condition: &str) {
    let met = browser.wait(&format!(
        "for (let at = 0; at < 200; at += 1) {{
           if ((() => {{ {condition} }})()) return true;
           await new Promise((resolve) => setTimeout(resolve, 25));
         }}
         return document.body.innerText"
    ));
    assert_eq!(met, json!(true), "{condition}");
}

fn until_item(browser: &Browser, number: usize) {
    until(
        browser,
        &format!(
            "return document.getElementById('heading').textContent.startsWith('Item {number} of')"
        ),
    );
}

/// The text of an element.
fn text(browser: &Browser, selector: &str) -> String {
    let body = format!("return document.querySelector('{selector}').textContent");
    browser.run(&body).as_str().unwrap().to_owned()
}

#[test]
fn twenty_items_are_reviewed_by_keys() {
    let Some(browser) = Browser::start() else { return };
    let place = place(20);
    let served = Served::start(&place, "--reviewer ada --seed 5");
    browser.visit(&served.link);
    let mut expected = Vec::new();
    for number in 1..=20 {
        until_item(&browser, number);
        let shown = served.state();
        let (left, right) = (text(&browser, "#left .text"), text(&browser, "#right .text"));
        let (key, choice) = match number % 5 {
            1 => ("1", Choice::Left),
            2 => ("2", Choice::Right),
            3 => ("3", Choice::Tie),
            4 => ("4", Choice::BothBad),
            _ => ("1", Choice::Left),
        };
        browser.press(&[key]);
        let mut edited = None;
        let (mut tags, mut comment) = (Vec::new(), String::new());
        if number % 5 == 0 {
            // Edits the answer, tags it and comments on it; keys are text there.
            browser.press(&["e", "1", "u", " ", ESCAPE]);
            browser.press(&["t", "t", ",", "u", ESCAPE, "c", "4", " ", "e", ESCAPE]);
            edited = Some(format!("1u {left}"));
            (tags, comment) = (vec!["t".to_owned(), "u".to_owned()], "4 e".to_owned());
        }
        if number == 10 {
            // A reload loses none of it.
            browser.reload();
            until_item(&browser, number);
            let field = browser.run("return document.getElementById('edited').value");
            assert_eq!(field, json!(edited));
            assert_eq!(text(&browser, "#left .text"), left);
        }
        browser.press(&[ENTER]);
        expected.push((shown["item"].clone(), [left, right], choice, edited, tags, comment));
        if number == 7 {
            // Taken back, and decided otherwise.
            until_item(&browser, 8);
            browser.press(&["u"]);
            until_item(&browser, 7);
            let chosen = "return document.querySelector('[name=choice]:checked').value";
            assert_eq!(browser.run(chosen), json!("right"));
            browser.press(&["1", ENTER]);
            expected.last_mut().unwrap().2 = Choice::Left;
        }
    }
    until(&browser, "return !document.getElementById('end').hidden");
    assert_eq!(text(&browser, "#heading"), "20 of 20 items decided");
    assert_eq!(browser.console(), Vec::<String>::new());

    let found = reviews(&place);
    assert_eq!((found.len(), lines(&place)), (20, 22));
    for (review, (item, texts, choice, edited, tags, comment)) in found.iter().zip(expected) {
        assert_eq!(
            json!([review.key, review.left, review.right]),
            json!([item["key"], item["left"], item["right"]])
        );
        assert_eq!((review.choice, &review.edited), (choice, &edited));
        assert_eq!((&review.tags, &review.comment), (&tags, &comment));
        assert_eq!(review.reviewer, "ada");
        assert!(review.seconds > 0.0 && review.seconds < 60.0, "{review:?}");
        // Each answer stood where the record says.
        let row = (1..=20).map(ordinary).find(|words| {
            [&words.revision, &words.answer].into_iter().any(|text| *text == texts[0])
        });
        let row = row.unwrap();
        let of = |number: usize| if number == 1 { &row.revision } else { &row.answer };
        assert_eq!([of(review.left), of(review.right)], [&texts[0], &texts[1]]);
    }

    // What people decided goes before the judge.
    drop(served);
    let ran = place.run(&mut place.amend("export run --format trl-standard"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains(", 4 left out: reviewers find both sides equal"), "{}", ran.err);
    assert!(ran.err.contains(", 4 left out: reviewers find both sides bad"), "{}", ran.err);
    let rows: Vec<Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 12);
    for row in &rows {
        let words = (1..=20).map(ordinary).find(|words| row["prompt"] == words.prompt).unwrap();
        let key = row_key(&found, row, &words);
        let Opinion::Answer(number) = key.opinion() else { panic!("{key:?}") };
        let sides = [&words.answer, &words.revision];
        let chosen = key.edited.as_ref().unwrap_or(sides[number]);
        assert_eq!((&row["chosen"], &row["rejected"]), (&json!(chosen), &json!(sides[1 - number])));
        assert_eq!(row["reviewers"], json!(["ada"]));
        assert_eq!(row["reviewed_at"], json!(key.time));
    }
    // Or counts for nothing, if asked for.
    let ran = place.run(&mut place.amend("export run --reviews ignore"));
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), "20 pairs written\n"));
}

/// The review of an exported row.
fn row_key<'a>(reviews: &'a [Review], row: &Value, words: &Words) -> &'a Review {
    let messages = vec![amend::chat::Message::new(amend::chat::Role::User, &words.prompt)];
    let key = amend::dataset::item::Keys::default().next(&messages, None, None);
    reviews.iter().find(|one| one.key == key).unwrap_or_else(|| panic!("no review of {row}"))
}

#[test]
fn the_model_s_opinion_comes_after_the_decision_and_only_if_asked_for() {
    let Some(browser) = Browser::start() else { return };
    let place = place(3);
    let served = Served::start(&place, "");
    browser.visit(&served.link);
    until_item(&browser, 1);
    // Nothing that was sent tells it.
    let state = served.state().to_string();
    let critiques: Vec<String> = (1..=3).map(|row| ordinary(row).critique).collect();
    assert!(!critiques.iter().any(|critique| state.contains(critique.as_str())), "{state}");
    assert!(!state.contains("margin") && !state.contains("principle"), "{state}");
    browser.press(&["1", ENTER]);
    until_item(&browser, 2);
    browser.press(&["m", "2", ENTER]);
    until(&browser, "return !document.getElementById('opinion').hidden");
    let facts = text(&browser, "#facts");
    assert!(facts.contains("Verdict") && facts.contains("Critique"), "{facts}");
    assert!(critiques.iter().any(|critique| facts.contains(critique.as_str())), "{facts}");
    browser.press(&[ENTER]);
    until_item(&browser, 3);
    assert_eq!(reviews(&place).len(), 2);
}

#[test]
fn hostile_content_is_text_on_the_page() {
    let Some(browser) = Browser::start() else { return };
    let place = Place::new();
    let hostile = [
        "<script>window.pwned = 1</script>",
        "</textarea></script><img src=x onerror=\"window.pwned = 2\">",
        "\" autofocus onfocus=\"window.pwned = 3\" x=\"' onmouseover='window.pwned = 4",
        "<svg onload=window.pwned=5><a href=\"javascript:window.pwned=6\">go</a>",
        "{{ 7 * 7 }} ${7 * 7} \u{202e}gnp.exe \u{2028}",
    ];
    let all = hostile.join("\n");
    let items: Vec<Words> = (0..2)
        .map(|number| Words {
            prompt: format!("{all} {number}"),
            answer: format!("{all} before"),
            critique: all.clone(),
            revision: format!("{all} after"),
            category: all.clone(),
        })
        .collect();
    made::write(&place.path("run"), &all, &items);
    let served = Served::start(&place, "");
    browser.visit(&served.link);
    until_item(&browser, 1);
    assert!(text(&browser, "#messages .text").starts_with(&all));
    let mut sides = [text(&browser, "#left .text"), text(&browser, "#right .text")];
    sides.sort();
    assert_eq!(sides, [items[0].revision.clone(), items[0].answer.clone()]);
    browser.press(&["m", "1", "e", ESCAPE, ENTER]);
    until(&browser, "return !document.getElementById('opinion').hidden");
    assert!(text(&browser, "#facts").contains(&all));
    browser.press(&["u"]);
    until_item(&browser, 1);
    let elements = browser.run(
        "const names = new Set();
         for (const one of document.querySelectorAll('body *')) {
           names.add(one.localName);
           for (const { name } of one.attributes) if (name.startsWith('on')) names.add('@' + name);
         }
         return [...names].sort().join(' ')",
    );
    assert_eq!(
        elements,
        "button caption dd div dl dt fieldset form h1 h2 header input kbd label legend li main \
         noscript ol p progress section small span table tbody textarea th thead tr"
    );
    assert_eq!(browser.run("return window.pwned ?? null"), json!(null));
    assert_eq!(browser.console(), Vec::<String>::new());
    // What page of ours does not run, the policy does not let run either.
    browser.run(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.pwned = 9\">')",
    );
    until(&browser, "return true");
    assert_eq!(browser.run("return window.pwned ?? null"), json!(null));
    assert!(browser.console().iter().any(|line| line.contains("Content Security Policy")));
}

#[test]
fn a_second_tab_with_an_older_item_is_told_and_records_nothing() {
    let Some(browser) = Browser::start() else { return };
    let place = place(4);
    let served = Served::start(&place, "");
    browser.visit(&served.link);
    until_item(&browser, 1);
    browser.press(&["1"]);
    let first = browser.new_tab();
    browser.visit(&served.link);
    until_item(&browser, 1);
    browser.press(&["2", ENTER]);
    until_item(&browser, 2);
    browser.go_to(&first);
    browser.press(&[ENTER]);
    until(&browser, "return !document.getElementById('trouble').hidden");
    assert_eq!(
        text(&browser, "#trouble"),
        "this page is out of date: the review has gone on elsewhere. Nothing was recorded."
    );
    until_item(&browser, 2);
    assert_eq!((lines(&place), reviews(&place)[0].choice), (1, Choice::Right));
    // It goes on from there.
    browser.press(&["3", ENTER]);
    until_item(&browser, 3);
    assert_eq!(text(&browser, "#trouble"), "");
    assert_eq!(lines(&place), 2);
}

#[test]
fn a_page_of_an_earlier_start_is_told_and_keeps_what_was_entered() {
    let Some(browser) = Browser::start() else { return };
    let place = place(4);
    let served = Served::start(&place, "");
    let port = served.port();
    browser.visit(&served.link);
    until_item(&browser, 1);
    browser.press(&["1", "c", "h", "m", ESCAPE]);
    drop(served);
    browser.press(&[ENTER]);
    until(&browser, "return !document.getElementById('trouble').hidden");
    assert!(text(&browser, "#trouble").starts_with("The server does not answer."));

    let served = Served::start(&place, &format!("--port {port}"));
    browser.press(&[ENTER]);
    until(
        &browser,
        "return document.getElementById('trouble').textContent.startsWith('this link')",
    );
    assert_eq!(lines(&place), 0);
    browser.visit(&served.link);
    until_item(&browser, 1);
    let kept = "return [document.querySelector('[name=choice]:checked').value, document.getElementById('comment').value]";
    assert_eq!(browser.run(kept), json!(["left", "hm"]));
    browser.press(&[ENTER]);
    until_item(&browser, 2);
    assert_eq!(reviews(&place)[0].comment, "hm");
}

#[test]
fn required_reviews_hold_an_export_back_until_they_are_there() {
    let place = Place::new();
    let items: Vec<Words> = (1..=6).map(ordinary).collect();
    // Rows 1 and 4 are revised under the second principle.
    made::write_governed(&place.path("run"), "", &items, &json!({"require_review": ["honesty "]}));
    for format in ["trl", "kto", "sft", "sft-steps", "trajectories"] {
        let ran = place.run(&mut place.amend(&format!("export run --format {format} -o out")));
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{format}");
        assert!(!place.path("out").exists(), "{format}");
        let [one, two] = [1, 4].map(|row: usize| format!("item {row} {}", items[row - 1].category));
        assert_eq!(
            ran.err,
            format!(
                "error: the constitution demands reviews, and these items have none:\n  {one}\n  \
                 {two}\nhelp: decide about them with amend review, then export again\n"
            )
        );
    }
    for (flags, code) in [("--limit 6", 0), ("", 0)] {
        let served = Served::start(&place, flags);
        loop {
            let state = served.state();
            if state["item"].is_null() {
                break;
            }
            assert_eq!(served.post("decision", &decision(&state, "left")).0, 200);
        }
        drop(served);
        let ran = place.run(&mut place.amend("export run -o out"));
        assert_eq!((ran.code, ran.err.as_str()), (Some(code), "6 pairs written\n"));
    }
    let ran = place.run(&mut place.amend("export run --reviews ignore -o other"));
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(!place.path("other").exists());
}

#[test]
fn decisions_measure_the_judge_and_stand_in_the_report() {
    let place = Place::new();
    // Short, since the model reads them.
    let short = |row| Words {
        prompt: format!("Is {row} even?"),
        answer: format!("No, {row} is odd."),
        critique: "Look again.".to_owned(),
        revision: format!("Divide {row} by two and see."),
        category: "sums".to_owned(),
    };
    made::write(&place.path("run"), "", &(1..=8).map(short).collect::<Vec<_>>());
    let none = place.run(&mut place.small("judge --labels run"));
    assert_eq!(none.code, Some(2));
    assert_eq!(
        none.err,
        "error: people have decided about no pair of run\nhelp: let them: amend review run\n"
    );
    let served = Served::start(&place, "--reviewer ada");
    for choice in ["left", "right", "tie", "both_bad", "left", "right", "left"] {
        assert_eq!(served.post("decision", &decision(&served.state(), choice)).0, 200);
    }
    drop(served);
    let ran = place.run(&mut place.small("judge --labels run --json"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let labels: Vec<Value> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["label"].take())
        .collect();
    // All but the one that is bad on both sides.
    assert_eq!(labels.len(), 6);
    assert_eq!(labels.iter().filter(|label| **label == "tie").count(), 1);
    assert!(labels.iter().all(|label| label.is_string()), "{labels:?}");
    assert!(ran.err.contains("6 rows judged"), "{}", ran.err);
    assert!(ran.err.contains(", 1 tie)"), "{}", ran.err);

    let ran = place.run(&mut place.amend("report run --out -"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for part in
        [">Reviews</h2>", "<dt>Items decided</dt>", "As the judge says", "people, the judge"]
    {
        assert!(ran.out.contains(part), "{part}");
    }
}
