//! `amend report`: the command, and its page in a real browser.

use std::path::PathBuf;

use crate::common::Place;
use crate::common::browser::Browser;
use crate::common::made::{self, Words, ordinary};
use serde_json::json;

/// Content that would run if a page took it for markup, script or a template, and
/// content that reverses the text around it.
const HOSTILE: [&str; 9] = [
    "<script>window.pwned = 1</script>",
    "</script></style></template></textarea></title><script>window.pwned = 2</script>",
    "</div></details></summary><img src=x onerror=\"window.pwned = 3\">",
    "\"><svg onload=window.pwned=4><a href=\"javascript:window.pwned=5\">go</a>",
    "\" autofocus onfocus=\"window.pwned = 6\" x=\"' onmouseover='window.pwned = 7",
    "<!-- <![CDATA[ ]]> --> &lt;b&gt; &#60;script&#62; &amp;amp;",
    "{{ 7 * 7 }} {% for x in y %} {# gone #} ${7 * 7} `x`",
    "\u{202e}gnp.exe \u{2067}\u{200f}\u{feff} اهلا \u{2028}\u{2029}",
    "a\0b \u{1b}[31mred\u{1b}[0m \r\n c \r d \u{fffe}",
];

/// The report of a run with these items.
fn page(place: &Place, title: &str, items: &[Words]) -> PathBuf {
    made::write(&place.path("run"), title, items);
    let ran = place.run(&mut place.amend("report run"));
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "run/report.html\n"), "{}", ran.err);
    place.path("run/report.html")
}

#[test]
fn out_names_the_file_and_a_dash_means_stdout() {
    let place = Place::new();
    let page = page(&place, "", &[ordinary(1)]);
    let html = std::fs::read_to_string(page).unwrap();
    let ran = place.run(&mut place.amend("report run --out -"));
    assert_eq!((ran.code, ran.out == html), (Some(0), true));
    assert_eq!(ran.err, "1 items, 0.0 MB\n");
    let ran = place.run(&mut place.amend("report run -o other.html"));
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "other.html\n"));
    assert!(ran.err.ends_with("\nnext: open other.html in a browser\n"), "{}", ran.err);
    assert_eq!(std::fs::read_to_string(place.path("other.html")).unwrap(), html);
    let ran = place.run(&mut place.amend("report run -o nowhere/other.html"));
    assert_eq!(ran.code, Some(3));
    assert!(ran.err.starts_with("error: failed to write nowhere/other.html\n"), "{}", ran.err);
    let ran = place.run(&mut place.amend("report nowhere"));
    assert_eq!(ran.code, Some(2));
    place.write("run/audit.json", "[]");
    let ran = place.run(&mut place.amend("report run"));
    assert_eq!(ran.code, Some(3));
    assert!(ran.err.contains("failed to parse run/audit.json"), "{}", ran.err);
}

#[test]
fn hostile_content_is_shown_and_never_runs() {
    let Some(browser) = Browser::start() else { return };
    let place = Place::new();
    let all = HOSTILE.join("\n");
    let one = |text: &str| Words {
        prompt: text.to_owned(),
        answer: format!("{text} before"),
        critique: text.to_owned(),
        revision: format!("{text} after"),
        category: text.to_owned(),
    };
    let mut items: Vec<Words> = HOSTILE.iter().map(|text| one(text)).collect();
    // The fiftieth item fails, and its failure holds the text.
    items.extend((0..41).map(|_| one(&all)));
    let page = page(&place, &all, &items);
    browser.open(&page, "");
    // Open, sort and search all items.
    let shown = browser.wait(
        "document.getElementById('open').click();
         const sort = document.getElementById('sort');
         sort.value = 'low'; sort.dispatchEvent(new Event('change'));
         const search = document.getElementById('search');
         const found = [];
         for (const words of ['<nothing>', '<script>window.pwned {{']) {
           search.value = words; search.dispatchEvent(new Event('input'));
           await new Promise((resolve) => setTimeout(resolve, 500));
           found.push(document.getElementById('shown').textContent);
         }
         return found",
    );
    assert_eq!(shown, json!(["0 of 50 items", "50 items"]));
    assert_eq!(browser.run("return window.pwned ?? null"), json!(null));

    // The page has only the elements that the templates write.
    let elements = browser.run(
        "const names = new Set();
         for (const one of document.querySelectorAll('*')) {
           names.add(one.localName);
           for (const { name } of one.attributes) if (name.startsWith('on')) names.add('@' + name);
         }
         return [...names].sort().join(' ')",
    );
    assert_eq!(
        elements,
        "a bdi body button dd del details div dl dt figcaption figure form h1 h2 h3 head header html \
         input ins kbd label main meta nav option p path rect script section select small span \
         strong style summary svg table tbody td text th thead title tr"
    );
    assert_eq!(browser.run("return document.scripts.length"), 1);
    let links =
        browser.run("return [...document.links].every((a) => a.getAttribute('href')[0] === '#')");
    assert_eq!(links, true);

    // The texts are unchanged, except for characters that HTML can't hold.
    let prompts = browser.run(
        "const rows = [...document.querySelectorAll('.item')].filter((item) => item.dataset.row <= 9);
         rows.sort((a, b) => a.dataset.row - b.dataset.row);
         return rows.map((item) => ['.prompt', '.critique', 'del', 'ins']
           .map((name) => item.querySelector(name).textContent))",
    );
    for (found, text) in prompts.as_array().unwrap().iter().zip(HOSTILE) {
        let text = text.replace("\r\n", "\n").replace('\r', "\n").replace('\0', "\u{fffd}");
        assert_eq!(found[0], text.as_str());
        assert_eq!(found[1], text.as_str());
        assert_eq!((&found[2], &found[3]), (&json!("before"), &json!("after")), "{text}");
    }
    assert_eq!(browser.console(), Vec::<String>::new());

    // The policy blocks a script that gets into the page.
    browser.run(
        "const script = document.createElement('script');
         script.textContent = 'window.pwned = 8';
         document.body.append(script);
         document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.pwned = 9\">')",
    );
    assert_eq!(browser.run("return window.pwned ?? null"), json!(null));
    let console = browser.console();
    assert!(console.iter().any(|line| line.contains("Content Security Policy")), "{console:?}");
}

#[test]
fn keyboard_searches_sorts_and_opens_items() {
    let Some(browser) = Browser::start() else { return };
    let place = Place::new();
    let mut items: Vec<Words> = (1..=60).map(ordinary).collect();
    items[41].answer.push_str(" Quokka");
    let page = page(&place, "", &items);
    browser.open(&page, "");
    let shown = || {
        browser.wait("await new Promise((r) => setTimeout(r, 200)); return document.getElementById('shown').textContent")
    };
    assert_eq!(shown(), "60 items");
    browser.press(&["/", "q", "u", "o", "k", "k", "a"]);
    assert_eq!(shown(), "1 of 60 items");
    // Escape clears the search; j goes to the next item, and Enter opens it.
    browser.press(&["\u{e00c}"]);
    assert_eq!(shown(), "60 items");
    browser.press(&["j", "j", "\u{e007}"]);
    let open =
        "return [...document.querySelectorAll('.item[open]')].map((item) => item.dataset.row)";
    assert_eq!(browser.run(open), json!(["2"]));
    // The changes are marked, and both texts can be read from the marks.
    let marked = browser.run(
        "const text = document.querySelector('.item[open] .answer:has(ins)');
         const without = (name) => {
           const copy = text.cloneNode(true);
           copy.querySelectorAll(name).forEach((one) => one.remove());
           return copy.textContent;
         };
         return [without('ins'), without('del')]",
    );
    assert_eq!(marked, json!([items[1].answer, items[1].revision]));

    let choose = |id: &str, value: &str| {
        browser.run(&format!(
            "const select = document.getElementById('{id}');
             select.value = '{value}'; select.dispatchEvent(new Event('change'))"
        ));
        shown()
    };
    // Items 7, 14, …, 56; the failed item has a verdict too.
    assert_eq!(choose("verdict", "undecided"), "8 of 60 items");
    assert_eq!(choose("verdict", "*"), "60 items");
    assert_eq!(choose("outcome", "failed"), "1 of 60 items");
    assert_eq!(choose("outcome", "*"), "60 items");
    let law = browser.run("return [...document.querySelectorAll('#category option')].find((o) => o.text === 'law').value");
    assert_eq!(choose("category", law.as_str().unwrap()), "20 of 60 items");
    choose("category", "*");
    choose("sort", "high");
    let margins = browser.run(
        "return [...document.querySelectorAll('.item')].map((item) => Number(item.dataset.margin))",
    );
    let margins: Vec<f64> =
        margins.as_array().unwrap().iter().filter_map(|one| one.as_f64()).collect();
    assert!(margins.len() == 60 && margins.is_sorted_by(|a, b| a >= b), "{margins:?}");

    // A link to an item opens it.
    let key = browser.run("return document.querySelector('.item[data-row=\"42\"]').id");
    browser.open(&page, &format!("#{}", key.as_str().unwrap()));
    assert_eq!(browser.run(open), json!(["42"]));
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn page_of_a_thousand_items_is_small_and_fast() {
    let place = Place::new();
    let items: Vec<Words> = (1..=1000).map(ordinary).collect();
    let page = page(&place, "", &items);
    let size = std::fs::metadata(&page).unwrap().len();
    let Some(browser) = Browser::start() else { return };
    // The fastest of several loads, to leave out the load of the machine.
    let ready = (0..5)
        .map(|_| {
            browser.open(&page, "");
            let event = "return performance.getEntriesByType('navigation')[0].loadEventEnd";
            browser.run(event).as_f64().unwrap()
        })
        .fold(f64::INFINITY, f64::min);
    let search = browser.wait(
        "const [shown, before] = [document.getElementById('shown'), performance.now()];
         const search = document.getElementById('search');
         search.value = 'balo kiki'; search.dispatchEvent(new Event('input'));
         while (shown.textContent === '1,000 items') await new Promise((r) => setTimeout(r, 1));
         return performance.now() - before",
    );
    let search = search.as_f64().unwrap();
    eprintln!("1,000 items: {size} bytes, loaded after {ready:.0} ms, searched in {search:.0} ms");
    assert!(size < 5_100_000, "{size} bytes");
    assert!(ready < 1000.0, "{ready} ms");
    assert!(search < 1000.0, "{search} ms");
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn report_shows_a_run_of_a_model() {
    let place = Place::new();
    place.write("in.jsonl", "{\"prompt\": \"Why is the sky blue?\", \"category\": \"physics\"}\n");
    let ran = place.run(&mut place.small("run in.jsonl --out run"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let ran = place.run(&mut place.amend("report run --out -"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for part in [
        "<title>amend run: small</title>",
        "<bdi class=\"headline\">Why is the sky blue?</bdi>",
        "First answer r0",
        "<span class=\"principle\" title=\"The answer is kind.\">Kindness</span>",
        "Revision r1",
        "<bdi>physics</bdi>",
    ] {
        assert!(ran.out.contains(part), "{part}\n{}", ran.out);
    }
}
