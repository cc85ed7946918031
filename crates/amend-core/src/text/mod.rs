//! Detects personal data, secrets, refusals and thoughts in a text, compares texts, reads the
//! lists that models write, and writes figures and lists. All functions are pure and independent of datasets and models.

pub mod format;
pub mod listing;
pub mod minhash;
pub mod overlap;
pub mod patterns;
pub mod refusal;
pub mod thoughts;
pub mod word_diff;
