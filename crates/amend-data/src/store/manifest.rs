//! The manifest: the configuration of a run, and which parts of it must be equal to
//! resume the run.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::sharded::Shard;
use crate::eval_set::EvalSet;
use amend_core::constitution::Constitution;
use amend_core::hash;
use amend_core::record::Item;
use amend_core::text::format::json_document;

/// The version of the run directory format.
pub const FORMAT: u32 = 1;

/// The most characters of a value that a difference shows.
const SHOWN: usize = 60;

/// The configuration that a run was started with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the run directory format ([`FORMAT`]).
    pub format: u32,
    /// The command that started the run: `run`, `judge`, `score`, `eval` or `audit`.
    pub command: String,
    /// The version of amend. Another patch version may resume the run.
    pub amend: String,
    /// The model, as described by its engine.
    pub model: Value,
    /// The judge model, if it is not the same model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge_model: Option<Value>,
    /// The model of the first answers, if it is not the same model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub student_model: Option<Value>,
    /// The constitution, including everything that it extends.
    pub constitution: Hashed<Constitution>,
    /// The text of each template, by name.
    pub templates: BTreeMap<String, Hashed<String>>,
    /// The input rows.
    pub input: InputSummary,
    /// The shard of a larger run that this run is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// The value of `--limit`: the most rows used.
    pub limit: Option<u64>,
    /// The seed of all random streams.
    pub seed: u64,
    /// The delimiter around content in prompts.
    pub fence: String,
    /// How content is marked in prompts: `none`, `delimiter` or `datamarking`.
    #[serde(default = "delimiter")]
    pub fence_style: String,
    /// The procedure that each item goes through.
    #[serde(default)]
    pub procedure: Value,
    /// Whether a resumed run must give the same bytes as an uninterrupted one.
    pub reproducible: bool,
    /// Settings that change the speed but not the task. They may differ on resume, unless
    /// the run is reproducible.
    pub settings: Value,
}

/// A value and the SHA-256 of its text (of a constitution, of its compact JSON).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hashed<T> {
    /// The SHA-256 in hexadecimal.
    pub sha256: String,
    /// The value.
    pub value: T,
}

impl Hashed<String> {
    /// Hashes a text.
    #[must_use]
    pub fn text(value: String) -> Self {
        Self { sha256: hash::sha256(value.as_bytes()), value }
    }
}

impl Hashed<Constitution> {
    /// Hashes a constitution.
    #[must_use]
    pub fn constitution(value: Constitution) -> Self {
        Self { sha256: hash::sha256(value.to_json().to_string().as_bytes()), value }
    }
}

/// A summary of the input of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputSummary {
    /// The files, as named by the user. They may differ on resume if the rows are equal.
    pub files: Vec<String>,
    /// The number of items, after the limit on rows: a row with an injection makes two.
    pub rows: u64,
    /// The SHA-256 of the keys of the items in order, each followed by a newline.
    pub sha256: String,
    /// The number of rows that were left out because they were at fault.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: u64,
    /// The evaluation set that the items come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<EvalSet>,
    /// The run whose answers these items have: those that are judged again, or those that
    /// the loop starts from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<SourceRun>,
}

/// The run whose answers the items of another run have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceRun {
    /// The SHA-256 of its manifest: see [`RunDir::hash`].
    ///
    /// [`RunDir::hash`]: crate::store::run_dir::RunDir::hash
    pub sha256: String,
    /// The description of the model that wrote the answers.
    pub model: Value,
}

impl InputSummary {
    /// Summarises the items read from `files`.
    #[must_use]
    pub fn new(files: Vec<String>, items: &[Item]) -> Self {
        Self::of_keys(files, items.iter().map(|item| item.key.as_str()))
    }

    /// Summarises items with these keys, read from `files`.
    #[must_use]
    pub fn of_keys<'k>(files: Vec<String>, keys: impl Iterator<Item = &'k str>) -> Self {
        let keys: Vec<&str> = keys.flat_map(|key| [key, "\n"]).collect();
        let sha256 = hash::sha256(keys.concat().as_bytes());
        Self { files, rows: keys.len() as u64 / 2, sha256, skipped: 0, set: None, run: None }
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A difference between two manifests or other JSON values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The path of the value, such as `constitution.loop.rounds` or
    /// `templates["critique.j2"]`.
    pub path: String,
    /// The value in the first manifest, shortened.
    pub ours: String,
    /// The value in the second manifest, shortened.
    pub theirs: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: was {}, is {}", self.path, self.ours, self.theirs)
    }
}

impl Manifest {
    /// The text of the manifest file.
    ///
    /// # Errors
    /// Serialisation fails. It does not fail for the types of a manifest.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        json_document(self)
    }

    /// The differences that prevent resuming a run of this manifest with another one. Empty
    /// if the run can be resumed.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Vec<Difference> {
        let mut differences = Vec::new();
        let (ours, mut theirs) = (self.task(), other.task());
        for model in ["model", "judge_model", "student_model"] {
            // The key is optional. The marks of thoughts are detected in the chat template,
            // which is compared.
            if ours[model].get("reasoning").is_none()
                && let Some(theirs) = theirs[model].as_object_mut()
            {
                theirs.shift_remove("reasoning");
            }
        }
        walk("", Some(&ours), Some(&theirs), &mut differences);
        let most = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
        if self.is_rejudged() && most(self.limit) > most(other.limit) {
            walk("limit", Some(&self.limit.into()), Some(&other.limit.into()), &mut differences);
        }
        if self.reproducible && other.reproducible {
            // The results depend on the settings of the engine.
            walk("settings", Some(&self.settings), Some(&other.settings), &mut differences);
        }
        differences
    }

    /// Whether this run has the verdicts of another judge on a run.
    #[must_use]
    pub fn is_rejudged(&self) -> bool {
        self.command == "judge" && self.input.run.is_some()
    }

    /// The parts that must be equal to resume. Hashes are left out, because the values
    /// themselves are compared.
    fn task(&self) -> Value {
        let templates: serde_json::Map<_, _> = self
            .templates
            .iter()
            .map(|(name, template)| (name.clone(), template.value.clone().into()))
            .collect();
        let mut input = serde_json::json!({ "set": self.input.set, "run": self.input.run });
        // A run that is judged again may have more items than before, or a greater limit.
        let mut limit = Value::Null;
        if !self.is_rejudged() {
            input["rows"] = self.input.rows.into();
            input["sha256"] = self.input.sha256.as_str().into();
            limit = self.limit.into();
        }
        serde_json::json!({
            "format": self.format,
            "amend": minor_version(&self.amend),
            "command": self.command,
            "model": self.model,
            "judge_model": self.judge_model,
            "student_model": self.student_model,
            "constitution": self.constitution.value.to_json(),
            "templates": templates,
            "input": input,
            "shard": self.shard,
            "limit": limit,
            "seed": self.seed,
            "fence": self.fence,
            "fence_style": self.fence_style,
            "procedure": self.procedure,
            "reproducible": self.reproducible,
        })
    }
}

/// The default for manifests without `fence_style`.
fn delimiter() -> String {
    "delimiter".to_owned()
}

/// The differences between two values, as deep as both have the same structure.
#[must_use]
pub fn differences(ours: &Value, theirs: &Value) -> Vec<Difference> {
    let mut differences = Vec::new();
    walk("", Some(ours), Some(theirs), &mut differences);
    differences
}

/// The major and minor version: `1.2` for `1.2.3`.
fn minor_version(version: &str) -> &str {
    version.match_indices('.').nth(1).map_or(version, |(at, _)| &version[..at])
}

/// Collects the differences between two values, as deep as both have the same structure.
fn walk(path: &str, ours: Option<&Value>, theirs: Option<&Value>, out: &mut Vec<Difference>) {
    match (ours, theirs) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                walk(&member(path, key), a.get(key), b.get(key), out);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            for at in 0..a.len().max(b.len()) {
                walk(&format!("{path}[{at}]"), a.get(at), b.get(at), out);
            }
        }
        _ if ours == theirs => {}
        _ => {
            let (ours, theirs) = (shown(ours), shown(theirs));
            let same = ours.chars().zip(theirs.chars()).take_while(|(a, b)| a == b).count();
            out.push(Difference {
                path: path.to_owned(),
                ours: shorten(&ours, same),
                theirs: shorten(&theirs, same),
            });
        }
    }
}

/// The path of a key: `path.key`, or `path["key"]` if the key is not a plain name.
fn member(path: &str, key: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    match (path, key.chars().all(plain)) {
        ("", true) => key.to_owned(),
        (_, true) => format!("{path}.{key}"),
        (_, false) => format!("{path}[{key:?}]"),
    }
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None => "absent".to_owned(),
        Some(Value::Null) => "none".to_owned(),
        Some(value) => value.to_string(),
    }
}

/// Shortens `text` to at most [`SHOWN`] characters around its first difference, which is
/// after `same` characters.
fn shorten(text: &str, same: usize) -> String {
    let length = text.chars().count();
    if length <= SHOWN {
        return text.to_owned();
    }
    let start = same.saturating_sub(SHOWN / 3);
    let window: String = text.chars().skip(start).take(SHOWN).collect();
    let before = if start > 0 { "…" } else { "" };
    let after = if start + SHOWN < length { "…" } else { "" };
    format!("{before}{window}{after}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{item, manifest};

    /// The differences between the sample manifest and a changed one.
    fn differences(change: impl FnOnce(&mut Manifest)) -> String {
        let mut other = manifest();
        change(&mut other);
        let lines: Vec<_> = manifest().difference(&other).iter().map(ToString::to_string).collect();
        lines.join("\n")
    }

    #[test]
    fn a_run_that_is_judged_again_may_get_a_greater_limit() {
        let judged = |limit| {
            let mut manifest = Manifest { command: "judge".to_owned(), limit, ..manifest() };
            let run = SourceRun { sha256: "00".to_owned(), model: Value::Null };
            manifest.input.run = Some(run);
            manifest
        };
        let lines = |ours: Option<u64>, theirs: Option<u64>| -> Vec<String> {
            let differences = judged(ours).difference(&judged(theirs));
            differences.iter().map(ToString::to_string).collect()
        };
        assert_eq!(lines(Some(1), None), [""; 0]);
        assert_eq!(lines(Some(1), Some(2)), [""; 0]);
        assert_eq!(lines(Some(2), Some(1)), ["limit: was 2, is 1"]);
        assert_eq!(lines(None, Some(1)), ["limit: was none, is 1"]);
    }

    #[test]
    fn a_manifest_survives_a_round_trip() {
        let text = manifest().to_json().unwrap();
        let back: Manifest = serde_json::from_str(&text).unwrap();
        assert_eq!(back, manifest());
        assert_eq!(manifest().difference(&back), []);
        assert_eq!(back.to_json().unwrap(), text);
    }

    #[test]
    fn speed_patch_version_and_file_names_may_differ() {
        let differences = differences(|other| {
            other.settings = json!({"threads": 64});
            other.amend = "0.1.9".to_owned();
            other.input.files = vec!["/elsewhere/prompts.jsonl".to_owned()];
        });
        assert_eq!(differences, "");
    }

    #[test]
    fn a_manifest_that_does_not_say_how_the_model_thinks_can_be_resumed() {
        let thinks = |value: Value| move |other: &mut Manifest| other.model["reasoning"] = value;
        assert_eq!(differences(thinks(json!({"open": "<think>"}))), "");
        let mut known = manifest();
        known.model["reasoning"] = Value::Null;
        assert_eq!(known.difference(&manifest()).len(), 1);
    }

    #[test]
    fn all_other_differences_are_reported() {
        let differences = differences(|other| {
            other.amend = "0.2.0".to_owned();
            other.model = json!({"name": "tiny"});
            let constitution = &mut other.constitution.value;
            constitution.plan.rounds = 2;
            constitution.sampling.revise.temperature = 0.8;
            constitution.principles[1].id = "honest".to_owned();
            constitution.principles.push(constitution.principles[0].clone());
            let template = other.templates.get_mut("critique.j2").unwrap();
            *template = Hashed::text(format!("{} {}", template.value, "Be thorough. ".repeat(9)));
            other.templates.insert("gate.j2".to_owned(), Hashed::text(String::new()));
            other.input = InputSummary::new(Vec::new(), &[item("a")]);
            other.limit = Some(3);
            other.seed = u64::MAX;
            other.fence = "0000".to_owned();
            other.fence_style = "none".to_owned();
            other.procedure = json!({"compare": {"principles": [1], "overall": false}});
            other.reproducible = true;
        });
        insta::assert_snapshot!(differences, @r#"
        amend: was "0.1", is "0.2"
        model.sha256: was "00ff", is absent
        constitution.loop.rounds: was 1, is 2
        constitution.principles[1].id: was "true", is "honest"
        constitution.principles[3]: was absent, is {"id":"kind","title":"kind","category":"manners","weight":0.…
        constitution.sampling.revise.temperature: was 0.7, is 0.8
        templates["critique.j2"]: was "Find fault with {{ answer }}.", is …t with {{ answer }}. Be thorough. Be thorough. Be thorough. …
        templates["gate.j2"]: was absent, is ""
        input.rows: was 2, is 1
        input.sha256: was "911169ddaaf146aff539f58c26c489af3b892dff0fe283c1c264c65ae5a…, is "87428fc522803d31065e7bce3cf03fe475096631e5e07bbd7a0fde60c4c…
        limit: was none, is 3
        seed: was 7, is 18446744073709551615
        fence: was "f3a9", is "0000"
        fence_style: was "delimiter", is "none"
        procedure.revise: was {"judging":true}, is absent
        procedure.compare: was absent, is {"principles":[1],"overall":false}
        reproducible: was false, is true
        "#);
    }

    #[test]
    fn the_constitution_is_recorded_with_the_shortest_numbers() {
        let constitution = amend_core::constitution::load("harmless").unwrap().constitution;
        let text = serde_json::to_string(&constitution).unwrap();
        assert!(text.contains("\"temperature\":0.8,"), "{text}");
        let value: Value = serde_json::from_str(&text).unwrap();
        let recorded = Hashed::constitution(constitution);
        assert_eq!(recorded.sha256, hash::sha256(text.as_bytes()));
        let manifest = Manifest { constitution: recorded, ..manifest() };
        let recorded: Value = serde_json::from_str(&manifest.to_json().unwrap()).unwrap();
        assert_eq!(recorded["constitution"]["value"], value);
    }

    #[test]
    fn a_manifest_of_another_version_is_read() {
        let mut value: Value = serde_json::from_str(&manifest().to_json().unwrap()).unwrap();
        let constitution = value["constitution"]["value"].as_object_mut().unwrap();
        for key in ["judge", "governance", "audit", "sampling"] {
            constitution.remove(key);
        }
        constitution.insert("later".to_owned(), json!({"key": 1}));
        let read: Manifest = serde_json::from_str(&value.to_string()).unwrap();
        assert_eq!(read.constitution.value.judge, Default::default());
        assert_eq!(read.constitution.value.principles, manifest().constitution.value.principles);
    }

    #[test]
    fn a_reproducible_run_needs_equal_settings() {
        let ours = Manifest { reproducible: true, ..manifest() };
        let settings = serde_json::json!({"threads": 99});
        let theirs = Manifest { settings, ..ours.clone() };
        assert!(ours.difference(&ours).is_empty());
        let differences = ours.difference(&theirs);
        let paths: Vec<&str> =
            differences.iter().map(|difference| difference.path.as_str()).collect();
        assert!(paths.contains(&"settings.threads"), "{paths:?}");
    }

    #[test]
    fn long_values_are_shortened_around_the_difference() {
        let long = "0123456789".repeat(20);
        let at = shorten(&format!("{long}x{long}"), 200);
        assert_eq!(at, format!("…{}x{}…", "0123456789".repeat(2), &long[..39]));
        assert_eq!(shorten(&long, 0), format!("{}…", "0123456789".repeat(6)));
        assert_eq!(shorten("short", 3), "short");
    }

    #[test]
    fn the_input_hash_depends_on_the_keys_and_their_order() {
        let hash = |keys: &[&str]| {
            let items: Vec<_> = keys.iter().map(|&key| item(key)).collect();
            InputSummary::new(Vec::new(), &items).sha256
        };
        // printf 'a\nb\n' | sha256sum
        assert_eq!(
            hash(&["a", "b"]),
            "911169ddaaf146aff539f58c26c489af3b892dff0fe283c1c264c65ae5aa59a2"
        );
        assert_ne!(hash(&["a", "b"]), hash(&["b", "a"]));
        assert_ne!(hash(&["ab"]), hash(&["a", "b"]));
    }
}
