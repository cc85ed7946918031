//! Prompts of evaluation files, of any format data may have, and of those with a
//! question alone.

use std::path::{Path, PathBuf};

use super::check::Evaluation;
use super::rows::{self, Row};
use super::{LintError, RowsError, unreadable};
use crate::format::example::{Example, Object};
use crate::format::read::recognise;
use crate::rows::row::PROMPTS;

/// Reads the prompts of some files.
///
/// # Errors
/// A file can't be read, or has a row without a prompt.
pub(super) fn read(files: &[PathBuf]) -> Result<Evaluation, LintError> {
    let mut evaluation = Evaluation::default();
    for path in files {
        let bad = |source: RowsError| unreadable(path, source);
        let mut missing = None;
        rows::read(path, &rows::form(path).map_err(bad)?, &mut |row: Row<'_>| {
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

/// The last thing the user says, or the text of a key that usually holds it.
fn prompt(row: &Object) -> Option<String> {
    let read = |row| recognise(row).ok()?.0.read(row).ok();
    let last = |example: Example| {
        example.prompt.into_iter().rfind(|turn| turn.role == "user").map(|turn| turn.text)
    };
    let named = || PROMPTS.iter().find_map(|&key| row.get(key)?.as_str().map(str::to_owned));
    read(row).and_then(last).or_else(named).filter(|text| !text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn prompts_are_found_in_rows_of_any_kind() {
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
