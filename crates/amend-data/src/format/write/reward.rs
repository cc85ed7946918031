//! Preferences with a margin, for reward models. TRL's `RewardTrainer` and OpenRLHF
//! subtract the margin from the difference of the two rewards.

use serde_json::json;

use super::trl::{preference_columns, turns_apart};
use super::{ExportFormat, Rows};
use crate::format::cells::number;
use crate::format::thoughts::ThoughtPlace;

/// The margin of a pair without a decided verdict. With it, the loss is the one
/// without margins.
const UNJUDGED: f64 = 0.0;

pub(super) const REWARD: ExportFormat = ExportFormat {
    name: "reward",
    about: "reward models, with a margin",
    columns: |key| preference_columns(key).into_iter().chain([number("margin")]).collect(),
    rows: Rows::Pairs(|pair, sides, _| {
        let mut row = turns_apart(pair, sides);
        let margin = match &pair.judgement {
            Some(judgement) if !judgement.decisive.undecided => judgement.decisive.margin,
            _ => UNJUDGED,
        };
        row.insert("margin".to_owned(), json!(margin));
        Ok(row)
    }),
    thoughts: ThoughtPlace::KeyAndKwargs,
    dataset_info: None,
};
