//! Which rows an export has of a finished item, and why it leaves out the others.

use super::{
    DropFault, Examine, ExportError, ExportOptions, ReviewPolicy, RowFilter, ThoughtWriter,
};
use crate::format::origin::Provenance;
use crate::format::write::{ExportFormat, MadeRow};
use crate::pairs::{DropReason, Which};
use crate::store::reviews::Reviews;
use crate::store::run_dir::RunDir;
use crate::store::trajectories::Trajectory;

/// Why an export has no row of a pair or an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Omission {
    /// There is no row, by its steps, verdicts or reviews.
    Dropped(DropReason),
    /// The filter removes the row.
    Filtered(DropFault),
}

impl Omission {
    /// A description of the reason.
    #[must_use]
    pub fn explain(&self) -> String {
        match self {
            Self::Dropped(reason) => reason.explain().to_owned(),
            Self::Filtered(DropFault { rule, about, .. }) => explain_finding(rule, about),
        }
    }
}

/// A description of a finding whose rows are left out: the name of the rule, and what it
/// detects.
#[must_use]
pub fn explain_finding(rule: &str, about: &str) -> String {
    format!("{rule} ({about})")
}

/// Makes the rows of items, and examines them with the filter of the export.
pub(super) struct RowMaker<'a> {
    format: &'static ExportFormat,
    which: Which,
    examine: Option<Examine<'a>>,
}

impl<'a> RowMaker<'a> {
    pub(super) fn new(export: &ExportOptions<'a>) -> Result<Self, ExportError> {
        let examine = export.filter.map(RowFilter::begin).transpose();
        let examine = examine.map_err(ExportError::Filter)?;
        Ok(Self { format: export.format, which: export.which, examine })
    }

    /// The rows of an item, each of which may be left out.
    pub(super) fn rows(
        &mut self,
        trajectory: &Trajectory,
        provenance: &Provenance<'_>,
    ) -> Result<Vec<Result<MadeRow, Omission>>, ExportError> {
        let mut rows = Vec::new();
        for made in self.format.rows(trajectory, self.which, provenance) {
            rows.push(match made {
                Ok(made) => match self.fault(&made)? {
                    Some(fault) => Err(Omission::Filtered(fault)),
                    None => Ok(made),
                },
                Err(reason) => Err(Omission::Dropped(reason)),
            });
        }
        Ok(rows)
    }

    fn fault(&mut self, made: &MadeRow) -> Result<Option<DropFault>, ExportError> {
        let Some(examine) = &mut self.examine else { return Ok(None) };
        examine(&made.row, made.revised.as_ref()).map_err(ExportError::Filter)
    }
}

/// Decides about the rows of items one by one, as an export of the run does, for items that
/// end while it goes on. Reviews count that are there at the start.
pub struct Selection<'a> {
    maker: RowMaker<'a>,
    provenance: Provenance<'a>,
}

impl<'a> Selection<'a> {
    /// The selection of an export.
    ///
    /// # Errors
    /// The options contradict each other, the filter can't begin, or the reviews can't be read.
    pub fn new(run: &'a RunDir, export: &ExportOptions<'a>) -> Result<Self, ExportError> {
        Ok(Self { maker: RowMaker::new(export)?, provenance: export.unchecked_provenance(run)? })
    }

    /// For each row of an item, in order, `None` if it is exported, or else why it is left out.
    ///
    /// # Errors
    /// The filter fails.
    pub fn left_out(
        &mut self,
        trajectory: &Trajectory,
    ) -> Result<Vec<Option<Omission>>, ExportError> {
        let rows = self.maker.rows(trajectory, &self.provenance)?;
        Ok(rows.into_iter().map(Result::err).collect())
    }
}

impl ExportOptions<'_> {
    /// The provenance of rows, although required reviews may be missing.
    pub(super) fn unchecked_provenance<'r>(
        &self,
        run: &'r RunDir,
    ) -> Result<Provenance<'r>, ExportError> {
        self.check()?;
        let reviews = match self.reviews {
            ReviewPolicy::Override => Reviews::read(run)?,
            ReviewPolicy::Ignore => Reviews::default(),
        };
        let manifest = run.manifest();
        // The student is the model that the data are for.
        let trained = manifest.student_model.as_ref().unwrap_or(&manifest.model);
        let thoughts = ThoughtWriter::new(self.reasoning, self.format.thoughts, trained);
        Ok(Provenance::new(run, reviews, self.policy, thoughts))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{export, run};
    use super::super::{Counts, Unfit, count};
    use super::*;

    /// Removes the rows of the item `b`.
    struct WithoutB;

    impl RowFilter for WithoutB {
        fn begin(&self) -> Result<Examine<'_>, Unfit> {
            Ok(Box::new(|row, _| {
                let fault =
                    DropFault { rule: "dull", about: "it bores", excerpt: "yawn".to_owned() };
                Ok((row["id"] == "b").then_some(fault))
            }))
        }
    }

    #[test]
    fn items_are_left_out_one_by_one_for_the_reasons_of_an_export() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(&folder.path().join("run"));
        let export = ExportOptions { filter: Some(&WithoutB), ..export("trl") };
        let mut selection = Selection::new(&run, &export).unwrap();
        let mut counts = Counts { unchecked: 2, ..Counts::default() };
        let mut reasons = Vec::new();
        for trajectory in run.trajectories().unwrap() {
            for left_out in selection.left_out(&trajectory.unwrap()).unwrap() {
                reasons.push(left_out.as_ref().map(Omission::explain).unwrap_or_default());
                counts.add(left_out.as_ref());
            }
        }
        assert_eq!(
            reasons,
            ["", "dull (it bores)", "both sides are the same", "the item failed", ""]
        );
        let exported = count(&run, &export).unwrap();
        assert_eq!(Counts { unended: exported.unended, ..counts }, exported);
    }
}
