//! p(z) in the model: N(0, I), or what is learned in its place.
//!
//! ```text
//!               log p(z)                           KL(q ‖ p)                   its own parameters learn
//! N(0, I)       of z                               closed form                 nothing
//! mixture       of z and the encoded components    a bound without draws       in blocks of components, after the batch
//! flow          of f(z)                            at 32 points without draws  as the decoder's do
//! stacked       of one draw of every level         at 32 points without draws  as the decoder's; encoders, as ours do
//! conditional   of z and c                         closed form                 through a network of each row's c
//! ```

use super::condition::ConditionalPrior;
use super::vae::Chained;
use super::{
    Block, FlowPrior, FlowSampler, Lower, MixturePrior, ModelPosterior, PriorTable, StackedPrior, StackedSampler, Vae,
    VaeConfig,
};
use crate::density::{Components, Exemplars, Prior, StandardNormal};
use crate::layer::{Gradient, Sides};
use crate::tensor::{Isa, Layout, Params, Real, Slot};
use rand_chacha::ChaCha8Rng;

/// The prior of a model.
#[allow(clippy::large_enum_variant, reason = "there is one in a model")]
#[derive(Clone, Debug)]
pub enum ModelPrior {
    /// N(0, I).
    StandardNormal(StandardNormal),
    /// A mixture: of components that are learned, or encoded.
    Mixture(MixturePrior),
    /// A flow with N(0, I) at its end.
    Flow(FlowPrior),
    /// More stochastic layers.
    Stacked(StackedPrior),
    /// A Gaussian that [follows the condition](VaeConfig::conditional_prior).
    Conditional(ConditionalPrior),
}

impl ModelPrior {
    /// Adds the prior's own parameters to the layout.
    pub(super) fn new(config: &VaeConfig, layout: &mut Layout) -> Self {
        let mixture = MixturePrior::new(config, layout).map(ModelPrior::Mixture);
        mixture
            .or_else(|| FlowPrior::new(config, layout).map(ModelPrior::Flow))
            .or_else(|| StackedPrior::new(config, layout).map(ModelPrior::Stacked))
            .or_else(|| ConditionalPrior::new(config, layout).map(ModelPrior::Conditional))
            .unwrap_or_else(|| ModelPrior::StandardNormal(StandardNormal::new(config.latent)))
    }

    /// log p(z) of a block's latents, in nats, to its terms. Panics where a mixture's components, `table`, are not given.
    pub(super) fn log_prob<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>, table: Option<&PriorTable<F>>) {
        let many = b.many();
        let (z, out) = (b.z.rows(many), &mut b.terms.log_pz[..many]);
        match self {
            ModelPrior::StandardNormal(normal) => normal.log_prob(isa, z, out),
            ModelPrior::Mixture(_) => {
                PriorTable::of(table).log_prob(isa, z, (&b.others, b.samples), b.shares.rows_mut(many), out);
            }
            ModelPrior::Flow(flow) => flow.log_prob(isa, p, z, out, &mut b.flow_prior),
            ModelPrior::Stacked(stacked) => stacked.log_prob(isa, p, z, out, &mut b.levels),
            ModelPrior::Conditional(conditional) => conditional.log_pz(b),
        }
    }
    /// The way back from [`log_prob`](Self::log_prob) of what goes with the decoder: with the weights of its own parameters, and with
    /// the path still to come. Adds to `dz`.
    pub(super) fn generative_grad<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>) {
        let (many, w) = (b.many(), &b.weights);
        let (z, dz) = (b.z.rows(many), b.dz.rows_mut(many));
        match self {
            ModelPrior::Flow(flow) => flow.log_prob_grad(isa, p, &w.log_pz[..many], dz, &mut b.flow_prior),
            ModelPrior::Stacked(stacked) => {
                stacked.decoders_grad(isa, p, &w.log_pz[..many], &w.path, z, dz, &mut b.levels);
            }
            ModelPrior::StandardNormal(_) | ModelPrior::Mixture(_) | ModelPrior::Conditional(_) => {}
        }
    }
    /// The rest of the way, with the weights [through](crate::estimator::Weights::through) z, once `dz` has been multiplied by the
    /// path: adds to `dz`.
    pub(super) fn path_grad<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>, table: Option<&PriorTable<F>>) {
        let (many, w) = (b.many(), &b.weights);
        let [prior, posterior] = &w.through;
        let (z, dz) = (b.z.rows(many), b.dz.rows_mut(many));
        match self {
            ModelPrior::StandardNormal(normal) => normal.log_prob_grad(isa, z, prior, dz),
            ModelPrior::Mixture(_) => PriorTable::of(table).log_prob_grad(isa, z, b.shares.rows(many), prior, dz),
            ModelPrior::Flow(_) => {}
            ModelPrior::Stacked(stacked) => {
                stacked.encoders_grad(isa, p, &prior[..many], [posterior, &w.score], z, dz, &mut b.levels);
            }
            ModelPrior::Conditional(conditional) => conditional.log_pz_grad(b),
        }
    }
    /// The KL of each row and latent from `eta`, in closed form. Panics where there is none.
    pub(super) fn kl<F: Real>(&self, isa: Isa, posterior: &ModelPosterior, b: &mut Block<F>) {
        match self {
            ModelPrior::StandardNormal(normal) => {
                posterior.kl(isa, normal, b.eta.rows(b.rows), b.terms.kl.rows_mut(b.rows));
            }
            ModelPrior::Conditional(conditional) => conditional.kl(b),
            other => panic!("a KL in closed form to {other:?}"),
        }
    }
    /// From `dz` and the weights of that KL to the derivative by `eta`, which is replaced.
    pub(super) fn kl_grad<F: Real>(&self, isa: Isa, posterior: &ModelPosterior, b: &mut Block<F>) {
        let (n, many) = (b.rows, b.many());
        match self {
            ModelPrior::StandardNormal(normal) => {
                let (eta, eps, dz, weights) = (b.eta.rows(n), b.eps.rows(many), b.dz.rows(many), b.weights.kl.rows(n));
                posterior.sample_and_kl_grad(isa, normal, eta, eps, dz, weights, b.d_eta.rows_mut(n));
            }
            ModelPrior::Conditional(conditional) => conditional.kl_grad(isa, posterior.base(), b),
            other => panic!("a KL in closed form to {other:?}"),
        }
    }
    /// What the gradient of a parameter is made from, if the parameter is the prior's own.
    pub(super) fn gradient<'a, F: Real>(&self, slot: Slot, b: &'a Block<F>) -> Option<Gradient<'a, F>> {
        match self {
            ModelPrior::StandardNormal(_) => None,
            ModelPrior::Mixture(mixture) => mixture.gradient(slot, b),
            ModelPrior::Flow(flow) => flow.gradient(slot, b.many(), &b.flow_prior),
            ModelPrior::Stacked(stacked) => stacked.gradient(slot, b.z.rows(b.many()), &b.levels),
            ModelPrior::Conditional(conditional) => conditional.gradient(slot, b),
        }
    }

    /// As [`Layer::renew`](crate::layer::Layer::renew), of a network that meets each row once.
    pub(super) fn renew_row<F: Real>(&self, row: usize, rng: Option<&mut ChaCha8Rng>, b: &mut Block<F>) {
        if let ModelPrior::Conditional(conditional) = self {
            conditional.renew(row, rng, b);
        }
    }
    /// The same of networks that meet each sample.
    pub(super) fn renew_sample<F: Real>(&self, row: usize, rng: Option<&mut ChaCha8Rng>, b: &mut Block<F>) {
        if let ModelPrior::Stacked(stacked) = self {
            stacked.renew(row, rng, &mut b.levels);
        }
    }
    /// As [`Vae::kinks`].
    pub(super) fn kinks<F: Real>(&self, b: &Block<F>, sides: &mut Sides) {
        match self {
            ModelPrior::Stacked(stacked) => stacked.kinks(b.many(), &b.levels, sides),
            ModelPrior::Conditional(conditional) => conditional.kinks(b, sides),
            ModelPrior::StandardNormal(_) | ModelPrior::Mixture(_) | ModelPrior::Flow(_) => {}
        }
    }
    /// As [`Vae::stages`].
    pub(super) fn stages<'a, F: Real>(&self, b: &'a Block<F>) -> Chained<'a, F> {
        match self {
            ModelPrior::StandardNormal(_) | ModelPrior::Mixture(_) => Vec::new(),
            ModelPrior::Flow(flow) => vec![("the prior's flow".to_owned(), flow.output(b.many(), &b.flow_prior))],
            ModelPrior::Stacked(stacked) => stacked.stages(b.many(), &b.levels),
            ModelPrior::Conditional(conditional) => conditional.stages(b),
        }
    }
}

/// Draws from a model's prior.
#[derive(Clone, Debug)]
pub enum PriorSampler<'m, F> {
    /// N(0, I).
    StandardNormal,
    /// A mixture, its components as they are.
    Mixture(Components<F>),
    /// N(0, I) through a flow's inverse.
    Flow(FlowSampler<'m, F>),
    /// Around the exemplars.
    Exemplars(Exemplars<F>),
    /// N(0, I) through decoders, from the top level down.
    Stacked(StackedSampler<'m, F>),
}

impl<F: Real> PriorSampler<'_, F> {
    /// One draw of z.
    pub fn sample(&self, rng: &mut ChaCha8Rng, out: &mut [F]) {
        self.sample_at(1.0, rng, out);
    }
    /// One draw with deviations multiplied by a temperature: z = μ + T σ ε, of the same noise at every T; of a flow,
    /// z = f⁻¹(T ε); of more stochastic layers, at each of them.
    pub fn sample_at(&self, temperature: f64, rng: &mut ChaCha8Rng, out: &mut [F]) {
        match self {
            PriorSampler::StandardNormal => {
                StandardNormal::new(out.len()).sample(rng, out);
                out.iter_mut().for_each(|z| *z = F::from_f64(temperature * z.to_f64()));
            }
            PriorSampler::Mixture(components) => components.sample_at(temperature, rng, out),
            PriorSampler::Flow(flow) => flow.sample_at(temperature, rng, out),
            PriorSampler::Exemplars(exemplars) => exemplars.sample_at(temperature, rng, out),
            PriorSampler::Stacked(stacked) => stacked.sample_at(temperature, rng, out),
        }
    }
}

impl Vae {
    /// p(z).
    pub fn prior(&self) -> &ModelPrior {
        &self.prior
    }
    /// p(z), where it is a mixture.
    pub fn mixture(&self) -> Option<&MixturePrior> {
        if let ModelPrior::Mixture(mixture) = &self.prior { Some(mixture) } else { None }
    }
    /// p(z), where it is a flow.
    pub fn flow_prior(&self) -> Option<&FlowPrior> {
        if let ModelPrior::Flow(flow) = &self.prior { Some(flow) } else { None }
    }
    /// p(z), where it has more stochastic layers.
    pub fn stacked_prior(&self) -> Option<&StackedPrior> {
        if let ModelPrior::Stacked(stacked) = &self.prior { Some(stacked) } else { None }
    }
    /// Parts of a row's KL: its latents, where there is a closed form; else that of z, and those of the levels below it.
    pub fn kl_parts(&self) -> usize {
        let below = self.lower().map_or(0, Lower::levels);
        if self.config().closed_form() { self.config().latent } else { 1 + below }
    }
}
