//! The table of shapes, and which of them a row has.

use super::example::{Example, Object};
pub use super::fault::RowFault;
use super::{
    alpaca, annotated_pairs, arena, auto_j, axolotl, comparison, completion, constitutional_ai,
    conversation, helpsteer, hh_rlhf, hhh, kto, ms_swift, mt_bench, nectar, nemo,
    openai_preference, pandalm, preference, prompts, safe_rlhf, sharegpt, shp, stack_exchange,
    trajectories, ultrafeedback,
};

/// A shape of rows.
pub trait Shape: Sync + std::fmt::Debug {
    /// What is known about the shape.
    fn facts(&self) -> &'static ShapeFacts;

    /// The name of a row's variant of the shape; `None` if the row has another shape.
    fn recognise(&self, row: &Object) -> Option<&'static str>;

    /// Reads a row.
    ///
    /// # Errors
    /// Fails if a column is missing or its value is not what the shape defines.
    fn read(&self, row: &Object) -> Result<Example, RowFault>;
}

/// What is known about a shape.
#[derive(Debug)]
pub struct ShapeFacts {
    /// The name.
    pub name: &'static str,
    /// What the columns contain, in Markdown.
    pub about: &'static str,
    /// The columns that the shape reads besides those that many shapes share: lower case,
    /// with underscores unless a space distinguishes the shape.
    pub columns: &'static [&'static str],
    /// The trainers that read such rows, and the datasets that have them.
    pub used_by: &'static str,
    /// How labels are spelled, in Markdown. Empty if the shape has none.
    pub labels: &'static str,
    /// What a row contains.
    pub kind: RowKind,
    /// The names of the export formats that write the shape.
    pub exports: &'static [&'static str],
}

/// What rows of a shape contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowKind {
    /// A prompt.
    Prompt,
    /// A prompt, and an answer if there is one.
    Answer,
    /// Two answers, with or without a label.
    Pair,
    /// One answer or two.
    AnswerOrPair,
    /// A record of a run, which is written and not read.
    Record,
}

impl RowKind {
    /// The commands that read such rows. Those that read prompts also read the prompts of
    /// pairs.
    #[must_use]
    pub fn commands(self) -> &'static [&'static str] {
        match self {
            Self::Prompt | Self::Answer => &["run", "check", "audit", "lint"],
            Self::Pair | Self::AnswerOrPair => &["run", "check", "judge", "score", "audit", "lint"],
            Self::Record => &[],
        }
    }
}

/// Every shape. The first one that recognises a row reads it, so the more specific ones
/// come first. A row may have two answers and, beside them, a single one, such as a
/// reference: shapes of two answers come before those of one.
pub static SHAPES: &[&dyn Shape] = &[
    &trajectories::Trajectories,
    &annotated_pairs::AnnotatedPairs,
    &openai_preference::OpenAiPreference,
    &nemo::Nemo,
    &ultrafeedback::UltraFeedback,
    &nectar::Nectar,
    &stack_exchange::StackExchange,
    &hhh::Hhh,
    &shp::Shp,
    &safe_rlhf::SafeRlhf,
    &auto_j::AutoJ,
    &pandalm::PandaLm,
    &helpsteer::HelpSteer,
    &arena::Arena,
    &ms_swift::MsSwift,
    &comparison::Comparison,
    &alpaca::Alpaca,
    &sharegpt::ShareGpt,
    &axolotl::Axolotl,
    &conversation::Conversation,
    &hh_rlhf::HhRlhf,
    &constitutional_ai::ConstitutionalAi,
    &preference::Preference,
    &kto::Kto,
    &completion::Completion,
    &mt_bench::MtBench,
    &prompts::Prompts,
];

/// Recognises the shape of a row, and returns it with the name of its variant. The names
/// of columns are as shapes call them; [`super::Columns`] also finds others.
///
/// # Errors
/// Fails with [`RowFault::Unknown`] if no shape has the row's columns, and with
/// [`RowFault::Trajectory`] if it is a trajectory.
pub fn recognise(row: &Object) -> Result<(&'static dyn Shape, &'static str), RowFault> {
    let (shape, name) = SHAPES
        .iter()
        .find_map(|shape| Some((*shape, shape.recognise(row)?)))
        .ok_or_else(|| RowFault::Unknown { keys: row.keys().cloned().collect() })?;
    if shape.facts().kind == RowKind::Record {
        Err(RowFault::Trajectory)
    } else {
        Ok((shape, name))
    }
}
