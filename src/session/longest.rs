//! The longest requests of a job, so that the KV cache has room for them. They follow from the
//! constitution, the templates and the longest item: one item is rehearsed in which every text
//! has its greatest length.

use std::sync::Arc;

use super::rehearsal::{Done, Rehearsal, rehearse_items};
use crate::cli::output::error::CommandError;
use amend_core::constitution::{Constitution, Select};
use amend_core::driver::{Engines, Job, Work};
use amend_core::model::{Engine, PromptTokens};
use amend_core::procedure::Procedure;
use amend_core::record::Item;

/// The words of a prompt that is assumed where the input is not known.
const ORDINARY_WORDS: usize = 256;

/// The weight of principles that are not meant to be selected. It must not be zero.
const UNSELECTED: f64 = 1e-9;

/// No sequence gets more room than this. After a request as long, others need no rehearsal.
const ENOUGH: u32 = 1 << 17;

/// The lengths of the longest requests in tokens, with their answers. `None` where the tokens
/// are not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LongestRequests {
    /// To the model that writes.
    pub main: Option<u32>,
    /// To the model that judges, if it is another one.
    pub second: Option<u32>,
    /// To the model that writes the first answers, if it is another one.
    pub student: Option<u32>,
}

/// The prompts of the models, as far as their tokens are known.
#[derive(Clone, Copy, Default)]
pub struct ModelPrompts<'a> {
    /// Of the model that writes.
    pub main: Option<&'a dyn PromptTokens>,
    /// Of the model that judges, if it is another one.
    pub second: Option<&'a dyn PromptTokens>,
    /// Of the model that writes the first answers, if it is another one.
    pub student: Option<&'a dyn PromptTokens>,
}

impl LongestRequests {
    /// Rehearses `item`, or a prompt of ordinary length.
    ///
    /// # Errors
    /// The templates can't be rendered for any item.
    pub fn of_job(
        job: &Job,
        item: Option<&Arc<Item>>,
        prompts: ModelPrompts<'_>,
    ) -> Result<Self, CommandError> {
        let ModelPrompts { main, second, student } = prompts;
        if main.or(second).or(student).is_none() {
            return Ok(Self::default());
        }
        let item = match item {
            Some(item) => Arc::clone(item),
            None => Arc::new(Item::of_prompt("word ".repeat(ORDINARY_WORDS))),
        };
        let mut longest = Self::default();
        for job in variants(job) {
            let mut writer = Rehearsal::new(main.unwrap_or(&Unknown));
            let mut judge = second.map(Rehearsal::new);
            let mut pupil = student.map(Rehearsal::new);
            let engines = Engines {
                writer: &mut writer,
                judge: judge.as_mut().map(|judge| judge as &mut dyn Engine),
                student: pupil.as_mut().map(|pupil| pupil as &mut dyn Engine),
            };
            let work = Work { item: Arc::clone(&item), steps: Vec::new() };
            rehearse_items(engines, &job, [work], &mut Done::default())?;
            let tokens = |rehearsal: &Rehearsal<'_>| u32::try_from(rehearsal.longest).ok();
            longest.main = longest.main.max(main.and_then(|_| tokens(&writer)));
            longest.second = longest.second.max(judge.as_ref().and_then(tokens));
            longest.student = longest.student.max(pupil.as_ref().and_then(tokens));
            if longest.main.max(longest.second).max(longest.student) >= Some(ENOUGH) {
                break;
            }
        }
        Ok(longest)
    }
}

/// The prompts of a model whose tokens are not known.
struct Unknown;

impl PromptTokens for Unknown {}

/// Copies of a job that together apply every principle. An item of a run applies only some of
/// them, which are drawn for it.
fn variants(job: &Job) -> Vec<Job> {
    let Constitution { plan, principles, .. } = &*job.constitution;
    let revises = match job.procedure {
        Procedure::Revise { .. } => true,
        Procedure::Rubric { revise, .. } => revise,
        Procedure::Compare { .. } | Procedure::Likelihood { .. } => false,
    };
    let job = Job { cohorts: false, ..job.clone() };
    let rounds = if plan.method.has_rounds() { plan.rounds as usize } else { 1 };
    let of_item = rounds.saturating_mul(plan.principles_per_round as usize);
    if !revises || plan.select == Select::All || of_item == 0 || of_item >= principles.len() {
        return vec![job];
    }
    let firsts = (0..principles.len()).step_by(of_item);
    let variants = firsts.map(|first| {
        let mut constitution = Constitution::clone(&job.constitution);
        constitution.plan.select = Select::Weighted;
        // Every principle counts as broken.
        constitution.plan.gate = constitution.plan.gate.map(|_| 0.0);
        for (at, principle) in constitution.principles.iter_mut().enumerate() {
            let is_selected = (first..first + of_item).contains(&at);
            principle.weight = if is_selected { 1.0 } else { UNSELECTED };
        }
        Job { constitution: Arc::new(constitution), ..job.clone() }
    });
    variants.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use amend_core::constitution::{self, Method, SHIPPED};
    use amend_core::model::Scripted;
    use amend_core::prompt::Delimiter;
    use amend_core::random::Stream;

    fn job(name: &str, procedure: Procedure, seed: u64) -> Job {
        let constitution = constitution::load(name).unwrap().constitution;
        Job::new(procedure, constitution, None, Delimiter::from_stream(Stream::new(seed)), seed)
            .unwrap()
    }

    fn of_main(words: &dyn PromptTokens) -> ModelPrompts<'_> {
        ModelPrompts { main: Some(words), ..ModelPrompts::default() }
    }

    fn procedures(constitution: &Constitution) -> Vec<Procedure> {
        let dimensions = (0..constitution.dimensions.len()).collect();
        vec![
            Procedure::Revise { judging: true },
            Procedure::Rubric { dimensions, revise: true },
            Procedure::Compare {
                principles: (0..constitution.principles.len()).collect(),
                overall: true,
            },
        ]
    }

    /// The longest request for the principles that are drawn for an item.
    fn drawn(job: &Job, words: &dyn PromptTokens, item: &Arc<Item>) -> u32 {
        let mut rehearsal = Rehearsal::new(words);
        let work = Work { item: Arc::clone(item), steps: Vec::new() };
        rehearse_items(&mut rehearsal, job, [work], &mut Done::default()).unwrap();
        u32::try_from(rehearsal.longest).unwrap()
    }

    #[test]
    fn no_request_under_a_shipped_constitution_is_longer_than_its_longest() {
        let words = Scripted::new(|_| Ok(String::new()));
        let item = Arc::new(Item::of_prompt("a short question"));
        for (name, _) in SHIPPED {
            let constitution = constitution::load(name).unwrap().constitution;
            let methods = Method::ALL.into_iter();
            for (procedure, method) in methods.flat_map(|method| {
                procedures(&constitution).into_iter().map(move |it| (it, method))
            }) {
                let mut job = job(name, procedure, 0);
                Arc::make_mut(&mut job.constitution).plan.method = method;
                let longest = LongestRequests::of_job(&job, Some(&item), of_main(&words)).unwrap();
                let longest = longest.main.unwrap();
                for seed in 1..=8 {
                    job.stream = Stream::new(seed);
                    let drawn = drawn(&job, &words, &item);
                    let procedure = &job.procedure;
                    assert!(drawn <= longest, "{name} {procedure:?}: {drawn} of {longest}");
                }
            }
        }
    }

    #[test]
    fn every_principle_the_item_and_the_greatest_answer_count() {
        let words = Scripted::new(|_| Ok(String::new()));
        let item = |length| Arc::new(Item::of_prompt("word ".repeat(length)));
        let longest = |job: &Job, item: Option<&Arc<Item>>| {
            LongestRequests::of_job(job, item, of_main(&words)).unwrap().main.unwrap()
        };
        let mut plain = job("harmless", Procedure::Revise { judging: true }, 1);
        Arc::make_mut(&mut plain.constitution).sampling.judge.max_tokens = 1;
        let short = longest(&plain, Some(&item(10)));
        assert!(longest(&plain, Some(&item(1010))) >= short + 1000);
        assert!(longest(&plain, None) >= short + 200);

        let count = plain.constitution.principles.len();
        for at in [0, count / 2, count - 1] {
            let mut wordy = plain.clone();
            let principles = &mut Arc::make_mut(&mut wordy.constitution).principles;
            principles[at].critique = "word ".repeat(2000);
            assert!(longest(&wordy, Some(&item(10))) >= short + 1000, "{at} of {count}");
        }
        let mut long = plain.clone();
        Arc::make_mut(&mut long.constitution).sampling.revise.max_tokens += 3000;
        assert!(longest(&long, Some(&item(10))) >= 3000);
    }

    #[test]
    fn a_separate_judge_needs_room_for_its_own_requests() {
        let words = Scripted::new(|_| Ok(String::new()));
        let job = job("harmless", Procedure::Revise { judging: true }, 1);
        let words = &words as &dyn PromptTokens;
        let longest = |main, second, student| {
            LongestRequests::of_job(&job, None, ModelPrompts { main, second, student }).unwrap()
        };
        let of_server = longest(None, Some(words), Some(words));
        assert_eq!(of_server.main, None);
        assert!(of_server.second.is_some() && of_server.student.is_some());
        assert_eq!(longest(None, None, None), <_>::default());
        let longest = longest(Some(words), Some(words), None);
        let (main, second) = (longest.main.unwrap(), longest.second.unwrap());
        assert!(main > 100 && second > 100 && main != second, "{longest:?}");
    }
}
