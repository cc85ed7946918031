//! Where a row comes from: the last columns of every format except `trajectories`.

use std::collections::HashMap;

use arrow_schema::Field;
use serde_json::{Value, json};

use super::cells::{free_form, optional_number, optional_text, text, texts};
use crate::format::write::ExportRow;
use crate::pairs::judgement::{Judgement, Rules};
use crate::pairs::{Categories, Pair, Reviewed};
use crate::store::reviews::Reviews;
use crate::store::run_dir::RunDir;
use amend_core::judge::Combined;
use amend_core::record::Item;

/// What rows record about their run.
#[derive(Debug)]
pub(crate) struct Provenance {
    /// The run's hash.
    run: String,
    /// The constitution's name and version: `name@version`.
    pub policy: String,
    /// The name of the model.
    pub model: String,
    /// How verdicts and reviews affect pairs.
    pub rules: Rules,
    /// The categories of the constitution's principles.
    categories: Categories,
    /// Each principle's critique request and revision request, by its id.
    requests: HashMap<String, [String; 2]>,
}

impl Provenance {
    /// Collects the provenance of a run with these reviews.
    pub fn from_run(run: &RunDir, reviews: Reviews) -> Self {
        let manifest = run.manifest();
        let constitution = &manifest.constitution.value;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let principles = constitution["principles"].as_array().map_or(&[][..], Vec::as_slice);
        let requests = principles.iter().map(|principle| {
            let requests = ["critique", "revise"].map(|request| text(&principle[request]));
            (text(&principle["id"]), requests)
        });
        Self {
            run: run.hash().to_owned(),
            policy: format!("{}@{}", text(&constitution["name"]), text(&constitution["version"])),
            model: text(&manifest.model["name"]),
            rules: Rules::from_constitution(constitution).with_reviews(reviews),
            categories: Categories::new(constitution),
            requests: requests.collect(),
        }
    }

    /// The critique request of a principle; empty for an unknown principle.
    pub fn critique_request(&self, principle: Option<&str>) -> &str {
        self.request(principle, 0)
    }

    /// The revision request of a principle; empty for an unknown principle.
    pub fn revision_request(&self, principle: Option<&str>) -> &str {
        self.request(principle, 1)
    }

    fn request(&self, principle: Option<&str>, at: usize) -> &str {
        principle.and_then(|id| self.requests.get(id)).map_or("", |requests| &requests[at])
    }

    /// Adds the hash of the run to a row.
    pub fn add_run(&self, mut row: ExportRow) -> ExportRow {
        row.insert("run".to_owned(), json!(self.run));
        row
    }
}

/// Where one row comes from.
#[derive(Debug)]
pub(crate) struct Origin<'a> {
    pub item: &'a Item,
    pub principles: Vec<&'a str>,
    pub reason: Option<&'a str>,
    pub judgement: Option<Judgement>,
    pub review: Option<Reviewed>,
}

impl<'a> Origin<'a> {
    /// The origin of a row of an item.
    pub fn new(item: &'a Item) -> Self {
        Self { item, principles: Vec::new(), reason: None, judgement: None, review: None }
    }

    /// The origin of a row of a pair.
    pub fn from_pair(pair: &Pair<'a>) -> Self {
        Self {
            item: pair.item,
            principles: pair.principles.clone(),
            reason: pair.reason(),
            judgement: pair.judgement.clone(),
            review: pair.review.clone(),
        }
    }

    /// The columns of the origin, in order.
    pub fn columns() -> [Field; 15] {
        [
            text("id"),
            texts("category"),
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
    pub fn add_to(&self, mut row: ExportRow, run: &Provenance) -> ExportRow {
        let id = self.item.id.as_deref().unwrap_or(&self.item.key);
        let decisive = self.judgement.as_ref().map(|judgement| &judgement.decisive);
        let verdict = decisive.map(|decisive| match decisive {
            decisive if decisive.undecided => "undecided",
            decisive if decisive.margin >= 0.0 => "better",
            _ => "worse",
        });
        let by_principle = self.judgement.as_ref().map(|judgement| {
            let verdicts = judgement.principles.iter();
            let margin = |(id, verdict): &(String, Combined)| (id.clone(), json!(verdict.margin));
            Value::Object(verdicts.map(margin).collect())
        });
        let values = [
            json!(id),
            json!(run.categories.for_principles(&self.principles)),
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
            json!(run.run),
            Value::Object(self.item.metadata.clone()),
        ];
        let names = Self::columns().map(|field| field.name().clone());
        row.extend(names.into_iter().zip(values));
        row
    }
}
