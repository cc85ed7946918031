//! The formats, one file each: what a trainer's rows look like. A format is a
//! pure mapping; reading runs and writing files is done around it.

mod axolotl;
mod constitutional_ai;
mod hh_rlhf;
mod kto;
mod llamafactory;
mod openrlhf;
mod plain;
mod reward;
mod sft;
mod trajectories;
mod trl;

use std::collections::HashMap;

use arrow_schema::{Field, Schema};
use serde_json::{Map, Value};

use super::origin::{Origin, Provenance};
use crate::pairs;
use crate::pairs::{DropReason, Pair, Which};
use crate::store::trajectories::Trajectory;
use amend_core::chat::Role;
use amend_core::record::Item;

/// A row: its columns' values by name, in order.
pub(crate) type Row = Map<String, Value>;

/// What an export writes, a row at a time.
#[derive(Debug)]
pub struct Format {
    /// Its name on the command line.
    pub name: &'static str,
    /// Who reads it, in a few words.
    pub about: &'static str,
    /// The columns it makes, without those of the origin.
    columns: fn() -> Vec<Field>,
    rows: Rows,
    /// Its entry in LLaMA-Factory's `dataset_info.json`, less the file's name.
    pub(crate) dataset_info: Option<fn() -> Row>,
}

/// What a format makes rows of.
#[derive(Debug)]
enum Rows {
    /// A row a pair.
    Pairs(fn(&Pair<'_>, &Provenance) -> Result<Row, DropReason>),
    /// A row for each answer of a pair, with whether it is the better one.
    Labels(fn(&Item, &str, bool) -> Result<Row, DropReason>),
    /// A row for an item's last answer.
    Answers(fn(&Item, &str) -> Result<Row, DropReason>),
    /// Rows for each model call.
    Steps(fn(&Trajectory, &Provenance) -> Vec<Result<Row, DropReason>>),
    /// A row for an item that ended, failed ones too.
    Trajectories(fn(&Trajectory) -> Row),
}

/// Every format.
pub const FORMATS: &[Format] = &[
    trl::CONVERSATIONAL,
    trl::STANDARD,
    kto::KTO,
    sft::SFT,
    sft::STEPS,
    reward::REWARD,
    axolotl::INTEL,
    axolotl::ULTRA,
    axolotl::CHAT_TEMPLATE,
    llamafactory::ALPACA,
    llamafactory::SHAREGPT,
    llamafactory::KTO,
    openrlhf::OPENRLHF,
    hh_rlhf::HH_RLHF,
    constitutional_ai::CONSTITUTIONAL_AI,
    plain::SFT,
    plain::PREFERENCE,
    trajectories::TRAJECTORIES,
];

impl Format {
    /// The format of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        FORMATS.iter().find(|format| format.name == name)
    }

    /// What its rows are called.
    #[must_use]
    pub fn noun(&self) -> &'static str {
        match self.rows {
            Rows::Pairs(_) => "pairs",
            Rows::Labels(_) => "labelled answers",
            Rows::Answers(_) => "answers",
            Rows::Steps(_) => "steps",
            Rows::Trajectories(_) => "trajectories",
        }
    }

    /// Whether it can pair answers this way. Only pairs have a choice: a label
    /// on an answer says one thing, and in most pairs of all or of neighbours an
    /// answer is better here and worse there.
    #[must_use]
    pub fn takes(&self, which: Which) -> bool {
        which == Which::Last || matches!(self.rows, Rows::Pairs(_))
    }

    /// Whether its rows are read by trainers, so that a filter may leave some out:
    /// whole trajectories are a record.
    #[must_use]
    pub fn trains(&self) -> bool {
        !matches!(self.rows, Rows::Trajectories(_))
    }

    /// All columns of its rows, in order.
    pub(crate) fn schema(&self) -> Schema {
        let mut fields = (self.columns)();
        if self.trains() {
            fields.extend(Origin::columns());
        }
        Schema::new(fields)
    }

    /// The rows a trajectory gives, and for what it gives none, why.
    pub(crate) fn rows(
        &self,
        trajectory: &Trajectory,
        which: Which,
        run: &Provenance,
    ) -> Vec<Result<Row, DropReason>> {
        let item = &trajectory.item;
        let required = run.rules.require_review(&trajectory.steps);
        let open = required && pairs::decision(trajectory, &run.rules).is_none();
        // The answer as a whole came about by every principle.
        let whole =
            || Origin { principles: pairs::principles(&trajectory.steps), ..Origin::new(item) };
        match self.rows {
            Rows::Pairs(make) => pairs::pairs(trajectory, which, &run.rules)
                .into_iter()
                .map(|pair| {
                    let pair = pair?;
                    Ok(Origin::of(&pair).sign(make(&pair, run)?, run))
                })
                .collect(),
            Rows::Labels(make) => {
                let pairs = pairs::pairs(trajectory, which, &run.rules);
                let mut labels = Labels::of(pairs.iter().flatten());
                pairs
                    .iter()
                    .flat_map(|pair| match pair {
                        Err(reason) => vec![Err(*reason)],
                        Ok(pair) => [(&pair.chosen, true), (&pair.rejected, false)]
                            .map(|(answer, label)| {
                                labels.once(&answer.text)?;
                                Ok(Origin::of(pair).sign(make(item, &answer.text, label)?, run))
                            })
                            .into(),
                    })
                    .collect()
            }
            Rows::Answers(make) => {
                let row = pairs::answer(trajectory, &run.rules).and_then(|(step, review)| {
                    let row = make(item, &step.text)?;
                    Ok(Origin { review, ..whole() }.sign(row, run))
                });
                vec![row]
            }
            Rows::Steps(_) | Rows::Trajectories(_) if open => vec![Err(DropReason::Unreviewed)],
            Rows::Steps(make) => {
                let rows = make(trajectory, run).into_iter();
                rows.map(|row| row.map(|row| whole().sign(row, run))).collect()
            }
            Rows::Trajectories(make) => vec![Ok(run.name(make(trajectory)))],
        }
    }
}

/// The answers of one item's pairs by what they are called: of several candidates
/// one may be better than this and worse than that.
struct Labels<'a>(HashMap<&'a str, Label>);

#[derive(Default)]
struct Label {
    better: bool,
    worse: bool,
    told: bool,
}

impl<'a> Labels<'a> {
    fn of<'p: 'a>(pairs: impl Iterator<Item = &'a Pair<'p>>) -> Self {
        let mut labels: HashMap<&str, Label> = HashMap::new();
        for pair in pairs {
            labels.entry(pair.chosen.text.trim()).or_default().better = true;
            labels.entry(pair.rejected.text.trim()).or_default().worse = true;
        }
        Self(labels)
    }

    /// Whether an answer has one label, and has not been given it yet.
    fn once(&mut self, text: &'a str) -> Result<(), DropReason> {
        let label = self.0.entry(text.trim()).or_default();
        if label.better && label.worse {
            return Err(DropReason::Mixed);
        }
        if std::mem::replace(&mut label.told, true) { Err(DropReason::Repeated) } else { Ok(()) }
    }
}

/// The text of the one user turn that is all of a conversation.
fn lone_prompt(item: &Item) -> Result<&str, DropReason> {
    match system_and_prompt(item)? {
        (None, prompt) => Ok(prompt),
        (Some(_), _) => Err(DropReason::Conversation),
    }
}

/// The system turn, if any, and the one user turn of a conversation.
fn system_and_prompt(item: &Item) -> Result<(Option<&str>, &str), DropReason> {
    match item.messages.as_slice() {
        [user] if user.role == Role::User => Ok((None, &user.content)),
        [system, user] if system.role == Role::System && user.role == Role::User => {
            Ok((Some(&system.content), &user.content))
        }
        _ => Err(DropReason::Conversation),
    }
}
