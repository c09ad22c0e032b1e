//! Layer normalization, with the activation after it (Ba, Kiros and Hinton 2016, arXiv:1607.06450, eq. 4).
//!
//! ```text
//! m = mean_c X      s² = mean_c (X − m)² + ε      X̂ = (X − m) / s      A = X̂ ⊙ g + b      Y = f(A)      by row
//! dA = dY ⊙ f'(A)      dg = Σ_rows dA ⊙ X̂      db = Σ_rows dA
//! D = dA ⊙ g           dX = (D − mean_c D − X̂ mean_c (D ⊙ X̂)) / s
//! ```
//!
//! ε = 1e-5 and the names `weight` (g) and `bias` (b) are PyTorch's. Sums are in f64, in the order of columns.

use super::{Activation, Cache, Gradient, Init, Layer, Sides};
use crate::tensor::profile::{Stage, lap};
use crate::tensor::{Buffer, Isa, Layout, Mat, Params, Real, Slot};
use elbo_kernels::activation;

const EPSILON: f64 = 1e-5;

/// `Y = f(X̂ ⊙ g + b)`, X̂ the rows of X with mean 0 and variance 1.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    gain: Slot,
    bias: Slot,
    activation: Activation,
}

/// X̂; dA ⊙ X̂; 1/s of each row; and A, where the activation's derivative asks for it.
const NORMAL: usize = 0;
const D_GAIN: usize = 1;
const INVERSE: usize = 2;
const A: usize = 3;

impl LayerNorm {
    /// Adds `weight` (the gain, at first 1) and `bias` (0) to the layout.
    pub fn new(layout: &mut Layout, columns: usize, activation: Activation) -> Self {
        LayerNorm {
            gain: layout.vector("weight", columns, Init::Constant(1.0)),
            bias: layout.vector("bias", columns, Init::Constant(0.0)),
            activation,
        }
    }
}

fn mean(values: impl Iterator<Item = f64>, count: usize) -> f64 {
    values.sum::<f64>() / count as f64
}

impl<F: Real> Layer<F> for LayerNorm {
    fn inputs(&self) -> usize {
        self.gain.cols()
    }
    fn outputs(&self) -> usize {
        self.gain.cols()
    }
    fn cache(&self, rows: usize) -> Cache<F> {
        let wide = || Buffer::new(rows, self.gain.cols());
        let mut buffers = vec![wide(), wide(), Buffer::new(rows, 1)];
        buffers.extend(self.activation.needs_input().then(wide));
        Cache { buffers, children: vec![] }
    }
    fn forward(&self, isa: Isa, p: &Params<F>, x: Mat<F>, y: &mut Buffer<F>, cache: &mut Cache<F>) {
        let (rows, columns) = (x.rows(), self.gain.cols());
        let (gain, bias) = (&p.slot(&self.gain)[..columns], &p.slot(&self.bias)[..columns]);
        let [normal, _, inverse, rest @ ..] = &mut cache.buffers[..] else { unreachable!("three buffers") };
        let (mut normal, mut inverse, mut a) = (normal.rows_mut(rows), inverse.rows_mut(rows), y.rows_mut(rows));
        for r in 0..rows {
            let x = x.row(r);
            let centre = mean(x.iter().map(|x| x.to_f64()), columns);
            let variance = mean(x.iter().map(|x| (x.to_f64() - centre).powi(2)), columns);
            let scale = (variance + EPSILON).sqrt().recip();
            inverse.row(r)[0] = F::from_f64(scale);
            let each = normal.row(r).iter_mut().zip(a.row(r)).zip(x).zip(gain.iter().zip(bias));
            for (((normal, a), x), (&gain, &bias)) in each {
                *normal = F::from_f64((x.to_f64() - centre) * scale);
                *a = *normal * gain + bias;
            }
        }
        if let Some(a) = rest.first_mut() {
            a.flat_mut(rows).copy_from_slice(y.flat(rows));
        }
        activation::forward(isa, self.activation, y.flat_mut(rows));
        lap(Stage::Activation, Some(&self.gain));
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
        let (rows, columns) = (x.rows(), self.gain.cols());
        if self.activation != Activation::Identity {
            let at = cache.buffers.get(A).unwrap_or(y);
            activation::backward(isa, self.activation, at.flat(rows), dy.flat_mut(rows));
        }
        let (normal, rest) = cache.buffers.split_at_mut(D_GAIN);
        let (normal, dy) = (normal[NORMAL].rows(rows), dy.rows(rows));
        let mut d_gain = rest[NORMAL].rows_mut(rows);
        for r in 0..rows {
            let each = d_gain.row(r).iter_mut().zip(dy.row(r)).zip(normal.row(r));
            each.for_each(|((d_gain, &dy), &normal)| *d_gain = dy * normal);
        }
        let Some(dx) = dx else { return lap(Stage::Activation, Some(&self.gain)) };
        let (gain, inverse) = (&p.slot(&self.gain)[..columns], rest[INVERSE - D_GAIN].rows(rows));
        let mut dx = dx.rows_mut(rows);
        for r in 0..rows {
            let (dy, normal, scale) = (dy.row(r), normal.row(r), inverse.row(r)[0]);
            let d = || dy.iter().zip(gain).map(|(&dy, &gain)| dy * gain);
            let centre = F::from_f64(mean(d().map(|d| d.to_f64()), columns));
            let slope = F::from_f64(mean(d().zip(normal).map(|(d, n)| d.to_f64() * n.to_f64()), columns));
            let each = dx.row(r).iter_mut().zip(d()).zip(normal);
            each.for_each(|((dx, d), &normal)| *dx = (d - centre - normal * slope) * scale);
        }
        lap(Stage::Activation, Some(&self.gain));
    }
    fn gradient<'a>(&self, slot: Slot, x: Mat<'a, F>, dy: Mat<'a, F>, cache: &'a Cache<F>) -> Option<Gradient<'a, F>> {
        match slot {
            s if s == self.gain => Some(Gradient::Sum(cache.buffers[D_GAIN].rows(x.rows()))),
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
