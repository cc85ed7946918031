//! The shapes of rows: what their columns mean. A shape is one file, which recognises its
//! rows, reads them as an [`example::Example`], and, where amend exports it, writes them.
//! [`SHAPES`] lists them; [`Columns`] finds their columns whatever a file calls them.

mod alpaca;
mod annotated_pairs;
mod arena;
mod auto_j;
mod axolotl;
pub mod cells;
mod columns;
mod comparison;
mod completion;
mod constitutional_ai;
mod conversation;
pub mod example;
mod fault;
pub mod features;
mod fields;
mod helpsteer;
mod hh_rlhf;
mod hhh;
mod kto;
mod labels;
mod ms_swift;
mod mt_bench;
mod nectar;
mod nemo;
mod openai_preference;
pub mod origin;
mod pandalm;
mod preference;
mod prompts;
mod ranking;
pub mod read;
mod safe_rlhf;
mod sharegpt;
mod shp;
mod stack_exchange;
mod table;
pub mod thoughts;
mod trajectories;
mod ultrafeedback;
pub mod write;

pub use columns::{Columns, Renamed};
pub use example::Object;
pub use fault::RowFault;
pub(crate) use fault::listed;
pub use fields::CATEGORIES;
pub(crate) use fields::LABELS;
pub use read::{RowKind, SHAPES, Shape, ShapeFacts, recognise};
pub use table::table;

#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod tests;
