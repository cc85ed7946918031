//! Human review of a run's answers: the order of the items, the decisions, and
//! the agreement between reviewers.
//!
//! `queue` and `agreement` are pure. `session` holds the state of one reviewer's
//! session, and `server` serves its page on this machine. Only
//! [`amend_data::store::reviews`] writes reviews.

mod queue;
mod server;
mod session;

pub use amend_analysis::agreement::{
    AgreementFigures, Outcomes, PairwiseAgreement, RecordedVerdicts, Reviewer, ReviewerPair,
};
pub use queue::Order;
pub use server::{ServeError, Server};
pub use session::{ReviewOptions, ReviewSession};
