//! Asks the model for prompts: many requests at once, in waves. Replies are taken in the order of
//! their requests, so the result depends on the replies and not on which comes first.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

use super::collection::{Collection, PromptRow, WrittenReply};
use crate::cli::output::error::CommandError;
use crate::session::interrupt;
use amend_core::constitution::Constitution;
use amend_core::driver::{Ended, Engines, Job, NextWork, Observer, Work, WorkSource, drive_source};
use amend_core::model::{Failure, Finish};
use amend_core::procedure::{ItemLoop, Procedure};
use amend_core::prompt::{Delimiter, PromptRequest, Templates, TemplatesError};
use amend_core::record::{Item, Keys, Outcome, Step};

/// The most tokens of one prompt in a list.
const TOKENS: u32 = 64;

/// The job of a request: its prompt is the item's conversation, and the list is the first answer.
///
/// # Errors
/// The built-in templates are invalid.
pub fn job(
    mut constitution: Constitution,
    fence: Delimiter,
    seed: u64,
    per_request: usize,
) -> Result<Job, TemplatesError> {
    let plan = &mut constitution.plan;
    (plan.rounds, plan.candidates, plan.gate) = (0, 1, None);
    let per_request = u32::try_from(per_request).unwrap_or(u32::MAX);
    constitution.sampling.generate.max_tokens = TOKENS.saturating_mul(per_request);
    Job::new(Procedure::Revise { judging: false }, constitution, None, fence, seed)
}

/// Asks for prompts until the collection is complete or every part that lacks some is given up.
/// `templates` word the requests, and `write` gets each new row.
///
/// # Errors
/// The engine fails or can't do what the job needs, a template fails, or `write` fails.
pub fn write_prompts<'e>(
    engines: impl Into<Engines<'e>>,
    job: &Job,
    templates: &Templates,
    collection: &mut Collection,
    write: &mut dyn FnMut(&PromptRow) -> Result<(), CommandError>,
) -> Result<Ended, CommandError> {
    let mut engines = engines.into();
    engines.probe(job, None)?;
    let state = RefCell::new(Writing {
        constitution: &job.constitution,
        templates,
        collection,
        write,
        keys: Keys::default(),
        waiting: VecDeque::new(),
        wave: Vec::new(),
        taken: 0,
        error: None,
    });
    let ended = drive_source(&mut engines, job, &mut Asking(&state), &mut Taking(&state))?;
    match state.into_inner().error {
        Some(failure) => Err(failure.into()),
        None => Ok(ended),
    }
}

/// What the source of the requests and the observer of the replies share.
struct Writing<'a> {
    constitution: &'a Constitution,
    templates: &'a Templates,
    collection: &'a mut Collection,
    write: &'a mut dyn FnMut(&PromptRow) -> Result<(), CommandError>,
    keys: Keys,
    /// The requests of the wave that are not started.
    waiting: VecDeque<Item>,
    /// The part and the reply of each request of the wave.
    wave: Vec<(usize, Option<WrittenReply>)>,
    /// How many replies of the wave were taken.
    taken: usize,
    /// Why a request could not be rendered.
    error: Option<Failure>,
}

impl Writing<'_> {
    fn next(&mut self) -> NextWork {
        if self.waiting.is_empty() {
            if self.taken < self.wave.len() {
                return NextWork::Wait;
            }
            if let Err(failure) = self.start_wave() {
                self.error = Some(failure);
                return NextWork::End;
            }
        }
        match self.waiting.pop_front() {
            Some(item) => {
                NextWork::Item(Box::new(Work { item: Arc::new(item), steps: Vec::new() }))
            }
            None => NextWork::End,
        }
    }

    /// Renders the requests that are due.
    fn start_wave(&mut self) -> Result<(), Failure> {
        let due = self.collection.due();
        self.taken = 0;
        self.wave = due.iter().map(|&part| (part, None)).collect();
        for (row, part) in (1..).zip(due) {
            let (principle, kind, earlier) = self.collection.part(part);
            let request = PromptRequest {
                constitution: self.constitution,
                principle: &self.constitution.principles[principle],
                kind,
                count: self.collection.per_request(),
                earlier: &earlier,
            };
            let messages = self.templates.render_writing(request)?.turns;
            // A request that repeats another draws other random numbers, because its key differs.
            let key = self.keys.next(&messages, None, None);
            let metadata = serde_json::Map::new();
            let item =
                Item { key, row, id: None, messages, response: None, response_b: None, metadata };
            self.waiting.push_back(item);
        }
        Ok(())
    }

    /// Keeps the reply to a request of the wave, and takes those whose turn it is.
    fn add(&mut self, row: u64, reply: WrittenReply) -> Result<(), CommandError> {
        let at = usize::try_from(row).unwrap_or(usize::MAX).saturating_sub(1);
        if let Some((_, place)) = self.wave.get_mut(at) {
            *place = Some(reply);
        }
        while let Some((part, reply)) = self.wave.get_mut(self.taken) {
            let Some(reply) = reply.take() else { break };
            let part = *part;
            self.taken += 1;
            tracing::debug!(?reply, "reply to a request for prompts");
            for row in self.collection.take(part, reply) {
                (self.write)(&row)?;
            }
        }
        Ok(())
    }
}

struct Asking<'a, 'w>(&'a RefCell<Writing<'w>>);

impl WorkSource for Asking<'_, '_> {
    fn next(&mut self, _: bool) -> NextWork {
        self.0.borrow_mut().next()
    }
}

struct Taking<'a, 'w>(&'a RefCell<Writing<'w>>);

impl Observer for Taking<'_, '_> {
    type Error = CommandError;

    fn stops(&mut self) -> bool {
        interrupt::requested()
    }

    fn step(&mut self, _: &ItemLoop, _: &Step) -> Result<(), CommandError> {
        Ok(())
    }

    fn end(&mut self, trajectory: &ItemLoop, outcome: Outcome) -> Result<(), CommandError> {
        let reply = match (outcome, trajectory.steps().first()) {
            (Outcome::Failed { failure }, _) => WrittenReply::Failed(failure.to_string()),
            (Outcome::Done { .. }, step) => WrittenReply::Text {
                text: step.map(|step| step.text.clone()).unwrap_or_default(),
                is_cut: step.is_some_and(|step| step.finish == Some(Finish::Length)),
            },
        };
        self.0.borrow_mut().add(trajectory.item().row, reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use amend_core::constitution::Layout;
    use amend_core::model::{Request, Scripted};
    use amend_core::prompt::PromptKind;

    /// Writes `total` prompts for the constitution `privacy` with an engine that answers by
    /// `script`. Returns the rows and the collection.
    fn written(
        total: usize,
        script: impl FnMut(&Request) -> Result<String, Failure> + Send + 'static,
    ) -> (Vec<PromptRow>, Collection) {
        let constitution = amend_core::constitution::load("privacy").unwrap().constitution;
        let fence = Delimiter::new("3f9c2a81").unwrap();
        let templates = Templates::for_writing(None, &fence, Layout::Quoted).unwrap();
        let mut collection = Collection::new(&constitution, total);
        let job = job(constitution, fence, 7, collection.per_request()).unwrap();
        let mut rows = Vec::new();
        let mut write = |row: &PromptRow| {
            rows.push(row.clone());
            Ok(())
        };
        let mut engine = Scripted::new(script);
        let ended =
            write_prompts(&mut engine, &job, &templates, &mut collection, &mut write).unwrap();
        assert_eq!(ended, Ended::Done);
        (rows, collection)
    }

    /// A different word for each number.
    fn word(number: usize) -> String {
        let letter = |number: usize| char::from(b'a' + u8::try_from(number % 26).unwrap());
        [number / 26, number].map(letter).iter().collect()
    }

    /// A list of entries that have no words in common.
    fn list(first: usize) -> String {
        let entry = |number: usize| {
            let words: Vec<String> = (0..6).map(|at| word(number * 6 + at)).collect();
            format!("{}. {}?\n", number + 1, words.join(" "))
        };
        (first..first + 4).map(entry).collect()
    }

    #[test]
    fn every_part_is_filled_and_the_request_names_its_kind() {
        let mut requests = 0;
        let (rows, collection) = written(20, move |request| {
            let text = &request.turns[0].content;
            assert!(text.contains("would break the rule") != text.contains("breaks no rule"));
            requests += 1;
            Ok(list(4 * (requests - 1)))
        });
        assert_eq!((rows.len(), collection.due().len()), (20, 0));
        assert_eq!(collection.counts().iter().sum::<usize>(), 20);
        let tests = rows.iter().filter(|row| row.kind == PromptKind::Tests).count();
        assert!((10..20).contains(&tests), "{tests}");
    }

    #[test]
    fn a_reply_without_anything_new_is_asked_for_again_with_the_prompts_so_far() {
        let mut requests: Vec<String> = Vec::new();
        let (rows, collection) = written(1, move |request| {
            let text = request.turns[0].content.clone();
            requests.push(text);
            match requests.len() {
                1 => Ok("I can't help with that.".to_owned()),
                2 => Err(Failure::NotFinite),
                _ => Ok(list(0)),
            }
        });
        assert_eq!((rows.len(), collection.left_out().count()), (1, 2));
    }

    #[test]
    fn a_model_that_repeats_itself_ends_short() {
        let (rows, collection) = written(6, |_| Ok(list(0)));
        // Every reply has the same four entries.
        assert_eq!(rows.len(), 4);
        assert_eq!(collection.missing().iter().map(|(_, missing)| missing).sum::<usize>(), 2);
    }

    #[test]
    fn rows_are_those_of_the_requests_in_their_order() {
        // The second time, the engine's replies are those of the same requests again.
        let by_request = |request: &Request| {
            let text = &request.turns[0].content;
            let number = text.bytes().map(usize::from).sum::<usize>() % 90;
            Ok(list(number))
        };
        let (first, _) = written(12, by_request);
        let (second, _) = written(12, by_request);
        assert_eq!(first, second);
        let order: Vec<_> = first.iter().map(|row| (row.principle.clone(), row.kind)).collect();
        let constitution = amend_core::constitution::load("privacy").unwrap().constitution;
        let place = |id: &str| constitution.principles.iter().position(|known| known.id == id);
        let places: Vec<_> = order.iter().map(|(id, kind)| (place(id), *kind)).collect();
        assert!(places.is_sorted(), "{places:?}");
    }
}
