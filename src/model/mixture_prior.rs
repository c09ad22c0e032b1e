//! A mixture prior in the model: where its components come from, and how they learn.
//!
//! ```text
//! learned:  μ_c, v_c and log π_c are parameters
//! vamp:     u_c are parameters → encoder → [μ_c | v_c], π_c = 1/C
//! exemplar: rows of the data → encoder → μ_n, v is a parameter, in a file of its own
//! ```
//!
//! Components are the rows of blocks that have no samples. A rows pass encodes them before the batch, and after it goes
//! back through them: the derivative by a component is a sum over the latents of the whole batch, in the order of rows, so
//! it depends neither on blocks nor on threads. The weights pass then finds them among the other blocks: a pseudo-input is one more
//! row for the encoder. A component's own parameters are row c of a slot, and so is its gradient.

use super::{Block, ModelPrior, PriorTable, Vae, VaeConfig, split};
use crate::density::{ComponentGrad, Components, Exemplars, PriorKind};
use crate::layer::{Gradient, Init};
use crate::tensor::profile::{Stage, lap};
use crate::tensor::{Buffer, Isa, Layout, Mat, Par, Params, Real, Slot};
use elbo_kernels::par::for_each_mut;
use ndarray::Array2;
use std::sync::Arc;

/// Rows of a block of components.
const BLOCK_ROWS: usize = 64;

/// A mixture's components as parameters of a model.
#[derive(Clone, Debug)]
pub struct MixturePrior {
    count: usize,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    /// (C, L), (C, L) and (C, 1).
    Learned { means: Slot, log_variances: Slot, logits: Slot },
    /// (C, D)
    Pseudo { inputs: Slot },
    /// One number that all exemplars share, and once training is done their means, (N, L).
    Exemplars { log_variance: Slot, means: Option<Arc<Array2<f32>>> },
}

impl MixturePrior {
    /// Adds `pseudo_inputs`, or `means`, `log_variances` and `logits` to the layout; nothing of what is no mixture.
    pub(super) fn new(config: &VaeConfig, layout: &mut Layout) -> Option<Self> {
        let (count, latent) = (config.prior.components(), config.latent);
        let source = layout.without_input_gradient(|l| match config.prior {
            PriorKind::StandardNormal | PriorKind::Flow(..) | PriorKind::Stacked(_) => None,
            // Standard normal draws of means, for components to differ from the start.
            PriorKind::Mixture(_) => Some(Source::Learned {
                means: l.weight("means", count, latent, Init::Normal(1.0)),
                log_variances: l.weight("log_variances", count, latent, Init::Constant(0.0)),
                logits: l.weight("logits", count, 1, Init::Constant(0.0)),
            }),
            PriorKind::Vamp(_) => {
                Some(Source::Pseudo { inputs: l.weight("pseudo_inputs", count, config.inputs, Init::Normal(0.1)) })
            }
            // As wide as the standard normal, at first.
            PriorKind::Exemplar { .. } => {
                let log_variance = l.vector("log_variance", 1, Init::Constant(0.0));
                Some(Source::Exemplars { log_variance, means: None })
            }
        });
        source.map(|source| MixturePrior { count, source })
    }
    /// The number of components; of exemplars, which come with the data, 0.
    pub fn count(&self) -> usize {
        self.count
    }
    /// The slot of the pseudo-inputs, (C, D), if components are encoded from such.
    pub fn pseudo_inputs(&self) -> Option<Slot> {
        match self.source {
            Source::Pseudo { inputs } => Some(inputs),
            Source::Learned { .. } | Source::Exemplars { .. } => None,
        }
    }
    fn slots(&self) -> impl Iterator<Item = Slot> {
        let slots = match self.source {
            Source::Learned { means, log_variances, logits } => [Some(means), Some(log_variances), Some(logits)],
            Source::Pseudo { inputs } => [Some(inputs), None, None],
            Source::Exemplars { log_variance, .. } => [Some(log_variance), None, None],
        };
        slots.into_iter().flatten()
    }
    /// Whether a parameter is one of its own.
    pub(super) fn owns(&self, slot: Slot) -> bool {
        self.slots().any(|s| s == slot)
    }
    /// The derivatives of its parameters by row, for a block of `rows` components.
    pub(super) fn grads<F: Real>(&self, rows: usize) -> Vec<Buffer<F>> {
        self.slots().map(|slot| Buffer::new(rows, slot.cols())).collect()
    }
    /// What the gradient of one of its parameters is made from.
    pub(super) fn gradient<'a, F: Real>(&self, slot: Slot, b: &'a Block<F>) -> Option<Gradient<'a, F>> {
        let rows = if b.samples == 0 { b.rows } else { 0 };
        let of = |i: usize| match self.source {
            Source::Exemplars { .. } => Gradient::Sum(b.d_prior[i].rows(rows)),
            _ => Gradient::Rows { first: b.first, of: self.count, dw: b.d_prior[i].rows(rows) },
        };
        self.slots().position(|s| s == slot).map(of)
    }
}

impl Vae {
    /// The same network with what an exemplar prior keeps of its training rows: the encoder's means of all of them, (N, L), with
    /// the parameters that it is used with. Panics when the prior is another, when there are none, and at another number of
    /// latents.
    #[must_use]
    pub fn with_exemplars(mut self, exemplars: Arc<Array2<f32>>) -> Self {
        let (kind, latent, shape) = (self.config().prior, self.config().latent, exemplars.dim());
        match &mut self.prior {
            ModelPrior::Mixture(MixturePrior { source: Source::Exemplars { means, .. }, .. })
                if shape.0 > 0 && shape.1 == latent =>
            {
                *means = Some(exemplars);
            }
            _ => panic!("exemplars {shape:?} of a prior {kind} with {latent} latents"),
        }
        self
    }
    /// The means of all exemplars, (N, L), if it has been [given](Self::with_exemplars) any.
    pub fn exemplars(&self) -> Option<&Arc<Array2<f32>>> {
        match &self.mixture()?.source {
            Source::Exemplars { means, .. } => means.as_ref(),
            Source::Learned { .. } | Source::Pseudo { .. } => None,
        }
    }
    /// Memory for the components, in at least so many blocks if there are as many; none without a mixture, or for exemplars.
    pub(crate) fn component_blocks<F: Real>(&self, least: usize) -> Vec<Block<F>> {
        let Some(mixture) = self.mixture() else { return Vec::new() };
        let count = mixture.count.div_ceil(BLOCK_ROWS).max(least).min(mixture.count);
        let block = |(first, rows): (usize, usize)| {
            let mut b = Block::new(self, rows, 0);
            (b.rows, b.first) = (rows, first);
            b
        };
        split(mixture.count, count).filter(|(_, rows)| *rows > 0).map(block).collect()
    }
    /// Memory for what [`encode_components`](Self::encode_components) finds; none for exemplars.
    pub(crate) fn component_table<F: Real>(&self) -> Option<PriorTable<F>> {
        let mixture = self.mixture().filter(|mixture| mixture.count > 0)?;
        Some(PriorTable::Components(Components::new(mixture.count, self.config().latent)))
    }
    /// Columns of the memory for each latent's shares, before it is known how many exemplars there are.
    pub(super) fn share_columns<F: Real>(&self) -> usize {
        match self.mixture().map(|mixture| &mixture.source) {
            None => 0,
            Some(Source::Exemplars { .. }) => Exemplars::<F>::SCRATCH,
            Some(_) => self.config().prior.components(),
        }
    }
    /// The variance's logarithm that exemplars share. Panics when there are none.
    pub(super) fn exemplar_log_variance<F: Real>(&self, p: &Params<F>) -> F {
        match self.mixture().map(|mixture| &mixture.source) {
            Some(Source::Exemplars { log_variance, .. }) => p.values().get(log_variance, 0, 0),
            _ => panic!("the prior {} has no exemplars", self.config().prior),
        }
    }
    /// The components with the present parameters, if the prior is a mixture; the exemplars, if the network
    /// [knows](Self::with_exemplars) them.
    pub(crate) fn components<F: Real>(&self, isa: Isa, p: &Params<F>) -> Option<PriorTable<F>> {
        if let Some(means) = self.exemplars() {
            return Some(self.exemplar_table(p, means));
        }
        let (mut blocks, mut table) = (self.component_blocks(1), self.component_table());
        self.encode_components(isa, p, Par::Sequential, &mut blocks, table.as_mut());
        table
    }

    /// The components, from their parameters, or of exemplars from the rows that the blocks hold, to the table.
    pub(crate) fn encode_components<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        par: Par,
        blocks: &mut [Block<F>],
        table: Option<&mut PriorTable<F>>,
    ) {
        let Some((mixture, table)) = self.mixture().zip(table) else { return };
        let latent = self.config().latent;
        for_each_mut(par, blocks, |_, b| {
            let n = b.rows;
            match &mixture.source {
                Source::Pseudo { inputs } => {
                    let mut x = b.x.rows_mut(n);
                    (0..n).for_each(|r| p.values().row_into(inputs, b.first + r, x.row(r)));
                    self.encode_z(isa, p, b);
                }
                Source::Learned { means, log_variances, .. } => {
                    let mut eta = b.eta.rows_mut(n);
                    for r in 0..n {
                        let (mean, v) = eta.row(r)[..2 * latent].split_at_mut(latent);
                        p.values().row_into(means, b.first + r, mean);
                        p.values().row_into(log_variances, b.first + r, v);
                    }
                }
                Source::Exemplars { .. } => self.encode_z(isa, p, b),
            }
        });
        let each =
            blocks.iter().flat_map(|b| (0..b.rows).map(|r| b.eta.rows(b.rows).row(r)[..2 * latent].split_at(latent)));
        match table {
            PriorTable::Components(table) => each.enumerate().for_each(|(c, (mean, v))| table.set(isa, c, mean, v)),
            PriorTable::Exemplars(table) => table.replace(self.exemplar_log_variance(p), each.map(|(mean, _)| mean)),
        }
        if let (Source::Learned { logits, .. }, PriorTable::Components(table)) = (&mixture.source, table) {
            table.set_weights((0..mixture.count).map(|c| p.values().get(logits, c, 0)));
        }
        lap(Stage::Latent, None);
    }

    /// The way back: what all latents of the batch, in the blocks `data`, say of a block's components, and through the
    /// encoder of their pseudo-inputs.
    pub(super) fn component_grads<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        table: &PriorTable<F>,
        data: &[Block<F>],
        b: &mut Block<F>,
    ) {
        let table = match table {
            PriorTable::Components(table) => table,
            PriorTable::Exemplars(table) => return self.exemplar_grads(isa, p, table, data, b),
        };
        let (Some(mixture), n, latent) = (self.mixture(), b.rows, self.config().latent) else { return };
        let mut d_eta = b.d_eta.rows_mut(n);
        for r in 0..n {
            let (mean, log_variance) = d_eta.row(r)[..2 * latent].split_at_mut(latent);
            mean.fill(F::ZERO);
            log_variance.fill(F::ZERO);
            let mut logit = F::ZERO;
            let learned = matches!(mixture.source, Source::Learned { .. });
            let mut grad = ComponentGrad { mean, log_variance, logit: learned.then_some(&mut logit) };
            for of in data {
                let many = of.many();
                let (z, shares): (Mat<F>, Mat<F>) = (of.z.rows(many), of.shares.rows(many));
                table.component_grad(isa, b.first + r, z, shares, &of.weights.log_pz, &mut grad);
            }
            if learned {
                let (mean, log_variance) = d_eta.row(r)[..2 * latent].split_at(latent);
                b.d_prior[0].rows_mut(n).row(r).copy_from_slice(mean);
                b.d_prior[1].rows_mut(n).row(r).copy_from_slice(log_variance);
                b.d_prior[2].rows_mut(n).row(r)[0] = logit;
                // No encoder made them, so its bias learns nothing of them.
                d_eta.row(r).fill(F::ZERO);
            }
        }
        lap(Stage::Latent, None);
        if let Source::Pseudo { .. } = mixture.source {
            self.posterior.bound_grad(b.eta.rows(n), b.d_eta.rows_mut(n));
            self.encoder_backward(isa, p, b, true);
        }
    }
}
