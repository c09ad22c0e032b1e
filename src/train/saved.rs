//! A trained model in a file: `model.safetensors`.
//!
//! Its parameters' names, their layout and the metadata are described in [`format`](crate::files::format). No times,
//! threads, hosts or paths are among them: data are known by name, so equal runs save equal bytes.

use super::{Settings, State, statistics};
use crate::data::{Condition, Dataset, ImageShape};
use crate::density::PriorKind;
use crate::error::{Error, Result, start_of};
use crate::files::tensors::{self, Tensor, TensorFile};
use crate::model::{Vae, VaeConfig};
use crate::tensor::{Layout, Par, Params, Slab};
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The model's file in a run folder.
pub const MODEL_FILE: &str = "model.safetensors";

/// Why these parameters, of all that a run went through, are the model.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Selected {
    /// The validation objective was best with them.
    #[serde(rename = "best validation")]
    BestValidation,
    /// They were the last.
    #[serde(rename = "last")]
    Last,
}

impl std::fmt::Display for Selected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Selected::BestValidation => "best validation",
            Selected::Last => "last",
        })
    }
}

/// What a model was trained on.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataInfo {
    /// The set's name.
    pub name: String,
    /// What stored values were multiplied by: 1/255 for pixels of 8 bits, else 1.
    pub scale: f64,
    /// Height, width and channels, if rows are pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<[usize; 3]>,
    /// The columns' names, if they have any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
    /// What the rows are conditioned on, if anything: labels, and how numbers are standardised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
}

impl DataInfo {
    /// What is to be known of a data set.
    pub fn new(data: &Dataset) -> Self {
        let all = data.all();
        DataInfo {
            name: data.name().to_owned(),
            scale: all.rows().scale(),
            image: all.image().map(|i| [i.height, i.width, i.channels]),
            columns: all.names().map(<[String]>::to_vec),
            condition: data.condition().cloned(),
        }
    }
    /// What is to be said of data that nobody named.
    pub fn unknown() -> Self {
        DataInfo { name: "unknown data".to_owned(), scale: 1.0, image: None, columns: None, condition: None }
    }
    /// Whether data are of this kind: their columns are the same by name, if both have names, and where a model was trained on numbers of
    /// 8 bits, divided by 255, they are not such numbers undivided.
    ///
    /// # Errors
    /// The first column with another name; the first value above 1 of whole numbers from 0 to 255.
    pub fn expect(&self, data: &Dataset) -> Result<()> {
        let all = data.all();
        if self.scale != 1.0
            && !all.is_bytes()
            && let Some((position, col, value)) = all.first_outside(0.0, 1.0)
            && all.first_outside(0.0, 255.0).is_none()
            && all.first_fractional().is_none()
        {
            let row = all.id(position);
            let what = format!(
                "row {row}, column {col} is {value}, and the model was trained on numbers of 8 bits, divided by 255"
            );
            return Err(Error::input(what).at(data.name()).hint("divide the data by 255, or save them in 8 bits"));
        }
        let (Some(known), Some(names)) = (&self.columns, data.all().names()) else { return Ok(()) };
        let Some(at) = known.iter().zip(names).position(|(known, name)| known != name) else { return Ok(()) };
        let what = format!("column {at} is {:?}, and the model was trained with {:?} there", names[at], known[at]);
        Err(Error::input(what)
            .at(data.name())
            .hint(format!("put the columns in the model's order, by its names: {}", start_of(&known.join(",")))))
    }
    /// The picture that a row is, if it is one.
    pub fn image(&self) -> Option<ImageShape> {
        self.image.map(|[height, width, channels]| ImageShape { height, width, channels })
    }
    fn check(&self, inputs: usize) -> Result<()> {
        self.condition.as_ref().map_or(Ok(()), Condition::check)?;
        let image = self.image().is_none_or(|i| i.values() == Some(inputs));
        let columns = self.columns.as_ref().is_none_or(|c| c.len() == inputs);
        if image && columns && self.scale.is_finite() && self.scale > 0.0 {
            return Ok(());
        }
        Err(Error::input(format!("the metadata's data (scale, image or columns) do not fit rows of {inputs} columns")))
    }
}

/// Where a model comes from.
#[derive(Clone, PartialEq, Debug)]
pub struct ModelInfo {
    /// The version of elbo that saved it.
    pub version: String,
    /// What it was trained on.
    pub data: DataInfo,
    /// Every setting of the run; `data` is the set's name.
    pub settings: Settings,
    /// Epochs finished.
    pub epoch: u64,
    /// Steps taken.
    pub step: u64,
    /// Why these parameters.
    pub selected: Selected,
}

impl ModelInfo {
    pub(super) fn new(settings: &Settings, data: &Dataset, state: &State, selected: Selected) -> Self {
        let settings = Settings { data: Some(data.name().to_owned()), ..settings.clone() };
        ModelInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            data: DataInfo::new(data),
            settings,
            epoch: state.epoch,
            step: state.step,
            selected,
        }
    }
}

/// The settings that are the network, and so stand under `architecture`.
const ARCHITECTURE: [&str; 11] = [
    "preset",
    "hidden",
    "latent",
    "layer",
    "activation",
    "heads",
    "prior",
    "posterior",
    "lower",
    "log-variance",
    "init",
];

/// Metadata, as it is in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    kind: String,
    version: String,
    architecture: Map<String, Value>,
    likelihood: Value,
    data: DataInfo,
    training: Map<String, Value>,
}

impl Metadata {
    fn of(vae: &Vae, info: &ModelInfo) -> Value {
        let mut training = info.settings.to_json();
        let mut architecture = Map::from_iter([("inputs".to_owned(), json!(vae.config().inputs))]);
        for key in ARCHITECTURE {
            architecture.extend(training.remove(key).map(|value| (key.to_owned(), value)));
        }
        let likelihood = training.remove("likelihood").unwrap_or_default();
        training.extend(
            json!({"epoch": info.epoch, "step": info.step, "selected": info.selected})
                .as_object()
                .cloned()
                .unwrap_or_default(),
        );
        let metadata = Metadata {
            kind: "model".to_owned(),
            version: info.version.clone(),
            architecture,
            likelihood,
            data: info.data.clone(),
            training,
        };
        json!(metadata)
    }

    /// The columns of x, and the model's information.
    fn parse(value: Value) -> std::result::Result<(usize, ModelInfo), serde_json::Error> {
        let mut metadata: Metadata = serde_json::from_value(value)?;
        let take = |map: &mut Map<String, Value>, key: &str| map.remove(key).unwrap_or_default();
        let inputs = serde_json::from_value(take(&mut metadata.architecture, "inputs"))?;
        let mut settings = metadata.training;
        let epoch = serde_json::from_value(take(&mut settings, "epoch"))?;
        let step = serde_json::from_value(take(&mut settings, "step"))?;
        let selected = serde_json::from_value(take(&mut settings, "selected"))?;
        settings.extend(metadata.architecture);
        settings.insert("likelihood".to_owned(), metadata.likelihood);
        let settings = serde_json::from_value(Value::Object(settings))?;
        Ok((inputs, ModelInfo { version: metadata.version, data: metadata.data, settings, epoch, step, selected }))
    }
}

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
    /// Its parameters.
    pub params: Params<f32>,
    /// Where they come from.
    pub info: ModelInfo,
}

impl SavedModel {
    /// Writes the model to a file, [atomically](crate::files::atomic::write).
    ///
    /// # Errors
    /// A parameter that is not finite, an exemplar prior without its exemplars, or a file that cannot be written.
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
        let condition = info.data.condition.as_ref().map_or(0, Condition::cols);
        let vae = Vae::new(&VaeConfig { condition, ..info.settings.network(inputs)? })?;
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
