//! Where a row comes from: the last columns of every format except `trajectories`.

use arrow_schema::Field;
use serde_json::{Value, json};

use super::cells::{free_form, optional_number, optional_text, text, texts};
use super::thoughts::ThoughtWriter;
use crate::format::write::ExportRow;
use crate::pairs::judgement::{Judgement, Rules};
use crate::pairs::{Pair, PairMethod, Reviewed};
use crate::store::reviews::Reviews;
use crate::store::run_dir::RunDir;
use amend_core::constitution::{Constitution, Policy, Principle};
use amend_core::judge::Combined;
use amend_core::record::Item;

/// What rows record about their run.
#[derive(Debug)]
pub(crate) struct Provenance<'a> {
    run: &'a RunDir,
    /// How verdicts and reviews affect pairs.
    pub rules: Rules,
    /// How thoughts are written.
    pub thoughts: ThoughtWriter,
}

impl<'a> Provenance<'a> {
    /// The provenance of a run with these reviews, whose thoughts are written like this.
    /// `policy` replaces that of the constitution.
    pub fn new(
        run: &'a RunDir,
        reviews: Reviews,
        policy: Option<Policy>,
        thoughts: ThoughtWriter,
    ) -> Self {
        let mut rules = Rules::from_run(run);
        if let Some(policy) = policy {
            rules = rules.with_policy(policy);
        }
        Self { run, rules: rules.with_reviews(reviews), thoughts }
    }

    /// The columns about verdicts that stand for those of the run, if any do.
    pub fn verdict_columns(&self) -> Vec<Field> {
        match self.run.verdicts() {
            Some(_) => vec![text("verdicts"), optional_number("disagreement")],
            None => Vec::new(),
        }
    }

    fn constitution(&self) -> &'a Constitution {
        &self.run.manifest().constitution.value
    }

    /// The constitution's name and version: `name@version`.
    pub fn policy(&self) -> String {
        let Constitution { name, version, .. } = self.constitution();
        format!("{name}@{version}")
    }

    /// The name of the model whose verdicts count; those of a panel are joined by ` + `. A
    /// model without a judge model is its own judge.
    pub fn judge(&self) -> String {
        if let Some(verdicts) = self.run.verdicts() {
            return verdicts.judge_names().join(" + ");
        }
        let manifest = self.run.manifest();
        let model = manifest.judge_model.as_ref().unwrap_or(&manifest.model);
        model["name"].as_str().unwrap_or_default().to_owned()
    }

    /// The critique request of a principle; empty for an unknown principle.
    pub fn critique_request(&self, principle: Option<&str>) -> &'a str {
        self.principle(principle).map_or("", |principle| &principle.critique)
    }

    /// The revision request of a principle; empty for an unknown principle.
    pub fn revision_request(&self, principle: Option<&str>) -> &'a str {
        self.principle(principle).map_or("", |principle| &principle.revise)
    }

    /// The ids of the constitution's principles, in order.
    pub fn principles(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.constitution().principles.iter().map(|principle| principle.id.as_str())
    }

    fn principle(&self, id: Option<&str>) -> Option<&'a Principle> {
        self.constitution().principle(id?)
    }

    /// Adds the hash of the run to a row.
    pub fn add_run(&self, mut row: ExportRow) -> ExportRow {
        row.insert("run".to_owned(), json!(self.run.hash()));
        row
    }
}

/// Where one row comes from.
#[derive(Debug)]
pub(crate) struct Origin<'a> {
    pub item: &'a Item,
    /// How the preferred answer was made. `None` for a first answer.
    pub method: Option<PairMethod>,
    pub principles: Vec<&'a str>,
    pub reason: Option<&'a str>,
    pub judgement: Option<Judgement>,
    pub review: Option<Reviewed>,
}

impl<'a> Origin<'a> {
    /// The origin of a row of an item.
    pub fn new(item: &'a Item) -> Self {
        Self {
            item,
            method: None,
            principles: Vec::new(),
            reason: None,
            judgement: None,
            review: None,
        }
    }

    /// The origin of a row of a pair.
    pub fn from_pair(pair: &Pair<'a>) -> Self {
        Self {
            item: pair.item,
            method: Some(pair.method),
            principles: pair.principles.clone(),
            reason: pair.reason(),
            judgement: pair.judgement.clone(),
            review: pair.review.clone(),
        }
    }

    /// The columns of the origin, in order.
    pub fn columns() -> [Field; 16] {
        [
            text("id"),
            texts("category"),
            optional_text("method"),
            optional_text("reason"),
            texts("principles"),
            optional_text("verdict"),
            optional_number("p_chosen"),
            optional_number("verdict_margin"),
            optional_number("verdict_mass"),
            optional_number("log_odds_shown_first"),
            optional_number("log_odds_shown_second"),
            free_form("principle_margins"),
            texts("reviewers"),
            optional_text("reviewed_at"),
            text("run"),
            free_form("metadata"),
        ]
    }

    /// Adds the columns of the origin to a row.
    pub fn add_to(&self, mut row: ExportRow, run: &Provenance<'_>) -> ExportRow {
        let id = self.item.id.as_deref().unwrap_or(&self.item.key);
        let decisive = self.judgement.as_ref().map(|judgement| &judgement.decisive);
        let verdict = self.judgement.as_ref().map(Judgement::in_words);
        let by_principle = self.judgement.as_ref().map(|judgement| {
            let verdicts = judgement.principles.iter();
            let margin = |(id, verdict): &(String, Combined)| (id.clone(), json!(verdict.margin));
            Value::Object(verdicts.map(margin).collect())
        });
        let values = [
            json!(id),
            json!(run.constitution().categories(&self.principles)),
            json!(self.method.map(PairMethod::as_str)),
            json!(self.reason),
            json!(self.principles),
            json!(verdict),
            json!(decisive.map(|decisive| decisive.p)),
            json!(decisive.map(|decisive| decisive.margin)),
            json!(decisive.map(|decisive| decisive.mass)),
            json!(decisive.map(|decisive| decisive.orders[0])),
            json!(decisive.map(|decisive| decisive.orders[1])),
            json!(by_principle),
            json!(self.review.as_ref().map_or(&[][..], |review| &review.reviewers)),
            json!(self.review.as_ref().map(|review| &review.time)),
            json!(run.run.hash()),
            Value::Object(self.item.metadata.clone()),
        ];
        let names = Self::columns().map(|field| field.name().clone());
        row.extend(names.into_iter().zip(values));
        if let Some(verdicts) = run.run.verdicts() {
            let judgement = self.judgement.as_ref();
            row.insert("verdicts".to_owned(), json!(verdicts.name()));
            row.insert(
                "disagreement".to_owned(),
                json!(judgement.and_then(|judgement| judgement.disagreement)),
            );
        }
        row
    }
}
