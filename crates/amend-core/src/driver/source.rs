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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use super::*;
    use crate::driver::{Ended, Job, Observer, drive_source};
    use crate::model::Scripted;
    use crate::procedure::{ItemLoop, Procedure};
    use crate::prompt::Delimiter;
    use crate::record::{Item, Outcome, Step};

    /// Items, and moments (`None`) at which there is nothing yet. Keeps whether it may wait each
    /// time.
    struct Arriving {
        items: Vec<Option<&'static str>>,
        waits: Vec<bool>,
    }

    impl WorkSource for Arriving {
        fn next(&mut self, may_wait: bool) -> NextWork {
            self.waits.push(may_wait);
            if self.items.is_empty() {
                return NextWork::End;
            }
            match self.items.remove(0) {
                Some(prompt) => {
                    let item = Arc::new(Item::of_prompt(prompt));
                    NextWork::Item(Box::new(Work { item, steps: Vec::new() }))
                }
                None => NextWork::Wait,
            }
        }
    }

    /// Keeps what happens, and stops when it is asked for the `limit`th time.
    #[derive(Default)]
    struct Log {
        events: Vec<String>,
        asked: usize,
        limit: usize,
    }

    impl Observer for Log {
        type Error = Infallible;

        fn stops(&mut self) -> bool {
            self.asked += 1;
            self.asked == self.limit
        }

        fn step(&mut self, _: &ItemLoop, _: &Step) -> Result<(), Infallible> {
            Ok(())
        }

        fn cohort(&mut self) -> Result<(), Infallible> {
            self.events.push("cohort".to_owned());
            Ok(())
        }

        fn end(&mut self, trajectory: &ItemLoop, _: Outcome) -> Result<(), Infallible> {
            self.events.push(trajectory.item().messages[0].content.clone());
            Ok(())
        }
    }

    fn run(items: &[Option<&'static str>], cohorts: bool, limit: usize) -> (Ended, Log, Vec<bool>) {
        let constitution = crate::constitution::load("harmless").unwrap().constitution;
        let delimiter = Delimiter::new("3f9c2a81").unwrap();
        let procedure = Procedure::Revise { judging: false };
        let job = Job::new(procedure, constitution, None, delimiter, 7).unwrap();
        let job = Job { cohorts, ..job };
        let mut source = Arriving { items: items.to_vec(), waits: Vec::new() };
        let mut log = Log { limit, ..Log::default() };
        let mut engine = Scripted::new(|_| Ok("Tea is fine.".to_owned()));
        let ended = drive_source(&mut engine, &job, &mut source, &mut log).unwrap();
        (ended, log, source.waits)
    }

    #[test]
    fn an_item_runs_to_its_end_while_nothing_else_arrives() {
        let mut items = vec![Some("one")];
        items.extend([None; 20]);
        items.push(Some("two"));
        let (ended, log, waits) = run(&items, false, 0);
        assert_eq!((ended, log.events), (Ended::Done, vec!["one".to_owned(), "two".to_owned()]));
        // It waits only before the first item, and after the last one has ended.
        let busy = waits.iter().skip(1).take_while(|may_wait| !**may_wait).count();
        assert!(waits[0] && busy > 2 && waits[busy + 1], "{waits:?}");
    }

    #[test]
    fn an_idle_driver_stops_when_the_observer_does() {
        let (ended, log, waits) = run(&[None; 9], false, 5);
        assert_eq!((ended, log.asked, waits), (Ended::Stopped, 5, vec![true; 4]));
    }

    #[test]
    fn a_cohort_is_complete_before_its_first_step() {
        let items = [Some("a"), None, Some("b"), Some("c"), None, None, Some("d"), Some("e")];
        let (ended, log, waits) = run(&items, true, 0);
        assert_eq!(ended, Ended::Done);
        let (first, second) = log.events.split_at(5);
        assert_eq!((first[4].as_str(), second), ("cohort", &["e".to_owned(), "cohort".into()][..]));
        assert!(waits.iter().all(|may_wait| *may_wait), "{waits:?}");
    }
}
