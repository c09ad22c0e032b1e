//! A run that starts from a trained model, and not from numbers drawn by its seed: `elbo train --from MODEL`.
//!
//! The network is the model's; training's settings are the run's own, as are the optimizer's moments, which start anew.

use super::{SavedModel, Settings, TrainConfig, Trainer};
use crate::data::{Condition, ConditionColumns, Dataset};
use crate::error::{Error, Result};
use crate::tensor::Exec;
use std::path::Path;

/// A trained model, and where it lies.
///
/// ```
/// use elbo::train::{Place, RunFolder, Settings, Start, Trainer};
/// use elbo::{data::load, tensor::Exec};
/// # let scratch = tempfile::tempdir().unwrap();
/// # let (first, second) = (scratch.path().join("first"), scratch.path().join("second"));
/// let settings = Settings { data: Some("gaussian-2d".into()), epochs: Some(2), ..Settings::default() };
/// let data = settings.load_data()?;
/// let mut trainer = Trainer::new(settings.resolve(&data)?.0, data.clone(), Exec::sequential()?)?;
/// let mut run = RunFolder::create(&Place::New(first.clone()), &trainer, "gaussian-2d")?;
/// run.train(&mut trainer, &mut (), &false.into())?;
///
/// let start = Start::load(&first)?;
/// let settings = start.settings(Settings { learning_rate: Some(1e-4), ..settings })?;
/// let mut trainer = start.trainer(settings.resolve(&data)?.0, data, Exec::sequential()?)?;
/// let mut run = RunFolder::create_from(&Place::New(second), &trainer, "gaussian-2d", &start)?;
/// run.train(&mut trainer, &mut (), &false.into())?;
/// # Ok::<(), elbo::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Start {
    model: SavedModel,
    source: String,
}

impl Start {
    /// Reads a model from a file or from a run folder.
    ///
    /// # Errors
    /// As [`SavedModel::load`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Start { model: SavedModel::load(&path)?, source: Self::place(path) })
    }
    /// A path in words that hold in any folder.
    pub fn place(path: impl AsRef<Path>) -> String {
        let path = path.as_ref();
        std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
    }
    /// The model.
    pub fn model(&self) -> &SavedModel {
        &self.model
    }
    /// Where it lies, in words that hold in any folder.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Settings with the model's network wherever they leave a choice open.
    ///
    /// # Errors
    /// A preset, an initialisation, a bias of the output or a condition that the model does not have. Whether its tensors fit the other
    /// choices, [`trainer`](Self::trainer) finds.
    pub fn settings(&self, settings: Settings) -> Result<Settings> {
        let columns = self.model.info.data.condition.as_ref().map(Condition::columns);
        // The same columns may be spelled in another way.
        let same = |asked: &String| match (&columns, asked.parse::<ConditionColumns>()) {
            (Some(own), Ok(asked)) => own.names().eq(asked.names()),
            _ => false,
        };
        let settings = Settings { condition: settings.condition.filter(|asked| !same(asked)), ..settings };
        let condition = columns.map(|columns| columns.to_string());
        let own = Settings { condition, ..Settings::from_network(self.model.vae.config()) };
        let fixed = [
            ("preset", &settings.preset, &own.preset),
            ("init", &settings.init, &own.init),
            ("condition", &settings.condition, &own.condition),
            ("output-bias", &settings.output_bias, &None),
        ];
        for (key, asked, has) in fixed {
            let Some(asked) = asked.as_ref().filter(|asked| Some(*asked) != has.as_ref()) else { continue };
            let has = has.as_ref().map_or_else(|| "has none".to_owned(), |has| format!("has {has}"));
            return Err(Error::input(format!("{key} is {asked}, and the model to start from {has}"))
                .at(self.source.clone())
                .hint(format!("leave {key} out: what starts from a trained model keeps its network and its numbers")));
        }
        Ok(Settings { from: Some(self.source.clone()), ..own.merge(settings) })
    }

    /// A run at its start, with the model's parameters and running averages.
    ///
    /// # Errors
    /// As [`Trainer::starting_from`], and data whose columns, or their condition, are not those that the model was trained on.
    pub fn trainer(&self, config: TrainConfig, data: Dataset, ex: Exec) -> Result<Trainer> {
        self.check_data(&data)?;
        Trainer::starting_from(config, data, ex, &self.model.params)
    }

    fn check_data(&self, data: &Dataset) -> Result<()> {
        let info = &self.model.info.data;
        data.all().expect_cols(self.model.vae.config().inputs)?;
        info.expect(data)?;
        if data.condition() != info.condition.as_ref() {
            return Err(Error::input(format!(
                "{} gives its condition other labels, or numbers of another mean or deviation, than the model was trained with",
                data.name()
            ))
            .hint(
                "a conditional model goes on with rows that have its labels; numbers are standardised by the rows that a run trains on, so \
                 that they need the same data and --validation; or train anew",
            ));
        }
        Ok(())
    }
}
