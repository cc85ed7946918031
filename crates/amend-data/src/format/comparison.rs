//! Two answers in the order of the row, and which is better, if it is known. Rows that also
//! have a chosen and a rejected answer are preferences.

use super::example::{Answers, Example, Object};
use super::fault::RowFault;
use super::fields::{Fields, has_list, prompt_key};
use super::labels::{Numbers, label};
use super::read::{RowKind, Shape, ShapeFacts};

/// A prompt, two answers and a label.
#[derive(Debug)]
pub(super) struct Comparison;

/// The columns of the first answer and of the second, and what numbers mean as their labels.
const SIDES: [([&str; 2], Numbers); 13] = [
    (["a", "b"], Numbers::None),
    (["response_a", "response_b"], Numbers::None),
    (["answer_a", "answer_b"], Numbers::None),
    (["output_a", "output_b"], Numbers::None),
    (["completion_a", "completion_b"], Numbers::None),
    (["response_1", "response_2"], Numbers::OneTwo),
    (["response1", "response2"], Numbers::OneTwo),
    (["response 1", "response 2"], Numbers::OneTwo),
    (["output_1", "output_2"], Numbers::OneTwo),
    (["output1", "output2"], Numbers::OneTwo),
    (["answer_1", "answer_2"], Numbers::OneTwo),
    (["answer1", "answer2"], Numbers::OneTwo),
    (["completion_1", "completion_2"], Numbers::OneTwo),
];

/// The columns of the label, in the order in which they are tried.
const LABELS: [&str; 3] = ["label", "winner", "preference"];

static FACTS: ShapeFacts = ShapeFacts {
    name: "comparison",
    about: "a prompt (see prompts) and two answers: `a`, `b`, or `response`, `answer`, `output` or \
            `completion` with `_a` and `_b`, `_1` and `_2`, or `1` and `2`; `label`, `winner` or \
            `preference`",
    columns: &[],
    used_by: "amend; JudgeBench, LLMBar, EvalBiasBench",
    labels: "`a`, `A>B`, `A>>B`, `[[A]]`, `model_a` or the name in `model_a`; `tie`, `A=B`, \
             `[[C]]`, `both`, `tie (bothbad)`; 1 and 2 for answers that end in 1 and 2",
    kind: RowKind::Pair,
    exports: &[],
};

fn sides(row: &Object) -> Option<([&'static str; 2], Numbers)> {
    SIDES.into_iter().find(|(sides, _)| sides.iter().all(|key| row.contains_key(*key)))
}

/// The columns of two answers and their labels.
pub(super) fn columns() -> impl Iterator<Item = &'static str> {
    SIDES.into_iter().flat_map(|(sides, _)| sides).chain(LABELS)
}

impl Shape for Comparison {
    fn facts(&self) -> &'static ShapeFacts {
        &FACTS
    }

    fn recognise(&self, row: &Object) -> Option<&'static str> {
        if row.contains_key("chosen") && row.contains_key("rejected") {
            return None;
        }
        sides(row)?;
        prompt_key(row).map(|_| "comparisons")
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        let (sides, numbers) = sides(row).unwrap_or(SIDES[0]);
        let key = LABELS.into_iter().find(|key| row.contains_key(*key)).unwrap_or(LABELS[0]);
        read(row, sides, key, numbers)
    }
}

/// Reads a comparison of the answers in two columns, with the label in the column `key`.
pub(super) fn read(
    row: &Object,
    [a, b]: [&str; 2],
    key: &str,
    numbers: Numbers,
) -> Result<Example, RowFault> {
    let mut fields = Fields::new(row);
    let prompt_key = prompt_key(row).unwrap_or("prompt");
    let prompt = fields.prompt(prompt_key)?;
    let chat = has_list(row, prompt_key) || has_list(row, a);
    let [a, b] = [fields.text_or_turns(a, "assistant")?, fields.text_or_turns(b, "assistant")?];
    let label = label(&mut fields, key, numbers)?;
    fields.example(prompt, Answers::Comparison { a, b, label }, chat)
}
