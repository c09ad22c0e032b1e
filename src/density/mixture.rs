//! A mixture of diagonal Gaussians as the prior.
//!
//! ```text
//! log p(z) = log Σ_c π_c N(z; μ_c, e^{v_c})             (B, L), (C, L) each → (B)        r_c = π_c N_c / p(z)  (B, C)
//! ∂/∂z = −Σ_c r_c (z − μ_c) e^{−v_c}
//! ∂/∂μ_c = r_c (z − μ_c) e^{−v_c}        ∂/∂v_c = ½ r_c ((z − μ_c)² e^{−v_c} − 1)        ∂/∂ log π_c (softmax) = r_c − π_c
//! ```
//!
//! Where the components come from is the model's business: parameters of their own, or the encoder's posteriors of learned
//! pseudo-inputs (Tomczak and Welling 2018, arXiv:1705.07120, eq. 9).

use super::LOG_TAU;
use crate::tensor::{Buffer, Isa, Mat, MatMut, Real};
use elbo_kernels::mixture::{mixture_grad_component, mixture_grad_z, mixture_log_prob, mixture_precisions};
use elbo_kernels::reduce::log_sum_exp;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// The components of a mixture, C of them with L latents each; at first, standard normals of equal weight.
#[derive(Clone, Debug)]
pub struct Components<F> {
    count: usize,
    mean: Buffer<F>,
    log_variance: Buffer<F>,
    /// e^{−v}
    precision: Buffer<F>,
    /// Means and precisions again, a column for each component, (L, C): one row meets all components there.
    by_latent: [Buffer<F>; 2],
    /// −½ Σ (log 2π + v)
    norm: Vec<f64>,
    log_weight: Vec<f64>,
    /// The sum of the two.
    offset: Vec<F>,
}

/// The derivative by one component: of its means, of its log-variances, and of its logit.
#[derive(Debug)]
pub struct ComponentGrad<'a, F> {
    /// (L)
    pub mean: &'a mut [F],
    /// (L)
    pub log_variance: &'a mut [F],
    /// Of the softmax over all logits, where these learn.
    pub logit: Option<&'a mut F>,
}

impl<F: Real> Components<F> {
    /// `count` components of `latent` latents. Panics when there are none.
    pub fn new(count: usize, latent: usize) -> Self {
        assert!(count > 0, "a mixture of no components");
        let mut components = Components {
            count,
            mean: Buffer::new(count, latent),
            log_variance: Buffer::new(count, latent),
            precision: Buffer::new(count, latent),
            by_latent: [0; 2].map(|_| Buffer::new(latent, count)),
            norm: vec![0.0; count],
            log_weight: vec![-(count as f64).ln(); count],
            offset: vec![F::ZERO; count],
        };
        let zeros = vec![F::ZERO; latent];
        (0..count).for_each(|c| components.set(Isa::default(), c, &zeros, &zeros));
        components
    }
    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }
    /// Gives component `c` its means and log-variances, (L) each.
    pub fn set(&mut self, isa: Isa, c: usize, mean: &[F], log_variance: &[F]) {
        self.mean.rows_mut(self.count).row(c).copy_from_slice(mean);
        self.log_variance.rows_mut(self.count).row(c).copy_from_slice(log_variance);
        mixture_precisions(isa, log_variance, self.precision.rows_mut(self.count).row(c));
        for (to, from) in self.by_latent.iter_mut().zip([&self.mean, &self.precision]) {
            let mut to = to.rows_mut(mean.len());
            from.rows(self.count).row(c).iter().enumerate().for_each(|(l, &value)| to.row(l)[c] = value);
        }
        self.norm[c] = -0.5 * log_variance.iter().map(|v| LOG_TAU + v.to_f64()).sum::<f64>();
        self.offset[c] = F::from_f64(self.log_weight[c] + self.norm[c]);
    }
    /// Weighs the components by the softmax of their logits.
    pub fn set_weights(&mut self, logits: impl Iterator<Item = F>) {
        self.log_weight.iter_mut().zip(logits).for_each(|(w, logit)| *w = logit.to_f64());
        let total = log_sum_exp(&self.log_weight);
        for ((w, norm), offset) in self.log_weight.iter_mut().zip(&self.norm).zip(&mut self.offset) {
            *w -= total;
            *offset = F::from_f64(*w + norm);
        }
    }
    /// The weight of component `c`.
    pub fn weight(&self, c: usize) -> f64 {
        self.log_weight[c].exp()
    }

    /// `out[r] = log p(z_r)`, in nats, and each component's share in it: `shares` is (B, C).
    pub fn log_prob(&self, isa: Isa, z: Mat<F>, mut shares: MatMut<F>, out: &mut [F]) {
        let [mean, precision] = self.by_latent.each_ref().map(|table| table.rows(z.cols()));
        for (r, out) in out[..z.rows()].iter_mut().enumerate() {
            *out = F::from_f64(mixture_log_prob(isa, z.row(r), mean, precision, &self.offset, shares.row(r)));
        }
    }
    /// Adds `weights[r] · ∂ log p(z_r) / ∂z_r` to `dz`; `shares` are those of [`log_prob`](Self::log_prob).
    pub fn log_prob_grad(&self, isa: Isa, z: Mat<F>, shares: Mat<F>, weights: &[F], mut dz: MatMut<F>) {
        let (mean, precision) = (self.mean.rows(self.count), self.precision.rows(self.count));
        for (r, &weight) in weights[..z.rows()].iter().enumerate() {
            mixture_grad_z(isa, z.row(r), &shares.row(r)[..self.count], weight, mean, precision, dz.row(r));
        }
    }
    /// Adds to `grad` what some rows say of component `c`: `weights[r] · ∂ log p(z_r)`, row after row.
    pub fn component_grad(
        &self,
        isa: Isa,
        c: usize,
        z: Mat<F>,
        shares: Mat<F>,
        weights: &[F],
        grad: &mut ComponentGrad<'_, F>,
    ) {
        if let Some(logit) = &mut grad.logit {
            let pi = F::from_f64(self.weight(c));
            for (r, &weight) in weights[..z.rows()].iter().enumerate() {
                **logit += weight * (shares.row(r)[c] - pi);
            }
        }
        let (mean, precision) = (self.mean.rows(self.count).row(c), self.precision.rows(self.count).row(c));
        mixture_grad_component(isa, z, shares, c, weights, mean, precision, grad.mean, grad.log_variance);
    }
    /// An upper bound in closed form on `KL(N(μ, e^v) ‖ p)`, in nats: −log Σ_c π_c e^{−KL(q ‖ N_c)} (Hershey and Olsen 2007,
    /// eq. 20, of a single Gaussian). It is the KL itself where components are far apart.
    pub fn kl_bound(&self, mean: &[F], log_variance: &[F]) -> f64 {
        let (means, variances) = (self.mean.rows(self.count), self.log_variance.rows(self.count));
        let of = |c: usize| {
            let to = means.row(c).iter().zip(variances.row(c));
            let each = mean.iter().zip(log_variance).zip(to).map(|((m, v), (mc, vc))| {
                let (d, ratio) = (m.to_f64() - mc.to_f64(), v.to_f64() - vc.to_f64());
                0.5 * (d * d * (-vc.to_f64()).exp() + ratio.exp_m1() - ratio)
            });
            self.log_weight[c] - each.sum::<f64>()
        };
        -log_sum_exp(&(0..self.count).map(of).collect::<Vec<f64>>())
    }
    /// One draw of z.
    pub fn sample(&self, rng: &mut ChaCha8Rng, out: &mut [F]) {
        self.sample_at(1.0, rng, out);
    }
    /// One draw with each component's deviations multiplied by a temperature: z = μ_c + T σ_c ε.
    pub fn sample_at(&self, temperature: f64, rng: &mut ChaCha8Rng, out: &mut [F]) {
        let mut rest: f64 = rng.random();
        // The first component whose cumulated weight is above u.
        let c = (0..self.count).find(|&c| {
            rest -= self.weight(c);
            rest < 0.0
        });
        let c = c.unwrap_or(self.count - 1);
        let (mean, variance) = (self.mean.rows(self.count), self.log_variance.rows(self.count));
        for ((z, m), v) in out.iter_mut().zip(mean.row(c)).zip(variance.row(c)) {
            let noise: f64 = rng.sample(StandardNormal);
            *z = F::from_f64(m.to_f64() + temperature * ((0.5 * v.to_f64()).exp() * noise));
        }
    }
}
