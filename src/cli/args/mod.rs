//! Arguments that commands share.

pub mod config;
mod fleet_args;
mod hub_args;
pub mod input_args;
pub mod loop_args;
pub mod model_args;
mod placement_args;
pub mod reasoning_args;
pub mod recording;
pub mod shard_args;
pub mod student_args;
pub mod trainer;
pub mod verdict_args;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

/// Parses one of the `values` of a library's type by its `name`. `help` has a text for
/// each value, in the same order, or none.
pub fn one_of<T>(
    values: &'static [T],
    name: fn(T) -> &'static str,
    help: &'static [&'static str],
) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    let names = values.iter().enumerate().map(move |(at, &value)| {
        let possible = PossibleValue::new(name(value));
        match help.get(at) {
            Some(&help) => possible.help(help),
            None => possible,
        }
    });
    PossibleValuesParser::new(names).try_map(move |given| {
        let value = values.iter().find(|&&value| name(value) == given);
        value.copied().ok_or_else(|| format!("unknown value {given}"))
    })
}
