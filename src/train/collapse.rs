//! Posterior collapse: latents that the encoder leaves at the prior, so that the decoder learns to do without them.

use super::{EpochReport, TrainConfig, Trainer};
use crate::density::{LikelihoodKind, LowerKind};
use crate::estimator::ObjectiveKind;
use std::fmt;

/// A run most of whose latents say nothing of x, and what to try that it does not do yet. It prints as a paragraph.
///
/// Causes and cures: Bowman et al. (2016, arXiv:1511.06349, section 3.1) on warming up; Kingma et al. (2016, arXiv:1606.04934,
/// appendix C.8) on free bits; Lucas et al. (2019, arXiv:1911.02469, section 4) on a fixed variance that is too large.
#[derive(Clone, PartialEq, Debug)]
pub struct Collapse {
    /// Latents in use: those whose posterior mean varies with x.
    pub active_units: usize,
    /// All of them.
    pub latent: usize,
    /// The KL, mean over the epoch's training rows, in nats.
    pub kl: f64,
    /// What to try, as options of `elbo train`, the likeliest first.
    pub remedies: Vec<String>,
}

/// Steps before which latents may just not have been found yet.
const LEAST_STEPS: u64 = 1000;
/// Rows from which on the variance of a posterior mean says something.
const LEAST_ROWS: usize = 30;
/// A tenth of the latents in use, or fewer, is a collapse.
const SHARE: usize = 10;

impl Collapse {
    /// Looks for one in what an epoch reports: no more than one latent in ten is in use. Nothing is said before a thousand steps,
    /// while the KL's weight or the capacity is still rising, or of fewer than thirty rows.
    pub fn find(trainer: &Trainer, report: &EpochReport) -> Option<Collapse> {
        let (config, data) = (trainer.config(), trainer.data());
        let rows = data.test().or(data.validation()).unwrap_or(data.train()).len();
        let rising = report.step < config.warmup() || report.beta < config.beta.beta();
        let early = report.step < LEAST_STEPS || rising;
        let (active_units, latent) = (report.active_units, config.vae.latent);
        if early || rows < LEAST_ROWS || !Self::is_one(active_units, latent) {
            return None;
        }
        Some(Collapse { active_units, latent, kl: report.train.kl, remedies: remedies(config) })
    }
    /// Whether so few latents in use are a collapse, once it can be told.
    pub fn is_one(active_units: usize, latent: usize) -> bool {
        active_units * SHARE <= latent
    }
}

fn remedies(config: &TrainConfig) -> Vec<String> {
    let mut remedies = Vec::new();
    let mut add = |remedy: &str| remedies.push(remedy.to_owned());
    let (beta, capacity) = (config.beta.beta(), config.capacity);
    if let Some(penalty) = config.penalty {
        add(&format!("a smaller weight of the penalty (it is {penalty})"));
    }
    match capacity {
        Some(capacity) => add(&format!("a larger --capacity (it is {})", capacity.nats)),
        None if beta > 1.0 => add(&format!("a smaller --beta (it is {beta})")),
        None => {}
    }
    if let LikelihoodKind::GaussianUnit | LikelihoodKind::GaussianGiven(_) = config.vae.likelihood {
        add("--likelihood gaussian-learned: a fixed variance above the data's own noise hides what latents could say");
    }
    if beta > 0.0 && config.beta.at(0) == beta && capacity.is_none() {
        add("--warmup-epochs, over a tenth of the run or more: the KL then presses once latents are of use");
    }
    let plain = config.objective == ObjectiveKind::Elbo && config.vae.closed_form();
    if beta > 0.0 && plain && config.free_bits.is_none() && capacity.is_none() {
        add("--free-bits 0.1: that much KL of each latent is not pressed");
    }
    if config.vae.lower != LowerKind::None {
        add(
            "fewer levels in --lower: these are the latents of z, and those below may carry all (kl_by_level in metrics.jsonl)",
        );
    }
    add("a lower --learning-rate, or fewer layers in --hidden");
    remedies
}

impl fmt::Display for Collapse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Collapse { active_units, latent, kl, .. } = self;
        write!(
            f,
            "posterior collapse: {active_units} of {latent} latents in use, KL {kl:.2} nats. Data may hold no more; else try"
        )?;
        self.remedies.iter().try_for_each(|remedy| write!(f, "\n  {remedy}"))
    }
}
