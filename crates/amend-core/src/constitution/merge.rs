//! Several files' forms to one constitution: what `extends` means.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::form::{DimensionForm, ExampleForm, File, PrincipleForm};
use super::{
    Constitution, Dimension, Example, Export, Governance, Judge, Plan, Principle, StepSampling,
    defaults,
};
use crate::constitution::Thresholds;
use crate::document::diagnostic::{Diagnostic, closest};
use crate::document::schema::Source;

/// A file with what it extends.
pub(super) struct Node {
    pub(super) source: Source,
    pub(super) file: File,
    /// The nodes it names, by index, each with where it names them.
    pub(super) extends: Vec<(usize, Range<usize>)>,
}

/// Makes one constitution of `nodes`, which come in the order they apply: each
/// after all that it extends, so that the last is the one asked for.
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
    let mut found = principles.clashes(nodes, &reach);
    found.extend(dimensions.clashes(nodes, &reach));
    let Some(root) = nodes.last() else { return Err(found) };
    let header = &root.file.constitution;
    if principles.items.is_empty() {
        found.push(
            root.source
                .error(header.span(), "the constitution has no principle")
                .with_hint("add a `[[principle]]` with an `id` and a `principle`"),
        );
    }
    let unsound =
        |(message, hint): (&str, &str)| root.source.error(header.span(), message).with_hint(hint);
    found.extend(contradictions(&plan, &judge, &sampling).into_iter().map(unsound));
    let categories: Vec<&str> =
        principles.items.iter().map(|(principle, _)| principle.category.as_str()).collect();
    let logged = governance.log.iter().map(|category| ("logs", category));
    let reviewed = governance.require_review.iter();
    let named = logged.chain(reviewed.map(|category| ("requires reviews of", category)));
    let unknown = named.filter(|(_, category)| !categories.contains(&category.as_str()));
    found.extend(unknown.map(|(does, category)| {
        let message =
            format!("`[governance]` {does} {category:?}, and no principle has that category");
        let hint = closest(category, categories.iter().copied());
        let diagnostic = root.source.error(header.span(), message);
        match hint {
            Some(near) => diagnostic.with_hint(format!("did you mean \"{near}\"?")),
            None => diagnostic,
        }
    }));
    // The schema is made from the thresholds, so that what passed it can be read.
    let audit = Thresholds::deserialize(Value::Object(audit))
        .map_err(|error| found.push(root.source.error(header.span(), error.to_string())))
        .unwrap_or_default();
    found.extend(unclear_words(&audit, &judge).map(unsound));
    if !found.is_empty() {
        return Err(found);
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

/// What no single key of a file shows: values that don't go together.
fn contradictions(
    plan: &Plan,
    judge: &Judge,
    sampling: &StepSampling,
) -> Vec<(&'static str, &'static str)> {
    let mut found = Vec::new();
    if plan.rounds == 0 && plan.candidates < 2 {
        found.push((
            "with no rounds and one candidate there is nothing to compare",
            "in `[loop]`, set `rounds` to 1 or more, or `candidates` to 2 or more",
        ));
    }
    if plan.candidates > 1 && !judge.enabled {
        found.push((
            "several candidates need a judge to choose among them",
            "take out `enabled = false` in `[judge]`, or set `candidates` to 1",
        ));
    }
    if judge.reasons > 1 && sampling.judge.temperature == 0.0 {
        found.push((
            "samples of reasons drawn at temperature 0 are all the same",
            "set `temperature` in `[sampling.judge]` above 0, or `reasons` in `[judge]` to 1",
        ));
    }
    if judge.clamp[0] > judge.clamp[1] {
        found.push(("the two numbers of `clamp` run downwards", "write the lower one first"));
    }
    if judge.labels[0] == judge.labels[1] {
        found.push(("both answers have the same label", "give `labels` two different texts"));
    }
    found
}

/// What is wrong with an audit's words for the two answers.
fn unclear_words(audit: &Thresholds, judge: &Judge) -> Option<(&'static str, &'static str)> {
    let pairs = &audit.label_words;
    if pairs.iter().any(|[first, second]| first == second) {
        return Some((
            "`label_words` calls both answers the same",
            "in `[audit]`, give two different words in each pair of `label_words`",
        ));
    }
    if pairs.contains(&judge.labels) {
        return Some((
            "`label_words` holds the words that the judge uses already",
            "in `[audit]`, leave out of `label_words` what `labels` in `[judge]` says (A and B, \
             unless it says otherwise)",
        ));
    }
    let again = |(at, pair): (usize, &[String; 2])| pairs[..at].contains(pair);
    pairs.iter().enumerate().any(again).then_some((
        "`label_words` holds a pair of words twice",
        "in `[audit]`, give each pair of `label_words` once",
    ))
}

/// For each node, the nodes it builds on, near and far.
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

/// What has an id that a file may take over from one it extends.
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

/// Items in order, each with the node it comes from.
struct Collected<T> {
    items: Vec<(T, usize)>,
    /// Ids that two nodes define differently, neither building on the other.
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
            self.clashes.retain(|(id, one, two)| {
                id != item.id() || !(reach[node].contains(one) && reach[node].contains(two))
            });
            *old = item;
            *owner = node;
        } else if *old != item {
            self.clashes.push((item.id().to_owned(), *owner, node));
        }
    }

    /// The clashes left, each told where a file brings the two together.
    fn clashes(&self, nodes: &[Node], reach: &[BTreeSet<usize>]) -> Vec<Diagnostic> {
        let told = |(id, one, two): &(String, usize, usize)| {
            let both = reach.iter().position(|all| all.contains(one) && all.contains(two))?;
            let leads = |&&(base, _): &&(usize, _)| base == *two || reach[base].contains(two);
            let (_, span) = nodes[both].extends.iter().find(leads)?;
            let (one, two) = (&nodes[*one].source.name, &nodes[*two].source.name);
            let kind = T::KIND;
            let message = format!("the {kind} {id:?} is not the same in {one} and in {two}");
            Some(
                nodes[both]
                    .source
                    .error(span.clone(), message)
                    .with_label("brings in the second")
                    .with_hint(format!("write a `[[{kind}]]` with that id here to decide")),
            )
        };
        self.clashes.iter().filter_map(told).collect()
    }

    fn finish(self) -> Vec<T> {
        self.items.into_iter().map(|(item, _)| item).collect()
    }
}

fn principle(form: &PrincipleForm) -> Principle {
    let rule = form.principle.trim();
    let or =
        |text: &Option<String>, default: &dyn Fn() -> String| text.clone().unwrap_or_else(default);
    Principle {
        id: form.id.clone(),
        title: or(&form.title, &|| defaults::title(&form.id)),
        category: form.category.clone(),
        weight: form.weight,
        principle: rule.to_owned(),
        critique: or(&form.critique, &|| defaults::critique_request(rule)),
        revise: or(&form.revise, &|| defaults::revise_request(rule)),
        judge: or(&form.judge, &|| defaults::judge_request(rule)),
        applies_when: form.applies_when.clone(),
        paraphrases: form.paraphrases.iter().map(|text| text.trim().to_owned()).collect(),
        labels: None,
        examples: form.examples.iter().map(example).collect(),
    }
}

fn example(form: &ExampleForm) -> Example {
    Example {
        prompt: form.prompt.clone(),
        response: form.response.clone(),
        critique: form.critique.clone(),
        revision: form.revision.clone(),
    }
}

fn dimension(form: &DimensionForm) -> Dimension {
    Dimension { id: form.id.clone(), question: form.question.clone(), scale: form.scale }
}
