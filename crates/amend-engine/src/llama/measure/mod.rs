//! What batches cost on this machine, and the baselines that the engine is measured against.

pub mod baseline;
pub mod calibrate;
pub mod constructed;
pub(crate) mod costs;
pub mod oracle;
pub(crate) mod probe;
pub(crate) mod rig;
pub mod speed;
