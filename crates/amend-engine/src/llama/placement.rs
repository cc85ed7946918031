//! Where the weights of a model go: which layers to the GPU, and which GPU.

use std::ffi::CString;
use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Once;

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::{LlamaModelParams, LlamaSplitMode};
use llama_cpp_2::{LlamaBackendDevice, mlock_supported};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::cells::CacheCells;
use super::layout::Layout;
use super::model::{load_file, rejection_hint};
use super::{LlamaSettings, devices};
use amend_core::model::EngineError;

/// The memory of each GPU in bytes that is left free for the buffers of computations.
/// llama.cpp leaves as much.
const GPU_MARGIN: u64 = 1 << 30;

/// The pattern of the names of expert weights.
const EXPERTS: &str = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps";

/// How many layers go to the GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GpuLayers {
    /// As many as fit. Without a GPU, none.
    Auto,
    /// All.
    All,
    /// This many, counted from the last. One more than the model's layers includes the
    /// output.
    Count(u32),
}

/// Why a text is not a number of layers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither auto, all nor a number of layers")]
pub struct GpuLayersError(String);

impl FromStr for GpuLayers {
    type Err = GpuLayersError;

    fn from_str(text: &str) -> Result<Self, GpuLayersError> {
        match text {
            "auto" => Ok(Self::Auto),
            "all" => Ok(Self::All),
            number => {
                let count = number.parse().map_err(|_| GpuLayersError(text.to_owned()))?;
                Ok(Self::Count(count))
            }
        }
    }
}

impl fmt::Display for GpuLayers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::All => f.write_str("all"),
            Self::Count(count) => count.fmt(f),
        }
    }
}

impl Serialize for GpuLayers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u32(*count),
            Self::Auto | Self::All => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for GpuLayers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "auto, all or a number of layers")]
        enum Form {
            Count(u32),
            Name(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Count(count) => Ok(Self::Count(count)),
            Form::Name(name) => name.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// How a model is split between several GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SplitMode {
    /// One GPU has the whole model.
    None,
    /// Each GPU has some of the layers.
    Layer,
    /// Each GPU has some rows of every matrix.
    Row,
}

impl SplitMode {
    /// All modes.
    pub const ALL: [Self; 3] = [Self::None, Self::Layer, Self::Row];

    /// The name on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Layer => "layer",
            Self::Row => "row",
        }
    }
}

impl From<SplitMode> for LlamaSplitMode {
    fn from(mode: SplitMode) -> Self {
        match mode {
            SplitMode::None => Self::None,
            SplitMode::Layer => Self::Layer,
            SplitMode::Row => Self::Row,
        }
    }
}

/// A pattern of the names of tensors that stay in the memory of the CPU: a regular
/// expression that may match any part of a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct CpuTensors(String);

/// Why a text is not a placement of tensors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpuTensorsError {
    /// It has another form.
    #[error("{0:?} is not of the form PATTERN=CPU, such as 'ffn_.*_exps=CPU'")]
    Form(String),
    /// The buffer is not the CPU's.
    #[error("{0:?} is not CPU: amend can move tensors only to the CPU")]
    Buffer(String),
    /// The pattern has characters that names of tensors can't have.
    #[error("the pattern {0:?} has characters that are not ASCII")]
    Characters(String),
}

impl CpuTensors {
    /// The expert weights of all layers.
    #[must_use]
    pub fn experts() -> Self {
        Self(EXPERTS.to_owned())
    }

    /// The expert weights of one layer.
    #[must_use]
    pub fn experts_of_layer(layer: u32) -> Self {
        Self(format!(r"blk\.{layer}{EXPERTS}"))
    }
}

impl FromStr for CpuTensors {
    type Err = CpuTensorsError;

    /// Parses `PATTERN=CPU`.
    fn from_str(text: &str) -> Result<Self, CpuTensorsError> {
        let form = || CpuTensorsError::Form(text.to_owned());
        let (pattern, buffer) = text.rsplit_once('=').ok_or_else(form)?;
        if pattern.is_empty() {
            return Err(form());
        }
        if buffer != "CPU" {
            return Err(CpuTensorsError::Buffer(buffer.to_owned()));
        }
        if !pattern.bytes().all(|byte| byte.is_ascii() && byte != 0) {
            return Err(CpuTensorsError::Characters(pattern.to_owned()));
        }
        Ok(Self(pattern.to_owned()))
    }
}

/// The parameters of llama.cpp for loading a model.
pub(super) struct Placement {
    params: Pin<Box<LlamaModelParams>>,
    layers: GpuLayers,
    /// The names of the GPUs that get layers.
    gpus: Vec<String>,
    /// `params` points to them.
    _patterns: Vec<CString>,
}

impl Placement {
    /// Decides where the weights of the model at `path` go.
    ///
    /// # Errors
    /// There is no GPU with the number of `main_gpu`. With [`GpuLayers::Auto`]: llama.cpp
    /// rejects the file.
    pub fn new(path: &Path, settings: &LlamaSettings) -> Result<Self, EngineError> {
        let gpus = devices::gpus()?;
        if gpus.is_empty() {
            warn_without_gpu(settings);
        }
        if settings.mlock && !mlock_supported() {
            tracing::warn!("--mlock has no effect: this system can't lock memory");
        }
        let used = devices::used(&gpus, settings)?;
        let layers = match settings.n_gpu_layers {
            _ if used.is_empty() => GpuLayers::Count(0),
            // Most of the weights may be in the CPU's memory, so all layers should fit.
            GpuLayers::Auto if !settings.cpu_tensors.is_empty() => GpuLayers::All,
            GpuLayers::Auto => fitting(path, settings, used)?,
            layers => layers,
        };
        let used = if layers == GpuLayers::Count(0) { &[] } else { used };
        let mut params = LlamaModelParams::default()
            .with_n_gpu_layers(match layers {
                GpuLayers::Count(count) => count,
                GpuLayers::Auto | GpuLayers::All => u32::MAX,
            })
            .with_use_mmap(settings.mmap)
            .with_use_mlock(settings.mlock);
        if used.is_empty() {
            // llama.cpp would compute large batches on a GPU although it has no layers.
            params = params.with_devices(&[]).map_err(|error| {
                EngineError::new("failed to run a model on the CPU alone").caused_by(error)
            })?;
        } else {
            if let Some(mode) = settings.split_mode {
                params = params.with_split_mode(mode.into());
            }
            if let Some(gpu) = settings.main_gpu {
                params = params.with_main_gpu(gpu as i32);
            }
        }
        let mut params = Box::pin(params);
        let patterns = settings.cpu_tensors.iter().map(|tensors| CString::new(&*tensors.0));
        let patterns: Vec<CString> = patterns.flatten().collect();
        for pattern in &patterns {
            params.as_mut().add_cpu_buft_override(pattern);
        }
        let gpus = used.iter().map(|gpu| gpu.description.clone()).collect();
        Ok(Self { params, layers, gpus, _patterns: patterns })
    }

    /// The parameters.
    pub fn params(&self) -> &LlamaModelParams {
        &self.params
    }

    /// The number of layers of the loaded model on the GPUs, including the output, and the
    /// names of these GPUs.
    pub fn placed(self, model: &LlamaModel) -> (GpuLayers, Vec<String>) {
        let all = model.n_layer() + 1;
        let count = match self.layers {
            GpuLayers::Count(count) => count.min(all),
            GpuLayers::Auto | GpuLayers::All => all,
        };
        if !self.gpus.is_empty() {
            let gpus = self.gpus.join(", ");
            tracing::info!("{count} of {all} layers of the model are on the GPU ({gpus})");
        }
        (GpuLayers::Count(count), self.gpus)
    }
}

/// The free memory in bytes of the GPUs that a loaded model is split between, except for what
/// computations need. `None` without a GPU.
pub(super) fn free_gpu_memory(settings: &LlamaSettings) -> Option<u64> {
    let gpus = devices::gpus().ok()?;
    let used = devices::used(&gpus, settings).ok()?;
    let free = |gpu: &LlamaBackendDevice| (gpu.memory_free as u64).saturating_sub(GPU_MARGIN);
    if used.is_empty() { None } else { Some(used.iter().map(free).sum()) }
}

/// Warns once about settings that have no effect without a GPU.
fn warn_without_gpu(settings: &LlamaSettings) {
    static WARNED: Once = Once::new();
    let mut flags = Vec::new();
    if !matches!(settings.n_gpu_layers, GpuLayers::Auto | GpuLayers::Count(0)) {
        flags.push("-ngl");
    }
    if settings.split_mode.is_some() {
        flags.push("--split-mode");
    }
    if settings.main_gpu.is_some() {
        flags.push("--main-gpu");
    }
    if !settings.cpu_tensors.is_empty() {
        flags.push("--cpu-moe, --n-cpu-moe or --override-tensor");
    }
    if !flags.is_empty() {
        WARNED.call_once(|| {
            let cause = if devices::SUPPORTS_GPUS {
                "llama.cpp found none; to see its log, run with -vv"
            } else {
                "amend was built without the feature cuda, vulkan or metal"
            };
            tracing::warn!("no effect without a GPU: {}. {cause}", flags.join(", "));
        });
    }
}

/// How many layers of the model at `path` fit the memory of these GPUs.
fn fitting(
    path: &Path,
    settings: &LlamaSettings,
    gpus: &[LlamaBackendDevice],
) -> Result<GpuLayers, EngineError> {
    // The sizes of a model are known once its tensors are laid out, without their values.
    let params = LlamaModelParams::default().with_no_alloc(true);
    let model = load_file(path, &params, |error| {
        EngineError::new(format!("failed to read the size of {}", path.display()))
            .hinted(rejection_hint(path, &error.to_string(), settings))
            .caused_by(error)
    })?;
    // On a GPU, sequences share a unified cache.
    let cells = CacheCells { can_split: false, ..CacheCells::new(&model, settings) };
    let cache = Layout::choose(settings, &cells, None).bytes;
    let bytes = model.size() + cache;
    let free: Vec<u64> = gpus.iter().map(|gpu| gpu.memory_free as u64).collect();
    let all = model.n_layer() + 1;
    let count = fitting_layers(bytes, all, &free);
    if count < all {
        tracing::warn!(
            "{count} of {all} layers fit the free memory of the GPU; -ngl N sets another number"
        );
    }
    Ok(GpuLayers::Count(count))
}

/// How many of `layers` layers fit GPUs with this many free bytes. All layers with their
/// part of the KV cache take `bytes`.
fn fitting_layers(bytes: u64, layers: u32, free: &[u64]) -> u32 {
    let layer = bytes.div_ceil(u64::from(layers)).max(1);
    let fit: u64 = free.iter().map(|free| free.saturating_sub(GPU_MARGIN) / layer).sum();
    fit.min(layers.into()) as u32
}

#[cfg(test)]
mod tests {
    use llama_cpp_2::LlamaBackendDeviceType;

    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn numbers_of_layers_are_parsed_and_written() {
        for (text, layers, json) in [
            ("auto", GpuLayers::Auto, "\"auto\""),
            ("all", GpuLayers::All, "\"all\""),
            ("20", GpuLayers::Count(20), "20"),
        ] {
            assert_eq!(text.parse(), Ok(layers));
            assert_eq!(layers.to_string(), text);
            assert_eq!(serde_json::to_string(&layers).unwrap(), json);
            assert_eq!(serde_json::from_str::<GpuLayers>(json).unwrap(), layers);
        }
        for text in ["-1", "most", ""] {
            assert_eq!(text.parse::<GpuLayers>(), Err(GpuLayersError(text.to_owned())));
        }
        let error = serde_json::from_str::<GpuLayers>("1.5").unwrap_err().to_string();
        assert!(error.starts_with("auto, all or a number of layers"), "{error}");
    }

    #[test]
    fn as_many_layers_as_fit_go_to_the_gpu() {
        for (bytes, free, expected) in [
            (5 * GIB, &[24 * GIB][..], 33),
            (33 * GIB, &[24 * GIB], 23),
            (33 * GIB, &[GIB / 2], 0),
            // Every GPU has its own margin and whole layers.
            (33 * GIB, &[24 * GIB, 24 * GIB], 33),
            (66 * GIB, &[24 * GIB, 12 * GIB], 11 + 5),
            (0, &[2 * GIB], 33),
            (GIB, &[], 0),
        ] {
            assert_eq!(fitting_layers(bytes, 33, free), expected, "{bytes} {free:?}");
        }
    }

    #[test]
    fn the_size_of_a_file_is_read_before_it_is_loaded() {
        let settings = LlamaSettings { parallel: 1, ctx_size: 256, ..LlamaSettings::default() };
        let fit = |model: &str, free: u64| {
            let mut gpu = devices::device("gpu", LlamaBackendDeviceType::Gpu);
            gpu.memory_free = (GPU_MARGIN + free) as usize;
            fitting(&crate::models::tiny_model_path(model), &settings, &[gpu]).unwrap()
        };
        // Weights of about 200 KB and a cache of 64 KB, in four layers and the output.
        for model in ["llama", "split-00001-of-00003"] {
            assert_eq!(fit(model, 400_000), GpuLayers::Count(5), "{model}");
            assert_eq!(fit(model, 120_000), GpuLayers::Count(2), "{model}");
            assert_eq!(fit(model, 0), GpuLayers::Count(0), "{model}");
        }
        // With other kinds of memory, too.
        for model in ["olmo2", "mamba", "lfm2"] {
            assert_eq!(fit(model, 400_000), GpuLayers::Count(5), "{model}");
        }
    }

    #[test]
    fn placements_of_tensors_are_parsed() {
        let tensors = |text: &str| text.parse::<CpuTensors>().map(|tensors| tensors.0);
        assert_eq!(tensors("ffn_.*_exps=CPU"), Ok("ffn_.*_exps".to_owned()));
        assert_eq!(tensors("a=b=CPU"), Ok("a=b".to_owned()));
        for text in ["CPU", "=CPU", ""] {
            assert_eq!(tensors(text), Err(CpuTensorsError::Form(text.to_owned())));
        }
        assert_eq!(tensors("a=CUDA0"), Err(CpuTensorsError::Buffer("CUDA0".to_owned())));
        assert_eq!(tensors("é=CPU"), Err(CpuTensorsError::Characters("é".to_owned())));
        assert_eq!(CpuTensors::experts_of_layer(3).0, format!(r"blk\.3{EXPERTS}"));
    }
}
