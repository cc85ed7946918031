//! Detects personal data, secrets and refusals in a text, compares texts, and writes
//! figures and lists. All functions are pure and independent of datasets and models.

pub mod format;
pub mod minhash;
pub mod patterns;
pub mod refusal;
pub mod word_diff;
