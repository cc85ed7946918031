//! `amend run --show`: each item as it ends, and whether it gives a pair.

use crate::cli::output::brief::Brief;
use crate::cli::output::error::{CommandError, Kind};
use crate::cli::output::terminal::Output;
use crate::cli::output::{print, progress};
use amend_core::procedure::ItemLoop;
use amend_core::record::Outcome;
use amend_data::export::{ExportOptions, Selection};
use amend_data::pairs::judgement::Rules;
use amend_data::store::run_dir::RunDir;
use amend_data::store::trajectories::Trajectory;

/// Prints items in brief.
pub(super) struct ShownItems<'a> {
    selection: Selection<'a>,
    rules: Rules,
    brief: Brief,
    /// Whether stdout was closed by its reader.
    is_closed: bool,
}

impl<'a> ShownItems<'a> {
    /// Shows the items of a run, with the decisions of an export.
    pub(super) fn new(run: &'a RunDir, export: &ExportOptions<'a>) -> Result<Self, CommandError> {
        let selection = Selection::new(run, export)?;
        let brief = Brief::new(Output::stdout());
        Ok(Self { selection, rules: Rules::from_run(run), brief, is_closed: false })
    }

    /// Prints an item that has ended.
    ///
    /// # Errors
    /// Stdout can't be written to, or the filter of the export fails.
    pub(super) fn end(&mut self, item: &ItemLoop, outcome: &Outcome) -> Result<(), CommandError> {
        if self.is_closed {
            return Ok(());
        }
        let trajectory = Trajectory {
            item: item.item().as_ref().clone(),
            steps: item.steps().to_vec(),
            outcome: outcome.clone(),
        };
        let left_out = self.selection.left_out(&trajectory)?;
        let text = self.brief.item(&trajectory, item.constitution(), &self.rules, &left_out);
        match progress::suspend(|| print::styled(&text)) {
            // The reader has seen enough. The run goes on.
            Err(error) if error.kind == Kind::BrokenPipe => {
                self.is_closed = true;
                Ok(())
            }
            shown => shown,
        }
    }
}
