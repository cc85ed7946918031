//! Several judges of the same comparisons: each is recorded on its own, one after the
//! other, and their verdicts are then combined.

use std::path::PathBuf;

use super::input::JudgeInput;
use super::{JudgeArgs, Line, rows, sort, table};
use crate::cli::args::config::Config;
use crate::cli::output::error::CommandError;
use crate::cli::output::print;
use crate::session::Finished;
use amend_analysis::judge_quality::{
    JudgeFigures, JudgeSummary, JudgedRow, PanelFigures, PanelJudge, panel_rows,
};
use amend_core::judge::Calibration;
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
    calibrations: &[Calibration],
    config: &Config,
) -> Result<(), CommandError> {
    if args.fit.is_some() {
        return Err(CommandError::usage(
            "--fit is for one judge: a panel needs a calibration for each",
            "fit each judge in a call of its own, then pass the files with --calibration",
        ));
    }
    let folders: Vec<Option<PathBuf>> = match &input.folder {
        None => vec![None; judges.len()],
        Some(folder) => {
            if args.recording.resume {
                verdicts::check_panel(folder)?;
            } else if input.run.is_none() {
                RunDir::check_vacant(folder)?;
            }
            verdicts::create_panel(folder, judges.len())?;
            verdicts::judge_folders(folder, judges.len()).into_iter().map(Some).collect()
        }
    };
    let by = args.by(input)?;
    let by = by.as_deref();
    let mut all: Vec<Finished> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    let mut judged: Vec<(String, Vec<JudgedRow>)> = Vec::new();
    let mut members: Vec<PanelJudge> = Vec::new();
    let mut summaries: Vec<JudgeSummary> = Vec::new();
    for (number, (source, folder)) in judges.into_iter().zip(&folders).enumerate() {
        let calibration = calibrations.get(number).copied();
        let finished = args.judge(input, folder.as_deref(), Some(source), calibration, config)?;
        let name = finished.dir().manifest().model["name"].as_str().unwrap_or("unnamed");
        let name = if names.iter().any(|known| known == name) {
            format!("{name} ({})", number + 1)
        } else {
            name.to_owned()
        };
        let (constitution, stream) = (&finished.job().constitution, finished.job().stream);
        let own = rows(&finished, constitution, by)?;
        let figures = JudgeFigures::from_rows(&own, by, stream);
        let lines: Vec<Line<'_>> = own.iter().map(|row| Line { row, judge: &name }).collect();
        finished.derive(VERDICTS, &lines, &figures)?;
        members.push(PanelJudge {
            name: name.clone(),
            constitution: constitution.as_ref().clone(),
            trajectories: finished.rows(|trajectory| [trajectory.clone()])?,
        });
        summaries.push(JudgeSummary { judge: name.clone(), figures });
        judged.push((name.clone(), own));
        names.push(name);
        all.push(finished);
    }
    let mut rows: Vec<JudgedRow> = panel_rows(&members)
        .into_iter()
        .zip(&members[0].trajectories)
        .map(|(row, trajectory)| row.in_category(&trajectory.item, by))
        .collect();
    sort(&mut rows);
    let is_disputed = |row: &JudgedRow| match (row.disagreement, args.max_disagreement) {
        (Some(disagreement), Some(most)) => disagreement > most,
        _ => false,
    };
    let counted: Vec<JudgedRow> = rows.iter().filter(|row| !is_disputed(row)).cloned().collect();
    let panel = JudgeFigures::from_rows(&counted, by, all[0].job().stream);
    let disputed = rows.len() - counted.len();
    let figures = PanelFigures::new(summaries, panel, &judged, &rows, disputed);
    let judge = names.join(" + ");
    let lines: Vec<Line<'_>> = rows.iter().map(|row| Line { row, judge: &judge }).collect();
    if let Some(folder) = &input.folder {
        write(folder.join(VERDICTS), |out| print::write_json_lines(out, &lines))?;
        let text = print::json_text(&figures).map_err(CommandError::output)?;
        write(folder.join(FIGURES), |out| out.write_all(text.as_bytes()))?;
    }
    args.print(&lines, |out| table::panel(out, &figures))?;
    input.conclude(&counted);
    args.plot(&figures.panel)?;
    all.into_iter().try_for_each(Finished::finish)
}

/// Writes a file of the panel, atomically.
fn write(
    path: PathBuf,
    fill: impl FnOnce(&mut (dyn std::io::Write + Send)) -> std::io::Result<()>,
) -> Result<(), CommandError> {
    atomic::write(&path, fill)
        .map_err(|source| CommandError::failed(format!("write {}", path.display()), source))
}
