//! Flags that choose a model in a repository of the Hugging Face Hub, with llama.cpp's
//! names.

use clap::Args;

use amend_engine::hub::{HubModel, HubSettings};

/// Models in repositories.
#[derive(Debug, Args)]
pub struct HubArgs {
    /// A model of a Hugging Face repository, downloaded into the cache that llama.cpp
    /// uses [default QUANT: Q4_K_M, otherwise Q8_0, otherwise the first file]
    /// (also -hf; a token goes in HF_TOKEN)
    #[arg(long, value_name = "ORG/REPO[:QUANT]")]
    hf_repo: Option<HubModel>,
    /// The file of --hf-repo to use instead of QUANT (also -hff)
    #[arg(long, value_name = "FILE", requires = "hf_repo")]
    hf_file: Option<String>,
    /// A different model for judging, of a Hugging Face repository
    #[arg(long, value_name = "ORG/REPO[:QUANT]")]
    judge_hf_repo: Option<HubModel>,
}

impl HubArgs {
    /// The model, if one is given.
    pub fn model(&self) -> Option<HubModel> {
        let model = self.hf_repo.clone()?;
        Some(model.with_file(self.hf_file.clone()))
    }

    /// Where models are downloaded from, and to: see [`HubSettings::from_variables`].
    pub fn settings() -> HubSettings {
        HubSettings::from_variables(|name| std::env::var_os(name))
    }

    /// The separate judge model, if one is given.
    pub fn judge(&self) -> Option<HubModel> {
        self.judge_hf_repo.clone()
    }
}
