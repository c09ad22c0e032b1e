//! A mixture of Gaussians fitted to the aggregate posterior, to draw latents from where the decoder has learned what to
//! make of them: ex-post density estimation (Ghosh, Sajjadi, Vergari, Black and Schölkopf 2020, arXiv:1903.12436,
//! section 4).
//!
//! ```text
//! log p(z) = log Σ_c π_c N(z; m_c, Σ_c)        Σ_c = T_c T_cᵀ        z = m_c + T_c ε
//! ```

mod em;
#[cfg(test)]
mod tests;
mod triangle;

use crate::density::LOG_TAU;
use elbo_kernels::reduce::log_sum_exp;
pub use em::MixtureFit;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use triangle::Triangle;

/// What a component's covariance may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Covariance {
    /// Any.
    Full,
    /// Zero between latents.
    Diagonal,
}

/// A mixture of Gaussians over z; [`fit`](Self::fit) makes one.
#[derive(Clone, PartialEq, Debug)]
pub struct GaussianMixture {
    components: Vec<Component>,
}

/// One Gaussian, and its weight.
#[derive(Clone, PartialEq, Debug)]
struct Component {
    log_weight: f64,
    /// (L)
    mean: Vec<f64>,
    /// T of Σ = T Tᵀ.
    factor: Triangle,
    /// T⁻¹
    inverse: Triangle,
    /// The diagonal of Σ⁻¹, (L).
    precision: Vec<f64>,
    /// −½ (L log 2π + log det Σ)
    norm: f64,
}

impl Component {
    /// None where the covariance is not positive definite.
    fn new(weight: f64, mean: Vec<f64>, covariance: &Triangle) -> Option<Self> {
        let factor = covariance.cholesky()?;
        let inverse = factor.inverse();
        let log_det = 2.0 * factor.diagonal().map(f64::ln).sum::<f64>();
        let norm = -0.5 * (mean.len() as f64 * LOG_TAU + log_det);
        Some(Component { log_weight: weight.ln(), precision: inverse.column_squares(), mean, factor, inverse, norm })
    }
    /// log N(z; m, Σ); `off` is memory, (L).
    fn log_prob(&self, z: &[f64], off: &mut [f64]) -> f64 {
        off.iter_mut().zip(z).zip(&self.mean).for_each(|((off, z), mean)| *off = z - mean);
        self.norm - 0.5 * self.inverse.times(off).map(|y| y * y).sum::<f64>()
    }
    /// E log N(z; m, Σ) for z ~ N(μ, diag v): log N(μ; m, Σ) − ½ tr Σ⁻¹ diag v.
    fn expected_log_prob(&self, mean: &[f64], variance: &[f64], off: &mut [f64]) -> f64 {
        let trace: f64 = self.precision.iter().zip(variance).map(|(p, v)| p * v).sum();
        self.log_prob(mean, off) - 0.5 * trace
    }
}

impl GaussianMixture {
    /// Number of components.
    pub fn count(&self) -> usize {
        self.components.len()
    }
    /// Columns L of z.
    pub fn latent(&self) -> usize {
        self.components[0].mean.len()
    }
    /// The weight of component `c`.
    pub fn weight(&self, c: usize) -> f64 {
        self.components[c].log_weight.exp()
    }
    /// The mean of component `c`, (L).
    pub fn mean(&self, c: usize) -> &[f64] {
        &self.components[c].mean
    }
    /// Element (i, j) of component `c`'s covariance.
    pub fn covariance(&self, c: usize, i: usize, j: usize) -> f64 {
        let t = &self.components[c].factor;
        (0..=i.min(j)).map(|k| t.get(i, k) * t.get(j, k)).sum()
    }
    /// log p(z), in nats, for one z, (L). Panics at another number of latents.
    pub fn log_prob(&self, z: &[f64]) -> f64 {
        assert!(z.len() == self.latent(), "{} numbers, and the mixture is over {} latents", z.len(), self.latent());
        let mut off = vec![0.0; z.len()];
        let of = |c: &Component| c.log_weight + c.log_prob(z, &mut off);
        log_sum_exp(&self.components.iter().map(of).collect::<Vec<f64>>())
    }
    /// One draw m_c + T · T_c ε, (L): at temperature 1 from the mixture, below it closer to the components' means. Panics at another
    /// number of latents.
    pub fn sample(&self, temperature: f64, rng: &mut ChaCha8Rng, out: &mut [f32]) {
        assert!(out.len() == self.latent(), "{} numbers, and the mixture is over {} latents", out.len(), self.latent());
        let mut rest: f64 = rng.random();
        // The first component whose cumulated weight is above u.
        let above = |c: &&Component| {
            rest -= c.log_weight.exp();
            rest < 0.0
        };
        let c = self.components.iter().find(above).unwrap_or(&self.components[self.count() - 1]);
        let noise: Vec<f64> = out.iter().map(|_| rng.sample(StandardNormal)).collect();
        for ((z, mean), off) in out.iter_mut().zip(&c.mean).zip(c.factor.times(&noise)) {
            *z = (mean + temperature * off) as f32;
        }
    }
}
