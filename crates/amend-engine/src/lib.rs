//! What runs a model: llama.cpp in this process, or a server that speaks the OpenAI API;
//! and where models come from.
//! This is the only crate that links llama.cpp.

pub mod http;
pub mod hub;
pub mod llama;
#[cfg(test)]
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../../../tests/it/common/models.rs"]
mod models;
mod network;
mod shards;
mod source;

pub use source::{FetchedModel, LoadedModel, ModelSource};
