//! A normalizing-flow prior in the model: a standard normal at the end of a learned flow.
//!
//! ```text
//! u = f(z)        log p(z) = log N(u; 0, I) + log |du/dz|        z = f⁻¹(ε), ε ~ N(0, I)
//! du = −w u       and back through f, with the weight w of log p(z) for log |du/dz| too
//! ```
//!
//! Its parameters are of the generative network, like the decoder's: a row of z is a row of its products.
//!
//! The KL of a posterior to it has no closed form. Where draws are wanted they are the objective's; where a result must be a
//! function of the row alone it is a quadrature by 32 points ε_s, the same for every row,
//!
//! ```text
//! KL(q ‖ p) ≈ 1/32 Σ_s log q(z_s|x) − log p(z_s),  z_s = T(ε_s; η)
//! ```
//!
//! sixteen normal draws and their negatives, scaled so that each latent has a mean square of exactly 1. So what is linear in ε
//! is exact, and the square of each latent, but not the product of two: it is the closed form of a diagonal posterior while the
//! flow is the identity, and later an estimate of how far it is from that, which is neither an upper bound nor a lower one.

use super::{Block, PriorTable, Vae, VaeConfig};
use crate::flow::CouplingFlow;
use crate::layer::{Cache, Gradient, Init};
use crate::tensor::profile::{Stage, lap};
use crate::tensor::{Buffer, Isa, Layout, Mat, MatMut, Noise, Par, Params, Real, Slot, Stream};
use elbo_kernels::sweep::{standard_normal_log_prob, standard_normal_log_prob_grad};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use std::sync::{Arc, OnceLock};

/// Points of the quadrature, without their negatives.
pub(super) const POINTS: usize = 16;

/// p(z) of a flow with a standard normal at its end. It starts as N(0, I).
///
/// Without draws, a [`Score`](super::Score)'s KL to it is an estimate by 32 points that are the same for every row: a function of the row
/// alone, exact while the flow is the identity, and else neither an upper bound nor a lower one.
#[derive(Clone, Debug)]
pub struct FlowPrior {
    flow: CouplingFlow,
    latent: usize,
    /// (16, L), made when they are first asked for.
    points: Arc<OnceLock<Vec<f64>>>,
}

/// Where u = f(z) is; its derivative, which becomes that by z, comes next.
const U: usize = 0;

/// Draws of each latent, with a mean square of 1.
pub(super) fn points(latent: usize) -> Vec<f64> {
    let noise = Noise::new(0);
    let mut points: Vec<f64> = (0..POINTS as u64)
        .flat_map(|s| {
            let mut rng = noise.rng(Stream::Prior, 0, s, 0);
            (0..latent).map(move |_| rng.sample::<f64, _>(StandardNormal))
        })
        .collect();
    for l in 0..latent {
        let square: f64 = (0..POINTS).map(|s| points[s * latent + l].powi(2)).sum();
        let scale = (POINTS as f64 / square).sqrt();
        (0..POINTS).for_each(|s| points[s * latent + l] *= scale);
    }
    points
}

impl FlowPrior {
    /// Adds the flow's parameters to the layout; nothing of another prior.
    pub(super) fn new(config: &VaeConfig, layout: &mut Layout) -> Option<Self> {
        let latent = config.latent;
        let (couplings, width) = config.prior.flow(latent)?;
        let flow = CouplingFlow::new(layout, latent, couplings, width, config.init);
        Some(FlowPrior { flow, latent, points: Arc::default() })
    }
    /// The flow.
    pub fn flow(&self) -> &CouplingFlow {
        &self.flow
    }
    /// Memory for a block of `rows` rows of z.
    pub fn cache<F: Real>(&self, rows: usize) -> Cache<F> {
        let wide = || Buffer::new(rows, self.latent);
        Cache { buffers: vec![wide(), wide()], children: vec![self.flow.cache(rows)] }
    }
    /// `out[r] = log p(z_r)`, in nats; z is (n, L).
    pub fn log_prob<F: Real>(&self, isa: Isa, p: &Params<F>, z: Mat<F>, out: &mut [F], cache: &mut Cache<F>) {
        let (rows, u) = (z.rows(), &mut cache.buffers[U]);
        let mut to = u.rows_mut(rows);
        (0..rows).for_each(|r| to.row(r).copy_from_slice(z.row(r)));
        self.flow.forward(isa, p, rows, u, out, &mut cache.children[0]);
        for (r, out) in out[..rows].iter_mut().enumerate() {
            *out += standard_normal_log_prob(isa, u.rows(rows).row(r));
        }
    }
    /// Adds `weights[r] · ∂ log p(z_r) / ∂z_r` to `dz`, (n, L), after [`log_prob`](Self::log_prob) of the same rows, and keeps
    /// what [`gradient`](Self::gradient) needs.
    pub fn log_prob_grad<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        weights: &[F],
        mut dz: MatMut<F>,
        cache: &mut Cache<F>,
    ) {
        let rows = weights.len();
        let [u, d] = &mut cache.buffers[..] else { unreachable!("two buffers") };
        let mut du = d.rows_mut(rows);
        for (r, &weight) in weights.iter().enumerate() {
            du.row(r).fill(F::ZERO);
            standard_normal_log_prob_grad(isa, u.rows(rows).row(r), weight, du.row(r));
        }
        self.flow.backward_rows(isa, p, weights, d, &mut cache.children[0]);
        for r in 0..rows {
            dz.row(r).iter_mut().zip(d.rows(rows).row(r)).for_each(|(dz, &d)| *dz += d);
        }
    }
    /// What the gradient of one of its parameters is made from in a block of `rows` rows of z.
    pub fn gradient<'a, F: Real>(&self, slot: Slot, rows: usize, cache: &'a Cache<F>) -> Option<Gradient<'a, F>> {
        self.flow.gradient(slot, rows, &cache.children[0])
    }
    /// The points of the quadrature, (16, L).
    pub(super) fn points(&self) -> &[f64] {
        self.points.get_or_init(|| points(self.latent))
    }
    /// f(z) of the rows that [`log_prob`](Self::log_prob) was of.
    pub(super) fn output<'a, F: Real>(&self, rows: usize, cache: &'a Cache<F>) -> Mat<'a, F> {
        cache.buffers[U].rows(rows)
    }
}

/// A flow prior with its parameters, to draw from.
#[derive(Clone, Debug)]
pub struct FlowSampler<'m, F> {
    prior: &'m FlowPrior,
    params: &'m Params<F>,
    isa: Isa,
}

impl<'m, F: Real> FlowSampler<'m, F> {
    pub(super) fn new(prior: &'m FlowPrior, params: &'m Params<F>, isa: Isa) -> Self {
        FlowSampler { prior, params, isa }
    }
    /// Memory for `rows` rows of z.
    pub fn cache(&self, rows: usize) -> Cache<F> {
        self.prior.cache(rows)
    }
    /// `out[r] = log p(z_r)`, in nats.
    pub fn log_prob(&self, z: Mat<F>, out: &mut [F], cache: &mut Cache<F>) {
        self.prior.log_prob(self.isa, self.params, z, out, cache);
    }
    /// One draw, with the normal's deviations multiplied by a temperature: z = f⁻¹(T ε).
    pub fn sample_at(&self, temperature: f64, rng: &mut ChaCha8Rng, out: &mut [F]) {
        let mut cache = self.cache(1);
        let u = &mut cache.buffers[U];
        for u in u.rows_mut(1).row(0) {
            *u = F::from_f64(temperature * rng.sample::<f64, _>(StandardNormal));
        }
        self.prior.flow.inverse(self.isa, self.params, 1, u, &mut cache.children[0]);
        out.copy_from_slice(u.rows(1).row(0));
    }
}

impl Vae {
    /// The KL of each row by the quadrature of this file's page, from `eta` and `points`, (16, columns of noise), to the first of
    /// its parts; the latents of the block, one a row, are overwritten.
    pub(super) fn kl_at_points<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        b: &mut Block<F>,
        table: Option<&PriorTable<F>>,
        points: &[f64],
    ) {
        let (n, share) = (b.rows, 1.0 / (2 * POINTS) as f64);
        debug_assert_eq!(b.samples, 1);
        (0..n).for_each(|r| b.terms.kl.rows_mut(n).row(r).fill(F::ZERO));
        let points = points.chunks(points.len() / POINTS);
        for (point, sign) in points.flat_map(|point| [(point, 1.0), (point, -1.0)]) {
            b.repeat_noise(point, sign);
            self.sample(isa, p, b);
            self.log_densities(isa, p, b, table);
            for r in 0..n {
                let difference = b.terms.log_qz[r].to_f64() - b.terms.log_pz[r].to_f64();
                b.terms.kl.rows_mut(n).row(r)[0] += F::from_f64(share * difference);
            }
        }
        lap(Stage::Latent, None);
    }
    /// Moves a flow prior away from its start, where it is the identity and most of its derivatives are 0: for a check of
    /// them. The numbers are exact in f32.
    pub(crate) fn unsettle(&self, params: &mut Params<f64>, noise: &Noise) {
        if self.flow_prior().is_none() {
            return;
        }
        for e in
            self.layout().entries().iter().filter(|e| e.name.starts_with("prior.") && e.init == Init::Constant(0.0))
        {
            let mut rng = noise.rng(Stream::Check, 3, e.slot.index() as u64, 0);
            for (row, col) in (0..e.slot.rows()).flat_map(|row| (0..e.slot.cols()).map(move |col| (row, col))) {
                let value = 0.1 * rng.sample::<f64, _>(StandardNormal);
                params.values_mut().set(&e.slot, row, col, f64::from(value as f32));
            }
        }
        params.refresh(Par::Sequential);
    }
}
