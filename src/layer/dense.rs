//! The dense layer, with its activation.
//!
//! ```text
//! A = X W + b      (B, in)(in, out) + (out)        dA = dY ⊙ f'(A)
//! Y = f(A)                                         dX = dA Wᵀ     dW = Xᵀ dA     db = Σ_rows dA
//! ```

use super::{Activation, Cache, Gradient, Init, InitScheme, Layer, Sides};
use crate::tensor::profile::{Stage, lap};
use crate::tensor::{Buffer, Isa, Layout, Mask, Mat, Params, Real, Slot};
use elbo_kernels::activation;

/// `Y = f(X W + b)`.
#[derive(Clone, Debug)]
pub struct Dense {
    weight: Slot,
    bias: Slot,
    activation: Activation,
}

impl Dense {
    /// Adds `weight` and `bias` to the layout.
    pub fn new(layout: &mut Layout, inputs: usize, outputs: usize, activation: Activation, init: InitScheme) -> Self {
        Self::starting(layout, inputs, outputs, activation, init.dense(inputs, outputs))
    }
    /// One that starts at 0: whatever its input, it gives f(0) until it has learned.
    pub fn zeros(layout: &mut Layout, inputs: usize, outputs: usize, activation: Activation) -> Self {
        Self::starting(layout, inputs, outputs, activation, (Init::Constant(0.0), Init::Constant(0.0)))
    }
    fn starting(
        layout: &mut Layout,
        inputs: usize,
        outputs: usize,
        activation: Activation,
        (weight, bias): (Init, Init),
    ) -> Self {
        Dense {
            weight: layout.weight("weight", inputs, outputs, weight),
            bias: layout.vector("bias", outputs, bias),
            activation,
        }
    }
    /// The same with a weight of which only the entries of a mask are there. What its gradient is made from knows no mask:
    /// whoever makes it clears what the layout's entry says is not there.
    pub fn masked(
        layout: &mut Layout,
        inputs: usize,
        outputs: usize,
        activation: Activation,
        init: InitScheme,
        mask: Mask,
    ) -> Self {
        let (weight, bias) = init.dense(inputs, outputs);
        Dense {
            weight: layout.masked_weight("weight", inputs, outputs, weight, mask),
            bias: layout.vector("bias", outputs, bias),
            activation,
        }
    }
    /// Its weight's slot, (in, out).
    pub fn weight(&self) -> Slot {
        self.weight
    }
    /// Its bias's slot, (1, out).
    pub fn bias(&self) -> Slot {
        self.bias
    }
}

impl<F: Real> Layer<F> for Dense {
    fn inputs(&self) -> usize {
        self.weight.rows()
    }
    fn outputs(&self) -> usize {
        self.weight.cols()
    }
    fn cache(&self, rows: usize) -> Cache<F> {
        // Most derivatives follow from the output; only the others need A itself.
        let buffers = if self.activation.needs_input() { vec![Buffer::new(rows, self.weight.cols())] } else { vec![] };
        Cache { buffers, children: vec![] }
    }
    fn forward(&self, isa: Isa, p: &Params<F>, x: Mat<F>, y: &mut Buffer<F>, cache: &mut Cache<F>) {
        let rows = x.rows();
        let Some(a) = cache.buffers.first_mut() else {
            p.product(isa, &self.weight, Some(&self.bias), self.activation, x, y.rows_mut(rows));
            return lap(Stage::Forward, Some(&self.weight));
        };
        p.product(isa, &self.weight, Some(&self.bias), Activation::Identity, x, a.rows_mut(rows));
        lap(Stage::Forward, Some(&self.weight));
        y.flat_mut(rows).copy_from_slice(a.flat(rows));
        activation::forward(isa, self.activation, y.flat_mut(rows));
        lap(Stage::Activation, Some(&self.weight));
    }
    fn backward_rows(
        &self,
        isa: Isa,
        p: &Params<F>,
        x: Mat<F>,
        y: &Buffer<F>,
        dy: &mut Buffer<F>,
        dx: Option<&mut Buffer<F>>,
        cache: &mut Cache<F>,
    ) {
        let rows = x.rows();
        // A linear layer never looks at its output, which may be gone by now.
        if self.activation != Activation::Identity {
            let at = cache.buffers.first().unwrap_or(y);
            activation::backward(isa, self.activation, at.flat(rows), dy.flat_mut(rows));
        }
        lap(Stage::Activation, Some(&self.weight));
        if let Some(dx) = dx {
            p.product_transposed(isa, &self.weight, dy.rows(rows), dx.rows_mut(rows));
            lap(Stage::Backward, Some(&self.weight));
        }
    }
    fn gradient<'a>(&self, slot: Slot, x: Mat<'a, F>, dy: Mat<'a, F>, _: &'a Cache<F>) -> Option<Gradient<'a, F>> {
        match slot {
            s if s == self.weight => Some(Gradient::Product(x, dy)),
            s if s == self.bias => Some(Gradient::Sum(dy)),
            _ => None,
        }
    }
    fn kinks(&self, rows: usize, y: &Buffer<F>, _: &Cache<F>, sides: &mut Sides) {
        if self.activation.kink().is_some() {
            sides.signs(rows, y);
        }
    }
}
