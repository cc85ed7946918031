//! Turns judged items into the input of an audit.

use std::collections::HashMap;

use serde_json::Value;

use super::{AuditPlan, Questions, Subject};
use crate::audit::{self, AuditRevision, AuditScore, Better, Cost, Variant};
use amend_core::judge::SampleCombination;
use amend_core::record::{ComparisonFacts, Label, Outcome, Step, StepKind, answers};
use amend_core::text::refusal::is_refusal;
use amend_data::store::trajectories::Trajectory;

/// Judged items, by key.
pub type Judged = HashMap<String, Trajectory>;

impl AuditPlan {
    /// The input of the audit, from the verdicts. It leaves out cases whose pair of
    /// answers failed, and cases with two equal answers and no revision.
    #[must_use]
    pub fn input(&self, questions: &Questions, judged: &Judged) -> audit::AuditInput {
        let done = |key: &String| {
            let trajectory = judged.get(key)?;
            matches!(trajectory.outcome, Outcome::Done { .. }).then_some(trajectory)
        };
        let is_included = |subject: &&Subject| match subject.same {
            true => !subject.revisions.is_empty(),
            false => done(&subject.key).is_some(),
        };
        let subjects: Vec<&Subject> = self.subjects.iter().filter(is_included).collect();
        let samples = questions.constitution().judge.combine;
        let scores = |id: Option<&str>| -> Vec<Option<AuditScore>> {
            subjects.iter().map(|subject| score(done(&subject.key)?, id, samples)).collect()
        };
        let ids: Vec<&str> =
            questions.principles().iter().map(|principle| principle.id.as_str()).collect();
        let [mut paraphrases, mut label_words] = [const { Vec::new() }; 2];
        for (principle, variant) in questions.variants() {
            let scores = scores(Some(&variant.id));
            match &variant.labels {
                None => {
                    let name = variant.principle.clone();
                    paraphrases.push(Variant { principle, name, scores });
                }
                Some(words) => {
                    label_words.push(Variant { principle, name: words.join("/"), scores });
                }
            }
        }
        let mut revisions = Vec::new();
        for (item, subject) in subjects.iter().enumerate() {
            for (revised, key) in subject.case.revisions.iter().zip(&subject.revisions) {
                let Some(principle) = ids.iter().position(|id| *id == revised.principle) else {
                    continue; // The constitution no longer has this principle.
                };
                let shift = |id: &&str| score(done(key.as_ref()?)?, Some(id), samples);
                revisions.push(AuditRevision {
                    shifts: ids.iter().map(shift).collect(),
                    ..AuditRevision::observe(
                        principle,
                        item,
                        &revised.before,
                        &revised.after,
                        is_refusal,
                    )
                });
            }
        }
        audit::AuditInput {
            principles: questions
                .principles()
                .iter()
                .map(|principle| audit::AuditPrinciple {
                    id: principle.id.clone(),
                    title: principle.title.clone(),
                    category: principle.category.clone(),
                    weight: principle.weight,
                })
                .collect(),
            items: subjects.iter().map(|subject| item(subject, done(&subject.key))).collect(),
            scores: ids.iter().map(|id| scores(Some(id))).collect(),
            overall: scores(None),
            paraphrases,
            label_words,
            revisions,
            cost: cost(judged),
        }
    }
}

/// The total cost of all verdicts.
fn cost(judged: &Judged) -> Cost {
    let steps = judged.values().flat_map(|trajectory| &trajectory.steps);
    let none = Cost { ideal: Some(0), ..Cost::default() };
    steps.filter(|step| step.kind == StepKind::Judge).fold(none, |cost, Step { usage, .. }| Cost {
        verdicts: cost.verdicts + 1,
        prompt_tokens: cost.prompt_tokens + u64::from(usage.prompt),
        prefilled: cost.prefilled + u64::from(usage.prefilled()),
        ideal: cost.ideal.zip(usage.ideal).map(|(sum, ideal)| sum + u64::from(ideal)),
    })
}

/// The verdict on an item under a principle, or overall if `principle` is `None`.
fn score(
    judged: &Trajectory,
    principle: Option<&str>,
    samples: SampleCombination,
) -> Option<AuditScore> {
    let asked =
        |step: &&Step| step.kind == StepKind::Judge && step.principle.as_deref() == principle;
    let verdict = judged.steps.iter().find(asked)?.verdict.as_ref()?;
    let odds = verdict.odds(samples);
    Some(AuditScore { log_odds: odds.log_odds, mass: verdict.mass(), offset: odds.offset() })
}

fn item(subject: &Subject, judged: Option<&Trajectory>) -> audit::AuditItem {
    let case = &subject.case;
    let category = case.item.metadata.get("category").and_then(Value::as_str);
    let label = match ComparisonFacts::from_item(&case.item).label {
        Some(Label::A) => Some(Better::X),
        Some(Label::B) => Some(Better::Y),
        Some(Label::Tie) | None => None,
    };
    let texts = judged.map(|judged| answers(&judged.steps).map(|step| step.text.as_str()));
    let texts: Vec<&str> = texts.into_iter().flatten().collect();
    let difference = |measure: fn(&str) -> f64| match texts[..] {
        [x, y] => Some(measure(x) - measure(y)),
        _ => None,
    };
    audit::AuditItem {
        key: subject.key.clone(),
        category: category.unwrap_or_default().to_owned(),
        label,
        length: difference(words),
        verbosity: difference(words_per_sentence),
        harmless: case.harmless,
    }
}

fn words(text: &str) -> f64 {
    text.split_whitespace().count() as f64
}

fn words_per_sentence(text: &str) -> f64 {
    let ends = |word: &&str| word.ends_with(['.', '!', '?', ':']);
    let sentences = text.lines().map(|line| {
        let mut words = line.split_whitespace();
        let last = words.next_back();
        words.filter(ends).count() + usize::from(last.is_some())
    });
    words(text) / (sentences.sum::<usize>().max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_end_with_a_mark_or_the_line() {
        for (text, expected) in [
            ("", 0.0),
            ("One two three", 3.0),
            ("One two. Three four!", 2.0),
            ("- one two\n- three\n\nFour five six?", 8.0 / 3.0),
            ("About 2.5 metres.", 3.0),
        ] {
            assert_eq!(words_per_sentence(text), expected, "{text:?}");
        }
    }
}
