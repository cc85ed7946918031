use serde_json::json;

use super::item::{Block, Catalogue, ItemView};
use super::view::{Cell, Section, Table};
use super::*;
use amend_core::constitution::{DecideBy, Select};
use amend_core::judge::{Poll, Reading, RubricScore, Verdict};
use amend_core::model::{Failure, Finish, Usage};
use amend_core::record::{Item, Outcome, Step, StepKind, Stop};
use amend_core::stats::sigmoid;
use amend_data::store::journal::Record;
use amend_data::store::trajectories::Trajectory;
use amend_data::testing::{injection_steps, item, manifest, step};

/// A verdict with these log-odds and this position offset, and a mass of
/// p(A) + p(B).
fn verdict(log_odds: f64, offset: f64, mass: f64) -> Verdict {
    let reading = |odds: f64| Reading {
        first: (mass * sigmoid(odds)).ln(),
        second: (mass * sigmoid(-odds)).ln(),
        tie: None,
    };
    let poll = Poll {
        template: "judge".to_owned(),
        forward: vec![reading(offset + log_odds)],
        backward: vec![reading(offset - log_odds)],
        opposite: None,
    };
    Verdict { polls: vec![poll] }
}

fn judged(principle: Option<&str>, verdict: Verdict) -> Step {
    let step = step(StepKind::Judge, principle, "");
    Step { about: vec![1, 0], verdict: Some(verdict), ..step }
}

fn gate(principle: &str, value: f64) -> Step {
    let score = Some(RubricScore { value, mass: 0.9 });
    Step { score, finish: None, ..step(StepKind::Gate, Some(principle), "") }
}

fn done(key: &str, steps: &[Step]) -> Trajectory {
    let outcome = Outcome::Done { stop: Stop::Rounds };
    Trajectory { item: item(key), steps: steps.to_vec(), outcome }
}

/// Answer, critique, revision, and a verdict for the revision.
fn revised(key: &str, principle: &str, verdict: Verdict) -> Trajectory {
    done(
        key,
        &[
            step(StepKind::Generate, None, "one two"),
            step(StepKind::Critique, Some(principle), "not three"),
            step(StepKind::Revise, Some(principle), "one three"),
            judged(Some(principle), verdict.clone()),
            judged(None, verdict),
        ],
    )
}

fn in_category(trajectory: Trajectory, category: &str) -> Trajectory {
    let metadata = json!({ "category": category }).as_object().cloned().unwrap();
    Trajectory { item: Item { metadata, ..trajectory.item }, ..trajectory }
}

fn sections(manifest: &Manifest, trajectories: &[Trajectory]) -> Vec<Section> {
    let subject = Subject::new(manifest);
    let facts: Vec<ItemFacts> =
        trajectories.iter().map(|one| ItemFacts::new(&subject, one)).collect();
    RunFigures::new(&subject, &facts).sections(trajectories.len() + 1)
}

fn section<'a>(sections: &'a [Section], id: &str) -> &'a Section {
    sections.iter().find(|section| section.id == id).expect(id)
}

fn cards(section: &Section) -> Vec<String> {
    let line = |card: &view::FigureCard| format!("{}: {} ({})", card.label, card.value, card.note);
    section.cards.iter().map(line).collect()
}

/// The cells of a table, one line per row.
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
        // The labels have too little probability, so the verdict is undecided.
        in_category(revised("c", "kind", verdict(3.0, 1.0, 0.4)), "rain"),
        Trajectory { outcome: failed, ..done("d", &[step(StepKind::Generate, None, "x")]) },
    ]
}

#[test]
fn overview_counts_outcomes() {
    let page = sections(&manifest(), &mixed());
    let overview = section(&page, "overview");
    assert_eq!(
        cards(overview),
        [
            "Items done: 3 (of 5)",
            "Items failed: 1 ()",
            "Still to do: 1 (the run can be resumed)",
            "Pairs to export: 3 (last revision over first answer)",
        ]
    );
    assert_eq!(rows(&overview.tables[0]), ["failed: the model's logits are not finite | 1 | d"]);
}

#[test]
fn pairs_that_an_export_leaves_out_are_counted_by_reason() {
    let mut manifest = manifest();
    manifest.constitution.value.judge =
        amend_core::constitution::Judge { mass_floor: 0.5, ..Default::default() };
    let spoilt = done(
        "e",
        &[
            step(StepKind::Generate, None, "one two"),
            step(StepKind::Revise, Some("kind"), "one three [/answer 3f9c2a81]"),
            judged(None, verdict(1.0, 0.0, 1.0)),
        ],
    );
    let trajectories: Vec<Trajectory> = mixed().into_iter().chain([spoilt]).collect();
    let page = sections(&manifest, &trajectories);
    let overview = section(&page, "overview");
    assert!(cards(overview)[3].starts_with("Pairs to export: 1 "), "{:?}", cards(overview));
    let lost = rows(&overview.tables[0]);
    let expected = [
        "failed: the model's logits are not finite | 1 | d",
        "the judge is undecided | 1 | c",
        "the judge prefers the other side | 1 | b",
    ];
    assert!(expected.iter().all(|row| lost.contains(&(*row).to_owned())), "{lost:?}");
    let marks = lost.iter().find(|row| row.starts_with("delimiter-marks: ")).expect("no marks");
    assert!(marks.ends_with(" | 1 | e"), "{marks}");
}

#[test]
fn unfinished_items_are_counted_in_items_although_the_limit_counts_rows() {
    // Ten rows that each make two items; the run stopped after three.
    let folder = tempfile::tempdir().unwrap();
    let mut manifest = manifest();
    manifest.limit = Some(10);
    manifest.input.rows = 20;
    let mut run = RunDir::create(folder.path(), &manifest).unwrap();
    for trajectory in &mixed()[..3] {
        for step in trajectory.steps.clone() {
            run.append(&Record::Step { item: trajectory.item.key.clone(), step }).unwrap();
        }
        let (item, outcome) = (trajectory.item.clone(), trajectory.outcome.clone());
        run.append(&Record::End { item, outcome }).unwrap();
    }
    let html = report(run.dir()).unwrap().html;
    assert!(html.contains("<dt>Items done</dt><dd>3<small>of 20</small>"), "{html}");
    assert!(html.contains("<dt>Still to do</dt><dd>17<small>"), "{html}");
}

#[test]
fn verdict_figures_match_values_computed_by_hand() {
    let page = sections(&manifest(), &mixed());
    let verdicts = section(&page, "verdicts");
    // Wilson intervals of 1 and 2 in 3; bootstrap intervals of the mean of 1 and −1
    // and of the mean of 0.5, 1.5 and 1, which reach from the least to the greatest.
    assert_eq!(
        cards(verdicts),
        [
            "For the revision: 33 % (6 to 79 %, n = 3)",
            "For the first answer: 33 % (6 to 79 %, n = 3)",
            "Tie: 0 % (0 to 56 %, n = 3)",
            "Undecided: 33 % (6 to 79 %, n = 3)",
            "Mean margin: 0.00 (−1.00 to +1.00, n = 2)",
            "Mean position offset: +1.00 (+0.50 to +1.50, n = 3)",
            "Same verdict in both orders: 67 % (21 to 94 %, n = 3)",
        ]
    );
    assert_eq!(verdicts.charts.len(), 2);
    let principles = &section(&page, "principles").tables[0];
    assert_eq!(
        rows(principles),
        [
            "kind | manners | 2 | 0 % | 0 % | 2 | 100 % | 0 % | 50 % | +1.00",
            "true | honesty | 1 | 0 % | 0 % | 1 | 0 % | 0 % | 0 % | −1.00",
        ]
    );
    let categories = section(&page, "categories");
    assert_eq!(rows(&categories.tables[0]), ["tea | 2 | 0 | 50 % | 0.00", "rain | 1 | 0 | – | –"]);
    let heat = &categories.tables[1];
    assert_eq!(rows(heat), ["kind | +1.00 | –", "true | −1.00 | –"]);
    assert_eq!([heat.rows[0][1].shade, heat.rows[1][1].shade], ["p2", "n2"]);
}

#[test]
fn ties_are_shown_apart_from_undecided_verdicts() {
    let mut manifest = manifest();
    manifest.constitution.value.judge.min_margin = 2.0;
    let page = sections(&manifest, &mixed());
    let cards = cards(section(&page, "verdicts"));
    assert_eq!(cards[2], "Tie: 67 % (21 to 94 %, n = 3)");
    assert_eq!(cards[3], "Undecided: 33 % (6 to 79 %, n = 3)");
    let principles = &section(&page, "principles").tables[0];
    assert_eq!(rows(principles)[0], "kind | manners | 2 | 0 % | 0 % | 2 | – | 50 % | 50 % | –");
}

#[test]
fn constitution_says_which_verdicts_decide() {
    let mut principles = manifest();
    principles.constitution.value.judge.decide_by = DecideBy::Principles;
    let steps = [
        step(StepKind::Generate, None, "x"),
        step(StepKind::Revise, Some("kind"), "y"),
        judged(Some("kind"), verdict(-2.0, 0.0, 1.0)),
        judged(None, verdict(1.0, 0.0, 1.0)),
    ];
    for (manifest, expected) in [(&manifest(), 1.0), (&principles, -2.0)] {
        let facts = ItemFacts::new(&Subject::new(manifest), &done("a", &steps));
        assert!((facts.decision.unwrap().margin - expected).abs() < 1e-9);
    }
    // Verdicts among candidates say nothing about a revision.
    let candidates = [
        step(StepKind::Generate, None, "x"),
        step(StepKind::Generate, None, "y"),
        judged(None, verdict(1.0, 0.0, 1.0)),
    ];
    let facts = ItemFacts::new(&Subject::new(&manifest()), &done("a", &candidates));
    assert_eq!(facts.decision, None);
}

#[test]
fn passed_gate_saves_the_tokens_of_a_critique_and_a_revision() {
    let mut gated = manifest();
    gated.constitution.value.plan.gate = Some(0.5);
    let steps = [
        step(StepKind::Generate, None, "x"),
        gate("kind", 0.25),
        gate("true", 0.75),
        step(StepKind::Critique, Some("true"), "c"),
        step(StepKind::Revise, Some("true"), "y"),
    ];
    let trajectories = [done("a", &steps)];
    let page = sections(&gated, &trajectories);
    // A critique and a revision decode three tokens each.
    assert_eq!(
        cards(section(&page, "work")),
        [
            "Gates asked: 2 (a principle is applied at a violation of 0.50 or more)",
            "Passed the gate: 1 (50 %)",
            "Tokens saved by gates: about 6 (6 for each critique and revision)",
        ]
    );
    assert_eq!(
        rows(&section(&page, "principles").tables[0]),
        ["kind | manners | 1 | 0.25 | 0 | – | –", "true | honesty | 1 | 0.75 | 1 | 0 % | 0 %"]
    );
    // If gates only rank the principles, they save no critique.
    gated.constitution.value.plan.select = Select::Worst;
    assert_eq!(cards(section(&sections(&gated, &trajectories), "work")).len(), 2);
}

#[test]
fn labels_measure_the_reliability_of_the_judge() {
    let mut manifest = manifest();
    manifest.command = "judge".to_owned();
    let compared = |key: &str, label: &str, log_odds: f64| {
        let answer = |text| step(StepKind::Generate, None, text);
        let judged = Step { about: vec![0, 1], ..judged(None, verdict(log_odds, 0.0, 1.0)) };
        let trajectory = done(key, &[answer("x"), answer("y"), judged]);
        let metadata = json!({ "label": label }).as_object().cloned().unwrap();
        let item = Item { response_b: Some("y".to_owned()), metadata, ..trajectory.item };
        Trajectory { item, ..trajectory }
    };
    // The judge gives A 0.75 three times, and A is better twice. A tie is not counted.
    let odds = 3.0_f64.ln();
    let all = [
        compared("a", "a", odds),
        compared("b", "a", odds),
        compared("c", "b", odds),
        compared("d", "tie", odds),
    ];
    // The label is about the answers without the injection.
    let labels = [true, false].map(|injected| {
        let mut twin = compared("e", "a", odds);
        let metadata = json!({"label": "a", "injection": "x", "into": "b", "injected": injected});
        twin.item.metadata = metadata.as_object().cloned().unwrap();
        ItemFacts::new(&Subject::new(&manifest), &twin).label
    });
    assert_eq!(labels, [None, Some(true)]);
    let page = sections(&manifest, &all);
    let reliability = section(&page, "reliability");
    // |⅔ − ¾|; (2·(¼)² + (¾)²)/3; (2 ln 4/3 + ln 4)/3
    assert_eq!(
        cards(reliability),
        [
            "Accuracy, where decided: 67 % (21 to 94 %, n = 3; 100 % decided)",
            "Calibration error: 0.08 (expected calibration error over ten bins; 0 is best)",
            "Brier score: 0.23 (0 is best, 0.25 is chance)",
            "Log-loss: 0.65 (0 is best, 0.69 is chance)",
        ]
    );
    assert_eq!(cards(section(&page, "verdicts"))[0], "For A: 100 % (51 to 100 %, n = 4)");
    let view = view(&manifest, &all[0]);
    assert_eq!((view.judged.as_str(), view.verdict), ("A better", "better"));
    let titles: Vec<String> = texts(&view).map(|text| text.title.clone()).collect();
    assert_eq!(titles, ["Answer A", "Answer B"]);
}

fn view(manifest: &Manifest, trajectory: &Trajectory) -> ItemView {
    let subject = Subject::new(manifest);
    let facts = ItemFacts::new(&subject, trajectory);
    ItemView::new(&subject, trajectory, &facts, &mut Catalogue::default())
}

fn texts(view: &ItemView) -> impl Iterator<Item = &item::Text> {
    view.blocks.iter().filter_map(|block| match block {
        Block::Text(text) => Some(text),
        Block::Table(_) => None,
    })
}

#[test]
fn item_shows_its_steps_in_order_with_the_changes_of_revisions() {
    let mut steps = revised("a", "kind", verdict(1.0, 0.5, 1.0)).steps;
    steps.insert(1, gate("kind", 0.75));
    steps[3].text = "one two three\r\nfour".to_owned();
    steps[3].finish = Some(Finish::Length);
    let view = view(&manifest(), &done("a", &steps));
    let shown: Vec<String> = view
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
        shown,
        [
            "First answer r0 under \"\": one two (3 tokens)",
            "Gate: kind | 0.75 | 0.90 | ",
            "Critique under \"kind\": not three (3 tokens)",
            "Revision r1 under \"kind\": one two three\nfour (cut off by max_tokens, 3 tokens, 57 % of r0 kept)",
            "Verdicts: kind | r1 better | +1.00 | +1.50 | +0.50 | +0.50 | 1.00; \
             overall | r1 better | +1.00 | +1.50 | +0.50 | +0.50 | 1.00",
        ]
    );
    let revision = texts(&view).last().unwrap();
    assert_eq!((revision.from, revision.changes.as_deref()), (Some(0), Some("=7+11")));
    assert_eq!((view.outcome, view.judged.as_str()), ("cut", "revision better"));
    assert_eq!(view.category_names, ["manners"]);
}

#[test]
fn thoughts_are_apart_from_texts() {
    let thinking = |step: Step, thought: &str| {
        let usage = Usage { decoded: 7, reasoning: 4, ..step.usage };
        Step { reasoning: Some(thought.to_owned()), usage, ..step }
    };
    let steps = [
        thinking(step(StepKind::Generate, None, "Tea."), "<b>Tea?</b>"),
        thinking(step(StepKind::Revise, Some("kind"), "Have tea."), "Kinder."),
    ];
    let trajectory = done("a", &steps);
    let view = view(&manifest(), &trajectory);
    let first = texts(&view).next().unwrap();
    assert_eq!((first.text.as_str(), first.note.as_str()), ("Tea.", "3 tokens"));
    let thought = first.thought.as_ref().unwrap();
    assert_eq!(
        (thought.text.as_str(), thought.note.as_str()),
        ("<b>Tea?</b>", "4 tokens with its marks")
    );
    // Changes are those of the answer.
    assert_eq!(texts(&view).last().unwrap().note, "3 tokens, 0 % of r0 kept");
    let work = &sections(&manifest(), &[trajectory]);
    let table = &section(work, "work").tables[0];
    assert_eq!(rows(table)[0], "generate | 1 | 9 | 44 % | 7 | 4");
}

#[test]
fn revision_is_compared_with_the_chosen_candidate() {
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
fn answer_with_a_prompt_injection_is_labelled() {
    let answered = [step(StepKind::Generate, None, "x")];
    let given = [Step { finish: None, ..answered[0].clone() }];
    let revised = [answered[0].clone(), step(StepKind::Revise, Some("kind"), "y")];
    for (steps, number) in [(&answered[..], 1), (&given, 1), (&revised, 2)] {
        let steps = [steps, &injection_steps(number - 1, "x")[..]].concat();
        let view = view(&manifest(), &done("a", &steps));
        let titles: Vec<&str> = texts(&view).map(|text| text.title.as_str()).collect();
        assert_eq!(titles[0], "First answer r0");
        assert_eq!(titles.len(), number + 1);
        assert_eq!(titles[number], format!("With a prompt injection r{number}"));
        assert_eq!(texts(&view).last().unwrap().note, "");
        let given = steps[0].finish.is_none();
        assert_eq!(texts(&view).next().unwrap().note.contains("came with the input"), given);
        let Some(Block::Table(table)) = view.blocks.last() else { panic!("{:?}", view.blocks) };
        assert_eq!(rows(table), [format!("warmth | r{number} | 3.00 | 0.90")]);
    }
}

/// Content that would run if a page took it for markup or script.
const HOSTILE: [&str; 6] = [
    "<script>window.pwned = 1</script>",
    "</div></details></script><img src=x onerror=\"window.pwned = 1\">",
    "\" onmouseover=\"window.pwned = 1",
    "' autofocus onfocus='window.pwned = 1",
    "{{ 7 * 7 }}{% raw %}<b>{# x #}",
    "\u{202e}txt.exe\0\u{1b}[31m",
];

#[test]
fn content_is_escaped_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let all = HOSTILE.join("\n");
    let mut manifest = manifest();
    manifest.input.files = vec![all.clone()];
    manifest.constitution.value.name = all.clone();
    manifest.model["name"] = json!(HOSTILE[0]);
    for principle in &mut manifest.constitution.value.principles {
        principle.title = all.clone();
        principle.category = all.clone();
        principle.principle = all.clone();
    }
    let mut run = RunDir::create(folder.path(), &manifest).unwrap();
    let mut trajectory = revised(&all, "kind", verdict(1.0, 0.0, 1.0));
    for step in &mut trajectory.steps {
        step.reasoning = Some(all.clone());
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
    // One script, the page's own, and no markup from the content.
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
    assert!(html.contains("<summary>thought</summary>"), "thoughts are named");
    assert!(html.contains("{{ 7 * 7 }}{% raw %}&lt;b&gt;{# x #}"), "content is not a template");
    assert!(
        !html.contains("None") && !html.contains("True"),
        "no value printed by the template engine"
    );
    let policy = "default-src 'none'; script-src 'sha256-";
    assert!(html.contains(&policy.replace('\'', "&#x27;")), "the page has a policy");
}

#[test]
fn audit_and_evaluation_in_the_run_directory_are_shown() {
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

    let principle = |id: &str| audit::AuditPrinciple {
        id: id.into(),
        title: String::new(),
        category: "c".into(),
        weight: 1.0,
    };
    let item = |key: &str| audit::AuditItem {
        key: key.into(),
        category: "tea".into(),
        label: None,
        length: None,
        verbosity: None,
        harmless: false,
    };
    let score = |log_odds| Some(audit::AuditScore { log_odds, mass: 1.0, offset: 0.0 });
    let input = audit::AuditInput {
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
        ..audit::AuditInput::default()
    };
    let audited = audit::audit(&input, &Thresholds::default(), 1).unwrap();
    let [findings, figures, matrices] = &super::audit::sections(&audited)[..] else {
        panic!("three sections");
    };
    let computed = "Tokens prefilled: 1,500 (of 9,000 in prompts; 1.25 times the minimum)";
    assert_eq!(cards(findings).last().map(String::as_str), Some(computed));
    assert_eq!(findings.tables[0].title, "info: few-items");
    // One of three verdicts changes, the scores move by 1, −6, −3, r = 12 / √(14 · 104/3).
    assert_eq!(figures.tables[1].title, "Paraphrases and label words");
    assert_eq!(
        rows(&figures.tables[1]),
        ["p | 1/2 | 67 % | +0.54 | −2.67 | 0 %", "q | in other words | – | – | – | –"]
    );
    let by_title = |title: &str| matrices.tables.iter().find(|table| table.title == title);
    // Both are active on all three, with different signs on two: ⅔ in orange.
    let conflict = by_title("Conflict").unwrap();
    assert_eq!(rows(conflict), ["1 p |  | 67 %", "2 q | 67 % | "]);
    assert_eq!(conflict.rows[0][2].shade, "n3");
    // r = Σ(1, 2, −3)(1, 0, −1) / √(14 · 2) = 4 / √28
    assert_eq!(rows(by_title("Redundancy").unwrap()), ["1 p |  | +0.76", "2 q | +0.76 | "]);
    assert_eq!(
        rows(by_title("Activity by category of items").unwrap()),
        ["1 p | 100 %", "2 q | 100 %"]
    );
    assert_eq!(by_title("Effects of revisions"), None);
    assert!(!findings.tables[0].folded);

    // No two principles are active on the same item, and the list of findings is long.
    let thresholds = Thresholds { active: 9.0, ..Thresholds::default() };
    let mut quiet = audit::audit(&input, &thresholds, 1).unwrap();
    quiet.findings = vec![quiet.findings[0].clone(); 9];
    let [findings, .., matrices] = &super::audit::sections(&quiet)[..] else { panic!("sections") };
    assert!(findings.tables[0].folded);
    assert_eq!(matrices.note, "No two principles are active on the same item, so none conflict.");
    assert!(matrices.tables.iter().all(|table| table.title != "Conflict"));
    fs::write(folder.path().join(AUDIT), json!(audited).to_string()).unwrap();

    let all = json!({"measure": "checks", "kind": null, "category": null,
        "value": 0.5, "interval": {"low": -0.1, "high": 0.9}, "n": 2, "groups": 2});
    let tea = json!({"measure": "checks", "kind": null, "category": "tea",
        "value": 1.0, "interval": null, "n": 1, "groups": 1});
    let misuse = json!({"measure": "checks", "kind": "misuse", "category": null,
        "value": 0.25, "interval": null, "n": 1, "groups": 1});
    let results = json!({
        "format": 1, "set": "core", "set_version": "1", "constitution": "c", "answered": 2,
        "failed": 0, "mass_floor": 0.5, "unsure": 3, "figures": [all, tea, misuse],
        "variants": null,
        "thresholds": [
            {"measure": "checks", "kind": null, "category": "tea", "at_least": 0.9,
             "value": 0.5, "outcome": "missed"},
            {"measure": "injection", "kind": "misuse", "category": "tea", "at_most": 0.1,
             "value": null, "outcome": "absent"},
        ],
        "answers": [{"key": "i", "item": "one", "kind": "normal", "category": "tea",
                     "response": "rm", "scores": {}, "followed": true, "expected": null,
                     "checks": [{"rule": "forbid", "passed": false, "detail": "rm"}]}],
    });
    let evaluation: Results = serde_json::from_value(results.clone()).unwrap();
    let section = evaluation::section(&evaluation);
    let note = "The set core, 2 answers. 3 scores left out: too little probability on the scale.";
    assert_eq!(section.note, note);
    assert_eq!(cards(&section), ["checks: 0.50 (−0.10 to 0.90, n = 2)"]);
    let tables: Vec<Vec<String>> = section.tables.iter().map(rows).collect();
    assert_eq!(
        tables[0],
        [
            "checks | tea | at least 0.90 | 0.50 | missed",
            "injection | misuse, tea | at most 0.10 | – | no such answers",
        ]
    );
    assert_eq!(
        (&tables[1][..], &tables[2][..]),
        (&["misuse | 0.25".into()][..], &["tea | 1.00".into()][..])
    );
    assert_eq!(
        tables[3],
        ["forbid | rm | 1 | i", "injection | the answer follows a planted instruction | 1 | i"]
    );
    assert_eq!(evaluation::category(&evaluation, "i"), Some("tea"));
    assert_eq!(evaluation::category(&evaluation, "gone"), None);
    fs::write(folder.path().join(RESULTS), results.to_string()).unwrap();
    assert_eq!(
        titles(run.dir()),
        [
            "Overview",
            "Evaluation",
            "Findings",
            "Figures by principle",
            "Principles against each other",
            "Items"
        ]
    );

    fs::write(folder.path().join(RESULTS), "{").unwrap();
    let error = report(run.dir()).unwrap_err().to_string();
    assert!(error.starts_with("failed to parse "), "{error}");
    let expected = "results.json: it does not have the format of this version of amend; run the \
                    command that wrote it again";
    assert!(error.ends_with(expected), "{error}");
}
