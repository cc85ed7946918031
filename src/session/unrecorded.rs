//! Items that are run and shown without a run directory.

use std::sync::Arc;

use super::meter::Meter;
use super::{interrupt, until_fault};
use crate::cli::output::error::CommandError;
use amend_core::driver::{Ended, Engines, Job, Observer, Work, drive};
use amend_core::procedure::{ItemLoop, StepRequest};
use amend_core::record::{Item, Outcome, Step};
use amend_data::items::ItemFaults;

/// Runs the job over the items and records nothing. `observer` shows what happens; if the
/// number of items is given, so does the progress.
///
/// # Errors
/// An engine fails or can't do what the job needs, the observer fails, the input has changed,
/// the user interrupts the command, or items failed: [`CommandError::reported`].
pub fn run_unrecorded<'e>(
    engines: impl Into<Engines<'e>>,
    job: &Job,
    items: impl IntoIterator<Item = Result<Arc<Item>, ItemFaults>>,
    count: Option<u64>,
    observer: &mut impl Observer<Error = CommandError>,
) -> Result<(), CommandError> {
    let mut engines = engines.into();
    engines.probe(job, None)?;
    let mut faults = None;
    let items = until_fault(items.into_iter(), &mut faults);
    let work = items.map(|item| Work { item, steps: Vec::new() });
    let meter = count.map(|count| Meter::new(job, count, 0));
    let mut watched = Watched { observer, meter, has_failures: false };
    let ended = drive(&mut engines, job, work, &mut watched)?;
    if let Some(faults) = faults {
        return Err(faults.into());
    }
    match ended {
        Ended::Stopped => Err(CommandError::interrupted()),
        Ended::Done if watched.has_failures => Err(CommandError::reported()),
        Ended::Done => Ok(()),
    }
}

/// Stops at an interrupt and notices failed items; passes everything else on.
struct Watched<'a, O> {
    observer: &'a mut O,
    meter: Option<Meter>,
    has_failures: bool,
}

impl<O: Observer<Error = CommandError>> Observer for Watched<'_, O> {
    type Error = CommandError;

    fn stops(&mut self) -> bool {
        if let Some(meter) = &mut self.meter {
            meter.show();
        }
        interrupt::requested() || self.observer.stops()
    }

    fn text(
        &mut self,
        trajectory: &ItemLoop,
        request: &StepRequest,
        text: &str,
    ) -> Result<(), CommandError> {
        if let Some(meter) = &mut self.meter {
            meter.text();
        }
        self.observer.text(trajectory, request, text)
    }

    fn step(&mut self, trajectory: &ItemLoop, step: &Step) -> Result<(), CommandError> {
        if let Some(meter) = &mut self.meter {
            meter.step(step);
        }
        self.observer.step(trajectory, step)
    }

    fn cohort(&mut self) -> Result<(), CommandError> {
        self.observer.cohort()
    }

    fn end(&mut self, trajectory: &ItemLoop, outcome: Outcome) -> Result<(), CommandError> {
        self.has_failures |= matches!(outcome, Outcome::Failed { .. });
        if let Some(meter) = &mut self.meter {
            meter.end(trajectory, &outcome);
        }
        self.observer.end(trajectory, outcome)
    }
}
