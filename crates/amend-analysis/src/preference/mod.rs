//! How likely answers are under a model, and the arithmetic of direct preference
//! optimisation on it (Rafailov et al. 2023, arXiv 2305.18290). Pure: the
//! log-probabilities come from the engine. Formulas, and when they mislead:
//! `docs/scoring.md`.

mod figures;
mod row;
#[cfg(test)]
mod tests;

pub use figures::{Figures, Spread};
pub use row::{Answer, Reference, Row, Scored};
