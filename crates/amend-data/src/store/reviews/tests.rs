use super::*;
use crate::testing::{manifest, review};

fn run(folder: &Path) -> RunDir {
    RunDir::create(folder, &manifest()).unwrap().dir().clone()
}

/// The error for a file with these lines.
fn read_error(folder: &Path, lines: &str) -> String {
    let run = RunDir::open(folder).unwrap();
    fs::write(folder.join(REVIEWS), lines).unwrap();
    let error = Reviews::read(&run).unwrap_err().to_string();
    assert_eq!(ReviewsWriter::open(&run).err().unwrap().to_string(), error);
    error.replace(&folder.display().to_string(), "DIR")
}

#[test]
fn reviews_are_added_undone_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    assert!(Reviews::read(&run).unwrap().is_empty());
    let mut writer = ReviewsWriter::open(&run).unwrap();
    writer.add(review("a", "ada", Choice::Left)).unwrap();
    writer.add(review("b", "ada", Choice::Tie)).unwrap();
    writer.add(review("b", "bob", Choice::Right)).unwrap();
    // Undoes the last review of ada, not the last review.
    assert_eq!(writer.undo("ada").unwrap().unwrap().key, "b");
    assert_eq!(writer.undo("eve").unwrap(), None);
    assert_eq!(writer.reviews(), &Reviews::read(&run).unwrap());
    drop(writer);

    let mut writer = ReviewsWriter::open(&run).unwrap();
    assert_eq!(writer.reviews().counter(), 4);
    let keys = |writer: &ReviewsWriter| -> Vec<String> {
        writer
            .reviews()
            .iter()
            .map(|review| format!("{} {}", review.key, review.reviewer))
            .collect()
    };
    assert_eq!(keys(&writer), ["a ada", "b bob"]);
    writer.undo("ada").unwrap();
    assert_eq!(writer.undo("ada").unwrap(), None);
    assert_eq!(keys(&writer), ["b bob"]);
    assert_eq!(fs::read_to_string(folder.path().join(REVIEWS)).unwrap().lines().count(), 5);
}

#[test]
fn a_line_has_what_was_shown_and_decided() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    let mut writer = ReviewsWriter::open(&run).unwrap();
    let before = utc(SystemTime::now());
    writer
        .add(Review {
            edited: Some("So:\nbetter".to_owned()),
            tags: vec!["tone".to_owned()],
            comment: "too long".to_owned(),
            ..review("a", "ada", Choice::Right)
        })
        .unwrap();
    writer.undo("ada").unwrap();
    let text = fs::read_to_string(folder.path().join(REVIEWS)).unwrap();
    let time = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        value["time"].as_str().unwrap().to_owned()
    };
    let times: Vec<String> = text.lines().map(time).collect();
    assert!(before <= times[0] && times[0] <= times[1], "{times:?}");
    assert_eq!(
        text.replace(&times[0], "T").replace(&times[1], "T"),
        "{\"n\":0,\"type\":\"review\",\"key\":\"a\",\"left\":1,\"right\":0,\
         \"choice\":\"right\",\"edited\":\"So:\\nbetter\",\"tags\":[\"tone\"],\
         \"comment\":\"too long\",\"reviewer\":\"ada\",\"time\":\"T\",\"seconds\":2.5}\n\
         {\"n\":1,\"type\":\"undo\",\"voids\":0,\"reviewer\":\"ada\",\"time\":\"T\"}\n"
    );
}

#[test]
fn a_partial_last_line_is_truncated() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    let mut writer = ReviewsWriter::open(&run).unwrap();
    writer.add(review("a", "ada", Choice::Left)).unwrap();
    writer.add(review("b", "ada", Choice::Left)).unwrap();
    drop(writer);
    let path = folder.path().join(REVIEWS);
    let whole = fs::read(&path).unwrap();
    let first = whole.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    for length in first..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(Reviews::read(&run).unwrap().counter(), 1);
        // A reader changes nothing.
        assert_eq!(fs::metadata(&path).unwrap().len(), length as u64);
        let mut writer = ReviewsWriter::open(&run).unwrap();
        writer.add(review("c", "ada", Choice::Tie)).unwrap();
        drop(writer);
        let keys: Vec<String> =
            Reviews::read(&run).unwrap().iter().map(|review| review.key.clone()).collect();
        assert_eq!(keys, ["a", "c"]);
    }
}

#[test]
fn invalid_lines_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    drop(RunDir::create(folder.path(), &manifest()).unwrap());
    let line = |n: u64| {
        let entry = Entry::Review(review("a", "ada", Choice::Left));
        serde_json::to_string(&Line { n, entry }).unwrap() + "\n"
    };
    let same = line(0).replace("\"left\":1", "\"left\":0");
    let undo = "{\"n\":0,\"type\":\"undo\",\"voids\":0,\"reviewer\":\"a\",\"time\":\"T\"}\n";
    for (lines, expected) in [
        (
            "[]\n".to_owned(),
            "DIR/reviews.jsonl:1 is not a review that this version of amend can read",
        ),
        (line(0) + "\n", "DIR/reviews.jsonl:2 is not a review that this version of amend can read"),
        (
            line(0) + &line(2),
            "DIR/reviews.jsonl:2 does not have the next line number: restore the file from a \
             copy, or delete the line",
        ),
        (
            same,
            "DIR/reviews.jsonl:1 compares a response with itself: restore the file from a copy, \
             or delete the line",
        ),
        (
            undo.to_owned(),
            "DIR/reviews.jsonl:1 undoes a review that does not exist: restore the file from a \
             copy, or delete the line",
        ),
    ] {
        assert_eq!(read_error(folder.path(), &lines), expected);
    }
}

#[test]
fn a_second_writer_is_rejected_and_the_run_can_resume() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    let writer = ReviewsWriter::open(&run).unwrap();
    let second = ReviewsWriter::open(&run).err().unwrap().to_string();
    let pid = std::process::id();
    let expected = format!("another amend process (pid {pid}) is writing to DIR/reviews.jsonl");
    assert!(
        second.replace(&folder.path().display().to_string(), "DIR").starts_with(&expected),
        "{second}"
    );
    assert!(RunDir::resume(folder.path(), &manifest()).is_ok());
    drop(writer);
    assert!(ReviewsWriter::open(&run).is_ok());
}

#[test]
fn a_majority_decides_and_an_even_vote_does_not() {
    use Choice::{BothBad, Left, Right, Tie};
    let decide = |votes: &[(&str, Choice, Option<&str>)]| {
        let mut reviews = Reviews::default();
        for (n, &(reviewer, choice, edited)) in (0..).zip(votes) {
            let edited = edited.map(str::to_owned);
            // Every second reviewer saw the responses in the other order.
            let shown = if n % 2 == 0 { (1, 0) } else { (0, 1) };
            let review =
                Review { edited, left: shown.0, right: shown.1, ..review("a", reviewer, choice) };
            reviews.apply(Line { n, entry: Entry::Review(review) }).unwrap();
        }
        let decision = reviews.decision("a", [0, 1]).unwrap();
        assert_eq!(reviews.decision("a", [1, 0]), Some(decision.clone()));
        (decision.opinion, decision.edited.map(str::to_owned), decision.reviewers.len())
    };
    let answer = |number| Some(Opinion::Answer(number));
    for (votes, expected) in [
        (&[("ada", Left, None)][..], (answer(1), None, 1)),
        (&[("ada", Left, Some("x")), ("bob", Right, None)], (answer(1), Some("x"), 2)),
        (&[("ada", Left, None), ("bob", Left, None)], (None, None, 2)),
        (
            &[("ada", Left, Some("x")), ("bob", Left, Some("y")), ("eve", Right, Some("z"))],
            (answer(0), Some("z"), 3),
        ),
        (&[("ada", Tie, None), ("bob", Tie, None)], (Some(Opinion::Tie), None, 2)),
        (&[("ada", BothBad, None)], (Some(Opinion::BothBad), None, 1)),
        // A reviewer has one vote: the last one.
        (&[("ada", Left, None), ("ada", Left, None)], (answer(0), None, 1)),
    ] {
        let (opinion, edited, count) = decide(votes);
        assert_eq!((opinion, edited.as_deref(), count), expected, "{votes:?}");
    }
    assert_eq!(Reviews::default().decision("a", [0, 1]), None);
}
