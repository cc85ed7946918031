//! Ctrl-C. The first asks the command to stop, and ends the process after 1.5
//! seconds if the command has not stopped; the second ends the process at once.
//!
//! Ending the process is safe at any moment: finished work is on the disk, and an
//! incomplete record is truncated when the run is opened again. The process exits
//! without clean-up, because that would free memory that threads still compute on.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

use crate::cli::output::error::INTERRUPTED;
use crate::cli::output::print;

static REQUESTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// What an interrupt says beside that it happened: how to continue.
static HOW_TO_CONTINUE: Mutex<String> = Mutex::new(String::new());

/// How long a command has to stop by itself.
const GRACE: Duration = Duration::from_millis(1500);

/// How often the watching thread checks for an interrupt.
const WATCH: Duration = Duration::from_millis(50);

/// Starts to listen for interrupts.
pub fn listen() {
    if let Err(error) = register() {
        tracing::warn!("cannot listen for Ctrl-C, which will end amend without a message: {error}");
    }
}

fn register() -> io::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the first signal must not see its own request.
        let code = i32::from(INTERRUPTED);
        flag::register_conditional_shutdown(signal, code, REQUESTED.clone())?;
        flag::register(signal, REQUESTED.clone())?;
    }
    std::thread::Builder::new().name("interrupt".to_owned()).spawn(|| {
        while !requested() {
            std::thread::sleep(WATCH);
        }
        std::thread::sleep(GRACE);
        // The command is still busy and could not print this itself.
        print_message();
        low_level::exit(i32::from(INTERRUPTED));
    })?;
    Ok(())
}

/// Makes an interrupt also say how to continue: complete lines.
pub fn continues_with(lines: &str) {
    if let Ok(mut text) = HOW_TO_CONTINUE.lock() {
        lines.clone_into(&mut text);
    }
}

/// Prints that the command is interrupted, and how to continue.
pub fn print_message() {
    let how = HOW_TO_CONTINUE.lock().map(|text| text.clone()).unwrap_or_default();
    print::message(&format!("interrupted\n{how}"));
}

/// Whether the user asked the command to stop.
#[must_use]
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}
