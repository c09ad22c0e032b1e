//! The squared maximum mean discrepancy between the batch's latents z and as many draws y from the prior, without bias:
//!
//! ```text
//! MMD² = 1/(B(B−1)) Σ_{i≠j} [k(z_i, z_j) + k(y_i, y_j)] − 2/B² Σ_ij k(z_i, y_j)
//! k = Σ_s C_s / (C_s + d²),  C_s = 2 L s,  s = 0.1, 0.2, 0.5, 1, 2, 5, 10          or          k = e^{−d²/2L}
//! ∂/∂z_i = Σ_{j≠i} 4/(B(B−1)) k'(d²) (z_i − z_j) − 4/B² Σ_j k'(d²) (z_i − y_j)
//! ```
//!
//! Gretton et al. (2012), lemma 6. The first kernel is the inverse multiquadratic of Tolstikhin et al. (2018, arXiv:1711.01558,
//! section 4), whose heavy tails pull outlying codes too, summed over the scales s of the authors' program; 2L is the mean of d² between two
//! draws of a standard normal. An estimate without bias is now and then below 0.

use super::BatchLatents;

/// A function of the squared distance, and its derivative.
pub(super) trait Kernel {
    fn at(&self, squared: f64) -> (f64, f64);
}

pub(super) struct InverseMultiquadratics {
    /// 2L
    scale: f64,
}

impl InverseMultiquadratics {
    const SCALES: [f64; 7] = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
    pub(super) fn new(latent: usize) -> Self {
        InverseMultiquadratics { scale: 2.0 * latent as f64 }
    }
}

impl Kernel for InverseMultiquadratics {
    fn at(&self, squared: f64) -> (f64, f64) {
        let (mut value, mut slope) = (0.0, 0.0);
        for s in Self::SCALES {
            let c = self.scale * s;
            let k = c / (c + squared);
            value += k;
            slope -= k / (c + squared);
        }
        (value, slope)
    }
}

pub(super) struct Gaussian {
    /// 1/2L
    rate: f64,
}

impl Gaussian {
    pub(super) fn new(latent: usize) -> Self {
        Gaussian { rate: 0.5 / latent as f64 }
    }
}

impl Kernel for Gaussian {
    fn at(&self, squared: f64) -> (f64, f64) {
        let k = (-self.rate * squared).exp();
        (k, -self.rate * k)
    }
}

/// d² of column `i` of `from` and every column of `to`.
fn distances(all: &BatchLatents, from: &[f64], i: usize, to: &[f64], out: &mut [f64]) {
    out.fill(0.0);
    for l in 0..all.latent {
        let a = all.of(from, l)[i];
        out.iter_mut().zip(all.of(to, l)).for_each(|(d, b)| *d += (a - b) * (a - b));
    }
}

/// Σ_j k of column `i` of `from` and every column of `to`, but for `i` itself if `apart`; `slopes` are their k'(d²).
fn sum(
    kernel: &impl Kernel,
    all: &BatchLatents,
    i: usize,
    [from, to]: [&[f64]; 2],
    apart: bool,
    slopes: &mut [f64],
) -> f64 {
    distances(all, from, i, to, slopes);
    let mut sum = 0.0;
    for (j, d) in slopes.iter_mut().enumerate() {
        let (k, slope) = if apart && i == j { (0.0, 0.0) } else { kernel.at(*d) };
        sum += k;
        *d = slope;
    }
    sum
}

/// Adds to `dz` `factor` times the derivative of a [`sum`] by z_i.
fn add_pull(all: &BatchLatents, i: usize, to: &[f64], slopes: &[f64], factor: f64, dz: &mut [f64]) {
    for (l, dz) in dz.iter_mut().enumerate() {
        let z = all.of(&all.z, l)[i];
        *dz += factor * slopes.iter().zip(all.of(to, l)).map(|(slope, b)| slope * 2.0 * (z - b)).sum::<f64>();
    }
}

pub(super) fn row(kernel: &impl Kernel, all: &BatchLatents, i: usize, scratch: &mut [f64], dz: &mut [f64]) -> f64 {
    let (slopes, b) = (&mut scratch[..all.rows], all.rows as f64);
    let (same, other) = (1.0 / (b * (b - 1.0)), -2.0 / (b * b));
    let among_codes = sum(kernel, all, i, [&all.z, &all.z], true, slopes);
    // z_i meets every other twice: as the first of a pair and as the second.
    add_pull(all, i, &all.z, slopes, 2.0 * same, dz);
    let across = sum(kernel, all, i, [&all.z, &all.prior], false, slopes);
    add_pull(all, i, &all.prior, slopes, other, dz);
    // Constant in z, but for which the estimate would not be one; each pair once.
    distances(all, &all.prior, i, &all.prior, slopes);
    let among_draws = 2.0 * slopes[i + 1..].iter().map(|d| kernel.at(*d).0).sum::<f64>();
    same * (among_codes + among_draws) + other * across
}
