//! `elbo info`: what a model is.

use super::Common;
use super::model::Subject;
use crate::error::Result;
use crate::train::CheckpointInfo;
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// Say what a model is: network, training, and the digest of its parameters
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  elbo info runs/f
  elbo info runs/f/model.safetensors --json
  elbo info runs/f/checkpoint           where the run stands

The digest is the SHA-256 of all parameters in canonical order: equal runs have equal digests, on any
machine, in a model and in a checkpoint.")]
pub struct Info {
    /// A run's folder, or the file of a model or a checkpoint
    run: PathBuf,
    #[command(flatten)]
    common: Common,
}

impl Info {
    pub(super) fn run(&self) -> Result<()> {
        if let Some(c) = CheckpointInfo::find(&self.run)? {
            let json = json!({
                "kind": "checkpoint",
                "digest": c.digest,
                "parameters": c.parameters,
                "epoch": c.epoch,
                "step": c.step,
                "batch": c.batch,
                "training": c.settings,
            });
            return self.common.console().report(&json, text(&json));
        }
        let subject = Subject::load(&self.run, &self.common)?;
        let (saved, config) = (&subject.saved, subject.saved.vae.config());
        let info = &saved.info;
        let mut json = json!({
            "digest": saved.digest(),
            "parameters": saved.vae.layout().count(),
            "preset": config.preset,
            "inputs": config.inputs,
            "hidden": config.hidden,
            "latent": config.latent,
            "selected": info.selected,
            "epoch": info.epoch,
            "step": info.step,
            "data": info.data,
            "version": info.version,
            "flops": saved.vae.flops(),
        });
        if let Some(exemplars) = saved.vae.exemplars() {
            json["exemplars"] = exemplars.nrows().into();
        }
        // The rest as the run's configuration spells it.
        let settings = serde_json::to_value(&info.settings).unwrap_or_default();
        let mut training: Map<String, Value> = settings.as_object().cloned().unwrap_or_default();
        for key in ["preset", "hidden", "latent", "data"] {
            training.remove(key);
        }
        for key in ["layer", "activation", "heads", "likelihood", "init"] {
            if let Some(value) = training.remove(key) {
                json[key] = value;
            }
        }
        json["training"] = Value::Object(training);
        self.common.console().report(&json, text(&json))
    }
}

/// An object as lines of `key  value`; what lies deeper is written as `key.key`.
fn text(json: &Value) -> String {
    fn lines(prefix: &str, value: &Value, out: &mut Vec<(String, String)>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                    lines(&name, value, out);
                }
            }
            Value::String(s) => out.push((prefix.to_owned(), s.clone())),
            Value::Array(items) if items.len() > 16 => {
                out.push((
                    prefix.to_owned(),
                    format!("{} of them, from {} to {}", items.len(), items[0], items[items.len() - 1]),
                ));
            }
            other => out.push((prefix.to_owned(), other.to_string())),
        }
    }
    let mut out = Vec::new();
    lines("", json, &mut out);
    let width = out.iter().map(|(key, _)| key.len()).max().unwrap_or_default();
    let lines: Vec<String> = out.iter().map(|(key, value)| format!("{key:width$}  {value}")).collect();
    lines.join("\n")
}
