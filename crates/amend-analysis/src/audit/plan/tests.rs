//! Runs planted judges, whose scores are known, through the driver.

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::audit::{AuditScore, Better, Cost, FindingKind, audit};
use amend_core::constitution::{self, Constitution};
use amend_core::driver::{Job, Observer, Work, drive};
use amend_core::model::{Request, Scripted, Task};
use amend_core::procedure::{ItemLoop, Procedure};
use amend_core::prompt::Delimiter;
use amend_core::record::{Outcome, Step, StepKind, Stop};
use amend_core::stats::sigmoid;
use amend_data::items::ItemOptions;
use amend_data::store::journal::Record;
use amend_data::store::run_dir::RunDir;
use amend_data::store::trajectories;
use amend_data::testing;

const DELIMITER: &str = "3f9c2a81";
/// The planted judge's preference for the first answer, in log-odds.
const OFFSET: f64 = 0.25;
const MASS: f64 = 0.9;
/// Label words that the judge has no tokens for.
const UNKNOWN_WORDS: [&str; 2] = ["first", "second"];

/// A principle, a duplicate, its opposite, and one that is always indifferent.
const RULES: &str = "constitution.name = 'planted'
[audit]\nlabel_words = [['1', '2'], ['first', 'second']]
[[principle]]\nid = 'more'\nprinciple = 'MORE.'\nparaphrases = ['LESS, please.']
[[principle]]\nid = 'again'\nprinciple = 'MORE, again.'
[[principle]]\nid = 'less'\nprinciple = 'LESS.'\nweight = 0.5
[[principle]]\nid = 'blind'\nprinciple = 'NOTHING.'\n";

#[derive(Default)]
struct Kept(HashMap<String, trajectories::Trajectory>);

impl Observer for Kept {
    type Error = Infallible;

    fn step(&mut self, _: &ItemLoop, _: &Step) -> Result<(), Infallible> {
        Ok(())
    }

    fn end(&mut self, trajectory: &ItemLoop, outcome: Outcome) -> Result<(), Infallible> {
        let (item, steps) = (Item::clone(trajectory.item()), trajectory.steps().to_vec());
        self.0.insert(item.key.clone(), trajectories::Trajectory { item, steps, outcome });
        Ok(())
    }
}

fn rules() -> Constitution {
    constitution::parse("rules.toml", RULES).unwrap()
}

/// The number at the beginning of the answer with a label.
fn shown(prompt: &str, label: &str) -> f64 {
    let (_, rest) = prompt.split_once(&format!("[answer-{label} {DELIMITER}]\n")).unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

/// Log-probabilities of the labels, by the numbers that the answers begin with.
fn judge(request: &Request) -> Vec<f64> {
    let prompt: String = request.turns.iter().map(|turn| turn.content.as_str()).collect();
    let Task::Choose { choices, .. } = &request.task else { panic!("{request:?}") };
    let [first, second] = [0, 1].map(|at| choices[at][0].as_str());
    // Digits are separate tokens from the space before them.
    assert_eq!(prompt.ends_with(' '), first == "1", "{prompt}");
    let difference = shown(&prompt, first) - shown(&prompt, second);
    let sign = match () {
        // The label words turn this verdict.
        () if prompt.contains("MORE, again") && first == "1" => -1.0,
        () if prompt.contains("MORE") => 1.0,
        () if prompt.contains("LESS") => -1.0,
        () if prompt.contains("NOTHING") => 0.0,
        () => 0.5, // overall
    };
    let first = MASS * sigmoid(sign * difference + OFFSET);
    vec![first.ln(), (MASS - first).ln()]
}

fn survey(survey: &AuditPlan, questions: &Questions) -> HashMap<String, trajectories::Trajectory> {
    let fence = Delimiter::new(DELIMITER).unwrap();
    let procedure = questions.procedure(&[], &[&UNKNOWN_WORDS.map(str::to_owned)]);
    let job = Job::new(procedure, questions.constitution().clone(), None, fence, 0).unwrap();
    let mut answers = 0;
    let mut engine = Scripted::new(move |_| {
        answers += 1;
        Ok(format!("{answers} is the answer."))
    })
    .judging(|request| Ok(judge(request)));
    let items = survey.items().iter().cloned();
    let work = items.map(|item| Work { item: Arc::new(item), steps: Vec::new() });
    let mut kept = Kept::default();
    drive(&mut engine, &job, work, &mut kept).unwrap();
    kept.0
}

fn cases_of(source: &Path) -> Vec<Case> {
    read(source, &ItemOptions::default(), Stream::new(0)).unwrap().cases
}

fn read_text(name: &str, text: &str) -> Vec<Case> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    cases_of(&path)
}

#[track_caller]
fn near(scores: &[Option<AuditScore>], expected: &[f64]) {
    assert_eq!(scores.len(), expected.len());
    for (score, expected) in scores.iter().zip(expected) {
        let score = score.unwrap();
        assert!((score.log_odds - expected).abs() < 1e-9, "{score:?} for {expected}");
        assert!((score.offset - OFFSET).abs() < 1e-9, "{score:?}");
        assert!((score.mass - MASS).abs() < 1e-9, "{score:?}");
    }
}

#[test]
fn planted_verdicts_become_scores_and_findings() {
    // The difference A − B is 2, −2, 4 in turns, so that every principle but one is
    // active.
    let steps = [2.0, -2.0, 4.0];
    let rows: String = (0..24)
        .map(|at| {
            let x = 5.0 + steps[at % 3];
            let label = if at % 3 == 1 { "b" } else { "a" };
            format!(
                "{{\"prompt\": \"Question {at}?\", \"a\": \"{x} so\", \"b\": \"5 it is. Yes.\", \
                 \"label\": \"{label}\", \"category\": \"c\"}}\n"
            )
        })
        .collect();
    let cases = AuditPlan::new(read_text("rows.jsonl", &rows));
    assert!(!cases.generates());
    let questions = Questions::new(rules());
    let input = cases.input(&questions, &survey(&cases, &questions));

    let expected: Vec<f64> = (0..24).map(|at| steps[at % 3]).collect();
    let scaled = |by: f64| expected.iter().map(|d| d * by).collect::<Vec<_>>();
    for (row, by) in [1.0, 1.0, -1.0, 0.0].into_iter().enumerate() {
        near(&input.scores[row], &scaled(by));
    }
    near(&input.overall, &scaled(0.5));
    let [wording] = &input.paraphrases[..] else { panic!("{:?}", input.paraphrases) };
    assert_eq!((wording.principle, wording.name.as_str()), (0, "LESS, please."));
    near(&wording.scores, &scaled(-1.0));
    let (known, unknown) = input.label_words.split_at(4);
    for (row, by) in [1.0, -1.0, -1.0, 0.0].into_iter().enumerate() {
        assert_eq!((known[row].principle, known[row].name.as_str()), (row, "1/2"));
        near(&known[row].scores, &scaled(by));
        assert_eq!((unknown[row].principle, unknown[row].name.as_str()), (row, "first/second"));
        assert_eq!(unknown[row].scores, vec![None; 24]);
    }
    // Overall, under four principles, a paraphrase, and four with other label words.
    let Cost { verdicts, prompt_tokens, prefilled, ideal } = input.cost;
    assert_eq!((verdicts, prefilled, ideal), (24 * 10, prompt_tokens, None));
    assert!(prompt_tokens > 0);
    let first = &input.items[0];
    assert_eq!((first.category.as_str(), first.label), ("c", Some(Better::X)));
    // 2 words minus 4; 2 words per sentence minus 2.
    assert_eq!((first.length, first.verbosity), (Some(-2.0), Some(0.0)));
    assert_eq!(input.items[1].label, Some(Better::Y));
    assert_eq!(input.principles.len(), 4);
    assert_eq!(input.principles[2].weight, 0.5);

    let audit = audit(&input, &rules().audit, 1).unwrap();
    let findings: Vec<(FindingKind, String)> =
        audit.findings.iter().map(|finding| (finding.kind, finding.principles.join(" "))).collect();
    let words = findings.iter().filter(|(kind, _)| *kind == FindingKind::LabelWords);
    assert_eq!(words.map(|(_, id)| id.as_str()).collect::<Vec<_>>(), ["again"]);
    for expected in [
        (FindingKind::Redundant, "more again"),
        (FindingKind::Conflict, "more less"),
        (FindingKind::Conflict, "again less"),
        (FindingKind::Inactive, "blind"),
        (FindingKind::AgainstLabels, "less"),
        (FindingKind::Paraphrase, "more"),
    ] {
        assert!(
            findings.contains(&(expected.0, expected.1.into())),
            "{expected:?} in {findings:?}"
        );
    }
}

#[test]
fn prompts_get_two_answers_that_are_judged() {
    let cases = read_text("prompts.txt", "Why?\nHow?\n");
    let plan = AuditPlan::new(cases);
    assert!(plan.generates());
    let questions = Questions::new(rules());
    let judged = survey(&plan, &questions);
    let input = plan.input(&questions, &judged);
    assert_eq!(input.items.len(), 2);
    for (at, item) in input.items.iter().enumerate() {
        let texts: Vec<f64> = amend_core::record::answers(&judged[&item.key].steps)
            .map(|step| step.text.split(' ').next().unwrap().parse().unwrap())
            .collect();
        let [x, y] = texts[..] else { panic!("{texts:?}") };
        assert_ne!(x, y);
        near(&input.scores[0][at..=at], &[x - y]);
    }
}

#[test]
fn normal_items_of_a_set_are_harmless() {
    let set = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/sets/core.toml");
    let cases = cases_of(&set);
    let harmless = cases.iter().filter(|case| case.harmless).count();
    assert!(harmless > 0 && harmless < cases.len());
    let category = |case: &Case| case.item.metadata.contains_key("category");
    assert!(cases.iter().all(|case| category(case) && case.item.response.is_none()));
}

/// Writes a run. Each item has a first answer, and revisions with their principle and
/// text.
fn run(path: &Path, items: &[(&str, &[(&str, &str)])]) {
    let mut run = RunDir::create(path, &testing::manifest()).unwrap();
    for (at, (first, revisions)) in items.iter().enumerate() {
        let item = Item { row: at as u64 + 1, ..testing::item(&format!("k{at}")) };
        let steps = std::iter::once(testing::step(StepKind::Generate, None, first)).chain(
            revisions
                .iter()
                .map(|(under, after)| testing::step(StepKind::Revise, Some(under), after)),
        );
        for step in steps {
            run.append(&Record::Step { item: item.key.clone(), step }).unwrap();
        }
        run.append(&Record::End { item, outcome: Outcome::Done { stop: Stop::Rounds } }).unwrap();
    }
}

#[test]
fn a_run_gives_its_pairs_and_revisions() {
    let folder = tempfile::tempdir().unwrap();
    let items: [(&str, &[_]); 4] = [
        ("1 one", &[("more", "3 three")]),
        ("2 two", &[("more", "4 four"), ("less", "3 three")]),
        ("5 five", &[("gone", "5 five ")]),
        ("6 six", &[]),
    ];
    run(&folder.path().join("run"), &items);
    let cases = cases_of(&folder.path().join("run"));
    let plan = AuditPlan::new(cases);
    // A pair that is also a revision makes one item; a pair and two revisions make
    // three. A revision that changes nothing, or an item without one, makes none.
    let pairs: Vec<_> = plan
        .items()
        .iter()
        .map(|item| {
            (item.row, item.response.as_deref().unwrap(), item.response_b.as_deref().unwrap())
        })
        .collect();
    assert_eq!(
        pairs,
        [
            (1, "3 three", "1 one"),
            (2, "3 three", "2 two"),
            (2, "4 four", "2 two"),
            (2, "3 three", "4 four"),
        ]
    );
    let questions = Questions::new(rules());
    let input = plan.input(&questions, &survey(&plan, &questions));
    assert_eq!(input.items.len(), 3);
    near(&input.scores[0][..2], &[2.0, 1.0]);
    assert_eq!(input.scores[0][2], None);
    let [one, two, three] = &input.revisions[..] else { panic!("{:?}", input.revisions) };
    assert_eq!([one, two, three].map(|one| (one.principle, one.item)), [(0, 0), (0, 1), (2, 1)]);
    near(&one.shifts, &[2.0, 2.0, -2.0, 0.0]);
    near(&two.shifts, &[2.0, 2.0, -2.0, 0.0]);
    near(&three.shifts, &[-1.0, -1.0, 1.0, 0.0]);
}

#[test]
fn reused_principles_are_asked_first() {
    let (questions, unknown) = (Questions::new(rules()), UNKNOWN_WORDS.map(str::to_owned));
    let Procedure::Compare { principles, overall } =
        questions.procedure(&["less".into(), "removed".into(), "more@1/2".into()], &[&unknown])
    else {
        panic!("not a comparison");
    };
    // The paraphrase is the fifth; the questions with 1 and 2 come after it.
    assert_eq!((&principles[..], overall), (&[2, 5, 0, 1, 3, 4, 6, 7, 8][..], true));
}

#[test]
fn a_sample_depends_on_its_stream_and_keeps_the_order() {
    let prompts: String = (0..50).map(|at| format!("Question {at}?\n")).collect();
    let all = read_text("prompts.txt", &prompts);
    let drawn = |seed| {
        let mut cases = all.clone();
        sample(&mut cases, 20, Stream::new(seed));
        cases.iter().map(|case| case.item.row).collect::<Vec<_>>()
    };
    let rows = drawn(1);
    assert_eq!(rows.len(), 20);
    assert!(rows.is_sorted());
    assert_eq!(rows, drawn(1));
    assert_ne!(rows, drawn(2));
    let mut few = all.clone();
    sample(&mut few, 99, Stream::new(1));
    assert_eq!(few, all);
}

#[test]
fn sampling_half_of_many_cases_is_fast() {
    let case = read_text("prompts.txt", "Why?\n").remove(0);
    let mut cases = vec![case; 200_000];
    let start = std::time::Instant::now();
    sample(&mut cases, 100_000, Stream::new(1));
    assert_eq!(cases.len(), 100_000);
    // A search through the drawn cases for each case takes minutes.
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}
