//! The gated dense layer (Dauphin et al., 2017, eq. 1; the layer of Tomczak and Welling's VampPrior networks).
//!
//! ```text
//! [A|G] = X W + b      (B, in)(in, 2·out) + (2·out)      dA = dY ⊙ σ(G)     dG = dY ⊙ A ⊙ σ(G)(1 − σ(G))
//! Y = A ⊙ σ(G)         (B, out)                          dX = [dA|dG] Wᵀ    dW = Xᵀ [dA|dG]
//! ```
//!
//! Both halves are one product, as PyTorch's `Linear(in, 2·out)` followed by `glu`: the first `out` rows of the weight
//! file are `A`'s, the others `G`'s.

use super::{Cache, Gradient, InitScheme, Layer};
use crate::tensor::profile::{Stage, lap};
use crate::tensor::{Buffer, Isa, Layout, Mat, Params, Real, Slot};
use elbo_kernels::activation::{self, Activation};

/// `Y = A ⊙ σ(G)`, with `A` and `G` dense.
#[derive(Clone, Debug)]
pub struct Gated {
    weight: Slot,
    bias: Slot,
}

/// The joint `[A|G]`, and its gradient.
const JOINT: usize = 0;
const D_JOINT: usize = 1;

impl Gated {
    /// Adds `weight` (2·out, in) and `bias` (2·out) to the layout, each half drawn as a layer of `outputs`.
    pub fn new(layout: &mut Layout, inputs: usize, outputs: usize, init: InitScheme) -> Self {
        let (weight, bias) = init.dense(inputs, outputs);
        Gated {
            weight: layout.weight("weight", inputs, 2 * outputs, weight),
            bias: layout.vector("bias", 2 * outputs, bias),
        }
    }
}

impl<F: Real> Layer<F> for Gated {
    fn inputs(&self) -> usize {
        self.weight.rows()
    }
    fn outputs(&self) -> usize {
        self.weight.cols() / 2
    }
    fn cache(&self, rows: usize) -> Cache<F> {
        let joint = || Buffer::new(rows, self.weight.cols());
        Cache { buffers: vec![joint(), joint()], children: vec![] }
    }
    fn forward(&self, isa: Isa, p: &Params<F>, x: Mat<F>, y: &mut Buffer<F>, cache: &mut Cache<F>) {
        let (rows, joint) = (x.rows(), &mut cache.buffers[JOINT]);
        p.product(isa, &self.weight, Some(&self.bias), Activation::Identity, x, joint.rows_mut(rows));
        lap(Stage::Forward, Some(&self.weight));
        let joint = joint.rows(rows);
        let mut y = y.rows_mut(rows);
        for r in 0..rows {
            let (a, g) = joint.row(r).split_at(y.cols());
            activation::glu_forward(isa, a, g, y.row(r));
        }
        lap(Stage::Activation, Some(&self.weight));
    }
    fn backward_rows(
        &self,
        isa: Isa,
        p: &Params<F>,
        x: Mat<F>,
        _y: &Buffer<F>,
        dy: &mut Buffer<F>,
        dx: Option<&mut Buffer<F>>,
        cache: &mut Cache<F>,
    ) {
        let rows = x.rows();
        let [joint, d_joint] = &mut cache.buffers[..] else { unreachable!("two buffers") };
        let (joint, dy) = (joint.rows(rows), dy.rows(rows));
        let mut d = d_joint.rows_mut(rows);
        for r in 0..rows {
            let (a, g) = joint.row(r).split_at(dy.cols());
            let (da, dg) = d.row(r).split_at_mut(dy.cols());
            activation::glu_backward(isa, a, g, dy.row(r), da, dg);
        }
        lap(Stage::Activation, Some(&self.weight));
        if let Some(dx) = dx {
            p.product_transposed(isa, &self.weight, d_joint.rows(rows), dx.rows_mut(rows));
            lap(Stage::Backward, Some(&self.weight));
        }
    }
    fn gradient<'a>(&self, slot: Slot, x: Mat<'a, F>, _: Mat<'a, F>, cache: &'a Cache<F>) -> Option<Gradient<'a, F>> {
        let d_joint = cache.buffers[D_JOINT].rows(x.rows());
        match slot {
            s if s == self.weight => Some(Gradient::Product(x, d_joint)),
            s if s == self.bias => Some(Gradient::Sum(d_joint)),
            _ => None,
        }
    }
}
