//! The total correlation of the aggregate posterior q(z) = (1/N) Σ_n q(z|x_n), over N training rows, from a batch of B:
//!
//! ```text
//! TC = KL(q(z) ‖ Π_l q(z_l)) ≈ (1/B) Σ_i log q̂(z_i) − Σ_l log q̂(z_il)
//! q̂(z_i) = Σ_j W_ij Π_l q(z_il|x_j)          q̂(z_il) = Σ_j W_ij q(z_il|x_j)
//! ```
//!
//! Chen et al. (2018, arXiv:1802.04942), eq. 2 and 4. Of the row that z was drawn for the weight is 1/N, and of the M = B − 1 others
//! (N − 1)/(N M): their appendix C.2's stratified weights, averaged over which of the others comes last. q̂ is then an unbiased estimate of
//! q as theirs is, scatters less, and is q itself where the batch is all rows.
//!
//! With r_ij and s_ijl the shares of row j in the two sums, and ℓ_ijl = log q(z_il|x_j),
//!
//! ```text
//! ∂TC/∂ℓ_ijl = (r_ij − s_ijl) / B        ∂ℓ/∂z_il = −∂ℓ/∂μ_jl = −(z_il − μ_jl) e^{−v_jl}        ∂ℓ/∂v_jl = ½ ((z_il − μ_jl)² e^{−v_jl} − 1)
//! ```
//!
//! A batch takes 2 B² L exponentials, which is most of it: the kernels' vectors of them.

use super::BatchLatents;
use crate::tensor::Isa;
use elbo_kernels::activation::{self, Activation};
use elbo_kernels::sweep::softmax_log_prob_grad;

/// The logarithms of the two weights.
struct LogWeights {
    own: f64,
    others: f64,
}

impl LogWeights {
    fn new(all: &BatchLatents) -> Self {
        // A batch is drawn from the training rows; checks may say otherwise.
        let (n, m) = (all.examples.max(all.rows) as f64, (all.rows - 1) as f64);
        LogWeights { own: -n.ln(), others: ((n - 1.0) / (n * m)).ln() }
    }
    /// Those of z_i, by row; and of row i, by sample.
    fn fill(&self, i: usize, out: &mut [f64]) {
        out.fill(self.others);
        out[i] = self.own;
    }
}

/// Turns logarithms into their shares of a sum, and gives the sum's logarithm. That of `own` is no −∞.
fn shares(isa: Isa, logs: &mut [f64], own: usize) -> f64 {
    let log = logs[own];
    let log_share = softmax_log_prob_grad(isa, own, logs, -1.0);
    // The derivative of −log share: all shares, but for a 1 that is taken from its own.
    logs[own] += 1.0;
    log - log_share
}

/// eˣ of logarithms of shares, which are not above 0 but for roundings.
fn exp_of_shares(isa: Isa, x: &mut [f64]) {
    activation::forward(isa, Activation::Elu(1.0), x);
    x.iter_mut().for_each(|x| *x += 1.0);
}

pub(super) fn row(
    isa: Isa,
    all: &BatchLatents,
    i: usize,
    scratch: &mut [f64],
    dz: &mut [f64],
    log_q: &mut [f64],
) -> f64 {
    let (rows, scale, weights) = (all.rows, 1.0 / all.rows as f64, LogWeights::new(all));
    let (joint, one) = scratch[..2 * rows].split_at_mut(rows);
    weights.fill(i, joint);
    // Σ_j share_j (z − μ_j) e^{−v_j}, of latent l
    let pull = |l: usize, shares: &[f64]| {
        let (z, mean, precision) = (all.of(&all.z, l)[i], all.of(&all.mean, l), all.of(&all.precision, l));
        let each = shares.iter().zip(mean).zip(precision);
        each.map(|((share, mean), precision)| share * (z - mean) * precision).sum::<f64>()
    };
    let mut sum_of_marginals = 0.0;
    for l in 0..all.latent {
        weights.fill(i, one);
        let z = all.of(&all.z, l)[i];
        let (mean, precision, norm) = (all.of(&all.mean, l), all.of(&all.precision, l), all.of(&all.norm, l));
        let each = one.iter_mut().zip(joint.iter_mut()).zip(norm).zip(mean.iter().zip(precision));
        for (((one, joint), norm), (mean, precision)) in each {
            let log = norm - 0.5 * (z - mean) * (z - mean) * precision;
            *one += log;
            *joint += log;
        }
        log_q[l] = shares(isa, one, i);
        sum_of_marginals += log_q[l];
        dz[l] = scale * pull(l, one);
    }
    log_q[all.latent] = shares(isa, joint, i);
    dz.iter_mut().enumerate().for_each(|(l, dz)| *dz -= scale * pull(l, joint));
    scale * (log_q[all.latent] - sum_of_marginals)
}

pub(super) fn posterior_grad(isa: Isa, all: &BatchLatents, j: usize, scratch: &mut [f64], d_eta: &mut [f64]) {
    let (rows, latent, scale, weights) = (all.rows, all.latent, 1.0 / all.rows as f64, LogWeights::new(all));
    let (shares, own) = scratch[..2 * rows].split_at_mut(rows);
    let of_row = |l: usize| (all.of(&all.mean, l)[j], all.of(&all.precision, l)[j], all.of(&all.norm, l)[j]);
    weights.fill(j, shares);
    for l in 0..latent {
        let (mean, precision, norm) = of_row(l);
        let each = shares.iter_mut().zip(all.of(&all.z, l));
        each.for_each(|(share, z)| *share += norm - 0.5 * (z - mean) * (z - mean) * precision);
    }
    let log_joint = all.of(&all.log_q, latent);
    shares.iter_mut().zip(log_joint).for_each(|(share, log_q)| *share -= log_q);
    exp_of_shares(isa, shares);
    let (d_mean, d_log_variance) = d_eta.split_at_mut(latent);
    for l in 0..latent {
        let (mean, precision, norm) = of_row(l);
        weights.fill(j, own);
        for ((own, z), log_q) in own.iter_mut().zip(all.of(&all.z, l)).zip(all.of(&all.log_q, l)) {
            *own += norm - 0.5 * (z - mean) * (z - mean) * precision - log_q;
        }
        exp_of_shares(isa, own);
        for ((share, own), z) in shares.iter().zip(own.iter()).zip(all.of(&all.z, l)) {
            let (by_log, off) = (scale * (share - own), z - mean);
            d_mean[l] += by_log * off * precision;
            d_log_variance[l] += 0.5 * by_log * (off * off * precision - 1.0);
        }
    }
}
