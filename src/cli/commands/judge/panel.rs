//! Several judges of the same comparisons: each is recorded on its own, one after the
//! other, and their verdicts are then combined.

use std::collections::HashMap;
use std::path::PathBuf;

use super::input::{JudgeCorrection, JudgeInput};
use super::{JudgeArgs, Line, sort, table};
use crate::cli::args::config::Config;
use crate::cli::output::error::CommandError;
use crate::cli::output::{next, print};
use crate::session::Finished;
use amend_analysis::judge_quality::{
    JudgeFigures, JudgedRow, PanelFigures, PanelJudge, judging_steps, panel_rows, undisputed,
};
use amend_data::store::run_dir::RunDir;
use amend_data::store::run_dir::files::{FIGURES, VERDICTS};
use amend_data::store::{atomic, verdicts};
use amend_engine::ModelSource;

/// Judges the input with each of the judges, prints their figures and those of the panel,
/// and writes both to the folder.
///
/// # Errors
/// As [`super::run`].
pub(super) fn run(
    args: &JudgeArgs,
    input: &JudgeInput,
    judges: Vec<ModelSource>,
    corrections: &[JudgeCorrection],
    config: &Config,
) -> Result<(), CommandError> {
    if args.fit.is_some() {
        return Err(CommandError::usage(
            "--fit is for one judge: a panel needs a calibration for each",
            "fit each judge in a call of its own, then pass the files with --calibration",
        ));
    }
    let folders = folders(args, input, judges.len())?;
    let by = args.by(input)?;
    let by = by.as_deref();
    let mut all: Vec<Finished> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    let mut members: Vec<PanelJudge> = Vec::new();
    let count = judges.len();
    for (number, (source, folder)) in judges.into_iter().zip(&folders).enumerate() {
        // A panel has a least margin of its own, that of the constitution.
        let correction = corrections
            .get(number)
            .map(|correction| JudgeCorrection { min_margin: None, ..*correction });
        let begin = || match &input.folder {
            Some(folder) => Ok(verdicts::create_panel(folder, count)?),
            None => Ok(()),
        };
        let folder = folder.as_deref();
        let finished = args.judge(input, folder, Some(source), correction, config, begin)?;
        let name = verdicts::unique_name(&finished.dir().manifest().model, &names);
        let member = member(&finished, &name, by)?;
        let figures = JudgeFigures::from_rows(&member.rows, by, finished.job().stream);
        let lines: Vec<Line<'_>> =
            member.rows.iter().map(|row| Line { row, judge: &name }).collect();
        finished.derive(VERDICTS, &lines, &figures)?;
        members.push(member);
        names.push(name);
        all.push(finished);
    }
    let rows = panel_rows(&members);
    let stream = all[0].job().stream;
    let figures = PanelFigures::new(&members, &rows, args.max_disagreement, by, stream);
    let judge = names.join(" + ");
    let lines: Vec<Line<'_>> = rows.iter().map(|row| Line { row, judge: &judge }).collect();
    if let Some(folder) = &input.folder {
        write(folder.join(VERDICTS), |out| print::write_json_lines(out, &lines))?;
        let text = print::json_text(&figures).map_err(CommandError::output)?;
        write(folder.join(FIGURES), |out| out.write_all(text.as_bytes()))?;
    }
    args.print(&lines, |out| table::panel(out, &figures))?;
    input.conclude(&undisputed(&rows, args.max_disagreement));
    args.plot(&figures.panel)?;
    let is_complete = all.iter().all(|finished| finished.complete_run().is_some());
    if is_complete && let Some(call) = input.export_call() {
        next::print(call);
    }
    all.into_iter().try_for_each(|finished| finished.finish(None))
}

/// The folder of each judge's run. Checks that the panel can begin or continue there.
fn folders(
    args: &JudgeArgs,
    input: &JudgeInput,
    judges: usize,
) -> Result<Vec<Option<PathBuf>>, CommandError> {
    let Some(folder) = &input.folder else { return Ok(vec![None; judges]) };
    if args.recording.resume {
        verdicts::check_panel(folder)?;
    } else if input.run.is_none() {
        RunDir::check_vacant(folder)?;
    }
    Ok(verdicts::judge_folders(folder, judges).into_iter().map(Some).collect())
}

/// A judge of the panel with what it judged, in the order of the input.
fn member(finished: &Finished, name: &str, by: Option<&str>) -> Result<PanelJudge, CommandError> {
    let constitution = finished.job().constitution.as_ref();
    let judged = finished.rows(|trajectory| {
        let row = JudgedRow::from_trajectory(trajectory, constitution);
        [(row.in_category(&trajectory.item, by), judging_steps(trajectory))]
    })?;
    let mut rows: Vec<JudgedRow> = Vec::new();
    let mut steps = HashMap::new();
    for (row, judging) in judged {
        steps.insert(row.key.clone(), judging);
        rows.push(row);
    }
    sort(&mut rows);
    Ok(PanelJudge { name: name.to_owned(), constitution: constitution.clone(), rows, steps })
}

/// Writes a file of the panel, atomically.
fn write(
    path: PathBuf,
    fill: impl FnOnce(&mut (dyn std::io::Write + Send)) -> std::io::Result<()>,
) -> Result<(), CommandError> {
    atomic::write(&path, fill)
        .map_err(|source| CommandError::failed(format!("write {}", path.display()), source))
}
