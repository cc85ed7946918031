//! From a row of logits to a token: sampling, probabilities, and draft tokens.

pub(crate) mod prompt_lookup;
pub(crate) mod row;
pub(crate) mod sampler;
pub(crate) mod softmax;
