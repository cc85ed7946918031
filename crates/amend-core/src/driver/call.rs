//! A step under way: the requests it takes and what they came to. A text takes
//! one request, a score one that decodes nothing. A verdict takes one for each
//! judge template, order and sample; where the judge reasons first, each of
//! these is two, the second continuing the first.

use super::{Job, sampling};
use crate::constitution::Constitution;
use crate::judge::Likelihood;
use crate::judge::{Poll, Reading, Score, Verdict, labels};
use crate::model::{Completion, Failure, Task, Usage};
use crate::procedure::{Ask, Found, Trajectory};
use crate::prompt::{Reasons, Rendered};
use crate::record::StepKind;

/// What a request came to.
pub(super) enum Answer {
    /// A text.
    Text(Completion),
    /// The log-probability of each choice, or of each token.
    LogProbs { log_probs: Vec<f64>, usage: Usage },
}

/// A request to submit.
pub(super) struct Wanted {
    pub(super) rendered: Rendered,
    /// The prompt goes on from the completion before it.
    pub(super) continues: bool,
    pub(super) task: Task,
}

/// A step under way.
pub(super) struct Call {
    pub(super) ask: Ask,
    work: Work,
    /// The scale's lowest value, where a score is asked for.
    lowest: u32,
    usage: Usage,
}

enum Work {
    /// One request.
    One(Option<Found>),
    /// A verdict's requests.
    Polls { polls: Vec<Asked>, samples: usize, reasons: bool },
}

/// One of a verdict's questions.
struct Asked {
    template: String,
    /// 0: the answers as they are named, 1: exchanged.
    order: usize,
    reasons: Option<String>,
    reading: Option<Reading>,
}

impl Call {
    /// A step before its first request.
    pub(super) fn new(ask: Ask, constitution: &Constitution) -> Self {
        let judge = &constitution.judge;
        let dimension = ask.dimension.and_then(|at| constitution.dimensions.get(at));
        let lowest = dimension.map_or(0, |dimension| dimension.scale[0]);
        let work = if ask.kind == StepKind::Judge {
            let samples = judge.reasons.max(1) as usize;
            let asked = |template: &String, order| Asked {
                template: template.clone(),
                order,
                reasons: None,
                reading: None,
            };
            let polls = judge
                .templates
                .iter()
                .flat_map(|template| [0, 1].map(|order| (template, order)))
                .flat_map(|(template, order)| (0..samples).map(move |_| asked(template, order)))
                .collect();
            Work::Polls { polls, samples, reasons: judge.reasons > 0 }
        } else {
            Work::One(None)
        };
        Self { ask, work, lowest, usage: Usage::default() }
    }

    /// How many requests can be submitted side by side.
    pub(super) fn parts(&self) -> usize {
        match &self.work {
            Work::One(_) => 1,
            Work::Polls { polls, .. } => polls.len(),
        }
    }

    /// The request that a part needs now.
    ///
    /// # Errors
    /// The template fails on this item.
    pub(super) fn wants(
        &self,
        part: usize,
        trajectory: &Trajectory,
        job: &Job,
    ) -> Result<Wanted, Failure> {
        let ask = &self.ask;
        let sampling = sampling(&job.constitution.sampling, ask.kind).clone();
        let Work::Polls { polls, reasons, .. } = &self.work else {
            let rendered =
                job.templates.render(ask.kind, &trajectory.context(ask, 0, Reasons::None))?;
            let task = match ask.kind {
                StepKind::Gate => Task::Choose { choices: labels::yes_no() },
                StepKind::Rubric => {
                    let scale = trajectory.dimension(ask).map_or([1, 5], |found| found.scale);
                    Task::Choose { choices: labels::scale(scale) }
                }
                StepKind::Likelihood | StepKind::Reference => {
                    Task::Score { response: trajectory.subject(ask).to_owned() }
                }
                _ => Task::Complete {
                    sampling,
                    stream: ask.stream,
                    ignore_eos: job.ignore_eos,
                    copies: ask.kind == StepKind::Revise,
                },
            };
            // A revision's prompt goes on from its critique's completion.
            return Ok(Wanted { rendered, continues: ask.kind == StepKind::Revise, task });
        };
        let asked = &polls[part];
        let stage = match (&asked.reasons, reasons) {
            (Some(reasons), _) => Reasons::Given(reasons),
            (None, true) => Reasons::Wanted,
            (None, false) => Reasons::None,
        };
        let context = trajectory.context(ask, asked.order, stage);
        let rendered = job.templates.render_judge(&asked.template, &context)?;
        let task = if stage == Reasons::Wanted {
            let stream = ask.stream.child(&part.to_string());
            Task::Complete { sampling, stream, ignore_eos: job.ignore_eos, copies: false }
        } else {
            let words = job.constitution.labels(trajectory.principle(ask));
            Task::Choose { choices: labels::answers(words) }
        };
        Ok(Wanted { rendered, continues: asked.reasons.is_some(), task })
    }

    /// Takes in what a part's request came to; true where it needs another.
    ///
    /// # Errors
    /// There is nothing to tell a judgement by.
    pub(super) fn take(&mut self, part: usize, answer: Answer) -> Result<bool, Failure> {
        match (&mut self.work, answer) {
            (Work::One(found), Answer::Text(completion)) => *found = Some(Found::Text(completion)),
            (Work::One(found), Answer::LogProbs { log_probs, usage }) => {
                if matches!(self.ask.kind, StepKind::Likelihood | StepKind::Reference) {
                    let likelihood = Likelihood::of(&log_probs).ok_or(Failure::NotFinite)?;
                    *found = Some(Found::Likelihood(likelihood, usage));
                    return Ok(false);
                }
                let score = match self.ask.kind {
                    StepKind::Gate => Score::of_yes(&log_probs),
                    _ => Score::of(&log_probs, f64::from(self.lowest)),
                };
                *found = Some(Found::Score(score.ok_or(Failure::NotFinite)?, usage));
            }
            (Work::Polls { polls, .. }, Answer::Text(Completion { text, usage, .. })) => {
                self.usage = self.usage + usage;
                polls[part].reasons = Some(text);
                return Ok(true);
            }
            (Work::Polls { polls, .. }, Answer::LogProbs { log_probs, usage }) => {
                self.usage = self.usage + usage;
                let &[first, second] = &log_probs[..] else { return Err(Failure::NotFinite) };
                if !(first.is_finite() && second.is_finite()) {
                    return Err(Failure::NotFinite);
                }
                polls[part].reading = Some(Reading { first, second });
            }
        }
        Ok(false)
    }

    /// What the step came to, once it is done.
    pub(super) fn found(&mut self) -> Option<Found> {
        match &mut self.work {
            Work::One(found) => found.take(),
            Work::Polls { polls, samples, .. } => {
                if polls.iter().any(|asked| asked.reading.is_none()) {
                    return None;
                }
                // In the order of `Call::new`: by template, then by order.
                let poll = |of: &[Asked]| {
                    let readings = |order: usize| {
                        let asked = of.iter().filter(|asked| asked.order == order);
                        asked.filter_map(|asked| asked.reading).collect()
                    };
                    let template = of[0].template.clone();
                    Poll { template, forward: readings(0), backward: readings(1) }
                };
                let polls = polls.chunks(2 * *samples).map(poll).collect();
                Some(Found::Verdict(Verdict { polls }, self.usage))
            }
        }
    }
}
