//! Lints one row after another: recognises the format, finds faults, decides whether
//! the row is kept, edited or removed, and counts the findings.

use std::path::Path;
use std::sync::Arc;

use super::background::Background;
use super::check::{Balance, Duplicates, Fix, Hit, Imbalance, LintRule, Location, RULES, Shapes};
use super::examiner::Examiner;
use super::report::{Fixed, LintFinding, LintReport, Sample, Split};
use super::spoilt::pair_row;
use super::{LintError, LintOptions, MAX_LENGTH};
use crate::format::RowFault;
use crate::format::example::{self, Example, Object, TextEdit};
use crate::items::SkippedRows;
use crate::items::mapping::Mapping;
use crate::items::notes::{Observed, no_rows};
use crate::pairs::{Pair, RevisedFrom};
use crate::rows::{FaultGroups, FileKind, InputFault, Place, Problem, ReadFault, ReadProblem};

/// How many examples a finding shows.
const SAMPLES: usize = 3;

/// The finding of a row that `--skip-bad` leaves out.
const AT_FAULT: &str = "at-fault";

/// How often a row is fixed at most: one fix can expose another fault.
const PASSES: usize = 8;

/// What happens to a row in the cleaned copy.
#[derive(Debug, PartialEq)]
pub(super) enum RowOutcome {
    /// The row is kept as it is.
    Keep,
    /// The row is kept with changes.
    Edit(Object, Vec<LintFault>),
    /// The row is left out.
    Remove(Vec<LintFault>),
}

/// A fault, for the log of changes and removals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LintFault {
    /// The rule's name.
    pub rule: &'static str,
    /// The text that shows the fault.
    pub excerpt: String,
}

/// The rows that break a rule.
#[derive(Debug)]
struct Tally {
    rule: &'static LintRule,
    count: u64,
    fixable: bool,
    samples: Vec<Sample>,
}

/// A row after its faults were fixed.
#[derive(Default)]
struct FixedRow {
    /// The faults that were fixed, or for which the row is removed.
    log: Vec<LintFault>,
    /// The changed row, if it was changed.
    edited: Option<(Object, Example)>,
    removed: bool,
}

/// Lints rows and collects their findings.
pub(super) struct Linter<'a> {
    data: &'a Path,
    /// Whether the data is a run.
    is_run: bool,
    options: &'a LintOptions,
    examiner: Examiner<'a>,
    duplicates: Duplicates,
    balance: Balance,
    mapping: Mapping,
    shapes: Shapes,
    observed: Observed,
    skipped: SkippedRows,
    /// The files without rows.
    empty: Vec<String>,
    /// The names of the files.
    files: Vec<String>,
    splits: Vec<Split>,
    split: usize,
    rows: u64,
    tallies: Vec<Tally>,
    faults: FaultGroups,
    notes: Vec<String>,
    fixed: Option<Fixed>,
}

impl<'a> Linter<'a> {
    /// Creates a linter for data with this background. `several` says whether the rows come in
    /// more than one split.
    ///
    /// # Errors
    /// Fails if an evaluation file cannot be read, or a name that no shape has is mapped.
    pub fn new(
        data: &'a Path,
        options: &'a LintOptions,
        background: Background,
        several: bool,
    ) -> Result<Self, LintError> {
        let skipped = |rule: &LintRule| options.skip.iter().any(|name| name == rule.name);
        let enabled = RULES.iter().copied().filter(|rule| !skipped(rule)).collect();
        let mapping = Mapping::new(&options.map).map_err(|problem| {
            let fault = InputFault { file: data.display().to_string(), place: None, problem };
            let mut faults = FaultGroups::default();
            faults.add(&fault);
            LintError::Faults(faults)
        })?;
        Ok(Self {
            data,
            is_run: false,
            options,
            examiner: Examiner::new(&options.trainer, enabled, &Arc::new(background))?,
            duplicates: Duplicates::new(several),
            balance: Balance::default(),
            mapping,
            shapes: Shapes::default(),
            observed: Observed::default(),
            skipped: SkippedRows::default(),
            empty: Vec::new(),
            files: Vec::new(),
            splits: Vec::new(),
            split: 0,
            rows: 0,
            tallies: Vec::new(),
            faults: FaultGroups::default(),
            notes: Vec::new(),
            fixed: None,
        })
    }

    /// Starts a file of a split: the rows that follow are its rows.
    pub fn begin(&mut self, file: &str, split: &str) {
        self.files.push(file.to_owned());
        self.split =
            self.splits.iter().position(|known| known.name == split).unwrap_or_else(|| {
                self.splits.push(Split { name: split.to_owned(), rows: 0 });
                self.splits.len() - 1
            });
    }

    /// Keeps the kind of a file.
    pub fn kind(&mut self, kind: &FileKind) {
        self.observed.file(kind);
    }

    /// Adds a note to the report.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Sets the counts of the cleaned copy.
    pub fn fixed(&mut self, fixed: Fixed) {
        self.fixed = Some(fixed);
    }

    /// Lints a row. Returns `None` if it is at fault and not skipped; linting then ends in
    /// an error.
    pub fn row(&mut self, place: Place, object: &Object) -> Option<RowOutcome> {
        self.revised_row(place, object, None)
    }

    /// Lints a pair of a run.
    pub fn pair(&mut self, pair: &Pair<'_>) {
        self.is_run = true;
        self.revised_row(Place::Row(pair.item.row), &pair_row(pair), pair.revised.as_ref());
    }

    fn revised_row(
        &mut self,
        place: Place,
        object: &Object,
        revised: Option<&RevisedFrom>,
    ) -> Option<RowOutcome> {
        match self.examine(place, object, revised) {
            Ok(outcome) => Some(outcome),
            Err(problem) => {
                self.fault(&InputFault { file: self.file(), place: Some(place), problem })
            }
        }
    }

    /// Adds a row or a file that cannot be read. A row may be skipped; linting ends in an
    /// error otherwise.
    pub fn fault<P: Problem>(&mut self, fault: &InputFault<P>) -> Option<RowOutcome> {
        if self.options.skip_bad && fault.place.is_some() && !fault.problem.ends_the_file() {
            self.skipped.add(fault);
            let (rule, excerpt) = (AT_FAULT, fault.problem.to_string());
            return Some(RowOutcome::Remove(vec![LintFault { rule, excerpt }]));
        }
        self.faults.add(fault);
        None
    }

    /// Adds a fault of reading. A file without rows is no fault if another one has some.
    pub fn read_fault(&mut self, fault: &ReadFault) -> Option<RowOutcome> {
        if matches!(fault.problem, ReadProblem::NoRows) {
            self.empty.push(fault.file.clone());
            return None;
        }
        self.fault(fault)
    }

    fn examine(
        &mut self,
        place: Place,
        object: &Object,
        revised: Option<&RevisedFrom>,
    ) -> Result<RowOutcome, RowFault> {
        if self.mapping.maps() {
            self.observed.row(object.keys());
        }
        let (shape, example) = self.examiner.read(&self.mapping, object, revised)?;
        let file = self.file();
        let sample = |excerpt| Sample { file: file.clone(), place, excerpt };
        self.rows += 1;
        self.splits[self.split].rows += 1;
        self.shapes.add(shape, sample);
        self.observed.example(&example);
        self.balance.add(&example, sample);
        let mut hits = self.examiner.hits(&example, object);
        let mut fixed = self.fix(object, revised, hits.clone())?;
        // A removed row does not make later rows duplicates.
        if !fixed.removed && self.examiner.compares_rows() {
            let kept = fixed.edited.as_ref().map_or(&example, |(_, example)| example);
            let location = Location { file: self.files.len() - 1, place };
            let name =
                |location: Location| format!("{}{}", self.files[location.file], location.place);
            let split = &self.splits[self.split].name;
            let duplicate = self.duplicates.examine(kept, split, location, name);
            if let Some(hit) = duplicate.filter(|hit| self.examiner.is_enabled(hit.rule)) {
                fixed.log.push(fault(&hit));
                fixed.removed = true;
                hits.push(hit);
            }
        }
        for hit in hits {
            self.count(place, hit);
        }
        Ok(match fixed.edited {
            _ if fixed.removed => RowOutcome::Remove(fixed.log),
            Some((row, _)) => RowOutcome::Edit(row, fixed.log),
            None => RowOutcome::Keep,
        })
    }

    /// Fixes a row until it has no faults or must be removed. Cutting off a prefix,
    /// for example, can leave two identical answers.
    fn fix(
        &self,
        object: &Object,
        revised: Option<&RevisedFrom>,
        mut hits: Vec<Hit>,
    ) -> Result<FixedRow, RowFault> {
        let mut fixed = FixedRow::default();
        for _ in 0..PASSES {
            if hits.is_empty() {
                break;
            }
            let mut edits: Vec<TextEdit> = Vec::new();
            fixed.removed = hits.iter().any(|hit| hit.fix == Fix::Remove);
            for hit in &hits {
                match &hit.fix {
                    Fix::Remove => fixed.log.push(fault(hit)),
                    Fix::Edit(_) if fixed.removed => {}
                    Fix::Edit(changes) => {
                        edits.extend_from_slice(changes);
                        fixed.log.push(fault(hit));
                    }
                }
            }
            if fixed.removed {
                break;
            }
            let before = fixed.edited.take();
            let mut row = before.map_or_else(|| object.clone(), |(row, _)| row);
            example::apply(&edits, &mut row);
            let (_, example) = self.examiner.read(&self.mapping, &row, revised)?;
            hits = self.examiner.hits(&example, &row);
            fixed.edited = Some((row, example));
        }
        Ok(fixed)
    }

    /// Adds a hit to the tally of its rule.
    fn count(&mut self, place: Place, hit: Hit) {
        let sample = Sample { file: self.file(), place, excerpt: hit.excerpt };
        match self.tallies.iter_mut().find(|tally| tally.rule == hit.rule) {
            Some(tally) => {
                tally.count += 1;
                if tally.samples.len() < SAMPLES {
                    tally.samples.push(sample);
                }
            }
            None => {
                let (rule, samples) = (hit.rule, vec![sample]);
                self.tallies.push(Tally { rule, count: 1, fixable: true, samples });
            }
        }
    }

    /// The name of the current file.
    fn file(&self) -> String {
        self.files.last().cloned().unwrap_or_default()
    }

    /// Checks that there were rows and that all of them could be read.
    ///
    /// # Errors
    /// [`LintError::Faults`] or [`LintError::NoRows`].
    pub fn check_rows(&mut self) -> Result<(), LintError> {
        let file = self.data.display().to_string();
        if self.faults.is_empty()
            && let Some(column) = self.mapping.missing(&self.observed.columns)
        {
            let (column, keys) = (column.to_owned(), self.observed.columns.clone());
            let problem = RowFault::NoColumn { column, keys };
            self.faults.add(&InputFault { file, place: None, problem });
        }
        if !self.faults.is_empty() {
            return Err(LintError::Faults(self.faults.clone()));
        }
        if self.rows > 0 {
            return Ok(());
        }
        if self.skipped.count() > 0 {
            return Err(LintError::Faults(std::mem::take(&mut self.skipped).into_faults().0));
        }
        Err(LintError::NoRows { path: self.data.to_owned() })
    }

    /// How the data was read, a line each.
    fn input(&mut self) -> Vec<String> {
        let data = self.data.display().to_string();
        let count = self.rows + self.skipped.count();
        let mut input = vec![self.observed.take_input(&data, self.files.len(), count)];
        input.extend(self.empty.iter().map(|file| no_rows(file)));
        input.extend(self.skipped.notes());
        input
    }

    /// Returns the report.
    ///
    /// # Errors
    /// Fails as [`Linter::check_rows`] does.
    pub fn finish(mut self) -> Result<LintReport, LintError> {
        self.check_rows()?;
        let input = if self.is_run { Vec::new() } else { self.input() };
        let format = self.shapes.names();
        let (statistics, imbalances) = std::mem::take(&mut self.balance).finish();
        for Imbalance { rule, count, samples } in imbalances {
            if self.examiner.is_enabled(rule) {
                self.tallies.push(Tally { rule, count, fixable: false, samples });
            }
        }
        if let Some((rule, count, mut samples)) = std::mem::take(&mut self.shapes).mixed()
            && self.examiner.is_enabled(rule)
        {
            samples.truncate(SAMPLES);
            self.tallies.push(Tally { rule, count, fixable: false, samples });
        }
        let order = |rule: &LintRule| RULES.iter().position(|known| *known == rule);
        self.tallies
            .sort_by_key(|tally| (std::cmp::Reverse(tally.rule.severity), order(tally.rule)));
        let share = |count: u64| count as f64 / self.rows as f64;
        let findings = self
            .tallies
            .into_iter()
            .map(|Tally { rule, count, fixable, samples }| LintFinding {
                rule,
                count,
                share: share(count),
                fixable,
                examples: samples,
            })
            .collect();
        let mut notes = self.notes;
        if statistics.wanted.count == 0 && statistics.unwanted.count == 0 {
            notes.push("the rows have no answers, so only prompts are checked".to_owned());
        }
        let trainer = &self.options.trainer;
        match &trainer.tokenizer {
            None => notes.push(
                "truncation is not checked and lengths are in words: pass the trainer's \
                 --tokenizer or -m"
                    .to_owned(),
            ),
            Some(tokenizer) => {
                if trainer.max_length.is_none() {
                    notes.push(format!(
                        "the maximum length is {MAX_LENGTH} tokens, TRL's default: set another \
                         with --max-length"
                    ));
                }
                if !tokenizer.has_template() {
                    notes.push(
                        "there is no chat template next to the tokenizer: lengths of \
                         conversations do not include its markup"
                            .to_owned(),
                    );
                }
            }
        }
        Ok(LintReport {
            data: self.data.display().to_string(),
            input,
            format,
            splits: self.splits,
            rows: self.rows,
            unit: if trainer.tokenizer.is_some() { "tokens" } else { "words" },
            max_length: trainer.tokenizer.as_ref().map(|_| trainer.max_length()),
            notes,
            statistics,
            findings,
            fixed: self.fixed,
        })
    }
}

fn fault(hit: &Hit) -> LintFault {
    LintFault { rule: hit.rule.name, excerpt: hit.excerpt.clone() }
}
