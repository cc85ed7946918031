//! Flags that place a model's weights on GPUs and in memory, with llama.cpp's names.

use clap::Args;

use super::config::Config;
use super::one_of;
use amend_engine::llama::{CpuTensors, GpuLayers, LlamaSettings, SplitMode};

/// The most layers of --n-cpu-moe. Each has a pattern that every tensor is compared with.
const MAX_LAYERS: i64 = 1000;

/// Where the weights go.
#[derive(Debug, Args)]
pub struct PlacementArgs {
    /// Layers on the GPU: a number, all, or as many as fit (auto) [default: auto]
    /// (also -ngl)
    #[arg(long, env = "AMEND_N_GPU_LAYERS", value_name = "N|auto|all")]
    n_gpu_layers: Option<GpuLayers>,
    /// How to split the model between several GPUs [default: layer] (also -sm)
    #[arg(long, value_parser = one_of(&SplitMode::ALL, SplitMode::as_str, &SPLIT_HELP))]
    split_mode: Option<SplitMode>,
    /// The GPU that has the whole model with --split-mode none, or the intermediate
    /// results with row; counted from 0 (also -mg)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=255))]
    main_gpu: Option<u32>,
    /// Keep the expert weights of all layers in the memory of the CPU (also -cmoe)
    #[arg(long)]
    cpu_moe: bool,
    /// Keep the expert weights of the first N layers in the memory of the CPU
    /// (also -ncmoe)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=MAX_LAYERS))]
    n_cpu_moe: Option<u32>,
    /// Keep the tensors whose names match a regular expression in the memory of the
    /// CPU. May be repeated (also -ot)
    #[arg(long, value_name = "PATTERN=CPU", value_delimiter = ',')]
    override_tensor: Vec<CpuTensors>,
    /// Keep the model in memory even if memory is short
    #[arg(long)]
    mlock: bool,
}

/// The help of each value of a [`SplitMode`].
const SPLIT_HELP: [&str; 3] = [
    "One GPU has the whole model",
    "Each GPU has some layers",
    "Each GPU has rows of every matrix",
];

impl PlacementArgs {
    /// These settings with the placement that the flags or the config file ask for.
    pub fn applied(&self, settings: LlamaSettings, config: &Config) -> LlamaSettings {
        LlamaSettings {
            n_gpu_layers: self
                .n_gpu_layers
                .or(config.n_gpu_layers)
                .unwrap_or(settings.n_gpu_layers),
            split_mode: self.split_mode,
            main_gpu: self.main_gpu,
            cpu_tensors: self.cpu_tensors(),
            mlock: self.mlock,
            ..settings
        }
    }

    /// The tensors that stay in the memory of the CPU.
    fn cpu_tensors(&self) -> Vec<CpuTensors> {
        let mut tensors = self.override_tensor.clone();
        if self.cpu_moe {
            tensors.push(CpuTensors::experts());
        }
        tensors.extend((0..self.n_cpu_moe.unwrap_or(0)).map(CpuTensors::experts_of_layer));
        tensors
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        placement: PlacementArgs,
    }

    fn parsed(line: &str) -> Result<LlamaSettings, String> {
        let line = std::iter::once("amend").chain(line.split_whitespace());
        let parsed = Line::try_parse_from(line).map_err(|error| error.to_string())?;
        Ok(parsed.placement.applied(LlamaSettings::default(), &Config::default()))
    }

    #[test]
    fn flags_become_settings() {
        let settings = parsed("").unwrap();
        assert_eq!(settings.n_gpu_layers, GpuLayers::Auto);
        assert!(settings.cpu_tensors.is_empty() && !settings.mlock);
        let line = "--n-gpu-layers all --split-mode row --main-gpu 1 --mlock";
        let settings = parsed(line).unwrap();
        assert_eq!(settings.n_gpu_layers, GpuLayers::All);
        assert_eq!((settings.split_mode, settings.main_gpu), (Some(SplitMode::Row), Some(1)));
        assert!(settings.mlock);
        let line = "--override-tensor a=CPU,b=CPU --override-tensor c=CPU --n-cpu-moe 2";
        let patterns: Vec<CpuTensors> =
            ["a=CPU", "b=CPU", "c=CPU"].iter().map(|text| text.parse().unwrap()).collect();
        let expected =
            [patterns, vec![CpuTensors::experts_of_layer(0), CpuTensors::experts_of_layer(1)]];
        assert_eq!(parsed(line).unwrap().cpu_tensors, expected.concat());
        assert_eq!(parsed("--cpu-moe").unwrap().cpu_tensors, [CpuTensors::experts()]);
    }

    #[test]
    fn bad_values_say_what_is_possible() {
        for (line, expected) in [
            ("--n-gpu-layers most", "neither auto, all nor a number of layers"),
            ("--split-mode tensor", "[possible values: none, layer, row]"),
            ("--main-gpu 999", "999 is not in 0..=255"),
            ("--override-tensor exps=CUDA0", "amend can move tensors only to the CPU"),
            ("--override-tensor exps", "not of the form PATTERN=CPU"),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
