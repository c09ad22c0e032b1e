//! The evidence lower bound, with β and with free bits.
//!
//! ```text
//! −ELBO = mean over rows and samples of −log p(x|z)  +  β Σ_g max(λ, KL_g)        KL_g: mean over rows, summed over g
//! ```
//!
//! or, with a capacity of C nats, reconstruction + β |Σ_g KL_g − C|  (Burgess et al. 2018, arXiv:1804.03599, eq. 8, whose γ is β).
//!
//! λ = 0 and β = 1 is the bound of Kingma and Welling (2014, eq. 7), another β that of Higgins et al. (2017, eq. 4),
//! another λ the free bits of Kingma et al. (2016, appendix C.8, eq. 15).

use super::{Batch, Estimator, Penalty, Terms, Weights};
use crate::error::{Error, Result};
use crate::tensor::Real;
use std::fmt;
use std::str::FromStr;

/// KL that a group of latents may keep without being pressed further, so that it does not collapse to the prior.
///
/// It reads and prints as `LAMBDA` or `LAMBDA,GROUP`:
///
/// ```
/// use elbo::estimator::FreeBits;
/// assert_eq!("0.25".parse::<FreeBits>()?, FreeBits { lambda: 0.25, group: 1 });
/// assert_eq!("2,4".parse::<FreeBits>()?.to_string(), "2,4");
/// # Ok::<(), elbo::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FreeBits {
    /// λ, nats for each group.
    pub lambda: f64,
    /// Consecutive latents of a group; the last group has what is left.
    pub group: usize,
}

impl FreeBits {
    /// Whether the numbers make sense.
    ///
    /// # Errors
    /// λ negative or not finite, or groups of no latents.
    pub fn check(self) -> Result<()> {
        if !(self.lambda.is_finite() && self.lambda >= 0.0) {
            return Err(Error::input(format!("free bits must be a number of nats from 0 up, not {}", self.lambda)));
        }
        if self.group == 0 {
            return Err(Error::input("a group of free bits needs at least 1 latent, not 0"));
        }
        Ok(())
    }
}

impl fmt::Display for FreeBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group {
            1 => write!(f, "{}", self.lambda),
            group => write!(f, "{},{group}", self.lambda),
        }
    }
}

impl FromStr for FreeBits {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let (lambda, group) = text.split_once(',').unwrap_or((text, "1"));
        let (Ok(lambda), Ok(group)) = (lambda.trim().parse(), group.trim().parse()) else {
            return Err(Error::input(format!("free bits are LAMBDA or LAMBDA,GROUP, not `{text}`"))
                .hint("0.25 gives each latent a quarter of a nat; 1,4 gives each four a nat"));
        };
        let free_bits = FreeBits { lambda, group };
        free_bits.check()?;
        Ok(free_bits)
    }
}

/// The (β-)ELBO, estimated with k samples of z per example.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Elbo {
    samples: usize,
    free_bits: Option<FreeBits>,
    capacity: Option<f64>,
    penalty: Option<(Penalty, usize)>,
}

impl Default for Elbo {
    /// One sample, no free bits.
    fn default() -> Self {
        Elbo::new(1, None)
    }
}

impl Elbo {
    /// With `samples` of z per example. Panics when there are none, or when the free bits fail their
    /// [check](FreeBits::check).
    pub fn new(samples: usize, free_bits: Option<FreeBits>) -> Self {
        assert!(samples > 0, "an ELBO of no samples");
        if let Some(Err(error)) = free_bits.map(FreeBits::check) {
            panic!("{error}");
        }
        Elbo { samples, free_bits, capacity: None, penalty: None }
    }
    /// With so many nats that the KL is drawn to, from below and from above, instead of to 0. Panics when they are no
    /// number from 0 up, or when there are free bits, which would have the KL go elsewhere.
    #[must_use]
    pub fn with_capacity(self, nats: f64) -> Self {
        assert!(nats.is_finite() && nats >= 0.0 && self.free_bits.is_none(), "a capacity of {nats} nats of {self:?}");
        Elbo { capacity: Some(nats), ..self }
    }
    /// With a penalty of the latents of a batch drawn from `examples` training rows. Panics of several samples a row, or when
    /// the weight fails its [check](Penalty::check).
    #[must_use]
    pub fn with_penalty(self, penalty: Penalty, examples: usize) -> Self {
        assert!(self.samples == 1 && penalty.check().is_ok(), "{penalty} of {} samples a row", self.samples);
        Elbo { penalty: Some((penalty, examples)), ..self }
    }
    /// The free bits, if any.
    pub fn free_bits(&self) -> Option<FreeBits> {
        self.free_bits
    }
    fn log_px_weight(&self, batch: &Batch) -> f64 {
        -1.0 / (batch.rows as f64 * self.samples as f64)
    }
}

impl<F: Real> Estimator<F> for Elbo {
    fn samples(&self) -> usize {
        self.samples
    }
    fn couples_rows(&self) -> bool {
        self.free_bits.is_some() || self.capacity.is_some()
    }
    fn penalty(&self) -> Option<(Penalty, usize)> {
        self.penalty
    }
    fn likelihood_weight(&self, batch: &Batch) -> Option<F> {
        Some(F::from_f64(self.log_px_weight(batch)))
    }
    /// With a capacity, the KL's weight has the sign of what it is above it. With free bits, a group whose mean KL is below λ gets weight 0, and one at λ its full weight.
    fn weights(&self, batch: &Batch, rows: usize, _: &Terms<F>, weights: &mut Weights<F>) {
        weights.log_px[..rows * self.samples].fill(F::from_f64(self.log_px_weight(batch)));
        let towards = self.capacity.map_or(1.0, |nats| sign(batch.mean_kl.iter().sum::<f64>() - nats));
        let weight = F::from_f64(towards * batch.beta / batch.rows as f64);
        let mut kl = weights.kl.rows_mut(rows);
        let latent = kl.cols();
        for r in 0..rows {
            kl.row(r).fill(weight);
        }
        if let Some(FreeBits { lambda, group }) = self.free_bits {
            assert_eq!(batch.mean_kl.len(), latent, "free bits need the mean KL of every latent");
            for (g, mean) in batch.mean_kl.chunks(group).enumerate() {
                if mean.iter().sum::<f64>() < lambda {
                    let columns = g * group..g * group + mean.len();
                    (0..rows).for_each(|r| kl.row(r)[columns.clone()].fill(F::ZERO));
                }
            }
        }
    }
    fn objective(&self, beta: f64, reconstruction: f64, mean_kl: &[f64]) -> f64 {
        if let Some(nats) = self.capacity {
            return reconstruction + beta * (mean_kl.iter().sum::<f64>() - nats).abs();
        }
        let FreeBits { lambda, group } = self.free_bits.unwrap_or(FreeBits { lambda: f64::NEG_INFINITY, group: 1 });
        let floored = |kl: &[f64]| {
            let kl: f64 = kl.iter().sum();
            // Not f64::max, which would hide a NaN.
            if kl < lambda { lambda } else { kl }
        };
        reconstruction + beta * mean_kl.chunks(group).map(floored).sum::<f64>()
    }
}

/// −1, 0 or 1: at its kink |x| has the derivative 0.
fn sign(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x.signum() }
}
