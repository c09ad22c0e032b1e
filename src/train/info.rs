//! What a model's file says of the model besides its numbers: data, settings, and which of a run's parameters they are.

use super::{Settings, State};
use crate::data::{Condition, Dataset, ImageShape};
use crate::error::{Error, Result, start_of};
use crate::model::{Vae, VaeConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

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
    pub(super) fn check(&self, inputs: usize) -> Result<()> {
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
    /// The network of rows of `inputs` columns that it describes.
    pub(super) fn network(&self, inputs: usize) -> Result<VaeConfig> {
        let condition = self.data.condition.as_ref().map_or(0, Condition::cols);
        Ok(VaeConfig { condition, ..self.settings.network(inputs)? })
    }
}

/// The settings that are the network, and so stand under `architecture`.
const ARCHITECTURE: [&str; 15] = [
    "preset",
    "hidden",
    "latent",
    "layer",
    "activation",
    "norm",
    "residual",
    "dropout",
    "heads",
    "prior",
    "conditional-prior",
    "posterior",
    "lower",
    "log-variance",
    "init",
];

/// Metadata, as it is in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Metadata {
    kind: String,
    version: String,
    architecture: Map<String, Value>,
    likelihood: Value,
    data: DataInfo,
    training: Map<String, Value>,
}

impl Metadata {
    pub(super) fn of(vae: &Vae, info: &ModelInfo) -> Value {
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
    pub(super) fn parse(value: Value) -> std::result::Result<(usize, ModelInfo), serde_json::Error> {
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
