//! A condition c of each row in the model: its label, or covariates (Sohn, Lee and Yan 2015, eq. 5; with observed labels the
//! M2 of Kingma et al. 2014, eq. 6).
//!
//! ```text
//! [x | c] → encoder → η → z      [z | c] → decoder → log p(x|z, c)      c → network → ρ → p(z|c) = N(μ, e^v), or N(0, I)
//! −log p(x|c) ≤ −E_q log p(x|z, c) + KL(q(z|x, c) ‖ p(z|c))
//! ```
//!
//! Such a model is given rows [x | c], (n, D + C), and latents [z | c], (n, L + C): whoever writes a row writes its
//! condition behind it. k samples of a row share its c. The decoder's gradient by [z | c] is dz in its first L columns, and
//! nobody asks for the rest. Without a condition none of this is there.

use super::vae::{Chained, inner, to_gaussian};
use super::{Block, Inference, ModelPrior, Vae, VaeConfig};
use crate::density::{ConditionalGaussian, DiagonalGaussian, Posterior, PosteriorKind, PriorKind};
use crate::error::{Error, Result};
use crate::layer::{Cache, Chain, Gradient, Layer, Sides};
use crate::tensor::{Buffer, Input, Isa, Layout, Mat, Params, Real, Slot};
use ndarray::{Array2, ArrayView2, Axis, concatenate};
use rand_chacha::ChaCha8Rng;

/// Draws that are conditioned at once.
const DRAWS: usize = 64;

impl VaeConfig {
    /// Columns of a row as it is given: [x | c].
    pub fn row_cols(&self) -> usize {
        self.inputs.saturating_add(self.condition)
    }
    /// Columns of a row of latents as it is given: [z | c].
    pub fn code_cols(&self) -> usize {
        self.latent.saturating_add(self.condition)
    }
    /// Whether the rest of the network knows what to do with a condition.
    pub(super) fn check_condition(&self) -> Result<()> {
        if self.conditional_prior && self.condition == 0 {
            return Err(Error::input("a conditional prior follows a condition, and there is none")
                .hint("give --condition (of gradcheck, its columns), or leave --conditional-prior out"));
        }
        if self.conditional_prior && self.prior != PriorKind::StandardNormal {
            let what = format!("the prior is either a function of the condition or {}, not both", self.prior);
            return Err(Error::input(what).hint("leave out --conditional-prior or --prior"));
        }
        if self.conditional_prior && self.posterior != PosteriorKind::Diagonal {
            let what = format!("a conditional prior is for diagonal posteriors, and these are {}", self.posterior);
            return Err(Error::input(what).hint("leave out --conditional-prior or --posterior"));
        }
        // The other priors' components are encoded, and nothing says under which condition.
        if self.condition > 0 && matches!(self.prior, PriorKind::Vamp(_) | PriorKind::Exemplar { .. }) {
            let what = format!("the components of {} come from the encoder, and have no condition", self.prior);
            return Err(Error::input(what).hint(
                "with --condition the prior is standard, mixture:COMPONENTS, flow:COUPLINGS, vae:LATENTxWIDTH, or --conditional-prior",
            ));
        }
        Ok(())
    }
}

/// p(z|c), where it follows the condition.
#[derive(Clone, Debug)]
pub struct ConditionalPrior {
    network: Chain,
    density: ConditionalGaussian,
}

impl ConditionalPrior {
    /// Adds a network of the encoder's shape from c, with heads of its own; nothing of another prior.
    pub(super) fn new(config: &VaeConfig, layout: &mut Layout) -> Option<Self> {
        config.conditional_prior.then(|| ConditionalPrior {
            network: to_gaussian(config, layout, config.condition, false),
            density: ConditionalGaussian::new(config.latent),
        })
    }
}

/// What a block has of its rows' conditions.
#[derive(Clone, Debug)]
pub(super) struct Given<F> {
    /// (n, C)
    c: Buffer<F>,
    /// [z | c], (n·k, L + C), and its gradient.
    pub(super) joined: Buffer<F>,
    pub(super) d_joined: Buffer<F>,
    /// The parameters ρ of p(z|c), (n, 2L), their gradient, and the network's memory, if there is one.
    rho: Buffer<F>,
    d_rho: Buffer<F>,
    prior: Cache<F>,
}

impl<F: Real> Given<F> {
    /// For at most `capacity` rows of `samples` samples each; nothing of a model without a condition.
    pub fn new(vae: &Vae, capacity: usize, samples: usize) -> Option<Self> {
        let (config, many) = (vae.config(), capacity * samples);
        let eta = if config.conditional_prior { 2 * config.latent } else { 0 };
        (config.condition > 0).then(|| Given {
            c: Buffer::new(capacity, config.condition),
            joined: Buffer::new(many, config.code_cols()),
            d_joined: Buffer::new(many, config.code_cols()),
            rho: Buffer::new(capacity, eta),
            d_rho: Buffer::new(capacity, eta),
            prior: match vae.prior() {
                ModelPrior::Conditional(prior) => Layer::<F>::cache(&prior.network, capacity),
                _ => Cache::default(),
            },
        })
    }
    /// [z | c], (n·k, L + C).
    pub fn joined(&self, many: usize) -> Mat<'_, F> {
        self.joined.rows(many)
    }
}

impl<F: Real> Block<F> {
    /// Writes rows [x | c] of a conditional model: row `r` by `fill(first + r, row)`. The encoder sees both.
    pub(super) fn load_given(&mut self, first: usize, fill: &impl Fn(usize, &mut [F])) {
        let (Some(given), Some(seen), n) = (&mut self.given, &mut self.seen, self.rows) else { return };
        let (mut seen, mut x, mut c) = (seen.rows_mut(n), self.x.rows_mut(n), given.c.rows_mut(n));
        for r in 0..n {
            let row = seen.row(r);
            fill(first + r, row);
            let (of_x, of_c) = row.split_at(x.cols());
            x.row(r).copy_from_slice(of_x);
            c.row(r).copy_from_slice(of_c);
        }
    }
    /// Writes latents, [z | c] of a conditional model, of one sample a row: row `r` by `fill(first + r, row)`.
    pub(super) fn load_latents(&mut self, first: usize, fill: &impl Fn(usize, &mut [F])) {
        let n = self.rows;
        let mut z = self.z.rows_mut(n);
        let Some(given) = &mut self.given else { return (0..n).for_each(|r| fill(first + r, z.row(r))) };
        let (mut joined, mut c) = (given.joined.rows_mut(n), given.c.rows_mut(n));
        for r in 0..n {
            let row = joined.row(r);
            fill(first + r, row);
            let (of_z, of_c) = row.split_at(z.cols());
            z.row(r).copy_from_slice(of_z);
            c.row(r).copy_from_slice(of_c);
        }
    }
    /// What the decoder decodes: z, with the condition behind it if there is one, (n·k, L + C); or what it sees of levels below z.
    pub(super) fn decoded(&self) -> Mat<'_, F> {
        let many = self.many();
        if let Some(below) = &self.below {
            return below.seen(many);
        }
        self.given.as_ref().map_or_else(|| self.z.rows(many), |given| given.joined(many))
    }
    /// ρ of each row, under a conditional prior.
    pub(crate) fn rho(&self) -> Mat<'_, F> {
        let Some(given) = &self.given else { no_condition() };
        given.rho.rows(self.rows)
    }
}

/// A conditional prior's block has a condition.
#[cold]
fn no_condition() -> ! {
    panic!("a conditional prior without a condition")
}

impl ConditionalPrior {
    /// c to ρ.
    pub(super) fn encode<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>) {
        let Some(given) = &mut b.given else { no_condition() };
        self.network.forward(isa, p, given.c.rows(b.rows), &mut given.rho, &mut given.prior);
    }
    /// As [`Layer::renew`].
    pub(super) fn renew<F: Real>(&self, row: usize, rng: Option<&mut ChaCha8Rng>, b: &mut Block<F>) {
        let Some(given) = &mut b.given else { no_condition() };
        self.network.renew(row, rng, &mut given.prior);
    }
    /// The KL of each row and latent to p(z|c).
    pub(super) fn kl<F: Real>(&self, b: &mut Block<F>) {
        let Some(given) = &b.given else { no_condition() };
        self.density.kl(b.eta.rows(b.rows), given.rho.rows(b.rows), b.terms.kl.rows_mut(b.rows));
    }
    /// From `dz` and the KL's weights to the derivatives by η and ρ.
    pub(super) fn kl_grad<F: Real>(&self, isa: Isa, posterior: &DiagonalGaussian, b: &mut Block<F>) {
        let Some(given) = &mut b.given else { no_condition() };
        let (n, many) = (b.rows, b.rows * b.samples);
        let (eta, mut d_eta, mut d_rho) = (b.eta.rows(n), b.d_eta.rows_mut(n), given.d_rho.rows_mut(n));
        for r in 0..n {
            d_eta.row(r).fill(F::ZERO);
            d_rho.row(r).fill(F::ZERO);
        }
        posterior.sample_grad(isa, eta, b.eps.rows(many), b.dz.rows(many), d_eta.reborrow());
        self.density.kl_grad(eta, given.rho.rows(n), b.weights.kl.rows(n), d_eta, d_rho);
    }
    /// `out[r] = log p(z_r|c)`, in nats, under the ρ of a block's rows.
    pub(crate) fn log_prob<F: Real>(&self, z: Mat<F>, rho: Mat<F>, out: &mut [F]) {
        self.density.log_prob(z, rho, out);
    }
    /// log p(z|c) of a block's own latents.
    pub(super) fn log_pz<F: Real>(&self, b: &mut Block<F>) {
        let Some(given) = &b.given else { no_condition() };
        let many = b.rows * b.samples;
        self.log_prob(b.z.rows(many), given.rho.rows(b.rows), &mut b.terms.log_pz[..many]);
    }
    /// Adds to `dz` the derivative of log p(z|c) with its weight [through](crate::estimator::Weights::through) z, and makes that by ρ
    /// `weights.log_pz` times it.
    pub(super) fn log_pz_grad<F: Real>(&self, b: &mut Block<F>) {
        let Some(given) = &mut b.given else { no_condition() };
        let (n, many) = (b.rows, b.rows * b.samples);
        let mut d_rho = given.d_rho.rows_mut(n);
        (0..n).for_each(|r| d_rho.row(r).fill(F::ZERO));
        let weights = (&b.weights.through[0][..many], &b.weights.log_pz[..many]);
        self.density.log_prob_grad(b.z.rows(many), given.rho.rows(n), weights, b.dz.rows_mut(many), d_rho);
    }
    /// `out[i] = log p(z_i|c) − log q(z_i|η)` in nats, in f64 and from ε.
    pub(super) fn log_ratio<F: Real>(&self, b: &Block<F>, out: &mut [f64]) {
        let (many, latent, rho) = (b.many(), b.z.cols(), b.rho());
        for (i, out) in out[..many].iter_mut().enumerate() {
            let row = i / b.samples;
            let v = &b.eta.rows(b.rows).row(row)[latent..];
            let eps = b.eps.rows(many).row(i).iter().map(|e| e.to_f64() * e.to_f64()).sum::<f64>();
            let constant = latent as f64 * crate::density::LOG_TAU;
            let log_q = -0.5 * (constant + v.iter().map(|v| v.to_f64()).sum::<f64>() + eps);
            *out = self.density.log_prob_of_row(b.z.rows(many).row(i), rho.row(row)) - log_q;
        }
    }
    /// From the derivative by ρ back through the network.
    pub(super) fn backward<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>) {
        let Some(given) = &mut b.given else { no_condition() };
        let c = given.c.rows(b.rows);
        self.network.backward_rows(isa, p, c, &given.rho, &mut given.d_rho, None, &mut given.prior);
    }
    /// What the gradient of one of its parameters is made from.
    pub(super) fn gradient<'a, F: Real>(&self, slot: Slot, b: &'a Block<F>) -> Option<Gradient<'a, F>> {
        let given = b.given.as_ref()?;
        self.network.gradient(slot, given.c.rows(b.rows), given.d_rho.rows(b.rows), &given.prior)
    }
    /// As [`Vae::kinks`].
    pub(super) fn kinks<F: Real>(&self, b: &Block<F>, sides: &mut Sides) {
        let Some(given) = &b.given else { no_condition() };
        self.network.kinks(b.rows, &given.rho, &given.prior, sides);
    }
    /// As [`Vae::stages`].
    pub(super) fn stages<'a, F: Real>(&self, b: &'a Block<F>) -> Chained<'a, F> {
        let Some(given) = &b.given else { no_condition() };
        let (n, rho) = (b.rows, given.rho.rows(b.rows));
        let mut stages: Chained<F> = inner("prior", &self.network, &given.prior, n).collect();
        stages.push(("the prior's mean".to_owned(), rho.columns(0, b.z.cols())));
        stages.push(("the prior's log-variance".to_owned(), rho.columns(b.z.cols(), b.z.cols())));
        stages
    }
}

impl Vae {
    /// Puts each latent beside its row's condition.
    pub(super) fn join_condition<F: Real>(&self, b: &mut Block<F>) {
        let (many, k, n, latent) = (b.many(), b.samples, b.rows, self.config().latent);
        let Some(given) = &mut b.given else { return };
        let mut joined = given.joined.rows_mut(many);
        for i in 0..many {
            let (z, c) = joined.row(i).split_at_mut(latent);
            z.copy_from_slice(b.z.rows(many).row(i));
            c.copy_from_slice(given.c.rows(n).row(i / k));
        }
    }
}

impl<F: Real> Inference<'_, F> {
    /// Makes draws of N(0, I), (n, L), draws of the conditional prior: z becomes μ + e^{v/2} z of its row of `c`, (n, C).
    /// Nothing happens where the prior is not conditional. Panics when there are not as many rows of both, or other
    /// numbers of columns than the model has.
    pub fn condition_draws(&self, z: &mut Array2<F>, c: ArrayView2<F>) {
        let (vae, p, isa) = (self.vae, self.params, self.ex.isa());
        let ModelPrior::Conditional(prior) = vae.prior() else { return };
        let (latent, condition) = (vae.config().latent, vae.config().condition);
        assert!(
            c.nrows() == z.nrows() && (z.ncols(), c.ncols()) == (latent, condition),
            "latents {:?}, conditions {:?} of a model of {latent} and {condition}",
            z.dim(),
            c.dim()
        );
        let mut b = Block::new(vae, DRAWS, 1);
        for (mut z, c) in z.axis_chunks_iter_mut(Axis(0), DRAWS).zip(c.axis_chunks_iter(Axis(0), DRAWS)) {
            b.rows = c.nrows();
            if let Some(given) = &mut b.given {
                given.c.view_mut(c.nrows()).assign(&c);
            }
            prior.encode(isa, p, &mut b);
            for (r, mut z) in z.rows_mut().into_iter().enumerate() {
                let (mean, v) = b.rho().row(r).split_at(latent);
                for ((z, &mean), v) in z.iter_mut().zip(mean).zip(v) {
                    *z = F::from_f64(mean.to_f64() + (0.5 * v.to_f64()).exp() * z.to_f64());
                }
            }
        }
    }
}

/// Latents with their conditions behind them, [z | c], as a conditional model decodes them. Panics when there are not as
/// many rows of both.
pub fn join<F: Real>(z: ArrayView2<F>, c: ArrayView2<F>) -> Array2<F> {
    match concatenate(Axis(1), &[z, c]) {
        Ok(joined) => joined,
        Err(e) => panic!("{} latents, {} conditions: {e}", z.nrows(), c.nrows()),
    }
}

/// Room for what the encoder sees of a conditional model's rows, [x | c].
pub(super) fn seen<F: Real>(vae: &Vae, capacity: usize) -> Option<Input<F>> {
    let config = vae.config();
    (config.condition > 0).then(|| Input::new(capacity, config.row_cols()))
}
