//! The training loop.

use super::config::TrainConfig;
use super::diagnose::{bad_parameter, diverged};
use super::evaluate::{Evaluation, Metrics, active_units, evaluate_objective};
use super::exemplars::{RunExemplars, remember};
use super::observe::{EpochReport, Flow, Observer, StepReport};
use super::placement::Placement;
use crate::data::{Batches, Binarize, Dataset, Feed, View};
use crate::error::{Error, Result};
use crate::estimator::{BetaSchedule, Estimator, Objective};
use crate::model::{Draw, Inference, MixturePrior, Stats, Vae, Workspace};
use crate::optim::{Optimizer, OptimizerKind, average_decay, average_into, clip_global_norm, normalize_each};
use crate::tensor::{Cores, Exec, Noise, Params, Slab, Stream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

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
        let vae = Vae::new(&config.vae)?;
        config.check(&vae, &data)?;
        let noise = Noise::new(config.seed);
        let size = config.batch_size.min(data.train().len());
        config.check_memory(&vae, size)?;
        let estimator = config.estimator().with_penalty(config.penalty_of(data.train().len()));
        let mut params = Params::init(vae.layout(), &noise);
        config.output_bias.apply(&vae, data.train(), &mut params)?;
        start_prior(&vae, &mut params, data.train(), noise)?;
        let params = params.with_precision(config.precision);
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
    /// The network.
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

    /// Trains until the last epoch, until patience runs out, or until the observer says stop.
    ///
    /// # Errors
    /// The observer's, that the objective stopped being finite (with step, term, layer and likely cause), or that
    /// streamed data could not be read.
    pub fn run(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let ex = self.ex.clone();
        ex.install(|| {
            while self.state.epoch < self.config.epochs && !self.out_of_patience() {
                if self.run_epoch(observer)? == Flow::Stop {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Whether the validation objective has not improved for as many epochs as patience allows. Epochs of the KL's warm-up do not
    /// count: what is trained then is not yet what validation measures.
    pub fn out_of_patience(&self) -> bool {
        let warm = match self.config.beta {
            BetaSchedule::Linear { warmup, .. } => warmup.div_ceil(self.steps_per_epoch()),
            BetaSchedule::Constant(_) | BetaSchedule::Cyclic { .. } => 0,
        };
        let best = self.state.best.map_or(0, |(_, epoch)| epoch);
        let since_best = self.state.epoch.saturating_sub(best.max(warm));
        self.config.patience.is_some_and(|patience| since_best >= patience)
    }

    fn run_epoch(&mut self, observer: &mut dyn Observer) -> Result<Flow> {
        if self.workspace.threads() > 1 {
            self.placement.look(&self.ex, &mut self.params);
        }
        let steps = self.steps_per_epoch();
        while self.state.batch < steps {
            let start = Instant::now();
            let report = self.step()?;
            self.pace.seconds += start.elapsed().as_secs_f64();
            if observer.step(self, &report)? == Flow::Stop {
                // At an epoch's end the epoch is finished first, if there is time, so that the record has its line.
                if self.state.batch == steps {
                    self.end_epoch(observer)?;
                }
                return Ok(Flow::Stop);
            }
        }
        self.end_epoch(observer)
    }

    /// One step: the objective's gradient over the next batch, and the optimizer's update.
    fn step(&mut self) -> Result<StepReport> {
        let (isa, step) = (self.ex.isa(), self.state.step);
        let (noise, binarize) = (self.noise, self.config.binarize);
        self.feed.load(self.state.epoch, self.state.batch as usize)?;
        let rows = self.feed.batch();
        let cols = self.data.train().cols();
        let fill = |r: usize, row: &mut [f32]| {
            let (x, c) = row.split_at_mut(cols);
            rows.gather(r, x);
            rows.gather_condition(r, c);
            if binarize != Binarize::None {
                binarize.apply(noise, step, rows.id(r) as u64, x);
            }
        };
        let draw = Draw { noise, stream: Stream::Train, step };
        let (beta, lr) = (self.beta(step), self.learning_rate(step));
        let estimator = &self.config.estimator_at(step, self.data.train().len());
        let (vae, ws) = (&self.vae, &mut self.workspace);
        ws.place(rows.len(), |r| Some(rows.position(r)));
        vae.rows_pass(isa, &self.params, rows.len(), &fill, &draw, estimator, beta, ws);
        let stats = ws.stats();
        if !(stats.neg_elbo().is_finite() && stats.penalty.is_none_or(f64::is_finite)) {
            return Err(diverged(step + 1, stats, vae, &self.params, ws));
        }
        let train = Metrics::from(stats);
        self.pace.rows += stats.rows;
        self.state.sums.add(stats);
        // By whole batches only: the last one of an epoch may be a row or two.
        let whole = stats.rows == self.config.batch_size.min(self.data.train().len()) as u64;
        let optimum = vae.likelihood::<f32>().optimum(&self.params, train.reconstruction).filter(|_| whole);
        vae.follow_batch(ws, &mut self.params);
        let gradient_norm = self.update(lr);
        if let Some((slot, value)) = optimum {
            self.params.values_mut().set(&slot, 0, 0, value);
        }
        if let Some((average, decay)) = self.average.as_mut().zip(self.config.average) {
            average_into(self.workspace.par(), average, &mut self.params, average_decay(decay, step));
        }
        self.state.step += 1;
        self.state.batch += 1;
        let rows = (self.state.sums.rows, self.data.train().len() as u64);
        Ok(StepReport { step: self.state.step, epoch: self.state.epoch + 1, rows, train, gradient_norm })
    }

    /// The parameters' update by the gradient of the batch that the workspace holds. Returns the gradient's norm before
    /// clipping, if clipping is on.
    fn update(&mut self, learning_rate: f64) -> Option<f64> {
        let (isa, par, ws) = (self.ex.isa(), self.workspace.par(), &self.workspace);
        let Some(grads) = &mut self.grads else {
            if let Some((step, moments)) = self.optimizer.fused(learning_rate) {
                self.vae.adam(isa, ws, &step, &mut self.params, moments);
            }
            return None;
        };
        self.vae.weights_pass(isa, ws, grads);
        let norm = self.config.clip.map(|max| clip_global_norm(isa, par, self.vae.layout(), grads, max));
        if self.config.normalize {
            normalize_each(isa, par, self.vae.layout(), grads);
        }
        self.optimizer.step(isa, par, self.params.values_mut(), grads, learning_rate);
        self.params.refresh(par);
        norm
    }

    fn end_epoch(&mut self, observer: &mut dyn Observer) -> Result<Flow> {
        if let Some(name) = self.bad_parameter() {
            return Err(Error::diverged(format!("step {}: parameter {name} is not finite", self.state.step))
                .hint("lower --learning-rate, or limit gradients with --clip 100"));
        }
        self.encode_exemplars();
        let (epoch, stop) = (self.state.epoch + 1, observer.stop());
        let validation = self.data.validation().map(|v| self.evaluate(v, stop));
        let heldout = self.data.test().map(|v| self.evaluate(v, stop));
        let active_units = match heldout.as_ref().or(validation.as_ref()) {
            Some(evaluation) => evaluation.active_units,
            None => {
                active_units(&mut self.inference().until(stop), self.data.train(), self.config.binarize, self.noise)
            }
        };
        if stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            return Ok(Flow::Stop);
        }
        self.data.all().check_read()?;
        let improved = match &validation {
            None => true,
            Some(e) => {
                let objective = self.objective(&e.stats);
                // An objective that is no number is never the best: no later one would be below it.
                let better = !objective.is_nan() && self.state.best.is_none_or(|(best, _)| objective < best);
                if better {
                    self.state.best = Some((objective, epoch));
                }
                better
            }
        };
        let last = self.state.step - 1;
        let report = EpochReport {
            epoch,
            step: self.state.step,
            train: Metrics::from(&self.state.sums),
            validation: validation.map(|e| Metrics::from(&e.stats)),
            heldout: heldout.map(|e| Metrics::from(&e.stats)),
            beta: self.beta(last),
            kl_by_level: self.vae.kl_by_level(&self.state.sums),
            active_units,
            samples_per_second: self.pace.rows as f64 / self.pace.seconds.max(f64::MIN_POSITIVE),
            learning_rate: self.learning_rate(last),
            seconds: self.pace.seconds,
            improved,
        };
        self.state.epoch = epoch;
        self.state.batch = 0;
        self.state.sums.clear();
        self.pace = Pace::default();
        observer.epoch(self, &report)
    }

    fn evaluate(&self, view: &View, stop: Option<&AtomicBool>) -> Evaluation {
        // The same draw after every epoch, so that the curve shows the model and not the noise.
        let draw = Draw { noise: self.noise, stream: Stream::Evaluate, step: 0 };
        let (estimator, beta) = (&self.estimator, self.final_beta());
        evaluate_objective(&mut self.inference().until(stop), view, self.config.binarize, &draw, estimator, beta)
    }

    /// The objective that selects the best model: the training objective at the KL's final weight, without a penalty of batches.
    fn objective(&self, stats: &Stats) -> f64 {
        stats.value::<f32>(&self.estimator, self.final_beta())
    }

    fn final_beta(&self) -> f64 {
        self.beta(self.config.epochs * self.steps_per_epoch())
    }

    fn beta(&self, step: u64) -> f64 {
        self.config.beta.at(step)
    }

    fn learning_rate(&self, step: u64) -> f64 {
        let steps = self.steps_per_epoch();
        self.config.optimizer.learning_rate() * self.config.schedule.at(step, steps, self.config.epochs * steps)
    }
}
