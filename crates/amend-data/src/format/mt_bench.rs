//! MT-bench: `turns` has the user's turns. Later turns depend on the answers to earlier
//! ones, so the prompt is the first turn; a column with several turns stays metadata.

use serde_json::Value;

use super::example::{Answers, Example, ExampleTurn, Object};
use super::fault::RowFault;
use super::fields::{Fields, prompt_key};
use super::read::{RowKind, Shape, ShapeFacts};

/// `turns`: the user's turns.
#[derive(Debug)]
pub(super) struct MtBench;

static FACTS: ShapeFacts = ShapeFacts {
    name: "MT-bench",
    about: "`turns`: the user's turns, of which the first is the prompt",
    columns: &["turns"],
    used_by: "MT-bench, Arena-Hard",
    labels: "",
    kind: RowKind::Prompt,
    exports: &[],
};

impl Shape for MtBench {
    fn facts(&self) -> &'static ShapeFacts {
        &FACTS
    }

    fn recognise(&self, row: &Object) -> Option<&'static str> {
        let turns = row.get("turns")?.as_array()?;
        if prompt_key(row).is_some() {
            return None;
        }
        // Turns with roles are a whole conversation, whose first turn may not be the user's.
        let asked = |turn: &Value| turn.get("role").is_none_or(|role| role == "user");
        turns.iter().all(asked).then_some("MT-bench turns")
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        let mut fields = Fields::new(row);
        let turns = fields.list("turns")?;
        let first = turns.first().map(|turn| turn.get("content").unwrap_or(turn));
        let text = first
            .and_then(|turn| turn.as_str())
            .ok_or_else(|| RowFault::wrong("/turns", "a list of texts", &row["turns"]))?;
        let nested = if turns[0].is_object() { "/content" } else { "" };
        let prompt = vec![ExampleTurn::new("user", text, format!("/turns/0{nested}"))];
        let all_used = turns.len() == 1;
        let mut example = fields.example(prompt, Answers::None, true)?;
        if !all_used {
            example.used.clear();
        }
        Ok(example)
    }
}
