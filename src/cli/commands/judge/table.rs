//! What a judge found and how far it can be trusted, for people.

use std::io::{self, Write};
use std::path::Path;

use amend_analysis::judge_quality::{
    Baseline, Figures, Fitted, Flips, Labelled, Position, Quality, Row,
};
use amend_core::record::Label;
use amend_core::stats::Estimate;

/// How wide a row's name may be.
const NAME: usize = 30;

/// A line for each row.
///
/// # Errors
/// `out` can't be written to.
pub fn rows<'a>(out: &mut impl Write, rows: impl Iterator<Item = &'a Row>) -> io::Result<()> {
    writeln!(
        out,
        "{:<NAME$} {:>6} {:>7} {:>7} {:>7} {:>5}  {:<9} label",
        "row", "p(a)", "margin", "a first", "b first", "mass", "verdict"
    )?;
    for row in rows {
        let name = row.id.clone().unwrap_or_else(|| format!("row {}", row.row));
        let name = if row.is_clean() { name } else { format!("+ {name}") };
        let short: String = name.chars().take(NAME).collect();
        let label = row.label.map_or("", said);
        match (&row.verdict, row.choice()) {
            (Some(found), Some(choice)) => {
                let verdict = if found.undecided { "undecided" } else { said(choice) };
                writeln!(
                    out,
                    "{short:<NAME$} {:>6.3} {:>+7.2} {:>+7.2} {:>+7.2} {:>5.2}  {verdict:<9} {label}",
                    found.p, found.margin, found.orders[0], found.orders[1], found.mass,
                )?;
                for under in &row.principles {
                    let id: String = under.id.chars().take(NAME - 2).collect();
                    writeln!(
                        out,
                        "  {id:<width$} {:>6.3} {:>+7.2} {:>+7.2} {:>+7.2} {:>5.2}",
                        under.verdict.p,
                        under.verdict.margin,
                        under.verdict.orders[0],
                        under.verdict.orders[1],
                        under.verdict.mass,
                        width = NAME - 2,
                    )?;
                }
            }
            _ => writeln!(out, "{short:<NAME$} failed")?,
        }
    }
    writeln!(out)
}

fn said(label: Label) -> &'static str {
    match label {
        Label::A => "a",
        Label::B => "b",
        Label::Tie => "tie",
    }
}

/// All figures of a judge, each with its interval.
///
/// # Errors
/// `out` can't be written to.
pub fn figures(out: &mut impl Write, figures: &Figures, judge: &str) -> io::Result<()> {
    let Figures { rows, failed, undecided, position, labelled, injections } = figures;
    write!(out, "{rows} rows judged by {judge}, {undecided} of them undecided")?;
    if *failed > 0 {
        write!(out, "; {failed} failed")?;
    }
    writeln!(out, "\n")?;
    if let Some(labelled) = labelled {
        by_label(out, labelled)?;
    }
    position_lines(out, position)?;
    if let Some(injections) = injections {
        writeln!(out)?;
        heading(out, "answers that speak to the judge")?;
        flips(out, "all", &injections.all)?;
        line(out, "  swayed, in one order only", injections.all.swayed_in_one_order)?;
        line(out, "  mean shift, log-odds", injections.all.shift)?;
        for (attack, found) in &injections.attacks {
            flips(out, attack, found)?;
        }
    }
    Ok(())
}

fn by_label(out: &mut impl Write, labelled: &Labelled) -> io::Result<()> {
    let [a, b, tie] = labelled.labels;
    heading(out, &format!("by the labels ({a} a, {b} b, {tie} tie)"))?;
    line(out, "accuracy, undecided counted ½", Some(labelled.accuracy))?;
    line(out, "accuracy of the decided", labelled.decided)?;
    line(out, "  where the better is longer", labelled.longer_better)?;
    line(out, "  where the better is shorter", labelled.shorter_better)?;
    line(out, "Cohen's κ", labelled.kappa)?;
    line(out, "log-loss (a coin: 0.693)", labelled.log_loss)?;
    line(out, "Brier score (a coin: 0.250)", labelled.brier)?;
    line(out, "expected calibration error", labelled.calibration_error)?;
    writeln!(out, "\n{:<34} {:>7}   {:<25} judge's lead", "baselines", "", "")?;
    let baselines = &labelled.baselines;
    for (name, Baseline { accuracy, lead }) in [
        ("always a", &baselines.always_a),
        ("the longer", &baselines.longer),
        ("the shorter", &baselines.shorter),
    ] {
        writeln!(
            out,
            "{name:<34} {:>7.3}   {:<25} {:+.3}, {:+.3} to {:+.3}",
            accuracy.value,
            interval(accuracy),
            lead.value,
            lead.low,
            lead.high
        )?;
    }
    writeln!(out)
}

fn position_lines(out: &mut impl Write, position: &Position) -> io::Result<()> {
    heading(out, "position")?;
    line(out, "both orders agree", position.consistency)?;
    line(out, "fairness (0 is fair)", position.fairness)?;
    let Position { favours_first, favours_second, offset, .. } = position;
    writeln!(
        out,
        "  where the orders part, {favours_first} rows favour what is shown first, \
         {favours_second} what is shown second"
    )?;
    match offset {
        Some(offset) => writeln!(out, "  mean log-odds given to the first position: {offset:+.2}"),
        None => Ok(()),
    }
}

fn flips(out: &mut impl Write, name: &str, found: &Flips) -> io::Result<()> {
    line(out, &format!("{name}: verdict flipped"), found.flipped)?;
    line(out, "  swayed to the answer", found.swayed)?;
    if found.undecided > 0 {
        writeln!(out, "  {} pairs left out: undecided or failed", found.undecided)?;
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
        None => writeln!(out, "{name:<34} {:>7}", "–"),
    }
}

fn interval(figure: &Estimate) -> String {
    format!("{:.3} to {:.3} (n = {})", figure.low, figure.high, figure.n)
}

/// What a fitted correction does.
///
/// # Errors
/// `out` can't be written to.
pub fn fitted(out: &mut impl Write, fitted: &Fitted, path: &Path) -> io::Result<()> {
    let Fitted { calibration, fitted: on, tried, before, after, change } = fitted;
    writeln!(
        out,
        "\ncalibration: temperature {:.3}, offset {:+.3}, fitted to {on} rows; on {tried} others:",
        calibration.temperature, calibration.offset
    )?;
    type Figure = fn(&Quality) -> Option<Estimate>;
    let of: [(&str, Figure); 3] = [
        ("log-loss", |quality| quality.log_loss),
        ("Brier score", |quality| quality.brier),
        ("calibration error", |quality| quality.calibration_error),
    ];
    for (name, of) in of {
        line(out, &format!("{name} before"), of(before))?;
        line(out, &format!("{name} after"), of(after))?;
    }
    line(out, "change of log-loss", *change)?;
    let verdict = match change {
        Some(change) if change.high < 0.0 => "it helps, on rows it has not seen",
        Some(change) if change.low > 0.0 => {
            "it does harm: do not use it; more rows may give a better"
        }
        _ => "that it makes no difference is not excluded",
    };
    writeln!(out, "  {verdict}")?;
    writeln!(out, "written to {}: name it in a constitution's `extends`", path.display())
}
