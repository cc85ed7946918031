//! The export formats, one file for each trainer. A format is a pure mapping from
//! pairs, answers or trajectories to rows; it reads no run and writes no file.

use std::collections::HashMap;

use arrow_schema::{Field, Schema};
use serde_json::{Map, Value};

use super::origin::{Origin, Provenance};
use super::thoughts::{ReasoningPolicy, Response, RowThoughts, Sides, ThoughtPlace};
use super::{
    alpaca, annotated_pairs, axolotl, completion, constitutional_ai, hh_rlhf, kto, ms_swift, nemo,
    openai_preference, preference, sharegpt, trajectories,
};
use crate::pairs::{self, Answer, DropReason, Pair, PairMethod, RevisedFrom, Which};
use crate::store::trajectories::Trajectory;
use amend_core::chat::Role;
use amend_core::record::Item;

/// A row: the values of its columns by name, in order.
pub(crate) type ExportRow = Map<String, Value>;

/// An export format.
#[derive(Debug)]
pub struct ExportFormat {
    /// The name on the command line.
    pub name: &'static str,
    /// A short description: the trainer and the kind of rows.
    pub about: &'static str,
    /// The columns of the format for a run, without those of the origin. Turns that are
    /// answers have the key of thoughts, if there is one.
    pub(super) columns: fn(&Provenance<'_>) -> Vec<Field>,
    pub(super) rows: Rows,
    /// Where its trainer reads thoughts.
    pub(crate) thoughts: ThoughtPlace,
    /// The entry in LLaMA-Factory's `dataset_info.json`, without the file name.
    pub(crate) dataset_info: Option<fn() -> ExportRow>,
}

/// What a format makes rows from.
#[derive(Debug)]
pub(super) enum Rows {
    /// One row for each pair.
    Pairs(fn(&Pair<'_>, &Sides<'_>, &Provenance<'_>) -> Result<ExportRow, DropReason>),
    /// One row for each response of a pair, labelled true if it is the chosen one.
    Labels(fn(&Item, &Response<'_>, bool) -> Result<ExportRow, DropReason>),
    /// One row for each item's last answer.
    Answers(fn(&Item, &Response<'_>) -> Result<ExportRow, DropReason>),
    /// One row for each model call.
    Steps(StepRows),
    /// One row for each finished item, failed items included.
    Trajectories(fn(&Trajectory) -> ExportRow),
}

/// Makes the rows of a trajectory's model calls.
pub(super) type StepRows = fn(&Trajectory, &Provenance<'_>) -> Vec<Result<StepRow, DropReason>>;

/// The row of a model call, without its origin.
pub(super) struct StepRow {
    pub row: ExportRow,
    pub thoughts: RowThoughts,
    pub revised: Option<RevisedFrom>,
}

/// A complete row.
#[derive(Debug)]
pub(crate) struct MadeRow {
    pub row: ExportRow,
    /// Whether it has the thoughts of its answers.
    pub thoughts: RowThoughts,
    /// What led to its answer, if that is a revision.
    pub revised: Option<RevisedFrom>,
}

/// All export formats.
pub const FORMATS: &[ExportFormat] = &[
    preference::CONVERSATIONAL,
    preference::STANDARD,
    kto::KTO,
    completion::SFT,
    completion::STEPS,
    preference::REWARD,
    axolotl::INTEL,
    axolotl::ULTRA,
    axolotl::CHAT_TEMPLATE,
    alpaca::ALPACA,
    sharegpt::SHAREGPT,
    sharegpt::KTO,
    preference::OPENRLHF,
    nemo::NEMO,
    openai_preference::OPENAI_PREFERENCE,
    ms_swift::MS_SWIFT,
    hh_rlhf::HH_RLHF,
    constitutional_ai::CONSTITUTIONAL_AI,
    annotated_pairs::ANNOTATED_PAIRS,
    completion::PLAIN,
    preference::PLAIN,
    trajectories::TRAJECTORIES,
];

impl ExportFormat {
    /// Finds a format by its name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        FORMATS.iter().find(|format| format.name == name)
    }

    /// The noun for one of its rows, and for several.
    #[must_use]
    pub fn nouns(&self) -> [&'static str; 2] {
        match self.rows {
            Rows::Pairs(_) => ["pair", "pairs"],
            Rows::Labels(_) => ["labelled answer", "labelled answers"],
            Rows::Answers(_) => ["answer", "answers"],
            Rows::Steps(_) => ["step", "steps"],
            Rows::Trajectories(_) => ["trajectory", "trajectories"],
        }
    }

    /// Returns whether the format supports a pairing. Formats that are not pairs support
    /// only [`Which::Last`]: with other pairings, most responses are chosen in one pair
    /// and rejected in another, and so have no label.
    #[must_use]
    pub fn takes(&self, which: Which) -> bool {
        which == Which::Last || matches!(self.rows, Rows::Pairs(_))
    }

    /// Returns whether trainers read its rows, so that filters apply. Whole trajectories
    /// are a record and never filtered.
    #[must_use]
    pub fn trains(&self) -> bool {
        !matches!(self.rows, Rows::Trajectories(_))
    }

    /// Returns whether a policy writes thoughts into the texts of answers.
    #[must_use]
    pub fn has_thoughts_in_texts(&self, policy: ReasoningPolicy) -> bool {
        match policy {
            ReasoningPolicy::Drop => false,
            ReasoningPolicy::Field => self.thoughts == ThoughtPlace::Text,
            ReasoningPolicy::Inline => true,
        }
    }

    /// Returns the names of the formats that support a policy for thoughts.
    pub fn with_thoughts(policy: ReasoningPolicy) -> impl Iterator<Item = &'static str> {
        let supports = move |format: &&Self| format.thoughts.takes(policy);
        FORMATS.iter().filter(supports).map(|format| format.name)
    }

    /// Returns whether its rows are pairs, or answers labelled by pairs.
    #[must_use]
    pub fn has_pairs(&self) -> bool {
        matches!(self.rows, Rows::Pairs(_) | Rows::Labels(_))
    }

    /// The columns of the rows, in order, with or without those of the origin.
    pub(crate) fn schema(&self, run: &Provenance<'_>, origin: bool) -> Schema {
        let mut fields = (self.columns)(run);
        fields.extend(run.thoughts.column());
        if origin && self.trains() {
            fields.extend(Origin::columns());
            fields.extend(run.verdict_columns());
        }
        Schema::new(fields)
    }

    /// Makes the rows of a trajectory, with the reason for each pair or answer that
    /// gives none.
    pub(crate) fn rows(
        &self,
        trajectory: &Trajectory,
        which: Which,
        run: &Provenance<'_>,
    ) -> Vec<Result<MadeRow, DropReason>> {
        let item = &trajectory.item;
        // No format has columns for tool calls.
        if item.messages.iter().any(|turn| turn.role == Role::Tool) {
            return vec![Err(DropReason::Conversation)];
        }
        let required = run.rules.require_review(&trajectory.steps);
        let open = required && pairs::decision(trajectory, &run.rules).is_none();
        // Every principle contributed to the last answer.
        let whole =
            || Origin { principles: pairs::principles(&trajectory.steps), ..Origin::new(item) };
        let decided = |pair: &Pair<'_>| run.thoughts.decide(&[&pair.chosen, &pair.rejected]);
        let complete = |mut row: ExportRow, thoughts: RowThoughts, origin: &Origin<'_>| {
            run.thoughts.add_kwargs(&mut row, thoughts);
            MadeRow { row: origin.add_to(row, run), thoughts, revised: None }
        };
        match self.rows {
            Rows::Pairs(make) => pairs::pairs(trajectory, which, &run.rules)
                .into_iter()
                .map(|pair| {
                    let pair = pair?;
                    let thoughts = decided(&pair);
                    let sides = Sides {
                        chosen: run.thoughts.response(&pair.chosen, thoughts),
                        rejected: run.thoughts.response(&pair.rejected, thoughts),
                    };
                    let row = make(&pair, &sides, run)?;
                    let made = complete(row, thoughts, &Origin::from_pair(&pair));
                    Ok(MadeRow { revised: pair.revised, ..made })
                })
                .collect(),
            Rows::Labels(make) => {
                let pairs = pairs::pairs(trajectory, which, &run.rules);
                let mut labels = Labels::new(pairs.iter().flatten());
                // A row has one label only. If another pair of the item has no thoughts, a
                // thought would go with one of the labels.
                let all_written =
                    pairs.iter().flatten().all(|pair| decided(pair) == RowThoughts::Written);
                pairs
                    .iter()
                    .flat_map(|pair| match pair {
                        Err(reason) => vec![Err(*reason)],
                        Ok(pair) => [(&pair.chosen, true), (&pair.rejected, false)]
                            .map(|(answer, label)| {
                                labels.claim(&answer.text)?;
                                let mut thoughts = run.thoughts.decide(&[answer]);
                                if thoughts == RowThoughts::Written && !all_written {
                                    thoughts = RowThoughts::Missing;
                                }
                                let response = run.thoughts.response(answer, thoughts);
                                let row = make(item, &response, label)?;
                                let made = complete(row, thoughts, &Origin::from_pair(pair));
                                Ok(MadeRow { revised: pair.revised.clone(), ..made })
                            })
                            .into(),
                    })
                    .collect()
            }
            Rows::Answers(make) => {
                let row = pairs::answer(trajectory, &run.rules).and_then(|answer| {
                    let Answer { step, review, revised } = answer;
                    let thoughts = run.thoughts.decide(&[&step]);
                    let row = make(item, &run.thoughts.response(&step, thoughts))?;
                    let method = PairMethod::of(&step);
                    let method = (method != PairMethod::Candidates).then_some(method);
                    let made = complete(row, thoughts, &Origin { method, review, ..whole() });
                    Ok(MadeRow { revised, ..made })
                });
                vec![row]
            }
            Rows::Steps(_) | Rows::Trajectories(_) if open => vec![Err(DropReason::Unreviewed)],
            Rows::Steps(make) => {
                let rows = make(trajectory, run).into_iter();
                rows.map(|row| {
                    let StepRow { row, thoughts, revised } = row?;
                    Ok(MadeRow { revised, ..complete(row, thoughts, &whole()) })
                })
                .collect()
            }
            Rows::Trajectories(make) => {
                let row = run.add_run(make(trajectory));
                vec![Ok(MadeRow { row, thoughts: RowThoughts::None, revised: None })]
            }
        }
    }
}

/// The labels of the responses in one item's pairs. With several candidates, a
/// response may be chosen in one pair and rejected in another.
struct Labels<'a>(HashMap<&'a str, Label>);

#[derive(Default)]
struct Label {
    chosen: bool,
    rejected: bool,
    written: bool,
}

impl<'a> Labels<'a> {
    fn new<'p: 'a>(pairs: impl Iterator<Item = &'a Pair<'p>>) -> Self {
        let mut labels: HashMap<&str, Label> = HashMap::new();
        for pair in pairs {
            labels.entry(pair.chosen.text.trim()).or_default().chosen = true;
            labels.entry(pair.rejected.text.trim()).or_default().rejected = true;
        }
        Self(labels)
    }

    /// Claims the one row of a response. Fails if the response has both labels or
    /// already has a row.
    fn claim(&mut self, text: &'a str) -> Result<(), DropReason> {
        let label = self.0.entry(text.trim()).or_default();
        if label.chosen && label.rejected {
            return Err(DropReason::Mixed);
        }
        if std::mem::replace(&mut label.written, true) { Err(DropReason::Repeated) } else { Ok(()) }
    }
}

/// The user turn of a conversation that has only this turn.
pub(super) fn lone_prompt(item: &Item) -> Result<&str, DropReason> {
    match system_and_prompt(item)? {
        (None, prompt) => Ok(prompt),
        (Some(_), _) => Err(DropReason::Conversation),
    }
}

/// The system turn, if any, and the only user turn of a conversation.
pub(super) fn system_and_prompt(item: &Item) -> Result<(Option<&str>, &str), DropReason> {
    match item.messages.as_slice() {
        [user] if user.role == Role::User => Ok((None, &user.content)),
        [system, user] if system.role.is_instruction() && user.role == Role::User => {
            Ok((Some(&system.content), &user.content))
        }
        _ => Err(DropReason::Conversation),
    }
}
