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

use super::BatchLatents;
use elbo_kernels::reduce::log_sum_exp;

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

pub(super) fn row(all: &BatchLatents, i: usize, scratch: &mut [f64], dz: &mut [f64], log_q: &mut [f64]) -> f64 {
    let (rows, scale, weights) = (all.rows, 1.0 / all.rows as f64, LogWeights::new(all));
    let (joint, one) = scratch[..2 * rows].split_at_mut(rows);
    weights.fill(i, joint);
    // Σ_j share_j (z − μ_j) e^{−v_j}, of latent l
    let pull = |l: usize, logs: &[f64], log_sum: f64| {
        let (z, mean, precision) = (all.of(&all.z, l)[i], all.of(&all.mean, l), all.of(&all.precision, l));
        let each = logs.iter().zip(mean).zip(precision);
        each.map(|((log, mean), precision)| (log - log_sum).exp() * (z - mean) * precision).sum::<f64>()
    };
    let mut sum_of_marginals = 0.0;
    for l in 0..all.latent {
        weights.fill(i, one);
        let z = all.of(&all.z, l)[i];
        let (mean, precision, norm) = (all.of(&all.mean, l), all.of(&all.precision, l), all.of(&all.norm, l));
        for j in 0..rows {
            let log = norm[j] - 0.5 * (z - mean[j]) * (z - mean[j]) * precision[j];
            one[j] += log;
            joint[j] += log;
        }
        log_q[l] = log_sum_exp(one);
        sum_of_marginals += log_q[l];
        dz[l] = scale * pull(l, one, log_q[l]);
    }
    log_q[all.latent] = log_sum_exp(joint);
    // The shares once, for all latents.
    joint.iter_mut().for_each(|log| *log = (*log - log_q[all.latent]).exp());
    for (l, dz) in dz.iter_mut().enumerate() {
        let (z, mean, precision) = (all.of(&all.z, l)[i], all.of(&all.mean, l), all.of(&all.precision, l));
        let each = joint.iter().zip(mean).zip(precision);
        *dz -= scale * each.map(|((share, mean), precision)| share * (z - mean) * precision).sum::<f64>();
    }
    scale * (log_q[all.latent] - sum_of_marginals)
}

pub(super) fn posterior_grad(all: &BatchLatents, j: usize, scratch: &mut [f64], d_eta: &mut [f64]) {
    let (rows, latent, scale, weights) = (all.rows, all.latent, 1.0 / all.rows as f64, LogWeights::new(all));
    let (shares, own) = scratch[..2 * rows].split_at_mut(rows);
    let of_row = |l: usize| (all.of(&all.mean, l)[j], all.of(&all.precision, l)[j], all.of(&all.norm, l)[j]);
    weights.fill(j, shares);
    weights.fill(j, own);
    for l in 0..latent {
        let (mean, precision, norm) = of_row(l);
        let each = shares.iter_mut().zip(all.of(&all.z, l));
        each.for_each(|(share, z)| *share += norm - 0.5 * (z - mean) * (z - mean) * precision);
    }
    let log_joint = all.of(&all.log_q, latent);
    shares.iter_mut().zip(log_joint).for_each(|(share, log_q)| *share = (*share - log_q).exp());
    let (d_mean, d_log_variance) = d_eta.split_at_mut(latent);
    for l in 0..latent {
        let (mean, precision, norm) = of_row(l);
        let each = shares.iter().zip(own.iter()).zip(all.of(&all.z, l)).zip(all.of(&all.log_q, l));
        for (((share, log_weight), z), log_q) in each {
            let squared = (z - mean) * (z - mean) * precision;
            let by_log = scale * (share - (log_weight + norm - 0.5 * squared - log_q).exp());
            d_mean[l] += by_log * (z - mean) * precision;
            d_log_variance[l] += 0.5 * by_log * (squared - 1.0);
        }
    }
}
