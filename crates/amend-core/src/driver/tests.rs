use std::convert::Infallible;

use super::*;
use crate::model::{Capabilities, Description, PromptTokens, Scripted};

/// Never answers, and keeps the ids that are cancelled.
#[derive(Default)]
struct Silent {
    cancelled: Vec<RequestId>,
}

impl PromptTokens for Silent {}

impl Engine for Silent {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            scores_texts: false,
            knows_tokens: false,
            is_deterministic: false,
            measures_batches: false,
        }
    }

    fn describe(&self) -> Result<Description, EngineError> {
        Err(EngineError::new("a silent engine has no model"))
    }

    fn width(&self) -> usize {
        40
    }

    fn submit(&mut self, _: Request) {}

    fn cancel(&mut self, id: RequestId) {
        self.cancelled.push(id);
    }

    fn reset(&mut self) {}

    fn step(&mut self, _: &mut Vec<Event>) -> Result<bool, EngineError> {
        Ok(true)
    }

    fn counters(&self) -> Counters {
        Counters::default()
    }
}

/// Stops after the first step.
struct StopsAtOnce {
    asked: u32,
}

impl Observer for StopsAtOnce {
    type Error = Infallible;

    fn stops(&mut self) -> bool {
        self.asked += 1;
        self.asked > 1
    }

    fn step(&mut self, _: &ItemLoop, _: &Step) -> Result<(), Infallible> {
        Ok(())
    }

    fn end(&mut self, _: &ItemLoop, _: Outcome) -> Result<(), Infallible> {
        Ok(())
    }
}

fn job() -> Job {
    let constitution = crate::constitution::load("harmless").unwrap().constitution;
    let delimiter = Delimiter::new("3f9c2a81").unwrap();
    let procedure = Procedure::Revise { judging: false };
    Job::new(procedure, constitution, None, delimiter, 7).unwrap()
}

/// Checks that everything is settled before the engines' next step.
#[derive(Default)]
struct Settling {
    unsettled: u32,
    ended: u32,
}

impl Observer for Settling {
    type Error = Infallible;

    fn stops(&mut self) -> bool {
        assert_eq!(self.unsettled, 0);
        false
    }

    fn step(&mut self, _: &ItemLoop, _: &Step) -> Result<(), Infallible> {
        self.unsettled += 1;
        Ok(())
    }

    fn cohort(&mut self) -> Result<(), Infallible> {
        assert_eq!(self.unsettled, 0);
        Ok(())
    }

    fn end(&mut self, _: &ItemLoop, _: Outcome) -> Result<(), Infallible> {
        (self.unsettled, self.ended) = (self.unsettled + 1, self.ended + 1);
        Ok(())
    }

    fn settled(&mut self) -> Result<(), Infallible> {
        self.unsettled = 0;
        Ok(())
    }
}

#[test]
fn everything_is_settled_before_the_next_step() {
    for cohorts in [false, true] {
        for failing in [false, true] {
            let job = Job { cohorts, ..job() };
            let work = (0..20).map(|number| Work {
                item: Arc::new(Item::of_prompt(format!("Question {number}?"))),
                steps: Vec::new(),
            });
            let mut engine = Scripted::new(move |_| match failing {
                true => Err(Failure::NotFinite),
                false => Ok("An answer.".to_owned()),
            });
            let mut observer = Settling::default();
            let ended = drive(&mut engine, &job, work, &mut observer).unwrap();
            assert_eq!((ended, observer.unsettled, observer.ended), (Ended::Done, 0, 20));
        }
    }
}

#[test]
fn an_interrupt_cancels_the_last_request_first() {
    let job = job();
    let work = (0..40).map(|number| Work {
        item: Arc::new(Item::of_prompt(format!("Question {number}?"))),
        steps: Vec::new(),
    });
    let mut engine = Silent::default();
    let ended = drive(&mut engine, &job, work, &mut StopsAtOnce { asked: 0 }).unwrap();
    assert_eq!(ended, Ended::Stopped);
    assert_eq!(engine.cancelled.len(), 40);
    assert!(engine.cancelled.is_sorted_by(|a, b| a > b), "{:?}", engine.cancelled);
}
