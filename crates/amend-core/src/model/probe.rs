//! What a run will ask of an engine whose abilities are not known in advance.

use super::EngineError;
use crate::chat::{Message, Reasoning};

/// What a run will ask of an engine.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProbeNeeds {
    /// How the model thinks before the texts that the run asks for. `None` if it asks for no
    /// text.
    pub texts: Option<Reasoning>,
    /// The choices that the run asks for, if any.
    pub choices: Option<ChoiceNeeds>,
}

/// The choices that a run will ask for.
#[derive(Debug, Clone, PartialEq)]
pub struct ChoiceNeeds {
    /// The conversation of one of them.
    pub turns: Vec<Message>,
    /// The spellings of each label.
    pub labels: Vec<Vec<String>>,
    /// The settings of the chat template.
    pub reasoning: Reasoning,
    /// If the choice follows a thought of the model, the conversation that asks for it. The
    /// last turn of `turns` then has a placeholder for the thought.
    pub thought_turns: Option<Vec<Message>>,
    /// The least probability that the labels should have together.
    pub mass_floor: f64,
    /// How the run asked for choices before it was interrupted, as the engine described it.
    /// It must not ask another way.
    pub recorded_way: Option<String>,
}

/// Why an engine can't serve a run.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The engine itself failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The engine works, but it can't do what the run needs.
    #[error("{message}")]
    Unfit {
        /// What it can't do.
        message: String,
        /// What to change about the engine or the run.
        hint: String,
    },
}
