//! Differences between two texts, constitutions, runs or evaluations. Pure: it compares
//! values that the caller has read.

mod constitution;
mod evaluation;
mod gate;
mod judged;
mod paired;
mod run;

pub use constitution::{ConstitutionDiff, ListDiff, PrincipleEdit, constitutions};
pub use evaluation::units as units_of_evaluation;
pub use gate::{Gate, Miss, Misses, Spent};
pub use judged::units_of_judge;
pub use paired::{Change, Flip, PairedComparison, Texts, Unit, compare};
pub use run::LoopRun;
