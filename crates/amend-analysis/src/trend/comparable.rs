//! What can be compared between two evaluations: items that are the same, and scores of
//! the same judge. And which runs repeat the answers of others.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::TrendInput;
use crate::evaluation::{EvaluatedItem, Measure, Results};
use amend_data::eval_set::{EvalSet, Probe};
use amend_data::store::manifest::{Manifest, differences};

/// The ids of the items of `set` that `other` has alike: the same request, descriptions
/// and checks.
pub(super) fn same_items<'a>(set: &'a EvalSet, other: &EvalSet) -> BTreeSet<&'a str> {
    let is_same = |probe: &&Probe| other.probe(&probe.id) == Some(*probe);
    set.probes.iter().filter(is_same).map(|probe| probe.id.as_str()).collect()
}

/// Whether the values of a measure are a judge's.
pub(super) fn is_judged(measure: &Measure) -> bool {
    match measure {
        Measure::Dimension(_) | Measure::JudgeFlip | Measure::JudgeShift => true,
        Measure::Checks | Measure::Injection | Measure::Expected => false,
    }
}

/// Everything that a judged measure depends on, apart from the item and the answer: the
/// model, the question and its template.
fn judge(measure: &Measure, manifest: &Manifest) -> Value {
    let constitution = &manifest.constitution.value;
    let mut model = manifest.judge_model.as_ref().unwrap_or(&manifest.model).clone();
    if let Some(model) = model.as_object_mut() {
        // Runs of earlier versions don't have it. The chat template has its own key.
        model.shift_remove("reasoning");
    }
    let template =
        |name: &str| manifest.templates.get(name).map(|template| template.sha256.as_str());
    let mut judge = json!({
        "model": model,
        "mass_floor": constitution.judge.mass_floor,
        "templates": { "rubric.j2": template("rubric.j2"), "macros.j2": template("macros.j2") },
        "fence_style": manifest.fence_style,
    });
    let dimensions = constitution.dimensions.iter();
    if let Measure::Dimension(id) = measure {
        judge["dimension"] =
            json!(dimensions.filter(|dimension| dimension.id == *id).collect::<Vec<_>>());
    } else {
        judge["dimensions"] = json!(dimensions.collect::<Vec<_>>());
        if let Some(set) = &manifest.input.set {
            // The items with a canary use the texts in turn.
            let injected = set.probes.iter().filter(|probe| probe.canary.is_some());
            judge["injected_items"] = json!(injected.map(|probe| &probe.id).collect::<Vec<_>>());
            judge["judge_injections"] = json!(set.judge_injections);
        }
    }
    judge
}

/// What differs in the judging of a measure, in words. `None` if the values can be compared.
pub(super) fn other_judge(
    measure: &Measure,
    before: &Manifest,
    after: &Manifest,
) -> Option<&'static str> {
    if !is_judged(measure) {
        return None;
    }
    let differences = differences(&judge(measure, before), &judge(measure, after));
    let path = &differences.first()?.path;
    Some(match path.split(['.', '[']).next().unwrap_or_default() {
        "model" => "judge model",
        "mass_floor" => "mass floor",
        "templates" | "fence_style" => "wording of the rubric",
        "dimension" | "dimensions" => "question",
        _ => "text of the injections",
    })
}

/// Whether more than half of the answers that both runs have are the same, word for word.
/// Such runs are not independent: they have the same seed, or a temperature of 0.
pub(super) fn repeats(one: &Results, other: &Results) -> bool {
    let texts: BTreeMap<String, &str> =
        one.answers.iter().filter_map(|answer| Some((answer.name(), text(answer)?))).collect();
    let (mut common, mut same) = (0, 0);
    for answer in &other.answers {
        if let (Some(text), Some(known)) = (text(answer), texts.get(&answer.name())) {
            common += 1;
            same += usize::from(text == *known);
        }
    }
    2 * same > common
}

fn text(answer: &EvaluatedItem) -> Option<&str> {
    answer.response.as_deref()
}

/// The most paths of differences that a run lists.
const PATHS: usize = 8;

/// The paths of what differs in how two runs were started, apart from values that follow
/// from others.
pub(super) fn changed(before: &TrendInput<'_>, after: &TrendInput<'_>) -> Vec<String> {
    let derived = ["input.sha256", "input.rows", "fence"];
    let mut paths: Vec<String> = Vec::new();
    for difference in before.manifest.difference(after.manifest) {
        if !derived.contains(&difference.path.as_str()) {
            paths.push(difference.path);
        }
    }
    if paths.is_empty() && before.manifest.input.sha256 != after.manifest.input.sha256 {
        // Another system prompt is a part of the items only.
        paths.push("input".to_owned());
    }
    if paths.len() > PATHS {
        let more = paths.len() - PATHS;
        paths.truncate(PATHS);
        paths.push(format!("{more} more"));
    }
    paths
}
