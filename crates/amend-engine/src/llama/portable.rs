//! The libraries of a portable build. llama.cpp is compiled once for each kind of CPU, and
//! the process loads the library that suits its CPU best.

use std::path::PathBuf;
use std::sync::Once;

use llama_cpp_2::list_llama_ggml_backend_devices;
use llama_cpp_2::llama_backend::load_backends_from_path;

use amend_core::model::EngineError;

/// Where the libraries are, relative to the folder above the program's own.
/// `build.rs` and `packaging/portable` name the same folder.
const FOLDER: &str = "lib/amend";

/// Loads the library for this CPU, and those for GPUs. Only the first call loads.
///
/// # Errors
/// The libraries are not where the program expects them, or none of them runs here.
pub(super) fn load_libraries() -> Result<(), EngineError> {
    static LOADED: Once = Once::new();
    let folder = folder()?;
    LOADED.call_once(|| load_backends_from_path(&folder));
    if list_llama_ggml_backend_devices().is_empty() {
        let message = format!("found no library for this CPU in {}", folder.display());
        return Err(EngineError::new(message)
            .hinted("install amend again, and keep its folders `bin` and `lib` side by side"));
    }
    Ok(())
}

/// The absolute path of the libraries. llama.cpp accepts it only as UTF-8.
fn folder() -> Result<PathBuf, EngineError> {
    let program = std::env::current_exe()
        .map_err(|error| EngineError::new("cannot find amend's own folder").caused_by(error))?;
    let mut folder = program.clone();
    folder.pop();
    folder.pop();
    folder.push(FOLDER);
    if folder.to_str().is_none() {
        let message = format!("the path of the program is not UTF-8: {}", program.display());
        return Err(EngineError::new(message).hinted("install amend in another folder"));
    }
    Ok(folder)
}
