//! Models of several files: split models, and models with a LoRA adapter; and the placement
//! of their weights.

use std::path::{Path, PathBuf};

use amend_core::hash;
use amend_core::model::Engine;
use amend_engine::llama::{CpuTensors, GpuLayers, Llama, LlamaSettings, Lora, Model, SplitMode};
use serde_json::{Value, json};

use crate::engine::{ask, drain, greedy, settings, texts};
use crate::gpu;
use crate::models::tiny_model_path;

const SHARDS: [&str; 3] = ["split-00001-of-00003", "split-00002-of-00003", "split-00003-of-00003"];

/// What the model answers, and how it describes itself.
fn answer(path: &Path, settings: &LlamaSettings) -> (Vec<String>, Value) {
    let model = Model::load(path, settings).unwrap();
    let mut engine = Llama::new(&model, settings).unwrap();
    engine.submit(ask(1, "Why is the sky blue?", greedy(24)));
    let texts = texts(&drain(&mut engine));
    (texts, engine.describe().unwrap().model)
}

/// The message and hint of the error of loading a model.
fn error(path: &Path, settings: &LlamaSettings) -> String {
    let error = Model::load(path, settings).err().expect("must fail");
    format!("{error}; {}", error.hint.as_deref().unwrap_or_default())
}

fn sha256(path: &Path) -> String {
    hash::sha256(&std::fs::read(path).unwrap())
}

#[test]
fn a_split_model_is_the_whole_model_and_every_shard_is_in_its_hash() {
    let [first, second, third] = SHARDS.map(tiny_model_path);
    let (whole, whole_model) = answer(&tiny_model_path("llama"), &settings());
    let (split, split_model) = answer(&first, &settings());
    assert_eq!(split, whole);
    let shards = [&first, &second, &third].map(|shard| sha256(shard));
    let lines: String = shards.iter().map(|shard| format!("{shard}\n")).collect();
    assert_eq!(split_model["sha256"], hash::sha256(lines.as_bytes()));
    assert_eq!(split_model["shards"], json!(shards));
    assert_eq!(split_model["bytes"], whole_model["bytes"]);
    assert_eq!(whole_model["sha256"], sha256(&tiny_model_path("llama")));
    assert_eq!(whole_model.get("shards"), None);

    let model = Model::load(&first, &settings()).unwrap();
    let size = |path: &PathBuf| std::fs::metadata(path).unwrap().len();
    let sizes: u64 = [&first, &second, &third].into_iter().map(size).sum();
    assert_eq!(model.fingerprint()["bytes"], sizes);
}

#[test]
fn missing_and_wrong_shards_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |shard: &str| folder.path().join(format!("{shard}.gguf"));
    for shard in SHARDS {
        std::fs::copy(tiny_model_path(shard), path(shard)).unwrap();
    }
    let [first, second, third] = SHARDS.map(path);
    let failed = |path: &Path| format!("failed to load model {}", path.display());
    let (first_text, third_text) = (first.display(), third.display());
    assert_eq!(
        error(&second, &settings()),
        format!(
            "{}: it is part 2 of a model that is split into 3 files; pass the first: {first_text}",
            failed(&second)
        )
    );
    std::fs::write(&second, "<html>").unwrap();
    let damaged = error(&first, &settings());
    assert!(damaged.contains("split-00002-of-00003.gguf: it is not a GGUF file"), "{damaged}");
    std::fs::copy(tiny_model_path(SHARDS[1]), &second).unwrap();
    std::fs::remove_file(&third).unwrap();
    assert_eq!(
        error(&first, &settings()),
        format!(
            "{}: part 3 of 3 is missing: {third_text}; put all parts into one folder",
            failed(&first)
        )
    );
}

fn with_lora(scale: f32) -> LlamaSettings {
    let lora = Lora { file: tiny_model_path("lora"), scale };
    LlamaSettings { lora: Some(lora), ..settings() }
}

#[test]
fn a_lora_adapter_changes_answers_and_the_description() {
    let path = tiny_model_path("llama");
    let (plain, plain_model) = answer(&path, &settings());
    let (adapted, adapted_model) = answer(&path, &with_lora(1.0));
    assert_ne!(adapted, plain);
    assert_eq!(answer(&path, &with_lora(1.0)).0, adapted);
    assert_eq!(answer(&path, &with_lora(0.0)).0, plain);
    assert_eq!(plain_model.get("lora"), None);
    let lora = json!({"sha256": sha256(&tiny_model_path("lora")), "scale": 1.0});
    assert_eq!(adapted_model["lora"], lora);
    assert_eq!(adapted_model["sha256"], plain_model["sha256"]);
}

/// The engine creates a new context when a request does not fit in its stream.
#[test]
fn a_lora_adapter_is_applied_to_every_context() {
    let (path, settings) = (tiny_model_path("llama"), with_lora(1.0));
    let (expected, _) = answer(&path, &settings);
    let model = Model::load(&path, &settings).unwrap();
    let mut engine = Llama::new(&model, &settings).unwrap();
    engine.submit(ask(1, &"Why? ".repeat(200), greedy(2)));
    drain(&mut engine);
    assert_eq!(engine.describe().unwrap().settings["settings"]["kv_unified"], "on");
    engine.submit(ask(2, "Why is the sky blue?", greedy(24)));
    assert_eq!(texts(&drain(&mut engine)), expected);
}

#[test]
fn files_that_are_no_adapter_of_the_model_are_rejected() {
    let load = |file: PathBuf, model: &str| {
        let settings = LlamaSettings { lora: Some(Lora { file, scale: 1.0 }), ..settings() };
        error(&tiny_model_path(model), &settings)
    };
    let missing = load(PathBuf::from("none.gguf"), "llama");
    assert!(missing.starts_with("failed to load the LoRA adapter none.gguf: no such file; pass"));
    for (file, model) in [("qwen2", "llama"), ("lora", "qwen2")] {
        let rejected = load(tiny_model_path(file), model);
        assert!(rejected.contains("llama.cpp rejected it; use an adapter"), "{rejected}");
    }
}

#[test]
fn the_hint_of_a_rejected_model_names_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let copied = |from: &str, to: &str| {
        let path = folder.path().join(to);
        std::fs::copy(tiny_model_path(from), &path).unwrap();
        path
    };
    let renamed = copied(SHARDS[0], "first.gguf");
    let swapped = copied(SHARDS[1], "swapped-00001-of-00003.gguf");
    copied(SHARDS[1], "swapped-00002-of-00003.gguf");
    copied(SHARDS[2], "swapped-00003-of-00003.gguf");
    let foreign = copied(SHARDS[0], "foreign-00001-of-00003.gguf");
    copied("llama", "foreign-00002-of-00003.gguf");
    copied(SHARDS[2], "foreign-00003-of-00003.gguf");
    let bytes = std::fs::read(tiny_model_path("llama")).unwrap();
    let cut = folder.path().join("cut.gguf");
    std::fs::write(&cut, &bytes[..bytes.len() - 1]).unwrap();
    for (path, expected) in [
        (tiny_model_path("lora"), "it is a LoRA adapter: pass it as --lora FILE"),
        (renamed, "the parts of a split model must have their own names"),
        (swapped, "the parts of a split model must have their own names"),
        (foreign, "the parts of a split model must have their own names"),
        (cut, "the download is incomplete: download the file again"),
    ] {
        let error = Model::load(&path, &settings()).err().expect("must fail");
        let hint = error.hint.unwrap_or_default();
        assert!(hint.starts_with(expected), "{path:?}: {:?}: {hint}", error.source);
    }
}

#[test]
fn a_scale_that_is_no_number_is_named() {
    let file = PathBuf::from(format!("{}:x", tiny_model_path("lora").display()));
    let settings = LlamaSettings { lora: Some(Lora { file, scale: 1.0 }), ..settings() };
    let rejected = error(&tiny_model_path("llama"), &settings);
    assert!(rejected.contains(": \"x\" is not a scale; pass a number after"), "{rejected}");
}

/// Without a GPU, placement changes nothing, and no layer is reported to be on one.
#[test]
fn placement_without_a_gpu_has_no_effect() {
    let path = tiny_model_path("llama");
    if gpu::is_available() {
        return;
    }
    let (plain, _) = answer(&path, &settings());
    let placed = LlamaSettings {
        split_mode: Some(SplitMode::None),
        main_gpu: Some(3),
        cpu_tensors: vec![CpuTensors::experts(), "blk.*ffn_up=CPU".parse().unwrap()],
        mlock: true,
        n_gpu_layers: GpuLayers::All,
        ..settings()
    };
    assert_eq!(answer(&path, &placed).0, plain);
    let reported = |settings: &LlamaSettings| {
        let model = Model::load(&path, settings).unwrap();
        let engine = Llama::new(&model, settings).unwrap();
        engine.describe().unwrap().settings["settings"].clone()
    };
    let plain = reported(&settings());
    assert_eq!(plain["n_gpu_layers"], 0);
    for key in ["split_mode", "main_gpu", "cpu_tensors", "mlock", "lora"] {
        assert_eq!(plain.get(key), None, "{key}");
    }
    let layers = LlamaSettings { n_gpu_layers: GpuLayers::Count(99), ..settings() };
    assert_eq!(reported(&layers), plain);
    assert_eq!(reported(&placed)["cpu_tensors"][1], "blk.*ffn_up");
}

#[test]
fn an_invalid_pattern_of_tensors_is_an_error() {
    let tensors: CpuTensors = "ffn_(up=CPU".parse().unwrap();
    let settings = LlamaSettings { cpu_tensors: vec![tensors], ..settings() };
    let error = Model::load(&tiny_model_path("llama"), &settings).err().expect("must fail");
    assert!(error.message.ends_with("llama.cpp rejected it"), "{error}");
    let cause = error.source.expect("the error of llama.cpp").to_string();
    assert!(cause.starts_with("error loading model: "), "{cause}");
    assert!(error.hint.is_some_and(|hint| hint.contains("--override-tensor")));
}
