//! Finds personal data and secrets by their patterns.

use super::{Check, Fix, Hit, LintRule, Needs};
use crate::format::example::Example;
use amend_core::document::Severity;
use amend_core::text::patterns::{self, PatternMatch};

pub(super) static SECRET: LintRule = LintRule {
    name: "secret",
    severity: Severity::Error,
    about: "a text contains what looks like a key, a token or a password",
    fix: "the secret is replaced by its kind in brackets; revoke it if it is real",
    needs: Needs::Row,
};

pub(super) static PERSONAL: LintRule = LintRule {
    name: "personal-data",
    severity: Severity::Warn,
    about: "a text contains what looks like an e-mail address, a telephone number or an account",
    fix: "it is replaced by its kind in brackets",
    needs: Needs::Row,
};

/// How many characters of a match an excerpt shows: more people read the report than
/// the data.
const SHOWN: usize = 4;

/// Checks all texts for secrets and personal data.
pub(super) struct Private;

impl Check for Private {
    fn rules(&self) -> &'static [&'static LintRule] {
        const { &[&SECRET, &PERSONAL] }
    }

    fn examine(&self, example: &Example, hits: &mut Vec<Hit>) {
        for (rule, secret) in [(&SECRET, true), (&PERSONAL, false)] {
            let mut edits = Vec::new();
            let mut excerpt = None;
            for (side, turn) in
                example.sides().flat_map(|(side, turns)| turns.iter().map(move |turn| (side, turn)))
            {
                for PatternMatch { kind, span } in patterns::find(&turn.text) {
                    if kind.is_secret() != secret {
                        continue;
                    }
                    let start: String = turn.text[span.clone()].chars().take(SHOWN).collect();
                    excerpt.get_or_insert_with(|| {
                        format!("{}: {} {start}…", side.name(), kind.name())
                    });
                    edits.extend(turn.edits(span, &format!("[{}]", kind.name())));
                }
            }
            if let Some(excerpt) = excerpt {
                hits.push(Hit { rule, excerpt, fix: Fix::Edit(edits) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::{broken_rules, example};
    use super::*;
    use crate::format::example::apply;

    #[test]
    fn private_data_is_replaced_and_not_shown() {
        let key = ["hf_", "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH"].concat();
        let prompt = format!("I am jo@gmail.com, and jo@gmail.com it is. Key: {key}");
        let row = json!({
            "chosen": format!("\n\nHuman: {prompt}\n\nAssistant: Hi"),
            "rejected": format!("\n\nHuman: {prompt}\n\nAssistant: jo@gmail.com?"),
        });
        let mut hits = Vec::new();
        Private.examine(&example(row.clone()), &mut hits);
        let reported: Vec<_> =
            hits.iter().map(|hit| (hit.rule.name, hit.excerpt.as_str())).collect();
        let expected =
            [("secret", "prompt: access token hf_a…"), ("personal-data", "prompt: email jo@g…")];
        assert_eq!(reported, expected);
        let Value::Object(mut row) = row else { unreachable!() };
        let edits: Vec<_> = hits
            .into_iter()
            .flat_map(|hit| match hit.fix {
                Fix::Edit(edits) => edits,
                Fix::Remove => vec![],
            })
            .collect();
        apply(&edits, &mut row);
        let prompt = "\n\nHuman: I am [email], and [email] it is. Key: [access token]";
        assert_eq!(row["chosen"], format!("{prompt}\n\nAssistant: Hi"));
        assert_eq!(row["rejected"], format!("{prompt}\n\nAssistant: [email]?"));
        assert_eq!(broken_rules(&Private, Value::Object(row)), [""; 0]);
    }
}
