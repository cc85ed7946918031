//! Flags for models that think before they answer. They override the constitution for every
//! step.

use clap::Args;
use serde_json::{Map, Value};

use super::one_of;
use amend_core::chat::{RESERVED_VARIABLES, ReasoningMode};
use amend_core::constitution::StepSampling;

/// How the model thinks before it answers.
#[derive(Debug, Args)]
#[command(next_help_heading = "Task")]
pub struct ReasoningArgs {
    /// Whether the model thinks before it answers, overriding the constitution. `auto`: not
    /// if its chat template has a switch for that
    #[arg(
        long,
        env = "AMEND_REASONING",
        value_parser = one_of(
            &ReasoningMode::ALL,
            ReasoningMode::as_str,
            &[
                "It does not think if its chat template has a switch for that",
                "It thinks; where the judge gives reasons, it thinks instead",
                "It does not think; if there is no switch, an empty thought is written",
            ],
        ),
        value_name = "MODE",
    )]
    reasoning: Option<ReasoningMode>,
    /// The maximum number of tokens in a thought, apart from those of the answer. At the
    /// limit, the thought is closed and the answer follows [default: 1024]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=131_072))]
    reasoning_budget: Option<u32>,
    /// The effort that the chat template or the server is asked for, such as low, medium
    /// or high
    #[arg(long, value_name = "LEVEL")]
    reasoning_effort: Option<String>,
    /// Variables for the chat template, as a JSON object
    #[arg(long, value_name = "JSON", value_parser = json_object)]
    chat_template_kwargs: Option<Map<String, Value>>,
}

fn json_object(text: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => {
            match RESERVED_VARIABLES.iter().find(|name| object.contains_key(**name)) {
                Some(name) => Err(format!("amend sets {name:?} itself: remove it")),
                None => Ok(object),
            }
        }
        Ok(_) => Err("it is not an object, such as {\"enable_thinking\": false}".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

impl ReasoningArgs {
    /// Sets the values that were given, for every step.
    pub fn apply(&self, steps: &mut StepSampling) {
        let steps = [&mut steps.generate, &mut steps.critique, &mut steps.revise, &mut steps.judge];
        for reasoning in steps.map(|step| &mut step.reasoning) {
            reasoning.mode = self.reasoning.unwrap_or(reasoning.mode);
            reasoning.budget = self.reasoning_budget.unwrap_or(reasoning.budget);
            if self.reasoning_effort.is_some() {
                reasoning.effort.clone_from(&self.reasoning_effort);
            }
            if let Some(variables) = &self.chat_template_kwargs {
                reasoning.chat_template_kwargs.clone_from(variables);
            }
        }
    }
}
