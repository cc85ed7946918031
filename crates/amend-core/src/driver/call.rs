//! A step in flight: its requests and their results. A text, a score and a
//! log-probability take one request. A verdict takes one for each judge template,
//! order and sample; if the judge reasons first, each of these is two requests, and
//! the second continues the first.

use super::{Job, sampling};
use crate::chat::{Message, Role};
use crate::constitution::{Constitution, JudgeReasons, Layout};
use crate::judge::{Likelihood, Poll, Reading, RubricScore, Verdict, labels};
use crate::model::{Completion, EngineError, Failure, Task, Usage};
use crate::procedure::{AcceptError, ItemLoop, StepRequest, StepResult};
use crate::prompt::{Reasons, Rendered};
use crate::random::Stream;
use crate::record::{StepKind, StepOutput};

/// The result of a request.
pub(super) enum EngineReply {
    Text(Completion),
    /// The log-probability of each choice, or of each token.
    LogProbs {
        log_probs: Vec<f64>,
        usage: Usage,
    },
}

/// A request to submit.
pub(super) struct Submission {
    pub(super) rendered: Rendered,
    /// Whether the prompt continues the completion before it, if there is one.
    pub(super) continues: bool,
    pub(super) task: Task,
}

/// Why a step has no result.
pub(super) enum CallError {
    /// The item fails.
    Failed(Failure),
    /// The engine broke its contract.
    Engine(EngineError),
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<AcceptError> for CallError {
    fn from(error: AcceptError) -> Self {
        match error {
            AcceptError::Failed(failure) => Self::Failed(failure),
            AcceptError::NotAsked { .. } | AcceptError::WrongForm { .. } => {
                Self::Engine(EngineError::new(error.to_string()))
            }
        }
    }
}

/// A step in flight.
pub(super) struct Call {
    pub(super) ask: StepRequest,
    work: CallState,
}

/// The requests of a step, with the results so far.
enum CallState {
    Text(Option<Completion>),
    Score {
        /// The lowest and highest value; `None` for a question of yes or no.
        scale: Option<[u32; 2]>,
        score: Option<(RubricScore, Usage)>,
    },
    Likelihood(Option<(Likelihood, Usage)>),
    Verdict {
        questions: Vec<Question>,
        /// Questions for each template and order.
        samples: usize,
        /// How the judge reasons before it answers.
        reasons: JudgeReasons,
        /// The sum over all requests.
        usage: Usage,
    },
}

/// One of the questions behind a verdict.
struct Question {
    template: String,
    /// 0: the answers in the order of the step's `about`, 1: exchanged.
    order: usize,
    /// What the judge wrote or thought.
    reasons: Option<String>,
    reading: Option<Reading>,
}

/// The questions of a verdict: by template, then by order, then by sample.
fn questions(templates: &[String], samples: usize) -> Vec<Question> {
    let mut questions = Vec::new();
    for template in templates {
        for order in [0, 1] {
            for _ in 0..samples {
                let template = template.clone();
                questions.push(Question { template, order, reasons: None, reading: None });
            }
        }
    }
    questions
}

impl Call {
    /// A step before its first request.
    pub(super) fn new(ask: StepRequest, constitution: &Constitution) -> Self {
        let work = match ask.kind.output() {
            StepOutput::Answer | StepOutput::Critique | StepOutput::Revision => {
                CallState::Text(None)
            }
            StepOutput::Score => {
                let dimension = ask.dimension.and_then(|at| constitution.dimensions.get(at));
                CallState::Score { scale: dimension.map(|dimension| dimension.scale), score: None }
            }
            StepOutput::Likelihood => CallState::Likelihood(None),
            StepOutput::Verdict => {
                let judge = &constitution.judge;
                let samples = judge.reasons.max(1) as usize;
                CallState::Verdict {
                    questions: questions(&judge.templates, samples),
                    samples,
                    reasons: constitution.judge_reasons(),
                    usage: Usage::default(),
                }
            }
        };
        Self { ask, work }
    }

    /// How many requests can be in flight at once.
    pub(super) fn parts(&self) -> usize {
        match &self.work {
            CallState::Text(_) | CallState::Score { .. } | CallState::Likelihood(_) => 1,
            CallState::Verdict { questions, .. } => questions.len(),
        }
    }

    /// The request that a part needs now.
    ///
    /// # Errors
    /// The template fails on this item.
    pub(super) fn request(
        &self,
        part: usize,
        trajectory: &ItemLoop,
        job: &Job,
    ) -> Result<Submission, Failure> {
        let ask = &self.ask;
        let task = match &self.work {
            CallState::Text(_) => {
                // A revision repeats much of the answer that its prompt shows.
                let is_revision = ask.kind.output() == StepOutput::Revision;
                let decodes = if is_revision { Decodes::Copy } else { Decodes::Text };
                complete(ask.kind, ask.stream, job, decodes)
            }
            CallState::Score { scale: None, .. } => choose(ask.kind, labels::yes_no(), job),
            CallState::Score { scale: Some(scale), .. } => {
                choose(ask.kind, labels::scale(*scale), job)
            }
            CallState::Likelihood(_) => {
                let reasoning = sampling(&job.constitution.sampling, ask.kind).reasoning.clone();
                Task::Likelihood { response: trajectory.subject(ask).to_owned(), reasoning }
            }
            CallState::Verdict { questions, reasons, .. } => {
                return self.ask_judge(part, &questions[part], *reasons, trajectory, job);
            }
        };
        let context = trajectory.context(ask, 0, Reasons::None);
        let rendered = job.templates.render(ask.kind, &context)?;
        let continues = match ask.kind.output() {
            StepOutput::Revision => true,
            StepOutput::Critique => job.constitution.plan.layout == Layout::Conversation,
            StepOutput::Answer
            | StepOutput::Score
            | StepOutput::Verdict
            | StepOutput::Likelihood => false,
        };
        Ok(Submission { rendered, continues, task })
    }

    /// The request for a judge's reasons, or for its label.
    fn ask_judge(
        &self,
        part: usize,
        question: &Question,
        judge: JudgeReasons,
        trajectory: &ItemLoop,
        job: &Job,
    ) -> Result<Submission, Failure> {
        let ask = &self.ask;
        let reasons = match (judge, &question.reasons) {
            (JudgeReasons::Written, None) => Reasons::Wanted,
            (JudgeReasons::Written, Some(reasons)) => Reasons::Given(reasons),
            (JudgeReasons::None | JudgeReasons::Thought, _) => Reasons::None,
        };
        let context = trajectory.context(ask, question.order, reasons);
        let mut rendered = job.templates.render_judge(&question.template, &context)?;
        let shown = job.constitution.labels(trajectory.principle(ask));
        let label = || choose(ask.kind, labels::answers(shown), job);
        let stream = || ask.stream.child(&part.to_string());
        let task = match (judge, &question.reasons) {
            (JudgeReasons::None, _) | (JudgeReasons::Written, Some(_)) => label(),
            (JudgeReasons::Written, None) => complete(ask.kind, stream(), job, Decodes::Text),
            (JudgeReasons::Thought, None) => {
                // The label's opening follows the thought.
                rendered.turns.pop_if(|turn| turn.role == Role::Assistant);
                complete(ask.kind, stream(), job, Decodes::Thought)
            }
            (JudgeReasons::Thought, Some(thought)) => {
                match rendered.turns.last_mut() {
                    Some(turn) if turn.role == Role::Assistant => {
                        turn.reasoning = Some(thought.clone());
                    }
                    _ => {
                        let mut turn = Message::new(Role::Assistant, "");
                        turn.reasoning = Some(thought.clone());
                        rendered.turns.push(turn);
                    }
                }
                label()
            }
        };
        Ok(Submission { rendered, continues: question.reasons.is_some(), task })
    }

    /// Takes the result of a part's request. Returns whether the part needs another
    /// request.
    ///
    /// # Errors
    /// The log-probabilities determine no result, or the reply has another form than
    /// the request asked for.
    pub(super) fn take(&mut self, part: usize, reply: EngineReply) -> Result<bool, CallError> {
        let kind = self.ask.kind;
        match (&mut self.work, reply) {
            (CallState::Text(text), EngineReply::Text(completion)) => {
                *text = Some(completion);
                Ok(false)
            }
            (CallState::Score { scale, score }, EngineReply::LogProbs { log_probs, usage }) => {
                let found = match scale {
                    None => RubricScore::from_yes_no(&log_probs),
                    Some([lowest, _]) => {
                        RubricScore::from_log_probs(&log_probs, f64::from(*lowest))
                    }
                };
                *score = Some((found.ok_or(Failure::NotFinite)?, usage));
                Ok(false)
            }
            (CallState::Likelihood(likelihood), EngineReply::LogProbs { log_probs, usage }) => {
                let found = Likelihood::from_log_probs(&log_probs).ok_or(Failure::NotFinite)?;
                *likelihood = Some((found, usage));
                Ok(false)
            }
            (
                CallState::Verdict { questions, usage: sum, reasons, .. },
                EngineReply::Text(completion),
            ) => {
                *sum = *sum + completion.usage;
                let reasons = match reasons {
                    JudgeReasons::Thought => completion.reasoning.unwrap_or_default(),
                    JudgeReasons::None | JudgeReasons::Written => completion.text,
                };
                questions[part].reasons = Some(reasons);
                Ok(true)
            }
            (
                CallState::Verdict { questions, usage: sum, .. },
                EngineReply::LogProbs { log_probs, usage },
            ) => {
                *sum = *sum + usage;
                let &[first, second] = &log_probs[..] else {
                    return Err(Failure::NotFinite.into());
                };
                if !(first.is_finite() && second.is_finite()) {
                    return Err(Failure::NotFinite.into());
                }
                questions[part].reading = Some(Reading { first, second });
                Ok(false)
            }
            (CallState::Text(_), EngineReply::LogProbs { .. }) => {
                Err(wrong_reply(kind, "log-probabilities"))
            }
            (CallState::Score { .. } | CallState::Likelihood(_), EngineReply::Text(_)) => {
                Err(wrong_reply(kind, "a text"))
            }
        }
    }

    /// Takes the result of the step, if it is complete.
    pub(super) fn take_result(&mut self) -> Option<StepResult> {
        match &mut self.work {
            CallState::Text(completion) => completion.take().map(StepResult::Text),
            CallState::Score { score, .. } => {
                score.take().map(|(score, usage)| StepResult::Score(score, usage))
            }
            CallState::Likelihood(likelihood) => likelihood
                .take()
                .map(|(likelihood, usage)| StepResult::Likelihood(likelihood, usage)),
            CallState::Verdict { questions, samples, usage, .. } => {
                if questions.iter().any(|question| question.reading.is_none()) {
                    return None;
                }
                // Each template has `samples` questions in either order.
                let polls = questions.chunks(2 * *samples).map(poll).collect();
                Some(StepResult::Verdict(Verdict { polls }, *usage))
            }
        }
    }
}

fn wrong_reply(kind: StepKind, reply: &str) -> CallError {
    let message =
        format!("the engine answered the request of a {} step with {reply}", kind.as_str());
    CallError::Engine(EngineError::new(message))
}

/// Collects the readings of one template's questions.
fn poll(questions: &[Question]) -> Poll {
    let readings = |order: usize| {
        let of_order = questions.iter().filter(|question| question.order == order);
        of_order.filter_map(|question| question.reading).collect()
    };
    Poll { template: questions[0].template.clone(), forward: readings(0), backward: readings(1) }
}

/// What a completion decodes.
#[derive(Clone, Copy, PartialEq)]
enum Decodes {
    Text,
    /// A text that repeats much of its prompt.
    Copy,
    /// Only the thought before a text.
    Thought,
}

fn complete(kind: StepKind, stream: Stream, job: &Job, decodes: Decodes) -> Task {
    Task::Complete {
        sampling: sampling(&job.constitution.sampling, kind).clone(),
        stream,
        ignore_eos: job.ignore_eos,
        copies: decodes == Decodes::Copy,
        thought_only: decodes == Decodes::Thought,
    }
}

fn choose(kind: StepKind, choices: Vec<Vec<String>>, job: &Job) -> Task {
    let reasoning = sampling(&job.constitution.sampling, kind).reasoning.clone();
    Task::Choose { choices, reasoning }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Completion, Finish, Usage};
    use crate::record::{StepKind, StepOutput};

    #[test]
    fn reply_of_the_wrong_form_is_an_error_of_the_engine() {
        let ask = |kind| StepRequest {
            kind,
            round: 0,
            principle: None,
            principles: Vec::new(),
            dimension: None,
            about: vec![0],
            step: 0,
            last: false,
            stream: Stream::new(0),
        };
        let constitution = crate::constitution::load("harmless").unwrap().constitution;
        let text = || {
            EngineReply::Text(Completion {
                text: "A".to_owned(),
                reasoning: None,
                finish: Finish::Stop,
                usage: Usage::default(),
            })
        };
        let log_probs =
            || EngineReply::LogProbs { log_probs: vec![-0.1, -3.0], usage: Usage::default() };
        for kind in StepKind::ALL {
            let reply = match kind.output() {
                StepOutput::Answer | StepOutput::Critique | StepOutput::Revision => log_probs(),
                StepOutput::Score | StepOutput::Likelihood => text(),
                // A judge may reason first, so both forms are right.
                StepOutput::Verdict => continue,
            };
            let mut call = Call::new(ask(kind), &constitution);
            let Err(CallError::Engine(error)) = call.take(0, reply) else { panic!("{kind:?}") };
            assert!(error.message.contains(kind.as_str()), "{error}");
            assert_eq!(call.take_result(), None);
        }
    }
}
