//! The encodings of rows of the data as the prior: a Parzen window in latent space (Norouzi, Fleet and Norouzi 2020,
//! arXiv:2004.04795, eq. 5).
//!
//! ```text
//! log p(z) = log 1/N Σ_n N(z; μ_n, e^v I)               (B, L), (N, L) → (B)      r_n = N_n / Σ N  (B, N)
//!          = log Σ_n e^{s_n} − ½ e^{−v} ‖z‖² − ½ L (log 2π + v) − log N           s_n = e^{−v} (z·μ_n − ½ ‖μ_n‖²)
//! ∂/∂z = −e^{−v} Σ_n r_n (z − μ_n)      ∂/∂μ_n = e^{−v} r_n (z − μ_n)      ∂/∂v = ½ Σ_n r_n (e^{−v} ‖z − μ_n‖² − L)
//! ```
//!
//! μ_n is the encoder's mean of row n and v one learned number. All components are as wide, so what ‖z − μ_n‖² has of z alone
//! stands before the sum, and the rest is a matrix product with a bias. s_n errs by about u e^{−v} ‖z‖ ‖μ_n‖, u = 2⁻²⁴ (f32) or
//! 2⁻⁵³.

use super::LOG_TAU;
use crate::tensor::{Buffer, Isa, Mat, MatMut, Real};
use elbo_kernels::activation::Activation;
use elbo_kernels::gemm::{Accum, rows_product};
use elbo_kernels::mixture::to_shares;
use elbo_kernels::panels::Panels;
use elbo_kernels::sweep::softmax_log_prob;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// Exemplars that a product takes at once: they, and their scores for a block of rows, stay in a second-level cache.
pub(crate) const GROUP: usize = 256;
/// Rows whose sums run side by side.
const ROWS: usize = 64;

/// The means of N exemplars with L latents each, and the variance that they share.
#[derive(Clone, Debug)]
pub struct Exemplars<F> {
    count: usize,
    log_variance: f64,
    /// e^{−v}
    precision: f64,
    means: Buffer<F>,
    /// e^{−v} μ, (L, N) in groups of columns, each packed by itself.
    packed: Vec<F>,
    /// −½ e^{−v} ‖μ‖²
    bias: Vec<F>,
}

/// Of which exemplars a row's mixture is the mean, where it is not all of them: in training, those that were drawn without
/// the row itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaveOut {
    /// The row's own place among the exemplars that are there, if it has one.
    pub own: Option<usize>,
    /// The number that sums are divided by. Where it is above the number of exemplars that are there, those that are not count
    /// as too far away to matter, and log p(z) is a lower bound.
    pub of: usize,
}

impl<F: Real> Exemplars<F> {
    /// Memory for `capacity` exemplars of `latent` latents. There are none yet.
    pub fn new(capacity: usize, latent: usize) -> Self {
        Exemplars {
            count: 0,
            log_variance: 0.0,
            precision: 1.0,
            means: Buffer::new(capacity, latent),
            packed: vec![F::ZERO; capacity.div_ceil(GROUP) * Panels::new(latent, GROUP).len()],
            bias: vec![F::ZERO; capacity],
        }
    }
    /// Takes other means, (L) each, and another log-variance v; no more than there is memory for. Allocates nothing.
    pub fn replace<'m>(&mut self, log_variance: F, means: impl Iterator<Item = &'m [F]>) {
        self.log_variance = log_variance.to_f64();
        self.precision = (-self.log_variance).exp();
        self.count = 0;
        let capacity = self.means.capacity();
        let mut to = self.means.rows_mut(capacity);
        for mean in means {
            to.row(self.count).copy_from_slice(mean);
            let square: f64 = mean.iter().map(|m| m.to_f64() * m.to_f64()).sum();
            self.bias[self.count] = F::from_f64(-0.5 * self.precision * square);
            self.count += 1;
        }
        let (latent, precision) = (self.latent(), F::from_f64(self.precision));
        let means = self.means.rows(self.count);
        for first in (0..self.count).step_by(GROUP) {
            let panels = self.group(first);
            let packed = &mut self.packed[first * latent..][..panels.len()];
            panels.pack(&means.data()[first * means.stride()..], [1, means.stride()], packed);
            packed.iter_mut().for_each(|x| *x = *x * precision);
        }
    }
    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }
    /// L.
    pub fn latent(&self) -> usize {
        self.means.cols()
    }
    /// v.
    pub fn log_variance(&self) -> f64 {
        self.log_variance
    }
    /// How many there is memory for.
    pub fn capacity(&self) -> usize {
        self.means.capacity()
    }
    /// The means, (N, L).
    pub fn means(&self) -> Mat<'_, F> {
        self.means.rows(self.count)
    }
    /// Columns of the scratch of [`log_prob`](Self::log_prob).
    pub const SCRATCH: usize = GROUP + 1;

    /// The storage order of the group that begins with an exemplar.
    fn group(&self, first: usize) -> Panels {
        Panels::new(self.latent(), GROUP.min(self.count - first))
    }
    /// s of each row and each exemplar of the group that begins with `first`; the greatest is the nearest.
    pub(crate) fn scores(&self, isa: Isa, z: Mat<F>, first: usize, out: MatMut<F>) {
        let panels = self.group(first);
        let packed = &self.packed[first * self.latent()..][..panels.len()];
        let bias = &self.bias[first..first + panels.cols()];
        rows_product(isa, z, &panels, packed, Some(bias), Activation::Identity, Accum::Replace, out);
    }
    /// log p(z) − log Σ e^s, for a mean over `of` exemplars.
    fn constant(&self, z: &[F], of: usize) -> f64 {
        let square: f64 = z.iter().map(|z| z.to_f64() * z.to_f64()).sum();
        let norm = self.latent() as f64 * (LOG_TAU + self.log_variance);
        -0.5 * (self.precision * square + norm) - (of as f64).ln()
    }

    /// `out[r] = log p(z_r)` over all exemplars, in nats. `scratch` is (B, [`SCRATCH`](Self::SCRATCH)) or wider.
    ///
    /// The running logarithm of a row's sum stands behind the scores of the next group, so that a sweep takes both together.
    pub fn log_prob(&self, isa: Isa, z: Mat<F>, mut scratch: MatMut<F>, out: &mut [F]) {
        for top in (0..z.rows()).step_by(ROWS) {
            let rows = ROWS.min(z.rows() - top);
            let z = z.block(top, rows, 0, z.cols());
            let mut logs = [0.0; ROWS];
            for first in (0..self.count).step_by(GROUP) {
                let n = GROUP.min(self.count - first);
                self.scores(isa, z, first, scratch.reborrow().block(0, rows, 0, n));
                for (r, log) in logs[..rows].iter_mut().enumerate() {
                    let row = scratch.row(r);
                    if first == 0 {
                        *log = row[0].to_f64() - softmax_log_prob(isa, 0, &row[..n]).to_f64();
                    } else {
                        row[n] = F::from_f64(*log);
                        *log -= softmax_log_prob(isa, n, &row[..=n]).to_f64();
                    }
                }
            }
            for (r, log) in logs[..rows].iter().enumerate() {
                out[top + r] = F::from_f64(log + self.constant(z.row(r), self.count));
            }
        }
    }

    /// `out[r] = log p(z_r)`, in nats, and each exemplar's share in it: `shares` is (B, N) or wider. `others(r)` says which
    /// exemplars are row r's.
    pub fn log_prob_without(
        &self,
        isa: Isa,
        z: Mat<F>,
        others: impl Fn(usize) -> LeaveOut,
        mut shares: MatMut<F>,
        out: &mut [F],
    ) {
        for first in (0..self.count).step_by(GROUP) {
            let n = GROUP.min(self.count - first);
            self.scores(isa, z, first, shares.reborrow().columns(first, n));
        }
        for (r, out) in out[..z.rows()].iter_mut().enumerate() {
            let (LeaveOut { own, of }, shares) = (others(r), &mut shares.row(r)[..self.count]);
            if let Some(own) = own {
                shares[own] = F::from_f64(f64::NEG_INFINITY);
            }
            *out = F::from_f64(to_shares(isa, shares) + self.constant(z.row(r), of));
        }
    }
    /// Adds `weights[r] · ∂ log p(z_r) / ∂z_r` to `dz`; `shares` are those of [`log_prob_without`](Self::log_prob_without).
    pub fn log_prob_grad(&self, z: Mat<F>, shares: Mat<F>, weights: &[F], mut dz: MatMut<F>) {
        let (means, precision) = (self.means(), F::from_f64(self.precision));
        for (r, &weight) in weights[..z.rows()].iter().enumerate() {
            let (z, dz, shares) = (z.row(r), dz.row(r), &shares.row(r)[..self.count]);
            for (n, &share) in shares.iter().enumerate().filter(|(_, share)| **share != F::ZERO) {
                let weight = weight * precision * share;
                let each = dz.iter_mut().zip(z).zip(means.row(n));
                each.for_each(|((dz, &z), &mean)| *dz = *dz - weight * (z - mean));
            }
        }
    }
    /// Adds to `mean`, (L), and to `log_variance` what some rows say of exemplar `n`: `weights[r] · ∂ log p(z_r)`, row after row.
    pub fn exemplar_grad(
        &self,
        n: usize,
        z: Mat<F>,
        shares: Mat<F>,
        weights: &[F],
        mean: &mut [F],
        log_variance: &mut F,
    ) {
        let (at, precision) = (self.means().row(n), F::from_f64(self.precision));
        let (half, latent) = (F::from_f64(0.5), F::from_f64(self.latent() as f64));
        for (r, &weight) in weights[..z.rows()].iter().enumerate() {
            let share = shares.row(r)[n];
            if share == F::ZERO {
                continue;
            }
            let (weight, mut square) = (weight * share, F::ZERO);
            for ((dmean, &z), &at) in mean.iter_mut().zip(z.row(r)).zip(at) {
                let d = z - at;
                *dmean += weight * precision * d;
                square += d * d;
            }
            *log_variance += half * weight * (precision * square - latent);
        }
    }
    /// An upper bound in closed form on `KL(N(m, e^w) ‖ p)`, in nats, from `log p(m)` and the log-variances w: as
    /// [`Components::kl_bound`](super::Components::kl_bound), with −KL(q ‖ N_n) = log N_n(m) + ½ Σ_j (1 + log 2π + w_j − e^{w_j − v}).
    pub fn kl_bound(&self, log_prob_of_mean: f64, log_variance: &[F]) -> f64 {
        let each = log_variance.iter().map(|w| {
            let w = w.to_f64();
            (w - self.log_variance).exp() - w - 1.0 - LOG_TAU
        });
        0.5 * each.sum::<f64>() - log_prob_of_mean
    }
    /// One draw of z around one of the exemplars, each as likely, with its deviations multiplied by a temperature:
    /// z = μ_n + T e^{v/2} ε.
    pub fn sample_at(&self, temperature: f64, rng: &mut ChaCha8Rng, out: &mut [F]) {
        let n = (rng.random::<f64>() * self.count as f64) as usize;
        let deviation = temperature * (0.5 * self.log_variance).exp();
        for (z, m) in out.iter_mut().zip(self.means().row(n.min(self.count - 1))) {
            let noise: f64 = rng.sample(StandardNormal);
            *z = F::from_f64(m.to_f64() + deviation * noise);
        }
    }
}
