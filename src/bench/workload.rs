//! The three workloads of `amend bench`. Their texts are random words from a fixed seed, the
//! same on every machine. A word is about one token.

use std::sync::Arc;

use amend_core::chat::{Message, Reasoning, Role};
use amend_core::constitution::{
    Constitution, Export, Governance, Judge, Plan, Principle, Select, StepSampling, Thresholds,
};
use amend_core::driver::{DriveError, Job, Observer, Work, drive};
use amend_core::model::{Engine, EngineError, Event, Request, Sampling, Task};
use amend_core::procedure::{ItemLoop, Procedure};
use amend_core::prompt::{Delimiter, TemplatesError};
use amend_core::random::Stream;
use amend_core::record::{Item, Keys, Outcome, Step};

/// The kind of workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// Prompts that go through the loop: an answer, then two rounds of critique and
    /// revision.
    Loop,
    /// A decoded critique of each conversation under each of many principles.
    FanOut,
    /// A verdict on each conversation under each of many principles in both orders;
    /// decodes nothing.
    Verdicts,
}

/// The size of a workload.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Size {
    /// The number of prompts of the loop.
    pub prompts: usize,
    /// The number of conversations of the other two workloads.
    pub conversations: usize,
    /// The number of principles per conversation.
    pub principles: usize,
    /// The number of decoded tokens, in percent of the full workload.
    pub length_percent: u32,
}

impl Size {
    /// The size for published results.
    pub const FULL: Self =
        Self { prompts: 32, conversations: 8, principles: 16, length_percent: 100 };
    /// A size that takes a few seconds, to check that everything works.
    pub const QUICK: Self =
        Self { prompts: 4, conversations: 2, principles: 4, length_percent: 12 };

    /// A size with `percent` of the prompts and conversations, each of full length.
    #[must_use]
    pub fn share(self, percent: u32) -> Self {
        let part = |full: usize| (full * percent as usize / 100).max(1);
        Self { prompts: part(self.prompts), conversations: part(self.conversations), ..self }
    }

    fn tokens(self, full: u32) -> u32 {
        (full * self.length_percent / 100).max(2)
    }
}

const ANSWER: u32 = 96;
const CRITIQUE: u32 = 64;
const REVISION: u32 = 96;
const FAN_OUT_CRITIQUE: u32 = 48;
const CONVERSATION_WORDS: u64 = 600;
const PRINCIPLE_WORDS: u64 = 60;
const PROMPT_WORDS: u64 = 40;

const WORDS: [&str; 48] = [
    "time", "water", "house", "light", "paper", "friend", "garden", "music", "letter", "river",
    "morning", "answer", "question", "story", "window", "table", "summer", "winter", "city",
    "people", "world", "small", "large", "green", "quiet", "open", "first", "second", "under",
    "over", "between", "after", "before", "never", "always", "often", "walk", "read", "write",
    "carry", "bring", "hold", "keep", "find", "learn", "help", "make", "see",
];

fn words(stream: Stream, count: u64) -> String {
    let word = |at| WORDS[(stream.bits(at) % WORDS.len() as u64) as usize];
    (0..count).map(word).collect::<Vec<_>>().join(" ")
}

/// The maximum number of requests of a workload.
#[must_use]
pub fn requests(workload: Workload, size: Size) -> usize {
    match workload {
        Workload::Loop => size.prompts * 5,
        Workload::FanOut => size.conversations * size.principles,
        Workload::Verdicts => size.conversations * size.principles * 2,
    }
}

/// The number of rows of a workload: items, critiques or verdicts.
#[must_use]
pub fn rows(workload: Workload, size: Size) -> usize {
    match workload {
        Workload::Loop => size.prompts,
        Workload::FanOut | Workload::Verdicts => size.conversations * size.principles,
    }
}

/// Why a workload failed.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The built-in templates can't be loaded.
    #[error(transparent)]
    Templates(#[from] TemplatesError),
    /// A request failed, so that the figures would be wrong.
    #[error("a request of the benchmark failed: {0}")]
    Request(#[from] amend_core::model::Failure),
}

impl WorkloadError {
    /// Converts the error of a drive of items without recorded steps.
    #[must_use]
    pub fn from_drive(error: DriveError<Self>) -> Self {
        match error {
            DriveError::Engine(error) => error.into(),
            DriveError::Observer(error) => error,
            DriveError::Replay { .. } => unreachable!("nothing was recorded"),
        }
    }
}

/// Runs a workload.
///
/// # Errors
/// The engine or any request fails.
pub fn run(engine: &mut dyn Engine, workload: Workload, size: Size) -> Result<(), WorkloadError> {
    match workload {
        Workload::Loop => run_loop(engine, size),
        Workload::FanOut | Workload::Verdicts => {
            let mut requests = independent_requests(workload, size).into_iter().peekable();
            let mut events = Vec::new();
            let mut in_flight = 0;
            while in_flight > 0 || requests.peek().is_some() {
                while in_flight < 2 * engine.width()
                    && let Some(request) = requests.next()
                {
                    engine.submit(request);
                    in_flight += 1;
                }
                engine.step(&mut events)?;
                for event in events.drain(..) {
                    match event {
                        Event::Text { .. } => {}
                        Event::Failed { failure, .. } => return Err(failure.into()),
                        _ => in_flight -= 1,
                    }
                }
            }
            Ok(())
        }
    }
}

/// The requests of the workloads whose requests are independent, ordered by conversation so
/// that those with a common prefix are adjacent.
fn independent_requests(workload: Workload, size: Size) -> Vec<Request> {
    let stream = Stream::new(2);
    let system = "You check answers against a rule. Be brief.";
    let mut requests = Vec::new();
    for conversation in 0..size.conversations {
        let text =
            |name: &str, count| words(stream.child(&format!("{name} {conversation}")), count);
        let (asked, first, second) = match workload {
            Workload::Verdicts => {
                let third = CONVERSATION_WORDS / 3;
                (text("asked", third), text("first", third), text("second", third))
            }
            _ => (text("asked", CONVERSATION_WORDS), String::new(), String::new()),
        };
        let orders: &[(&str, &str)] = match workload {
            Workload::Verdicts => &[(&first, &second), (&second, &first)],
            _ => &[("", "")],
        };
        for (a, b) in orders {
            for principle in 0..size.principles {
                let rule = words(stream.child(&format!("rule {principle}")), PRINCIPLE_WORDS);
                let (content, task) = match workload {
                    Workload::Verdicts => (
                        format!(
                            "{asked}\n\nA: {a}\n\nB: {b}\n\nRule: {rule}\nWhich keeps it, A or B?"
                        ),
                        Task::Choose {
                            choices: ["A", "B"]
                                .map(|label| vec![label.into(), format!(" {label}")])
                                .into(),
                            reasoning: Reasoning::default(),
                        },
                    ),
                    _ => (
                        format!("{asked}\n\nRule: {rule}\nWhat breaks it?"),
                        Task::Complete {
                            sampling: sampling(size.tokens(FAN_OUT_CRITIQUE)),
                            stream: stream.child(&format!("draw {conversation} {principle}")),
                            ignore_eos: true,
                            copies: false,
                            thought_only: false,
                        },
                    ),
                };
                requests.push(Request {
                    id: requests.len() as u64,
                    turns: vec![
                        Message::new(Role::System, system),
                        Message::new(Role::User, content),
                    ],
                    shared_turns: 1,
                    continues: None,
                    item: conversation as u64,
                    task,
                });
            }
        }
    }
    requests
}

fn sampling(max_tokens: u32) -> Sampling {
    Sampling { max_tokens, ..Sampling::default() }
}

fn run_loop(engine: &mut dyn Engine, size: Size) -> Result<(), WorkloadError> {
    const SEED: u64 = 1;
    let stream = Stream::new(SEED);
    let fence = Delimiter::from_stream(stream);
    let procedure = Procedure::Revise { judging: false };
    let job = Job::new(procedure, constitution(size), None, fence, SEED)?;
    let job = Job { ignore_eos: true, ..job };
    let mut keys = Keys::default();
    let work = (1..=size.prompts as u64).map(|row| {
        let prompt = words(stream.child(&format!("prompt {row}")), PROMPT_WORDS);
        let messages = vec![Message::new(Role::User, prompt)];
        let key = keys.next(&messages, None, None);
        let metadata = serde_json::Map::new();
        let item =
            Item { key, row, id: None, messages, response: None, response_b: None, metadata };
        Work { item: Arc::new(item), steps: Vec::new() }
    });
    drive(engine, &job, work, &mut Strict).map(|_| ()).map_err(WorkloadError::from_drive)
}

/// The constitution of the loop: sixteen principles of random words.
fn constitution(size: Size) -> Constitution {
    let stream = Stream::new(3);
    let principle = |at: usize| Principle {
        id: format!("rule-{at}"),
        title: format!("Rule {at}"),
        category: "bench".to_owned(),
        weight: 1.0,
        principle: words(stream.child(&format!("rule {at}")), PRINCIPLE_WORDS),
        critique: "Say what breaks the rule.".to_owned(),
        revise: "Write the answer so that it keeps the rule.".to_owned(),
        judge: String::new(),
        opposite: None,
        applies_when: String::new(),
        paraphrases: Vec::new(),
        labels: None,
        examples: Vec::new(),
    };
    Constitution {
        name: "bench".to_owned(),
        version: "1".to_owned(),
        description: String::new(),
        language: "en".to_owned(),
        plan: Plan { rounds: 2, select: Select::Random, stop_unchanged: false, ..Plan::default() },
        principles: (0..16).map(principle).collect(),
        dimensions: Vec::new(),
        judge: Judge::default(),
        governance: Governance::default(),
        export: Export::default(),
        audit: Thresholds::default(),
        sampling: StepSampling {
            generate: sampling(size.tokens(ANSWER)),
            critique: sampling(size.tokens(CRITIQUE)),
            revise: sampling(size.tokens(REVISION)),
            ..StepSampling::default()
        },
    }
}

/// Stops at the first failure: figures over fewer requests would be misleading.
struct Strict;

impl Observer for Strict {
    type Error = WorkloadError;

    fn step(&mut self, _: &ItemLoop, _: &Step) -> Result<(), WorkloadError> {
        Ok(())
    }

    fn end(&mut self, _: &ItemLoop, outcome: Outcome) -> Result<(), WorkloadError> {
        match outcome {
            Outcome::Done { .. } => Ok(()),
            Outcome::Failed { failure } => Err(failure.into()),
        }
    }
}
