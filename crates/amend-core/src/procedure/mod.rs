//! The loop of one item as a state machine over steps, without input or output: it says
//! which model call comes next and receives the call's result.

pub mod clean;
mod machine;
mod plan;
mod select;

pub use machine::{AcceptError, ItemLoop, Next, ReplayError, StepPlace, StepRequest, StepResult};
pub use plan::{Procedure, current, first, improved, standings};
