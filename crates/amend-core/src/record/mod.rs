//! What one line of a journal says: items, steps and outcomes.

mod comparison;
mod item;
mod outcome;
mod step;

pub use comparison::{ABOUT_ANSWERS, ComparisonFacts, INJECTED, Injection, Label};
pub use item::{Item, JUDGE_INJECTION, Keys, content_key, key_bits, numbered_key, text_bytes};
pub use outcome::Outcome;
pub use step::{
    Step, StepInput, StepKind, StepModel, StepOutput, Stop, answer, answer_steps, answers,
};
