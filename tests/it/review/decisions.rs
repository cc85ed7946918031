//! The effects of decisions on other reviewers, on exports and on judge evaluation.

use serde_json::{Value, json};

use super::{Served, decision, place, reviews};
use crate::common::Place;
use crate::common::made::{self, Words, ordinary};

#[test]
fn reviewers_share_the_items_and_their_agreement_is_reported() {
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
            // Chooses an answer, on whichever side it is shown.
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
    // All items that ada did not review, and about half of hers.
    assert_eq!(bob.len(), 10 + both);
    assert!((7..=23).contains(&both), "{both}");
    let sides = reviews(&place);
    for reviewer in ["ada", "bob"] {
        let mine = sides.iter().filter(|one| one.reviewer == reviewer);
        let (left, all) =
            mine.fold((0, 0), |(left, all), one| (left + usize::from(one.left == 1), all + 1));
        assert!(left == all / 2 || left == all.div_ceil(2), "{reviewer}: {left} of {all}");
    }

    // No item is left for a third reviewer without an overlap.
    let ran = place.run(&mut place.amend("review run --reviewer eve --overlap 0"));
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""));
    assert!(ran.err.starts_with("there is nothing to review: "), "{}", ran.err);

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

#[test]
fn export_fails_until_required_reviews_exist() {
    let place = Place::new();
    let items: Vec<Words> = (1..=6).map(ordinary).collect();
    // Rows 1 and 4 are revised under the second principle, which requires a review.
    made::write_governed(&place.path("run"), "", &items, &["honesty "]);
    for format in ["trl", "kto", "sft", "sft-steps", "trajectories"] {
        let ran = place.run(&mut place.amend(&format!("export run --format {format} -o out")));
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{format}");
        assert!(!place.path("out").exists(), "{format}");
        let [one, two] = [1, 4].map(|row: usize| format!("item {row} {}", items[row - 1].category));
        assert_eq!(
            ran.err,
            format!(
                "error: the constitution requires reviews, but these items have none:\n  {one}\n  \
                 {two}\nhelp: review them with amend review, then export again\n"
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
        assert_eq!(
            (ran.code, ran.err.as_str()),
            (Some(code), "6 pairs written\nnext: amend lint out\n")
        );
    }
    let ran = place.run(&mut place.amend("export run --reviews ignore -o other"));
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(!place.path("other").exists());
}

#[test]
fn decisions_evaluate_the_judge_and_appear_in_the_report() {
    let place = Place::new();
    // The texts are short because the model reads them.
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
        "error: no pair of run is reviewed\nhelp: review pairs first: amend review run\n"
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
    // All decisions except the one that finds both answers bad.
    assert_eq!(labels.len(), 6);
    assert_eq!(labels.iter().filter(|label| **label == "tie").count(), 1);
    assert!(labels.iter().all(|label| label.is_string()), "{labels:?}");
    assert!(ran.err.contains("6 rows judged"), "{}", ran.err);
    assert!(ran.err.contains(", 1 tie)"), "{}", ran.err);

    let ran = place.run(&mut place.amend("report run --out -"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for part in
        [">Reviews</h2>", "<dt>Items decided</dt>", "Agreement with the judge", "reviewers, judge"]
    {
        assert!(ran.out.contains(part), "{part}");
    }
}
