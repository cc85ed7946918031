use serde_json::json;

use super::*;
use amend_core::chat::{Message, Role};

const JSON: Option<Format> = Some(Format::Json { guessed: false });
const PLAIN: Option<Format> = Some(Format::Plain);

fn read_bytes(
    format: Option<Format>,
    field: Option<&str>,
    bytes: &[u8],
) -> Result<Vec<Item>, InputErrors> {
    let mut reader = Reader::new(prompts(field), 200, 50);
    reader.source("in", format, bytes);
    reader.finish()
}

/// A short form of an item: `role: content` for each turn, then `=> response`.
fn short(item: &Item) -> String {
    let mut lines: Vec<_> =
        item.messages.iter().map(|m| format!("{}: {}", m.role.as_str(), m.content)).collect();
    lines.extend(item.response.iter().map(|response| format!("=> {response}")));
    lines.join("\n")
}

#[test]
fn rows_are_read_in_every_form() {
    let turns = r#"[{"role":"system","content":"S"},{"role":"user","content":"U"}]"#;
    let answered = r#"[{"role":"user","content":"U"},{"role":"assistant","content":"A"}]"#;
    let cases: &[(&str, &str)] = &[
        (r#""a \"b\" é""#, "user: a \"b\" é"),
        (r#"{"prompt":"p"}"#, "user: p"),
        (r#"{"prompt":" kept as it is\n"}"#, "user:  kept as it is\n"),
        (r#"{"question":"q","text":"t"}"#, "user: q"),
        (r#"{"query":"q"}"#, "user: q"),
        (r#"{"content":"c"}"#, "user: c"),
        (r#"{"prompt":null,"text":"t"}"#, "user: t"),
        (r#"{"instruction":"Sum up.","input":"Long."}"#, "user: Sum up.\n\nLong."),
        (r#"{"instruction":"Sum up.","input":""}"#, "user: Sum up."),
        (r#"{"input":"i"}"#, "user: i"),
        (r#"{"prompt":"p","response":"r"}"#, "user: p\n=> r"),
        (r#"{"prompt":"p","answer":"a","completion":"c"}"#, "user: p\n=> a"),
        (r#"{"prompt":"p","response":"","completion":"c"}"#, "user: p\n=> c"),
        (r#"{"prompt":"p","response":null}"#, "user: p"),
        (r#"{"prompt":"p","completion":[{"role":"assistant","content":"c"}]}"#, "user: p\n=> c"),
        (&format!(r#"{{"messages":{turns}}}"#), "system: S\nuser: U"),
        (&format!(r#"{{"prompt":{turns},"response":"R"}}"#), "system: S\nuser: U\n=> R"),
        (&format!(r#"{{"messages":{answered}}}"#), "user: U\n=> A"),
        (&format!(r#"{{"messages":{answered},"answer":"gold"}}"#), "user: U\n=> A"),
        (&format!(r#"{{"messages":{turns},"prompt":"p"}}"#), "system: S\nuser: U"),
    ];
    for (line, expected) in cases {
        let items = read_bytes(JSON, None, line.as_bytes()).unwrap();
        assert_eq!(items.iter().map(short).collect::<Vec<_>>(), [*expected], "{line}");
    }
}

/// Reads a conversation and writes its turns as they are sent.
fn turns(messages: &str) -> String {
    let line = format!(r#"{{"messages":{messages}}}"#);
    serde_json::to_string(&row::json(&line, None, false).unwrap().messages).unwrap()
}

#[test]
fn thoughts_and_tool_calls_are_kept() {
    let user = r#"{"role":"user","content":"u"}"#;
    for (assistant, kept) in [
        (
            r#"{"role":"assistant","content":"a","thinking":"t","name":"n"}"#,
            r#"{"role":"assistant","content":"a","reasoning_content":"t"}"#,
        ),
        (
            r#"{"role":"assistant","content":"a","reasoning_content":"t","reasoning":"r"}"#,
            r#"{"role":"assistant","content":"a","reasoning_content":"t"}"#,
        ),
        (
            r#"{"role":"assistant","content":"<think>t</think>a","reasoning":" ","tool_calls":[]}"#,
            r#"{"role":"assistant","content":"<think>t</think>a"}"#,
        ),
    ] {
        let turns = turns(&format!("[{user},{assistant},{user}]"));
        assert_eq!(turns, format!("[{user},{kept},{user}]"));
    }
    let developer = r#"{"role":"developer","content":"d"}"#;
    let call =
        r#"{"role":"assistant","content":"","tool_calls":[{"id":"1","function":{"name":"f"}}]}"#;
    let results = r#"{"role":"tool","content":"r","name":"f","tool_call_id":"1"},{"role":"tool","content":""}"#;
    let conversation = format!("[{developer},{user},{call},{results}]");
    assert_eq!(turns(&conversation), conversation);
    assert_eq!(
        turns(&conversation.replace(r#""content":"","tool_c"#, r#""content":null,"tool_c"#)),
        conversation
    );
}

#[test]
fn the_first_row_decides_whether_rows_are_comparisons() {
    let read = |text: &str| {
        let mut reader = Reader::new(either(None, Stream::new(0)), 200, 50);
        reader.source("in", None, text.as_bytes());
        reader.finish()
    };
    let pair = r#"{"prompt":"p","a":"x","b":"y"}"#;
    let items = read(&format!("\u{feff}\n{pair}\n{pair}\n")).unwrap();
    let responses_b: Vec<_> = items.iter().map(|item| item.response_b.as_deref()).collect();
    assert_eq!(responses_b, [Some("y"); 2]);
    let mixed = read(&format!("{pair}\n\"p\"\n")).unwrap_err();
    assert_eq!(mixed.to_string(), "in:2: a row must be a JSON string or object, not a string");
    // After a first row without responses, all rows are prompts.
    let items = read(&format!("{{\"prompt\":\"p\",\"a\":null}}\n{pair}\n")).unwrap();
    assert!(items.iter().all(|item| item.response_b.is_none()), "{items:?}");
    assert_eq!(read("one\ntwo\n").unwrap().len(), 2);
}

#[test]
fn a_named_field_takes_precedence() {
    for (line, field, expected) in [
        (r#"{"prompt":"p","task":"t"}"#, "task", "user: t"),
        (r#"{"messages":[],"response":"r"}"#, "response", "user: r"),
        (r#"{"instruction":"a","input":"b"}"#, "instruction", "user: a"),
        (r#"{"dialogue":[{"role":"user","content":"U"}]}"#, "dialogue", "user: U"),
    ] {
        let items = read_bytes(JSON, Some(field), line.as_bytes()).unwrap();
        assert_eq!(items.iter().map(short).collect::<Vec<_>>(), [expected], "{line}");
    }
}

#[test]
fn id_and_metadata_are_kept_in_order() {
    let line = br#"{"z":1,"id":42,"prompt":"p","a":{"b":[0.1,null]},"response":"r","m":"x"}"#;
    let items = read_bytes(JSON, None, line).unwrap();
    let expected = Item {
        key: Keys::default().next(&[Message::new(Role::User, "p")], Some("r"), None),
        row: 1,
        id: Some("42".to_owned()),
        messages: vec![Message::new(Role::User, "p")],
        response: Some("r".to_owned()),
        response_b: None,
        metadata: json!({"z": 1, "a": {"b": [0.1, null]}, "m": "x"}).as_object().unwrap().clone(),
    };
    assert_eq!(items, [expected]);
    assert!(items[0].metadata.keys().eq(["z", "a", "m"]));

    let ids = br#"{"id":"x","prompt":"p"}
        {"id":null,"prompt":"p"}
        {"prompt":"p"}"#;
    let items = read_bytes(JSON, None, ids).unwrap();
    assert_eq!(
        items.iter().map(|item| item.id.as_deref()).collect::<Vec<_>>(),
        [Some("x"), None, None]
    );
}

#[test]
fn the_format_depends_on_the_name_then_the_first_row() {
    for (name, expected) in [
        ("a.jsonl", JSON),
        ("a.JSON", JSON),
        ("a.b.ndjson", JSON),
        ("a.txt", PLAIN),
        ("a.csv", None),
        ("jsonl", None),
    ] {
        assert_eq!(Format::from_name(Path::new(name)), expected, "{name}");
    }
    let cases: &[(Option<Format>, &str, &[&str])] = &[
        (None, "\n {\"prompt\":\"p\"}\n\"q\"\n", &["user: p", "user: q"]),
        (None, "Why?\n{\"prompt\":\"p\"}\n", &["user: Why?", "user: {\"prompt\":\"p\"}"]),
        (None, "[1]", &["user: [1]"]),
        (PLAIN, "\"quoted\"", &["user: \"quoted\""]),
        (
            PLAIN,
            "\u{feff}one\r\n\r\n  \t\r\n two \r\nthree",
            &["user: one", "user: two", "user: three"],
        ),
        (JSON, "\u{feff}\"one\"\r\n\r\n\"two\"\r\n", &["user: one", "user: two"]),
        (None, "\u{feff}\"one\"", &["user: one"]),
    ];
    for (format, text, expected) in cases {
        let items = read_bytes(*format, None, text.as_bytes()).unwrap();
        assert_eq!(items.iter().map(short).collect::<Vec<_>>(), *expected, "{text:?}");
    }
}

#[test]
fn rows_and_repeats_are_counted_across_inputs() {
    let mut reader = Reader::new(prompts(None), 200, 50);
    reader.source("a", PLAIN, &b"x\ny\nx"[..]);
    reader.source("b", JSON, &b"\"x\""[..]);
    let items = reader.finish().unwrap();
    assert_eq!(items.iter().map(|item| item.row).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(items[2].key, format!("{}-2", items[0].key));
    assert_eq!(items[3].key, format!("{}-3", items[0].key));
}

#[test]
fn errors_say_what_is_wrong_with_a_row() {
    let deep = format!(r#"{{"prompt":"p","deep":{}1{}}}"#, "[".repeat(65), "]".repeat(65));
    let long = format!("\"{}\"", "x".repeat(199));
    let cases: &[(Option<Format>, &[u8], &str)] = &[
        (JSON, b"", "in: the file has no rows: write one prompt per line"),
        (PLAIN, b"\n \r\n", "in: the file has no rows: write one prompt per line"),
        (JSON, b"{\"prompt\":}", "in:1: invalid JSON at column 11: expected value"),
        (JSON, b"\"a\"\nWhy?", "in:2: invalid JSON at column 1: expected value"),
        (JSON, b"\"\\ud800\"", "in:1: invalid JSON at column 8: unexpected end of hex escape"),
        (
            None,
            b"\"Why\" is a word?",
            "in:1: invalid JSON at column 7: trailing characters (the first row looks like JSON \
             lines; for plain text, name the file .txt)",
        ),
        (
            PLAIN,
            b"ab\xffc",
            "in:1: invalid UTF-8 at byte 3 of the row: convert the file with iconv -t UTF-8",
        ),
        (JSON, b"7", "in:1: a row must be a JSON string or object, not a number"),
        (JSON, b"null", "in:1: a row must be a JSON string or object, not null"),
        (
            JSON,
            b"[\n\"a\",\n\"b\"\n]",
            "in:1: a row can't be an array: write each value on its own line (jq -c '.[]' FILE)",
        ),
        (JSON, b"\" \"", "in:1: the string is blank: fill it in, or remove the row"),
        (JSON, br#"{"prompt":"\n"}"#, "in:1: \"prompt\" is blank: fill it in, or remove the row"),
        (
            JSON,
            br#"{"title":"x","body":"y"}"#,
            "in:1: no prompt among the keys \"title\", \"body\": name its key with --field KEY",
        ),
        (JSON, b"{}", "in:1: no prompt among the keys (none): name its key with --field KEY"),
        (
            JSON,
            br#"{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"k":1,"l":1,"m":1}"#,
            "in:1: no prompt among the keys \"a\", \"b\", \"c\", \"d\", \"e\", \"f\", \"g\", \"h\", \
             \"i\", \"j\", \"k\", \"l\", …: name its key with --field KEY",
        ),
        (
            JSON,
            br#"{"prompt":3}"#,
            "in:1: \"prompt\" must be a string or a list of messages, not a number",
        ),
        (
            JSON,
            br#"{"prompt":"p","response":{"a":1}}"#,
            "in:1: \"response\" must be a string or one assistant's turn, not an object",
        ),
        (
            JSON,
            br#"{"prompt":"p","id":[1]}"#,
            "in:1: \"id\" must be a string or a number, not an array",
        ),
        (
            JSON,
            br#"{"messages":[]}"#,
            "in:1: the conversation has no user turn: add one to respond to",
        ),
        (
            JSON,
            br#"{"messages":[{"role":"system","content":"s"}]}"#,
            "in:1: the conversation has no user turn: add one to respond to",
        ),
        (
            JSON,
            br#"{"messages":[{"role":"user","content":"u"},"x"]}"#,
            "in:1: turn 2 must be an object with the strings \"role\" and \"content\"",
        ),
        (
            JSON,
            br#"{"messages":[{"role":"user","content":null}]}"#,
            "in:1: turn 1 must be an object with the strings \"role\" and \"content\"",
        ),
        (
            JSON,
            br#"{"messages":[{"role":"human","content":"u"}]}"#,
            "in:1: turn 1 has the role \"human\": use \"system\", \"developer\", \
             \"user\", \"assistant\" or \"tool\"",
        ),
        (
            JSON,
            br#"{"messages":[{"role":"user","content":" "}]}"#,
            "in:1: turn 1 is blank: fill it in, or remove it",
        ),
        (
            JSON,
            br#"{"messages":[{"role":"assistant","content":"a"}]}"#,
            "in:1: turn 1 has the role \"assistant\", expected \"user\": after an optional system \
             turn, user and assistant must alternate, starting with the user, and tool turns must \
             follow the assistant's tool calls",
        ),
        (
            JSON,
            br#"{"messages":[{"role":"user","content":"a"},{"role":"user","content":"b"}]}"#,
            "in:1: turn 2 has the role \"user\", expected \"assistant\": after an optional system \
             turn, user and assistant must alternate, starting with the user, and tool turns must \
             follow the assistant's tool calls",
        ),
        (
            JSON,
            br#"{"messages":[{"role":"user","content":"a"},{"role":"system","content":"b"}]}"#,
            "in:1: turn 2 has the role \"system\", expected \"assistant\": after an optional system \
             turn, user and assistant must alternate, starting with the user, and tool turns must \
             follow the assistant's tool calls",
        ),
        (
            JSON,
            br#"{"messages":[{"role":"user","content":"a"},{"role":"tool","content":"b"}]}"#,
            "in:1: turn 2 has the role \"tool\", expected \"assistant\": after an optional system \
             turn, user and assistant must alternate, starting with the user, and tool turns must \
             follow the assistant's tool calls",
        ),
        (
            JSON,
            br#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","tool_calls":[{}]}]}"#,
            "in:1: the conversation ends with a tool call: add the tool's turn, or remove the call",
        ),
        (
            JSON,
            br#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","tool_calls":"c"}]}"#,
            "in:1: \"tool_calls\" of turn 2 must be a list of objects",
        ),
        (
            JSON,
            br#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","thinking":1}]}"#,
            "in:1: \"thinking\" of turn 2 must be a string",
        ),
        (
            JSON,
            deep.as_bytes(),
            "in:1: \"deep\" is nested more than 64 levels deep: flatten it, or remove it",
        ),
        (
            JSON,
            long.as_bytes(),
            "in:1: the line is longer than 200 bytes: shorten the row, and write one row per line",
        ),
    ];
    for (format, bytes, expected) in cases {
        let message = read_bytes(*format, None, bytes).unwrap_err().to_string();
        assert_eq!(message, *expected, "{}", String::from_utf8_lossy(bytes));
    }
    let message = read_bytes(JSON, Some("q"), br#"{"prompt":"p"}"#).unwrap_err().to_string();
    assert_eq!(
        message,
        "in:1: no key \"q\" among the keys \"prompt\": name another key with --field KEY"
    );
}

#[test]
fn every_bad_row_is_reported() {
    let text = b"\"fine\"\n1\n\n{\"x\":1}\n\"fine\"\nnope\n";
    assert_eq!(
        read_bytes(JSON, None, text).unwrap_err().to_string(),
        "in:2: a row must be a JSON string or object, not a number\n\
         in:4: no prompt among the keys \"x\": name its key with --field KEY\n\
         in:6: invalid JSON at column 2: expected ident"
    );
}

#[test]
fn many_bad_rows_keep_the_first_errors_and_a_count() {
    let mut reader = Reader::new(prompts(None), 200, 5000);
    reader.source("in", JSON, &b"\"fine\"\n1\n".repeat(2000)[..]);
    let errors = reader.finish().unwrap_err();
    assert_eq!((errors.first.len(), errors.more), (20, 1980));
    let shown = errors.to_string();
    assert_eq!(shown.lines().count(), 21);
    assert!(shown.starts_with("in:2: "), "{shown}");
    assert!(shown.contains("\nin:40: "), "{shown}");
    assert!(shown.ends_with("not a number\n… and 1980 more"), "{shown}");
}

#[test]
fn lines_and_rows_are_bounded() {
    // A line of exactly the limit is read, and so is one after a longer line.
    let text = format!("{}\n{}\nok\n{}", "a".repeat(200), "b".repeat(10_000), "c".repeat(201));
    let errors = read_bytes(PLAIN, None, text.as_bytes()).unwrap_err();
    assert_eq!(errors.first.iter().map(|error| error.line).collect::<Vec<_>>(), [Some(2), Some(4)]);

    assert_eq!(read_bytes(PLAIN, None, &b"x\n".repeat(50)).unwrap().len(), 50);
    assert_eq!(
        read_bytes(PLAIN, None, &b"x\n".repeat(99)).unwrap_err().to_string(),
        "in:51: the input has more than 50 rows: split it into several runs"
    );
}

#[test]
fn unreadable_files_are_reported_with_other_errors() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good.txt");
    let big = folder.path().join("big.jsonl");
    std::fs::write(&good, "Why?\n").unwrap();
    std::fs::write(&big, format!("\"{}\"\n", "x".repeat(10 << 20))).unwrap();
    let missing = folder.path().join("missing.jsonl");
    let inputs = [&good, &missing, &big].map(|path| Input::from(path.clone()));
    let shown = read(&inputs, None).unwrap_err().to_string();
    let shown = shown.replace(&folder.path().display().to_string(), "DIR");
    let (first, second) = shown.split_once('\n').unwrap();
    assert!(first.starts_with("DIR/missing.jsonl: failed to open: "), "{first}");
    assert_eq!(
        second,
        "DIR/big.jsonl:1: the line is longer than 8388608 bytes: shorten the row, and write one row \
         per line"
    );
    assert_eq!(read(&inputs[..1], None).unwrap().len(), 1);
    assert!(read(&[Input::from(folder.path().to_owned())], None).is_err());
}

#[test]
fn a_dash_means_standard_input() {
    assert_eq!(Input::from(PathBuf::from("-")), Input::Stdin);
    assert_eq!(Input::from(PathBuf::from("./-")), Input::Path(PathBuf::from("./-")));
}
