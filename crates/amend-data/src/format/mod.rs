//! The shapes of rows: what their columns mean. A shape is one file, which recognises its
//! rows, reads them as an [`example::Example`], and, where amend exports it, writes them.

pub mod cells;
pub mod example;
pub mod features;
pub mod origin;
pub mod read;
pub mod thoughts;
pub mod write;

pub use example::Object;
pub use read::{RowFault, RowFormat as Shape, recognise};
