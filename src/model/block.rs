//! The memory of one block of rows: all that a pass through the network writes.

use super::Vae;
use crate::estimator::{Terms, Weights};
use crate::layer::Cache;
use crate::tensor::{Buffer, Input, Isa, PairBuffer, Precision, Real, Slot};

/// What one block of rows needs on its way through a [`Vae`] and back: n rows, k samples each.
#[derive(Clone, Debug)]
pub struct Block<F> {
    /// Rows in use, at most the capacity.
    pub rows: usize,
    /// Samples of z per row.
    pub samples: usize,
    /// The examples, (n, D).
    pub x: Input<F>,
    /// The posterior's parameters, (n, 2L), and their gradient.
    pub eta: Buffer<F>,
    pub(super) d_eta: Buffer<F>,
    /// Standard noise, (n·k, L).
    pub eps: Buffer<F>,
    /// Latents, (n·k, L), and their gradient.
    pub z: Buffer<F>,
    pub(super) dz: Buffer<F>,
    /// The likelihood's parameters, (n·k, E); a backward pass overwrites them with their gradient.
    pub out: Buffer<F>,
    /// What the estimator sees of this block.
    pub terms: Terms<F>,
    pub(super) weights: Weights<F>,
    pub(super) encoder: Cache<F>,
    pub(super) decoder: Cache<F>,
    pub(super) likelihood: Cache<F>,
    /// Stands for the decoder's output once its gradient has taken its place: its last layer is linear and never
    /// looks at it.
    pub(super) spent: Buffer<F>,
    /// In bf16, what the weights pass multiplies, by parameter: X and dY.
    pub(super) rounded: Vec<(PairBuffer, PairBuffer)>,
    /// Whether to look for zeros in the examples. In bf16, the pairs look for their own.
    skips: bool,
}

/// Rows of a block for which it pays to look for zeros.
const LEAST_ROWS: usize = 8;

impl<F: Real> Block<F> {
    /// Memory for at most `capacity` rows of `samples` samples each.
    pub fn new(vae: &Vae, capacity: usize, samples: usize) -> Self {
        let (latent, eta) = (vae.config().latent, 2 * vae.config().latent);
        let many = capacity * samples;
        let likelihood = F::likelihood(&*vae.likelihood);
        Block {
            rows: 0,
            samples,
            x: Input::new(capacity, vae.config().inputs),
            eta: Buffer::new(capacity, eta),
            d_eta: Buffer::new(capacity, eta),
            eps: Buffer::new(many, latent),
            z: Buffer::new(many, latent),
            dz: Buffer::new(many, latent),
            out: Buffer::new(many, likelihood.eta_cols()),
            terms: Terms::new(capacity, samples, latent),
            weights: Weights::new(capacity, samples, latent),
            encoder: crate::layer::Layer::<F>::cache(&vae.encoder, capacity),
            decoder: crate::layer::Layer::<F>::cache(&vae.decoder, many),
            likelihood: likelihood.cache(many),
            spent: Buffer::default(),
            rounded: Vec::new(),
            skips: true,
        }
    }
    /// Prepares for a weights pass in `precision`.
    #[must_use]
    pub(super) fn with_precision(self, vae: &Vae, precision: Precision) -> Self {
        if precision == Precision::F32 {
            return self;
        }
        // A weight without a transpose multiplies the examples, which may hold many zeros; the pairs know of theirs.
        let of = |slot: Slot| if slot.has_transpose() { PairBuffer::default() } else { PairBuffer::filled() };
        let rounded = vae.layout().entries().iter().map(|e| (of(e.slot), PairBuffer::default())).collect();
        Block { rounded, skips: false, ..self }
    }
    /// Multiplies zeros of the examples like any other number.
    pub(super) fn dense(&mut self) {
        self.skips = false;
        self.rounded.iter_mut().for_each(|(x, _)| x.dense());
    }
    /// Writes the examples: row `r` by `fill(first + r, row)`.
    pub fn load(&mut self, isa: Isa, first: usize, fill: &impl Fn(usize, &mut [F])) {
        let mut x = self.x.rows_mut(self.rows);
        for r in 0..self.rows {
            fill(first + r, x.row(r));
        }
        if self.skips && self.rows >= LEAST_ROWS {
            self.x.find_zeros(isa, self.rows);
        }
    }
    /// Rows of z in use: rows times samples.
    pub fn many(&self) -> usize {
        self.rows * self.samples
    }
}
