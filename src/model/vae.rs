//! The dense VAE: where layers, densities and an estimator meet.
//!
//! ```text
//! x → encoder → η → z = T(ε; η) → decoder → η_x → log p(x|z)        KL(q(z|η) ‖ p(z)) from η
//!     dη ← ∂T ← dz ← decoder ← dη_x ← w · ∂ log p(x|z)              dη ← w · ∂ KL
//! ```

use super::lower::{Lower, climb, side_by_side};
use super::{Block, Heads, Hidden, ModelPosterior, ModelPrior, Norm, PriorTable, VaeConfig};
use crate::density::{AnyLikelihood, Level, LowerKind, PosteriorKind, PriorKind};
use crate::error::Result;
use crate::estimator::{Batch, Estimator};
use crate::layer::{
    Activation, AnyLayer, BatchNorm, Cache, Chain, Concat, Dense, Dropout, Gated, Gradient, Layer, LayerNorm, Linear,
    Residual, Sides,
};
use crate::tensor::profile::{Stage, lap};
use crate::tensor::{Isa, Layout, Mat, Params, Real, Slot};
use std::sync::Arc;

/// What the first of a step's [stages](Vae::stages) is called.
pub(crate) const DATA: &str = "the data";

/// A dense variational autoencoder: its networks and densities, without their parameters.
#[derive(Clone, Debug)]
pub struct Vae {
    config: VaeConfig,
    layout: Layout,
    pub(super) encoder: Chain,
    pub(super) decoder: Chain,
    pub(super) likelihood: Arc<dyn AnyLikelihood>,
    pub(super) posterior: ModelPosterior,
    pub(super) prior: ModelPrior,
    /// Stochastic layers between z and the data.
    pub(super) lower: Option<Lower>,
}

/// Stages of a forward pass, with their names.
pub(super) type Chained<'a, F> = Vec<(String, Mat<'a, F>)>;

/// A hidden layer of the kind that the configuration names.
pub(super) fn hidden(config: &VaeConfig, layout: &mut Layout, inputs: usize, outputs: usize) -> Arc<dyn AnyLayer> {
    let mut dense =
        |activation| -> Arc<dyn AnyLayer> { Arc::new(Dense::new(layout, inputs, outputs, activation, config.init)) };
    let (layer, last): (Arc<dyn AnyLayer>, _) = match (config.layer, config.norm) {
        (Hidden::Dense(activation), Norm::None) => (dense(activation), activation),
        (Hidden::Dense(activation), Norm::Layer) => (dense(Activation::Identity), activation),
        (Hidden::Dense(activation), Norm::Batch) => {
            (Arc::new(Linear::new(layout, inputs, outputs, config.init)), activation)
        }
        (Hidden::Gated, _) => (Arc::new(Gated::new(layout, inputs, outputs, config.init)), Activation::Identity),
    };
    let layer: Arc<dyn AnyLayer> = match config.norm {
        Norm::None => layer,
        Norm::Layer => {
            let norm = layout.scope("norm", |l| LayerNorm::new(l, outputs, last));
            Arc::new(Chain::new(vec![layer, Arc::new(norm)]))
        }
        Norm::Batch => {
            let norm = layout.scope("norm", |l| BatchNorm::new(l, outputs, last));
            Arc::new(Chain::new(vec![layer, Arc::new(norm)]))
        }
    };
    let layer = if config.dropout > 0.0 { Arc::new(Dropout::new(layer, config.dropout)) } else { layer };
    if config.residual && inputs == outputs { Arc::new(Residual::new(layer)) } else { layer }
}

pub(super) fn heads(config: &VaeConfig, layout: &mut Layout, inputs: usize) -> Arc<dyn AnyLayer> {
    let mut head = |name: &str, outputs| -> Arc<dyn AnyLayer> {
        layout.scope(name, |l| Arc::new(Dense::new(l, inputs, outputs, Activation::Identity, config.init)))
    };
    match config.heads {
        Heads::Joint => head("posterior", config.posterior_columns()),
        Heads::Separate => {
            let mut heads = vec![head("mean", config.latent), head("log_variance", config.latent)];
            let more = config.posterior_columns() - 2 * config.latent;
            heads.extend((more > 0).then(|| match config.posterior {
                PosteriorKind::Diagonal | PosteriorKind::Full => head("covariance", more),
                PosteriorKind::Planar(_) => head("flow", more),
                PosteriorKind::Autoregressive(_) => head("context", more),
            }));
            Arc::new(Concat::new(heads))
        }
    }
}

/// From `inputs` columns to a mean and a log-variance of each latent. `learns` says that the input is learned too.
pub(super) fn to_gaussian(config: &VaeConfig, layout: &mut Layout, inputs: usize, learns: bool) -> Chain {
    let (mut layers, mut width) = (Vec::new(), inputs);
    for (i, &next) in config.hidden.iter().enumerate() {
        let add = |l: &mut Layout| l.scope(i, |l| hidden(config, l, width, next));
        // Nobody differentiates by x, so the first layer needs no transpose; but for learned pseudo-inputs.
        layers.push(if i == 0 && !learns { layout.without_input_gradient(add) } else { add(layout) });
        width = next;
    }
    if let LowerKind::Ladder(levels) = config.lower {
        let levels: Vec<Level> = levels.iter().collect();
        layers.push(climb(config, layout, &levels, width));
        return Chain::new(layers);
    }
    let add = |l: &mut Layout| heads(config, l, width);
    layers.push(if layers.is_empty() && !learns { layout.without_input_gradient(add) } else { add(layout) });
    Chain::new(layers)
}

fn decoder(config: &VaeConfig, layout: &mut Layout, outputs: usize) -> Chain {
    let (mut layers, mut width): (Vec<Arc<dyn AnyLayer>>, _) = (Vec::new(), config.decoded_cols());
    for (i, &next) in config.hidden.iter().rev().enumerate() {
        layers.push(layout.scope(i, |l| match config.lower {
            LowerKind::Hvae(_) if i == 0 => side_by_side(config, l, next),
            _ => hidden(config, l, width, next),
        }));
        width = f32::of(&**layers.last().expect("one was added")).outputs();
    }
    let last = config.hidden.len();
    layers.push(layout.scope(last, |l| {
        Arc::new(Dense::new(l, width, outputs, Activation::Identity, config.init)) as Arc<dyn AnyLayer>
    }));
    Chain::new(layers)
}

/// What the layers of a chain but the last left in a forward pass, with their names.
pub(super) fn inner<'a, F: Real>(
    name: &str,
    chain: &Chain,
    cache: &'a Cache<F>,
    rows: usize,
) -> impl Iterator<Item = (String, Mat<'a, F>)> {
    chain.inner(cache).iter().enumerate().map(move |(i, y)| (format!("layer {name}.{i}"), y.rows(rows)))
}

impl Vae {
    /// The network of a configuration.
    ///
    /// # Errors
    /// As [`VaeConfig::check`].
    pub fn new(config: &VaeConfig) -> Result<Self> {
        config.check()?;
        let mut layout = Layout::new();
        let learns = matches!(config.prior, PriorKind::Vamp(_));
        let encoder = layout.scope("encoder", |l| to_gaussian(config, l, config.row_cols(), learns));
        let outputs = config.likelihood.eta_cols(config.inputs);
        let decoder = layout.scope("decoder", |l| decoder(config, l, outputs));
        let likelihood = layout.scope("likelihood", |l| config.likelihood.build(l, config.inputs));
        let prior = |l: &mut Layout| l.scope("prior", |l| ModelPrior::new(config, l));
        // A parameter's first values follow from its place, and those of more stochastic layers stand behind the posterior's.
        let early = config.prior.levels().is_none().then(|| prior(&mut layout));
        let posterior = layout.scope("posterior", |l| ModelPosterior::new(config, l));
        let prior = early.unwrap_or_else(|| prior(&mut layout));
        let lower = Lower::new(config, &mut layout);
        let vae = Vae { config: config.clone(), layout, encoder, decoder, likelihood, posterior, prior, lower };
        vae.check_meetings()?;
        Ok(vae)
    }
    /// What it was built from.
    pub fn config(&self) -> &VaeConfig {
        &self.config
    }
    /// Its parameters' names, shapes and places.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }
    /// p(x|η).
    pub fn likelihood<F: Real>(&self) -> &dyn crate::density::Likelihood<F> {
        F::likelihood(&*self.likelihood)
    }
    /// q(z|η).
    pub fn posterior(&self) -> &ModelPosterior {
        &self.posterior
    }

    /// `x` to the posterior's parameters `eta`.
    pub fn encode<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>) {
        self.encode_z(isa, p, b);
        self.look(isa, p, b);
    }
    /// The same for z alone, without what levels below it look at x by.
    pub(super) fn encode_z<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>) {
        self.encoder_forward(isa, p, b);
        self.posterior.bound(b.eta.rows_mut(b.rows));
        if let ModelPrior::Conditional(prior) = &self.prior {
            prior.encode(isa, p, b);
        }
    }
    /// `eta` and `eps` to latents `z`, and those below it.
    pub fn sample<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>) {
        self.sample_z(isa, p, b);
        self.sample_below(isa, p, b);
    }
    /// The same of z alone.
    pub(super) fn sample_z<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>) {
        let (n, many) = (b.rows, b.many());
        let (eta, eps, z) = (b.eta.rows(n), b.eps.rows(many), b.z.rows_mut(many));
        self.posterior.sample(isa, p, eta, eps, z, &mut b.log_det, &mut b.posterior);
        lap(Stage::Latent, None);
    }
    /// `z` to the likelihood's parameters `out`.
    pub fn decode<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>) {
        self.join_condition(b);
        self.join_below(b);
        let many = b.many();
        let z = match &b.below {
            Some(below) => below.seen(many),
            None => b.given.as_ref().map_or_else(|| b.z.rows(many), |given| given.joined(many)),
        };
        self.decoder.forward(isa, p, z, &mut b.out, &mut b.decoder);
    }
    /// The KL of each row and latent, from `eta`.
    pub fn kl<F: Real>(&self, isa: Isa, b: &mut Block<F>) {
        self.prior.kl(isa, &self.posterior, b);
        lap(Stage::Latent, None);
    }
    /// `log p(x|z)` of each row and sample, from `x` and `out`.
    pub fn log_px<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>) {
        let many = b.many();
        let likelihood = F::likelihood(&*self.likelihood);
        likelihood.log_prob(isa, p, b.x.rows(b.rows), b.out.rows(many), &mut b.terms.log_px[..many]);
        lap(Stage::Likelihood, None);
    }

    /// The forward half of the rows pass, from `x` and `eps` to `out` and the KL.
    pub fn forward<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>) {
        self.encode(isa, p, b);
        self.forward_closed(isa, p, b);
        self.decode(isa, p, b);
    }
    /// From `eta` to `z` and the KL in closed form.
    pub(super) fn forward_closed<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>) {
        let (n, many) = (b.rows, b.many());
        if let ModelPrior::StandardNormal(prior) = &self.prior {
            let (eta, eps) = (b.eta.rows(n), b.eps.rows(many));
            self.posterior.sample_and_kl(isa, prior, eta, eps, b.z.rows_mut(many), b.terms.kl.rows_mut(n));
            lap(Stage::Latent, None);
        } else {
            self.sample(isa, p, b);
            self.kl(isa, b);
        }
    }

    /// The backward half of the rows pass: the terms' values, their weights, and every delta. `table` as in
    /// [`forward_for`](Self::forward_for).
    #[allow(clippy::too_many_arguments, reason = "a block's inputs, once")]
    pub fn backward<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        b: &mut Block<F>,
        estimator: &dyn Estimator<F>,
        batch: &Batch,
        table: Option<&PriorTable<F>>,
    ) {
        self.likelihood_grad(isa, p, b, estimator, batch);
        for part in (0..Layer::<F>::parts(&self.decoder)).rev() {
            self.decoder_backward(part, isa, p, b);
        }
        self.latent_grad(isa, p, b, estimator, table);
        self.look_grad(isa, p, b);
        self.encoder_backward(isa, p, b, false);
    }
    /// The terms' weights, and the derivative by the likelihood's parameters in their place.
    pub(super) fn likelihood_grad<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        b: &mut Block<F>,
        estimator: &dyn Estimator<F>,
        batch: &Batch,
    ) {
        let (n, many) = (b.rows, b.many());
        let likelihood = F::likelihood(&*self.likelihood);
        // Where the weight of log p(x|z) is known beforehand, value and gradient take one sweep; else the value first.
        match estimator.likelihood_weight(batch) {
            Some(weight) => b.weights.log_px[..many].fill(weight),
            None => self.log_px(isa, p, b),
        }
        estimator.weights(batch, n, &b.terms, &mut b.weights);
        let (x, out, log_px) = (b.x.rows(n), b.out.rows_mut(many), &mut b.terms.log_px[..many]);
        likelihood.log_prob_grad(isa, p, x, out, &b.weights.log_px[..many], log_px, &mut b.likelihood);
        lap(Stage::Likelihood, None);
    }
    /// From `dz`, which the decoder left, to the derivative by `eta`.
    pub(super) fn latent_grad<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        b: &mut Block<F>,
        estimator: &dyn Estimator<F>,
        table: Option<&PriorTable<F>>,
    ) {
        let n = b.rows;
        let penalised = estimator.penalty().is_some();
        if penalised {
            b.pull.add_dz(n, &mut b.dz);
        }
        if estimator.sampled() {
            self.sampled_latent_grad(isa, p, b, table);
        } else {
            self.prior.kl_grad(isa, &self.posterior, b);
        }
        if penalised {
            b.pull.add_d_eta(n, &mut b.d_eta);
        }
        self.posterior.bound_grad(b.eta.rows(n), b.d_eta.rows_mut(n));
        lap(Stage::Latent, None);
        if let ModelPrior::Conditional(prior) = &self.prior {
            prior.backward(isa, p, b);
        }
    }

    /// What a parameter's gradient is made from in a block that has been through [`backward`](Self::backward).
    pub fn gradient<'a, F: Real>(&self, slot: Slot, b: &'a Block<F>) -> Gradient<'a, F> {
        let many = b.many();
        let of_encoder = || self.encoder.gradient(slot, b.seen(), self.d_said(b), &b.encoder);
        let of_decoder = || self.decoder.gradient(slot, b.decoded(), b.out.rows(many), &b.decoder);
        let of_likelihood = || F::likelihood(&*self.likelihood).gradient(slot, many, &b.likelihood);
        let of_prior = || self.prior.gradient(slot, b);
        let of_posterior = || self.posterior.gradient(slot, many, &b.posterior);
        let of_lower = || self.gradient_below(slot, b);
        let of_latents = || of_prior().or_else(of_posterior).or_else(of_lower);
        match of_encoder().or_else(of_decoder).or_else(of_likelihood).or_else(of_latents) {
            Some(gradient) => gradient,
            None => panic!("parameter {} belongs to no part of the model", slot.index()),
        }
    }

    /// What each stage of a forward pass left in a block, in order, with its name.
    pub(crate) fn stages<'a, F: Real>(&self, b: &'a Block<F>) -> Chained<'a, F> {
        let (n, latent) = (b.rows, self.config.latent);
        let mut stages = vec![(DATA.to_owned(), b.x.rows(n))];
        stages.extend(inner("encoder", &self.encoder, &b.encoder, n));
        stages.push(("the encoder's mean".to_owned(), b.eta.rows(n).columns(0, latent)));
        stages.push(("the encoder's log-variance".to_owned(), b.eta.rows(n).columns(latent, latent)));
        if self.posterior.eta_cols() > 2 * latent {
            let more = b.eta.rows(n).columns(2 * latent, self.posterior.eta_cols() - 2 * latent);
            stages.push(("what else the encoder says of the posterior".to_owned(), more));
        }
        stages.push(("the sampled latent".to_owned(), b.z.rows(b.many())));
        stages.extend(self.prior.stages(b));
        stages.extend(self.stages_below(b));
        stages.extend(inner("decoder", &self.decoder, &b.decoder, b.many()));
        stages.push(("the decoder's last layer".to_owned(), b.out.rows(b.many())));
        stages
    }

    /// Which side of its kinks each unit of a block is on, after [`forward`](Self::forward).
    pub fn kinks<F: Real>(&self, b: &Block<F>, sides: &mut Sides) {
        self.encoder.kinks(b.rows, &b.eta, &b.encoder, sides);
        self.posterior.kinks(b.eta.rows(b.rows), sides);
        self.prior.kinks(b, sides);
        self.kinks_below(b, sides);
        self.decoder.kinks(b.many(), &b.out, &b.decoder, sides);
        F::likelihood(&*self.likelihood).kinks(b.x.rows(b.rows), b.out.rows(b.many()), sides);
    }
}
