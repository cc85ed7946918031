//! The functions with which templates build a conversation, and their limits.

use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind, Output, State};
use serde::Deserialize;

use super::delimiter::{Delimiter, is_label};
use super::{FUEL, MAX_OUTPUT_BYTES, Rendered};
use crate::chat::{Message, Role};

/// The turns that one render has collected so far, stored in the render's state.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) rendered: Rendered,
    /// Whether the render is inside a turn's block.
    open: bool,
    /// The number of bytes written by expressions.
    written: usize,
    /// The number of bytes of finished turns.
    kept: usize,
}

/// Adds `turn`, `fence`, the variables about the delimiter, and the limits to an
/// environment.
pub(super) fn install(environment: &mut Environment<'_>, fence: &Delimiter) {
    environment.set_fuel(Some(FUEL));
    environment.set_formatter(print);
    environment.add_global("fencing", fence.style().as_str());
    environment.add_global("delimiter", fence.delimiter());
    environment.add_global("marker", fence.marker().to_string());
    environment.add_function("turn", turn);
    let fence = fence.clone();
    environment.add_function("fence", move |text: &Value, label: &str| match text.as_str() {
        Some(text) if is_label(label) => Ok(fence.wrap(text, label)),
        Some(_) => Err(refusal("a label of `fence` may contain only letters, digits, `-` and `_`")),
        None => Err(refusal(format!("`fence` expects a string, not {}", text.kind()))),
    });
}

/// Adds a turn: `{% call turn(role, shared=false, trim=true, given=none) %}content{% endcall %}`.
/// `shared` promises that the turn is the same for every item. `given` is the message of the
/// conversation that the turn repeats: its thought and its tool calls go with it.
fn turn(state: &mut State, role: &str, kwargs: Kwargs) -> Result<&'static str, Error> {
    let shared = kwargs.get::<Option<bool>>("shared")?.unwrap_or(false);
    let trim = kwargs.get::<Option<bool>>("trim")?.unwrap_or(true);
    let given = kwargs.get::<Option<Value>>("given")?;
    let body = kwargs.get::<Option<Value>>("caller")?;
    kwargs.assert_all_used()?;
    let Some(body) = body else {
        return Err(refusal("write a turn as {% call turn(…) %}content{% endcall %}"));
    };
    let Some(role) = Role::ALL.into_iter().find(|known| known.as_str() == role) else {
        let known = Role::ALL.map(Role::as_str).join(", ");
        return Err(refusal(format!("a turn's role must be one of {known}, not {role:?}")));
    };
    let given = match given.filter(|given| !given.is_none()) {
        Some(given) => Message::deserialize(given)?,
        None => Message::new(role, ""),
    };

    let collected = state.get_or_insert_extension_with(Collected::default);
    if std::mem::replace(&mut collected.open, true) {
        return Err(refusal("a turn can't be nested in another turn"));
    }
    let content = body.call(state, &[])?;
    let content = content.as_str().unwrap_or_default();
    let content = if trim { content.trim() } else { content };

    let collected = state.get_or_insert_extension_with(Collected::default);
    collected.open = false;
    charge(&mut collected.kept, content.len())?;
    let Rendered { turns, shared_turns } = &mut collected.rendered;
    if shared {
        if *shared_turns < turns.len() {
            return Err(refusal("a shared turn can't follow a turn that isn't shared"));
        }
        *shared_turns += 1;
    }
    turns.push(Message { role, content: content.to_owned(), ..given });
    Ok("")
}

/// Writes a value unescaped, within the limit. None is an error, because it would print
/// as a word and enter a prompt unnoticed.
fn print(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    if value.is_none() {
        return Err(refusal("the value is none: check for none before printing it"));
    }
    let owned;
    let text = match value.as_str() {
        Some(text) => text,
        None => {
            owned = value.to_string();
            &owned
        }
    };
    charge(&mut state.get_or_insert_extension_with(Collected::default).written, text.len())?;
    out.write_str(text).map_err(Error::from)
}

fn charge(count: &mut usize, bytes: usize) -> Result<(), Error> {
    *count = count.saturating_add(bytes);
    if *count > MAX_OUTPUT_BYTES {
        return Err(refusal(format!("the prompt is longer than {MAX_OUTPUT_BYTES} bytes")));
    }
    Ok(())
}

fn refusal(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}
