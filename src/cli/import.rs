//! `elbo import`: a model from PyTorch's state dict.

use super::model::describe_network;
use super::network::Network;
use super::output::{check_writable, keep_old};
use super::{Common, MemoryArgs};
use crate::data::load_within;
use crate::error::{Error, Result};
use crate::files::state_dict::StateDict;
use crate::task::exchange::{TensorNames, import};
use crate::train::MODEL_FILE;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Make a model of a PyTorch state dict that was saved as safetensors
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  elbo import vae.safetensors --preset mlp-400 --data mnist --out runs/vae
  elbo import vae.safetensors --hidden 512,256 --heads joint --map names.toml --out vae-elbo.safetensors

Without --map, names are the published example's (fc1, fc21, fc22, fc3, fc4) where the network has its
layers, else elbo's own. A mapping is TOML, elbo's names on the left, by layer or by parameter:
  \"encoder.0\" = \"encoder.linear1\"                 # its weight and bias
  \"encoder.posterior\" = [\"to_mean\", \"to_logvar\"]   # rows that follow one another
  \"decoder.0.weight\" = \"decoder_weight\"
In Python, safetensors.torch.save_file(model.state_dict(), \"vae.safetensors\") makes the file.")]
pub struct Import {
    /// The state dict: a safetensors file of F32, F64, F16 or BF16
    file: PathBuf,
    #[command(flatten)]
    network: Network,
    /// A TOML file of the tensors' names
    #[arg(long, value_name = "FILE")]
    map: Option<PathBuf>,
    /// What it was trained on: the model keeps the data's name, columns and the shape of their pictures
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    /// Where the model goes: a file ending in .safetensors, or a folder
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Replace a model that is there already
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    memory: MemoryArgs,
    #[command(flatten)]
    common: Common,
}

impl Import {
    pub(super) fn run(&self) -> Result<()> {
        let is_file = self.out.extension().is_some_and(|e| e == "safetensors") && !self.out.is_dir();
        let place = if is_file { self.out.clone() } else { self.out.join(MODEL_FILE) };
        keep_old(&place, self.overwrite)?;
        let names = self.map.as_deref().map(TensorNames::load).transpose()?;
        let data = self.data.as_deref().map(|name| load_within(name, self.memory.memory)).transpose()?;
        let dict = StateDict::read(&self.file)?;
        let model = import(&dict, &self.network.settings(), names.as_ref(), data.as_ref())
            .map_err(|e| e.within(self.file.display().to_string()))?;
        if !is_file {
            make_folder(&self.out)?;
        }
        check_writable(&place)?;
        model.save(&place)?;
        let (console, digest) = (self.common.console(), model.digest());
        console.say(describe_network(&model.vae));
        let out = place.display().to_string();
        let json = json!({ "out": out, "digest": digest, "parameters": model.vae.layout().count() });
        console.report(&json, format_args!("wrote {out}, digest {digest}"))
    }
}

/// The model's folder; not those above it, which a slip of the keyboard may have named.
fn make_folder(path: &Path) -> Result<()> {
    match std::fs::create_dir(path) {
        Err(_) if path.is_dir() => Ok(()),
        made => made.map_err(|e: std::io::Error| Error::io("make the folder", path, &e)),
    }
}
