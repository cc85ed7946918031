//! Ctrl-C: the first asks the command to stop, and sees to it that it does
//! within two seconds; the second stops the process at once.
//!
//! Stopping the process is safe at any moment: what is finished is on the disk,
//! and a record cut in half is cut off when the run is opened again. It is
//! stopped without clean-up, which would take memory from under the threads
//! that still compute.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

use crate::cli::output::error::{INTERRUPTED, tell};

static REQUESTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// How long a command has to stop by itself.
const GRACE: Duration = Duration::from_millis(1500);

/// How often the watch looks.
const WATCH: Duration = Duration::from_millis(50);

/// Starts to listen.
pub fn listen() {
    if let Err(error) = register() {
        tracing::warn!("Ctrl-C will stop without a word: {error}");
    }
}

fn register() -> io::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds nothing requested yet.
        let code = i32::from(INTERRUPTED);
        flag::register_conditional_shutdown(signal, code, REQUESTED.clone())?;
        flag::register(signal, REQUESTED.clone())?;
    }
    std::thread::Builder::new().name("interrupt".to_owned()).spawn(|| {
        while !requested() {
            std::thread::sleep(WATCH);
        }
        std::thread::sleep(GRACE);
        // The command, busy to the end, could not say so itself.
        tell("interrupted; a run goes on with --resume\n");
        low_level::exit(i32::from(INTERRUPTED));
    })?;
    Ok(())
}

/// Whether the user asked to stop.
#[must_use]
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}
