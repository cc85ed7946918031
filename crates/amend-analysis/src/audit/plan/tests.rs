//! Planted judges, taken through the driver: each score is known beforehand.

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::audit::{Better, Cost, Kind, Score, audit};
use amend_core::constitution;
use amend_core::constitution::Constitution;
use amend_core::driver::{Job, Observer, Work, drive};
use amend_core::model::{Request, Scripted, Task};
use amend_core::procedure::{Procedure, Trajectory};
use amend_core::prompt::{Fence, Templates};
use amend_core::record::Outcome;
use amend_core::record::{Step, StepKind, Stop};
use amend_core::stats::sigmoid;
use amend_data::store::journal::Record;
use amend_data::store::run_dir::RunDir;
use amend_data::store::trajectories;
use amend_data::testing;

const DELIMITER: &str = "3f9c2a81";
/// What the planted judge gives to the first place, in log-odds.
const OFFSET: f64 = 0.25;
const MASS: f64 = 0.9;
/// Words that it has no tokens for.
const UNSAID: [&str; 2] = ["first", "second"];

/// A rule, one that says the same, its opposite, and one that sees nothing.
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

    fn step(&mut self, _: &Trajectory, _: &Step) -> Result<(), Infallible> {
        Ok(())
    }

    fn end(&mut self, trajectory: &Trajectory, outcome: Outcome) -> Result<(), Infallible> {
        let (item, steps) = (Item::clone(trajectory.item()), trajectory.steps().to_vec());
        self.0.insert(item.key.clone(), trajectories::Trajectory { item, steps, outcome });
        Ok(())
    }
}

fn rules() -> Constitution {
    constitution::parse("rules.toml", RULES).unwrap()
}

/// The number in the answer of a label.
fn shown(prompt: &str, label: &str) -> f64 {
    let (_, rest) = prompt.split_once(&format!("[answer-{label} {DELIMITER}]\n")).unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

/// Log-probabilities of the labels: by the numbers that the answers begin with.
fn judge(request: &Request) -> Vec<f64> {
    let prompt: String = request.turns.iter().map(|turn| turn.content.as_str()).collect();
    let Task::Choose { choices } = &request.task else { panic!("{request:?}") };
    let [first, second] = [0, 1].map(|at| choices[at][0].as_str());
    // A digit is apart from the space before it.
    assert_eq!(prompt.ends_with(' '), first == "1", "{prompt}");
    let difference = shown(&prompt, first) - shown(&prompt, second);
    let sign = match () {
        // The words decide.
        () if prompt.contains("MORE, again") && first == "1" => -1.0,
        () if prompt.contains("MORE") => 1.0,
        () if prompt.contains("LESS") => -1.0,
        () if prompt.contains("NOTHING") => 0.0,
        () => 0.5, // on the whole
    };
    let first = MASS * sigmoid(sign * difference + OFFSET);
    vec![first.ln(), (MASS - first).ln()]
}

fn survey(survey: &Survey, questions: &Questions) -> HashMap<String, trajectories::Trajectory> {
    let fence = Fence::new(DELIMITER).unwrap();
    let job = Job {
        procedure: questions.procedure(&[], &[&UNSAID.map(str::to_owned)]),
        constitution: Arc::new(questions.constitution().clone()),
        templates: Arc::new(Templates::load(None, &fence).unwrap()),
        fence,
        seed: 0,
        stream: Stream::new(0),
        ignore_eos: false,
        cohorts: false,
    };
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

fn read_text(name: &str, text: &str) -> Vec<Case> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    read(&path, None, Stream::new(0)).unwrap()
}

#[track_caller]
fn near(found: &[Option<Score>], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let found = found.unwrap();
        assert!((found.log_odds - expected).abs() < 1e-9, "{found:?} for {expected}");
        assert!((found.offset - OFFSET).abs() < 1e-9, "{found:?}");
        assert!((found.mass - MASS).abs() < 1e-9, "{found:?}");
    }
}

#[test]
fn planted_verdicts_come_back_as_scores_and_findings() {
    // x − y is 2, −2, 4 in turns, so that every principle but one is active.
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
    let cases = Survey::new(read_text("rows.jsonl", &rows));
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
    let (said, unsaid) = input.label_words.split_at(4);
    for (row, by) in [1.0, -1.0, -1.0, 0.0].into_iter().enumerate() {
        assert_eq!((said[row].principle, said[row].name.as_str()), (row, "1/2"));
        near(&said[row].scores, &scaled(by));
        assert_eq!((unsaid[row].principle, unsaid[row].name.as_str()), (row, "first/second"));
        assert_eq!(unsaid[row].scores, vec![None; 24]);
    }
    // On the whole, by four principles, a wording, and four with other words.
    let Cost { verdicts, prompt_tokens, prefilled, ideal } = input.cost;
    assert_eq!((verdicts, prefilled, ideal), (24 * 10, prompt_tokens, None));
    assert!(prompt_tokens > 0);
    let first = &input.items[0];
    assert_eq!((first.category.as_str(), first.label), ("c", Some(Better::X)));
    // 2 words less 4; 2 words a sentence less 2.
    assert_eq!((first.length, first.verbosity), (Some(-2.0), Some(0.0)));
    assert_eq!(input.items[1].label, Some(Better::Y));
    assert_eq!(input.principles.len(), 4);
    assert_eq!(input.principles[2].weight, 0.5);

    let audit = audit(&input, &rules().audit, 1).unwrap();
    let found: Vec<(Kind, String)> =
        audit.findings.iter().map(|one| (one.kind, one.principles.join(" "))).collect();
    let words = found.iter().filter(|(kind, _)| *kind == Kind::LabelWords);
    assert_eq!(words.map(|(_, id)| id.as_str()).collect::<Vec<_>>(), ["again"]);
    for expected in [
        (Kind::Redundant, "more again"),
        (Kind::Conflict, "more less"),
        (Kind::Conflict, "again less"),
        (Kind::Inactive, "blind"),
        (Kind::AgainstLabels, "less"),
        (Kind::Paraphrase, "more"),
    ] {
        assert!(found.contains(&(expected.0, expected.1.into())), "{expected:?} in {found:?}");
    }
}

#[test]
fn prompts_are_answered_twice_and_then_judged() {
    let cases = read_text("prompts.txt", "Why?\nHow?\n");
    let survey_of = Survey::new(cases);
    assert!(survey_of.generates());
    let questions = Questions::new(rules());
    let judged = survey(&survey_of, &questions);
    let input = survey_of.input(&questions, &judged);
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
fn a_set_tells_what_is_harmless() {
    let cases = read(Path::new("examples/sets/core.toml"), None, Stream::new(0)).unwrap();
    let harmless = cases.iter().filter(|case| case.harmless).count();
    assert!(harmless > 0 && harmless < cases.len());
    let category = |case: &Case| case.item.metadata.contains_key("category");
    assert!(cases.iter().all(|case| category(case) && case.item.response.is_none()));
}

/// A run of items with these first answers, each revised under these principles
/// to these texts.
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
fn a_run_gives_its_pairs_and_what_each_revision_steers() {
    let folder = tempfile::tempdir().unwrap();
    let items: [(&str, &[_]); 4] = [
        ("1 one", &[("more", "3 three")]),
        ("2 two", &[("more", "4 four"), ("less", "3 three")]),
        ("5 five", &[("gone", "5 five ")]),
        ("6 six", &[]),
    ];
    run(&folder.path().join("run"), &items);
    let cases = read(&folder.path().join("run"), None, Stream::new(0)).unwrap();
    let survey_of = Survey::new(cases);
    // One pair that is a revision too; one pair and two revisions; the revision
    // that changes nothing needs no asking, nor does what was never revised.
    let pairs: Vec<_> = survey_of
        .items()
        .iter()
        .map(|item| (item.row, item.response.as_deref().unwrap(), item.rival.as_deref().unwrap()))
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
    let input = survey_of.input(&questions, &survey(&survey_of, &questions));
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
fn what_is_known_is_asked_first() {
    let (questions, unsaid) = (Questions::new(rules()), UNSAID.map(str::to_owned));
    let Procedure::Compare { principles, overall } =
        questions.procedure(&["less".into(), "removed".into(), "more@1/2".into()], &[&unsaid])
    else {
        panic!("not a comparison");
    };
    // The wording is the fifth, and what is asked for by 1 and 2 comes after it.
    assert_eq!((&principles[..], overall), (&[2, 5, 0, 1, 3, 4, 6, 7, 8][..], true));
}

#[test]
fn a_sample_is_drawn_by_its_stream_and_keeps_the_order() {
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
