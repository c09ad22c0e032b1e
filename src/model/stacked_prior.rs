//! More stochastic layers: a prior that is a VAE over the latents (Burda, Grosse and Salakhutdinov 2016, arXiv:1509.00519,
//! sections 3 and 5.1; Rezende, Mohamed and Wierstra 2014).
//!
//! ```text
//! up     z_l → E_l → η_l = [μ | v]       z_{l+1} = μ + e^{v/2} ε              q(z_{l+1}|z_l) = N(μ, e^v)
//! down   z_{l+1} → D_l → [m | s]                                             p(z_l|z_{l+1}) = N(m, e^s)     p(z_top) = N(0, I)
//!
//! log p̂(z) = Σ_l log p(z_l|z_{l+1}) + log p(z_top) − Σ_l log q(z_{l+1}|z_l)          E log p̂(z) ≤ log p(z)
//! ```
//!
//! With log p̂ in the place of log p(z), the weight p(x|z) p(z) / q(z|x) of a sample is that of the whole hierarchy, p(x, z_1, …) /
//! q(z_1, … |x), and ELBO and IWAE are its bounds. With the weight w of log p̂:
//!
//! ```text
//! d[m|s] = w [(z−m) e^{−s} | ½ ((z−m)² e^{−s} − 1)]     dz_l −= w (z−m) e^{−s}     dz_{l+1} = D_l's dx     dz_top −= w z_top
//! dη = of a sample by dz_{l+1}, and of log q by −w      dz_l += E_l's dx
//! ```
//!
//! First the decoders from below, then the encoders from above: the posteriors' derivative by z_{l+1} is then whole when E_l
//! wants it. Bounds of the log-variances, where a configuration has them, are of v and s as well as of q(z|x). Without bounds and with
//! hidden layers that have none, an outlying z_{l+1} can make s very small and (z−m)² e^{−s} large; the published networks are of tanh.
//!
//! What an estimator leaves out of the score of q(z|x), as sticking the landing and doubly reparameterized gradients do, is left out
//! of the score of each q(z_{l+1}|z_l) by E_l's parameters: with all latents as one z, q(z_1, … |x) is the posterior of Roeder, Wu and
//! Duvenaud (2017, eq. 8) and of Tucker et al. (2019, eq. 8), and its score the sum of these. By z_l, which is drawn, it is a part of
//! the path and stays (the indirect scores of Bauer and Mnih 2021, arXiv:2101.11046): E_l is gone back through twice.
//!
//! Without draws the KL is the quadrature of [the flow prior](super::FlowPrior), by points in the latents of all levels.

mod given;
mod sampler;

pub use sampler::StackedSampler;

use super::VaeConfig;
use super::flow_prior::points;
use super::vae::{hidden, inner};
use crate::density::{DiagonalGaussian, Level, Posterior};
use crate::layer::{Activation, AnyLayer, Cache, Chain, Dense, Gradient, Layer, Sides};
use crate::tensor::{Buffer, Isa, Layout, Mat, MatMut, Params, Real, Slot};
use elbo_kernels::sweep::{
    gaussian_log_prob, gaussian_log_prob_grad_x, standard_normal_log_prob, standard_normal_log_prob_grad,
};
use rand_chacha::ChaCha8Rng;
use std::sync::{Arc, OnceLock};

/// p(z) of more stochastic layers above z.
///
/// Without draws, a [`Score`](super::Score)'s KL to it is an estimate by 32 points that are the same for every row: a function of the row
/// alone, and neither an upper bound nor a lower one.
#[derive(Clone, Debug)]
pub struct StackedPrior {
    /// From the data upward.
    levels: Vec<Nets>,
    /// Columns of z.
    latent: usize,
    /// (16, latents of all levels), made when they are first asked for.
    points: Arc<OnceLock<Vec<f64>>>,
}

/// Between the latents of one level and those above.
#[derive(Clone, Debug)]
struct Nets {
    below: usize,
    above: usize,
    encoder: Chain,
    decoder: Chain,
    /// q(z_above|z), and p(z|z_above).
    posterior: DiagonalGaussian,
    likelihood: DiagonalGaussian,
}

/// What a level of a [`StackedPrior`] keeps of a block of n rows of z; L latents are below it, and M above.
#[derive(Clone, Debug)]
pub struct LevelCache<F> {
    /// The posterior's parameters, (n, 2M), and their derivative.
    eta: Buffer<F>,
    d_eta: Buffer<F>,
    /// Standard noise, the latents above, and the derivative by them, (n, M).
    eps: Buffer<F>,
    z: Buffer<F>,
    dz: Buffer<F>,
    /// [m | s], (n, 2L); the way back overwrites them with their derivative. Where s has bounds, what it overwrote.
    out: Buffer<F>,
    bounded: Buffer<F>,
    /// What the encoder says of the latents below, (n, L).
    dx: Buffer<F>,
    /// log q of each row; then its weight through the latents above, and that at fixed ones.
    log_q: Vec<F>,
    score: Vec<F>,
    encoder: Cache<F>,
    decoder: Cache<F>,
    /// Stands for the decoder's output on the way back: its last layer is linear and never looks at it.
    spent: Buffer<F>,
}

impl<F> LevelCache<F> {
    /// The noise that its latents are drawn from, (n, M).
    pub(super) fn eps(&mut self) -> &mut Buffer<F> {
        &mut self.eps
    }
}

/// Two hidden layers, and a linear one.
pub(super) fn net(config: &VaeConfig, layout: &mut Layout, inputs: usize, width: usize, outputs: usize) -> Chain {
    let first = layout.scope(0, |l| hidden(config, l, inputs, width));
    let second = layout.scope(1, |l| hidden(config, l, width, width));
    let last = layout.scope(2, |l| Dense::new(l, width, outputs, Activation::Identity, config.init));
    let last: Arc<dyn AnyLayer> = Arc::new(last);
    Chain::new(vec![first, second, last])
}

impl Nets {
    fn new(config: &VaeConfig, layout: &mut Layout, below: usize, Level { latent: above, width }: Level) -> Self {
        Nets {
            below,
            above,
            encoder: layout.scope("encoder", |l| net(config, l, below, width, 2 * above)),
            decoder: layout.scope("decoder", |l| net(config, l, above, width, 2 * below)),
            posterior: DiagonalGaussian::new(above).bounded(config.log_variance),
            likelihood: DiagonalGaussian::new(below).bounded(config.log_variance),
        }
    }
    fn cache<F: Real>(&self, rows: usize) -> LevelCache<F> {
        let (below, above) = (|| Buffer::new(rows, self.below), || Buffer::new(rows, self.above));
        let eta = || Buffer::new(rows, 2 * self.above);
        LevelCache {
            eta: eta(),
            d_eta: eta(),
            eps: above(),
            z: above(),
            dz: above(),
            out: Buffer::new(rows, 2 * self.below),
            bounded: Buffer::new(if self.likelihood.is_bounded() { rows } else { 0 }, 2 * self.below),
            dx: below(),
            log_q: vec![F::ZERO; rows],
            score: vec![F::ZERO; rows],
            encoder: Layer::<F>::cache(&self.encoder, rows),
            decoder: Layer::<F>::cache(&self.decoder, rows),
            spent: Buffer::default(),
        }
    }
    /// Adds log p(z|z_above) − log q(z_above|z) to `out`, with z_above from the level's noise.
    fn log_ratio<F: Real>(&self, isa: Isa, p: &Params<F>, z: Mat<F>, out: &mut [F], c: &mut LevelCache<F>) {
        let rows = z.rows();
        self.encoder.forward(isa, p, z, &mut c.eta, &mut c.encoder);
        self.posterior.bound(c.eta.rows_mut(rows));
        let (eta, eps) = (c.eta.rows(rows), c.eps.rows(rows));
        self.posterior.sample(isa, eta, eps, c.z.rows_mut(rows));
        self.posterior.log_prob_of(eta, eps, &mut c.log_q[..rows]);
        self.decoder.forward(isa, p, c.z.rows(rows), &mut c.out, &mut c.decoder);
        self.likelihood.bound(c.out.rows_mut(rows));
        for (r, out) in out[..rows].iter_mut().enumerate() {
            let (mean, log_variance) = c.out.rows(rows).row(r).split_at(self.below);
            *out += gaussian_log_prob(isa, z.row(r), mean, log_variance) - c.log_q[r];
        }
    }
    /// The way back of log p(z|z_above): adds to `dz`, and replaces the derivative by z_above.
    fn decoder_grad<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        weights: &[F],
        z: Mat<F>,
        mut dz: MatMut<F>,
        c: &mut LevelCache<F>,
    ) {
        let mut out = c.out.rows_mut(z.rows());
        for (r, &weight) in weights.iter().enumerate() {
            if self.likelihood.is_bounded() {
                c.bounded.rows_mut(z.rows()).row(r).copy_from_slice(out.row(r));
            }
            let (mean, log_variance) = out.row(r).split_at_mut(self.below);
            gaussian_log_prob_grad_x(isa, z.row(r), mean, log_variance, weight, dz.row(r));
        }
        if self.likelihood.is_bounded() {
            self.likelihood.bound_grad(c.bounded.rows(z.rows()), out);
        }
        let above = c.z.rows(z.rows());
        self.decoder.backward_rows(isa, p, above, &c.spent, &mut c.out, Some(&mut c.dz), &mut c.decoder);
    }
    /// The way back of z_above and of −log q(z_above|z): adds to `dz`. Of log q(z|x), `[path, score]` are the weights through z and at a
    /// fixed z.
    #[allow(clippy::too_many_arguments, reason = "a level's inputs, once")]
    fn encoder_grad<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        weights: &[F],
        [path, score]: [&[F]; 2],
        z: Mat<F>,
        mut dz: MatMut<F>,
        c: &mut LevelCache<F>,
    ) {
        let rows = z.rows();
        c.log_q.iter_mut().zip(weights).for_each(|(weight, &w)| *weight = -w);
        c.score.copy_from_slice(&c.log_q);
        self.latent_grad(isa, rows, c);
        self.encoder.backward_rows(isa, p, z, &c.eta, &mut c.d_eta, Some(&mut c.dx), &mut c.encoder);
        for r in 0..rows {
            dz.row(r).iter_mut().zip(c.dx.rows(rows).row(r)).for_each(|(dz, &d)| *dz += d);
        }
        if path[..rows] != score[..rows] {
            // Once more for the encoder's own parameters, whose score is left out.
            c.score.iter_mut().zip(path).zip(score).for_each(|((own, &path), &score)| *own = *own - (path - score));
            self.latent_grad(isa, rows, c);
            self.encoder.backward_rows(isa, p, z, &c.eta, &mut c.d_eta, None, &mut c.encoder);
        }
    }
    /// The derivative of z_above and of log q(z_above|z) by the posterior's parameters, which is replaced.
    fn latent_grad<F: Real>(&self, isa: Isa, rows: usize, c: &mut LevelCache<F>) {
        let (eta, eps, mut d_eta) = (c.eta.rows(rows), c.eps.rows(rows), c.d_eta.rows_mut(rows));
        (0..rows).for_each(|r| d_eta.row(r).fill(F::ZERO));
        self.posterior.sample_grad(isa, eta, eps, c.dz.rows(rows), d_eta.reborrow());
        self.posterior.log_prob_of_grad(eta, eps, &c.log_q, &c.score, c.dz.rows_mut(rows), d_eta.reborrow());
        self.posterior.bound_grad(eta, d_eta);
    }
}

/// The latents below level `l`, where `z` is below them all; the derivative by them; and the level's memory.
fn at<'a, F: Real>(
    l: usize,
    z: Mat<'a, F>,
    dz: &'a mut MatMut<F>,
    levels: &'a mut [LevelCache<F>],
) -> (Mat<'a, F>, MatMut<'a, F>, &'a mut LevelCache<F>) {
    let (below, here) = levels.split_at_mut(l);
    match below.last_mut() {
        None => (z, dz.reborrow(), &mut here[0]),
        Some(below) => (below.z.rows(z.rows()), below.dz.rows_mut(z.rows()), &mut here[0]),
    }
}

impl StackedPrior {
    /// Adds an `encoder` and a `decoder` to the layout for each level, under its number; nothing of another prior.
    pub(super) fn new(config: &VaeConfig, layout: &mut Layout) -> Option<Self> {
        let levels = config.prior.levels()?;
        let below = [config.latent].into_iter().chain(levels.iter().map(|level| level.latent));
        let nets = |(l, (below, level))| layout.scope(l, |layout| Nets::new(config, layout, below, level));
        let levels = below.zip(levels.iter()).enumerate().map(nets).collect();
        Some(StackedPrior { levels, latent: config.latent, points: Arc::default() })
    }
    /// Levels above z.
    pub fn levels(&self) -> usize {
        self.levels.len()
    }
    /// Memory for a block of `rows` rows of z.
    pub fn cache<F: Real>(&self, rows: usize) -> Vec<LevelCache<F>> {
        self.levels.iter().map(|nets| nets.cache(rows)).collect()
    }
    /// The points of the quadrature, (16, latents of all levels).
    pub(super) fn points(&self) -> &[f64] {
        let columns = || self.latent + self.levels.iter().map(|nets| nets.above).sum::<usize>();
        self.points.get_or_init(|| points(columns()))
    }
    /// `out[r] = log p̂(z_r)`, in nats, of one draw a row of all latents above; z is (n, L).
    pub(super) fn log_prob<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        z: Mat<F>,
        out: &mut [F],
        levels: &mut [LevelCache<F>],
    ) {
        let rows = z.rows();
        out[..rows].fill(F::ZERO);
        for (l, nets) in self.levels.iter().enumerate() {
            let (below, here) = levels.split_at_mut(l);
            nets.log_ratio(isa, p, below.last().map_or(z, |below| below.z.rows(rows)), out, &mut here[0]);
        }
        let Some(top) = levels.last() else { return };
        for (r, out) in out[..rows].iter_mut().enumerate() {
            *out += standard_normal_log_prob(isa, top.z.rows(rows).row(r));
        }
    }
    /// The way back from [`log_prob`](Self::log_prob) through the decoders, whose parameters have `weights`, (n): adds to `dz`,
    /// (n, L). What goes on to the encoders, but for `dz`, is multiplied by `path`, (n).
    #[allow(clippy::too_many_arguments, reason = "a block's inputs, once")]
    pub(super) fn decoders_grad<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        weights: &[F],
        path: &[F],
        z: Mat<F>,
        mut dz: MatMut<F>,
        levels: &mut [LevelCache<F>],
    ) {
        let rows = weights.len();
        for (l, nets) in self.levels.iter().enumerate() {
            let (z, dz, cache) = at(l, z, &mut dz, levels);
            nets.decoder_grad(isa, p, weights, z, dz, cache);
        }
        let Some(top) = levels.last_mut() else { return };
        for (r, &weight) in weights.iter().enumerate() {
            standard_normal_log_prob_grad(isa, top.z.rows(rows).row(r), weight, top.dz.rows_mut(rows).row(r));
        }
        for level in levels {
            let mut dz = level.dz.rows_mut(rows);
            (0..rows).for_each(|r| dz.row(r).iter_mut().for_each(|dz| *dz = path[r] * *dz));
        }
    }
    /// The rest of the way, through the encoders, with the weights that [`decoders_grad`](Self::decoders_grad) had times their
    /// path: adds to `dz`, (n, L), which has been multiplied by it. `of_log_q` are the weights of log q(z|x), through z and at a fixed z:
    /// what the second lacks, those of the encoders lack too.
    #[allow(clippy::too_many_arguments, reason = "a block's inputs, once")]
    pub(super) fn encoders_grad<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        weights: &[F],
        of_log_q: [&[F]; 2],
        z: Mat<F>,
        mut dz: MatMut<F>,
        levels: &mut [LevelCache<F>],
    ) {
        for (l, nets) in self.levels.iter().enumerate().rev() {
            let (z, dz, cache) = at(l, z, &mut dz, levels);
            nets.encoder_grad(isa, p, weights, of_log_q, z, dz, cache);
        }
    }
    /// What the gradient of one of its parameters is made from in a block with the latents `z`, (n, L).
    pub(super) fn gradient<'a, F: Real>(
        &self,
        slot: Slot,
        z: Mat<'a, F>,
        levels: &'a [LevelCache<F>],
    ) -> Option<Gradient<'a, F>> {
        let rows = z.rows();
        let below = [z].into_iter().chain(levels.iter().map(|level| level.z.rows(rows)));
        self.levels.iter().zip(levels).zip(below).find_map(|((nets, c), below)| {
            let of_decoder = || nets.decoder.gradient(slot, c.z.rows(rows), c.out.rows(rows), &c.decoder);
            nets.encoder.gradient(slot, below, c.d_eta.rows(rows), &c.encoder).or_else(of_decoder)
        })
    }
    /// As [`Layer::renew`], from its lowest level's encoder to its highest level's decoder.
    pub(super) fn renew<F: Real>(&self, row: usize, mut rng: Option<&mut ChaCha8Rng>, levels: &mut [LevelCache<F>]) {
        for (nets, level) in self.levels.iter().zip(levels) {
            nets.encoder.renew(row, rng.as_deref_mut(), &mut level.encoder);
            nets.decoder.renew(row, rng.as_deref_mut(), &mut level.decoder);
        }
    }
    /// As [`Vae::kinks`](super::Vae::kinks).
    pub(super) fn kinks<F: Real>(&self, rows: usize, levels: &[LevelCache<F>], sides: &mut Sides) {
        for (nets, level) in self.levels.iter().zip(levels) {
            nets.encoder.kinks(rows, &level.eta, &level.encoder, sides);
            nets.posterior.kinks(level.eta.rows(rows), sides);
            nets.decoder.kinks(rows, &level.out, &level.decoder, sides);
            nets.likelihood.kinks(level.out.rows(rows), sides);
        }
    }
    /// As `Vae::stages`.
    pub(super) fn stages<'a, F: Real>(&self, rows: usize, levels: &'a [LevelCache<F>]) -> Vec<(String, Mat<'a, F>)> {
        let mut stages = Vec::new();
        for (l, (nets, level)) in self.levels.iter().zip(levels).enumerate() {
            stages.extend(inner(&format!("prior.{l}.encoder"), &nets.encoder, &level.encoder, rows));
            stages.push((format!("layer prior.{l}.encoder.2"), level.eta.rows(rows)));
            stages.push((format!("the latent of level {} of the prior", l + 1), level.z.rows(rows)));
            stages.extend(inner(&format!("prior.{l}.decoder"), &nets.decoder, &level.decoder, rows));
            stages.push((format!("layer prior.{l}.decoder.2"), level.out.rows(rows)));
        }
        stages
    }
}
