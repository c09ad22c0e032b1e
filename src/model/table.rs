//! What a prior that is a mixture has been made into for a step or an evaluation: its components, with the present parameters.

use crate::density::{Components, Exemplars, LeaveOut};
use crate::tensor::{Isa, Mat, MatMut, Real};

/// A mixture prior's components.
#[derive(Clone, Debug)]
pub enum PriorTable<F> {
    /// Each with a mean, a variance and a weight of its own.
    Components(Components<F>),
    /// Encoded rows of the data.
    Exemplars(Exemplars<F>),
}

impl<F: Real> PriorTable<F> {
    /// The components that a mixture prior's model has been given. Panics when it has not.
    pub(super) fn of(table: Option<&Self>) -> &Self {
        match table {
            Some(table) => table,
            None => panic!("a mixture prior's components have not been encoded"),
        }
    }
    /// `out[r] = log p(z_r)`, in nats. Where `others` are given, one for each `samples` rows of z, it is of those exemplars.
    /// `shares` becomes each component's share, (B, C); of all exemplars it is [scratch](Exemplars::log_prob).
    pub fn log_prob(
        &self,
        isa: Isa,
        z: Mat<F>,
        (others, samples): (&[LeaveOut], usize),
        shares: MatMut<F>,
        out: &mut [F],
    ) {
        match self {
            PriorTable::Components(components) => components.log_prob(isa, z, shares, out),
            PriorTable::Exemplars(exemplars) if others.is_empty() => exemplars.log_prob(isa, z, shares, out),
            PriorTable::Exemplars(exemplars) => {
                exemplars.log_prob_without(isa, z, |r| others[r / samples], shares, out);
            }
        }
    }
    /// Adds `weights[r] · ∂ log p(z_r) / ∂z_r` to `dz`; `shares` are those of [`log_prob`](Self::log_prob).
    pub fn log_prob_grad(&self, isa: Isa, z: Mat<F>, shares: Mat<F>, weights: &[F], dz: MatMut<F>) {
        match self {
            PriorTable::Components(components) => components.log_prob_grad(isa, z, shares, weights, dz),
            PriorTable::Exemplars(exemplars) => exemplars.log_prob_grad(z, shares, weights, dz),
        }
    }
    /// Columns of `shares`.
    pub fn columns(&self) -> usize {
        match self {
            PriorTable::Components(components) => components.count(),
            PriorTable::Exemplars(exemplars) => exemplars.capacity().max(Exemplars::<F>::SCRATCH),
        }
    }
}
