//! Verdicts and the quality of the judge, as text.

use std::io::{self, Write};
use std::path::Path;

use crate::cli::output::format::{NONE, estimate, range, signed_range};
use crate::cli::output::table::table;
use amend_analysis::judge_quality::{
    AttackSuccess, Baseline, CategoryFigures, Fitted, FittedMargin, JudgeAgreement, JudgeFigures,
    JudgeFit, JudgedRow, Labelled, PanelFigures, PositionFigures, Quality,
};
use amend_core::record::Label;
use amend_core::stats::Estimate;
use amend_core::text::format::plural;

/// The maximum width of a row's name.
const NAME: usize = 30;

/// Writes one line for each row.
///
/// # Errors
/// `out` can't be written to.
pub fn rows<'a>(out: &mut impl Write, rows: impl Iterator<Item = &'a JudgedRow>) -> io::Result<()> {
    writeln!(
        out,
        "{:<NAME$} {:>6} {:>7} {:>7} {:>7} {:>5}  {:<9} label",
        "row", "p(a)", "margin", "a first", "b first", "mass", "verdict"
    )?;
    for row in rows {
        let name = row.id.clone().unwrap_or_else(|| format!("row {}", row.row));
        let name = if row.is_clean() { name } else { format!("+ {name}") };
        let short: String = name.chars().take(NAME).collect();
        let label = row.label.map_or("", label_name);
        match &row.verdict {
            Some(verdict) => {
                let decision = row.judged_label().map_or("undecided", label_name);
                writeln!(
                    out,
                    "{short:<NAME$} {:>6.3} {:>+7.2} {:>+7.2} {:>+7.2} {:>5.2}  {decision:<9} {label}",
                    verdict.p, verdict.margin, verdict.orders[0], verdict.orders[1], verdict.mass,
                )?;
                for principle in &row.principles {
                    let id: String = principle.id.chars().take(NAME - 2).collect();
                    writeln!(
                        out,
                        "  {id:<width$} {:>6.3} {:>+7.2} {:>+7.2} {:>+7.2} {:>5.2}",
                        principle.verdict.p,
                        principle.verdict.margin,
                        principle.verdict.orders[0],
                        principle.verdict.orders[1],
                        principle.verdict.mass,
                        width = NAME - 2,
                    )?;
                }
            }
            None => writeln!(out, "{short:<NAME$} failed")?,
        }
    }
    writeln!(out)
}

fn label_name(label: Label) -> &'static str {
    match label {
        Label::A => "a",
        Label::B => "b",
        Label::Tie => "tie",
    }
}

/// Writes all figures of a judge, each with its interval.
///
/// # Errors
/// `out` can't be written to.
pub fn figures(out: &mut impl Write, figures: &JudgeFigures, judge: &str) -> io::Result<()> {
    let JudgeFigures { rows, failed, undecided, ties, position, .. } = figures;
    let JudgeFigures { labelled, three_way, by, injections, .. } = figures;
    write!(out, "{rows} rows judged by {judge}, {undecided} of them undecided")?;
    if *ties > 0 {
        write!(out, ", {ties} {}", plural(*ties as u64, "tie"))?;
    }
    if *failed > 0 {
        write!(out, "; {failed} failed")?;
    }
    writeln!(out, "\n")?;
    if let Some(labelled) = labelled {
        by_label(out, labelled)?;
    }
    if three_way.is_some() {
        line(out, "accuracy with ties", *three_way)?;
        writeln!(out)?;
    }
    if let Some(by) = by {
        by_category(out, by)?;
    }
    position_lines(out, position)?;
    if let Some(injections) = injections {
        writeln!(out)?;
        heading(out, "responses with a prompt injection")?;
        flips(out, "all", &injections.all)?;
        line(out, "  attack success in one order only", injections.all.swayed_in_one_order)?;
        line(out, "  mean shift, log-odds", injections.all.shift)?;
        for (attack, attack_flips) in &injections.attacks {
            flips(out, attack, attack_flips)?;
        }
    }
    Ok(())
}

fn by_label(out: &mut impl Write, labelled: &Labelled) -> io::Result<()> {
    let [a, b, tie] = labelled.labels;
    heading(out, &format!("against the labels ({a} a, {b} b, {tie} tie)"))?;
    line(out, "accuracy, a tie as ½", Some(labelled.accuracy))?;
    line(out, "accuracy if decided", labelled.decided)?;
    line(out, "right in both orders", labelled.both_orders)?;
    line(out, "  if the better one is longer", labelled.longer_better)?;
    line(out, "  if the better one is shorter", labelled.shorter_better)?;
    line(out, "Cohen's κ", labelled.kappa)?;
    line(out, "log-loss (chance: 0.693)", labelled.log_loss)?;
    line(out, "Brier score (chance: 0.250)", labelled.brier)?;
    line(out, "expected calibration error", labelled.calibration_error)?;
    writeln!(out, "\n{:<34} {:>7}   {:<25} judge minus baseline", "baselines", "", "")?;
    let baselines = &labelled.baselines;
    for (name, Baseline { accuracy, lead }) in [
        ("always a", &baselines.always_a),
        ("the longer response", &baselines.longer),
        ("the shorter response", &baselines.shorter),
    ] {
        writeln!(
            out,
            "{name:<34} {:>7.3}   {:<25} {:+.3}, {}",
            accuracy.value,
            interval(accuracy),
            lead.value,
            signed_range(lead.low, lead.high, 3),
        )?;
    }
    writeln!(out)
}

/// A line for each category. Figures without rows are dashes.
fn by_category(out: &mut impl Write, by: &CategoryFigures) -> io::Result<()> {
    let has_ties = by.categories.iter().any(|category| category.three_way.is_some());
    let mut head = vec![by.column.as_str(), "rows", "labelled", "accuracy", "right in both orders"];
    if has_ties {
        head.push("with ties");
    }
    head.push("both orders agree");
    let mut rows = vec![head.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    for category in &by.categories {
        let name: String = category.name.chars().take(NAME).collect();
        let labelled: usize = category.labels.iter().sum();
        let mut cells = vec![name, category.rows.to_string(), labelled.to_string()];
        cells.extend([category.accuracy, category.both_orders].map(cell));
        if has_ties {
            cells.push(cell(category.three_way));
        }
        cells.push(cell(category.consistency));
        rows.push(cells);
    }
    writeln!(out, "{}", table(1, &rows))
}

fn cell(figure: Option<Estimate>) -> String {
    figure.as_ref().map_or_else(|| NONE.to_owned(), estimate)
}

/// Writes the figures of each judge of a panel side by side, then those of the panel.
///
/// # Errors
/// `out` can't be written to.
pub fn panel(out: &mut impl Write, figures: &PanelFigures) -> io::Result<()> {
    let names: Vec<&str> = figures.judges.iter().map(|judge| judge.judge.as_str()).collect();
    let head =
        ["judge", "accuracy", "right in both orders", "both orders agree", "ties", "undecided"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let all = figures.judges.iter().map(|judge| (judge.judge.as_str(), &judge.figures));
    for (name, judge) in all.chain([("the panel", &figures.panel)]) {
        let labelled = judge.labelled.as_ref();
        rows.push(vec![
            name.chars().take(NAME).collect(),
            cell(labelled.map(|labelled| labelled.accuracy)),
            cell(labelled.and_then(|labelled| labelled.both_orders)),
            cell(judge.position.consistency),
            judge.ties.to_string(),
            format!("{} of {}", judge.undecided, judge.rows),
        ]);
    }
    writeln!(out, "{}", table(1, &rows))?;
    let mut rows = vec![["judges", "same verdict", "κ"].map(str::to_owned).to_vec()];
    for JudgeAgreement { judges: [a, b], same, kappa } in &figures.agreement {
        let kappa = kappa.map_or_else(|| NONE.to_owned(), |kappa| format!("{kappa:.2}"));
        rows.push(vec![format!("{a} and {b}"), cell(*same), kappa]);
    }
    writeln!(out, "{}", table(1, &rows))?;
    if let Some(disagreement) = figures.disagreement {
        writeln!(out, "mean disagreement of the judges: {disagreement:.3} (0 to 0.5)")?;
    }
    if figures.disputed > 0 {
        writeln!(
            out,
            "{} rows do not count for the panel: its judges disagree more than \
             --max-disagreement",
            figures.disputed
        )?;
    }
    writeln!(out)?;
    self::figures(out, &figures.panel, &format!("a panel of {}", names.join(", ")))
}

fn position_lines(out: &mut impl Write, position: &PositionFigures) -> io::Result<()> {
    heading(out, "position")?;
    line(out, "both orders agree", position.consistency)?;
    line(out, "fairness (0 is fair)", position.fairness)?;
    let PositionFigures { favours_first, favours_second, offset, .. } = position;
    writeln!(
        out,
        "  if the orders disagree: {favours_first} rows favour the first position, \
         {favours_second} the second"
    )?;
    match offset {
        Some(offset) => {
            writeln!(out, "  mean log-odds in favour of the first position: {offset:+.2}")
        }
        None => Ok(()),
    }
}

fn flips(out: &mut impl Write, name: &str, flips: &AttackSuccess) -> io::Result<()> {
    line(out, &format!("{name}: verdict flipped"), flips.flipped)?;
    line(out, "  attack success rate", flips.swayed)?;
    if flips.undecided > 0 {
        writeln!(out, "  {} pairs left out: a tie, undecided or failed", flips.undecided)?;
    }
    Ok(())
}

fn heading(out: &mut impl Write, name: &str) -> io::Result<()> {
    writeln!(out, "{name:<34} {:>7}   95 % interval", "")
}

fn line(out: &mut impl Write, name: &str, figure: Option<Estimate>) -> io::Result<()> {
    match figure {
        Some(figure) => {
            writeln!(out, "{name:<34} {:>7.3}   {}", figure.value, interval(&figure))
        }
        None => writeln!(out, "{name:<34} {NONE:>7}"),
    }
}

fn interval(figure: &Estimate) -> String {
    format!("{} (n = {})", range(figure.low, figure.high, 3), figure.n)
}

/// Writes the effect of what was fitted, and the file that has it.
///
/// # Errors
/// `out` can't be written to.
pub fn fit(out: &mut impl Write, fit: &JudgeFit, path: &Path) -> io::Result<()> {
    let JudgeFit { calibration, margin } = fit;
    if let Some(calibration) = calibration {
        fitted_calibration(out, calibration)?;
    }
    if let Some(margin) = margin {
        fitted_margin(out, margin)?;
    }
    writeln!(out, "written to {}: to use it, add it to `extends` in a constitution", path.display())
}

fn fitted_margin(out: &mut impl Write, fitted: &FittedMargin) -> io::Result<()> {
    let FittedMargin { min_margin, fitted: training_rows, tried, before, after, change } = fitted;
    writeln!(
        out,
        "\nleast margin {min_margin:.3}, fitted on {training_rows} rows; on {tried} other rows:"
    )?;
    line(out, "accuracy with ties before", *before)?;
    line(out, "accuracy with ties after", *after)?;
    line(out, "change of accuracy with ties", *change)?;
    // A greater accuracy is better, a greater loss is worse.
    writeln!(out, "  {}", effect(change.map(|change| [-change.high, -change.low])))
}

/// The effect of a fit on rows that it was not fitted on, by the interval of a change; a
/// change below 0 is an improvement.
fn effect(change: Option<[f64; 2]>) -> &'static str {
    match change {
        Some([_, high]) if high < 0.0 => "it helps on rows that it was not fitted on",
        Some([low, _]) if low > 0.0 => {
            "it is harmful: do not use it; a fit on more rows may be better"
        }
        _ => "it may make no difference",
    }
}

fn fitted_calibration(out: &mut impl Write, fitted: &Fitted) -> io::Result<()> {
    let Fitted { calibration, fitted: training_rows, tried, before, after, change } = fitted;
    writeln!(
        out,
        "\ncalibration: temperature {:.3}, offset {:+.3}, fitted on {training_rows} rows; \
         on {tried} other rows:",
        calibration.temperature, calibration.offset
    )?;
    type Figure = fn(&Quality) -> Option<Estimate>;
    let qualities: [(&str, Figure); 3] = [
        ("log-loss", |quality| quality.log_loss),
        ("Brier score", |quality| quality.brier),
        ("calibration error", |quality| quality.calibration_error),
    ];
    for (name, figure) in qualities {
        line(out, &format!("{name} before"), figure(before))?;
        line(out, &format!("{name} after"), figure(after))?;
    }
    line(out, "change of log-loss", *change)?;
    writeln!(out, "  {}", effect(change.map(|change| [change.low, change.high])))
}
