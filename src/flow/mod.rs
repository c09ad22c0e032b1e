//! Flows: invertible layers with a log-determinant.
//!
//! A flow takes rows through layers whose inverse and whose Jacobian's determinant are cheap. As a prior, a simple density at its
//! end is an exact one at its start: log p(x) = log p(y) + log |dy/dx|, y = f(x). As a posterior, it takes a simple density's draws on:
//!
//! ```text
//! z₀ → z₁ → … → z_K        log q(z_K) = log q₀(z₀) − Σ_k log |det ∂z_k/∂z_{k−1}|
//! ```
//!
//! How log q rises with z while its parameters stay, the force, goes along with the draws (Vaitl, Nicoli, Nakajima and Kessel 2022,
//! arXiv:2207.08219; as a recursion Vaitl, Winkler, Richter and Kessel 2024, arXiv:2403.15881), by a system of equations with each
//! step's Jacobian J_k, and without an inverse of the flow:
//!
//! ```text
//! v_k = ∂ log q(z_k)/∂z_k        J_kᵀ v_k = v_{k−1} − ∂ log |det J_k|/∂z_{k−1}
//! ```

mod autoregressive;
mod coupling;
mod planar;

pub use autoregressive::Autoregressive;
pub use coupling::CouplingFlow;
pub use planar::Planar;

use crate::layer::{Cache, Gradient};
use crate::tensor::{Isa, Mat, MatMut, Params, Real, Slot};
use std::fmt::Debug;

/// What a posterior makes of its base's draws: z₀ to z_K, by parameters that come from the encoder, `eta`, from the network, or
/// from both.
///
/// `eta` is (n, [`eta_cols`](Self::eta_cols)); `z` and `dz` are (n·k, L): row `r` belongs to row `r / k` of `eta`.
pub trait PosteriorFlow<F: Real>: Debug + Send + Sync {
    /// Columns of z.
    fn latent(&self) -> usize;
    /// Columns of η that it reads.
    fn eta_cols(&self) -> usize;
    /// Memory for a block of `rows` rows of z. The passes allocate nothing.
    fn cache(&self, rows: usize) -> Cache<F>;
    /// Replaces z₀ by z_K, and adds `log |det ∂z_K/∂z₀|` of each row to `log_det`, in nats.
    fn forward(&self, isa: Isa, p: &Params<F>, eta: Mat<F>, z: MatMut<F>, log_det: &mut [f64], cache: &mut Cache<F>);
    /// Replaces z_K by z₀, for any z_K, and adds `log |det ∂z_K/∂z₀|` of each row to `log_det`, in nats. It costs as many forward
    /// passes as a step has latents, or a search: for checks, and not for training.
    fn inverse(&self, isa: Isa, p: &Params<F>, eta: Mat<F>, z: MatMut<F>, log_det: &mut [f64], cache: &mut Cache<F>);
    /// After [`forward`](Self::forward), and before the way back: turns `force`, (n·k, L), from ∂ log q₀/∂z₀ into ∂ log q/∂z_K, the
    /// flow's parameters held.
    fn force(&self, p: &Params<F>, eta: Mat<F>, force: MatMut<F>, cache: &mut Cache<F>);
    /// The way back: `dz` is the gradient of z_K and becomes that of z₀, what both say of η is added to `deta`, and
    /// [`gradient`](Self::gradient) knows the rest. `weights[r]` is the derivative by log q(z_K), which has the log-determinant
    /// with a minus.
    #[allow(clippy::too_many_arguments, reason = "the arguments of every flow in one order")]
    fn backward_rows(
        &self,
        isa: Isa,
        p: &Params<F>,
        eta: Mat<F>,
        dz: MatMut<F>,
        weights: &[F],
        deta: MatMut<F>,
        cache: &mut Cache<F>,
    );
    /// What the gradient of a parameter is made from, if the parameter is the flow's own. `rows` are those of z.
    fn gradient<'a>(&self, slot: Slot, rows: usize, cache: &'a Cache<F>) -> Option<Gradient<'a, F>>;
}
