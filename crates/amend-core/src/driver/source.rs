//! Where the driver gets its items from.

use super::Work;

/// Gives the driver one item after another.
pub trait WorkSource {
    /// The next item. With `may_wait`, nothing else is to be done: the source may wait for an
    /// item, but must return [`NextWork::Wait`] often enough that an interrupt is noticed.
    /// Otherwise it must not wait, because the engine has requests to compute.
    fn next(&mut self, may_wait: bool) -> NextWork;
}

/// What a [`WorkSource`] has.
#[derive(Debug)]
pub enum NextWork {
    /// An item.
    Item(Box<Work>),
    /// Nothing yet.
    Wait,
    /// Nothing any more. The source is not asked again.
    End,
}

/// A source whose items are all there.
pub(super) struct Ready<I>(pub(super) I);

impl<I: Iterator<Item = Work>> WorkSource for Ready<I> {
    fn next(&mut self, _: bool) -> NextWork {
        match self.0.next() {
            Some(work) => NextWork::Item(Box::new(work)),
            None => NextWork::End,
        }
    }
}
