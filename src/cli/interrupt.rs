//! Ctrl-C: the first asks the command to stop, and sees to it that it does
//! within two seconds; the second stops the process at once.
//!
//! Stopping the process is safe at any moment: what is finished is on the disk,
//! and a record cut in half is cut off when the run is opened again.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::error::INTERRUPTED;

static COUNT: AtomicUsize = AtomicUsize::new(0);

/// How long a command has to stop by itself.
const GRACE: Duration = Duration::from_millis(1500);

/// Starts to listen. Only the first call has an effect.
pub fn listen() {
    let result = ctrlc::set_handler(|| {
        if COUNT.fetch_add(1, Ordering::SeqCst) > 0 {
            std::process::exit(i32::from(INTERRUPTED));
        }
        std::thread::spawn(|| {
            std::thread::sleep(GRACE);
            // The command, busy to the end, could not say so itself.
            let _ = writeln!(io::stderr(), "interrupted; a run goes on with --resume");
            std::process::exit(i32::from(INTERRUPTED));
        });
    });
    if let Err(error) = result {
        tracing::debug!("no handler for Ctrl-C: {error}");
    }
}

/// Whether the user asked to stop.
#[must_use]
pub fn requested() -> bool {
    COUNT.load(Ordering::SeqCst) > 0
}
