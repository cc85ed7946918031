//! Which requests run, and what each batch computes.

pub(crate) mod active;
pub(crate) mod admission;
pub(crate) mod completing;
mod compose;
pub(crate) mod streams;
