//! A run: its configuration, data, network and state. The loop that trains is in [`epochs`].

mod epochs;

use super::config::TrainConfig;
use super::diagnose::bad_parameter;
use super::exemplars::{RunExemplars, remember};
use super::placement::Placement;
use crate::data::{Batches, Dataset, Feed, View};
use crate::error::{Error, Result};
use crate::estimator::{Estimator, Objective};
use crate::model::{Inference, MixturePrior, Stats, Vae, Workspace};
use crate::optim::{Optimizer, OptimizerKind};
use crate::tensor::{Cores, Exec, Noise, Params, Slab, Stream};

/// All that a run needs to go on as if it had never stopped, besides its configuration and data.
#[derive(Clone, PartialEq, Debug)]
pub struct State {
    /// Epochs finished.
    pub epoch: u64,
    /// Steps taken.
    pub step: u64,
    /// Steps taken in the epoch under way; all of them, if it is still to be evaluated.
    pub batch: u64,
    /// Sums of the epoch under way.
    pub sums: Stats,
    /// The best validation objective so far and its epoch.
    pub best: Option<(f64, u64)>,
}

/// Rows and seconds of training in the epoch under way, since the run was started or resumed: no part of its state.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    rows: u64,
    seconds: f64,
}

/// Trains a [`Vae`]. See the crate's front page for an example.
#[derive(Debug)]
pub struct Trainer {
    config: TrainConfig,
    data: Dataset,
    ex: Exec,
    vae: Vae,
    estimator: Objective,
    params: Params<f32>,
    /// Of the parameters, if one is kept.
    average: Option<Params<f32>>,
    grads: Option<Slab<f32>>,
    optimizer: Optimizer<f32>,
    pub(super) workspace: Workspace<f32>,
    /// Where the prior is made of training rows.
    pub(super) exemplars: Option<RunExemplars>,
    feed: Feed,
    noise: Noise,
    state: State,
    pace: Pace,
    placement: Placement,
}

/// Pseudo-inputs start as rows of the training data: which ones follows from the seed.
fn start_prior(vae: &Vae, params: &mut Params<f32>, rows: &View, noise: Noise) -> Result<()> {
    let Some(slot) = vae.mixture().and_then(MixturePrior::pseudo_inputs) else { return Ok(()) };
    if slot.rows() > rows.len() {
        let what =
            format!("{} pseudo-inputs start as so many training rows, and there are {}", slot.rows(), rows.len());
        return Err(Error::input(what).hint("--prior vamp:N with a smaller N"));
    }
    let mut rng = noise.rng(Stream::Init, 1, 0, 0);
    let mut x = vec![0.0; slot.cols()];
    for (c, row) in rand::seq::index::sample(&mut rng, rows.len(), slot.rows()).into_iter().enumerate() {
        rows.gather(row, &mut x);
        x.iter().enumerate().for_each(|(d, &value)| params.values_mut().set(&slot, c, d, value));
    }
    rows.check_read()?;
    params.refresh(crate::tensor::Par::Sequential);
    Ok(())
}

impl Trainer {
    /// A run at its start.
    ///
    /// # Errors
    /// As [`TrainConfig::check`] and [`Feed::new`], and a network or a batch larger than memory.
    pub fn new(config: TrainConfig, data: Dataset, ex: Exec) -> Result<Self> {
        Self::build(config, data, ex, |config, vae, rows, noise| {
            let mut params = Params::init(vae.layout(), &noise);
            config.output_bias.apply(vae, rows, &mut params)?;
            start_prior(vae, &mut params, rows, noise)?;
            Ok(params)
        })
    }
    /// A run at its start, with the parameters and running averages of a trained network, an embedder's own or one of a file. Moments start
    /// anew.
    ///
    /// # Errors
    /// As [`new`](Self::new), and parameters whose tensors are not those of the configuration's network: the first, and the shape
    /// expected and found.
    pub fn starting_from(config: TrainConfig, data: Dataset, ex: Exec, params: &Params<f32>) -> Result<Self> {
        Self::build(config, data, ex, |_, vae, _, _| params.laid_out(vae.layout()))
    }
    /// A run whose state is still to be [restored](Self::restore).
    #[cfg(feature = "files")]
    pub(super) fn blank(config: TrainConfig, data: Dataset, ex: Exec) -> Result<Self> {
        Self::build(config, data, ex, |_, vae, _, _| Ok(Params::zeros(vae.layout())))
    }
    fn build(
        config: TrainConfig,
        data: Dataset,
        ex: Exec,
        first: impl FnOnce(&TrainConfig, &Vae, &View, Noise) -> Result<Params<f32>>,
    ) -> Result<Self> {
        let vae = Vae::new(&config.vae)?;
        config.check(&vae, &data)?;
        let noise = Noise::new(config.seed);
        let size = config.batch_size.min(data.train().len());
        config.check_memory(&vae, size)?;
        let estimator = config.estimator().with_penalty(config.penalty_of(data.train().len()));
        let params = first(&config, &vae, data.train(), noise)?.with_precision(config.precision);
        let workspace = Workspace::new(&vae, &params, size, Estimator::<f32>::samples(&estimator), &ex);
        let mut workspace = workspace.corrupted(&vae, config.corrupt);
        let exemplars = RunExemplars::new(&config, data.train(), noise);
        if let Some(exemplars) = &exemplars {
            workspace = workspace.with_exemplars(&vae, exemplars.rows().clone(), &ex);
            remember(&mut workspace, exemplars.encode(&vae, &params, &ex).view());
        }
        let whole = config.clip.is_some() || config.normalize;
        let fuses = !whole && workspace.fuses() && config.optimizer.kind != OptimizerKind::Sgd;
        Ok(Trainer {
            average: config.average.map(|_| params.clone()),
            params,
            grads: (!fuses).then(|| Slab::zeros(vae.layout())),
            optimizer: Optimizer::new(&config.optimizer, vae.layout())?,
            workspace,
            exemplars,
            feed: Feed::new(data.train(), Batches::new(data.train().len(), size, noise)?)?,
            state: State { epoch: 0, step: 0, batch: 0, sums: Stats::new(vae.kl_parts()), best: None },
            pace: Pace::default(),
            placement: Placement::default(),
            config,
            data,
            ex,
            vae,
            estimator,
            noise,
        })
    }
    /// Lets gradients go to memory before the optimizer takes them, as where they are clipped: slower, and the same bytes.
    #[must_use]
    pub fn unfused(mut self) -> Self {
        self.grads.get_or_insert_with(|| Slab::zeros(self.vae.layout()));
        self
    }
    /// Takes the threads' cores to stand so, whatever is measured: another speed, and the same bytes.
    #[must_use]
    pub fn placed(mut self, cores: Cores) -> Self {
        self.params.place(cores);
        self.placement.fix();
        self
    }
    /// Multiplies zeros of the data like any other number: slower where there are many, and the same bytes.
    #[must_use]
    pub fn dense(mut self) -> Self {
        self.workspace = self.workspace.dense();
        self
    }
    /// The run's choices.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }
    /// The run's data.
    pub fn data(&self) -> &Dataset {
        &self.data
    }
    /// The network; with the exemplars of its prior, if that is made of such, it is [`trained`](Self::trained).
    pub fn vae(&self) -> &Vae {
        &self.vae
    }
    /// The parameters, as the last step left them.
    pub fn params(&self) -> &Params<f32> {
        &self.params
    }
    /// The average of the parameters, if one is kept.
    pub fn average(&self) -> Option<&Params<f32>> {
        self.average.as_ref()
    }
    /// The parameters that are the model: their average, if one is kept, else the last.
    pub fn model(&self) -> &Params<f32> {
        self.average.as_ref().unwrap_or(&self.params)
    }
    /// The optimizer, with its moments.
    pub fn optimizer(&self) -> &Optimizer<f32> {
        &self.optimizer
    }
    /// Where the run stands.
    pub fn state(&self) -> &State {
        &self.state
    }
    /// How it runs.
    pub fn exec(&self) -> &Exec {
        &self.ex
    }
    /// The threads that a step is shared among: one, where it is too small to repay waking the others.
    pub fn threads_used(&self) -> usize {
        self.workspace.threads()
    }
    /// The model with its present parameters, ready to be used.
    pub fn inference(&self) -> Inference<'_, f32> {
        let inference = Inference::new(&self.vae, self.model(), &self.ex);
        match self.exemplars() {
            Some(means) => inference.with_exemplars(&means),
            None => inference,
        }
    }
    /// Steps of an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.config.steps_per_epoch(self.data.train().len())
    }
    /// Puts the run where another one stood. Parameters and optimizer are filled by `fill` before transposes are made.
    ///
    /// # Errors
    /// Whatever `fill` returns, or a state that does not belong to this configuration and data.
    pub fn restore(
        &mut self,
        state: State,
        fill: impl FnOnce(&mut Slab<f32>, &mut Optimizer<f32>) -> Result<()>,
    ) -> Result<()> {
        let steps = self.steps_per_epoch();
        let step = state.epoch.checked_mul(steps).and_then(|s| s.checked_add(state.batch));
        let epochs = state.best.is_none_or(|(_, best)| (1..=state.epoch).contains(&best));
        let rows = state.batch.saturating_mul(self.config.batch_size as u64).min(self.data.train().len() as u64);
        let sums = state.sums.kl.len() == self.vae.kl_parts() && state.sums.rows == rows;
        if state.batch > steps || step != Some(state.step) || !epochs || !sums {
            return Err(Error::input(format!(
                "the checkpoint stands at step {} (epoch {}, batch {}, {} rows), which does not fit epochs of {steps} steps",
                state.step, state.epoch, state.batch, state.sums.rows
            ))
            .hint("resume with the data and the batch size that the run was started with, or from an earlier checkpoint"));
        }
        // A batch whose terms are not finite ends a run; an objective that is no number is never the best.
        let finite = |sums: &[f64]| sums.iter().all(|sum| sum.is_finite());
        let sums = [
            ("the sum of the reconstruction", finite(&[state.sums.reconstruction])),
            ("a sum of the KL", finite(&state.sums.kl)),
            ("the sum of the objective", finite(state.sums.objective.as_slice())),
            ("the sum of the penalty", finite(state.sums.penalty.as_slice())),
            ("the sum of the bound", finite(state.sums.bound.as_slice())),
            ("the best objective", state.best.is_none_or(|(best, _)| !best.is_nan())),
        ];
        if let Some((sum, _)) = sums.iter().find(|(_, sound)| !sound) {
            return Err(Error::input(format!("{sum} is not finite"))
                .hint("the checkpoint is damaged; start from an earlier one"));
        }
        fill(self.params.values_mut(), &mut self.optimizer)?;
        let taken = self.optimizer.steps();
        if taken != state.step {
            let what = format!("the checkpoint stands at step {}, and its optimizer at step {taken}", state.step);
            return Err(Error::input(what).hint("the checkpoint is damaged; start from an earlier one"));
        }
        self.params.refresh(crate::tensor::Par::Sequential);
        self.exemplars.iter_mut().for_each(RunExemplars::forget);
        self.state = state;
        self.pace = Pace::default();
        Ok(())
    }
    /// Fills the average of a run that is restored, if one is kept.
    ///
    /// # Errors
    /// Whatever `fill` returns.
    pub fn restore_average(&mut self, fill: impl FnOnce(&mut Slab<f32>) -> Result<()>) -> Result<()> {
        let Some(average) = &mut self.average else { return Ok(()) };
        fill(average.values_mut())?;
        average.refresh(crate::tensor::Par::Sequential);
        Ok(())
    }
    /// Fills the statistics of a run that is restored, and those of the average, if one is kept.
    ///
    /// # Errors
    /// Whatever `fill` returns.
    pub fn restore_statistics(
        &mut self,
        fill: impl FnOnce(&mut Slab<f32>, Option<&mut Slab<f32>>) -> Result<()>,
    ) -> Result<()> {
        fill(self.params.statistics_mut(), self.average.as_mut().map(Params::statistics_mut))
    }
    /// Whether a parameter is not finite, and which.
    pub fn bad_parameter(&self) -> Option<String> {
        bad_parameter(&self.vae, &self.params)
    }
}
