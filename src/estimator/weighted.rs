//! Importance-weighted bounds on log p(x), and the ELBO with a sampled KL.
//!
//! ```text
//! log w_k = log p(x|z_k) + β (log p(z_k) − log q(z_k|x)),  z_k ~ q(z|x), k = 1 … K
//!
//! IWAE    log (1/K) Σ_k w_k                                  u_k = w_k / Σ_j w_j
//! MIWAE   mean over M groups of K/M of the IWAE bound        u_k = (1/M) w_k / Σ_{j in k's group} w_j
//! PIWAE   the generative network by IWAE of K, the encoder by MIWAE of M groups
//! CIWAE   c · (1/K) Σ_k log w_k + (1 − c) · IWAE             u_k = c/K + (1 − c) w_k / Σ_j w_j
//! Rényi   1/(1−α) log (1/K) Σ_k w_k^(1−α)                    u_k = w_k^(1−α) / Σ_j w_j^(1−α)
//! ```
//!
//! Burda, Grosse and Salakhutdinov (2016, arXiv:1509.00519, eq. 8); Rainforth et al. (2018, arXiv:1802.04537, eq. 11, 13 and
//! 14); Li and Turner (2016, arXiv:1602.02311, eq. 7, whose α = 0 is IWAE and α = 1 the ELBO). u_k is the derivative of the bound by log w_k;
//! with K groups of one, MIWAE is the ELBO, estimated by log q − log p of each sample.
//!
//! The gradient by the posterior's parameters η has two parts, of which the second has an expectation of its own:
//!
//! ```text
//! Σ_k u_k (∂ log w_k/∂z_k) ∂z_k/∂η  −  β Σ_k u_k ∂ log q(z_k|η)/∂η
//! ```
//!
//! *Plain* has both. *Sticking the landing* (Roeder, Wu and Duvenaud 2017, arXiv:1703.09194) leaves out the second, whose expectation
//! is 0 where u does not depend on z, as in the ELBO; elsewhere it is biased. *Doubly reparameterized* (Tucker et al. 2019, arXiv:1810.04152,
//! eq. 8 and appendix) moves the second into the path, by E f ∂ log q/∂η = E (∂f/∂z) ∂z/∂η with f = u_k:
//!
//! ```text
//! u_k of one softmax over a log w:   β ∂u_k/∂log w_k = β a u_k (1 − ũ_k)     path weight   u_k (1 − β a (1 − ũ_k))
//! ```
//!
//! where ũ_k is u_k as a share of its softmax, and a = 1 − α (else 1): ũ_k u_k at β = 1 and a = 1, Tucker's square.

use super::{Batch, Estimator, LogSumExp, PathGradient, Terms, Weights};
use crate::error::{Error, Result};
use crate::tensor::Real;
use std::ops::Range;

/// Which function of a row's log w is to be raised.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Bound {
    /// Of all samples.
    Iwae,
    /// Of so many groups of consecutive samples, the mean.
    Miwae(usize),
    /// Of all samples for the generative network, of so many groups for the encoder.
    Piwae(usize),
    /// A share of the ELBO, the rest of IWAE.
    Ciwae(f64),
    /// Rényi's variational bound of order α.
    Renyi(f64),
}

/// An objective of sampled terms: see the module's page.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Weighted {
    bound: Bound,
    samples: usize,
    gradient: PathGradient,
}

/// Of PIWAE, the least weight of a sample in the generative network's gradient, as a share: what is less is lost in the
/// rounding of the others, and the encoder's weight of the same sample must be a finite multiple of it.
const LEAST_SHARE: f64 = 1e-20;

/// What one sample weighs in the bound's derivative.
struct Shares {
    /// u_k of the generative network's own parameters.
    own: f64,
    /// What goes through z.
    path: f64,
}

impl Weighted {
    /// A bound of `samples` samples a row.
    ///
    /// # Errors
    /// No samples; groups that the samples do not fill evenly; a share outside [0, 1]; an order that is not finite.
    pub fn new(bound: Bound, samples: usize, gradient: PathGradient) -> Result<Self> {
        if samples == 0 {
            return Err(Error::input("a bound of 0 samples").hint("--samples 5, for example"));
        }
        match bound {
            Bound::Miwae(groups) | Bound::Piwae(groups) if groups == 0 || !samples.is_multiple_of(groups) => {
                Err(Error::input(format!("{samples} samples do not fall into {groups} equal groups"))
                    .hint("the number of samples must be a multiple of the groups: miwae:4 with --samples 8 or 20"))
            }
            Bound::Ciwae(share) if !(0.0..=1.0).contains(&share) => {
                Err(Error::input(format!("the ELBO's share of a CIWAE bound lies in [0, 1], and {share} does not"))
                    .hint("ciwae:0.5, for example"))
            }
            Bound::Renyi(order) if !order.is_finite() => {
                Err(Error::input(format!("the order of a Rényi bound must be a number, not {order}"))
                    .hint("renyi:0.5, for example; renyi:0 is IWAE, renyi:1 the ELBO"))
            }
            _ => Ok(Weighted { bound, samples, gradient }),
        }
    }
    /// The ELBO of so many samples, its KL estimated by log q − log p of each. Panics when there are none.
    pub fn elbo(samples: usize, gradient: PathGradient) -> Self {
        assert!(samples > 0, "an ELBO of no samples");
        Weighted { bound: Bound::Miwae(samples), samples, gradient }
    }
    /// Whether every sample has the same weight: the ELBO, by whatever name.
    fn uniform(&self) -> bool {
        match self.bound {
            Bound::Miwae(groups) => groups == self.samples,
            Bound::Ciwae(share) => share == 1.0 || self.samples == 1,
            Bound::Renyi(order) => order == 1.0 || self.samples == 1,
            Bound::Iwae | Bound::Piwae(_) => self.samples == 1,
        }
    }
    /// The power of w in the softmax.
    fn power(&self) -> f64 {
        if let Bound::Renyi(order) = self.bound { 1.0 - order } else { 1.0 }
    }
    /// The samples that share a softmax with sample k, for a number of groups.
    fn group(&self, groups: usize, k: usize) -> Range<usize> {
        let size = self.samples / groups;
        k / size * size..(k / size + 1) * size
    }
    /// log Σ w^a over some samples of a row.
    fn log_sum(&self, log_w: &impl Fn(usize) -> f64, group: Range<usize>) -> f64 {
        let mut sum = LogSumExp::default();
        group.for_each(|k| sum.add(self.power() * log_w(k)));
        sum.value()
    }
    /// Calls `f(k, shares)` for each sample of a row.
    fn shares(&self, beta: f64, log_w: impl Fn(usize) -> f64, mut f: impl FnMut(usize, Shares)) {
        let (samples, a) = (self.samples as f64, self.power());
        let (all, mut ours) = (self.log_sum(&log_w, 0..self.samples), 0.0);
        for k in 0..self.samples {
            let of_all = (a * log_w(k) - all).exp();
            // One softmax's share of the path, and how much of the bound that softmax is.
            let path = |share: f64, part: f64| match self.gradient {
                PathGradient::Plain | PathGradient::StickingTheLanding => part * share,
                PathGradient::DoublyReparameterized => part * share * (1.0 - beta * a * (1.0 - share)),
            };
            let shares = match self.bound {
                Bound::Iwae | Bound::Renyi(_) => Shares { own: of_all, path: path(of_all, 1.0) },
                Bound::Ciwae(c) => {
                    let own = c / samples + (1.0 - c) * of_all;
                    Shares { own, path: c / samples + path(of_all, 1.0 - c) }
                }
                Bound::Miwae(groups) | Bound::Piwae(groups) => {
                    let group = self.group(groups, k);
                    // The sum of a group is found at its first sample.
                    if k == group.start {
                        ours = self.log_sum(&log_w, group);
                    }
                    let (share, part) = ((log_w(k) - ours).exp(), 1.0 / groups as f64);
                    let piwae = matches!(self.bound, Bound::Piwae(_));
                    let own = if piwae { of_all.max(LEAST_SHARE) } else { part * share };
                    Shares { own, path: path(share, part) }
                }
            };
            f(k, shares);
        }
    }
    /// The bound of a row of log-weights.
    fn value(&self, log_w: impl Fn(usize) -> f64) -> f64 {
        let samples = self.samples as f64;
        let mean = || (0..self.samples).map(&log_w).sum::<f64>() / samples;
        let iwae = || self.log_sum(&log_w, 0..self.samples) - samples.ln();
        match self.bound {
            _ if self.uniform() => mean(),
            Bound::Iwae | Bound::Piwae(_) => iwae(),
            Bound::Ciwae(share) => share * mean() + (1.0 - share) * iwae(),
            Bound::Renyi(_) => {
                // Near α = 1 the logarithm of the mean power is small, and log Σ − log K would cancel.
                let (a, mean) = (self.power(), mean());
                let excess = (0..self.samples).map(|k| (a * (log_w(k) - mean)).exp_m1()).sum::<f64>() / samples;
                if excess < 1.0 { mean + excess.ln_1p() / a } else { iwae() / a }
            }
            Bound::Miwae(groups) => {
                let size = self.samples / groups;
                let sums = (0..groups).map(|g| self.log_sum(&log_w, g * size..(g + 1) * size));
                sums.sum::<f64>() / groups as f64 - (size as f64).ln()
            }
        }
    }
}

impl<F: Real> Estimator<F> for Weighted {
    fn samples(&self) -> usize {
        self.samples
    }
    fn sampled(&self) -> bool {
        true
    }
    fn surrogate(&self) -> bool {
        self.gradient != PathGradient::Plain || matches!(self.bound, Bound::Piwae(groups) if groups > 1)
    }
    fn is_elbo(&self) -> bool {
        self.uniform()
    }
    fn row_value(&self, beta: f64, row: usize, terms: &Terms<F>) -> Option<f64> {
        let first = row * self.samples;
        Some(-self.value(|k| terms.log_weight(beta, first + k)))
    }
    fn likelihood_weight(&self, batch: &Batch) -> Option<F> {
        self.uniform().then(|| F::from_f64(-1.0 / (batch.rows as f64 * self.samples as f64)))
    }
    fn weights(&self, batch: &Batch, rows: usize, terms: &Terms<F>, weights: &mut Weights<F>) {
        let (beta, b) = (batch.beta, batch.rows as f64);
        let plain = self.gradient == PathGradient::Plain;
        let mut set = |i: usize, s: Shares| {
            let path = if s.own == 0.0 { 0.0 } else { s.path / s.own };
            weights.log_px[i] = F::from_f64(-s.own / b);
            weights.log_pz[i] = F::from_f64(-beta * s.own / b);
            weights.log_qz[i] = F::from_f64(beta * s.own / b);
            weights.path[i] = F::from_f64(path);
            // Of a plain gradient the very number that goes through z: what both say of the mean then cancels exactly.
            weights.score[i] = if plain { weights.path[i] * weights.log_qz[i] } else { F::ZERO };
        };
        if self.uniform() {
            let own = 1.0 / self.samples as f64;
            return (0..rows * self.samples).for_each(|i| set(i, Shares { own, path: own }));
        }
        for first in (0..rows * self.samples).step_by(self.samples) {
            self.shares(beta, |k| terms.log_weight(beta, first + k), |k, shares| set(first + k, shares));
        }
    }
    fn objective(&self, beta: f64, reconstruction: f64, mean_kl: &[f64]) -> f64 {
        reconstruction + beta * mean_kl.iter().sum::<f64>()
    }
}
