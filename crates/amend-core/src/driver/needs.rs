//! What a job will ask of its engines: found by taking an item with given answers through
//! the job's loop, with placeholders for what a model would write.

use std::sync::Arc;

use super::Job;
use super::call::{Call, EngineReply, Submission};
use crate::chat::{Message, Reasoning, ReasoningFormat, ReasoningMode};
use crate::model::{ChoiceNeeds, Completion, Finish, ProbeError, ProbeNeeds, Task, Usage};
use crate::procedure::{Next, Procedure};
use crate::record::{Item, StepKind, StepModel};

/// The most steps that are taken before the first choice.
const MAX_STEPS: usize = 1000;

/// What a job will ask of the engine that writes, and of the one that judges.
///
/// `recorded_way` is how the run asked for choices before it was interrupted.
pub(super) fn needs(job: &Job, recorded_way: Option<&str>) -> (ProbeNeeds, ProbeNeeds) {
    let sampling = &job.constitution.sampling;
    let texts = match &job.procedure {
        Procedure::Revise { .. } | Procedure::Rubric { revise: true, .. } => {
            let steps = [&sampling.generate, &sampling.critique, &sampling.revise];
            least_thinking(steps.map(|step| &step.reasoning))
        }
        Procedure::Compare { .. } | Procedure::Rubric { revise: false, .. } => {
            Some(sampling.generate.reasoning.clone())
        }
        Procedure::Likelihood { .. } => None,
    };
    let mut search = Search::default();
    search.run(job);
    let choices = search.choice.and_then(|Submission { rendered, task, .. }| match task {
        Task::Choose { choices, reasoning } => Some(ChoiceNeeds {
            turns: rendered.turns,
            labels: choices,
            reasoning,
            thought_turns: search.thought_turns,
            mass_floor: job.constitution.judge.mass_floor,
            recorded_way: recorded_way.map(str::to_owned),
        }),
        Task::Complete { .. } | Task::Likelihood { .. } => None,
    });
    let writer = ProbeNeeds { texts, choices: None };
    let judge = ProbeNeeds { texts: search.judge_texts, choices };
    (writer, judge)
}

/// Checks the settings of steps against what is known about the model's thoughts.
///
/// # Errors
/// The settings of a step contradict each other.
pub(super) fn check_settings(
    format: Option<&ReasoningFormat>,
    steps: &[&Reasoning],
) -> Result<(), ProbeError> {
    let Some(format) = format else { return Ok(()) };
    for reasoning in steps {
        format.check(reasoning).map_err(|contradiction| ProbeError::Unfit {
            message: contradiction.to_string(),
            hint: "remove one of the two, or pass --reasoning auto".to_owned(),
        })?;
    }
    Ok(())
}

/// The settings that let the model think least: they show whether it thinks unasked.
/// `None` if there are no settings.
pub(super) fn least_thinking<'a>(
    settings: impl IntoIterator<Item = &'a Reasoning>,
) -> Option<Reasoning> {
    let settings: Vec<&Reasoning> = settings.into_iter().collect();
    let least = settings.iter().find(|settings| settings.mode != ReasoningMode::On);
    least.or(settings.first()).map(|&settings| settings.clone())
}

/// The search for the first choice of a job.
#[derive(Default)]
struct Search {
    /// How the judge thinks before the texts that it writes, if it writes any.
    judge_texts: Option<Reasoning>,
    /// The turns of the request for the thought before the choice, if there is one.
    thought_turns: Option<Vec<Message>>,
    choice: Option<Submission>,
    /// The number of placeholders so far.
    placeholders: usize,
}

impl Search {
    /// Runs until the first choice, or until the loop ends or rejects a placeholder.
    fn run(&mut self, job: &Job) {
        let item = Item {
            response: Some("Blue.".to_owned()),
            response_b: Some("Seven.".to_owned()),
            ..Item::of_prompt("Name a colour.")
        };
        let mut trajectory = job.trajectory(Arc::new(item));
        for _ in 0..MAX_STEPS {
            let asks = match trajectory.next() {
                Next::Given => {
                    trajectory.accept_given();
                    continue;
                }
                Next::Ask(asks) => asks,
                Next::Done(_) => return,
            };
            for ask in asks {
                let kind = ask.kind;
                let mut call = Call::new(ask, &job.constitution);
                // The first request of a step, and those that continue it.
                loop {
                    let Ok(submission) = call.request(0, &trajectory, job) else { return };
                    let Some(text) = self.placeholder(kind, submission) else { return };
                    match call.take(0, EngineReply::Text(text)) {
                        Ok(true) => {}
                        Ok(false) => break,
                        Err(_) => return,
                    }
                }
                let Some(result) = call.take_result() else { return };
                if trajectory.accept(result).is_err() {
                    return;
                }
            }
        }
    }

    /// A text in place of the one that is asked for. `None` if no text is asked for.
    fn placeholder(&mut self, kind: StepKind, submission: Submission) -> Option<Completion> {
        match &submission.task {
            Task::Complete { thought_only: true, .. } => {
                self.thought_turns = Some(submission.rendered.turns);
            }
            Task::Complete { sampling, .. } => {
                if kind.model() == StepModel::Judge {
                    self.judge_texts = Some(sampling.reasoning.clone());
                }
            }
            Task::Choose { .. } => {
                self.choice = Some(submission);
                return None;
            }
            Task::Likelihood { .. } => return None,
        }
        // A revision that changes nothing would end the loop.
        self.placeholders += 1;
        let text = format!("Blue is colour number {}.", self.placeholders);
        let reasoning = Some(text.clone());
        Some(Completion { text, reasoning, finish: Finish::Stop, usage: Usage::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{ChatTemplate, Role};
    use crate::constitution::Constitution;
    use crate::judge::labels;
    use crate::prompt::Delimiter;

    fn job(procedure: Procedure, change: impl FnOnce(&mut Constitution)) -> Job {
        let mut constitution = crate::constitution::load("harmless").unwrap().constitution;
        change(&mut constitution);
        let fence = Delimiter::new("3f9c2a81").unwrap();
        Job::new(procedure, constitution, None, fence, 7).unwrap()
    }

    #[test]
    fn settings_that_contradict_each_other_are_unfit() {
        let source = "{{ messages[0].content }}{% if enable_thinking %}<think>{% else %}\
            <think></think>{% endif %}";
        let template = ChatTemplate::new(source, "", "").unwrap();
        let mut reasoning = Reasoning::default();
        reasoning.chat_template_kwargs.insert("enable_thinking".to_owned(), true.into());
        let mut check = |mode| {
            reasoning.mode = mode;
            check_settings(template.reasoning(), &[&Reasoning::default(), &reasoning])
        };
        assert!(check(ReasoningMode::Auto).is_ok());
        assert!(check(ReasoningMode::On).is_ok());
        let Err(ProbeError::Unfit { message, .. }) = check(ReasoningMode::Off) else {
            panic!("it is a contradiction");
        };
        assert!(message.contains("`reasoning` is off"), "{message}");
        assert!(message.contains("enable_thinking = true"), "{message}");
    }

    #[test]
    fn a_judged_loop_needs_texts_and_a_verdict() {
        let mode = ReasoningMode::Off;
        let job = job(Procedure::Revise { judging: true }, |constitution| {
            constitution.sampling.revise.reasoning.mode = mode;
            constitution.sampling.generate.reasoning.mode = ReasoningMode::On;
            constitution.sampling.critique.reasoning.mode = ReasoningMode::On;
        });
        let (writer, judge) = needs(&job, Some("label"));
        assert_eq!(writer.texts.unwrap().mode, mode);
        assert_eq!((writer.choices, judge.texts), (None, None));
        let choice = judge.choices.unwrap();
        assert_eq!(choice.labels, labels::answers(&["A", "B"]));
        assert_eq!(choice.recorded_way.as_deref(), Some("label"));
        let last = choice.turns.last().unwrap();
        assert_eq!(
            (last.role, last.content.as_str()),
            (Role::Assistant, "The better answer is Answer")
        );
        assert_eq!(choice.thought_turns, None);
    }

    #[test]
    fn settings_without_thoughts_show_whether_a_model_thinks() {
        let [on, auto, off] = [ReasoningMode::On, ReasoningMode::Auto, ReasoningMode::Off]
            .map(|mode| Reasoning { mode, ..Reasoning::default() });
        let least = |settings: &[&Reasoning]| {
            least_thinking(settings.iter().copied()).map(|settings| settings.mode)
        };
        assert_eq!(least(&[&on, &auto]), Some(ReasoningMode::Auto));
        assert_eq!(least(&[&off, &on]), Some(ReasoningMode::Off));
        assert_eq!(least(&[&on]), Some(ReasoningMode::On));
        assert_eq!(least(&[]), None);
    }

    #[test]
    fn each_procedure_needs_its_own_choices() {
        let choices = |procedure, change: fn(&mut Constitution)| {
            needs(&job(procedure, change), None).1.choices.map(|choices| choices.labels)
        };
        let revise = || Procedure::Revise { judging: false };
        assert_eq!(choices(revise(), |_| {}), None);
        assert_eq!(choices(revise(), |it| it.plan.gate = Some(0.5)), Some(labels::yes_no()));
        let compare = Procedure::Compare { principles: Arc::new([]), overall: true };
        assert_eq!(choices(compare, |_| {}), Some(labels::answers(&["A", "B"])));
        let likelihood = Procedure::Likelihood { reference: false };
        assert_eq!(choices(likelihood, |_| {}), None);
    }

    #[test]
    fn a_judge_that_gives_reasons_writes_texts() {
        let job = job(Procedure::Revise { judging: true }, |it| it.judge.reasons = 2);
        let (_, judge) = needs(&job, None);
        assert!(judge.texts.is_some() && judge.choices.is_some(), "{judge:?}");
    }
}
