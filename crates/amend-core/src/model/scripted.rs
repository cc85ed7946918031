//! An engine that calls a function for each request, to test the code that uses
//! engines.

use std::collections::VecDeque;

use super::{
    Capabilities, Completion, Counters, Description, Engine, EngineError, Event, Failure, Finish,
    Prepared, PromptTokens, Request, RequestId, Task, Usage,
};
use crate::chat::{Message, NextTurn, Reasoning};

type Script = Box<dyn FnMut(&Request) -> Result<String, Failure> + Send>;
type Judge = Box<dyn FnMut(&Request) -> Result<Vec<f64>, Failure> + Send>;

/// Answers each request by calling a function: one request per step, in order.
pub struct Scripted {
    script: Script,
    judge: Option<Judge>,
    waiting: VecDeque<Request>,
    counters: Counters,
    width: usize,
}

impl Scripted {
    /// Creates an engine that completes requests with `script`.
    pub fn new(script: impl FnMut(&Request) -> Result<String, Failure> + Send + 'static) -> Self {
        Self {
            script: Box::new(script),
            judge: None,
            waiting: VecDeque::new(),
            counters: Counters::default(),
            width: 4,
        }
    }

    /// Answers requests for log-probabilities with `judge`.
    #[must_use]
    pub fn judging(
        self,
        judge: impl FnMut(&Request) -> Result<Vec<f64>, Failure> + Send + 'static,
    ) -> Self {
        Self { judge: Some(Box::new(judge)), ..self }
    }
}

/// The number of words, which are the tokens of this engine.
fn words(text: &str) -> u32 {
    u32::try_from(text.split_whitespace().count()).unwrap_or(u32::MAX)
}

impl PromptTokens for Scripted {
    fn prepare(
        &self,
        turns: &[Message],
        shared_turns: usize,
        _: &Reasoning,
        _: NextTurn,
    ) -> Result<Prepared, Failure> {
        let tokens = |turns: &[Message]| -> Vec<(i32, String)> {
            (0..)
                .zip(turns.iter().flat_map(|turn| turn.content.split_whitespace()))
                .map(|(at, word)| (at, word.to_owned()))
                .collect()
        };
        Ok(Prepared { shared: tokens(&turns[..shared_turns]).len(), tokens: tokens(turns) })
    }
}

impl Engine for Scripted {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            scores_texts: self.judge.is_some(),
            knows_tokens: true,
            is_deterministic: true,
            measures_batches: false,
        }
    }

    fn describe(&self) -> Result<Description, EngineError> {
        Ok(Description {
            model: serde_json::json!({"engine": "scripted"}),
            settings: serde_json::json!({"parallel": self.width}),
        })
    }

    fn width(&self) -> usize {
        self.width
    }

    fn submit(&mut self, request: Request) {
        self.waiting.push_back(request);
    }

    fn cancel(&mut self, id: RequestId) {
        self.waiting.retain(|request| request.id != id);
    }

    fn reset(&mut self) {}

    fn step(&mut self, events: &mut Vec<Event>) -> Result<bool, EngineError> {
        let Some(request) = self.waiting.pop_front() else {
            return Ok(false);
        };
        let id = request.id;
        let prompt = request.turns.iter().map(|turn| words(&turn.content)).sum();
        self.counters.prefilled += u64::from(prompt);
        self.counters.batches += 1;
        let usage = Usage { prompt, ..Usage::default() };
        let max_tokens = match &request.task {
            Task::Complete { sampling, .. } => sampling.max_tokens,
            task => {
                let scored = matches!(task, Task::Likelihood { .. });
                let log_probs = match &mut self.judge {
                    Some(judge) => judge(&request),
                    None => {
                        let message = "this scripted engine only completes".to_owned();
                        Err(Failure::Decode { message })
                    }
                };
                events.push(match log_probs {
                    Ok(log_probs) if scored => Event::Likelihood { id, log_probs, usage },
                    Ok(log_probs) => Event::Chosen { id, log_probs, usage },
                    Err(failure) => Event::Failed { id, failure },
                });
                return Ok(!self.waiting.is_empty());
            }
        };
        match (self.script)(&request) {
            Ok(text) => {
                let usage = Usage { decoded: words(&text), ..usage };
                self.counters.decoded += u64::from(usage.decoded);
                let finish =
                    if usage.decoded >= max_tokens { Finish::Length } else { Finish::Stop };
                events.push(Event::Text { id, text: text.clone() });
                events.push(Event::Done {
                    id,
                    completion: Completion { text, reasoning: None, finish, usage },
                });
            }
            Err(failure) => events.push(Event::Failed { id, failure }),
        }
        Ok(!self.waiting.is_empty())
    }

    fn counters(&self) -> Counters {
        self.counters
    }
}
