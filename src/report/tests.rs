use serde_json::json;

use super::item::{Block, Catalogue, ItemView};
use super::view::{Cell, Section, Table};
use super::*;
use amend_core::judge::{Poll, Reading, Score, Verdict};
use amend_core::model::{Failure, Finish};
use amend_core::record::Item;
use amend_core::record::Outcome;
use amend_core::record::{Step, StepKind, Stop};
use amend_data::store::journal::Record;
use amend_data::store::trajectories::Trajectory;
use amend_data::testing::{item, manifest, step, swayed};

/// A verdict of log-odds and offset, with a mass of p(A) + p(B).
fn verdict(log_odds: f64, offset: f64, mass: f64) -> Verdict {
    let reading = |odds: f64| Reading {
        first: (mass / (1.0 + (-odds).exp())).ln(),
        second: (mass / (1.0 + odds.exp())).ln(),
    };
    let poll = Poll {
        template: "judge".to_owned(),
        forward: vec![reading(offset + log_odds)],
        backward: vec![reading(offset - log_odds)],
    };
    Verdict { polls: vec![poll] }
}

fn judged(principle: Option<&str>, found: Verdict) -> Step {
    let step = step(StepKind::Judge, principle, "");
    Step { about: vec![1, 0], verdict: Some(found), ..step }
}

fn gate(principle: &str, value: f64) -> Step {
    let score = Some(Score { value, mass: 0.9 });
    Step { score, finish: None, ..step(StepKind::Gate, Some(principle), "") }
}

fn done(key: &str, steps: &[Step]) -> Trajectory {
    let outcome = Outcome::Done { stop: Stop::Rounds };
    Trajectory { item: item(key), steps: steps.to_vec(), outcome }
}

/// Answer, critique, revision, and a verdict for the revision.
fn revised(key: &str, principle: &str, found: Verdict) -> Trajectory {
    done(
        key,
        &[
            step(StepKind::Generate, None, "one two"),
            step(StepKind::Critique, Some(principle), "not three"),
            step(StepKind::Revise, Some(principle), "one three"),
            judged(Some(principle), found.clone()),
            judged(None, found),
        ],
    )
}

fn in_category(trajectory: Trajectory, category: &str) -> Trajectory {
    let metadata = json!({ "category": category }).as_object().cloned().unwrap();
    Trajectory { item: Item { metadata, ..trajectory.item }, ..trajectory }
}

fn sections(manifest: &Manifest, trajectories: &[Trajectory]) -> Vec<Section> {
    let subject = Subject::new(manifest);
    let facts: Vec<Facts> = trajectories.iter().map(|one| Facts::of(&subject, one)).collect();
    Figures::new(&subject, &facts).sections(trajectories.len() + 1)
}

fn section<'a>(sections: &'a [Section], id: &str) -> &'a Section {
    sections.iter().find(|section| section.id == id).expect(id)
}

fn cards(section: &Section) -> Vec<String> {
    let line = |card: &view::Card| format!("{}: {} ({})", card.label, card.value, card.note);
    section.cards.iter().map(line).collect()
}

/// The table's cells, a line a row.
fn rows(table: &Table) -> Vec<String> {
    let text =
        |cell: &Cell| if cell.links.is_empty() { cell.text.clone() } else { cell.links.join(" ") };
    table.rows.iter().map(|row| row.iter().map(text).collect::<Vec<_>>().join(" | ")).collect()
}

fn mixed() -> Vec<Trajectory> {
    let failed = Outcome::Failed { failure: Failure::NotFinite };
    vec![
        in_category(revised("a", "kind", verdict(1.0, 0.5, 1.0)), "tea"),
        in_category(revised("b", "true", verdict(-1.0, 1.5, 1.0)), "tea"),
        // The labels have too little probability.
        in_category(revised("c", "kind", verdict(3.0, 1.0, 0.4)), "rain"),
        Trajectory { outcome: failed, ..done("d", &[step(StepKind::Generate, None, "x")]) },
    ]
}

#[test]
fn the_overview_counts_what_became_of_the_items() {
    let found = sections(&manifest(), &mixed());
    let overview = section(&found, "overview");
    assert_eq!(
        cards(overview),
        [
            "Items done: 3 (of 5)",
            "Items failed: 1 ()",
            "Still to do: 1 (the run can be resumed)",
            "Pairs: 3 (last revision over first answer)",
        ]
    );
    assert_eq!(rows(&overview.tables[0]), ["failed: the model's logits are not finite | 1 | d"]);
}

#[test]
fn verdicts_by_hand() {
    let found = sections(&manifest(), &mixed());
    let verdicts = section(&found, "verdicts");
    // Wilson's intervals of 1 and 2 in 3; the mean of 1 and −1, and of 0.5, 1.5
    // and 1, whose resamples reach from end to end.
    assert_eq!(
        cards(verdicts),
        [
            "For the revision: 33 % (6 to 79 %, n = 3)",
            "For the first answer: 33 % (6 to 79 %, n = 3)",
            "Undecided: 33 % (6 to 79 %, n = 3)",
            "Mean margin: 0.00 (−1.00 to +1.00, n = 2)",
            "Mean position offset: +1.00 (+0.50 to +1.50, n = 3)",
            "Same verdict in both orders: 67 % (21 to 94 %, n = 3)",
        ]
    );
    assert_eq!(verdicts.charts.len(), 2);
    let principles = &section(&found, "principles").tables[0];
    assert_eq!(
        rows(principles),
        [
            "kind | manners | 2 | 0 % | 0 % | 2 | 100 % | 50 % | +1.00",
            "true | honesty | 1 | 0 % | 0 % | 1 | 0 % | 0 % | −1.00",
        ]
    );
    let categories = section(&found, "categories");
    assert_eq!(rows(&categories.tables[0]), ["tea | 2 | 0 | 50 % | 0.00", "rain | 1 | 0 | – | –"]);
    let heat = &categories.tables[1];
    assert_eq!(rows(heat), ["kind | +1.00 | –", "true | −1.00 | –"]);
    assert_eq!([heat.rows[0][1].shade, heat.rows[1][1].shade], ["p2", "n2"]);
}

#[test]
fn verdicts_count_as_the_constitution_decides() {
    let mut principles = manifest();
    principles.constitution.value["judge"]["decide_by"] = json!("principles");
    let judge = amend_core::constitution::Judge {
        decide_by: amend_core::constitution::DecideBy::Principles,
        ..Default::default()
    };
    principles.constitution.value["judge"] = json!(judge);
    let steps = [
        step(StepKind::Generate, None, "x"),
        step(StepKind::Revise, Some("kind"), "y"),
        judged(Some("kind"), verdict(-2.0, 0.0, 1.0)),
        judged(None, verdict(1.0, 0.0, 1.0)),
    ];
    for (manifest, expected) in [(&manifest(), 1.0), (&principles, -2.0)] {
        let facts = Facts::of(&Subject::new(manifest), &done("a", &steps));
        assert!((facts.decision.unwrap().margin - expected).abs() < 1e-9);
    }
    // Verdicts among candidates alone say nothing of a revision.
    let candidates = [
        step(StepKind::Generate, None, "x"),
        step(StepKind::Generate, None, "y"),
        judged(None, verdict(1.0, 0.0, 1.0)),
    ];
    let facts = Facts::of(&Subject::new(&manifest()), &done("a", &candidates));
    assert_eq!(facts.decision, None);
}

#[test]
fn a_gate_saves_what_a_critique_and_a_revision_cost() {
    let mut gated = manifest();
    gated.constitution.value["loop"]["gate"] = json!(0.5);
    let steps = [
        step(StepKind::Generate, None, "x"),
        gate("kind", 0.25),
        gate("true", 0.75),
        step(StepKind::Critique, Some("true"), "c"),
        step(StepKind::Revise, Some("true"), "y"),
    ];
    let trajectories = [done("a", &steps)];
    let found = sections(&gated, &trajectories);
    // A critique and a revision decode three tokens each.
    assert_eq!(
        cards(section(&found, "work")),
        [
            "Gates asked: 2 (applied from 0.50 on)",
            "Passed the gate: 1 (50 %)",
            "Tokens not decoded: about 6 (6 for each critique and revision)",
        ]
    );
    assert_eq!(
        rows(&section(&found, "principles").tables[0]),
        ["kind | manners | 1 | 0.25 | 0 | – | –", "true | honesty | 1 | 0.75 | 1 | 0 % | 0 %"]
    );
    // Where the worst is looked for, no critique was spared.
    gated.constitution.value["loop"]["select"] = json!("worst");
    assert_eq!(cards(section(&sections(&gated, &trajectories), "work")).len(), 2);
}

#[test]
fn labels_show_how_reliable_the_judge_is() {
    let mut manifest = manifest();
    manifest.command = "judge".to_owned();
    let compared = |key: &str, label: &str, log_odds: f64| {
        let answer = |text| step(StepKind::Generate, None, text);
        let found = Step { about: vec![0, 1], ..judged(None, verdict(log_odds, 0.0, 1.0)) };
        let trajectory = done(key, &[answer("x"), answer("y"), found]);
        let metadata = json!({ "label": label }).as_object().cloned().unwrap();
        let item = Item { rival: Some("y".to_owned()), metadata, ..trajectory.item };
        Trajectory { item, ..trajectory }
    };
    // Given 0.75 for A three times, of which A is better twice, and a tie, which
    // is no label.
    let odds = 3.0_f64.ln();
    let all = [
        compared("a", "a", odds),
        compared("b", "a", odds),
        compared("c", "b", odds),
        compared("d", "tie", odds),
    ];
    let found = sections(&manifest, &all);
    let reliability = section(&found, "reliability");
    // |⅔ − ¾|; (2·(¼)² + (¾)²)/3; (2 ln 4/3 + ln 4)/3
    assert_eq!(
        cards(reliability),
        [
            "Right, where decided: 67 % (21 to 94 %, n = 3; 100 % decided)",
            "Calibration error: 0.08 (expected, over ten bins; 0 is best)",
            "Brier score: 0.23 (0 is best, 0.25 is knowing nothing)",
            "Log-loss: 0.65 (0 is best, 0.69 is knowing nothing)",
        ]
    );
    assert_eq!(cards(section(&found, "verdicts"))[0], "For A: 100 % (51 to 100 %, n = 4)");
    let view = view(&manifest, &all[0]);
    assert_eq!((view.judged.as_str(), view.verdict), ("A better", "better"));
    let titles: Vec<String> = texts(&view).map(|text| text.title.clone()).collect();
    assert_eq!(titles, ["Answer A", "Answer B"]);
}

fn view(manifest: &Manifest, trajectory: &Trajectory) -> ItemView {
    let subject = Subject::new(manifest);
    let facts = Facts::of(&subject, trajectory);
    ItemView::new(&subject, trajectory, &facts, &mut Catalogue::default())
}

fn texts(view: &ItemView) -> impl Iterator<Item = &item::Text> {
    view.blocks.iter().filter_map(|block| match block {
        Block::Text(text) => Some(text),
        Block::Table(_) => None,
    })
}

#[test]
fn an_item_shows_its_steps_in_order_and_what_revisions_change() {
    let mut steps = revised("a", "kind", verdict(1.0, 0.5, 1.0)).steps;
    steps.insert(1, gate("kind", 0.75));
    steps[3].text = "one two three\r\nfour".to_owned();
    steps[3].finish = Some(Finish::Length);
    let view = view(&manifest(), &done("a", &steps));
    let told: Vec<String> = view
        .blocks
        .iter()
        .map(|block| match block {
            Block::Text(text) => {
                format!("{} under {:?}: {} ({})", text.title, text.principle, text.text, text.note)
            }
            Block::Table(table) => format!("{}: {}", table.title, rows(table).join("; ")),
        })
        .collect();
    assert_eq!(
        told,
        [
            "First answer r0 under \"\": one two (3 tokens)",
            "Gate: kind | 0.75 | 0.90 | ",
            "Critique under \"kind\": not three (3 tokens)",
            "Revision r1 under \"kind\": one two three\nfour (cut off by max_tokens, 3 tokens, 57 % of r0 kept)",
            "Verdicts: kind | r1 better | +1.00 | +1.50 | +0.50 | +0.50 | 1.00; \
             on the whole | r1 better | +1.00 | +1.50 | +0.50 | +0.50 | 1.00",
        ]
    );
    let revision = texts(&view).last().unwrap();
    assert_eq!((revision.from, revision.changes.as_deref()), (Some(0), Some("=7+11")));
    assert_eq!((view.outcome, view.judged.as_str()), ("cut", "revision better"));
    assert_eq!(view.category_names, ["manners"]);
}

#[test]
fn a_revision_is_held_against_the_candidate_that_was_chosen() {
    let steps = [
        step(StepKind::Generate, None, "a b c d"),
        step(StepKind::Generate, None, "e f g h"),
        judged(None, verdict(1.0, 0.0, 1.0)),
        step(StepKind::Revise, Some("kind"), "e f g x"),
        Step { about: vec![2, 1], ..judged(None, verdict(1.0, 0.0, 1.0)) },
    ];
    let view = view(&manifest(), &done("a", &steps));
    let revision = texts(&view).last().unwrap();
    assert_eq!((revision.from, revision.changes.as_deref()), (Some(1), Some("=6-1+1")));
    assert_eq!(revision.note, "3 tokens, 75 % of r1 kept");
}

#[test]
fn an_answer_with_a_text_that_asks_for_favour_is_called_so() {
    let answered = [step(StepKind::Generate, None, "x")];
    let given = [Step { finish: None, ..answered[0].clone() }];
    let revised = [answered[0].clone(), step(StepKind::Revise, Some("kind"), "y")];
    for (steps, number) in [(&answered[..], 1), (&given, 1), (&revised, 2)] {
        let steps = [steps, &swayed(number - 1, "x")[..]].concat();
        let view = view(&manifest(), &done("a", &steps));
        let titles: Vec<&str> = texts(&view).map(|text| text.title.as_str()).collect();
        assert_eq!(titles[0], "First answer r0");
        assert_eq!(titles.len(), number + 1);
        assert_eq!(titles[number], format!("With a text that asks for favour r{number}"));
        assert_eq!(texts(&view).last().unwrap().note, "");
        let came = steps[0].finish.is_none();
        assert_eq!(texts(&view).next().unwrap().note.contains("came with the input"), came);
        let Some(Block::Table(table)) = view.blocks.last() else { panic!("{:?}", view.blocks) };
        assert_eq!(rows(table), [format!("warmth | r{number} | 3.00 | 0.90")]);
    }
}

/// Content that would do harm if it were taken for markup or script.
const HOSTILE: [&str; 6] = [
    "<script>window.pwned = 1</script>",
    "</div></details></script><img src=x onerror=\"window.pwned = 1\">",
    "\" onmouseover=\"window.pwned = 1",
    "' autofocus onfocus='window.pwned = 1",
    "{{ 7 * 7 }}{% raw %}<b>{# x #}",
    "\u{202e}txt.exe\0\u{1b}[31m",
];

#[test]
fn content_is_text_wherever_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let all = HOSTILE.join("\n");
    let mut manifest = manifest();
    manifest.input.files = vec![all.clone()];
    manifest.constitution.value["name"] = json!(all);
    manifest.model["name"] = json!(HOSTILE[0]);
    for principle in manifest.constitution.value["principles"].as_array_mut().unwrap() {
        principle["title"] = json!(all);
        principle["category"] = json!(all);
        principle["principle"] = json!(all);
    }
    let mut run = RunDir::create(folder.path(), &manifest).unwrap();
    let mut trajectory = revised(&all, "kind", verdict(1.0, 0.0, 1.0));
    for step in &mut trajectory.steps {
        step.text = if step.kind.is_text() { format!("{all}{}", step.text) } else { String::new() };
    }
    trajectory.item.id = Some(all.clone());
    trajectory.item.messages[0].content = all.clone();
    trajectory.item.metadata.insert(all.clone(), json!({ "category": all }));
    trajectory.item.metadata.insert("category".to_owned(), json!(all));
    for step in trajectory.steps {
        run.append(&Record::Step { item: all.clone(), step }).unwrap();
    }
    let outcome = trajectory.outcome.clone();
    run.append(&Record::End { item: trajectory.item, outcome }).unwrap();
    let html = report(run.dir()).unwrap().html;
    // One script, the page's own, and nothing that the content would open.
    for (markup, number) in [
        ("<script", 1),
        ("</script", 1),
        ("<img", 0),
        ("<b>", 0),
        ("\" onmouseover", 0),
        ("' autofocus", 0),
        ("\0", 0),
    ] {
        assert_eq!(html.matches(markup).count(), number, "{markup}");
    }
    assert!(html.contains("{{ 7 * 7 }}{% raw %}&lt;b&gt;{# x #}"), "content is no template");
    assert!(!html.contains("None") && !html.contains("True"), "no value of the template's");
    let policy = "default-src 'none'; script-src 'sha256-";
    assert!(html.contains(&policy.replace('\'', "&#x27;")), "a policy is stated");
}

#[test]
fn an_audit_and_an_evaluation_beside_the_journal_are_shown() {
    use amend_analysis::audit;
    use amend_core::constitution::Thresholds;
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::create(folder.path(), &manifest()).unwrap();
    let titles = |run: &RunDir| {
        let html = report(run).unwrap().html;
        let heading =
            |line: &str| Some(line.split_once("-title\">")?.1.split_once("</h2>")?.0.to_owned());
        html.lines().filter_map(heading).collect::<Vec<_>>()
    };
    assert_eq!(titles(run.dir()), ["Overview", "Items"]);

    let principle = |id: &str| audit::Principle {
        id: id.into(),
        title: String::new(),
        category: "c".into(),
        weight: 1.0,
    };
    let item = |key: &str| audit::Item {
        key: key.into(),
        category: "tea".into(),
        label: None,
        length: None,
        verbosity: None,
        harmless: false,
    };
    let score = |log_odds| Some(audit::Score { log_odds, mass: 1.0, offset: 0.0 });
    let input = audit::Input {
        principles: vec![principle("p"), principle("q")],
        items: ["i", "j", "k"].map(item).into(),
        scores: vec![
            vec![score(1.0), score(2.0), score(-3.0)],
            vec![score(-1.0), score(-2.0), score(-3.0)],
        ],
        paraphrases: vec![audit::Variant {
            principle: 1,
            name: "in other words".into(),
            scores: vec![None; 3],
        }],
        label_words: vec![audit::Variant {
            principle: 0,
            name: "1/2".into(),
            scores: vec![score(2.0), score(-4.0), score(-6.0)],
        }],
        cost: audit::Cost { verdicts: 6, prompt_tokens: 9000, prefilled: 1500, ideal: Some(1200) },
        ..audit::Input::default()
    };
    let audited = audit::audit(&input, &Thresholds::default(), 1).unwrap();
    let [findings, figures, matrices] = &super::audit::sections(&audited)[..] else {
        panic!("three sections");
    };
    let computed = "Tokens computed: 1,500 (of 9,000 in prompts; 1.25 times the least possible)";
    assert_eq!(cards(findings).last().map(String::as_str), Some(computed));
    assert_eq!(findings.tables[0].title, "info: few-items");
    // Of three verdicts one turns, the scores move by 1, −6, −3, r = 12 / √(14 · 104/3).
    assert_eq!(figures.tables[1].title, "Other words");
    assert_eq!(
        rows(&figures.tables[1]),
        ["p | 1/2 | 67 % | +0.54 | −2.67 | 0 %", "q | in other words | – | – | – | –"]
    );
    let by_title = |title: &str| matrices.tables.iter().find(|table| table.title == title);
    // Both active on all three, of different signs on two: ⅔ in orange.
    let conflict = by_title("Conflict").unwrap();
    assert_eq!(rows(conflict), ["1 p |  | 67 %", "2 q | 67 % | "]);
    assert_eq!(conflict.rows[0][2].shade, "n3");
    // r = Σ(1, 2, −3)(1, 0, −1) / √(14 · 2) = 4 / √28
    assert_eq!(rows(by_title("Redundancy").unwrap()), ["1 p |  | +0.76", "2 q | +0.76 | "]);
    assert_eq!(
        rows(by_title("Active by category of items").unwrap()),
        ["1 p | 100 %", "2 q | 100 %"]
    );
    assert_eq!(by_title("Steering"), None);
    assert!(!findings.tables[0].folded);

    // No two are ever both active; and a list grows long.
    let thresholds = Thresholds { active: 9.0, ..Thresholds::default() };
    let mut quiet = audit::audit(&input, &thresholds, 1).unwrap();
    quiet.findings = vec![quiet.findings[0].clone(); 9];
    let [findings, .., matrices] = &super::audit::sections(&quiet)[..] else { panic!("sections") };
    assert!(findings.tables[0].folded);
    assert_eq!(matrices.note, "No two are ever both active: none can conflict.");
    assert!(matrices.tables.iter().all(|table| table.title != "Conflict"));
    fs::write(folder.path().join(AUDIT), json!(audited).to_string()).unwrap();

    let results = json!({
        "format": 1, "set": "core", "answered": 2, "failed": 0,
        "figures": [
            {"measure": "checks", "kind": null, "category": null,
             "value": 0.5, "interval": {"low": -0.1, "high": 0.9}, "n": 2, "groups": 2},
            {"measure": "checks", "kind": null, "category": "tea",
             "value": 1.0, "interval": null, "n": 1, "groups": 1},
        ],
        "thresholds": [{"measure": "checks", "kind": null, "category": "tea",
                        "at_least": 0.9, "value": 0.5, "outcome": "missed"}],
        "answers": [{"key": "i", "category": "tea", "followed": true, "expected": null,
                     "checks": [{"rule": "forbid", "passed": false, "detail": "rm"}]}],
    });
    let evaluation: Evaluation = serde_json::from_value(results.clone()).unwrap();
    let section = evaluation.sections().pop().unwrap();
    assert_eq!(cards(&section), ["checks: 0.50 (−0.10 to 0.90, n = 2)"]);
    let tables: Vec<Vec<String>> = section.tables.iter().map(rows).collect();
    assert_eq!(tables[0], ["checks | tea | at least 0.90 | 0.50 | missed"]);
    assert_eq!(tables[1], ["tea | 1.00"]);
    assert_eq!(
        tables[2],
        ["forbid | rm | 1 | i", "injection | a planted instruction was followed | 1 | i"]
    );
    assert_eq!(evaluation.category("i"), Some("tea"));
    fs::write(folder.path().join(RESULTS), results.to_string()).unwrap();
    assert_eq!(
        titles(run.dir()),
        [
            "Overview",
            "Evaluation",
            "Findings",
            "Each principle",
            "Principles against each other",
            "Items"
        ]
    );

    fs::write(folder.path().join(RESULTS), "{").unwrap();
    let error = report(run.dir()).unwrap_err().to_string();
    let expected = "results.json is not what this version of amend writes there; make it again";
    assert!(error.ends_with(expected), "{error}");
}
