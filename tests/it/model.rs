//! Which model the program runs: models of the Hugging Face Hub, from a small server that
//! answers as the Hub does; split models; and models with an adapter.

use std::process::Command;

use crate::common::hub::{Hub, HubFile, REPO};
use crate::common::{Place, tiny_model_path};
use amend_core::hash;
use amend_data::store::run_dir::RunDir;

/// A file of a repository with the content of a tiny model.
fn file(path: &str, model: &str) -> HubFile {
    let content = std::fs::read(tiny_model_path(model)).unwrap();
    HubFile { path: path.to_owned(), sha256: hash::sha256(&content), content }
}

fn hub() -> Hub {
    Hub::start(vec![file("tiny-Q4_K_M.gguf", "words"), file("tiny-Q8_0.gguf", "llama")])
}

/// The program with this server, and a cache of its own. AMEND_MODEL names another file.
fn with_hub(place: &Place, hub: &Hub, arguments: &str) -> Command {
    let mut command = place.small(arguments);
    command.env("HF_ENDPOINT", &hub.url).env("HF_HOME", place.path("hf"));
    command
}

#[test]
fn a_model_of_the_hub_is_downloaded_once_and_works_offline() {
    let (place, hub) = (Place::new(), hub());
    let line = format!("-hf {REPO} tea?");
    let ran = place.run(&mut with_hub(&place, &hub, &line));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(
        ran.err,
        "downloading tiny-Q4_K_M.gguf (230.59 KiB); if it is interrupted, run the command again\n"
    );
    assert!(!ran.out.trim().is_empty());
    assert_eq!(hub.requests().len(), 4);

    let again = place.run(&mut with_hub(&place, &hub, &line));
    assert_eq!((again.out.as_str(), again.err.as_str()), (ran.out.as_str(), ""));
    assert_eq!(hub.requests().len(), 2, "only the lists");

    let mut offline = with_hub(&place, &hub, &line);
    let offline = place.run(offline.env("HF_ENDPOINT", "http://127.0.0.1:1"));
    assert_eq!((offline.code, offline.out.as_str()), (Some(0), ran.out.as_str()));
    assert!(offline.err.contains("using org/tiny-GGUF from the cache"), "{}", offline.err);
}

#[test]
fn a_run_records_the_checksums_of_a_model_and_a_judge_of_the_hub() {
    let (place, hub) = (Place::new(), hub());
    place.write("prompts.txt", "tea?\n");
    let line = format!("run prompts.txt --out out -hf {REPO} --judge-hf-repo {REPO}:q8_0");
    let ran = place.run(&mut with_hub(&place, &hub, &line));
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    let run = RunDir::open(&place.path("out")).unwrap();
    let manifest = run.manifest();
    let checksum = |model| hash::sha256(&std::fs::read(tiny_model_path(model)).unwrap());
    assert_eq!(manifest.model["sha256"], checksum("words"));
    assert_eq!(manifest.judge_model.as_ref().unwrap()["sha256"], checksum("llama"));
    assert_eq!(manifest.settings["model_file"], "tiny-Q4_K_M.gguf");
}

#[test]
fn a_named_file_is_used_and_mistakes_are_reported() {
    let (place, hub) = (Place::new(), hub());
    let run = |line: &str| place.run(&mut with_hub(&place, &hub, line));
    let ran = run(&format!("render tea? -hf {REPO} -hff tiny-Q8_0.gguf"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.err.starts_with("downloading tiny-Q8_0.gguf"), "{}", ran.err);

    for (line, code, expected) in [
        (format!("-hf {REPO}:Q5_K_M tea?"), 3, "it has Q4_K_M, Q8_0"),
        ("-hf org/none tea?".to_owned(), 3, "check its name"),
        ("-hf none tea?".to_owned(), 2, "not of the form ORG/REPO"),
        (format!("-m x.gguf -hf {REPO} tea?"), 2, "-m and -hf both name a model"),
    ] {
        let ran = run(&line);
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(ran.err.contains(expected), "{}", ran.err);
    }
    hub.change(|answers| answers.refused = Some((401, "GatedRepo")));
    let ran = run(&format!("-hf {REPO} tea?"));
    assert!(ran.err.contains("set HF_TOKEN to an access token"), "{}", ran.err);
}

#[test]
fn a_run_with_an_adapter_is_resumed_with_it_alone() {
    let place = Place::new();
    place.write("prompts.txt", "tea?\n");
    std::fs::copy(tiny_model_path("lora"), place.path("lora.gguf")).unwrap();
    let run = |arguments: &str| {
        let mut command = place.small(&format!("run prompts.txt --out out {arguments}"));
        place.run(command.env("AMEND_MODEL", tiny_model_path("split-00001-of-00003")))
    };
    let ran = run("--lora lora.gguf:0.5");
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    let opened = RunDir::open(&place.path("out")).unwrap();
    let model = &opened.manifest().model;
    assert_eq!(model["lora"]["scale"], 0.5);
    assert_eq!(model["shards"].as_array().map(Vec::len), Some(3));
    let other = run("--resume");
    assert_eq!(other.code, Some(2), "{other:?}");
    assert!(other.err.contains("model.lora"), "{}", other.err);
    let same = run("--resume --lora lora.gguf:0.5");
    assert!(matches!(same.code, Some(0 | 1)), "{same:?}");
}

#[test]
fn what_changes_answers_is_refused_for_a_server_and_unused_flags_are_reported() {
    let place = Place::new();
    let ran = place.run(&mut place.small("-m http://localhost:1 --lora a.gguf tea?"));
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("--lora a.gguf has no effect on a server"), "{}", ran.err);
    let ran = place.run(&mut place.small("-m http://localhost:1 --chat-template a.jinja tea?"));
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("--chat-template a.jinja has no effect on a server"), "{}", ran.err);

    // The tests run builds without a GPU.
    let ran = place.run(&mut place.small("-ngl 99 -sm row -mg 1 -cmoe -ncmoe 2 -ot a=CPU tea?"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let flags = "-ngl, --split-mode, --main-gpu, --cpu-moe, --n-cpu-moe or --override-tensor";
    assert_eq!(ran.err.matches(&format!("no effect without a GPU: {flags}")).count(), 1);
    let ran = place.run(&mut place.small("-ngl auto tea?"));
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
}

/// The size of the KV cache is fixed, because its default depends on the machine's memory.
const FIXED: &str = "--no-measure --parallel 4 --ctx-size 4096";

#[test]
fn a_model_is_described_with_the_next_command() {
    let place = Place::new();
    for name in ["words", "mamba", "thinks", "plain"] {
        std::fs::copy(tiny_model_path(name), place.path(&format!("{name}.gguf"))).unwrap();
    }
    let describe = |line: &str| {
        let ran = place.run(&mut place.amend(&format!("model {line} {FIXED}")));
        assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
        let file = line.split_whitespace().find(|word| word.ends_with(".gguf")).unwrap();
        let next = format!("next: amend run PROMPTS.jsonl --out runs/mine -m {file}\n");
        assert_eq!(ran.err, next);
        ran.out
    };
    let all = ["words.gguf", "mamba.gguf", "-m thinks.gguf", "words.gguf --json"].map(describe);
    insta::assert_snapshot!("model-facts", all.join("\n"));
    let from_environment = place.run(&mut place.small(&format!("model {FIXED}")));
    assert_eq!(from_environment.out.lines().next(), all[0].lines().next());
}

#[test]
fn the_speed_of_a_model_is_measured() {
    let place = Place::new();
    let ran = place.run(&mut place.small("model --parallel 3 --json"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let described: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let speed = &described["speed"];
    assert_eq!(speed["parallel"], 3);
    for figure in ["prefill", "alone", "together"] {
        assert!(speed[figure].as_f64().unwrap() > 0.0, "{figure}: {speed}");
    }
    let ran = place.run(&mut place.small("model --parallel 3"));
    assert!(ran.out.contains("tokens/s"), "{}", ran.out);
}

#[test]
fn a_model_without_a_usable_chat_template_is_described_all_the_same() {
    let place = Place::new();
    let (key, other) = (b"tokenizer.chat_template", b"tokenizer.chat_nothing1");
    let mut content = std::fs::read(tiny_model_path("words")).unwrap();
    let at = content.windows(key.len()).position(|window| window == key).unwrap();
    content[at..at + key.len()].copy_from_slice(other);
    place.write("base.gguf", &content);
    place.write("broken.jinja", "{% if %}");
    for (line, expected) in [
        ("", "chat template    none: use the instruction-tuned version"),
        ("--chat-template broken.jinja", "chat template    not usable: "),
    ] {
        let ran = place.run(&mut place.amend(&format!("model base.gguf {line}")));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.out.contains(expected), "{}", ran.out);
        assert_eq!(ran.err, "next: amend model base.gguf --chat-template FILE\n");
    }
}

#[test]
fn a_file_that_is_no_model_is_refused_with_a_hint() {
    let place = Place::new();
    let content = std::fs::read(tiny_model_path("words")).unwrap();
    place.write("cut.gguf", &content[..content.len() / 2]);
    place.write("text.gguf", "no model");
    // Version 3, no tensors, one key: general.architecture = llama.
    let mut vocabulary = b"GGUF\x03\0\0\0".to_vec();
    vocabulary.extend([0_u64.to_le_bytes(), 1_u64.to_le_bytes()].concat());
    for text in ["general.architecture", "llama"] {
        vocabulary.extend((text.len() as u64).to_le_bytes());
        vocabulary.extend(text.bytes());
        if text != "llama" {
            vocabulary.extend(8_u32.to_le_bytes());
        }
    }
    place.write("vocabulary.gguf", &vocabulary);
    for (line, code, error, hint) in [
        ("nowhere.gguf", 3, "nowhere.gguf: no such file", "pass a GGUF file"),
        ("text.gguf", 3, "text.gguf: it is not a GGUF file", "pass a GGUF file"),
        ("cut.gguf", 3, "cut.gguf: llama.cpp rejected it", "the download is incomplete"),
        ("vocabulary.gguf", 3, "vocabulary.gguf: llama.cpp", "a vocabulary and no weights"),
        ("http://localhost:1", 2, "a server does not report", "amend model MODEL.gguf"),
        ("text.gguf -m other.gguf", 2, "text.gguf and -m both name a model", "only one"),
        ("", 2, "no model is given", "-m MODEL.gguf"),
    ] {
        let ran = place.run(&mut place.amend(&format!("model {line}")));
        assert_eq!((ran.code, ran.out.as_str()), (Some(code), ""), "{line}: {ran:?}");
        assert!(ran.err.contains(error) && ran.err.contains(hint), "{line}: {}", ran.err);
    }
}
