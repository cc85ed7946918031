//! Log-probabilities of answers under a model, and the margins and losses of direct
//! preference optimisation (DPO) computed from them (Rafailov et al. 2023, arXiv
//! 2305.18290). The module only computes; the log-probabilities come from the engine.
//! `docs/scoring.md` has the formulas and their limits.

mod figures;
mod row;
#[cfg(test)]
mod tests;

pub use figures::{PreferenceFigures, ValueSpread};
pub use row::{AnswerLikelihood, PreferenceRow, Reference, Scored};
