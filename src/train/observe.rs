//! What a run says of itself while it trains, and to whom.

use super::{Metrics, Trainer};
use crate::error::Result;
use crate::model::Vae;
use crate::tensor::Params;
use std::sync::atomic::AtomicBool;

/// Whether to go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// Go on.
    Continue,
    /// Stop after this step; the state can be saved and resumed.
    Stop,
}

/// What a step did. Nats per example.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct StepReport {
    /// Steps since the start of the run, this one included.
    pub step: u64,
    /// The epoch, from 1.
    pub epoch: u64,
    /// Training rows of this epoch that have been used, and that there are.
    pub rows: (u64, u64),
    /// The batch's terms.
    pub train: Metrics,
    /// The gradient's global norm before clipping, if clipping is on.
    pub gradient_norm: Option<f64>,
}

/// What an epoch did. Nats per example.
#[derive(Clone, PartialEq, Debug)]
pub struct EpochReport {
    /// The epoch, from 1.
    pub epoch: u64,
    /// Steps since the start of the run.
    pub step: u64,
    /// Means over the epoch's batches, each with the parameters that it met.
    pub train: Metrics,
    /// The validation split, with the parameters at the epoch's end.
    pub validation: Option<Metrics>,
    /// The test split, likewise; for the record, it decides nothing.
    pub heldout: Option<Metrics>,
    /// The KL's weight in the last step.
    pub beta: f64,
    /// The KL of z and of each level below it, from z down, mean over the epoch's batches; empty without such levels.
    pub kl_by_level: Vec<f64>,
    /// Latents in use on the test split (or the validation, or the training split).
    pub active_units: usize,
    /// Training rows a second, evaluation not counted.
    pub samples_per_second: f64,
    /// The learning rate of the last step.
    pub learning_rate: f64,
    /// Seconds of training, evaluation not counted; of an epoch that was interrupted, those of its last part.
    pub seconds: f64,
    /// Whether the validation objective is the best so far; always true without a validation split.
    pub improved: bool,
}

/// Called while training. Return [`Flow::Stop`] to end the run there.
pub trait Observer: Send {
    /// After each step.
    ///
    /// # Errors
    /// Whatever should end the training.
    fn step(&mut self, _trainer: &Trainer, _report: &StepReport) -> Result<Flow> {
        Ok(Flow::Continue)
    }
    /// After each epoch.
    ///
    /// # Errors
    /// Whatever should end the training.
    fn epoch(&mut self, _trainer: &Trainer, _report: &EpochReport) -> Result<Flow> {
        Ok(Flow::Continue)
    }
    /// A flag that, once set, ends the evaluation after an epoch: the run stops before it, and does it again when it goes
    /// on.
    fn stop(&self) -> Option<&AtomicBool> {
        None
    }
}

/// Observes nothing.
impl Observer for () {}

/// A closure observes epochs.
impl<F: FnMut(&EpochReport) -> Flow + Send> Observer for F {
    fn epoch(&mut self, _: &Trainer, report: &EpochReport) -> Result<Flow> {
        Ok(self(report))
    }
}

/// Keeps the model of the best epoch by validation, of the last where there is no validation split; for a trainer without a run folder.
///
/// ```
/// use elbo::data::{Dataset, Validation};
/// use elbo::tensor::Exec;
/// use elbo::train::{KeepBest, TrainConfig, Trainer};
/// let x = ndarray::Array2::from_shape_fn((60, 4), |(r, c)| ((r * 7 + c * 3) % 5) as f32 / 5.0);
/// let data = Dataset::from_array(x.view())?.with_validation(Validation::Rows(10), 0)?;
/// let config = TrainConfig { patience: Some(1), ..TrainConfig::preset("tabular", 4)? };
/// let (mut trainer, mut best) = (Trainer::new(config, data, Exec::sequential()?)?, KeepBest::default());
/// trainer.run(&mut best)?;
/// let (epoch, vae, params) = best.into_model().expect("an epoch was finished");
/// assert!(epoch <= trainer.state().epoch && params.layout() == vae.layout());
/// # Ok::<(), elbo::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct KeepBest(Option<(u64, Vae, Params<f32>)>);

impl KeepBest {
    /// The epoch, the network, with the exemplars of its prior if that is made of such, and its parameters; none before the first
    /// epoch's end.
    pub fn into_model(self) -> Option<(u64, Vae, Params<f32>)> {
        self.0
    }
}

impl Observer for KeepBest {
    fn epoch(&mut self, trainer: &Trainer, report: &EpochReport) -> Result<Flow> {
        if report.improved {
            self.0 = Some((report.epoch, trainer.trained().into_owned(), trainer.model().clone()));
        }
        Ok(Flow::Continue)
    }
}
