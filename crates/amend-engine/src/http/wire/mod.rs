//! The requests to a server and its replies: the OpenAI API, and the extensions of servers
//! for open models.

mod batch;
mod lenient;
mod logprobs;
mod reply;
mod request;

pub use batch::{ResultError, reply_in, request_line};
pub use lenient::parse;
pub use logprobs::Position;
pub use reply::{ReplyError, ServerReply, error_in};
pub use request::{Body, FEW_TOKENS, RequestWriter};
