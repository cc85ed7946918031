//! Makes items of examples.
