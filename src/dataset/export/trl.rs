//! `trl`: conversational preference records as TRL's trainers read them, a JSON
//! object a line. Every line has every key, so that loaders which infer a
//! table's columns find them all.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Format, Provenance};
use crate::chat::{Message, Role};
use crate::dataset::pairs::{self, DropReason};
use crate::dataset::trajectories::Trajectory;

/// TRL's conversational preference format.
pub(super) struct Trl;

#[derive(Serialize)]
struct Line<'a> {
    prompt: &'a [Message],
    chosen: [Message; 1],
    rejected: [Message; 1],
    /// The input's id, else the item's key.
    id: &'a str,
    /// The categories of the principles.
    category: Vec<&'a str>,
    /// The last critique.
    reason: Option<&'a str>,
    principles: &'a [&'a str],
    run: &'a str,
    metadata: &'a Map<String, Value>,
}

impl Format for Trl {
    fn name(&self) -> &'static str {
        "trl"
    }

    fn write(
        &self,
        run: &Provenance<'_>,
        trajectory: &Trajectory,
        out: &mut dyn Write,
    ) -> io::Result<Result<(), DropReason>> {
        let pair = match pairs::pair(trajectory) {
            Ok(pair) => pair,
            Err(reason) => return Ok(Err(reason)),
        };
        let item = &trajectory.item;
        let answer = |text: &str| [Message::new(Role::Assistant, text)];
        let line = Line {
            prompt: &item.messages,
            chosen: answer(pair.chosen),
            rejected: answer(pair.rejected),
            id: item.id.as_deref().unwrap_or(&item.key),
            category: run.categories.of(&pair.principles),
            reason: pair.reason,
            principles: &pair.principles,
            run: run.run,
            metadata: &item.metadata,
        };
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")?;
        Ok(Ok(()))
    }
}
