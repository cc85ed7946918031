//! Reads the prompts of evaluation files. These may be in any format that training
//! data may be in, or have a prompt and nothing else.

use std::path::PathBuf;

use super::LintError;
use super::check::EvaluationLeak;
use crate::format::Columns;
use crate::format::example::Object;
use crate::rows::{FaultGroups, Input, InputFault, Problem, RowReader, files};

/// A row of an evaluation file has no prompt.
#[derive(Debug, thiserror::Error)]
#[error("no prompt in the row of an evaluation file: name its column prompt")]
struct NoPrompt;

impl Problem for NoPrompt {
    fn kind(&self) -> String {
        self.to_string()
    }
}

/// Reads the prompts of evaluation files.
///
/// # Errors
/// Fails if a file cannot be read or has a row without a prompt.
pub(super) fn read(paths: &[PathBuf]) -> Result<EvaluationLeak, LintError> {
    let mut evaluation = EvaluationLeak::default();
    let mut faults = FaultGroups::default();
    let inputs: Vec<Input> = paths.iter().cloned().map(Input::from).collect();
    for file in files(&inputs)? {
        for row in RowReader::open(&file)? {
            match row {
                Ok(row) => match prompt(&row.object) {
                    Some(prompt) => evaluation.add(&prompt, format!("{}{}", file.name, row.place)),
                    None => {
                        let (file, place) = (file.name.clone(), Some(row.place));
                        faults.add(&InputFault { file, place, problem: NoPrompt });
                    }
                },
                Err(fault) => faults.add(&fault),
            }
        }
    }
    if faults.is_empty() { Ok(evaluation) } else { Err(LintError::Evaluation(faults)) }
}

/// The last user turn.
fn prompt(row: &Object) -> Option<String> {
    let (_, example) = Columns::default().example(row).ok()?;
    let turn = example.prompt.into_iter().rfind(|turn| turn.role == "user")?;
    if turn.text.trim().is_empty() { None } else { Some(turn.text) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn prompts_are_found_in_rows_of_every_format() {
        for (row, expected) in [
            (json!({"question": "q", "answer": "a"}), Some("q")),
            (json!({"text": "t"}), Some("t")),
            (json!({"prompt": "p", "chosen": "a", "rejected": "b"}), Some("p")),
            (
                json!({"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]}),
                Some("u"),
            ),
            (json!({"label": 3}), None),
            (json!({"prompt": " "}), None),
        ] {
            let row: Object = serde_json::from_value(row).unwrap();
            assert_eq!(prompt(&row).as_deref(), expected);
        }
    }
}
