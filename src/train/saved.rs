//! A trained model in a file: `model.safetensors`.
//!
//! Its parameters' names, their layout and the metadata are described in [`format`](crate::files::format). No times,
//! threads, hosts or paths are among them: data are known by name, so equal runs save equal bytes.

use super::info::{Metadata, ModelInfo, Selected};
use super::{Settings, Trainer, statistics};
use crate::density::PriorKind;
use crate::error::{Error, Result};
use crate::files::tensors::{self, Tensor, TensorFile};
use crate::model::Vae;
use crate::tensor::{Layout, Par, Params, Slab};
use ndarray::Array2;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The model's file in a run folder.
pub const MODEL_FILE: &str = "model.safetensors";

/// A model with its parameters and where they come from.
///
/// ```no_run
/// use elbo::tensor::Exec;
/// use elbo::{model::Inference, train::SavedModel};
/// let model = SavedModel::load("runs/mnist-mlp-400")?;
/// let data = elbo::data::load("mnist")?;
/// let ex = Exec::new(0)?;
/// let mut inference = Inference::new(&model.vae, &model.params, &ex);
/// inference.encode(data.all().len(), &|row, x| data.all().gather(row, x), |row, mean, _| println!("{row} {mean:?}"));
/// # Ok::<(), elbo::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SavedModel {
    /// The network.
    pub vae: Vae,
    /// Its parameters; of one that was trained in bf16 too, whose figures in training are those of
    /// [`with_precision`](Params::with_precision).
    pub params: Params<f32>,
    /// Where they come from.
    pub info: ModelInfo,
}

impl SavedModel {
    /// A trainer's [model](Trainer::model) as it is, with what a file says of it; a [run folder](super::RunFolder) keeps the best
    /// of a run instead, if it has a validation split.
    pub fn of(trainer: &Trainer) -> SavedModel {
        let settings = Settings::from_config(trainer.config(), trainer.data());
        let info = ModelInfo::new(&settings, trainer.data(), trainer.state(), Selected::Last);
        SavedModel { vae: trainer.trained().into_owned(), params: trainer.model().clone(), info }
    }
    /// Writes the model to a file, [atomically](crate::files::atomic::write).
    ///
    /// # Errors
    /// A parameter that is not finite, parameters of another network, information that describes another one, an exemplar prior
    /// without its exemplars, or a file that cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        Encoded::new(&self.vae, &self.params, &self.info)?.write(path.as_ref())
    }

    /// Reads a model from a file or from a run folder.
    ///
    /// # Errors
    /// A folder without a model, and a file that is missing, damaged, not a model, from a newer elbo, or whose tensors
    /// are not those of its network: the tensor, and the shape expected and found.
    pub fn load(path: impl AsRef<Path>) -> Result<SavedModel> {
        let path = model_path(path.as_ref())?;
        let file = TensorFile::read(&path)?;
        Self::decode(&file).map_err(|e| e.within(path.display().to_string()))
    }

    fn decode(file: &TensorFile) -> Result<SavedModel> {
        expect_kind(file, "model")?;
        let damaged = |e: serde_json::Error| Error::input(format!("the model's metadata are damaged: {e}"));
        let (inputs, info) = Metadata::parse(file.metadata.clone()).map_err(damaged)?;
        info.data.check(inputs)?;
        let vae = Vae::new(&info.network(inputs)?)?;
        check_tensors(vae.layout(), file, "")?;
        let exemplars = exemplars_of(file, vae.config().prior, vae.config().latent)?;
        let statistics = statistics::check(vae.layout(), file, "")?;
        if file.tensors.len() != vae.layout().entries().len() + statistics + usize::from(exemplars.is_some()) {
            let known = |name: &str| {
                vae.layout().find(name).is_some()
                    || statistics::has(vae.layout(), name)
                    || (exemplars.is_some() && name == EXEMPLARS)
            };
            let extra = file.tensors.iter().find(|t| !known(&t.name));
            let name = extra.map_or("", |t| &t.name);
            return Err(Error::input(format!("tensor {name} is no part of the network that the metadata describe")));
        }
        // Every tensor is there and as large as the network says, so memory is asked for no more than the file has.
        let mut params = Params::zeros(vae.layout());
        unpack_into(vae.layout(), file, "", params.values_mut())?;
        statistics::unpack(vae.layout(), file, "", params.statistics_mut())?;
        params.refresh(Par::Sequential);
        let vae = match exemplars {
            Some(means) => vae.with_exemplars(Arc::new(means)),
            None => vae,
        };
        Ok(SavedModel { vae, params, info })
    }

    /// SHA-256 of the parameters: see [`digest`].
    pub fn digest(&self) -> String {
        digest(&self.vae, &self.params)
    }
}

/// SHA-256 of the parameters' little-endian f32 bytes in canonical order, weights as plain (out, in) rows; then of the
/// statistics', if there are any.
pub fn digest(vae: &Vae, params: &Params<f32>) -> String {
    let mut plain: Vec<_> = vae.layout().entries().iter().map(|e| params.values().unpack(&e.slot)).collect();
    let statistics = vae.layout().statistics().map_or(&[][..], Layout::entries);
    plain.extend(statistics.iter().map(|e| params.statistics().unpack(&e.slot)));
    tensors::digest(plain.iter().filter_map(|a| a.as_slice()))
}

/// The tensor of an exemplar prior's means, (N, L): no parameter, and as much a part of the model.
const EXEMPLARS: &str = "prior.exemplars";

/// The means of a model's exemplars, if its prior has such.
fn exemplars_of(file: &TensorFile, prior: PriorKind, latent: usize) -> Result<Option<Array2<f32>>> {
    if !prior.is_exemplar() {
        return Ok(None);
    }
    let rows = file.tensors.iter().find(|t| t.name == EXEMPLARS).and_then(|t| t.shape.first().copied()).unwrap_or(1);
    let means = file.get::<f32>(EXEMPLARS, &[rows, latent])?;
    if let Some(at) = means.iter().position(|x| !x.is_finite()) {
        return Err(Error::input(format!("tensor {EXEMPLARS} holds a value that is not finite, at {at}")));
    }
    match Array2::from_shape_vec((rows, latent), means.to_vec()) {
        Ok(means) if rows > 0 => Ok(Some(means)),
        _ => Err(Error::input(format!("tensor {EXEMPLARS} has no rows"))),
    }
}

/// The model's file of a path that may be a run folder.
fn model_path(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let file = path.join(MODEL_FILE);
    if file.is_file() {
        return Ok(file);
    }
    let error = Error::input(format!("there is no {MODEL_FILE} in this folder")).at(path.display().to_string());
    let hint = if path.join(super::CHECKPOINT_FILE).is_file() {
        format!("the run has not finished an epoch; continue it with elbo train --resume {}", path.display())
    } else {
        "give the folder of a run, or a model's file".to_owned()
    };
    Err(error.hint(hint))
}

/// Whether a file is a model or a checkpoint, as its metadata say.
pub(super) fn expect_kind(file: &TensorFile, expected: &str) -> Result<()> {
    match file.metadata.get("kind").and_then(Value::as_str) {
        Some(kind) if kind == expected => Ok(()),
        Some(kind) => Err(Error::input(format!("a {kind}, expected a {expected}")).hint(format!(
            "a run folder has both: {MODEL_FILE} is the model, {} the state to resume from",
            super::CHECKPOINT_FILE
        ))),
        None => Err(Error::input(format!("the metadata do not say that this is a {expected}"))),
    }
}

/// A model ready to be written: a copy, so that the best parameters can be kept while training goes on.
#[derive(Debug)]
pub(super) struct Encoded {
    metadata: Value,
    tensors: Vec<Tensor<'static>>,
}

impl Encoded {
    pub(super) fn new(vae: &Vae, params: &Params<f32>, info: &ModelInfo) -> Result<Self> {
        if params.layout() != vae.layout() {
            return Err(Error::input("the parameters are those of another network than the model's"));
        }
        let described = info.network(vae.config().inputs)?;
        if described != *vae.config() {
            return Err(Error::input("the model's information describes another network than the model's, as which it would be read")
                .hint("SavedModel::of has a trainer's; else settings are those of Settings::from_network, and a condition is the data's"));
        }
        let finite = |e: &&crate::tensor::Entry| params.slot(&e.slot).iter().any(|x| !x.is_finite());
        if let Some(bad) = vae.layout().entries().iter().find(finite) {
            return Err(Error::diverged(format!("parameter {} is not finite: this is no model to keep", bad.name)));
        }
        let mut tensors = pack(vae.layout(), params.values(), "");
        statistics::expect_finite(vae.layout(), params.statistics())?;
        tensors.extend(statistics::pack(vae.layout(), params.statistics(), ""));
        match vae.exemplars() {
            Some(means) => {
                let values: Vec<f32> = means.iter().copied().collect();
                tensors.push(Tensor::new(EXEMPLARS, &[means.nrows(), means.ncols()], values));
            }
            None if vae.config().prior.is_exemplar() => {
                return Err(Error::input(format!("a model of the prior {} without its exemplars", vae.config().prior))
                    .hint("Trainer::trained() is the network with them"));
            }
            None => {}
        }
        Ok(Encoded { metadata: Metadata::of(vae, info), tensors })
    }
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        tensors::write(path, &self.metadata, &self.tensors)
    }
}

/// A slab as tensors in canonical order, `prefix` before their names.
pub(super) fn pack(layout: &Layout, slab: &Slab<f32>, prefix: &str) -> Vec<Tensor<'static>> {
    let tensor = |e: &crate::tensor::Entry| {
        let plain = slab.unpack(&e.slot).into_raw_vec_and_offset().0;
        Tensor::new(format!("{prefix}{}", e.name), &e.shape(), plain)
    };
    layout.entries().iter().map(tensor).collect()
}

/// Whether a file has a slab's tensors, each of the right type and shape and finite.
pub(super) fn check_tensors(layout: &Layout, file: &TensorFile, prefix: &str) -> Result<()> {
    for e in layout.entries() {
        let name = format!("{prefix}{}", e.name);
        if let Some(at) = file.get::<f32>(&name, &e.shape())?.iter().position(|x| !x.is_finite()) {
            return Err(Error::input(format!("tensor {name} holds a value that is not finite, at {at}")));
        }
    }
    Ok(())
}

/// Whether a parameter's elements, in a file's order, are zeros where the network has no connection.
pub(crate) fn check_mask(entry: &crate::tensor::Entry, name: &str, plain: &[f32]) -> Result<()> {
    match entry.mask.and_then(|mask| mask.first_outside(entry.slot.rows(), plain)) {
        None => Ok(()),
        Some(at) => Err(Error::input(format!(
            "tensor {name} is {} at {at}, expected 0: there the network of an autoregressive flow has no connection",
            plain[at]
        ))
        .hint("multiply the weight by the flow's mask before it is saved")),
    }
}

/// The inverse of [`pack`]: refuses numbers where the network has no connection, in moments too, which would make weights of
/// them.
pub(super) fn unpack_into(layout: &Layout, file: &TensorFile, prefix: &str, slab: &mut Slab<f32>) -> Result<()> {
    for e in layout.entries() {
        let name = format!("{prefix}{}", e.name);
        let plain = file.get::<f32>(&name, &e.shape())?;
        check_mask(e, &name, plain)?;
        slab.pack(&e.slot, plain);
    }
    Ok(())
}
