//! The form of a line: what surrounds a record, and what can be read of a record without
//! parsing all of it.

use std::borrow::Cow;
use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{JournalFault, MAX_RECORD, Record};
use amend_core::hash;
use amend_core::record::Outcome;

/// The checksum's length in hexadecimal digits.
const SUM: usize = 16;

/// Computes the checksum of record `n`.
pub(super) fn sum(n: u64, record: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(n.to_string());
    hash.update(b":");
    hash.update(record);
    hash::hex(&hash.finalize()[..SUM / 2])
}

/// Encodes record `n` as a line, with its newline.
pub(super) fn encode(n: u64, record: &Record) -> Result<Vec<u8>, JournalFault> {
    let record = serde_json::to_vec(record)
        .map_err(|error| JournalFault::Record { message: error.to_string() })?;
    let mut line = format!(r#"{{"n":{n},"sum":"{}","record":"#, sum(n, &record)).into_bytes();
    line.extend_from_slice(&record);
    line.extend_from_slice(b"}\n");
    if line.len() > MAX_RECORD { Err(JournalFault::Length { limit: MAX_RECORD }) } else { Ok(line) }
}

/// Checks a line without its newline, whose number must be `expected`. Returns the place of its
/// record.
pub(super) fn verified(line: &[u8], expected: u64) -> Result<Range<usize>, JournalFault> {
    let end = line.len();
    let line = line.strip_prefix(br#"{"n":"#).ok_or(JournalFault::Form)?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, line) = line.split_at(digits);
    if number != expected.to_string().as_bytes() {
        let found = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok());
        return Err(
            found.map_or(JournalFault::Form, |found| JournalFault::Number { expected, found })
        );
    }
    let line = line.strip_prefix(br#","sum":""#).ok_or(JournalFault::Form)?;
    let (found, line) = line.split_at_checked(SUM).ok_or(JournalFault::Form)?;
    let record = line
        .strip_prefix(br#"","record":"#)
        .and_then(|line| line.strip_suffix(b"}"))
        .ok_or(JournalFault::Form)?;
    if found != sum(expected, record).as_bytes() {
        return Err(JournalFault::Sum);
    }
    let end = end - 1;
    Ok(end - record.len()..end)
}

/// Parses the bytes of a record.
pub(super) fn parse(record: &[u8]) -> Result<Record, JournalFault> {
    if let Some(record) = parse_fields(record) {
        return Ok(record);
    }
    // The error of the type itself says what is unknown.
    serde_json::from_slice(record)
        .map_err(|error| JournalFault::Record { message: error.to_string() })
}

/// The fields of a record, not parsed. Parsing [`Record`] itself takes twice as long: its tag
/// may stand anywhere, so the parser keeps all fields until it has seen the tag.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    item: Option<&'a RawValue>,
    #[serde(borrow)]
    step: Option<&'a RawValue>,
    #[serde(borrow)]
    outcome: Option<&'a RawValue>,
}

/// Parses a record field by field. `None` if it has an unexpected form.
fn parse_fields(record: &[u8]) -> Option<Record> {
    let Fields { kind, item, step, outcome } = serde_json::from_slice(record).ok()?;
    match &*kind {
        "step" => Some(Record::Step { item: parse_field(item)?, step: parse_field(step)? }),
        "end" => Some(Record::End { item: parse_field(item)?, outcome: parse_field(outcome)? }),
        "retry" => Some(Record::Retry { item: parse_field(item)? }),
        "cohort" => Some(Record::Cohort {}),
        _ => None,
    }
}

fn parse_field<'a, T: Deserialize<'a>>(field: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(field?.get()).ok()
}

/// What a record does to which item, without its step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outline<'a> {
    /// A step of the item with this key is done.
    Step(Cow<'a, str>),
    /// The item is done.
    Done(Cow<'a, str>),
    /// The item failed.
    Failed(Cow<'a, str>),
    /// The item starts over.
    Retry(Cow<'a, str>),
    /// A cohort has ended.
    Cohort,
}

/// A text that is copied only if it contains escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct Keyed<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
}

impl<'a> Outline<'a> {
    /// Reads the outline of a record. The record is parsed only if it has an unexpected form.
    pub(super) fn new(record: &'a [u8]) -> Result<Self, JournalFault> {
        match Self::from_fields(record) {
            Some(outline) => Ok(outline),
            None => parse(record).map(Self::from_record),
        }
    }

    fn from_fields(record: &'a [u8]) -> Option<Self> {
        let Fields { kind, item, outcome, .. } = serde_json::from_slice(record).ok()?;
        let item_key = || parse_field(item).map(|Text(key)| key);
        match &*kind {
            "step" => item_key().map(Self::Step),
            "retry" => item_key().map(Self::Retry),
            "cohort" => Some(Self::Cohort),
            "end" => {
                let Keyed { key } = parse_field(item)?;
                let Kind { kind } = parse_field(outcome)?;
                match &*kind {
                    "done" => Some(Self::Done(key)),
                    "failed" => Some(Self::Failed(key)),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn from_record(record: Record) -> Self {
        match record {
            Record::Step { item, .. } => Self::Step(item.into()),
            Record::End { item, outcome: Outcome::Done { .. } } => Self::Done(item.key.into()),
            Record::End { item, outcome: Outcome::Failed { .. } } => Self::Failed(item.key.into()),
            Record::Retry { item } => Self::Retry(item.into()),
            Record::Cohort {} => Self::Cohort,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::records;

    #[test]
    fn outlines_agree_with_records() {
        let mut all = records();
        all.push(Record::Cohort {});
        all.push(Record::Retry { item: "a \"quoted\"\nkey \u{1f600}".to_owned() });
        for record in all {
            let bytes = serde_json::to_vec(&record).unwrap();
            assert_eq!(parse_fields(&bytes), Some(record.clone()));
            let outline = Outline::from_fields(&bytes).unwrap();
            assert_eq!(outline, Outline::from_record(record));
        }
    }

    #[test]
    fn keys_of_ordinary_records_are_not_copied() {
        let step = serde_json::to_vec(&crate::testing::stepped("a", "one")).unwrap();
        let done = serde_json::to_vec(&crate::testing::done("a")).unwrap();
        for record in [&step, &done] {
            let (Outline::Step(key) | Outline::Done(key)) = Outline::new(record).unwrap() else {
                panic!("{record:?}")
            };
            assert!(matches!(key, Cow::Borrowed("a")));
        }
    }

    #[test]
    fn records_in_another_order_are_read() {
        let record = br#"{"item":"a","type":"retry"}"#;
        assert_eq!(Outline::new(record).unwrap(), Outline::Retry("a".into()));
        assert_eq!(parse(record).unwrap(), Record::Retry { item: "a".to_owned() });
    }
}
