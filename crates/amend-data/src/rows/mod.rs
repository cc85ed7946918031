//! Input rows: reading prompts, conversations and comparisons into items.

pub mod comparison;
pub mod input;
pub mod row;
