//! The GPUs of this machine, as far as this build supports them.

use std::sync::Once;

use llama_cpp_2::{LlamaBackendDevice, LlamaBackendDeviceType, list_llama_ggml_backend_devices};

use super::LlamaSettings;
use super::model::backend;
use super::placement::SplitMode;
use amend_core::model::EngineError;

/// Whether llama.cpp is compiled for a kind of GPU.
pub(super) const SUPPORTS_GPUS: bool =
    cfg!(any(feature = "cuda", feature = "metal", feature = "vulkan"));

/// The GPUs that llama.cpp uses, in the order of their numbers. The first call logs them.
///
/// # Errors
/// llama.cpp can't start.
pub(super) fn gpus() -> Result<Vec<LlamaBackendDevice>, EngineError> {
    static LOGGED: Once = Once::new();
    backend()?;
    let gpus = chosen(list_llama_ggml_backend_devices());
    LOGGED.call_once(|| {
        for (at, gpu) in gpus.iter().enumerate() {
            tracing::info!("GPU {at}: {}", described(gpu));
        }
        if SUPPORTS_GPUS && gpus.is_empty() {
            tracing::info!("llama.cpp found no GPU");
        }
    });
    Ok(gpus)
}

/// The devices that llama.cpp chooses: integrated GPUs only if there are no others.
fn chosen(devices: Vec<LlamaBackendDevice>) -> Vec<LlamaBackendDevice> {
    let has_discrete =
        devices.iter().any(|device| device.device_type == LlamaBackendDeviceType::Gpu);
    let wanted = if has_discrete {
        LlamaBackendDeviceType::Gpu
    } else {
        LlamaBackendDeviceType::IntegratedGpu
    };
    devices.into_iter().filter(|device| device.device_type == wanted).collect()
}

/// A GPU's name, llama.cpp's name for it, and its memory in GiB.
fn described(gpu: &LlamaBackendDevice) -> String {
    let gib = |bytes: usize| bytes as f64 / f64::from(1 << 30);
    let (free, total) = (gib(gpu.memory_free), gib(gpu.memory_total));
    format!("{} ({}), {free:.1} of {total:.1} GiB free", gpu.description, gpu.name)
}

/// The GPUs among `gpus` that a model is split between.
///
/// # Errors
/// There is no GPU with the number of `main_gpu`.
pub(super) fn used<'g>(
    gpus: &'g [LlamaBackendDevice],
    settings: &LlamaSettings,
) -> Result<&'g [LlamaBackendDevice], EngineError> {
    let main = settings.main_gpu.unwrap_or(0) as usize;
    match gpus.get(main) {
        _ if gpus.is_empty() => Ok(gpus),
        Some(gpu) if settings.split_mode == Some(SplitMode::None) => Ok(std::slice::from_ref(gpu)),
        Some(_) => Ok(gpus),
        None => {
            let names: Vec<String> = (0..)
                .zip(gpus)
                .map(|(at, gpu): (usize, _)| format!("{at} ({})", gpu.description))
                .collect();
            Err(EngineError::new(format!("there is no GPU {main}"))
                .hinted(format!("pass --main-gpu with one of: {}", names.join(", "))))
        }
    }
}

/// A made-up device.
#[cfg(test)]
pub(super) fn device(name: &str, device_type: LlamaBackendDeviceType) -> LlamaBackendDevice {
    LlamaBackendDevice {
        index: 0,
        name: name.to_owned(),
        description: format!("the {name}"),
        backend: String::new(),
        memory_total: 8 << 30,
        memory_free: 7 << 30,
        device_type,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gpus_are_those_that_llama_cpp_uses() {
        use LlamaBackendDeviceType::{Cpu, Gpu, IntegratedGpu};
        let names = |devices: &[(&str, LlamaBackendDeviceType)]| {
            let devices = devices.iter().map(|(name, kind)| device(name, *kind)).collect();
            chosen(devices).into_iter().map(|gpu| gpu.name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(&[("c", Cpu)]), "");
        assert_eq!(names(&[("c", Cpu), ("i", IntegratedGpu)]), "i");
        assert_eq!(names(&[("i", IntegratedGpu), ("a", Gpu), ("b", Gpu)]), "a b");
    }

    #[test]
    fn a_gpu_is_described_with_its_memory() {
        let gpu = device("Vulkan0", LlamaBackendDeviceType::Gpu);
        assert_eq!(described(&gpu), "the Vulkan0 (Vulkan0), 7.0 of 8.0 GiB free");
    }

    #[test]
    fn a_missing_gpu_is_reported_with_those_that_exist() {
        let gpus = ["first", "second"].map(|name| device(name, LlamaBackendDeviceType::Gpu));
        let names = |split_mode, main_gpu| {
            let settings = LlamaSettings { split_mode, main_gpu, ..LlamaSettings::default() };
            let names = |gpu: &LlamaBackendDevice| gpu.name.clone();
            match used(&gpus, &settings) {
                Ok(used) => Ok(used.iter().map(names).collect::<Vec<_>>().join(" ")),
                Err(error) => Err(format!("{error}; {}", error.hint.as_deref().unwrap_or("-"))),
            }
        };
        assert_eq!(names(None, None), Ok("first second".to_owned()));
        assert_eq!(names(Some(SplitMode::Row), Some(1)), Ok("first second".to_owned()));
        assert_eq!(names(Some(SplitMode::None), Some(1)), Ok("second".to_owned()));
        let missing =
            "there is no GPU 2; pass --main-gpu with one of: 0 (the first), 1 (the second)";
        assert_eq!(names(None, Some(2)), Err(missing.to_owned()));
        assert!(used(&[], &LlamaSettings::default()).unwrap().is_empty());
    }
}
