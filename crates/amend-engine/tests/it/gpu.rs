//! The engine on a GPU. Without one these tests do nothing; `tests/vulkan/run` provides a
//! software device, and sets `AMEND_N_GPU_LAYERS`, so that they fail if it is not found.

use std::collections::BTreeMap;

use amend_core::chat::Reasoning;
use amend_core::model::{Engine, Event, Request, RequestId, Task};
use amend_engine::llama::{GpuLayers, Llama, LlamaSettings, Model};

use crate::engine::{ask, greedy, settings};
use crate::models::tiny_model_path;

/// The layers of each tiny model, including the output.
const LAYERS: u32 = 5;

fn with_layers(n_gpu_layers: GpuLayers) -> LlamaSettings {
    LlamaSettings { n_gpu_layers, ..settings() }
}

/// Whether llama.cpp finds a GPU.
///
/// # Panics
/// `AMEND_N_GPU_LAYERS` asks for one and there is none.
pub fn is_available() -> bool {
    let path = tiny_model_path("llama");
    let is_available = !Model::load(&path, &with_layers(GpuLayers::All)).unwrap().gpus().is_empty();
    let is_needed = std::env::var("AMEND_N_GPU_LAYERS").is_ok_and(|layers| layers != "0");
    assert!(is_available || !is_needed, "AMEND_N_GPU_LAYERS is set, and llama.cpp finds no GPU");
    is_available
}

#[test]
fn layers_are_placed_as_requested() {
    if !is_available() {
        return;
    }
    for (requested, placed) in [
        (GpuLayers::Auto, LAYERS),
        (GpuLayers::All, LAYERS),
        (GpuLayers::Count(99), LAYERS),
        (GpuLayers::Count(2), 2),
        (GpuLayers::Count(0), 0),
    ] {
        let settings = with_layers(requested);
        let model = Model::load(&tiny_model_path("llama"), &settings).unwrap();
        assert_eq!(model.gpu_layers(), GpuLayers::Count(placed), "{requested}");
        assert_eq!(model.gpus().is_empty(), placed == 0, "{requested}");
        let reported = Llama::new(&model, &settings).unwrap().describe().unwrap().settings;
        assert_eq!(reported["settings"]["n_gpu_layers"], placed);
        assert_eq!(reported.get("gpus").is_some(), placed > 0, "{reported}");
    }
}

/// The log-probabilities of a text's tokens after a prompt that is computed in one batch.
fn scores(family: &str, settings: &LlamaSettings) -> Vec<f64> {
    let model = Model::load(&tiny_model_path(family), settings).unwrap();
    let mut engine = Llama::new(&model, settings).unwrap();
    let response = "The fog came in at nine, and by ten the pier was gone. ".repeat(4);
    engine.submit(Request {
        task: Task::Likelihood { response, reasoning: Reasoning::default() },
        ..ask(1, "Who keeps the light when the keeper sleeps?", greedy(1))
    });
    let mut events = Vec::new();
    while engine.step(&mut events).unwrap() {}
    let mut scores: BTreeMap<RequestId, Vec<f64>> = BTreeMap::new();
    for event in events {
        let Event::Likelihood { id, log_probs, .. } = event else { panic!("{event:?}") };
        scores.insert(id, log_probs);
    }
    scores.remove(&1).unwrap()
}

/// How much a log-probability may differ between the CPU and a GPU. On Mesa's software device
/// it differs by up to 5e-2, and by up to 1e-2 if the shaders compute with 32 bits.
const ROUNDING: f64 = 0.1;

#[test]
fn every_family_gives_the_probabilities_that_it_gives_on_the_cpu() {
    if !is_available() {
        return;
    }
    for family in ["llama", "qwen2", "olmo2", "mamba", "lfm2"] {
        let expected = scores(family, &with_layers(GpuLayers::Count(0)));
        assert!(expected.len() > 50);
        for layers in [GpuLayers::All, GpuLayers::Count(2)] {
            let scores = scores(family, &with_layers(layers));
            let differences = scores.iter().zip(&expected).map(|(a, b)| (a - b).abs());
            let largest = differences.fold(0.0, f64::max);
            eprintln!("{family}, {layers} layers: differs by {largest:e}");
            assert_eq!(scores.len(), expected.len());
            // On the CPU alone both would be the same to the last bit.
            assert!(largest > 0.0, "{family}, {layers} layers: computed on the CPU");
            assert!(largest < ROUNDING, "{family}, {layers} layers: {largest}");
        }
    }
}

/// Nothing in the engine depends on time, so the same requests give the same bytes.
#[test]
fn the_same_run_gives_the_same_probabilities() {
    if !is_available() {
        return;
    }
    for family in ["llama", "mamba"] {
        let settings = with_layers(GpuLayers::All);
        assert_eq!(scores(family, &settings), scores(family, &settings), "{family}");
    }
}
