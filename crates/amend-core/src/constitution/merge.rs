//! Merges the forms of several files into one constitution, as `extends` defines.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::form::{ConstitutionForm, DimensionForm, ExampleForm, PrincipleForm};
use super::{
    Constitution, Dimension, Export, FewShotExample, Governance, Judge, Method, Plan, Principle,
    StepSampling, defaults,
};
use crate::chat::RESERVED_VARIABLES;
use crate::constitution::Thresholds;
use crate::document::diagnostic::{Diagnostic, closest};
use crate::document::schema::SourceText;

/// A file and the files it extends.
pub(super) struct Node {
    pub(super) source: SourceText,
    pub(super) file: ConstitutionForm,
    /// The indices of the extended nodes, each with the span of its entry.
    pub(super) extends: Vec<(usize, Range<usize>)>,
}

/// Merges `nodes` into one constitution. They are in the order in which they
/// apply: each node follows all nodes it extends, so the last is the file that was
/// requested.
pub(super) fn merge(nodes: &[Node]) -> Result<Constitution, Vec<Diagnostic>> {
    let reach = reach(nodes);
    let mut plan = Plan::default();
    let mut sampling = StepSampling::default();
    let mut judge = Judge::default();
    let mut governance = Governance::default();
    let mut export = Export::default();
    let mut audit = Map::new();
    let mut principles = Collected::default();
    let mut dimensions = Collected::default();
    for (index, node) in nodes.iter().enumerate() {
        node.file.plan.apply(&mut plan);
        node.file.sampling.apply(&mut sampling);
        node.file.judge.apply(&mut judge);
        node.file.governance.apply(&mut governance);
        node.file.export.apply(&mut export);
        audit.extend(node.file.audit.clone());
        for form in &node.file.principle {
            principles.add(principle(form), index, &reach);
        }
        for form in &node.file.dimension {
            dimensions.add(dimension(form), index, &reach);
        }
    }
    let mut errors = principles.clashes(nodes, &reach);
    errors.extend(dimensions.clashes(nodes, &reach));
    let Some(root) = nodes.last() else { return Err(errors) };
    let header = &root.file.constitution;
    if principles.items.is_empty() {
        errors.push(
            root.source
                .error(header.span(), "the constitution has no principle")
                .with_hint("add a `[[principle]]` with an `id` and a `principle`"),
        );
    }
    let contradiction =
        |(message, hint): (&str, &str)| root.source.error(header.span(), message).with_hint(hint);
    errors.extend(contradictions(&plan, &judge, &sampling).into_iter().map(contradiction));
    let categories: Vec<&str> =
        principles.items.iter().map(|(principle, _)| principle.category.as_str()).collect();
    for (key, named) in [("log", &governance.log), ("require_review", &governance.require_review)] {
        for category in named {
            if categories.contains(&category.as_str()) {
                continue;
            }
            let message = format!(
                "`{key}` in `[governance]` names {category:?}, but no principle has that category"
            );
            let mut diagnostic = root.source.error(header.span(), message);
            if let Some(near) = closest(category, categories.iter().copied()) {
                diagnostic = diagnostic.with_hint(format!("did you mean \"{near}\"?"));
            }
            errors.push(diagnostic);
        }
    }
    // The schema is generated from the thresholds, so whatever passes it deserialises.
    let audit = Thresholds::deserialize(Value::Object(audit)).unwrap_or_else(|error| {
        errors.push(root.source.error(header.span(), error.to_string()));
        Thresholds::default()
    });
    errors.extend(label_word_error(&audit, &judge).map(contradiction));
    if !errors.is_empty() {
        return Err(errors);
    }
    let header = header.get_ref();
    Ok(Constitution {
        name: header.name.clone(),
        version: header.version.clone(),
        description: header.description.clone(),
        language: header.language.clone(),
        plan,
        principles: principles.finish(),
        dimensions: dimensions.finish(),
        judge,
        sampling,
        governance,
        export,
        audit,
    })
}

/// Finds values that contradict one another: each a message and a hint.
fn contradictions(
    plan: &Plan,
    judge: &Judge,
    sampling: &StepSampling,
) -> Vec<(&'static str, &'static str)> {
    let mut errors = Vec::new();
    if plan.method == Method::Both && plan.rounds == 0 {
        errors.push((
            "the method `both` revises too, but there are no rounds",
            "in `[loop]`, set `rounds` to 1 or more, or `method` to \"contrast\"",
        ));
    } else if plan.method.has_rounds() && plan.rounds == 0 && plan.candidates < 2 {
        errors.push((
            "with no rounds and one candidate, there is nothing to compare",
            "in `[loop]`, set `rounds` to 1 or more, or `candidates` to 2 or more",
        ));
    }
    if plan.candidates > 1 && !judge.enabled {
        errors.push((
            "several candidates need a judge to choose among them",
            "remove `enabled = false` in `[judge]`, or set `candidates` to 1",
        ));
    }
    if judge.reasons > 1 && sampling.judge.temperature == 0.0 {
        errors.push((
            "at temperature 0, all samples of the judge's reasons are identical",
            "set `temperature` in `[sampling.judge]` above 0, or `reasons` in `[judge]` to 1",
        ));
    }
    let steps = [&sampling.generate, &sampling.critique, &sampling.revise, &sampling.judge];
    let is_set = |name: &&str| {
        steps.iter().any(|step| step.reasoning.chat_template_kwargs.contains_key(*name))
    };
    if RESERVED_VARIABLES.iter().any(is_set) {
        errors.push((
            "`chat_template_kwargs` can't have the keys `messages` and `add_generation_prompt`",
            "remove them: amend sets these variables of chat templates itself",
        ));
    }
    if judge.clamp[0] > judge.clamp[1] {
        errors
            .push(("the bounds of `clamp` are in descending order", "write the lower bound first"));
    }
    if judge.labels[0] == judge.labels[1] {
        errors.push(("both responses have the same label", "give `labels` two different strings"));
    }
    errors
}

/// Checks an audit's alternative labels: returns a message and a hint if they
/// can't tell the two responses apart or add nothing.
fn label_word_error(audit: &Thresholds, judge: &Judge) -> Option<(&'static str, &'static str)> {
    let pairs = &audit.label_words;
    if pairs.iter().any(|[first, second]| first == second) {
        return Some((
            "a pair of `label_words` gives both responses the same label",
            "in `[audit]`, write two different words in each pair of `label_words`",
        ));
    }
    if pairs.contains(&judge.labels) {
        return Some((
            "`label_words` contains the labels that the judge already uses",
            "in `[audit]`, remove from `label_words` the pair in `labels` of `[judge]` (by default \
             A and B)",
        ));
    }
    if pairs.iter().enumerate().any(|(index, pair)| pairs[..index].contains(pair)) {
        return Some((
            "`label_words` contains the same pair twice",
            "in `[audit]`, write each pair of `label_words` once",
        ));
    }
    None
}

/// For each node, the nodes it extends, directly or indirectly.
fn reach(nodes: &[Node]) -> Vec<BTreeSet<usize>> {
    let mut reach: Vec<BTreeSet<usize>> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let mut all = BTreeSet::new();
        for &(base, _) in &node.extends {
            all.insert(base);
            all.extend(&reach[base]);
        }
        reach.push(all);
    }
    reach
}

/// An entry with an id, which an extending file can override.
trait Named: PartialEq {
    const KIND: &'static str;
    fn id(&self) -> &str;
}

impl Named for Principle {
    const KIND: &'static str = "principle";
    fn id(&self) -> &str {
        &self.id
    }
}

impl Named for Dimension {
    const KIND: &'static str = "dimension";
    fn id(&self) -> &str {
        &self.id
    }
}

/// Entries in order, each with the node that defines it.
struct Collected<T> {
    items: Vec<(T, usize)>,
    /// Ids that two nodes define differently although neither extends the other.
    clashes: Vec<(String, usize, usize)>,
}

impl<T> Default for Collected<T> {
    fn default() -> Self {
        Self { items: Vec::new(), clashes: Vec::new() }
    }
}

impl<T: Named> Collected<T> {
    fn add(&mut self, item: T, node: usize, reach: &[BTreeSet<usize>]) {
        let Some((old, owner)) = self.items.iter_mut().find(|(old, _)| old.id() == item.id())
        else {
            self.items.push((item, node));
            return;
        };
        if reach[node].contains(owner) {
            self.clashes.retain(|(id, first, second)| {
                id != item.id() || !(reach[node].contains(first) && reach[node].contains(second))
            });
            *old = item;
            *owner = node;
        } else if *old != item {
            self.clashes.push((item.id().to_owned(), *owner, node));
        }
    }

    /// Reports the remaining clashes, each at the `extends` entry that combines the
    /// two definitions.
    fn clashes(&self, nodes: &[Node], reach: &[BTreeSet<usize>]) -> Vec<Diagnostic> {
        let report = |(id, first, second): &(String, usize, usize)| {
            let both = reach.iter().position(|all| all.contains(first) && all.contains(second))?;
            let leads_to_second =
                |&&(base, _): &&(usize, _)| base == *second || reach[base].contains(second);
            let (_, span) = nodes[both].extends.iter().find(leads_to_second)?;
            let (first, second) = (&nodes[*first].source.name, &nodes[*second].source.name);
            let kind = T::KIND;
            let message =
                format!("the {kind} {id:?} is defined differently in {first} and {second}");
            Some(
                nodes[both]
                    .source
                    .error(span.clone(), message)
                    .with_label("adds the second definition")
                    .with_hint(format!("add a `[[{kind}]]` with that id here to choose one")),
            )
        };
        self.clashes.iter().filter_map(report).collect()
    }

    fn finish(self) -> Vec<T> {
        self.items.into_iter().map(|(item, _)| item).collect()
    }
}

fn principle(form: &PrincipleForm) -> Principle {
    let rule = form.principle.trim();
    let or_default =
        |text: &Option<String>, default: &dyn Fn() -> String| text.clone().unwrap_or_else(default);
    Principle {
        id: form.id.clone(),
        title: or_default(&form.title, &|| defaults::title(&form.id)),
        category: form.category.clone(),
        weight: form.weight,
        principle: rule.to_owned(),
        critique: or_default(&form.critique, &|| defaults::critique_request(rule)),
        revise: or_default(&form.revise, &|| defaults::revise_request(rule)),
        judge: or_default(&form.judge, &|| defaults::judge_request(rule)),
        applies_when: form.applies_when.clone(),
        paraphrases: form.paraphrases.iter().map(|text| text.trim().to_owned()).collect(),
        labels: None,
        examples: form.examples.iter().map(example).collect(),
    }
}

fn example(form: &ExampleForm) -> FewShotExample {
    FewShotExample {
        prompt: form.prompt.clone(),
        response: form.response.clone(),
        critique: form.critique.clone(),
        revision: form.revision.clone(),
    }
}

fn dimension(form: &DimensionForm) -> Dimension {
    Dimension { id: form.id.clone(), question: form.question.clone(), scale: form.scale }
}
