//! Expectation and maximisation (Dempster, Laird and Rubin 1977) on rows that are Gaussians themselves: the posteriors
//! q_n = N(μ_n, diag v_n).
//!
//! ```text
//! F = 1/N Σ_n log Σ_c π_c exp E_{q_n} log N(z; m_c, Σ_c)   ≤   E_{q(z)} log p(z)      the log-likelihood, nats a row
//!
//! E:  r_nc ∝ π_c exp E_{q_n} log N_c               E_{q_n} log N_c = log N(μ_n; m_c, Σ_c) − ½ tr Σ_c⁻¹ diag v_n
//! M:  N_c = Σ_n r_nc     π_c = N_c / N     m_c = Σ_n r_nc μ_n / N_c
//!     Σ_c = Σ_n r_nc ((μ_n − m_c)(μ_n − m_c)ᵀ + diag v_n) / N_c
//! ```
//!
//! F ≤ is Jensen's inequality: each row takes one share r for its whole posterior. Both steps maximise the same function
//! of (r, π, m, Σ), so that F never falls. With one component it is exact, and the fit has the aggregate's own moments.
//!
//! The floor is added to every v_n, which keeps every Σ_c above it without another maximum than the one that is climbed.

use super::super::{Encoding, check_size};
use super::triangle::Triangle;
use super::{Component, Covariance, GaussianMixture};
use crate::error::{Error, Result};
use crate::tensor::{Exec, Noise, Stream};
use elbo_kernels::par::for_each_mut;
use elbo_kernels::reduce::log_sum_exp;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// The variance that every posterior has at least beside its own: a thousandth of the prior's deviation.
pub(super) const FLOOR: f64 = 1e-6;
/// The rise of F, as a share of its size, at which it counts as reached.
const FLAT: f64 = 1e-5;
/// Iterations at most.
const MOST_STEPS: usize = 200;
/// A smaller share of a component in a row is none, and saves its sums.
const LEAST_SHARE: f64 = 1e-16;
/// Rows of a component together below which it has died.
const LEAST_MASS: f64 = 1e-10;
/// Rows that a thread takes at once.
const BLOCK: usize = 64;

/// A fitted mixture, and how it got there.
#[derive(Clone, PartialEq, Debug)]
pub struct MixtureFit {
    /// The mixture of the last iteration.
    pub mixture: GaussianMixture,
    /// F of each iteration, in nats a row, a lower bound on the mean log p(z) over the aggregate posterior: it never falls.
    pub log_likelihood: Vec<f64>,
    /// Whether it had all but stopped rising.
    pub converged: bool,
}

/// Means and variances of posteriors, (N, L) each.
struct Rows {
    count: usize,
    latent: usize,
    mean: Vec<f64>,
    variance: Vec<f64>,
}

impl Rows {
    fn of(encoding: &Encoding) -> Result<Self> {
        let (count, latent) = encoding.mean.dim();
        if encoding.log_variance.dim() != (count, latent) {
            let (rows, cols) = encoding.log_variance.dim();
            return Err(Error::input(format!("means of {count} × {latent}, and log-variances of {rows} × {cols}")));
        }
        let mean: Vec<f64> = encoding.mean.iter().map(|&m| f64::from(m)).collect();
        let variance: Vec<f64> = encoding.log_variance.iter().map(|&v| f64::from(v).exp() + FLOOR).collect();
        match mean.iter().zip(&variance).position(|(m, v)| !m.is_finite() || !v.is_finite()) {
            None => Ok(Rows { count, latent, mean, variance }),
            Some(at) => {
                let (row, col) = (at / latent, at % latent);
                Err(Error::input(format!("the posterior of row {row} is not finite in latent {col}"))
                    .hint("the training diverged, or the row is far from what the model has seen"))
            }
        }
    }
    /// The mean and the variance of row `n`, (L) each.
    fn row(&self, n: usize) -> (&[f64], &[f64]) {
        let at = n * self.latent..(n + 1) * self.latent;
        (&self.mean[at.clone()], &self.variance[at])
    }
}

impl GaussianMixture {
    /// A mixture of `count` Gaussians fitted to the aggregate of some posteriors, their variances counted in. It starts
    /// from centres that k-means++ draws by the seed, and stops when the log-likelihood rises by less than 1e-5 of its
    /// size, or after 200 iterations. Results do not depend on the threads of `ex`.
    ///
    /// # Errors
    /// No components, or more than rows; posteriors that are not finite; more rows than fit in memory.
    pub fn fit(ex: &Exec, encoding: &Encoding, count: usize, shape: Covariance, seed: u64) -> Result<MixtureFit> {
        let rows = Rows::of(encoding)?;
        if count == 0 || count > rows.count {
            return Err(Error::input(format!(
                "a mixture of {count} components for {} rows; it must be 1 at least and at most one a row",
                rows.count
            ))
            .hint("--from mixture:10, for example"));
        }
        // Numbers of f64, for each two of the f32 that are counted there.
        check_size(rows.count, 2 * (count + 2 * rows.latent))?;
        let numbers = match shape {
            Covariance::Full => rows.latent.saturating_mul(rows.latent),
            Covariance::Diagonal => 3 * rows.latent,
        };
        check_size(count, numbers.saturating_mul(4))?;
        let centres = centres(&rows, count, &mut Noise::new(seed).rng(Stream::Sample, 1, 0, 0));
        let mut shares = vec![0.0; rows.count * count];
        for (n, shares) in shares.chunks_exact_mut(count).enumerate() {
            shares[nearest(&rows, &centres, n)] = 1.0;
        }
        let mut log_likelihood: Vec<f64> = Vec::new();
        loop {
            let mixture = maximise(ex, &rows, &shares, count, shape)?;
            let value = expect(ex, &rows, &mixture, &mut shares);
            if !value.is_finite() {
                return Err(Error::input(format!(
                    "the fit's objective is {value}: the posteriors are too wide or too far apart"
                ))
                .hint("train with a larger --beta, or bounds such as --log-variance=-6,2"));
            }
            let converged = log_likelihood.last().is_some_and(|last| value - last <= FLAT * value.abs().max(1.0));
            log_likelihood.push(value);
            if converged || log_likelihood.len() == MOST_STEPS {
                return Ok(MixtureFit { mixture, log_likelihood, converged });
            }
        }
    }
}

fn square_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// k-means++ (Arthur and Vassilvitskii 2007): rows as centres, each drawn by its squared distance to the nearest so far.
fn centres(rows: &Rows, count: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut centres = vec![rng.random_range(0..rows.count)];
    let mut near = vec![f64::INFINITY; rows.count];
    while centres.len() < count {
        let newest = rows.row(centres[centres.len() - 1]).0;
        for (n, near) in near.iter_mut().enumerate() {
            *near = near.min(square_distance(rows.row(n).0, newest));
        }
        let mut rest = rng.random::<f64>() * near.iter().sum::<f64>();
        let drawn = near.iter().position(|near| {
            rest -= near;
            rest < 0.0
        });
        // Where every row is a centre's double, any will do.
        centres.push(drawn.unwrap_or_else(|| rng.random_range(0..rows.count)));
    }
    centres
}

/// The centre nearest to row `n`; of equally near ones, the first.
fn nearest(rows: &Rows, centres: &[usize], n: usize) -> usize {
    let (mut best, mut least) = (0, f64::INFINITY);
    for (c, &centre) in centres.iter().enumerate() {
        let distance = square_distance(rows.row(n).0, rows.row(centre).0);
        if distance < least {
            (best, least) = (c, distance);
        }
    }
    best
}

/// Each row's shares, (N, C), and F.
fn expect(ex: &Exec, rows: &Rows, mixture: &GaussianMixture, shares: &mut [f64]) -> f64 {
    let (count, mut values) = (mixture.count(), vec![0.0; rows.count]);
    let mut blocks: Vec<_> = shares.chunks_mut(BLOCK * count).zip(values.chunks_mut(BLOCK)).collect();
    ex.install(|| {
        for_each_mut(ex.par(), &mut blocks, |block, (shares, values)| {
            let mut off = vec![0.0; rows.latent];
            for (r, (shares, value)) in shares.chunks_exact_mut(count).zip(values.iter_mut()).enumerate() {
                let (mean, variance) = rows.row(block * BLOCK + r);
                for (share, c) in shares.iter_mut().zip(&mixture.components) {
                    *share = c.log_weight + c.expected_log_prob(mean, variance, &mut off);
                }
                *value = log_sum_exp(shares);
                for share in shares.iter_mut() {
                    let exact = (*share - *value).exp();
                    *share = if exact < LEAST_SHARE { 0.0 } else { exact };
                }
            }
        });
    });
    values.iter().sum::<f64>() / rows.count as f64
}

/// The mixture that fits the shares, (N, C), best: each component by one thread, in the order of rows.
fn maximise(ex: &Exec, rows: &Rows, shares: &[f64], count: usize, shape: Covariance) -> Result<GaussianMixture> {
    let mut components: Vec<Option<Component>> = vec![None; count];
    ex.install(|| {
        for_each_mut(ex.par(), &mut components, |c, component| {
            let shares = shares.iter().skip(c).step_by(count).copied();
            let mass: f64 = shares.clone().sum();
            *component = if mass > LEAST_MASS {
                moments(rows, shares, mass, mass / rows.count as f64, shape)
            } else {
                // It has died: no weight, and whatever moments.
                moments(rows, std::iter::repeat_n(1.0, rows.count), rows.count as f64, 0.0, shape)
            };
        });
    });
    let components: Option<Vec<_>> = components.into_iter().collect();
    let too_far = || {
        Error::input("the posteriors lie too far apart for a covariance to be inverted")
            .hint("--from diagonal:K needs less; or train with a larger --beta")
    };
    Ok(GaussianMixture { components: components.ok_or_else(too_far)? })
}

/// The component of these moments: rows weighted by `shares`, whose sum is `mass`.
fn moments(
    rows: &Rows,
    shares: impl Iterator<Item = f64> + Clone,
    mass: f64,
    weight: f64,
    shape: Covariance,
) -> Option<Component> {
    let used = shares.enumerate().filter(|(_, share)| *share > 0.0);
    let mut mean = vec![0.0; rows.latent];
    for (n, share) in used.clone() {
        mean.iter_mut().zip(rows.row(n).0).for_each(|(sum, x)| *sum += share * x);
    }
    mean.iter_mut().for_each(|sum| *sum /= mass);
    let (mut covariance, mut off) = (Triangle::new(shape, rows.latent), vec![0.0; rows.latent]);
    for (n, share) in used {
        let (x, variance) = rows.row(n);
        off.iter_mut().zip(x).zip(&mean).for_each(|((off, x), mean)| *off = x - mean);
        covariance.add(share, &off, variance);
    }
    covariance.scale(1.0 / mass);
    Component::new(weight, mean, &covariance)
}
