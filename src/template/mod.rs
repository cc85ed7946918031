//! Jinja sets: data in, chat turns out.
