//! What a run is: every choice that its result depends on.

use crate::data::{Binarize, Dataset, View, expect_memory};
use crate::density::Domain;
use crate::error::{Error, Result};
use crate::estimator::{BetaSchedule, Elbo, FreeBits};
use crate::model::{Preset, Vae, VaeConfig};
use crate::optim::{OptimizerConfig, OptimizerKind, Schedule};
use crate::tensor::{Isa, Precision};

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
    /// KL below which a group of latents is not pressed further.
    pub free_bits: Option<FreeBits>,
    /// Largest global norm of a gradient.
    pub clip: Option<f64>,
    /// How grey values become binary.
    pub binarize: Binarize,
    /// Epochs without improvement on the validation split after which training stops.
    pub patience: Option<u64>,
    /// What the operands of matrix products are rounded to.
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
            free_bits: None,
            clip: None,
            binarize: Binarize::None,
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
    /// The objective.
    pub fn estimator(&self) -> Elbo {
        Elbo::new(1, self.free_bits)
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
        if let Some(patience) = self.patience {
            positive(patience, "the epochs of patience")?;
        }
        if let Some(free_bits) = self.free_bits {
            free_bits.check()?;
        }
        self.check_schedules(data.train().len())?;
        if self.patience.is_some() && data.validation().is_none() {
            return Err(Error::input("early stopping goes by the validation split, and there is none")
                .hint("add --validation 0.1, or leave --patience out"));
        }
        check_data(vae, data.all(), self.binarize).map_err(|e| e.at(data.name()))
    }

    /// Whether the memory is there that training takes at least: the parameters, what the optimizer keeps of each, the
    /// gradient, the copies that products read, and the activations of a batch and their derivatives, in f32.
    ///
    /// # Errors
    /// How much is needed, and how much there is.
    pub(super) fn check_memory(&self, vae: &Vae, rows: usize) -> Result<()> {
        let VaeConfig { hidden, inputs, latent, likelihood, .. } = &self.vae;
        let eta = likelihood.eta_cols(*inputs);
        // Both networks have the hidden layers, and every layer an output and its derivative.
        let row = 2 * (2 * hidden.iter().sum::<usize>() + 2 * latent + eta) + inputs;
        let slabs = match self.optimizer.kind {
            OptimizerKind::Adam | OptimizerKind::AdamW => 4,
            OptimizerKind::Sgd => 3,
        };
        let numbers = (vae.layout().len() as u64 * slabs).saturating_add(rows as u64 * row as u64);
        let what = format!("training {} parameters in batches of {rows} rows", vae.layout().count());
        expect_memory(numbers.saturating_mul(size_of::<f32>() as u64), &what)
            .map_err(|e| e.hint("choose a smaller --hidden, --latent or --batch-size"))
    }

    /// A schedule that does not fit the run is refused here; [`Settings`](super::Settings) fit it beforehand.
    fn check_schedules(&self, rows: usize) -> Result<()> {
        let total = self.epochs.checked_mul(self.steps_per_epoch(rows)).filter(|&total| total < 1 << 53);
        let total = total.ok_or_else(|| Error::input(format!("{} epochs are too many steps to count", self.epochs)))?;
        let (_, beta) = self.beta.check(total)?;
        let (_, schedule) = self.schedule.check(total)?;
        beta.or(schedule).map_or(Ok(()), |why| {
            Err(Error::input(format!("a schedule does not fit the run: {why}"))
                .hint("shorten it, train for more epochs, or let its check(steps) fit it"))
        })
    }
}

/// Whether rows fit a network: as many columns, and values on which its likelihood is defined.
///
/// # Errors
/// The first offending row and column, and what to do.
pub fn check_data(vae: &Vae, rows: &View, binarize: Binarize) -> Result<()> {
    rows.expect_cols(vae.config().inputs)?;
    let domain = vae.likelihood::<f32>().domain();
    if binarize != Binarize::None {
        rows.check_unit_interval()?;
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
