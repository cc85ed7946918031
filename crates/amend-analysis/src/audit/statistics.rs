//! The audit's statistics: their names, and which of them the report shows as columns.
//!
//! [`compare`](super::compare) and the report read these lists. The fields are taken apart
//! without `..`, so a new statistic doesn't compile until it is listed here or left out
//! on purpose.

use super::{
    Activity, Audit, Confound, Coverage, Ensemble, Influence, PairFigures, PositionBias,
    PrincipleFigures, RevisionEffect, RevisionEffects, VariantFigures,
};
use amend_core::stats::Estimate;

/// A statistic of an audit.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistic {
    /// Its name, as a comparison of audits writes it.
    pub name: &'static str,
    /// The estimate; `None` if there is too little data.
    pub estimate: Option<Estimate>,
    /// Its column in the report; `None` if the report does not show it.
    pub column: Option<StatisticColumn>,
}

/// The column of a statistic in the report.
#[derive(Debug, Clone, PartialEq)]
pub struct StatisticColumn {
    /// The heading.
    pub heading: &'static str,
    /// What the statistic means, in one sentence; empty if the heading says it.
    pub about: &'static str,
    /// How the report writes it.
    pub form: StatisticForm,
}

/// How a statistic is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatisticForm {
    /// A share, in percent.
    Share,
    /// A number with its sign.
    Signed,
}

impl Statistic {
    fn new(name: &'static str, estimate: Option<Estimate>) -> Self {
        Self { name, estimate, column: None }
    }

    fn shown(self, form: StatisticForm, heading: &'static str, about: &'static str) -> Self {
        Self { column: Some(StatisticColumn { heading, about, form }), ..self }
    }

    fn share(self, heading: &'static str, about: &'static str) -> Self {
        self.shown(StatisticForm::Share, heading, about)
    }

    fn signed(self, heading: &'static str, about: &'static str) -> Self {
        self.shown(StatisticForm::Signed, heading, about)
    }
}

impl Audit {
    /// The statistics of all principles together.
    #[must_use]
    pub fn statistics(&self) -> Vec<Statistic> {
        let Self { coverage, ensemble, steering, .. } = self;
        let Coverage { covered, uncovered: _, categories: _ } = coverage;
        let Ensemble { verdicts: _, accuracy, overall_agreement, flips_equal_weights: _ } =
            ensemble;
        let RevisionEffects { revisions: _, no_op, over_refusal, rows: _ } = steering;
        vec![
            Statistic::new("covered", *covered),
            Statistic::new("ensemble accuracy", *accuracy),
            Statistic::new("overall_agreement", *overall_agreement),
            Statistic::new("no_op", *no_op),
            Statistic::new("over_refusal", *over_refusal),
        ]
    }
}

impl PrincipleFigures {
    /// The statistics of the principle as it is written.
    #[must_use]
    pub fn statistics(&self) -> Vec<Statistic> {
        let Self {
            id: _,
            title: _,
            category: _,
            weight: _,
            activity,
            influence,
            position,
            length,
            verbosity,
            // See `VariantFigures::statistics`.
            paraphrases: _,
            label_words: _,
        } = self;
        let Activity { undecided, activation, relevance, accuracy, wrong: _, performance } =
            activity;
        let Influence {
            flips_without,
            flipped: _,
            flips_doubled: _,
            contribution,
            accuracy_gain: _,
        } = influence;
        let PositionBias { offset, consistency, swayed: _ } = position;
        vec![
            Statistic::new("activation", *activation)
                .share("active", "share of items on which the principle prefers an answer"),
            Statistic::new("undecided", *undecided)
                .share("undecided", "share of its scores without a verdict"),
            Statistic::new("relevance", *relevance),
            Statistic::new("accuracy", *accuracy)
                .share("accuracy", "agreement with the label where it is active"),
            Statistic::new("performance", *performance),
            Statistic::new("flips_without", *flips_without)
                .share("decisive", "share of the combined verdicts that change without it"),
            Statistic::new("contribution", *contribution),
            Statistic::new("offset", *offset)
                .signed("position offset", "log-odds for the answer shown first"),
            Statistic::new("consistency", *consistency)
                .share("consistency", "share of items with the same verdict in both orders"),
            Statistic::new("length", length.best())
                .signed("length", "correlation of its score with length"),
            Statistic::new("verbosity", verbosity.best()),
        ]
    }
}

impl Confound {
    /// The partial correlation, or the plain one if there is none.
    #[must_use]
    pub fn best(&self) -> Option<Estimate> {
        let Self { correlation, partial } = self;
        partial.or(*correlation)
    }
}

impl VariantFigures {
    /// The statistics of a paraphrase or of other label words. Audits are not compared by
    /// them.
    #[must_use]
    pub fn statistics(&self) -> Vec<Statistic> {
        let Self { name: _, undecided, agreement, correlation, shift, turned: _ } = self;
        vec![
            Statistic::new("agreement", *agreement).share(
                "same verdict",
                "share of the items on which the original wording is active",
            ),
            Statistic::new("correlation", *correlation).signed("correlation", ""),
            Statistic::new("shift", *shift).signed("shift", "change of the score, in log-odds"),
            Statistic::new("undecided", *undecided).share("undecided", ""),
        ]
    }
}

impl PairFigures {
    /// The statistics of two principles. The report shows each as a matrix.
    #[must_use]
    pub fn statistics(&self) -> Vec<Statistic> {
        let Self { principles: _, correlation, conflict, strongest: _ } = self;
        vec![Statistic::new("correlation", *correlation), Statistic::new("conflict", *conflict)]
    }
}

impl RevisionEffect {
    /// The statistic of the revisions' effect on the score under one principle, by its
    /// number. The report shows it as a matrix.
    #[must_use]
    pub fn statistics(&self, principle: usize) -> Vec<Statistic> {
        let Self { principle: _, revisions: _, no_op: _, over_refusal: _, refused: _, shifts } =
            self;
        vec![Statistic::new("shift", shifts.get(principle).copied().flatten())]
    }
}
