//! People's decisions about a run's answers: which items they are shown and in
//! what order, what they decide, and how far they agree.
//!
//! `queue` and `agreement` are pure. `session` is one reviewer's way through the
//! queue, and `server` a page on this machine for it. Reviews are written by
//! [`amend_data::store::reviews`] alone.

mod queue;
mod server;
mod session;

pub use amend_analysis::agreement::{Agreed, Between, Figures, Outcomes, Reviewer, Verdicts};
pub use queue::Order;
pub use server::{ServeError, Server};
pub use session::{Options, Session};
