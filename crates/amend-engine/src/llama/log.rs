//! Reads what llama.cpp logs during a call, so that an error can state its cause.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber, dispatcher};

/// The target of llama.cpp's log lines.
const TARGET: &str = "llama-cpp-2";

/// The cause of a failed call.
pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Runs `call`. If it fails, the cause is the first error that llama.cpp logged or, without
/// one, the error of the bindings. The first one is the most specific: later ones say which
/// outer step failed for that reason. As the cause is reported, none of them is logged as an
/// error.
pub(super) fn with_cause<T, E: Into<Cause>>(
    call: impl FnOnce() -> Result<T, E>,
) -> Result<T, Cause> {
    let (result, errors) = with_errors(call);
    match result {
        Ok(value) => {
            for message in errors {
                tracing::error!(target: TARGET, "{message}");
            }
            Ok(value)
        }
        Err(error) => {
            for message in &errors {
                tracing::info!(target: TARGET, "{message}");
            }
            match errors.into_iter().next() {
                Some(message) => Err(message.into()),
                None => Err(error.into()),
            }
        }
    }
}

/// Runs `call`, and returns the errors that llama.cpp logged on this thread meanwhile,
/// whether or not logs are shown.
fn with_errors<T>(call: impl FnOnce() -> T) -> (T, Vec<String>) {
    let errors = Arc::default();
    let outer = dispatcher::get_default(Dispatch::clone);
    let listener = ErrorListener { outer, errors: Arc::clone(&errors) };
    let value = dispatcher::with_default(&Dispatch::new(listener), call);
    let errors = std::mem::take(&mut *errors.lock().unwrap_or_else(PoisonError::into_inner));
    (value, errors)
}

/// Keeps the errors of llama.cpp, and passes everything else on to the `outer` subscriber.
struct ErrorListener {
    outer: Dispatch,
    errors: Arc<Mutex<Vec<String>>>,
}

fn is_error(metadata: &Metadata<'_>) -> bool {
    *metadata.level() == Level::ERROR && metadata.target() == TARGET
}

impl Subscriber for ErrorListener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.outer.enabled(metadata) || is_error(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // The outer subscriber has its own hint; the higher one counts.
        Some(LevelFilter::ERROR)
    }

    fn event(&self, event: &Event<'_>) {
        if is_error(event.metadata()) {
            let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
            event.record(&mut Message(&mut errors));
        } else if self.outer.enabled(event.metadata()) {
            self.outer.event(event);
        }
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.outer.new_span(span)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.outer.record(span, values);
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.outer.record_follows_from(span, follows);
    }

    fn enter(&self, span: &Id) {
        self.outer.enter(span);
    }

    fn exit(&self, span: &Id) {
        self.outer.exit(span);
    }
}

/// Stores the message of a log line.
struct Message<'a>(&'a mut Vec<String>);

impl Visit for Message<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.0.push(value.trim().to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_errors_of_llama_cpp_are_returned_and_the_first_is_the_cause() {
        let (value, errors) = with_errors(|| {
            tracing::error!(target: "other", "no");
            tracing::warn!(target: TARGET, "no");
            tracing::error!(target: TARGET, "the file is {}", "incomplete");
            tracing::error!(target: TARGET, "failed");
            7
        });
        assert_eq!(value, 7);
        assert_eq!(errors, ["the file is incomplete", "failed"]);
        let failed = with_cause(|| {
            tracing::error!(target: TARGET, "the file is incomplete");
            tracing::error!(target: TARGET, "failed");
            Err::<(), _>("null pointer")
        });
        assert_eq!(failed.unwrap_err().to_string(), "the file is incomplete");
        let silent = with_cause(|| Err::<(), _>("null pointer"));
        assert_eq!(silent.unwrap_err().to_string(), "null pointer");
    }
}
