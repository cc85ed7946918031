//! Reads the prompts of evaluation files. These may be in any format that training
//! data may be in, or have a prompt and nothing else.

use std::path::{Path, PathBuf};

use super::check::EvaluationLeak;
use super::rows::{self, LintRow};
use super::{LintError, RowsError, unreadable};
use crate::format::Columns;
use crate::format::example::Object;
use crate::rows::row::PROMPTS;

/// Reads the prompts of evaluation files.
///
/// # Errors
/// Fails if a file cannot be read or has a row without a prompt.
pub(super) fn read(files: &[PathBuf]) -> Result<EvaluationLeak, LintError> {
    let mut evaluation = EvaluationLeak::default();
    for path in files {
        let bad = |source: RowsError| unreadable(path, source);
        let mut missing = None;
        rows::read(path, &rows::form(path).map_err(bad)?, &mut |row: LintRow<'_>| {
            match prompt(&row.object) {
                Some(prompt) => evaluation.add(&prompt, name(path, row.number)),
                None => {
                    missing.get_or_insert(row.number);
                }
            }
            Ok::<(), RowsError>(())
        })
        .map_err(bad)?;
        if let Some(row) = missing {
            return Err(LintError::NoPrompt { file: path.display().to_string(), row });
        }
    }
    Ok(evaluation)
}

fn name(path: &Path, row: u64) -> String {
    format!("{} row {row}", path.display())
}

/// The last user turn, or the text of a key that usually holds the prompt.
fn prompt(row: &Object) -> Option<String> {
    let text = last_user_turn(row)
        .or_else(|| PROMPTS.iter().find_map(|&key| row.get(key)?.as_str().map(str::to_owned)))?;
    if text.trim().is_empty() { None } else { Some(text) }
}

fn last_user_turn(row: &Object) -> Option<String> {
    let columns = Columns::default();
    let (shape, _) = columns.recognise(row).ok()?;
    let example = columns.read(shape, row).ok()?;
    let turn = example.prompt.into_iter().rfind(|turn| turn.role == "user")?;
    Some(turn.text)
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
