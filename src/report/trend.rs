//! The page of a trend: what was found, a chart of each measure, and the runs.

use super::chart;
use super::view::{Cell, Chart, Section, Table};
use super::words::{count, counted, decimal, grouped_interval, signed};
use amend_analysis::trend::{MeasureTrend, Trend, TrendChange, TrendFindingKind};
use amend_core::text::format::list;

/// The sections of a trend.
pub fn sections(trend: &Trend) -> Vec<Section> {
    vec![findings(trend), measures(trend), runs(trend)]
}

fn findings(trend: &Trend) -> Section {
    let mut section = Section::new("findings", "Findings");
    section.note = match trend.findings.len() {
        0 => "No measure of the latest run differs from the earlier runs by more than chance."
            .to_owned(),
        some => {
            format!("{} of the latest run changed by more than chance.", counted(some, "measure"))
        }
    };
    if !trend.missing.is_empty() {
        let missing = list(&trend.missing.iter().map(String::as_str).collect::<Vec<_>>());
        let sentence = format!(" Earlier runs have values of {missing}, and the latest has none.");
        section.note.push_str(&sentence);
    }
    let mut found = Table::new("Changes", &["measure", "finding", "direction", "change", "p"]);
    for finding in &trend.findings {
        let kind = match finding.kind {
            TrendFindingKind::Shift => "out of the band",
            TrendFindingKind::Drift => "differs from the first run",
        };
        let direction = match finding.is_worse {
            Some(true) => Cell::text("worse").shaded(-1.0, 2.0),
            Some(false) => Cell::text("better").shaded(1.0, 2.0),
            None => Cell::none(),
        };
        let measure = match finding.item_kind {
            Some(kind) => format!("{} of {} items", finding.measure, kind.as_str()),
            None => finding.measure.clone(),
        };
        found.rows.push(vec![
            Cell::text(measure),
            Cell::text(kind).hint(&finding.message),
            direction,
            Cell::text(signed(finding.change.change)),
            Cell::text(format!("{:.3}", finding.change.p)),
        ]);
    }
    section.table(found);
    let mut limits = Table::new("What limits the comparison", &["note"]);
    limits.rows = trend.notes.iter().map(|note| vec![Cell::text(note)]).collect();
    section.table(limits);
    section
}

fn measures(trend: &Trend) -> Section {
    let mut section = Section::new("measures", "Measures");
    section.note = "Each point is the mean of a run, and its line the 95 % interval over other \
                    items. The band is around the mean of the earlier runs: if nothing changed, \
                    all measures of the latest run are within their bands in 95 % of series. \
                    Hollow points are not compared."
        .to_owned();
    let runs = trend.runs.len();
    let columns =
        ["measure", "earlier runs", "band", "latest run", "change", "p", "since the first"];
    let mut table = Table::new("Latest run", &columns);
    for measure in &trend.measures {
        let svg = chart::trend(measure, runs);
        section.charts.push(Chart { title: measure.name(), note: summary(measure), svg });
        table.rows.push(row(measure));
    }
    section.table(table);
    section.table(values(trend));
    section
}

/// What a chart shows, in a sentence.
fn summary(measure: &MeasureTrend) -> String {
    let Some(change) = &measure.shift else { return "No earlier run is comparable.".to_owned() };
    let latest = format!("{:.3}", change.latest);
    let [low, high] = change.band().map(|end| format!("{end:.3}"));
    let place = if change.is_out() { "outside" } else { "within" };
    format!("Latest {latest}, {place} the band {low} to {high}.")
}

fn row(measure: &MeasureTrend) -> Vec<Cell> {
    let mut cells = vec![Cell::text(measure.name())];
    let latest = measure.points.last();
    let latest = latest.map_or_else(Cell::none, |point| {
        Cell::text(decimal(point.mean.value)).hint(grouped_interval(&point.mean))
    });
    match &measure.shift {
        Some(change) => {
            let [low, high] = change.band().map(decimal);
            let p = Cell::text(format!("{:.3}", change.p));
            let before = Cell::text(decimal(change.before));
            let band = Cell::text(format!("{low} to {high}"));
            cells.extend([before, band, latest, changed(measure, Some(change)), p]);
        }
        None => cells.extend([Cell::none(), Cell::none(), latest, Cell::none(), Cell::none()]),
    }
    cells.push(changed(measure, measure.drift.as_ref()));
    cells
}

fn changed(measure: &MeasureTrend, change: Option<&TrendChange>) -> Cell {
    let Some(change) = change else { return Cell::none() };
    let mark = if measure.is_found(change) { " *" } else { "" };
    let hint = format!("p {:.3}, {}", change.p, counted(change.n, "answer"));
    Cell::text(format!("{}{mark}", signed(change.change))).hint(hint)
}

/// The values of all runs, with runs as rows.
fn values(trend: &Trend) -> Table {
    let names: Vec<String> = trend.measures.iter().map(MeasureTrend::name).collect();
    let columns: Vec<&str> =
        std::iter::once("run").chain(names.iter().map(String::as_str)).collect();
    let mut table = Table::new("Values of all runs", &columns).note("Hover for intervals.");
    for run in 0..trend.runs.len() {
        let mut row = vec![Cell::text(format!("{}", run + 1)).hint(&trend.runs[run].name)];
        for measure in &trend.measures {
            let point = measure.points.iter().find(|point| point.run == run);
            row.push(point.map_or_else(Cell::none, |point| {
                let value = decimal(point.mean.value);
                let text = if point.is_compared { value } else { format!("({value})") };
                Cell::text(text).hint(grouped_interval(&point.mean))
            }));
        }
        table.rows.push(row);
    }
    table
}

fn runs(trend: &Trend) -> Section {
    let mut section = Section::new("runs", "Runs");
    let columns =
        ["number", "run", "model", "set version", "answers", "failed", "started differently in"];
    let mut table = Table::new("Runs", &columns)
        .note("The oldest first; the last column names what differs from the run before.");
    for (number, run) in (1..).zip(&trend.runs) {
        table.rows.push(vec![
            Cell::text(format!("{number}")),
            Cell::text(&run.name),
            if run.model.is_empty() { Cell::none() } else { Cell::text(&run.model) },
            Cell::text(&run.set_version),
            Cell::text(count(run.answered as u64)),
            Cell::text(count(run.failed as u64)),
            if run.changed.is_empty() { Cell::none() } else { Cell::text(run.changed.join(", ")) },
        ]);
    }
    section.table(table);
    section
}
