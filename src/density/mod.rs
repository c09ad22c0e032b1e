//! Densities: what the rows of a model are distributed as, in nats.
//!
//! A likelihood, a posterior and a prior each know their own mathematics only. They take row weights from the
//! estimator and turn them into gradients of their parameters and of z; layers do the rest.

mod bernoulli;
mod beta_binomial;
mod categorical;
mod columns;
mod conditional;
mod continuous_bernoulli;
mod discretized_logistic;
mod domain;
mod exemplar;
mod full_gaussian;
mod gaussian;
mod kind;
mod laplace;
mod levels;
mod lower_kind;
mod mixture;
mod multinomial;
mod negative_binomial;
mod poisson;
mod posterior;
mod posterior_kind;
mod prior;
mod prior_kind;
mod product;
mod special;
mod student_t;
mod zero_inflated;

pub use bernoulli::Bernoulli;
pub use beta_binomial::BetaBinomial;
pub use categorical::Categorical;
pub use columns::{Column, Columns, Learned, Numbers};
pub use conditional::ConditionalGaussian;
pub use continuous_bernoulli::ContinuousBernoulli;
pub use discretized_logistic::DiscretizedLogistic;
pub use domain::Domain;
pub(crate) use exemplar::GROUP;
pub use exemplar::{Exemplars, LeaveOut};
pub use full_gaussian::FullGaussian;
pub use gaussian::{Gaussian, Variance};
pub use kind::LikelihoodKind;
pub use laplace::Laplace;
pub use levels::{Level, Levels};
pub use lower_kind::LowerKind;
pub use mixture::{ComponentGrad, Components};
pub use multinomial::Multinomial;
pub use negative_binomial::NegativeBinomial;
pub use poisson::Poisson;
pub use posterior::DiagonalGaussian;
pub use posterior_kind::PosteriorKind;
pub use prior::StandardNormal;
pub use prior_kind::PriorKind;
pub use product::GaussianProduct;
pub use student_t::StudentT;
pub use zero_inflated::ZeroInflated;

use domain::level;

use crate::layer::{Cache, Gradient, Sides};
use crate::tensor::{Isa, Mat, MatMut, Params, Real, Slot};
use rand_chacha::ChaCha8Rng;
use std::fmt::Debug;

/// `p(x | η)`, where η comes from the decoder.
///
/// Everywhere, `x` is (n, D) and `eta` is (n·k, E): row `r` of `eta` belongs to row `r / k` of `x`, so that one example
/// can be scored under k samples without being copied.
pub trait Likelihood<F: Real>: Debug + Send + Sync {
    /// Columns of x.
    fn cols(&self) -> usize;
    /// Columns of η.
    fn eta_cols(&self) -> usize;
    /// The values of x that have a density.
    fn domain(&self) -> Domain;
    /// Memory for a block of `rows` rows of η.
    fn cache(&self, rows: usize) -> Cache<F>;
    /// `out[r] = log p(x | η_r)`, in nats.
    fn log_prob(&self, isa: Isa, p: &Params<F>, x: Mat<F>, eta: Mat<F>, out: &mut [F]);
    /// The same, and `eta` is replaced by `weights[r] · ∂ log p(x | η_r) / ∂η_r`.
    #[allow(clippy::too_many_arguments, reason = "the arguments of every density in one order")]
    fn log_prob_grad(
        &self,
        isa: Isa,
        p: &Params<F>,
        x: Mat<F>,
        eta: MatMut<F>,
        weights: &[F],
        out: &mut [F],
        cache: &mut Cache<F>,
    );
    /// What the gradient of a parameter is made from, if the parameter is this likelihood's own. `rows` are those of η.
    fn gradient<'a>(&self, _slot: Slot, _rows: usize, _cache: &'a Cache<F>) -> Option<Gradient<'a, F>> {
        None
    }
    /// Notes on which side of its kinks in η each element is, for a gradient checker.
    fn kinks(&self, _x: Mat<F>, _eta: Mat<F>, _sides: &mut Sides) {}
    /// The optimum of a parameter that has a closed form, and is kept there: for a batch whose mean −log p(x|z) under `p`,
    /// with the objective's weight of each sample, is `reconstruction` nats per row.
    fn optimum(&self, _p: &Params<F>, _reconstruction: f64) -> Option<(Slot, F)> {
        None
    }
    /// The mean of x for each row of η: (n, E) to (n, D).
    fn mean(&self, isa: Isa, p: &Params<F>, eta: Mat<F>, out: MatMut<F>);
    /// One draw of x for one row of η.
    fn sample(&self, p: &Params<F>, eta: &[F], rng: &mut ChaCha8Rng, out: &mut [F]);
}

/// A likelihood for both scalars: what a model holds.
pub trait AnyLikelihood: Likelihood<f32> + Likelihood<f64> {}
impl<L: Likelihood<f32> + Likelihood<f64>> AnyLikelihood for L {}

/// `q(z | η)`, where η comes from the encoder; z is a differentiable function of η and of standard noise ε.
///
/// `eta` is (n, E), `eps`, `z` and `dz` are (n·k, L): row `r` belongs to row `r / k` of `eta`.
pub trait Posterior<F: Real>: Debug + Send + Sync {
    /// Columns of z.
    fn latent(&self) -> usize;
    /// Columns of η.
    fn eta_cols(&self) -> usize;
    /// `z = T(ε; η)`.
    fn sample(&self, isa: Isa, eta: Mat<F>, eps: Mat<F>, z: MatMut<F>);
    /// Adds to `deta` what `dz` says of η through z.
    fn sample_grad(&self, isa: Isa, eta: Mat<F>, eps: Mat<F>, dz: Mat<F>, deta: MatMut<F>);
    /// The mean of z: (n, L).
    fn mean(&self, eta: Mat<F>, out: MatMut<F>);
    /// `out[r] = log q(z_r | η)`, in nats.
    fn log_prob(&self, isa: Isa, z: Mat<F>, eta: Mat<F>, out: &mut [F]);
    /// `out[r] = log q(z_r | η)` of `z = T(ε; η)`, in nats.
    fn log_prob_of(&self, eta: Mat<F>, eps: Mat<F>, out: &mut [F]);
    /// Adds to `deta` what [`log_prob_of`](Self::log_prob_of) says of η: `path[r]` times its derivative through z, and
    /// `score[r]` times that at a fixed z. `work` is memory, (n·k, L).
    fn log_prob_of_grad(&self, eta: Mat<F>, eps: Mat<F>, path: &[F], score: &[F], work: MatMut<F>, deta: MatMut<F>);
}

/// `p(z)`, with the posterior's KL to it where that has a closed form.
pub trait Prior<F: Real>: Debug + Send + Sync {
    /// Columns of z.
    fn latent(&self) -> usize;
    /// `out[r] = log p(z_r)`, in nats.
    fn log_prob(&self, isa: Isa, z: Mat<F>, out: &mut [F]);
    /// Adds `weights[r] · ∂ log p(z_r) / ∂z_r` to `dz`.
    fn log_prob_grad(&self, isa: Isa, z: Mat<F>, weights: &[F], dz: MatMut<F>);
    /// One draw of z.
    fn sample(&self, rng: &mut ChaCha8Rng, out: &mut [F]);
    /// `kl[r, j]` = the part of `KL(q(z | η_r) ‖ p(z))` that latent j contributes, in nats; (n, L).
    fn kl(&self, isa: Isa, eta: Mat<F>, kl: MatMut<F>);
    /// Adds `weights[r, j] · ∂ kl[r, j] / ∂η_r` to `deta`.
    fn kl_grad(&self, isa: Isa, eta: Mat<F>, weights: Mat<F>, deta: MatMut<F>);
}

/// log 2π
pub(crate) const LOG_TAU: f64 = 1.837_877_066_409_345_5;

/// k of a matrix of n·k rows that belong to n. Panics when they do not.
#[track_caller]
fn samples_per_row(rows: usize, many: usize) -> usize {
    let k = many.checked_div(rows).unwrap_or(1);
    assert_eq!(rows * k, many, "{many} rows cannot belong to {rows} in equal parts");
    k
}
