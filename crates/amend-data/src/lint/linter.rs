//! One row after another: its format, its faults, what becomes of it, and the
//! tally of all.

use std::path::{Path, PathBuf};

use super::check::{Balance, Duplicates, Hit, Mend, RULES, Rule, Skew, Spot};
use super::examiner::Examiner;
use super::report::{Finding, Fixed, Report, Sample, Split};
use super::{LintError, MAX_LENGTH, Options, SHOWN};
use crate::format::example;
use crate::format::example::{Edit, Example, Object};
use crate::format::read::{Format, RowFault, recognise};

/// Examples of a finding.
const SAMPLES: usize = 3;

/// How often a row is mended at most: what one mending uncovers, the next takes.
const PASSES: usize = 8;

/// What becomes of a row.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    /// It is sound.
    Keep,
    /// It is kept with changes.
    Edit(Object, Vec<Fault>),
    /// It is left out.
    Remove(Vec<Fault>),
}

/// A fault, for the log of what was mended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// The rule's name.
    pub rule: &'static str,
    /// What shows it.
    pub excerpt: String,
}

/// Rows that break a rule.
#[derive(Debug)]
struct Tally {
    rule: &'static Rule,
    count: u64,
    fixable: bool,
    samples: Vec<Sample>,
}

/// A row after its faults were mended.
#[derive(Default)]
struct Mended {
    /// What was mended, or why the row must go.
    log: Vec<Fault>,
    /// The row as it was changed, if it was.
    edited: Option<(Object, Example)>,
    removed: bool,
}

/// Takes rows and adds up what is wrong with them.
pub(super) struct Linter<'a> {
    data: &'a Path,
    options: &'a Options,
    examiner: Examiner<'a>,
    duplicates: Duplicates,
    balance: Balance,
    format: Option<(&'static dyn Format, &'static str)>,
    files: Vec<PathBuf>,
    splits: Vec<Split>,
    split: usize,
    rows: u64,
    tallies: Vec<Tally>,
    faults: Vec<(String, u64, RowFault)>,
    fault_count: u64,
    notes: Vec<String>,
    fixed: Option<Fixed>,
}

impl<'a> Linter<'a> {
    /// Rows will come in `several` splits, or in one.
    ///
    /// # Errors
    /// An evaluation file can't be read.
    pub fn new(data: &'a Path, options: &'a Options, several: bool) -> Result<Self, LintError> {
        let skipped = |rule: &Rule| options.skip.iter().any(|name| name == rule.name);
        let wanted = RULES.iter().copied().filter(|rule| !skipped(rule)).collect();
        Ok(Self {
            data,
            options,
            examiner: Examiner::new(&options.trainer, wanted)?,
            duplicates: Duplicates::new(several),
            balance: Balance::default(),
            format: None,
            files: Vec::new(),
            splits: Vec::new(),
            split: 0,
            rows: 0,
            tallies: Vec::new(),
            faults: Vec::new(),
            fault_count: 0,
            notes: Vec::new(),
            fixed: None,
        })
    }

    /// Rows of this file, and this split, follow.
    pub fn begin(&mut self, file: &Path, split: &str) {
        self.files.push(file.to_owned());
        self.split =
            self.splits.iter().position(|known| known.name == split).unwrap_or_else(|| {
                self.splits.push(Split { name: split.to_owned(), rows: 0 });
                self.splits.len() - 1
            });
    }

    /// Something for the report to say.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// What was written.
    pub fn fixed(&mut self, fixed: Fixed) {
        self.fixed = Some(fixed);
    }

    /// Takes a row. None where it can't be read, which ends in an error.
    pub fn row(&mut self, number: u64, object: &Object) -> Option<Outcome> {
        self.rows += 1;
        self.splits[self.split].rows += 1;
        match self.examine(number, object) {
            Ok(outcome) => Some(outcome),
            Err(fault) => {
                self.fault_count += 1;
                if self.faults.len() < SHOWN {
                    self.faults.push((self.file(), number, fault));
                }
                None
            }
        }
    }

    fn examine(&mut self, number: u64, object: &Object) -> Result<Outcome, RowFault> {
        let format = match self.format {
            Some((format, _)) => format,
            None => self.format.insert(recognise(object)?).0,
        };
        let example = self.examiner.read(format, object)?;
        let file = self.file();
        self.balance.add(&example, |excerpt| Sample { file: file.clone(), row: number, excerpt });
        let mut told = self.examiner.hits(&example);
        let mut mended = self.mend(format, object, told.clone())?;
        // Only rows that stay make others duplicates.
        if !mended.removed {
            let sound = mended.edited.as_ref().map_or(&example, |(_, example)| example);
            let spot = Spot { file: self.files.len() - 1, row: number };
            let name = |spot: Spot| format!("{} row {}", self.files[spot.file].display(), spot.row);
            let split = &self.splits[self.split].name;
            let hit = self.duplicates.examine(sound, split, spot, name);
            if let Some(hit) = hit.filter(|hit| self.examiner.wants(hit.rule)) {
                mended.log.push(fault(&hit));
                mended.removed = true;
                told.push(hit);
            }
        }
        for hit in told {
            self.tell(number, hit);
        }
        Ok(match mended.edited {
            _ if mended.removed => Outcome::Remove(mended.log),
            Some((row, _)) => Outcome::Edit(row, mended.log),
            None => Outcome::Keep,
        })
    }

    /// Changes a row until it is sound or must go: cutting a prefix off may leave
    /// two sides that say the same.
    fn mend(
        &self,
        format: &dyn Format,
        object: &Object,
        mut hits: Vec<Hit>,
    ) -> Result<Mended, RowFault> {
        let mut mended = Mended::default();
        for _ in 0..PASSES {
            if hits.is_empty() {
                break;
            }
            let mut edits: Vec<Edit> = Vec::new();
            mended.removed = hits.iter().any(|hit| hit.mend == Mend::Remove);
            for hit in &hits {
                match &hit.mend {
                    Mend::Remove => mended.log.push(fault(hit)),
                    Mend::Edit(_) if mended.removed => {}
                    Mend::Edit(changes) => {
                        edits.extend_from_slice(changes);
                        mended.log.push(fault(hit));
                    }
                }
            }
            if mended.removed {
                break;
            }
            let before = mended.edited.take();
            let mut row = before.map_or_else(|| object.clone(), |(row, _)| row);
            example::apply(&edits, &mut row);
            let example = self.examiner.read(format, &row)?;
            hits = self.examiner.hits(&example);
            mended.edited = Some((row, example));
        }
        Ok(mended)
    }

    fn tell(&mut self, row: u64, hit: Hit) {
        let sample = Sample { file: self.file(), row, excerpt: hit.excerpt };
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

    /// The name of the file that is read.
    fn file(&self) -> String {
        self.files.last().map(|path| path.display().to_string()).unwrap_or_default()
    }

    /// Whether all rows could be read, and there were some.
    ///
    /// # Errors
    /// [`LintError::Faults`] or [`LintError::NoRows`].
    pub fn sound(&self) -> Result<(), LintError> {
        if self.fault_count > 0 {
            return Err(LintError::Faults(self.faults.clone(), self.fault_count));
        }
        match self.format {
            Some(_) => Ok(()),
            None => Err(LintError::NoRows { path: self.data.to_owned() }),
        }
    }

    /// The report.
    ///
    /// # Errors
    /// As [`Linter::sound`].
    pub fn finish(mut self) -> Result<Report, LintError> {
        self.sound()?;
        let (statistics, skews) = std::mem::take(&mut self.balance).finish();
        for Skew { rule, count, samples } in skews {
            if self.examiner.wants(rule) {
                self.tallies.push(Tally { rule, count, fixable: false, samples });
            }
        }
        let order = |rule: &Rule| RULES.iter().position(|known| *known == rule);
        self.tallies
            .sort_by_key(|tally| (std::cmp::Reverse(tally.rule.severity), order(tally.rule)));
        let share = |count: u64| count as f64 / self.rows as f64;
        let findings = self
            .tallies
            .into_iter()
            .map(|Tally { rule, count, fixable, samples }| Finding {
                rule,
                count,
                share: share(count),
                fixable,
                examples: samples,
            })
            .collect();
        let mut notes = self.notes;
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
                        "the greatest length is taken to be {MAX_LENGTH} tokens, TRL's default: \
                         say another with --max-length"
                    ));
                }
                if !tokenizer.has_template() {
                    notes.push(
                        "no chat template is beside the tokenizer: conversations count without \
                         their markup"
                            .to_owned(),
                    );
                }
            }
        }
        Ok(Report {
            data: self.data.display().to_string(),
            format: self.format.map(|(_, name)| name.to_owned()).unwrap_or_default(),
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

fn fault(hit: &Hit) -> Fault {
    Fault { rule: hit.rule.name, excerpt: hit.excerpt.clone() }
}
