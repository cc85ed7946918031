//! The models of a session: which are loaded, and with which settings.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::interrupt;
use super::longest::{LongestRequests, ModelPrompts};
use crate::cli::args::config::Config;
use crate::cli::args::model_args::{self, ModelArgs};
use crate::cli::args::recording::RecordArgs;
use crate::cli::output::error::CommandError;
use amend_core::driver::{Engines, Job};
use amend_core::model::Engine;
use amend_core::record::Item;
use amend_data::store::run_dir::{RunDir, RunError};
use amend_engine::llama::measure::calibrate::Costs;
use amend_engine::{LoadedModel, ModelSource};

/// The loaded models of a command.
pub struct Models {
    /// The model that writes or, if nothing is written, the only model.
    main: LoadedModel,
    /// The separate judge model, or the reference model.
    second: Option<LoadedModel>,
    /// The separate model of the first answers.
    student: Option<LoadedModel>,
}

/// The engines over [`Models`]. They convert into [`Engines`].
pub struct ModelEngines<'a> {
    main: Box<dyn Engine + 'a>,
    second: Option<Box<dyn Engine + 'a>>,
    student: Option<Box<dyn Engine + 'a>>,
    longest: LongestRequests,
}

impl<'a> From<&'a mut ModelEngines<'_>> for Engines<'a> {
    fn from(engines: &'a mut ModelEngines<'_>) -> Self {
        Self::new(&mut *engines.main, &mut engines.second, &mut engines.student)
    }
}

impl ModelEngines<'_> {
    /// The engine of the main model.
    #[must_use]
    pub fn main(&self) -> &dyn Engine {
        &*self.main
    }

    /// The engine that writes the first answers.
    #[must_use]
    pub fn first_answers(&self) -> &dyn Engine {
        self.student.as_deref().unwrap_or(&*self.main)
    }

    /// How long the longest request of each engine is, a line each, if that is known: with its
    /// greatest answer, and about the longest item. Says which ones do not fit.
    #[must_use]
    pub fn longest_requests(&self) -> Vec<String> {
        let LongestRequests { main, second, student } = self.longest;
        let lines = [
            (main, Some(&self.main), "longest request"),
            (second, self.second.as_ref(), "of the judge"),
            (student, self.student.as_ref(), "of the student"),
        ];
        let line = |(tokens, engine, name): (Option<u32>, Option<&Box<dyn Engine>>, &str)| {
            let (tokens, most) = (tokens?, engine?.longest_request()?);
            let line = format!("{name:<22} about {tokens} tokens");
            if u64::from(tokens) <= most {
                return Some(line);
            }
            Some(format!(
                "{line}, but only {most} fit, so that items may fail: lower --max-tokens, shorten \
                 the prompt, or raise --ctx-size (up to the context length that the model was \
                 trained for)"
            ))
        };
        lines.into_iter().filter_map(line).collect()
    }

    /// Makes the engines count how many tokens an ideal cache would save.
    pub fn count_ideal(&mut self) {
        self.main.count_ideal();
        for engine in [&mut self.second, &mut self.student].into_iter().flatten() {
            engine.count_ideal();
        }
    }
}

impl Models {
    /// The models that a command loaded itself.
    #[must_use]
    pub fn new(main: LoadedModel, second: Option<LoadedModel>) -> Self {
        Self { main, second, student: None }
    }

    /// Loads a separate model for the first answers.
    ///
    /// # Errors
    /// As [`Models::writing`].
    pub fn with_student(
        self,
        recording: &RecordArgs,
        student: Option<ModelSource>,
    ) -> Result<Self, CommandError> {
        let Some(student) = student else { return Ok(self) };
        check_source(recording, &student, "--student-model")?;
        let student = model_args::load(student).map_err(|error| {
            CommandError::from(error).hinted("the model is that of --student-model")
        })?;
        Ok(Self { student: Some(student), ..self })
    }

    /// Loads the model that writes, and the judge model if it is a separate one.
    ///
    /// # Errors
    /// No model is given, one can't be loaded, or one does not support the run.
    pub fn writing(
        recording: &RecordArgs,
        model: &ModelArgs,
        config: &Config,
    ) -> Result<Self, CommandError> {
        let judge = model.judge(config)?;
        if let Some(judge) = &judge {
            check_source(recording, judge, "--judge-model")?;
        }
        let main = load_main(recording, model, config)?;
        Ok(Self::new(main, load_for_judging(judge)?))
    }

    /// Loads the model of a command that only judges: the judge model if one is given,
    /// otherwise the main model.
    ///
    /// # Errors
    /// As [`Models::writing`].
    pub fn judging(
        recording: &RecordArgs,
        model: &ModelArgs,
        config: &Config,
    ) -> Result<Self, CommandError> {
        let Some(judge) = model.sole_judge(config)? else {
            return Ok(Self::new(load_main(recording, model, config)?.for_judging(), None));
        };
        Self::judging_with(recording, judge)
    }

    /// Loads one judge model, for a command that only judges.
    ///
    /// # Errors
    /// The model can't be loaded, or does not support the run.
    pub fn judging_with(recording: &RecordArgs, judge: ModelSource) -> Result<Self, CommandError> {
        check_source(recording, &judge, "--judge-model")?;
        let judge = with_recorded_settings(recording, model_args::load(judge)?.for_judging())?;
        Ok(Self::new(judge, None))
    }

    /// Loads the model that scores given texts, and the reference model if there is one.
    ///
    /// # Errors
    /// As [`Models::writing`]; or a model is behind a server, which can't score texts.
    pub fn scoring(
        recording: &RecordArgs,
        model: &ModelArgs,
        reference: Option<&Path>,
        config: &Config,
    ) -> Result<Self, CommandError> {
        check_scores_texts(&model.source(config)?)?;
        let reference = match reference {
            Some(file) => Some(model.reference(file, config)?),
            None => None,
        };
        if let Some(reference) = &reference {
            check_scores_texts(reference)?;
        }
        let main = load_main(recording, model, config)?.for_judging();
        Ok(Self::new(main, load_for_judging(reference)?))
    }

    /// Sets the main model up for prefill, because most requests are judgements. A judge
    /// model has these settings already.
    #[must_use]
    pub fn for_judging(self) -> Self {
        Self { main: self.main.for_judging(), ..self }
    }

    /// The main model.
    pub fn main_mut(&mut self) -> &mut LoadedModel {
        &mut self.main
    }

    /// Starts to listen for interrupts, and creates the engines for a job. They have room for
    /// the longest requests about `item`, the longest of the input, or about an ordinary prompt
    /// if the input is not known.
    ///
    /// # Errors
    /// llama.cpp can't create a context, or a server can't be used.
    pub fn engines(
        &mut self,
        job: &Job,
        item: Option<&Arc<Item>>,
    ) -> Result<ModelEngines<'_>, CommandError> {
        interrupt::listen();
        let [second, student] = [&self.second, &self.student]
            .map(|model| model.as_ref().and_then(LoadedModel::prompts));
        let prompts = ModelPrompts { main: self.main.prompts(), second, student };
        let longest = LongestRequests::of_job(job, item, prompts)?;
        self.main.fit(longest.main, job.cohorts);
        if let Some(second) = &mut self.second {
            second.fit(longest.second, job.cohorts);
        }
        if let Some(student) = &mut self.student {
            student.fit(longest.student, job.cohorts);
        }
        let main = self.main.engine()?;
        let second = self.second.as_ref().map(LoadedModel::engine).transpose()?;
        let student = self.student.as_ref().map(LoadedModel::engine).transpose()?;
        Ok(ModelEngines { main, second, student, longest })
    }
}

/// Loads the main model.
///
/// # Errors
/// As [`Models::writing`].
fn load_main(
    recording: &RecordArgs,
    model: &ModelArgs,
    config: &Config,
) -> Result<LoadedModel, CommandError> {
    check_source(recording, &model.source(config)?, "-m")?;
    with_recorded_settings(recording, model.load(config)?)
}

/// Loads the second model, if there is one.
fn load_for_judging(source: Option<ModelSource>) -> Result<Option<LoadedModel>, CommandError> {
    match source {
        Some(source) => Ok(Some(model_args::load(source)?.for_judging())),
        None => Ok(None),
    }
}

/// Checks that the model, which is given by `flag`, supports the run.
///
/// # Errors
/// The run must be reproducible and the model is behind a server.
fn check_source(
    recording: &RecordArgs,
    source: &ModelSource,
    flag: &str,
) -> Result<(), CommandError> {
    if recording.reproducible && !source.capabilities().is_deterministic {
        return Err(CommandError::usage(
            "--reproducible is not supported with a server: amend cannot control how it batches \
             requests",
            format!("use a model file: {flag} MODEL.gguf"),
        ));
    }
    Ok(())
}

/// Checks that the model can score texts, before anything is loaded.
///
/// # Errors
/// The model is behind a server.
fn check_scores_texts(source: &ModelSource) -> Result<(), CommandError> {
    if source.capabilities().scores_texts {
        return Ok(());
    }
    Err(CommandError::usage(
        "a server does not report the log-probability of a given text",
        "use a model file: -m MODEL.gguf",
    ))
}

/// Sets the costs and the size of the KV cache that a resumed run started with.
fn with_recorded_settings(
    recording: &RecordArgs,
    mut loaded: LoadedModel,
) -> Result<LoadedModel, CommandError> {
    if let Some((_, settings)) = loaded.llama_mut()
        && let Some(recorded) = recorded_settings(recording)?
    {
        let RecordedSettings { costs, parallel, ctx_size } = recorded;
        settings.costs = costs;
        if settings.parallel == 0 {
            settings.parallel = parallel;
        }
        if settings.ctx_size == 0 {
            settings.ctx_size = ctx_size;
        }
    }
    Ok(loaded)
}

/// The settings of a reproducible run that it keeps when it is resumed.
#[derive(Debug, Deserialize)]
pub struct RecordedSettings {
    /// The costs of batches.
    pub costs: Costs,
    /// The number of sequences.
    pub parallel: usize,
    /// The number of cells of the KV cache.
    pub ctx_size: u32,
}

/// The settings that a reproducible run started with, if it is resumed. It must continue with the
/// same ones, and all its shards use the same.
///
/// # Errors
/// The run can't be read.
pub fn recorded_settings(recording: &RecordArgs) -> Result<Option<RecordedSettings>, CommandError> {
    let Some(out) = &recording.out else { return Ok(None) };
    if !(recording.resume && recording.reproducible) {
        return Ok(None);
    }
    let run = match RunDir::open(out) {
        Ok(run) => run,
        // The first of several shards.
        Err(RunError::NoRun { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let recorded = run.manifest().settings.pointer("/settings");
    Ok(recorded.and_then(|settings| RecordedSettings::deserialize(settings).ok()))
}
