//! The sections that sum up a run: what became of the items, the verdicts, the
//! gates, the principles and categories, the work done.

use std::collections::BTreeMap;

use super::chart;
use super::facts::{Facts, Work};
use super::subject::Subject;
use super::view::{Cell, Section, Table};
use super::words::{count, counted, decimal, interval, percent, percent_interval, signed};
use amend_core::judge::Combined;
use amend_core::random::Stream;
use amend_core::record::StepKind;
use amend_core::stats;
use amend_core::stats::{Bootstrap, Estimate};

/// Resamples behind the interval of a mean.
const RESAMPLES: u32 = 1000;

/// Log-odds from which on a heat map's colour is deepest.
const DEEP: f64 = 2.0;

/// How many categories have a column of their own.
const MOST_CATEGORIES: usize = 12;

/// Everything that sums up a run.
pub struct Figures<'a> {
    subject: &'a Subject,
    facts: &'a [Facts],
}

impl<'a> Figures<'a> {
    /// Of the ended items of a run.
    pub fn new(subject: &'a Subject, facts: &'a [Facts]) -> Self {
        Self { subject, facts }
    }

    /// The sections that have something to say. `rows` is the number of input rows.
    pub fn sections(&self, rows: usize) -> Vec<Section> {
        let sections = [
            self.overview(rows),
            self.verdicts(),
            self.reliability(),
            self.principles(),
            self.categories(),
            self.work(),
        ];
        sections.into_iter().filter(|section| !section.is_empty()).collect()
    }

    /// What margins are above 0 for, and what below.
    fn sides(&self) -> (&'static str, &'static str) {
        let rivals = self.facts.iter().any(|facts| facts.rivals);
        if rivals { ("A", "B") } else { ("the revision", "the first answer") }
    }

    fn mean(&self, values: &[f64]) -> Option<Estimate> {
        let stream = Stream::new(self.subject.seed).child("report");
        Bootstrap::new(stream, RESAMPLES)
            .estimate(values.len(), |rows| stats::mean(rows.iter().map(|&row| values[row])))
    }

    fn overview(&self, rows: usize) -> Section {
        let mut section = Section::new("overview", "Overview");
        let failed = self.facts.iter().filter(|facts| facts.failure.is_some()).count();
        let done = self.facts.len() - failed;
        section.card("Items done", count(done as u64), format!("of {}", count(rows as u64)));
        if failed > 0 {
            section.card("Items failed", count(failed as u64), "");
        }
        if rows > self.facts.len() {
            section.card(
                "Still to do",
                count((rows - self.facts.len()) as u64),
                "the run can be resumed",
            );
        }
        if self.subject.pairs() {
            let kept = self.facts.iter().filter(|facts| facts.dropped.is_none()).count();
            section.card("Pairs", count(kept as u64), "last revision over first answer");
        }
        let mut lost: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for facts in self.facts {
            let why = match (&facts.failure, facts.dropped) {
                (Some(failure), _) => format!("failed: {failure}"),
                (None, Some(reason)) => reason.explain().to_owned(),
                (None, None) => continue,
            };
            lost.entry(why).or_default().push(&facts.key);
        }
        let mut table =
            Table::new("Items that gave nothing, and why", &["reason", "items", "such as"]);
        let mut lost: Vec<_> = lost.into_iter().collect();
        lost.sort_by_key(|(_, keys)| std::cmp::Reverse(keys.len()));
        table.rows = lost
            .into_iter()
            .map(|(why, keys)| {
                vec![Cell::text(why), Cell::text(count(keys.len() as u64)), links(&keys)]
            })
            .collect();
        section.table(table);
        section
    }

    /// Every decided item's margin, that of the revision or of A.
    fn decided(&self) -> impl Iterator<Item = &Combined> {
        self.facts.iter().filter_map(|facts| facts.decision.as_ref())
    }

    fn verdicts(&self) -> Section {
        let mut section = Section::new("verdicts", "Verdicts");
        let all: Vec<&Combined> = self.decided().collect();
        if all.is_empty() {
            return section;
        }
        let (better, worse) = self.sides();
        section.note = format!(
            "Each pair was judged in both orders. A margin is in log-odds, with what the judge \
             gives to a place alone taken out: above 0 {better} is the better answer, below 0 {worse} is. \
             A verdict with too little margin, or too little probability on the labels, is undecided."
        );
        let held = |combined: &&&Combined| !combined.undecided;
        let margins: Vec<f64> = all.iter().filter(held).map(|found| found.margin).collect();
        let share = |is: &dyn Fn(&Combined) -> bool| stats::share(all.iter().map(|&one| is(one)));
        for (label, share) in [
            (format!("For {better}"), share(&|one| !one.undecided && one.margin > 0.0)),
            (format!("For {worse}"), share(&|one| !one.undecided && one.margin <= 0.0)),
            ("Undecided".to_owned(), share(&|one| one.undecided)),
        ] {
            if let Some(share) = share {
                section.card(label, percent(share.value), percent_interval(&share));
            }
        }
        if let Some(mean) = self.mean(&margins) {
            section.card("Mean margin", signed(mean.value), interval(&mean));
        }
        let offsets: Vec<f64> = all.iter().map(|found| found.offset).collect();
        if let Some(mean) = self.mean(&offsets) {
            section.card("Mean position offset", signed(mean.value), interval(&mean));
        }
        let consistent = all.iter().map(|found| found.orders[0] * found.orders[1] > 0.0);
        if let Some(share) = stats::share(consistent) {
            section.card(
                "Same verdict in both orders",
                percent(share.value),
                percent_interval(&share),
            );
        }
        section.charts.extend(chart::histogram(
            "Margins",
            &format!("Log-odds of {better} over {worse}; undecided verdicts left out."),
            &margins,
        ));
        section.charts.extend(chart::histogram(
            "Position offsets",
            "Log-odds that the judge gives to the answer shown first; 0: order does not matter.",
            &offsets,
        ));
        section
    }

    fn reliability(&self) -> Section {
        let mut section = Section::new("reliability", "Reliability");
        let labelled: Vec<(&Combined, bool)> = self
            .facts
            .iter()
            .filter_map(|facts| Some((facts.decision.as_ref()?, facts.label?)))
            .collect();
        let Some(all) = stats::share(labelled.iter().map(|(found, _)| !found.undecided)) else {
            return section;
        };
        section.note = format!(
            "{} with a label that says which answer is better. A judge is calibrated if, of the \
             verdicts in which it gives A a probability of 0.7, A is better in 7 of 10.",
            counted(labelled.len(), "item"),
        );
        let decided = labelled.iter().filter(|(found, _)| !found.undecided);
        let right = decided.clone().map(|(found, label)| (found.margin > 0.0) == *label);
        if let Some(share) = stats::share(right) {
            let note = format!("{}; {} decided", percent_interval(&share), percent(all.value));
            section.card("Right, where decided", percent(share.value), note);
        }
        let forecasts = labelled.iter().map(|(found, label)| (found.p, *label));
        let bins = stats::reliability(forecasts.clone(), 10);
        if let Some(error) = stats::expected_calibration_error(&bins) {
            section.card("Calibration error", decimal(error), "expected, over ten bins; 0 is best");
        }
        if let Some(brier) = stats::brier(forecasts.clone()) {
            section.card("Brier score", decimal(brier), "0 is best, 0.25 is knowing nothing");
        }
        if let Some(loss) = stats::log_loss(forecasts) {
            section.card("Log-loss", decimal(loss), "0 is best, 0.69 is knowing nothing");
        }
        section.charts.push(chart::reliability(&bins));
        section
    }

    fn principles(&self) -> Section {
        let mut section = Section::new("principles", "Principles");
        let revisions = self.facts.iter().any(|facts| !facts.revisions.is_empty());
        let gates = self.facts.iter().any(|facts| !facts.gates.is_empty());
        let verdicts = self.facts.iter().any(|facts| !facts.verdicts.is_empty());
        let mut columns = vec!["principle", "category"];
        if gates {
            columns.extend(["gates", "mean violation"]);
        }
        if revisions {
            columns.extend(["revisions", "unchanged", "cut off"]);
        }
        if verdicts {
            columns.extend(["verdicts", "better", "undecided", "mean margin"]);
        }
        if columns.len() == 2 {
            return section;
        }
        let mut table = Table::new("By principle", &columns);
        if verdicts {
            let (better, _) = self.sides();
            table.note = format!("Better: the share of decided verdicts for {better}.");
        }
        for principle in &self.subject.principles {
            let id = principle.id.as_str();
            let title = Cell::text(self.subject.title(id)).hint(&principle.principle);
            let mut row = vec![title, Cell::text(&principle.category)];
            if gates {
                row.extend(self.gate_cells(id));
            }
            if revisions {
                row.extend(self.revision_cells(id));
            }
            if verdicts {
                row.extend(self.verdict_cells(id));
            }
            // What a run never came to says nothing.
            if row[2..].iter().any(|cell| cell.text != "0" && *cell != Cell::none()) {
                table.rows.push(row);
            }
        }
        section.table(table);
        section
    }

    fn gate_cells(&self, id: &str) -> [Cell; 2] {
        let of = |facts: &'a Facts| facts.gates.iter().filter(|(principle, _)| principle == id);
        let violations: Vec<f64> =
            self.facts.iter().flat_map(of).filter_map(|(_, violation)| *violation).collect();
        let asked = self.facts.iter().flat_map(of).count();
        [Cell::text(count(asked as u64)), self.mean_cell(&violations, decimal)]
    }

    fn revision_cells(&self, id: &str) -> [Cell; 3] {
        let own: Vec<_> = self
            .facts
            .iter()
            .flat_map(|facts| &facts.revisions)
            .filter(|revision| revision.principle == id)
            .collect();
        [
            Cell::text(count(own.len() as u64)),
            share_cell(own.iter().map(|revision| revision.unchanged)),
            share_cell(own.iter().map(|revision| revision.cut)),
        ]
    }

    fn verdict_cells(&self, id: &str) -> [Cell; 4] {
        let own: Vec<&Combined> = self
            .facts
            .iter()
            .flat_map(|facts| &facts.verdicts)
            .filter_map(|(principle, found)| (principle == id).then_some(found))
            .collect();
        let margins: Vec<f64> =
            own.iter().filter(|found| !found.undecided).map(|found| found.margin).collect();
        [
            Cell::text(count(own.len() as u64)),
            share_cell(margins.iter().map(|&margin| margin > 0.0)),
            share_cell(own.iter().map(|found| found.undecided)),
            self.mean_cell(&margins, signed),
        ]
    }

    fn mean_cell(&self, values: &[f64], print: impl Fn(f64) -> String) -> Cell {
        let mean = self.mean(values);
        mean.map_or_else(Cell::none, |mean| Cell::text(print(mean.value)).hint(interval(&mean)))
    }

    /// Principles against the categories of items: margins where there are
    /// verdicts, revisions otherwise.
    fn categories(&self) -> Section {
        let mut section = Section::new("categories", "Categories");
        let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
        for category in self.facts.iter().filter_map(|facts| facts.category.as_deref()) {
            *sizes.entry(category).or_default() += 1;
        }
        let mut categories: Vec<(&str, usize)> = sizes.into_iter().collect();
        categories.sort_by_key(|&(_, size)| std::cmp::Reverse(size));
        let more = categories.len().saturating_sub(MOST_CATEGORIES);
        categories.truncate(MOST_CATEGORIES);
        let names: Vec<&str> = categories.iter().map(|&(name, _)| name).collect();
        section.table(self.by_category(&categories));
        let heading: Vec<&str> =
            std::iter::once("principle").chain(names.iter().copied()).collect();
        let judged = self.facts.iter().any(|facts| !facts.verdicts.is_empty());
        let mut table = if judged {
            let (better, _) = self.sides();
            Table::new("Mean margin by principle and category", &heading)
                .note(format!("Blue: {better} is judged better there; orange: worse."))
        } else {
            Table::new("Revisions by principle and category", &heading)
        };
        table.heat = true;
        if more > 0 {
            table.note.push_str(&format!(" {} left out.", counted(more, "smaller category")));
        }
        for principle in &self.subject.principles {
            let id = principle.id.as_str();
            let cells: Vec<Cell> =
                names
                    .iter()
                    .map(|&name| {
                        if judged { self.margin_in(id, name) } else { self.revisions_in(id, name) }
                    })
                    .collect();
            if cells.iter().any(|cell| *cell != Cell::none()) {
                let title = Cell::text(self.subject.title(id)).hint(&principle.principle);
                table.rows.push(std::iter::once(title).chain(cells).collect());
            }
        }
        section.table(table);
        section
    }

    fn by_category(&self, categories: &[(&str, usize)]) -> Table {
        let judged = self.decided().next().is_some();
        let mut columns = vec!["category", "items", "failed"];
        if judged {
            columns.extend(["better", "mean margin"]);
        }
        let mut table = Table::new("By category", &columns);
        for &(name, size) in categories {
            let own = || self.within(name);
            let mut row = vec![
                Cell::text(name),
                Cell::text(count(size as u64)),
                Cell::text(count(own().filter(|facts| facts.failure.is_some()).count() as u64)),
            ];
            if judged {
                let found = own().filter_map(|facts| facts.decision.as_ref());
                let margins: Vec<f64> =
                    found.filter(|found| !found.undecided).map(|found| found.margin).collect();
                row.push(share_cell(margins.iter().map(|&margin| margin > 0.0)));
                row.push(self.mean_cell(&margins, signed));
            }
            table.rows.push(row);
        }
        table
    }

    fn within<'b>(&'b self, category: &'b str) -> impl Iterator<Item = &'a Facts> + 'b {
        self.facts.iter().filter(move |facts| facts.category.as_deref() == Some(category))
    }

    fn margin_in(&self, id: &str, category: &str) -> Cell {
        let found = self.within(category).flat_map(|facts| &facts.verdicts);
        let own = found.filter(|(principle, found)| principle == id && !found.undecided);
        let margins: Vec<f64> = own.map(|(_, found)| found.margin).collect();
        match self.mean(&margins) {
            None => Cell::none(),
            Some(mean) => {
                Cell::text(signed(mean.value)).hint(interval(&mean)).shaded(mean.value, DEEP)
            }
        }
    }

    fn revisions_in(&self, id: &str, category: &str) -> Cell {
        let revisions = self.within(category).flat_map(|facts| &facts.revisions);
        let own = revisions.filter(|revision| revision.principle == id).count();
        if own == 0 {
            return Cell::none();
        }
        let items = self.within(category).count();
        let share = own as f64 / items as f64;
        Cell::text(count(own as u64))
            .hint(format!("in {}", counted(items, "item")))
            .shaded(share, 1.0)
    }

    fn work(&self) -> Section {
        let mut section = Section::new("work", "Work");
        let mut sums = StepKind::ALL.map(|_| Work::default());
        for facts in self.facts {
            for (sum, &work) in sums.iter_mut().zip(&facts.work) {
                sum.add(work);
            }
        }
        let mut table = Table::new(
            "By step",
            &["step", "steps", "prompt tokens", "of these cached", "decoded"],
        );
        for (kind, sum) in StepKind::ALL.into_iter().zip(sums).filter(|(_, sum)| sum.steps > 0) {
            let cached = if sum.prompt == 0 { 0.0 } else { sum.cached as f64 / sum.prompt as f64 };
            let cells = [
                kind.as_str().to_owned(),
                count(sum.steps as u64),
                count(sum.prompt),
                percent(cached),
                count(sum.decoded),
            ];
            table.rows.push(cells.map(Cell::text).into());
        }
        section.table(table);
        let of = |kind: StepKind| {
            StepKind::ALL.iter().zip(sums).find_map(|(&one, sum)| (one == kind).then_some(sum))
        };
        self.gates(&mut section, of(StepKind::Critique), of(StepKind::Revise));
        section
    }

    /// What gates saved.
    fn gates(&self, section: &mut Section, critiques: Option<Work>, revisions: Option<Work>) {
        let asked: usize = self.facts.iter().map(|facts| facts.gates.len()).sum();
        let Some(gate) = self.subject.gate.filter(|_| asked > 0) else { return };
        let violations = self.facts.iter().flat_map(|facts| &facts.gates);
        let passed =
            violations.filter(|(_, found)| found.is_some_and(|found| found < gate)).count();
        section.card(
            "Gates asked",
            count(asked as u64),
            format!("applied from {} on", decimal(gate)),
        );
        section.card(
            "Passed the gate",
            count(passed as u64),
            percent(passed as f64 / asked as f64),
        );
        // Where gates rank principles, most of those passed would not have been
        // applied anyway.
        let (critiques, revisions) = (critiques.unwrap_or_default(), revisions.unwrap_or_default());
        if !self.subject.worst && revisions.steps > 0 {
            let each = (critiques.decoded + revisions.decoded) as f64 / revisions.steps as f64;
            let saved = (each * passed as f64).round() as u64;
            section.card(
                "Tokens not decoded",
                format!("about {}", count(saved)),
                format!("{:.0} for each critique and revision", each),
            );
        }
    }
}

fn share_cell(values: impl IntoIterator<Item = bool>) -> Cell {
    stats::share(values).map_or_else(Cell::none, |share| {
        Cell::text(percent(share.value)).hint(percent_interval(&share))
    })
}

/// A few items to look at.
fn links(keys: &[&str]) -> Cell {
    const SHOWN: usize = 5;
    let links = keys.iter().take(SHOWN).map(|&key| key.to_owned()).collect();
    Cell { links, ..Cell::default() }
}
