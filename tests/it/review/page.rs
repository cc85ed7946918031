//! The review page in a real browser.

use amend_data::store::reviews::{Choice, Opinion, Review};
use serde_json::{Value, json};

use super::{Served, lines, place, reviews};
use crate::common::Place;
use crate::common::browser::Browser;
use crate::common::made::{self, Words, ordinary};

const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";

/// Waits until a function body returns true in the page.
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
fn twenty_items_are_reviewed_with_the_keyboard() {
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
            // Edits the answer, adds tags and a comment. In a field, keys are text.
            browser.press(&["e", "1", "u", " ", ESCAPE]);
            browser.press(&["t", "t", ",", "u", ESCAPE, "c", "4", " ", "e", ESCAPE]);
            edited = Some(format!("1u {left}"));
            (tags, comment) = (vec!["t".to_owned(), "u".to_owned()], "4 e".to_owned());
        }
        if number == 10 {
            // A reload keeps all entries.
            browser.reload();
            until_item(&browser, number);
            let field = browser.run("return document.getElementById('edited').value");
            assert_eq!(field, json!(edited));
            assert_eq!(text(&browser, "#left .text"), left);
        }
        browser.press(&[ENTER]);
        expected.push((shown["item"].clone(), [left, right], choice, edited, tags, comment));
        if number == 7 {
            // Undoes the decision and makes another one.
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
        // The answers were shown on the recorded sides.
        let row = (1..=20).map(ordinary).find(|words| {
            [&words.revision, &words.answer].into_iter().any(|text| *text == texts[0])
        });
        let row = row.unwrap();
        let text = |number: usize| if number == 1 { &row.revision } else { &row.answer };
        assert_eq!([text(review.left), text(review.right)], [&texts[0], &texts[1]]);
    }

    // Decisions of people take precedence over the judge.
    drop(served);
    let ran = place.run(&mut place.amend("export run --format trl-standard"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("\n  4  reviewers judged the sides equal\n"), "{}", ran.err);
    assert!(ran.err.contains("\n  4  reviewers judged both sides bad\n"), "{}", ran.err);
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
    // With `--reviews ignore`, decisions have no effect.
    let ran = place.run(&mut place.amend("export run --reviews ignore --policy keep-with-label"));
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), "20 pairs written\n"));
}

#[test]
fn opinion_of_the_model_is_sent_only_after_the_decision_and_on_request() {
    let Some(browser) = Browser::start() else { return };
    let place = place(3);
    let served = Served::start(&place, "");
    browser.visit(&served.link);
    until_item(&browser, 1);
    // The state does not contain it.
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
fn hostile_content_is_shown_as_text() {
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
    // The policy blocks a script that gets into the page.
    browser.run(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.pwned = 9\">')",
    );
    until(&browser, "return true");
    assert_eq!(browser.run("return window.pwned ?? null"), json!(null));
    assert!(browser.console().iter().any(|line| line.contains("Content Security Policy")));
}

#[test]
fn outdated_tab_gets_an_error_and_records_nothing() {
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
        "this page is out of date: the review continued in another tab. Nothing was recorded."
    );
    until_item(&browser, 2);
    assert_eq!((lines(&place), reviews(&place)[0].choice), (1, Choice::Right));
    // The tab continues with the current item.
    browser.press(&["3", ENTER]);
    until_item(&browser, 3);
    assert_eq!(text(&browser, "#trouble"), "");
    assert_eq!(lines(&place), 2);
}

#[test]
fn page_of_an_earlier_server_gets_an_error_and_keeps_its_entries() {
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

/// The review of an exported row.
fn row_key<'a>(reviews: &'a [Review], row: &Value, words: &Words) -> &'a Review {
    let messages =
        vec![amend_core::chat::Message::new(amend_core::chat::Role::User, &words.prompt)];
    let key = amend_core::record::Keys::default().next(&messages, None, None);
    reviews.iter().find(|one| one.key == key).unwrap_or_else(|| panic!("no review of {row}"))
}
