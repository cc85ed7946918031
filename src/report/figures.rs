//! The sections that summarise a run: the outcomes of its items, verdicts,
//! reliability, principles, categories, and the work done.

use std::collections::{BTreeMap, BTreeSet};

use super::chart;
use super::facts::{ItemFacts, LeftOut, MethodFacts, StepWork};
use super::subject::Subject;
use super::view::{Cell, Section, Table};
use super::words::{count, counted, decimal, interval, percent, percent_interval, signed};
use amend_core::judge::Combined;
use amend_core::random::Stream;
use amend_core::record::{StepKind, StepOutput};
use amend_core::stats::{self, Bootstrap, Estimate, RESAMPLES};
use amend_data::pairs::PairMethod;

/// The log-odds at which a heat map's colour is deepest.
const DEEP: f64 = 2.0;

/// The most categories that get a column.
const MOST_CATEGORIES: usize = 12;

/// The figures of a run.
pub struct RunFigures<'a> {
    subject: &'a Subject<'a>,
    facts: &'a [ItemFacts],
}

impl<'a> RunFigures<'a> {
    /// The figures of the finished items of a run.
    pub fn new(subject: &'a Subject<'a>, facts: &'a [ItemFacts]) -> Self {
        Self { subject, facts }
    }

    /// The sections that are not empty. `total` is the number of items of the run,
    /// unfinished ones included.
    pub fn sections(&self, total: usize) -> Vec<Section> {
        let sections = [
            self.overview(total),
            self.verdicts(),
            self.reliability(),
            self.principles(),
            self.categories(),
            self.work(),
        ];
        sections.into_iter().filter(|section| !section.is_empty()).collect()
    }

    /// The answers that margins above and below 0 favour.
    fn sides(&self) -> (String, String) {
        if self.facts.iter().any(|facts| facts.is_comparison) {
            return ("A".to_owned(), "B".to_owned());
        }
        let [better, worse] = self.subject.sides().map(|side| format!("the {side}"));
        (better, worse)
    }

    /// The methods by which the run made pairs.
    fn methods(&self) -> BTreeSet<PairMethod> {
        self.facts.iter().flat_map(|facts| &facts.methods).map(|facts| facts.method).collect()
    }

    /// The pairs of each method, for a run with several.
    fn by_method(&self, section: &mut Section) {
        let columns =
            ["method", "answers", "pairs", "judged better", "worse", "undecided", "mean margin"];
        let mut table = Table::new("By method", &columns);
        table.note = "Both start from the same first answers. All other figures about verdicts \
                      are of the revisions."
            .to_owned();
        for method in self.methods() {
            let own: Vec<&MethodFacts> = self
                .facts
                .iter()
                .flat_map(|facts| &facts.methods)
                .filter(|facts| facts.method == method)
                .collect();
            let verdicts: Vec<&Combined> =
                own.iter().filter_map(|facts| facts.decision.as_ref()).collect();
            let cell = |test: &dyn Fn(&Combined) -> bool| {
                Cell::text(count(verdicts.iter().filter(|verdict| test(verdict)).count() as u64))
            };
            let kept = own.iter().filter(|facts| facts.is_kept).count();
            table.rows.push(vec![
                Cell::text(method.as_str()),
                Cell::text(count(own.len() as u64)),
                Cell::text(count(kept as u64)),
                cell(&|verdict| verdict.is_for_first()),
                cell(&|verdict| !verdict.undecided && !verdict.is_for_first()),
                cell(&|verdict| verdict.undecided),
                self.mean_cell(&decided_margins(verdicts.iter().copied()), signed),
            ]);
        }
        section.table(table);
    }

    fn mean(&self, values: &[f64]) -> Option<Estimate> {
        let stream = Stream::new(self.subject.seed()).child("report");
        Bootstrap::new(stream, RESAMPLES)
            .estimate(values.len(), |rows| stats::mean(rows.iter().map(|&row| values[row])))
    }

    fn overview(&self, total: usize) -> Section {
        let mut section = Section::new("overview", "Overview");
        let failed = self.facts.iter().filter(|facts| facts.failure.is_some()).count();
        let done = self.facts.len() - failed;
        section.card("Items done", count(done as u64), format!("of {}", count(total as u64)));
        if failed > 0 {
            section.card("Items failed", count(failed as u64), "");
        }
        if total > self.facts.len() {
            section.card(
                "Still to do",
                count((total - self.facts.len()) as u64),
                "the run can be resumed",
            );
        }
        if self.subject.pairs() {
            let kept = match self.methods().len() {
                0 | 1 => self.facts.iter().filter(|facts| facts.loss.is_none()).count(),
                _ => self
                    .facts
                    .iter()
                    .flat_map(|facts| &facts.methods)
                    .filter(|it| it.is_kept)
                    .count(),
            };
            let note = match (self.methods().len(), self.subject.sides()) {
                (0 | 1, ["revision", worse]) => format!("last revision over {worse}"),
                (0 | 1, [better, worse]) => format!("{better} over {worse}"),
                _ => "last revision, and guided answer, over first answer".to_owned(),
            };
            section.card("Pairs to export", count(kept as u64), note);
        }
        if self.methods().len() > 1 {
            self.by_method(&mut section);
        }
        let mut lost: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for facts in self.facts {
            let why = match (&facts.failure, facts.loss) {
                (Some(failure), _) => format!("failed: {failure}"),
                (None, Some(loss @ LeftOut::Dropped(_))) => loss.explain().to_owned(),
                (None, Some(loss @ LeftOut::Spoilt(_))) => {
                    format!("{}: {}", loss.name(), loss.explain())
                }
                (None, None) => continue,
            };
            lost.entry(why).or_default().push(&facts.key);
        }
        let mut table =
            Table::new("Items without a pair or a result", &["reason", "items", "examples"]);
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

    /// The combined verdict on each judged item. Its margin is for the revision or
    /// for answer A.
    fn decisions(&self) -> impl Iterator<Item = &Combined> {
        self.facts.iter().filter_map(|facts| facts.decision.as_ref())
    }

    fn verdicts(&self) -> Section {
        let mut section = Section::new("verdicts", "Verdicts");
        let all: Vec<&Combined> = self.decisions().collect();
        if all.is_empty() {
            return section;
        }
        let (better, worse) = self.sides();
        section.note = format!(
            "The judge saw each pair in both orders. A margin is in log-odds, without the position \
             offset: above 0 it favours {better}, below 0 {worse}. A verdict with too small a \
             margin, or too little probability on the labels, is undecided."
        );
        let margins: Vec<f64> = decided_margins(all.iter().copied());
        let share = |test: &dyn Fn(&Combined) -> bool| stats::share(all.iter().map(|&v| test(v)));
        for (label, share) in [
            (format!("For {better}"), share(&|verdict| !verdict.undecided && verdict.margin > 0.0)),
            (format!("For {worse}"), share(&|verdict| !verdict.undecided && verdict.margin <= 0.0)),
            ("Undecided".to_owned(), share(&|verdict| verdict.undecided)),
        ] {
            if let Some(share) = share {
                section.card(label, percent(share.value), percent_interval(&share));
            }
        }
        if let Some(mean) = self.mean(&margins) {
            section.card("Mean margin", signed(mean.value), interval(&mean));
        }
        let offsets: Vec<f64> = all.iter().map(|verdict| verdict.offset).collect();
        if let Some(mean) = self.mean(&offsets) {
            section.card("Mean position offset", signed(mean.value), interval(&mean));
        }
        let consistent = all.iter().map(|verdict| verdict.orders[0] * verdict.orders[1] > 0.0);
        if let Some(share) = stats::share(consistent) {
            section.card(
                "Same verdict in both orders",
                percent(share.value),
                percent_interval(&share),
            );
        }
        section.charts.extend(chart::histogram(
            "Margins",
            &format!("Log-odds of {better} over {worse}, without undecided verdicts."),
            &margins,
        ));
        section.charts.extend(chart::histogram(
            "Position offsets",
            "Log-odds that the judge gives to the answer shown first. At 0 the order does not matter.",
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
        let Some(all) = stats::share(labelled.iter().map(|(verdict, _)| !verdict.undecided)) else {
            return section;
        };
        section.note = format!(
            "{} with a label for the better answer. A judge is calibrated if A is better in 7 of \
             10 items to which it gives A a probability of 0.7.",
            counted(labelled.len(), "item"),
        );
        let decided = labelled.iter().filter(|(verdict, _)| !verdict.undecided);
        let correct = decided.map(|(verdict, label)| (verdict.margin > 0.0) == *label);
        if let Some(share) = stats::share(correct) {
            let note = format!("{}; {} decided", percent_interval(&share), percent(all.value));
            section.card("Accuracy, where decided", percent(share.value), note);
        }
        let forecasts = labelled.iter().map(|(verdict, label)| (verdict.p, *label));
        let bins = stats::reliability(forecasts.clone(), 10);
        if let Some(error) = stats::expected_calibration_error(&bins) {
            section.card(
                "Calibration error",
                decimal(error),
                "expected calibration error over ten bins; 0 is best",
            );
        }
        if let Some(brier) = stats::brier(forecasts.clone()) {
            section.card("Brier score", decimal(brier), "0 is best, 0.25 is chance");
        }
        if let Some(loss) = stats::log_loss(forecasts) {
            section.card("Log-loss", decimal(loss), "0 is best, 0.69 is chance");
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
            let made = match self.subject.sides() {
                ["revision", _] => "revisions",
                _ => "answers",
            };
            columns.extend([made, "unchanged", "cut off"]);
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
            table.note = format!("Better: share of the decided verdicts that favour {better}.");
        }
        for principle in self.subject.principles() {
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
            // A principle that was never applied gets no row.
            if row[2..].iter().any(|cell| cell.text != "0" && *cell != Cell::none()) {
                table.rows.push(row);
            }
        }
        section.table(table);
        section
    }

    fn gate_cells(&self, id: &str) -> [Cell; 2] {
        let gates = self.facts.iter().flat_map(|facts| &facts.gates);
        let own: Vec<_> = gates.filter(|(principle, _)| principle == id).collect();
        let violations: Vec<f64> = own.iter().filter_map(|(_, violation)| *violation).collect();
        [Cell::text(count(own.len() as u64)), self.mean_cell(&violations, decimal)]
    }

    fn revision_cells(&self, id: &str) -> [Cell; 3] {
        let own: Vec<_> = self
            .facts
            .iter()
            .flat_map(|facts| &facts.revisions)
            .filter(|revision| revision.principles.iter().any(|own| own == id))
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
            .filter(|under| under.id == id)
            .map(|under| &under.verdict)
            .collect();
        let margins = decided_margins(own.iter().copied());
        [
            Cell::text(count(own.len() as u64)),
            share_cell(margins.iter().map(|&margin| margin > 0.0)),
            share_cell(own.iter().map(|verdict| verdict.undecided)),
            self.mean_cell(&margins, signed),
        ]
    }

    fn mean_cell(&self, values: &[f64], print: impl Fn(f64) -> String) -> Cell {
        match self.mean(values) {
            Some(mean) => Cell::text(print(mean.value)).hint(interval(&mean)),
            None => Cell::none(),
        }
    }

    /// Principles against the categories of items: margins if there are verdicts,
    /// numbers of revisions otherwise.
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
                .note(format!("Blue: the judge favours {better}; orange: the other answer."))
        } else {
            Table::new("Revisions by principle and category", &heading)
        };
        table.heat = true;
        if more > 0 {
            let categories = if more == 1 { "category" } else { "categories" };
            table.note.push_str(&format!(" {more} smaller {categories} left out."));
        }
        for principle in self.subject.principles() {
            let id = principle.id.as_str();
            let mut cells: Vec<Cell> = Vec::new();
            for name in &names {
                cells.push(match judged {
                    true => self.margin_in(id, name),
                    false => self.revisions_in(id, name),
                });
            }
            if cells.iter().any(|cell| *cell != Cell::none()) {
                let title = Cell::text(self.subject.title(id)).hint(&principle.principle);
                table.rows.push(std::iter::once(title).chain(cells).collect());
            }
        }
        section.table(table);
        section
    }

    fn by_category(&self, categories: &[(&str, usize)]) -> Table {
        let judged = self.decisions().next().is_some();
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
                let margins = decided_margins(own().filter_map(|facts| facts.decision.as_ref()));
                row.push(share_cell(margins.iter().map(|&margin| margin > 0.0)));
                row.push(self.mean_cell(&margins, signed));
            }
            table.rows.push(row);
        }
        table
    }

    fn within<'b>(&'b self, category: &'b str) -> impl Iterator<Item = &'a ItemFacts> + 'b {
        self.facts.iter().filter(move |facts| facts.category.as_deref() == Some(category))
    }

    fn margin_in(&self, id: &str, category: &str) -> Cell {
        let verdicts = self.within(category).flat_map(|facts| &facts.verdicts);
        let own = verdicts.filter(|under| under.id == id);
        let margins = decided_margins(own.map(|under| &under.verdict));
        match self.mean(&margins) {
            None => Cell::none(),
            Some(mean) => {
                Cell::text(signed(mean.value)).hint(interval(&mean)).shaded(mean.value, DEEP)
            }
        }
    }

    fn revisions_in(&self, id: &str, category: &str) -> Cell {
        let revisions = self.within(category).flat_map(|facts| &facts.revisions);
        let own =
            revisions.filter(|revision| revision.principles.iter().any(|own| own == id)).count();
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
        let mut sums = StepKind::ALL.map(|_| StepWork::default());
        for facts in self.facts {
            for (sum, &work) in sums.iter_mut().zip(&facts.work) {
                sum.add(work);
            }
        }
        let thinks = sums.iter().any(|sum| sum.reasoning > 0);
        let mut columns = vec!["step", "steps", "prompt tokens", "cached", "decoded tokens"];
        if thinks {
            columns.push("in thoughts");
        }
        let mut table = Table::new("By step", &columns);
        for (kind, sum) in StepKind::ALL.into_iter().zip(sums).filter(|(_, sum)| sum.steps > 0) {
            let cached = if sum.prompt == 0 { 0.0 } else { sum.cached as f64 / sum.prompt as f64 };
            let mut cells = vec![
                kind.as_str().to_owned(),
                count(sum.steps as u64),
                count(sum.prompt),
                percent(cached),
                count(sum.decoded),
            ];
            if thinks {
                cells.push(count(sum.reasoning));
            }
            table.rows.push(cells.into_iter().map(Cell::text).collect());
        }
        section.table(table);
        let mut revised = StepWork::default();
        for (kind, sum) in StepKind::ALL.into_iter().zip(sums) {
            match kind.output() {
                StepOutput::Critique => revised.decoded += sum.decoded,
                StepOutput::Revision => revised.add(sum),
                StepOutput::Answer
                | StepOutput::Score
                | StepOutput::Verdict
                | StepOutput::Likelihood => {}
            }
        }
        self.gates(&mut section, revised.steps, revised.decoded);
        section
    }

    /// Adds how many critiques and revisions the gates saved. `revisions` were made,
    /// and they and their critiques decoded `decoded` tokens.
    fn gates(&self, section: &mut Section, revisions: usize, decoded: u64) {
        let gates: Vec<_> = self.facts.iter().flat_map(|facts| &facts.gates).collect();
        let Some(threshold) = self.subject.gate() else { return };
        if gates.is_empty() {
            return;
        }
        let is_passed = |violation: &Option<f64>| violation.is_some_and(|found| found < threshold);
        let passed = gates.iter().filter(|(_, violation)| is_passed(violation)).count();
        let note =
            format!("a principle is applied at a violation of {} or more", decimal(threshold));
        section.card("Gates asked", count(gates.len() as u64), note);
        let share = percent(passed as f64 / gates.len() as f64);
        section.card("Passed the gate", count(passed as u64), share);
        // Where gates only rank the principles, most of the passed ones would not have
        // been applied anyway.
        if !self.subject.applies_worst() && revisions > 0 {
            let each = decoded as f64 / revisions as f64;
            section.card(
                "Tokens saved by gates",
                format!("about {}", count((each * passed as f64).round() as u64)),
                format!("{each:.0} for each critique and revision"),
            );
        }
    }
}

/// The margins of the decided verdicts.
fn decided_margins<'a>(verdicts: impl Iterator<Item = &'a Combined>) -> Vec<f64> {
    verdicts.filter(|verdict| !verdict.undecided).map(|verdict| verdict.margin).collect()
}

fn share_cell(values: impl IntoIterator<Item = bool>) -> Cell {
    match stats::share(values) {
        Some(share) => Cell::text(percent(share.value)).hint(percent_interval(&share)),
        None => Cell::none(),
    }
}

/// Links to the first of some items.
fn links(keys: &[&str]) -> Cell {
    const SHOWN: usize = 5;
    let links = keys.iter().take(SHOWN).map(|&key| key.to_owned()).collect();
    Cell { links, ..Cell::default() }
}
