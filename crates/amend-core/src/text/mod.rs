//! Facts about a text by itself: what it gives away, whether it refuses. Pure
//! functions of a string; nothing here knows data sets or models.

pub mod minhash;
pub mod patterns;
pub mod refusal;
pub mod word_diff;
