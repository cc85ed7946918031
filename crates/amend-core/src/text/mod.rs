//! Detects personal data, secrets and refusals in a text. All functions are pure
//! functions of a string, independent of datasets and models.

pub mod minhash;
pub mod patterns;
pub mod refusal;
pub mod word_diff;
