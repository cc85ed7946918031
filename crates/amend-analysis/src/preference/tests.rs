//! Tests of the arithmetic and of the figures over pairs.

use super::*;
use amend_core::judge::{Likelihood, LogProbs};
use amend_core::model::Failure;
use amend_core::random::Stream;
use amend_core::record::{Item, Outcome, Step, StepKind, Stop};
use amend_data::store::trajectories::Trajectory;

#[track_caller]
fn assert_near(actual: f64, expected: f64) {
    assert!((actual - expected).abs() < 5e-5, "{actual}, expected {expected}");
}

fn policy(chosen: f64, rejected: f64) -> LogProbs {
    LogProbs { chosen, rejected, reference: None }
}

#[test]
fn loss_agrees_with_python() {
    // Python: -log(1 / (1 + exp(-0.1 * (chosen - rejected))))
    assert_near(policy(-4.2, -6.8).loss(0.1), 0.5716);
    assert_near(policy(-7.0, -4.0).loss(0.1), 0.8544);
    assert_near(policy(-3.0, -3.0).loss(0.1), 2.0_f64.ln());
}

#[test]
fn margin_subtracts_the_reference() {
    let pair = LogProbs { reference: Some([-11.0, -11.5]), ..policy(-10.0, -12.0) };
    // (−10 + 11) − (−12 + 11.5) = 1.5
    assert_near(pair.margin(0.5), 0.75);
    assert_near(pair.loss(0.5), 0.38687);
}

#[test]
fn loss_of_large_margins_neither_overflows_nor_vanishes() {
    assert_eq!(policy(-1e6, 0.0).loss(1.0), 1e6);
    assert_eq!(policy(0.0, -1e6).loss(1.0), 0.0);
    let small = policy(0.0, -40.0).loss(1.0);
    assert!((small / (-40.0_f64).exp() - 1.0).abs() < 1e-12, "{small}");
}

#[test]
fn likelihood_sums_the_log_probabilities() {
    let likelihood = Likelihood::from_log_probs(&[-0.5, -1.5]).unwrap();
    assert_eq!(likelihood, Likelihood { sum: -2.0, tokens: 2 });
    assert_eq!(likelihood.mean(), -1.0);
    assert_eq!(Likelihood::from_log_probs(&[]).unwrap().mean(), 0.0);
    assert_eq!(Likelihood::from_log_probs(&[f64::NEG_INFINITY]), None);
}

fn step(kind: StepKind, answer: usize, sum: f64, tokens: u32) -> Step {
    let likelihood = Some(Likelihood { sum, tokens });
    Step { about: vec![answer], likelihood, ..Step::new(kind, 0) }
}

/// A pair with this label and these steps.
fn trajectory(label: Option<&str>, steps: Vec<Step>) -> Trajectory {
    let metadata = label.map(|label| ("label".to_owned(), label.into()));
    let item =
        Item { metadata: metadata.into_iter().collect(), ..Item::of_prompt("What do bees make?") };
    let outcome = Outcome::Done { stop: Stop::Judged };
    Trajectory { item, steps, outcome }
}

fn steps() -> Vec<Step> {
    vec![
        step(StepKind::Likelihood, 0, -12.0, 4),
        step(StepKind::Likelihood, 1, -10.0, 2),
        step(StepKind::Reference, 0, -11.5, 4),
        step(StepKind::Reference, 1, -11.0, 2),
    ]
}

#[test]
fn row_orders_the_answers_by_the_label() {
    let row = PreferenceRow::from_trajectory(&trajectory(Some("b"), steps()), 0.5).unwrap();
    let scored = row.scored.unwrap();
    assert_eq!(scored.chosen, AnswerLikelihood { log_prob: -10.0, tokens: 2, per_token: -5.0 });
    assert_eq!(scored.rejected, AnswerLikelihood { log_prob: -12.0, tokens: 4, per_token: -3.0 });
    // ½ ((−10 + 11) − (−12 + 11.5))
    assert_near(scored.margin, 0.75);
    assert_near(scored.loss, 0.38687);
    let exchanged = PreferenceRow::from_trajectory(&trajectory(Some("a"), steps()), 0.5)
        .unwrap()
        .scored
        .unwrap();
    assert_near(exchanged.margin, -0.75);
    let policy =
        PreferenceRow::from_trajectory(&trajectory(Some("b"), steps()[..2].to_vec()), 0.5).unwrap();
    assert_eq!(policy.scored.unwrap().reference, None);
    assert_near(policy.scored.unwrap().margin, 1.0);
}

#[test]
fn pair_without_a_better_answer_has_no_row() {
    assert_eq!(PreferenceRow::from_trajectory(&trajectory(Some("tie"), steps()), 0.5), None);
    assert_eq!(PreferenceRow::from_trajectory(&trajectory(None, steps()), 0.5), None);
}

#[test]
fn failed_pair_has_no_score() {
    let failed = Trajectory {
        outcome: Outcome::Failed { failure: Failure::NotFinite },
        ..trajectory(Some("a"), steps()[..2].to_vec())
    };
    let row = PreferenceRow::from_trajectory(&failed, 0.5).unwrap();
    assert_eq!((row.scored, row.failure), (None, Some(Failure::NotFinite)));
}

#[test]
fn figures_agree_with_python() {
    let row = |chosen: [f64; 2]| {
        let [sum, tokens] = chosen;
        let steps = vec![
            step(StepKind::Likelihood, 0, sum, tokens as u32),
            step(StepKind::Likelihood, 1, -10.0, 5),
        ];
        PreferenceRow::from_trajectory(&trajectory(Some("a"), steps), 0.1).unwrap()
    };
    // Margins 0.4, −0.2, 0, 1; per token −3, −1.2, −2, 0 against −2.
    let rows = [[-6.0, 2.0], [-12.0, 10.0], [-10.0, 5.0], [0.0, 1.0]].map(row);
    let figures = PreferenceFigures::from_rows(&rows, 3, 0.1, Stream::new(1));
    assert_eq!((figures.pairs, figures.failed, figures.unlabelled), (4, 0, 3));
    assert!(!figures.reference);
    assert_eq!(figures.accuracy.unwrap().value, 0.5);
    assert_eq!(figures.accuracy_per_token.unwrap().value, 0.5);
    assert_near(figures.margin.unwrap().value, 0.3);
    // Python: mean of log1p(exp(-m)) over the four margins
    assert_near(figures.loss.unwrap().value, 0.579391);
    assert_near(figures.per_token[0].unwrap().value, -1.55);
    assert_near(figures.per_token[1].unwrap().value, -2.0);
    // Python: numpy.corrcoef([.4, -.2, 0, 1], [-3, 5, 0, -4])
    assert_near(figures.length.unwrap().value, -0.872872);
    let margins = figures.margins.unwrap();
    assert_eq!(margins.quartiles.map(|q| (q * 1e9).round() / 1e9), [-0.2, -0.05, 0.2, 0.55, 1.0]);
    assert_eq!(margins.histogram.counts.iter().sum::<usize>(), 4);
    assert_eq!(PreferenceFigures::from_rows(&[], 0, 0.1, Stream::new(1)).accuracy, None);
}
