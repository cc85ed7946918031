//! Which items of a run are still to do.

use std::sync::Arc;

use amend_core::driver::Work;
use amend_core::record::Item;

use super::journal::{ItemProgress, State};

/// The items of a run that are left to process, one after another: those that have not ended
/// and, with `retry`, those that failed, which start from their first step.
pub fn left(
    items: impl IntoIterator<Item = impl Into<Arc<Item>>>,
    state: &mut State,
    retry: bool,
) -> impl Iterator<Item = Work> {
    items.into_iter().filter_map(move |item| {
        let item: Arc<Item> = item.into();
        let is_left = match state.get(&item.key) {
            None | Some(ItemProgress::Unfinished(_)) => true,
            Some(ItemProgress::Failed) => retry,
            Some(ItemProgress::Done) => false,
        };
        if is_left { Some(Work { steps: state.take_steps(&item.key), item }) } else { None }
    })
}
