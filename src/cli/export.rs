//! `elbo export`: a model as PyTorch's state dict.

use super::Common;
use super::model::Subject;
use super::output::{check_writable, keep_old};
use crate::error::Result;
use crate::files::state_dict;
use crate::task::exchange::{TensorNames, export};
use serde_json::json;
use std::path::PathBuf;

/// Write a model's parameters as a PyTorch state dict, in a safetensors file
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  elbo export runs/mnist-mlp-400 --to vae.safetensors
  elbo export runs/f --to vae.safetensors --map names.toml

In Python, model.load_state_dict(safetensors.torch.load_file(\"vae.safetensors\")) takes it. Names are as for
elbo import: the published example's (fc1, fc21, fc22, fc3, fc4), elbo's own, or those of --map. Numbers
are the model's to the bit: what is exported and imported again has the same digest (a conditional model
is only exported: its condition is more than parameters).")]
pub struct Export {
    /// A run's folder, or a model's file
    run: PathBuf,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// A TOML file of the tensors' names
    #[arg(long, value_name = "FILE")]
    map: Option<PathBuf>,
    /// Replace a file that is there already
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    common: Common,
}

impl Export {
    pub(super) fn run(&self) -> Result<()> {
        check_writable(&self.to)?;
        keep_old(&self.to, self.overwrite)?;
        let names = self.map.as_deref().map(TensorNames::load).transpose()?;
        let subject = Subject::load(&self.run, &self.common)?;
        let tensors = export(&subject.saved, names.as_ref())?;
        state_dict::write(&self.to, &tensors)?;
        let console = self.common.console();
        console.say(subject.about());
        let out = self.to.display().to_string();
        let names: Vec<&str> = tensors.iter().map(|t| &*t.name).collect();
        let text = format!("wrote {out}: {}", names.join(", "));
        console.report(&json!({ "out": out, "tensors": names }), text)
    }
}
