//! A linear map without a bias: what comes before a batch normalization, which would take any bias away again (Ioffe and Szegedy
//! 2015, section 3.2).
//!
//! ```text
//! Y = X W      (B, in)(in, out)        dX = dY Wᵀ     dW = Xᵀ dY
//! ```

use super::{Activation, Cache, Gradient, InitScheme, Layer};
use crate::tensor::profile::{Stage, lap};
use crate::tensor::{Buffer, Isa, Layout, Mat, Params, Real, Slot};

/// `Y = X W`.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Slot,
}

impl Linear {
    /// Adds `weight`, drawn as a dense layer's, to the layout.
    pub fn new(layout: &mut Layout, inputs: usize, outputs: usize, init: InitScheme) -> Self {
        Linear { weight: layout.weight("weight", inputs, outputs, init.dense(inputs, outputs).0) }
    }
}

impl<F: Real> Layer<F> for Linear {
    fn inputs(&self) -> usize {
        self.weight.rows()
    }
    fn outputs(&self) -> usize {
        self.weight.cols()
    }
    fn cache(&self, _: usize) -> Cache<F> {
        Cache { buffers: vec![], children: vec![] }
    }
    fn forward(&self, isa: Isa, p: &Params<F>, x: Mat<F>, y: &mut Buffer<F>, _: &mut Cache<F>) {
        p.product(isa, &self.weight, None, Activation::Identity, x, y.rows_mut(x.rows()));
        lap(Stage::Forward, Some(&self.weight));
    }
    fn backward_rows(
        &self,
        isa: Isa,
        p: &Params<F>,
        x: Mat<F>,
        _y: &Buffer<F>,
        dy: &mut Buffer<F>,
        dx: Option<&mut Buffer<F>>,
        _: &mut Cache<F>,
    ) {
        if let Some(dx) = dx {
            p.product_transposed(isa, &self.weight, dy.rows(x.rows()), dx.rows_mut(x.rows()));
            lap(Stage::Backward, Some(&self.weight));
        }
    }
    fn gradient<'a>(&self, slot: Slot, x: Mat<'a, F>, dy: Mat<'a, F>, _: &'a Cache<F>) -> Option<Gradient<'a, F>> {
        (slot == self.weight).then_some(Gradient::Product(x, dy))
    }
}
