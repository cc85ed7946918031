//! What a job will ask of its engines.

use super::Job;
use crate::chat::{Reasoning, ReasoningMode};
use crate::constitution::{Constitution, Select};
use crate::judge::labels;
use crate::model::{ChoiceNeeds, ProbeNeeds};
use crate::procedure::Procedure;

/// What a job will ask of the engine that writes, and of the one that judges.
///
/// `recorded_way` is how the run asked for choices before it was interrupted.
pub(super) fn needs(job: &Job, recorded_way: Option<&str>) -> (ProbeNeeds, ProbeNeeds) {
    let constitution = &job.constitution;
    let sampling = &constitution.sampling;
    let texts = match &job.procedure {
        Procedure::Revise { .. } | Procedure::Rubric { revise: true, .. } => least_thinking(
            &[&sampling.generate, &sampling.critique, &sampling.revise].map(|step| &step.reasoning),
        ),
        Procedure::Compare { .. } | Procedure::Rubric { revise: false, .. } => {
            Some(sampling.generate.reasoning.clone())
        }
        Procedure::Likelihood { .. } => None,
    };
    let reasons_first = constitution.judge.reasons > 0 && compares(&job.procedure);
    let reasoning = &sampling.judge.reasoning;
    let follows_thought = reasons_first && reasoning.mode == ReasoningMode::On;
    let choices = labels(&job.procedure, constitution).map(|labels| ChoiceNeeds {
        labels,
        reasoning: reasoning.clone(),
        follows_thought,
        mass_floor: constitution.judge.mass_floor,
        recorded_way: recorded_way.map(str::to_owned),
    });
    let reasons = if reasons_first && !follows_thought { Some(reasoning.clone()) } else { None };
    let writer = ProbeNeeds { texts, choices: None };
    let judge = ProbeNeeds { texts: reasons, choices };
    (writer, judge)
}

/// The settings that let the model think least: they show whether it thinks unasked.
fn least_thinking(settings: &[&Reasoning]) -> Option<Reasoning> {
    let least = settings.iter().find(|settings| settings.mode != ReasoningMode::On);
    least.or(settings.first()).map(|settings| Reasoning::clone(settings))
}

/// Whether the job asks which of two answers is better.
fn compares(procedure: &Procedure) -> bool {
    match procedure {
        Procedure::Revise { judging } => *judging,
        Procedure::Compare { .. } => true,
        Procedure::Rubric { .. } | Procedure::Likelihood { .. } => false,
    }
}

/// The labels of the choices that a job asks for, if any.
fn labels(procedure: &Procedure, constitution: &Constitution) -> Option<Vec<Vec<String>>> {
    if compares(procedure) {
        return Some(labels::answers(constitution.labels(None)));
    }
    let plan = &constitution.plan;
    match procedure {
        Procedure::Rubric { dimensions, .. } => {
            let first = constitution.dimensions.get(*dimensions.first()?)?;
            Some(labels::scale(first.scale))
        }
        Procedure::Revise { .. } if plan.gate.is_some() || plan.select == Select::Worst => {
            Some(labels::yes_no())
        }
        Procedure::Revise { .. } | Procedure::Compare { .. } | Procedure::Likelihood { .. } => None,
    }
}
