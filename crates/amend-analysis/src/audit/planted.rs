//! Tests that an audit finds duplicates and contradictions planted in a generated
//! population.
//!
//! An item is a point z ~ N(0, I) in a latent space: how answer A differs from B in
//! each of [`DIMENSIONS`] respects. A principle is a direction u in it, and its score
//! of an item is 2 u·z plus noise. A duplicate has nearly the direction of another
//! principle, a contradiction nearly the opposite one.

use std::collections::BTreeSet;
use std::f64::consts::TAU;

use super::testing::{input, scores};
use crate::audit::{Audit, AuditInput, FindingKind, audit};
use amend_core::constitution::Thresholds;
use amend_core::document::Severity;
use amend_core::random::Stream;

const DIMENSIONS: usize = 24;
/// The number of principles with independent directions.
const BASES: usize = 14;
/// The standard deviation of a score, without noise, in log-odds.
const SIZE: f64 = 2.0;
/// How far the direction of a reworded principle strays.
const REWORDING: f64 = 0.15;

/// Two principles, by their indices.
type Pair = (usize, usize);

/// The input, and the pairs that were planted in it.
struct Population {
    input: AuditInput,
    duplicates: BTreeSet<Pair>,
    contradictions: BTreeSet<Pair>,
}

/// Fourteen independent principles, three reworded ones, and three reworded and negated
/// ones. One of the latter has the same base as a duplicate and contradicts both.
fn population(seed: u64, items: usize, noise: f64) -> Population {
    let mut gauss = Gauss { stream: Stream::new(seed).child("population"), position: 0 };
    // Base and sign of each principle.
    let mut kinds: Vec<(usize, f64)> = (0..BASES).map(|base| (base, 1.0)).collect();
    kinds.extend([(0, 1.0), (1, 1.0), (2, 1.0), (2, -1.0), (3, -1.0), (4, -1.0)]);

    let bases: Vec<Vec<f64>> = (0..BASES).map(|_| unit(gauss.vector())).collect();
    let directions: Vec<Vec<f64>> = kinds
        .iter()
        .enumerate()
        .map(|(k, &(base, sign))| {
            let stray = if k < BASES { 0.0 } else { REWORDING };
            let away = unit(gauss.vector());
            unit(bases[base].iter().zip(&away).map(|(u, a)| sign * u + stray * a).collect())
        })
        .collect();
    let points: Vec<Vec<f64>> = (0..items).map(|_| gauss.vector()).collect();
    let rows: Vec<Vec<f64>> = directions
        .iter()
        .map(|u| points.iter().map(|z| SIZE * dot(u, z) + noise * gauss.next()).collect())
        .collect();

    let mut input = input(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>());
    input.scores = rows.iter().map(|row| scores(row)).collect();
    let pairs_of_one_base = |sign: f64| {
        (0..kinds.len())
            .flat_map(|k| (k + 1..kinds.len()).map(move |l| (k, l)))
            .filter(|&(k, l)| kinds[k].0 == kinds[l].0 && kinds[k].1 * kinds[l].1 == sign)
            .collect()
    };
    Population {
        input,
        duplicates: pairs_of_one_base(1.0),
        contradictions: pairs_of_one_base(-1.0),
    }
}

/// Standard normal numbers, by the Box–Muller transform.
struct Gauss {
    stream: Stream,
    position: u64,
}

impl Gauss {
    fn next(&mut self) -> f64 {
        let [u, v] = [0, 1].map(|ahead| self.stream.uniform(self.position + ahead));
        self.position += 2;
        (-2.0 * (1.0 - u).ln()).sqrt() * (TAU * v).cos()
    }

    fn vector(&mut self) -> Vec<f64> {
        (0..DIMENSIONS).map(|_| self.next()).collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn unit(vector: Vec<f64>) -> Vec<f64> {
    let size = dot(&vector, &vector).sqrt();
    vector.into_iter().map(|value| value / size).collect()
}

/// The pairs of principles in findings of a kind with at least a severity.
fn found_pairs(audit: &Audit, kind: FindingKind, least: Severity) -> BTreeSet<Pair> {
    let index = |id: &String| audit.principles.iter().position(|p| p.id == *id);
    let mut pairs = BTreeSet::new();
    for finding in &audit.findings {
        if finding.kind == kind && finding.severity >= least {
            let members: Vec<usize> = finding.principles.iter().filter_map(index).collect();
            for (at, &k) in members.iter().enumerate() {
                pairs.extend(members[at + 1..].iter().map(|&l| (k, l)));
            }
        }
    }
    pairs
}

/// The numbers of pairs that were planted, found, and both.
#[derive(Default, Clone, Copy)]
struct Tally {
    planted: usize,
    found: usize,
    both: usize,
}

impl Tally {
    fn add(&mut self, planted: &BTreeSet<Pair>, found: &BTreeSet<Pair>) {
        self.planted += planted.len();
        self.found += found.len();
        self.both += planted.intersection(found).count();
    }

    fn recall(self) -> f64 {
        self.both as f64 / self.planted as f64
    }

    /// The precision; 1 if nothing was found.
    fn precision(self) -> f64 {
        if self.found == 0 { 1.0 } else { self.both as f64 / self.found as f64 }
    }
}

/// The tallies of redundancy and conflict findings over several populations.
fn tallies(populations: u64, items: usize, noise: f64, least: Severity) -> [Tally; 2] {
    let mut tallies = [Tally::default(); 2];
    for seed in 0..populations {
        let population = population(seed, items, noise);
        let thresholds = Thresholds { resamples: 400, ..Thresholds::default() };
        let audit = audit(&population.input, &thresholds, seed).expect("a sound input");
        tallies[0].add(&population.duplicates, &found_pairs(&audit, FindingKind::Redundant, least));
        tallies[1]
            .add(&population.contradictions, &found_pairs(&audit, FindingKind::Conflict, least));
    }
    tallies
}

/// Checks the precision and recall that `docs/audit.md` states for `items` items with a
/// noise of ½.
fn finds_planted_pairs(items: usize, least: Severity) {
    let tallies = tallies(5, items, 0.5, least);
    for (tally, what) in tallies.iter().zip(["redundant", "conflict"]) {
        let (precision, recall) = (tally.precision(), tally.recall());
        assert!(precision >= 0.95 && recall >= 0.95, "{what}: {precision:.3}, {recall:.3}");
    }
}

#[test]
fn warnings_have_high_precision_and_recall_from_100_items() {
    finds_planted_pairs(100, Severity::Warn);
}

#[test]
fn notes_have_high_precision_and_recall_from_200_items() {
    finds_planted_pairs(200, Severity::Info);
}

#[test]
fn the_population_contains_the_planted_pairs() {
    let Population { input, duplicates, contradictions } = population(1, 10, 0.5);
    assert_eq!(input.principles.len(), 20);
    assert_eq!(duplicates, BTreeSet::from([(0, 14), (1, 15), (2, 16)]));
    // The negation of base 2 contradicts it and its duplicate.
    assert_eq!(contradictions, BTreeSet::from([(2, 17), (16, 17), (3, 18), (4, 19)]));
}

/// Prints the curve in `docs/audit.md`: `cargo test --release --lib planted -- --ignored
/// --nocapture`.
#[test]
#[ignore = "prints precision and recall by sample size; takes two minutes"]
fn curve() {
    for least in [Severity::Info, Severity::Warn] {
        println!("findings of at least {least}: precision / recall");
        println!("| noise | items | redundant | conflict |");
        for noise in [0.3, 0.5, 0.7] {
            for items in [20, 30, 50, 75, 100, 150, 200, 400] {
                let [redundant, conflict] = tallies(40, items, noise, least)
                    .map(|tally| format!("{:.2} / {:.2}", tally.precision(), tally.recall()));
                println!("| {noise} | {items} | {redundant} | {conflict} |");
            }
        }
    }
}
