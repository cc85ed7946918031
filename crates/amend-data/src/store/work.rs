//! Which items of a run are still to do.

use std::sync::Arc;

use amend_core::driver::Work;
use amend_core::record::Item;

use super::journal::{Progress, State};

/// What of a run's items is left to do: those that have not ended and, where
/// `retry` says so, those that failed, from their first step.
#[must_use]
pub fn left(items: Vec<Item>, state: &mut State, retry: bool) -> Vec<Work> {
    items
        .into_iter()
        .filter_map(|item| {
            let is_left = match state.get(&item.key) {
                None | Some(Progress::Unfinished(_)) => true,
                Some(Progress::Failed(_)) => retry,
                Some(Progress::Done) => false,
            };
            is_left.then(|| Work { steps: state.take_steps(&item.key), item: Arc::new(item) })
        })
        .collect()
}
