//! One level below z: p(z_l|z_{l+1}) and q(z_l|x, z_{l+1}), forward and back. What the page of the [module](super) calls above is z_{l+1}.

use super::super::VaeConfig;
use super::super::stacked_prior::net;
use super::super::vae::{Chained, hidden, inner};
use super::bounds;
use crate::density::{DiagonalGaussian, GaussianProduct, Level, LowerKind, Posterior};
use crate::layer::{Activation, AnyLayer, Cache, Chain, Dense, Gradient, Layer, Parallel, Part, Sides};
use crate::tensor::{Buffer, Isa, Layout, Mat, MatMut, Params, Real, Slot};
use elbo_kernels::sweep::{gaussian_log_prob, gaussian_log_prob_grad_x};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

/// The networks of a level.
#[derive(Clone, Debug)]
pub(super) struct Nets {
    /// Columns of the latents above.
    above: usize,
    latent: usize,
    /// p(z_l|z_{l+1})'s.
    prior: Chain,
    way: Way,
    /// The bounds of both, and what is drawn from.
    gaussian: DiagonalGaussian,
}

/// How q(z_l|x, z_{l+1}) is made.
#[derive(Clone, Debug)]
enum Way {
    /// h(x), and a network of [h(x) | z_{l+1}].
    Joint { features: Arc<dyn AnyLayer>, net: Chain },
    /// Evidence of the encoder times p(z_l|z_{l+1}).
    Product(GaussianProduct),
}

/// What a level keeps of a block of n rows with k samples each: of S columns that are said of x, A latents above, and M here.
#[derive(Clone, Debug)]
pub(super) struct LevelBlock<F> {
    /// What is said of x, (n, S): features or evidence; and the derivative by it.
    pub said: Buffer<F>,
    pub d_said: Buffer<F>,
    features: Cache<F>,
    /// [h(x) | z_{l+1}], (n·k, S + A), and the derivative by it.
    joined: Buffer<F>,
    d_joined: Buffer<F>,
    encoder: Cache<F>,
    /// Of q: [μ | v], (n·k, 2M), and its derivative.
    eta: Buffer<F>,
    d_eta: Buffer<F>,
    /// Of p: [m | s], likewise.
    rho: Buffer<F>,
    d_rho: Buffer<F>,
    prior: Cache<F>,
    /// What the network of p says of the latents above, (n·k, A).
    d_above: Buffer<F>,
    /// Standard noise, the latents, and the derivative by them, (n·k, M).
    pub eps: Buffer<F>,
    pub z: Buffer<F>,
    pub dz: Buffer<F>,
    /// log q of each sample.
    log_q: Vec<F>,
    /// log p − log q of each sample, in nats.
    pub log_ratio: Vec<f64>,
}

fn add<F: Real>(from: Mat<F>, mut to: MatMut<F>) {
    for r in 0..from.rows() {
        to.row(r).iter_mut().zip(from.row(r)).for_each(|(to, &from)| *to += from);
    }
}

impl Nets {
    /// Level `l`, counted from z down: adds `lower.l.prior`, and of a two-level model `encoder.features.l` and `lower.l.posterior`.
    pub fn new(config: &VaeConfig, layout: &mut Layout, l: usize, above: usize, of: Level) -> Self {
        let Level { latent, width } = of;
        let in_lower = |layout: &mut Layout, name: &str, add: &dyn Fn(&mut Layout) -> Chain| {
            layout.scope("lower", |layout| layout.scope(l, |layout| layout.scope(name, |layout| add(layout))))
        };
        let prior = in_lower(layout, "prior", &|layout| net(config, layout, above, width, 2 * latent));
        let way = match config.lower {
            LowerKind::Ladder(_) => Way::Product(GaussianProduct::new(latent)),
            _ => Way::Joint {
                features: layout.scope("encoder", |layout| {
                    // Nobody differentiates by x.
                    let add =
                        |layout: &mut Layout| layout.scope(l, |layout| hidden(config, layout, config.inputs, width));
                    layout.scope("features", |layout| layout.without_input_gradient(add))
                }),
                net: in_lower(layout, "posterior", &|layout| joint(config, layout, above, of)),
            },
        };
        let gaussian = DiagonalGaussian::new(latent).bounded(Some(bounds(config)));
        Nets { above, latent, prior, way, gaussian }
    }
    /// Columns S of what is said of x.
    pub fn said(&self) -> usize {
        match &self.way {
            Way::Joint { features, .. } => f32::of(&**features).outputs(),
            Way::Product(_) => 2 * self.latent,
        }
    }
    /// Its latents.
    pub fn latent(&self) -> usize {
        self.latent
    }
    /// Memory for a block of `n` rows and `many` samples of all of them.
    pub fn block<F: Real>(&self, n: usize, many: usize) -> LevelBlock<F> {
        let (latents, both) = (|| Buffer::new(many, self.latent), || Buffer::new(many, 2 * self.latent));
        let (features, encoder, joined) = match &self.way {
            Way::Joint { features, net } => {
                (F::of(&**features).cache(n), Layer::<F>::cache(net, many), self.said() + self.above)
            }
            Way::Product(_) => (Cache::default(), Cache::default(), 0),
        };
        LevelBlock {
            said: Buffer::new(n, self.said()),
            d_said: Buffer::new(n, self.said()),
            features,
            joined: Buffer::new(many, joined),
            d_joined: Buffer::new(many, joined),
            encoder,
            eta: both(),
            d_eta: both(),
            rho: both(),
            d_rho: both(),
            prior: Layer::<F>::cache(&self.prior, many),
            d_above: Buffer::new(many, self.above),
            eps: latents(),
            z: latents(),
            dz: latents(),
            log_q: vec![F::ZERO; many],
            log_ratio: vec![0.0; many],
        }
    }

    /// x, (n, D), to its features; nothing of a ladder, whose evidence the encoder says.
    pub fn look<F: Real>(&self, isa: Isa, p: &Params<F>, x: Mat<F>, b: &mut LevelBlock<F>) {
        if let Way::Joint { features, .. } = &self.way {
            F::of(&**features).forward(isa, p, x, &mut b.said, &mut b.features);
        }
    }
    /// Puts the log-variances of a ladder's evidence about `n` rows between their bounds.
    pub fn bound_evidence<F: Real>(&self, n: usize, b: &mut LevelBlock<F>) {
        if let Way::Product(_) = self.way {
            self.gaussian.bound(b.said.rows_mut(n));
        }
    }
    /// The latents above, (n·k, A), to [m | s].
    pub fn expect<F: Real>(&self, isa: Isa, p: &Params<F>, above: Mat<F>, b: &mut LevelBlock<F>) {
        self.prior.forward(isa, p, above, &mut b.rho, &mut b.prior);
        self.gaussian.bound(b.rho.rows_mut(above.rows()));
    }
    /// The level's noise to its latents, by p.
    pub fn descend<F: Real>(&self, isa: Isa, p: &Params<F>, above: Mat<F>, b: &mut LevelBlock<F>) {
        self.expect(isa, p, above, b);
        let many = above.rows();
        self.gaussian.sample(isa, b.rho.rows(many), b.eps.rows(many), b.z.rows_mut(many));
    }
    /// The same by q, of `n` rows.
    pub fn sample<F: Real>(&self, isa: Isa, p: &Params<F>, n: usize, above: Mat<F>, b: &mut LevelBlock<F>) {
        let many = above.rows();
        match &self.way {
            Way::Joint { net, .. } => {
                let (said, width, k) = (b.said.rows(n), self.said(), many / n.max(1));
                let mut joined = b.joined.rows_mut(many);
                for i in 0..many {
                    let (features, latents) = joined.row(i).split_at_mut(width);
                    features.copy_from_slice(said.row(i / k));
                    latents.copy_from_slice(above.row(i));
                }
                net.forward(isa, p, b.joined.rows(many), &mut b.eta, &mut b.encoder);
                self.gaussian.bound(b.eta.rows_mut(many));
            }
            Way::Product(product) => {
                self.expect(isa, p, above, b);
                product.forward(b.said.rows(n), b.rho.rows(many), b.eta.rows_mut(many));
            }
        }
        self.gaussian.sample(isa, b.eta.rows(many), b.eps.rows(many), b.z.rows_mut(many));
    }
    /// Adds log p(z_l|z_{l+1}) of the latents to `out`, in nats; of a ladder, with the [m | s] that they were drawn with.
    pub fn log_p<F: Real>(&self, isa: Isa, p: &Params<F>, above: Mat<F>, out: &mut [F], b: &mut LevelBlock<F>) {
        if let Way::Joint { .. } = self.way {
            self.expect(isa, p, above, b);
        }
        let many = above.rows();
        for (i, out) in out[..many].iter_mut().enumerate() {
            let (mean, v) = b.rho.rows(many).row(i).split_at(self.latent);
            let log_p = gaussian_log_prob(isa, b.z.rows(many).row(i), mean, v);
            b.log_ratio[i] = log_p.to_f64();
            *out += log_p;
        }
    }
    /// Adds log q(z_l|x, z_{l+1}) of the latents to `out`, in nats, after [`log_p`](Self::log_p).
    pub fn log_q<F: Real>(&self, many: usize, out: &mut [F], b: &mut LevelBlock<F>) {
        self.gaussian.log_prob_of(b.eta.rows(many), b.eps.rows(many), &mut b.log_q[..many]);
        for ((out, &log_q), ratio) in out[..many].iter_mut().zip(&b.log_q).zip(&mut b.log_ratio) {
            *out += log_q;
            *ratio -= log_q.to_f64();
        }
    }

    /// The way back of log p, whose parameters have these weights: adds to the derivative by the latents here and above. Of a ladder
    /// what goes through the network waits for [`posterior_grad`](Self::posterior_grad).
    pub fn prior_grad<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        weights: &[F],
        (above, d_above): (Mat<F>, MatMut<F>),
        b: &mut LevelBlock<F>,
    ) {
        let many = above.rows();
        for (i, &weight) in weights[..many].iter().enumerate() {
            let rho = b.rho.rows(many);
            let mut d_rho = b.d_rho.rows_mut(many);
            d_rho.row(i).copy_from_slice(rho.row(i));
            let (mean, v) = d_rho.row(i).split_at_mut(self.latent);
            gaussian_log_prob_grad_x(isa, b.z.rows(many).row(i), mean, v, weight, b.dz.rows_mut(many).row(i));
        }
        if let Way::Joint { .. } = self.way {
            self.expect_grad(isa, p, (above, d_above), b);
        }
    }
    /// From the derivative by [m | s] to that by the latents above.
    fn expect_grad<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        (above, d_above): (Mat<F>, MatMut<F>),
        b: &mut LevelBlock<F>,
    ) {
        let many = above.rows();
        self.gaussian.bound_grad(b.rho.rows(many), b.d_rho.rows_mut(many));
        self.prior.backward_rows(isa, p, above, &b.rho, &mut b.d_rho, Some(&mut b.d_above), &mut b.prior);
        add(b.d_above.rows(many), d_above);
    }
    /// The way back of a draw of q and of log q, whose weights are the same through the latents as at fixed ones: adds to the derivative by
    /// the latents above, and makes that by what is said of `n` rows of x.
    pub fn posterior_grad<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        n: usize,
        weights: &[F],
        (above, mut d_above): (Mat<F>, MatMut<F>),
        b: &mut LevelBlock<F>,
    ) {
        let many = above.rows();
        let (eta, eps) = (b.eta.rows(many), b.eps.rows(many));
        (0..many).for_each(|i| b.d_eta.rows_mut(many).row(i).fill(F::ZERO));
        (0..n).for_each(|r| b.d_said.rows_mut(n).row(r).fill(F::ZERO));
        self.gaussian.sample_grad(isa, eta, eps, b.dz.rows(many), b.d_eta.rows_mut(many));
        self.gaussian.log_prob_of_grad(eta, eps, weights, weights, b.dz.rows_mut(many), b.d_eta.rows_mut(many));
        match &self.way {
            Way::Joint { net, .. } => {
                self.gaussian.bound_grad(eta, b.d_eta.rows_mut(many));
                let (joined, dx) = (b.joined.rows(many), Some(&mut b.d_joined));
                net.backward_rows(isa, p, joined, &b.eta, &mut b.d_eta, dx, &mut b.encoder);
                let (width, k, d_joined) = (self.said(), many / n.max(1), b.d_joined.rows(many));
                let mut d_said = b.d_said.rows_mut(n);
                for i in 0..many {
                    d_said.row(i / k).iter_mut().zip(&d_joined.row(i)[..width]).for_each(|(to, &d)| *to += d);
                }
                add(d_joined.columns(width, self.above), d_above.reborrow());
            }
            Way::Product(product) => {
                let (said, rho, d_eta) = (b.said.rows(n), b.rho.rows(many), b.d_eta.rows(many));
                product.backward(said, rho, d_eta, b.d_said.rows_mut(n), b.d_rho.rows_mut(many));
                self.gaussian.bound_grad(b.said.rows(n), b.d_said.rows_mut(n));
                self.expect_grad(isa, p, (above, d_above), b);
            }
        }
    }
    /// From the derivative by x's features to their parameters'.
    pub fn look_grad<F: Real>(&self, isa: Isa, p: &Params<F>, x: Mat<F>, b: &mut LevelBlock<F>) {
        if let Way::Joint { features, .. } = &self.way {
            F::of(&**features).backward_rows(isa, p, x, &b.said, &mut b.d_said, None, &mut b.features);
        }
    }
    /// What the gradient of one of its parameters is made from, of `x`, (n, D), and the latents above, (n·k, A).
    pub fn gradient<'a, F: Real>(
        &self,
        slot: Slot,
        x: Mat<'a, F>,
        above: Mat<'a, F>,
        b: &'a LevelBlock<F>,
    ) -> Option<Gradient<'a, F>> {
        let many = above.rows();
        let of_prior = || self.prior.gradient(slot, above, b.d_rho.rows(many), &b.prior);
        let of_posterior = || match &self.way {
            Way::Joint { features, net } => {
                let of_net = || net.gradient(slot, b.joined.rows(many), b.d_eta.rows(many), &b.encoder);
                F::of(&**features).gradient(slot, x, b.d_said.rows(x.rows()), &b.features).or_else(of_net)
            }
            Way::Product(_) => None,
        };
        of_prior().or_else(of_posterior)
    }
    /// As [`Layer::renew`], of the features of a row.
    pub fn renew_features<F: Real>(&self, row: usize, rng: Option<&mut ChaCha8Rng>, b: &mut LevelBlock<F>) {
        if let Way::Joint { features, .. } = &self.way {
            F::of(&**features).renew(row, rng, &mut b.features);
        }
    }
    /// As [`Layer::renew`], of a sample: p's network, then q's.
    pub fn renew<F: Real>(&self, row: usize, mut rng: Option<&mut ChaCha8Rng>, b: &mut LevelBlock<F>) {
        self.prior.renew(row, rng.as_deref_mut(), &mut b.prior);
        if let Way::Joint { net, .. } = &self.way {
            net.renew(row, rng, &mut b.encoder);
        }
    }
    /// As [`Vae::kinks`](super::Vae::kinks), of `n` rows and `many` samples.
    pub fn kinks<F: Real>(&self, n: usize, many: usize, b: &LevelBlock<F>, sides: &mut Sides) {
        self.prior.kinks(many, &b.rho, &b.prior, sides);
        self.gaussian.kinks(b.rho.rows(many), sides);
        match &self.way {
            Way::Joint { features, net } => {
                F::of(&**features).kinks(n, &b.said, &b.features, sides);
                net.kinks(many, &b.eta, &b.encoder, sides);
                self.gaussian.kinks(b.eta.rows(many), sides);
            }
            Way::Product(_) => self.gaussian.kinks(b.said.rows(n), sides),
        }
    }
    /// As [`Vae::stages`](super::Vae::stages), of level `l`.
    pub fn stages<'a, F: Real>(&self, l: usize, (n, many): (usize, usize), b: &'a LevelBlock<F>) -> Chained<'a, F> {
        let at = |what: &str| format!("{what} of level {} below z", l + 1);
        let mut stages: Chained<F> = vec![(at("what the encoder says"), b.said.rows(n))];
        if let Way::Joint { net, .. } = &self.way {
            stages.extend(inner(&format!("lower.{l}.posterior"), net, &b.encoder, many));
        }
        stages.extend(inner(&format!("lower.{l}.prior"), &self.prior, &b.prior, many));
        stages.push((at("the prior"), b.rho.rows(many)));
        stages.push((at("the posterior"), b.eta.rows(many)));
        stages.push((at("the sampled latent"), b.z.rows(many)));
        stages
    }
}

/// [h(x) | z_{l+1}] to [μ | v]: a hidden layer of the latents above, one of both, and a linear one.
fn joint(config: &VaeConfig, layout: &mut Layout, above: usize, Level { latent, width }: Level) -> Chain {
    let of_above = layout.scope("above", |l| hidden(config, l, above, width));
    let first: Arc<dyn AnyLayer> = Arc::new(Parallel::new(vec![Part::Keep(width), Part::Through(of_above)]));
    let second = layout.scope("joint", |l| hidden(config, l, 2 * width, width));
    let last = layout.scope("out", |l| Dense::new(l, width, 2 * latent, Activation::Identity, config.init));
    let last: Arc<dyn AnyLayer> = Arc::new(last);
    Chain::new(vec![first, second, last])
}
