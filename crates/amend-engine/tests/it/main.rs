//! The llama.cpp engine on model files. One binary, because llama.cpp's backend is
//! initialised once per process. `tests/run` prepares the models.

mod engine;
mod families;
mod files;
mod gpu;
mod meaning;
#[path = "../../../../tests/it/common/models.rs"]
mod models;
mod thinking;
