//! What a run is: every choice that its result depends on.

use super::OutputBias;
use crate::data::{Binarize, Dataset, View, expect_memory};
use crate::density::{Domain, PosteriorKind};
use crate::error::{Error, Result};
use crate::estimator::{
    BetaSchedule, Estimator, FreeBits, Objective, ObjectiveKind, PathGradient, Penalty, PenaltyKind,
};
use crate::model::{Corruption, Norm, Preset, Vae, VaeConfig};
use crate::optim::{OptimizerConfig, OptimizerKind, Schedule};
use crate::tensor::{Isa, Precision};

/// A capacity of the latents that rises linearly (Burgess et al. 2018, section 5).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Capacity {
    /// Nats that the KL is drawn to in the end.
    pub nats: f64,
    /// Steps until then.
    pub steps: u64,
}

impl Capacity {
    /// The nats at a step, counted from 0.
    pub fn at(self, step: u64) -> f64 {
        BetaSchedule::Linear { beta: self.nats, warmup: self.steps }.at(step)
    }
    /// The capacity for a run of `total` steps, and a warning where its rise was longer and is cut to the run.
    pub fn check(self, total: u64) -> (Self, Option<String>) {
        if self.steps <= total || total == 0 {
            return (self, None);
        }
        let steps = self.steps;
        let warning =
            format!("the capacity's rise over {steps} steps is longer than the run of {total}; it is cut to {total}");
        (Capacity { steps: total, ..self }, Some(warning))
    }
}

/// A training run's choices. Two runs with equal configurations and data end in the same bytes.
#[derive(Clone, PartialEq, Debug)]
pub struct TrainConfig {
    /// The network.
    pub vae: VaeConfig,
    /// Times that every training row is used.
    pub epochs: u64,
    /// Rows of a step; the last step of an epoch has what is left.
    pub batch_size: usize,
    /// The optimizer and its learning rate.
    pub optimizer: OptimizerConfig,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// The KL's weight by step.
    pub beta: BetaSchedule,
    /// The objective, and its samples of z a row.
    pub objective: ObjectiveKind,
    /// Samples of z a row.
    pub samples: usize,
    /// How the gradient by the posterior is estimated.
    pub gradient: PathGradient,
    /// KL below which a group of latents is not pressed further.
    pub free_bits: Option<FreeBits>,
    /// Nats that the KL is drawn to, and the steps over which they rise from 0 to that.
    pub capacity: Option<Capacity>,
    /// A penalty of each batch's latents, besides the objective.
    pub penalty: Option<Penalty>,
    /// Largest global norm of a gradient.
    pub clip: Option<f64>,
    /// Whether the gradient of each parameter is divided by its norm.
    pub normalize: bool,
    /// The decay of a moving average of the parameters, which is then the model.
    pub average: Option<f64>,
    /// How grey values become binary.
    pub binarize: Binarize,
    /// Where the bias of the decoder's output starts.
    pub output_bias: OutputBias,
    /// What the encoder sees of the examples.
    pub corrupt: Corruption,
    /// Epochs without improvement on the validation split, after the [warm-up](Self::warmup), after which training stops.
    pub patience: Option<u64>,
    /// What the operands of matrix products are rounded to. Where the processor has no such products they are computed one by
    /// one, to the same bits and very slowly: [`fit_precision`](Self::fit_precision) takes f32 instead.
    pub precision: Precision,
    /// The seed of everything random.
    pub seed: u64,
}

impl TrainConfig {
    /// A preset's network and settings for rows of `inputs` columns: 10 epochs, Adam, plain ELBO, seed 0.
    pub fn new(preset: &Preset, inputs: usize) -> Self {
        TrainConfig {
            vae: preset.config(inputs),
            epochs: 10,
            batch_size: preset.batch_size,
            optimizer: OptimizerConfig::adam(preset.learning_rate, preset.adam_epsilon),
            schedule: Schedule::Constant,
            beta: BetaSchedule::Constant(1.0),
            objective: ObjectiveKind::Elbo,
            samples: 1,
            gradient: PathGradient::Plain,
            free_bits: None,
            capacity: None,
            penalty: None,
            clip: None,
            normalize: false,
            average: None,
            binarize: Binarize::None,
            output_bias: OutputBias::Init,
            corrupt: Corruption::None,
            patience: None,
            precision: Precision::F32,
            seed: 0,
        }
    }
    /// The configuration of a named preset; see [`new`](Self::new).
    ///
    /// # Errors
    /// When there is no such preset.
    pub fn preset(name: &str, inputs: usize) -> Result<Self> {
        Ok(Self::new(Preset::named(name)?, inputs))
    }
    /// The objective, ready to be used. Panics where [`check`](Self::check) finds that there is none.
    pub fn estimator(&self) -> Objective {
        match self.build_objective() {
            Ok(objective) => objective,
            Err(e) => panic!("{e}"),
        }
    }
    fn build_objective(&self) -> Result<Objective> {
        let objective = self.base_objective()?;
        check_penalty(self.penalty, &objective, &self.vae)?;
        self.vae.check_normalised_gradient(Estimator::<f32>::surrogate(&objective))?;
        let Some(Capacity { nats, .. }) = self.capacity else { return Ok(objective) };
        if !(nats.is_finite() && nats >= 0.0) {
            return Err(Error::input(format!("the capacity must be a number of nats from 0 up, not {nats}")));
        }
        if self.free_bits.is_some() || !matches!(objective, Objective::Elbo(_)) {
            return Err(Error::input(
                "a capacity is of the plain ELBO, under the standard prior, without free bits and levels below z",
            )
            .hint("leave --capacity out, or --objective, --gradient, --prior, --free-bits, --lower and a --posterior that is a flow"));
        }
        Ok(objective.with_capacity(Some(nats)))
    }
    fn base_objective(&self) -> Result<Objective> {
        self.vae.check_gradient(self.gradient)?;
        self.vae.check_objective(self.objective)?;
        self.objective.build(self.samples, self.gradient, self.free_bits, self.vae.closed_form())
    }
    /// The objective at a step, of batches drawn from `examples` rows, with its penalty: its capacity may still be rising.
    pub fn estimator_at(&self, step: u64, examples: usize) -> Objective {
        let rising = self.capacity.map(|capacity| capacity.at(step));
        self.estimator().with_capacity(rising).with_penalty(self.penalty_of(examples))
    }
    /// The penalty of batches drawn from `examples` rows, if there is one.
    pub(super) fn penalty_of(&self, examples: usize) -> Option<(Penalty, usize)> {
        self.penalty.map(|penalty| (penalty, examples))
    }
    /// Falls back to f32 where the instruction set has no products of bf16, and says so.
    pub fn fit_precision(&mut self, isa: Isa) -> Option<String> {
        let lacks = self.precision == Precision::Bf16 && !isa.has_half();
        lacks.then(|| {
            self.precision = Precision::F32;
            let isa = isa.name();
            format!("the instruction set {isa} has no products of bf16 (AVX512-BF16 has); training goes on in f32")
        })
    }
    /// Steps until the objective is what it will be: the warm-up of the KL's weight, and the rise of its capacity. Cycles, which
    /// come back to it over and over, have none.
    pub fn warmup(&self) -> u64 {
        let beta = match self.beta {
            BetaSchedule::Linear { warmup, .. } => warmup,
            BetaSchedule::Constant(_) | BetaSchedule::Cyclic { .. } => 0,
        };
        beta.max(self.capacity.map_or(0, |capacity| capacity.steps))
    }
    /// Steps of an epoch on `rows` rows.
    pub fn steps_per_epoch(&self, rows: usize) -> u64 {
        rows.div_ceil(self.batch_size.max(1)) as u64
    }

    /// Whether the run makes sense on its data.
    ///
    /// # Errors
    /// Settings out of range, data that do not fit the network or its likelihood (with the first offending row and
    /// column), patience without a validation split.
    pub fn check(&self, vae: &Vae, data: &Dataset) -> Result<()> {
        let positive = |n: u64, what: &str| match n {
            0 => Err(Error::input(format!("{what} must be at least 1, not 0"))),
            _ => Ok(()),
        };
        positive(self.epochs, "the number of epochs")?;
        positive(self.batch_size as u64, "the batch size")?;
        if let Some(c) = self.clip.filter(|c| !(c.is_finite() && *c > 0.0)) {
            return Err(Error::input(format!("the clipping norm must be a positive number, not {c}")));
        }
        if let Some(decay) = self.average.filter(|decay| !(*decay > 0.0 && *decay < 1.0)) {
            return Err(Error::input(format!("the average's decay lies between 0 and 1, and {decay} does not"))
                .hint("--average 0.999, for example"));
        }
        if self.normalize && self.clip.is_some() {
            return Err(Error::input("gradients are both normalised and clipped")
                .hint("normalised ones have norm 1 for each parameter: leave --clip out"));
        }
        if let Some(patience) = self.patience {
            positive(patience, "the epochs of patience")?;
        }
        self.check_normalised(data.train().len())?;
        self.build_objective()?;
        self.output_bias.check(&self.vae)?;
        super::exemplars::check(self, data.train())?;
        self.corrupt.check()?;
        self.check_schedules(data.train().len())?;
        if self.patience.is_some() && data.validation().is_none() {
            return Err(Error::input("early stopping goes by the validation split, and there is none")
                .hint("add --validation 0.1, or leave --patience out"));
        }
        check_data(vae, data.all(), self.binarize).map_err(|e| e.at(data.name()))
    }

    /// Whether rows, or batches, have a variance where hidden layers are normalised by it.
    fn check_normalised(&self, rows: usize) -> Result<()> {
        if self.vae.norm == Norm::Layer
            && let Some(width) = self.vae.hidden.iter().find(|&&width| width < 3)
        {
            let leaves = if *width == 1 { "0 of one number" } else { "1 and -1 of two numbers, whatever they were" };
            return Err(Error::input(format!(
                "a hidden layer of width {width} is normalised by its own mean and variance, and that leaves {leaves}"
            ))
            .hint("--hidden 16, for example, or another --norm"));
        }
        let what = match self.batch_size.min(rows) {
            _ if self.vae.norm != Norm::Batch => return Ok(()),
            1 => "hidden layers are normalised by the variance over the batch, and a batch of one row has none",
            2 => {
                "hidden layers are normalised by the batch, and of two numbers that leaves 1 and -1 whatever they were"
            }
            _ => return Ok(()),
        };
        Err(Error::input(what).hint(match rows {
            1 | 2 => "there are too few training rows for more: --norm layer normalises each by itself",
            _ => "--batch-size 100, for example; or --norm layer, which normalises each row by itself",
        }))
    }

    /// Whether the memory is there that training takes at least: the parameters, what the optimizer keeps of each, the
    /// gradient, the copies that products read, and the activations of a batch and their derivatives, in f32.
    ///
    /// # Errors
    /// How much is needed, and how much there is.
    pub(super) fn check_memory(&self, vae: &Vae, rows: usize) -> Result<()> {
        let VaeConfig { hidden, inputs, latent, likelihood, prior, condition, lower, .. } = &self.vae;
        let eta = likelihood.eta_cols(*inputs);
        // Both networks have the hidden layers, and every layer an output and its derivative; a decoder's row for each sample.
        let hidden = hidden.iter().sum::<usize>();
        // What a flow keeps of a sample: z of each step and the force, and of an autoregressive one its network's layers twice.
        let width = self.vae.flow_width();
        let flow = match self.vae.posterior {
            PosteriorKind::Diagonal | PosteriorKind::Full => 0,
            PosteriorKind::Planar(steps) => steps.saturating_add(1).saturating_mul(*latent),
            PosteriorKind::Autoregressive(steps) => {
                steps.saturating_mul(3 * latent + 2 * width).saturating_add(*latent)
            }
        };
        let sample = (2 * (hidden + latent + eta)).saturating_add(flow).saturating_add(prior.activations(*latent));
        let sample = sample.saturating_add(lower.activations(*latent));
        let row = sample.saturating_mul(self.samples).saturating_add(2 * hidden + inputs);
        let row = row.saturating_add(self.vae.posterior_columns().saturating_mul(2));
        // Dropout's mask and what it is applied to; the network of a conditional prior, of the encoder's shape.
        let row = if self.vae.dropout > 0.0 { row.saturating_add(2 * hidden * (1 + self.samples)) } else { row };
        // Of a batch normalization what goes in, and the derivatives that are summed.
        let normal = if self.vae.norm == Norm::Batch { 5 * hidden } else { 0 };
        let row = row.saturating_add(normal.saturating_mul(1 + self.samples));
        let row = if self.vae.conditional_prior { row.saturating_add(2 * hidden + 4 * latent) } else { row };
        // x again beside the condition, which stands beside every sample and its derivative too.
        let row = if *condition > 0 { row.saturating_add(inputs + condition * (3 + 2 * self.samples)) } else { row };
        // Each component of a mixture is a row, and has a share in each sample.
        let components = (prior.encoded(rows) as u64)
            .saturating_mul((2 * (hidden + latent + inputs) as u64).saturating_add((rows * self.samples) as u64));
        let slabs = match self.optimizer.kind {
            OptimizerKind::Adam | OptimizerKind::AdamW => 4,
            OptimizerKind::Sgd => 3,
        } + u64::from(self.average.is_some());
        let numbers = (vae.layout().len() as u64 * slabs)
            .saturating_add((rows as u64).saturating_mul(row as u64))
            .saturating_add(components)
            .saturating_add(self.penalty.map_or(0, |_| penalty_numbers(rows as u64, *latent as u64)));
        let what = format!("training {} parameters in batches of {rows} rows", vae.layout().count());
        expect_memory(numbers.saturating_mul(size_of::<f32>() as u64), &what)
            .map_err(|e| e.hint("choose a smaller --hidden, --latent, --batch-size or --samples"))
    }

    /// A schedule that does not fit the run is refused here; [`Settings`](super::Settings) fit it beforehand.
    fn check_schedules(&self, rows: usize) -> Result<()> {
        let total = self.epochs.checked_mul(self.steps_per_epoch(rows)).filter(|&total| total < 1 << 53);
        let total = total.ok_or_else(|| Error::input(format!("{} epochs are too many steps to count", self.epochs)))?;
        let (_, beta) = self.beta.check(total)?;
        let (_, schedule) = self.schedule.check(total)?;
        let capacity = self.capacity.and_then(|capacity| capacity.check(total).1);
        beta.or(schedule).or(capacity).map_or(Ok(()), |why| {
            Err(Error::input(format!("a schedule does not fit the run: {why}"))
                .hint("shorten it, train for more epochs, or let its check(steps) fit it"))
        })
    }
}

/// What a penalty keeps of a batch, in numbers of f32: a dozen of f64 for each latent, and two rows' worth for each block.
fn penalty_numbers(rows: u64, latent: u64) -> u64 {
    let blocks = rows.div_ceil(64);
    2 * rows.saturating_mul(12 * (latent + 1)).saturating_add(2 * blocks.saturating_mul(rows))
}

/// Whether an objective can have a penalty of the batch.
///
/// # Errors
/// When it is not the ELBO of one sample with its KL in closed form, or the weight is no number from 0 up; a total correlation
/// of posteriors that are no products.
pub(super) fn check_penalty(penalty: Option<Penalty>, objective: &Objective, vae: &VaeConfig) -> Result<()> {
    let one = Estimator::<f32>::samples(objective) == 1;
    penalty.map_or(Ok(()), Penalty::check)?;
    match penalty {
        Some(penalty) if vae.conditional_prior => {
            let what = format!("the penalty {penalty} draws all rows to one prior, and theirs follows the condition");
            Err(Error::input(what).hint("leave out --penalty or --conditional-prior"))
        }
        Some(penalty) if !(one && matches!(objective, Objective::Elbo(_))) => Err(Error::input(format!(
            "the penalty {penalty} is of the plain ELBO of one sample, under the standard prior, without levels below z"
        ))
        .hint("leave --penalty out, or --objective, --samples, --gradient, --prior, --lower and a --posterior that is a flow")),
        Some(Penalty { kind: PenaltyKind::TotalCorrelation, .. }) if vae.posterior != PosteriorKind::Diagonal => {
            Err(Error::input(format!(
                "the total correlation is estimated from posteriors that are products over latents, and {} ones are not",
                vae.posterior
            ))
            .hint("leave --posterior out, or penalise mmd:10"))
        }
        _ => Ok(()),
    }
}

/// Whether rows fit a network: as many columns, and values on which its likelihood is defined.
///
/// # Errors
/// The first offending row and column, and what to do.
pub fn check_data(vae: &Vae, rows: &View, binarize: Binarize) -> Result<()> {
    rows.expect_cols(vae.config().inputs)?;
    let (found, expected) = (rows.condition_cols(), vae.config().condition);
    if found != expected {
        let what = format!("the rows' condition has {found} columns, and the model was made for {expected}");
        return Err(Error::input(what).hint(match expected {
            0 => "set VaeConfig::condition to the data's condition_cols() before the network is made",
            _ => "Dataset::with_condition gives rows the condition that the model was trained with",
        }));
    }
    let domain = vae.likelihood::<f32>().domain();
    if binarize != Binarize::None {
        let hint = "leave --binarize out, or scale the data to [0, 1]";
        rows.check_unit_interval_for("only grey values in [0, 1] can be made binary", hint)?;
        return match domain.contains(1.0) {
            true => Ok(()),
            false => Err(Error::input(format!("binary data have ones, and {} has none", vae.config().likelihood))
                .hint("--likelihood bernoulli, for example")),
        };
    }
    match domain {
        Domain::Real => Ok(()),
        Domain::Unit => rows.check_unit_interval(),
        Domain::Bytes if rows.is_bytes() => Ok(()),
        Domain::Classes(_) | Domain::Counts | Domain::Bytes => {
            let ((values, hint), kind) = (domain.describe(), vae.config().likelihood);
            rows.check_values(|v| domain.contains(v), &format!("the likelihood {kind} needs {values}"), hint)
        }
    }
}
