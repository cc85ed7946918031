use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::store::journal::Record;
use crate::store::manifest::{InputSummary, Manifest};
use crate::store::run_dir::{RunDir, RunError, RunWriter};
use crate::testing::{done, failed, item, manifest, retry, stepped};

/// A run in two shards, of which the first has the item a and the second b and c.
struct Run(TempDir);

impl Run {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// The input of the whole run.
    fn whole() -> InputSummary {
        InputSummary::new(vec!["prompts.jsonl".to_owned()], &[item("a"), item("b"), item("c")])
    }

    /// The manifest of a shard.
    fn manifest(index: u32) -> Manifest {
        let items = if index == 0 { vec![item("a")] } else { vec![item("b"), item("c")] };
        let input = InputSummary::new(vec!["prompts.jsonl".to_owned()], &items);
        Manifest { input, shard: Some(Shard::new(index, 2).unwrap()), ..manifest() }
    }

    fn plan(shard: Shard) -> ShardPlan {
        ShardPlan::new(shard, Self::whole(), Self::manifest(shard.index.min(1)))
    }

    /// Starts a shard with records.
    fn start(&self, index: u32, records: &[Record]) -> RunWriter {
        Self::plan(Shard::new(index, 2).unwrap()).agree(self.path()).unwrap();
        let folder = shard_folder(self.path(), index);
        let mut writer = RunDir::create(&folder, &Self::manifest(index)).unwrap();
        for record in records {
            writer.append(record).unwrap();
        }
        writer
    }

    /// Writes the done file of a shard.
    fn end(&self, index: u32, done: u64, failed: u64) {
        let folder = shard_folder(self.path(), index);
        let bytes = fs::metadata(folder.join("journal.jsonl")).unwrap().len();
        let sha256 = String::new();
        Done { items: done + failed, done, failed, records: 0, bytes, sha256 }
            .write(&folder)
            .unwrap();
    }

    /// The keys of the items that have ended, in order.
    fn keys(&self) -> Vec<String> {
        keys(self.path())
    }

    fn states(&self) -> Vec<ShardState> {
        let status = RunStatus::read(self.path()).unwrap().unwrap();
        status.shards.iter().map(|shard| shard.state).collect()
    }
}

fn keys(run: &Path) -> Vec<String> {
    let run = RunDir::open(run).unwrap();
    run.trajectories().unwrap().map(|next| next.unwrap().item.key).collect()
}

/// An error without the path of the run.
fn message(run: &Run, error: &RunError) -> String {
    error.to_string().replace(&run.path().display().to_string(), "RUN")
}

#[test]
fn shards_are_parsed_or_refused_with_a_reason() {
    let read = |text: &str| text.parse::<Shard>().map_err(|error| error.to_string());
    assert_eq!(read("3/64").unwrap(), Shard { index: 3, count: 64, by: ShardBy::Key });
    for (text, expected) in [
        ("3", "\"3\" is not I/N: write for example 0/64, the first of 64 shards"),
        ("a/b", "\"a/b\" is not I/N: write for example 0/64, the first of 64 shards"),
        ("64/64", "there is no shard 64 of 64: shards are numbered from 0 to 63"),
        ("0/0", "0 is not a number of shards: it must be from 1 to 100000"),
    ] {
        assert_eq!(read(text).unwrap_err(), expected);
    }
}

#[test]
fn files_are_spread_by_size_and_every_shard_gets_one() {
    assert_eq!(Shard::of_files(2, &[5, 90, 40, 60]), [0, 0, 1, 1]);
    assert_eq!(Shard::of_files(3, &[0, 0, 0]), [0, 1, 2]);
    let mut shards = Shard::of_files(5, &[7; 23]);
    shards.sort_unstable();
    shards.dedup();
    assert_eq!(shards, [0, 1, 2, 3, 4]);
}

#[test]
fn a_sharded_run_is_read_as_a_single_one() {
    let run = Run::new();
    drop(run.start(1, &[done("b"), failed("c"), retry("c"), stepped("c", "x"), done("c")]));
    assert_eq!(run.keys(), ["b", "c"]);
    drop(run.start(0, &[stepped("a", "x"), done("a")]));
    assert_eq!(run.keys(), ["a", "b", "c"]);
    let dir = RunDir::open(run.path()).unwrap();
    assert_eq!(dir.manifest().input, Run::whole());
    assert_eq!(dir.manifest().shard, None);
    let steps: Vec<usize> =
        dir.trajectories().unwrap().map(|next| next.unwrap().steps.len()).collect();
    assert_eq!(steps, [1, 0, 1], "steps stay with their item");
    // Each shard is a run of its own.
    assert_eq!(keys(&shard_folder(run.path(), 1)), ["b", "c"]);
    // An output must not replace a journal.
    let journal = shard_folder(run.path(), 1).join("journal.jsonl");
    assert!(matches!(dir.check_output(&journal), Err(RunError::Record { .. })));
    assert!(matches!(
        dir.check_output(&run.path().join("plan.json")),
        Err(RunError::Record { .. })
    ));
}

#[test]
fn another_plan_is_refused_by_name() {
    let run = Run::new();
    drop(run.start(0, &[]));
    let refused = |plan: ShardPlan| message(&run, &plan.agree(run.path()).unwrap_err());
    let shard = Shard::new(1, 2).unwrap();
    let plan = || Run::plan(shard);
    let with = |change: fn(&mut Manifest)| {
        let mut plan = plan();
        change(&mut plan.manifest);
        refused(plan)
    };
    for (error, expected) in [
        (refused(Run::plan(Shard::new(1, 3).unwrap())), "shards: was 2, is 3"),
        (refused(Run::plan(Shard { by: ShardBy::File, ..shard })), "by: was key, is file"),
        (with(|manifest| manifest.seed = 8), "seed: was 7, is 8"),
        (with(|manifest| manifest.input.rows = 4), "input.rows: was 3, is 4"),
        (with(|manifest| manifest.model["sha256"] = "11".into()), "model.sha256: was \"00ff\""),
        (with(|manifest| manifest.constitution.value.plan.rounds = 9), "constitution.loop.rounds"),
        (with(|manifest| manifest.templates.clear()), "templates[\"critique.j2\"]"),
    ] {
        assert!(error.contains(expected), "{error}");
        assert!(error.starts_with("the run in RUN was started with another configuration"));
    }
    plan().agree(run.path()).unwrap();
}

#[test]
fn of_shards_that_start_together_one_writes_the_plan() {
    for _ in 0..20 {
        let run = Run::new();
        let agreed: Vec<bool> = std::thread::scope(|scope| {
            let start = |seed: u64| {
                let run = run.path();
                scope.spawn(move || {
                    let mut plan = Run::plan(Shard::new(0, 2).unwrap());
                    plan.manifest.seed = seed;
                    plan.agree(run).is_ok()
                })
            };
            let shards: Vec<_> = [1, 2, 1, 2].map(start).into_iter().collect();
            shards.into_iter().map(|shard| shard.join().unwrap()).collect()
        });
        let seed = ShardPlan::read(run.path()).unwrap().unwrap().manifest.seed;
        assert_eq!(agreed, [seed == 1, seed == 2, seed == 1, seed == 2]);
    }
}

#[test]
fn a_folder_that_is_no_shard_of_the_run_is_refused() {
    let run = Run::new();
    drop(run.start(0, &[done("a")]));
    // The same shard, copied under another number.
    let copy = shard_folder(run.path(), 1);
    fs::create_dir(&copy).unwrap();
    for name in ["manifest.json", "journal.jsonl"] {
        fs::copy(shard_folder(run.path(), 0).join(name), copy.join(name)).unwrap();
    }
    let error = message(&run, &RunDir::open(run.path()).unwrap_err());
    assert!(error.starts_with("RUN/shards/00001 is not a shard of the run in RUN"), "{error}");
    assert!(error.contains("shard.index: was 1, is 0"), "{error}");
    fs::rename(&copy, shard_folder(run.path(), 2)).unwrap();
    let error = message(&run, &RunDir::open(run.path()).unwrap_err());
    assert_eq!(
        error,
        "RUN/shards/00002 is not a shard of the run in RUN, which has fewer: remove it"
    );
    fs::remove_dir_all(shard_folder(run.path(), 2)).unwrap();
    fs::remove_file(run.path().join("plan.json")).unwrap();
    let error = message(&run, &RunDir::open(run.path()).unwrap_err());
    assert!(error.starts_with("RUN holds shards, but no plan.json"), "{error}");
    // Nor may a shard of another plan start beside them.
    let other = Run::plan(Shard::new(2, 8).unwrap()).agree(run.path());
    assert!(matches!(other, Err(RunError::NoPlan { .. })), "{other:?}");
}

#[test]
fn a_folder_holds_a_run_or_shards_and_never_both() {
    let run = Run::new();
    drop(run.start(0, &[]));
    let whole = RunDir::create(run.path(), &manifest()).map(drop);
    assert!(matches!(whole, Err(RunError::Sharded { .. } | RunError::NotEmpty { .. })));
    assert!(matches!(RunDir::check_vacant(run.path()), Err(RunError::Sharded { .. })));
    let resumed = RunDir::resume(run.path(), &manifest()).map(drop);
    assert!(matches!(resumed, Err(RunError::Sharded { .. })));
    let single = Run::new();
    drop(RunDir::create(single.path(), &manifest()).unwrap());
    let plan = Run::plan(Shard::new(0, 2).unwrap()).agree(single.path());
    assert!(matches!(plan, Err(RunError::Whole { .. })), "{plan:?}");
    let other = Run::new();
    fs::write(other.path().join("notes.txt"), "").unwrap();
    let plan = Run::plan(Shard::new(0, 2).unwrap()).agree(other.path());
    assert!(matches!(plan, Err(RunError::NotEmpty { .. })), "{plan:?}");
}

#[test]
fn the_state_of_a_shard_follows_its_lock_and_its_done_file() {
    use ShardState::{Done, Missing, Running, Stale};
    let run = Run::new();
    let writer = run.start(0, &[stepped("a", "x")]);
    assert_eq!(run.states(), [Running, Missing]);
    drop(writer);
    assert_eq!(run.states(), [Stale, Missing]);
    drop(run.start(1, &[done("b"), failed("c")]));
    run.end(1, 1, 1);
    assert_eq!(run.states(), [Stale, Done]);
    let status = RunStatus::read(run.path()).unwrap().unwrap();
    assert_eq!((status.items, status.ended(), status.array()), (Some(3), (1, 1), "0".to_owned()));
    assert!(status.rates().0.is_sign_positive(), "no shard runs, so the rate is 0 and not -0");
    // An incomplete copy is not done.
    let journal = shard_folder(run.path(), 1).join("journal.jsonl");
    let bytes = fs::read(&journal).unwrap();
    fs::write(&journal, &bytes[..bytes.len() - 5]).unwrap();
    assert_eq!(run.states(), [Stale, Stale]);
}

#[test]
fn the_shards_to_do_are_written_as_slurm_writes_them() {
    let array = |states: &str| {
        let shards = states.chars().enumerate().map(|(shard, state)| ShardStatus {
            state: match state {
                'd' => ShardState::Done,
                'r' => ShardState::Running,
                's' => ShardState::Stale,
                _ => ShardState::Missing,
            },
            ..ShardStatus::missing(shard as u32)
        });
        RunStatus { items: None, shards: shards.collect() }.array()
    };
    assert_eq!(array("dddr"), "");
    assert_eq!(array("mdsmdsmsm"), "0,2,3,5-8");
}

#[test]
fn merged_shards_are_one_run() {
    let run = Run::new();
    let out = run.path().join("merged");
    drop(run.start(0, &[stepped("a", "x"), done("a")]));
    drop(run.start(1, &[failed("b"), retry("b"), stepped("b", "y"), done("b"), failed("c")]));
    let error = merge(run.path(), &out, false).unwrap_err().to_string();
    assert!(error.ends_with("is not complete: 2 of its 2 shards are not done"), "{error}");
    assert!(!out.exists());
    run.end(0, 1, 0);
    run.end(1, 1, 1);
    let merged = merge(run.path(), &out, false).unwrap();
    assert_eq!(merged, Merged { records: 7, done: 2, failed: 1, has_verdicts: false });
    assert_eq!(keys(&out), ["a", "b", "c"]);
    let dir = RunDir::open(&out).unwrap();
    assert!(!dir.is_sharded());
    // It can be continued like a run that never was in shards.
    let whole = Manifest { input: Run::whole(), ..manifest() };
    assert!(dir.manifest().difference(&whole).is_empty());
    let read = |run: &Path| -> Vec<_> {
        RunDir::open(run).unwrap().trajectories().unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(read(&out), read(run.path()));
    assert!(matches!(merge(&out, run.path(), false), Err(MergeError::NotSharded { .. })));
    assert!(matches!(
        merge(run.path(), &out, false),
        Err(MergeError::Run(RunError::HoldsRun { .. }))
    ));
}

#[test]
fn an_item_in_two_shards_is_not_merged() {
    let run = Run::new();
    drop(run.start(0, &[done("a")]));
    drop(run.start(1, &[done("a")]));
    let out = run.path().join("merged");
    let error = merge(run.path(), &out, true).unwrap_err().to_string();
    assert!(error.contains("item a has already ended"), "{error}");
    assert!(!RunDir::exists(&out));
}
