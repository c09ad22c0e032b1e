//! Layers side by side on one input, their outputs in adjacent columns.
//!
//! ```text
//! Y = [f₁(X) | f₂(X) | …]        dX = Σᵢ dXᵢ
//! ```

use super::{AnyLayer, Cache, Gradient, Layer, Sides};
use crate::tensor::{Buffer, Isa, Mat, Params, Real, Slot};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

/// `[f₁(X) | f₂(X) | …]`: separate heads of one network.
#[derive(Clone, Debug)]
pub struct Concat {
    layers: Vec<Arc<dyn AnyLayer>>,
}

impl Concat {
    /// Panics when there is no layer, when they take different inputs, or when the rows of a batch [meet](Layer::meetings) in one.
    pub fn new(layers: Vec<Arc<dyn AnyLayer>>) -> Self {
        assert!(!layers.is_empty(), "a concatenation needs a layer");
        let inputs = f32::of(&*layers[0]).inputs();
        assert!(layers.iter().all(|l| f32::of(&**l).inputs() == inputs), "layers side by side take one input");
        assert!(layers.iter().all(|l| f32::of(&**l).parts() == 1), "rows meet before layers side by side, not in them");
        Concat { layers }
    }
}

/// The cache's buffers: each layer's output, each output's gradient, and one input gradient.
struct Parts<'a, F> {
    ys: &'a mut [Buffer<F>],
    dys: &'a mut [Buffer<F>],
    dx: &'a mut Buffer<F>,
    children: &'a mut [Cache<F>],
}

fn parts<F>(cache: &mut Cache<F>) -> Parts<'_, F> {
    let n = cache.children.len();
    let (ys, rest) = cache.buffers.split_at_mut(n);
    let (dys, dx) = rest.split_at_mut(n);
    Parts { ys, dys, dx: &mut dx[0], children: &mut cache.children }
}

impl<F: Real> Layer<F> for Concat {
    fn inputs(&self) -> usize {
        F::of(&*self.layers[0]).inputs()
    }
    fn outputs(&self) -> usize {
        self.layers.iter().map(|l| F::of(&**l).outputs()).sum()
    }
    fn cache(&self, rows: usize) -> Cache<F> {
        let outputs = || self.layers.iter().map(|l| Buffer::new(rows, F::of(&**l).outputs()));
        let dx = Buffer::new(rows, Layer::<F>::inputs(self));
        Cache {
            buffers: outputs().chain(outputs()).chain([dx]).collect(),
            children: self.layers.iter().map(|l| F::of(&**l).cache(rows)).collect(),
        }
    }
    fn renew(&self, row: usize, mut rng: Option<&mut ChaCha8Rng>, cache: &mut Cache<F>) {
        for (layer, child) in self.layers.iter().zip(&mut cache.children) {
            F::of(&**layer).renew(row, rng.as_deref_mut(), child);
        }
    }
    fn forward(&self, isa: Isa, p: &Params<F>, x: Mat<F>, y: &mut Buffer<F>, cache: &mut Cache<F>) {
        let (rows, c) = (x.rows(), parts(cache));
        let mut at = 0;
        for ((layer, part), child) in self.layers.iter().zip(c.ys).zip(c.children) {
            F::of(&**layer).forward(isa, p, x, part, child);
            let mut y = y.rows_mut(rows).columns(at, part.cols());
            for r in 0..rows {
                y.row(r).copy_from_slice(part.rows(rows).row(r));
            }
            at += part.cols();
        }
    }
    fn backward_rows(
        &self,
        isa: Isa,
        p: &Params<F>,
        x: Mat<F>,
        _y: &Buffer<F>,
        dy: &mut Buffer<F>,
        mut dx: Option<&mut Buffer<F>>,
        cache: &mut Cache<F>,
    ) {
        let (rows, c) = (x.rows(), parts(cache));
        let mut at = 0;
        for (i, (layer, d)) in self.layers.iter().zip(c.dys).enumerate() {
            let part = dy.rows(rows).columns(at, d.cols());
            for r in 0..rows {
                d.rows_mut(rows).row(r).copy_from_slice(part.row(r));
            }
            at += d.cols();
            let (y, child, layer) = (&c.ys[i], &mut c.children[i], F::of(&**layer));
            match &mut dx {
                None => layer.backward_rows(isa, p, x, y, d, None, child),
                Some(dx) if i == 0 => layer.backward_rows(isa, p, x, y, d, Some(dx), child),
                Some(dx) => {
                    layer.backward_rows(isa, p, x, y, d, Some(c.dx), child);
                    for (sum, &term) in dx.flat_mut(rows).iter_mut().zip(c.dx.flat(rows)) {
                        *sum += term;
                    }
                }
            }
        }
    }
    fn gradient<'a>(&self, slot: Slot, x: Mat<'a, F>, _: Mat<'a, F>, cache: &'a Cache<F>) -> Option<Gradient<'a, F>> {
        let n = self.layers.len();
        self.layers.iter().enumerate().find_map(|(i, layer)| {
            let dy = cache.buffers[n + i].rows(x.rows());
            F::of(&**layer).gradient(slot, x, dy, &cache.children[i])
        })
    }
    fn kinks(&self, rows: usize, _y: &Buffer<F>, cache: &Cache<F>, sides: &mut Sides) {
        for (i, layer) in self.layers.iter().enumerate() {
            F::of(&**layer).kinks(rows, &cache.buffers[i], &cache.children[i], sides);
        }
    }
}
