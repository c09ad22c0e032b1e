//! q(z|x) in the model: a Gaussian of what the encoder says, and what a flow makes of its draws.
//!
//! ```text
//! η = [μ | v | more]  (B, E)      diagonal and full: z = μ + T ε      flow: z = T_more(μ + e^{v/2} ε), log q = log q₀ − log det
//! ```
//!
//! The first 2L columns are a diagonal Gaussian's whatever the posterior: its bounds and its kernels serve all of them.

use super::{Block, Vae, VaeConfig};
use crate::density::{DiagonalGaussian, FullGaussian, Posterior, PosteriorKind, Prior, StandardNormal};
use crate::flow::{Autoregressive, Planar, PosteriorFlow};
use crate::layer::{Cache, Gradient, Sides};
use crate::tensor::{Buffer, Isa, Layout, Mat, MatMut, Params, Real, Slot};

/// The posterior of a model: how η and noise make z, and how that is differentiated.
#[derive(Clone, Debug)]
pub struct ModelPosterior {
    latent: usize,
    columns: usize,
    base: DiagonalGaussian,
    shape: Shape,
}

#[derive(Clone, Debug)]
enum Shape {
    Diagonal,
    Full(FullGaussian),
    Planar(Planar),
    Autoregressive(Autoregressive),
}

impl ModelPosterior {
    /// Adds a flow's own parameters to the layout; nothing of a Gaussian.
    pub(super) fn new(config: &VaeConfig, layout: &mut Layout) -> Self {
        let (latent, width) = (config.latent, config.flow_width());
        let shape = match config.posterior {
            PosteriorKind::Diagonal => Shape::Diagonal,
            PosteriorKind::Full => Shape::Full(FullGaussian::new(latent)),
            PosteriorKind::Planar(steps) => Shape::Planar(Planar::new(latent, steps)),
            PosteriorKind::Autoregressive(steps) => {
                Shape::Autoregressive(Autoregressive::new(layout, latent, width, steps, config.init))
            }
        };
        let base = DiagonalGaussian::new(latent).bounded(config.log_variance);
        ModelPosterior { latent, columns: config.posterior_columns(), base, shape }
    }
    /// What the first 2L columns of η are of.
    pub(super) fn base(&self) -> &DiagonalGaussian {
        &self.base
    }
    /// Columns of η.
    pub fn eta_cols(&self) -> usize {
        self.columns
    }
    fn flow<F: Real>(&self) -> Option<&dyn PosteriorFlow<F>> {
        match &self.shape {
            Shape::Diagonal | Shape::Full(_) => None,
            Shape::Planar(flow) => Some(flow),
            Shape::Autoregressive(flow) => Some(flow),
        }
    }
    /// Memory for a block of `rows` rows of z: of a flow its force, and its own.
    pub(super) fn cache<F: Real>(&self, rows: usize) -> Cache<F> {
        let of_flow = |flow: &dyn PosteriorFlow<F>| Cache {
            buffers: vec![Buffer::new(rows, self.latent)],
            children: vec![flow.cache(rows)],
        };
        self.flow().map_or_else(Cache::default, of_flow)
    }
    /// log-determinants of as many rows of z; none of a Gaussian.
    pub(super) fn log_dets(&self, rows: usize) -> Vec<f64> {
        vec![0.0; if self.flow::<f32>().is_some() { rows } else { 0 }]
    }
    fn base_of<'a, F>(&self, eta: Mat<'a, F>) -> Mat<'a, F> {
        eta.columns(0, 2 * self.latent)
    }
    fn base_mut<'a, F>(&self, eta: MatMut<'a, F>) -> MatMut<'a, F> {
        eta.columns(0, 2 * self.latent)
    }
    fn more<'a, F>(&self, eta: Mat<'a, F>) -> Mat<'a, F> {
        eta.columns(2 * self.latent, self.columns - 2 * self.latent)
    }
    fn more_mut<'a, F>(&self, eta: MatMut<'a, F>) -> MatMut<'a, F> {
        eta.columns(2 * self.latent, self.columns - 2 * self.latent)
    }

    /// Puts the log-variances of `eta`, (n, E), between their bounds.
    pub fn bound<F: Real>(&self, eta: MatMut<F>) {
        self.base.bound(self.base_mut(eta));
    }
    /// As [`DiagonalGaussian::bound_grad`].
    pub fn bound_grad<F: Real>(&self, eta: Mat<F>, d_eta: MatMut<F>) {
        self.base.bound_grad(self.base_of(eta), self.base_mut(d_eta));
    }
    /// As [`DiagonalGaussian::kinks`].
    pub fn kinks<F: Real>(&self, eta: Mat<F>, sides: &mut Sides) {
        self.base.kinks(self.base_of(eta), sides);
    }

    /// `z = T(ε; η)`: `eta` is (n, E), `eps` and `z` (n·k, L). Of a flow, `log_det` gets its log-determinants.
    #[allow(clippy::too_many_arguments, reason = "what a draw is made from, once")]
    pub fn sample<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        eta: Mat<F>,
        eps: Mat<F>,
        mut z: MatMut<F>,
        log_det: &mut [f64],
        cache: &mut Cache<F>,
    ) {
        if let Shape::Full(full) = &self.shape {
            return full.sample(isa, eta, eps, z);
        }
        self.base.sample(isa, self.base_of(eta), eps, z.reborrow());
        if let Some(flow) = self.flow() {
            log_det[..eps.rows()].fill(0.0);
            flow.forward(isa, p, self.more(eta), z, log_det, &mut cache.children[0]);
        }
    }
    /// As [`DiagonalGaussian::sample_and_kl`], of a Gaussian. Panics of a flow, which has no KL in closed form.
    pub fn sample_and_kl<F: Real>(
        &self,
        isa: Isa,
        prior: &StandardNormal,
        eta: Mat<F>,
        eps: Mat<F>,
        z: MatMut<F>,
        kl: MatMut<F>,
    ) {
        match &self.shape {
            Shape::Diagonal => self.base.sample_and_kl(isa, prior, eta, eps, z, kl),
            Shape::Full(full) => {
                full.sample(isa, eta, eps, z);
                full.kl(isa, prior, eta, kl);
            }
            flow => panic!("a KL in closed form of {flow:?}"),
        }
    }
    /// As [`DiagonalGaussian::sample_and_kl_grad`], likewise.
    #[allow(clippy::too_many_arguments, reason = "the arguments of both, once")]
    pub fn sample_and_kl_grad<F: Real>(
        &self,
        isa: Isa,
        prior: &StandardNormal,
        eta: Mat<F>,
        eps: Mat<F>,
        dz: Mat<F>,
        weights: Mat<F>,
        mut deta: MatMut<F>,
    ) {
        match &self.shape {
            Shape::Diagonal => self.base.sample_and_kl_grad(isa, prior, eta, eps, dz, weights, deta),
            Shape::Full(full) => {
                (0..deta.rows()).for_each(|r| deta.row(r).fill(F::ZERO));
                full.sample_grad(isa, eta, eps, dz, deta.reborrow());
                full.kl_grad(isa, prior, eta, weights, deta);
            }
            flow => panic!("a KL in closed form of {flow:?}"),
        }
    }
    /// The KL to the standard normal by latent, in nats, (n, L): of a full covariance by the
    /// [chain rule](FullGaussian::kl). Panics of a flow.
    pub fn kl<F: Real>(&self, isa: Isa, prior: &StandardNormal, eta: Mat<F>, kl: MatMut<F>) {
        match &self.shape {
            Shape::Diagonal => prior.kl(isa, eta, kl),
            Shape::Full(full) => full.kl(isa, prior, eta, kl),
            flow => panic!("a KL in closed form of {flow:?}"),
        }
    }
    /// `out[r] = log q(z_r | η)` of the z that [`sample`](Self::sample) made of `eps`, with its `log_det`, in nats.
    pub fn log_prob_of<F: Real>(&self, eta: Mat<F>, eps: Mat<F>, log_det: &[f64], out: &mut [F]) {
        self.base.log_prob_of(self.base_of(eta), eps, out);
        out.iter_mut().zip(log_det).for_each(|(out, log_det)| *out = F::from_f64(out.to_f64() - log_det));
    }
    /// `out[r] = log q(z_r | η)` at any z, in nats. Of a flow it [inverts](PosteriorFlow::inverse) the flow, in memory of its own.
    pub fn log_prob<F: Real>(&self, isa: Isa, p: &Params<F>, z: Mat<F>, eta: Mat<F>, out: &mut [F]) {
        if let Shape::Full(full) = &self.shape {
            return full.log_prob(isa, z, eta, out);
        }
        let Some(flow) = self.flow() else { return self.base.log_prob(isa, z, eta, out) };
        let (many, mut base, mut log_det) = (z.rows(), Buffer::new(z.rows(), self.latent), vec![0.0; z.rows()]);
        (0..many).for_each(|r| base.rows_mut(many).row(r).copy_from_slice(z.row(r)));
        flow.inverse(isa, p, self.more(eta), base.rows_mut(many), &mut log_det, &mut flow.cache(many));
        self.base.log_prob(isa, base.rows(many), self.base_of(eta), out);
        out.iter_mut().zip(log_det).for_each(|(out, log_det)| *out = F::from_f64(out.to_f64() - log_det));
    }
    /// Whether it is a Gaussian, with a mean in closed form.
    pub fn is_gaussian(&self) -> bool {
        matches!(self.shape, Shape::Diagonal | Shape::Full(_))
    }
    /// As [`DiagonalGaussian::log_ratio`], with the log-determinants of [`sample`](Self::sample).
    pub fn log_ratio<F: Real>(
        &self,
        prior: &StandardNormal,
        eta: Mat<F>,
        eps: Mat<F>,
        z: Mat<F>,
        log_det: &[f64],
        out: &mut [f64],
    ) {
        self.base.log_ratio(prior, self.base_of(eta), eps, z, out);
        out.iter_mut().zip(log_det).for_each(|(out, log_det)| *out += log_det);
    }
    /// Adds to `deta` what a sampled objective says of η: `dz` through z, and of log q `path[r]` times its derivative through z
    /// and `score[r]` times that at a fixed z. `dz`, (n·k, L), is used up.
    ///
    /// A flow's way back knows both at once. What goes through z alone is its [force](PosteriorFlow::force) v, which goes back as dz does:
    ///
    /// ```text
    /// path v ∂z/∂η + score ∂ log q at z  =  (path − score) v ∂z/∂η + score (both)
    /// ```
    #[allow(clippy::too_many_arguments, reason = "what a gradient is made from, once")]
    pub fn sampled_grad<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        eta: Mat<F>,
        eps: Mat<F>,
        mut dz: MatMut<F>,
        [path, score]: [&[F]; 2],
        mut deta: MatMut<F>,
        cache: &mut Cache<F>,
    ) {
        if let Shape::Full(full) = &self.shape {
            full.sample_grad(isa, eta, eps, dz.view(), deta.reborrow());
            return full.log_prob_of_grad(eta, eps, path, score, dz, deta);
        }
        let mut through = path;
        if let Some(flow) = self.flow() {
            self.add_force(flow, p, eta, eps, dz.reborrow(), [path, score], cache);
            let more = self.more_mut(deta.reborrow());
            flow.backward_rows(isa, p, self.more(eta), dz.reborrow(), score, more, &mut cache.children[0]);
            through = score;
        }
        let (eta, mut deta) = (self.base_of(eta), self.base_mut(deta));
        self.base.sample_grad(isa, eta, eps, dz.view(), deta.reborrow());
        self.base.log_prob_of_grad(eta, eps, through, score, dz, deta);
    }
    /// Adds `path[r] − score[r]` times a flow's force to row r of `dz`. A plain gradient has nothing to add.
    #[allow(clippy::too_many_arguments, reason = "what a gradient is made from, once")]
    fn add_force<F: Real>(
        &self,
        flow: &dyn PosteriorFlow<F>,
        p: &Params<F>,
        eta: Mat<F>,
        eps: Mat<F>,
        mut dz: MatMut<F>,
        [path, score]: [&[F]; 2],
        Cache { buffers, children }: &mut Cache<F>,
    ) {
        let (many, samples) = (eps.rows(), eps.rows() / eta.rows().max(1));
        if path[..many] == score[..many] {
            return;
        }
        let mut force = buffers[0].rows_mut(many);
        for r in 0..many {
            let v = &eta.row(r / samples)[self.latent..2 * self.latent];
            // The base's: −ε e^{−v/2}.
            for ((force, e), v) in force.row(r).iter_mut().zip(eps.row(r)).zip(v) {
                *force = F::from_f64(-e.to_f64() * (-0.5 * v.to_f64()).exp());
            }
        }
        flow.force(p, self.more(eta), force.reborrow(), &mut children[0]);
        for r in 0..many {
            let excess = path[r] - score[r];
            if excess != F::ZERO {
                dz.row(r).iter_mut().zip(force.row(r)).for_each(|(dz, v)| *dz += excess * *v);
            }
        }
    }
    /// What the gradient of a parameter is made from, if the parameter is the posterior's own.
    pub(super) fn gradient<'a, F: Real>(
        &self,
        slot: Slot,
        rows: usize,
        cache: &'a Cache<F>,
    ) -> Option<Gradient<'a, F>> {
        self.flow().and_then(|flow| flow.gradient(slot, rows, &cache.children[0]))
    }
}

impl Vae {
    /// Puts into `z` the middle of each row's posterior, without a draw: a Gaussian's mean, and where a flow takes its base's
    /// mean, T(μ), which is not the mean of z. Of a block of one sample a row.
    pub(super) fn centre<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>) {
        let n = b.rows;
        if self.posterior.is_gaussian() {
            let mean = self.posterior.base_of(b.eta.rows(n));
            return self.posterior.base.mean(mean, b.z.rows_mut(n));
        }
        (0..n).for_each(|r| b.eps.rows_mut(n).row(r).fill(F::ZERO));
        self.sample_z(isa, p, b);
    }
    /// The same at every level below z too: the means of q(z_l|x, z_{l+1}).
    pub(super) fn centre_all<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>) {
        self.centre(isa, p, b);
        b.rest_below();
        self.sample_below(isa, p, b);
    }
    /// The log-variance of each latent by itself into `dz`, beside its [centre](Self::centre): NaN of a flow, where it has no closed form. Of a
    /// diagonal Gaussian both are in `eta` and stay there.
    pub(super) fn marginals<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>) {
        if let Shape::Diagonal = self.posterior.shape {
            return;
        }
        self.centre(isa, p, b);
        let (eta, mut log_variances) = (b.eta.rows(b.rows), b.dz.rows_mut(b.rows));
        for r in 0..b.rows {
            match &self.posterior.shape {
                Shape::Full(full) => full.log_variances(eta.row(r), log_variances.row(r)),
                _ => log_variances.row(r).fill(F::from_f64(f64::NAN)),
            }
        }
    }
    /// Row r's middle and log-variances, (L) each, after [`marginals`](Self::marginals).
    pub(super) fn marginals_of<'a, F: Real>(&self, b: &'a Block<F>, r: usize) -> (&'a [F], &'a [F]) {
        match self.posterior.shape {
            Shape::Diagonal => b.eta.rows(b.rows).row(r).split_at(self.config().latent),
            _ => (b.z.rows(b.rows).row(r), b.dz.rows(b.rows).row(r)),
        }
    }
}
