//! Row formats of trainers: [`read`] recognises and reads them, [`write`](mod@write) writes them.

pub mod cells;
pub mod example;
pub mod features;
pub mod origin;
pub mod read;
pub mod thoughts;
pub mod write;
