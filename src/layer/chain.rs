//! Layers one after the other.
//!
//! ```text
//! x → f₁ → y₁ → f₂ → … → fₙ → y        dy → dyₙ₋₁ → … → dx
//! ```

use super::{AnyLayer, Cache, Gradient, Layer, Meeting, Sides};
use crate::tensor::{Buffer, Isa, Mat, Params, Real, Slot};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

/// `f = fₙ ∘ … ∘ f₁`. An empty chain is an error of the programmer.
#[derive(Clone, Debug)]
pub struct Chain {
    layers: Vec<Arc<dyn AnyLayer>>,
    /// The part in which each layer begins, and the last one.
    firsts: Vec<usize>,
}

impl Chain {
    /// Panics when there is no layer, or when one does not take what the one before it gives.
    pub fn new(layers: Vec<Arc<dyn AnyLayer>>) -> Self {
        assert!(!layers.is_empty(), "a chain needs a layer");
        for pair in layers.windows(2) {
            let (gives, takes) = (f32::of(&*pair[0]).outputs(), f32::of(&*pair[1]).inputs());
            assert_eq!(gives, takes, "{:?} after {:?}", pair[1], pair[0]);
        }
        let mut firsts = vec![0];
        firsts.extend(layers.iter().scan(0, |last, layer| {
            *last += f32::of(&**layer).parts() - 1;
            Some(*last)
        }));
        Chain { layers, firsts }
    }
    /// The layers, first to last.
    pub fn layers(&self) -> &[Arc<dyn AnyLayer>] {
        &self.layers
    }
    /// What the layers but the last gave in a forward pass.
    pub(crate) fn inner<'a, F>(&self, cache: &'a Cache<F>) -> &'a [Buffer<F>] {
        &cache.buffers[..self.last()]
    }
    fn last(&self) -> usize {
        self.layers.len() - 1
    }
    /// Which part of a layer one of the chain's parts goes through, if it goes through it.
    fn part_of(&self, layer: usize, part: usize) -> Option<usize> {
        (self.firsts[layer]..=self.firsts[layer + 1]).contains(&part).then(|| part - self.firsts[layer])
    }
    /// One part of the way through, or all of it at rest.
    fn pass<F: Real>(
        &self,
        part: Option<usize>,
        isa: Isa,
        p: &Params<F>,
        x: Mat<F>,
        y: &mut Buffer<F>,
        cache: &mut Cache<F>,
    ) {
        let (rows, Parts { ys, children, .. }) = (x.rows(), parts(cache));
        for (i, layer) in self.layers.iter().enumerate() {
            let (before, here) = ys.split_at_mut(i);
            let x = if i == 0 { x } else { before[i - 1].rows(rows) };
            let (y, layer, cache) = (here.first_mut().unwrap_or(y), F::of(&**layer), &mut children[i]);
            match part.map(|part| self.part_of(i, part)) {
                None => layer.forward(isa, p, x, y, cache),
                Some(Some(part)) => layer.forward_part(part, isa, p, x, y, cache),
                Some(None) => {}
            }
        }
    }
}

/// A chain's memory.
struct Parts<'a, F> {
    /// Outputs of all layers but the last.
    ys: &'a mut [Buffer<F>],
    /// The gradients of those outputs.
    dys: &'a mut [Buffer<F>],
    children: &'a mut [Cache<F>],
}

fn parts<F>(cache: &mut Cache<F>) -> Parts<'_, F> {
    let middle = cache.buffers.len() / 2;
    let (ys, dys) = cache.buffers.split_at_mut(middle);
    Parts { ys, dys, children: &mut cache.children }
}

impl<F: Real> Layer<F> for Chain {
    fn inputs(&self) -> usize {
        F::of(&*self.layers[0]).inputs()
    }
    fn outputs(&self) -> usize {
        F::of(&*self.layers[self.last()]).outputs()
    }
    fn cache(&self, rows: usize) -> Cache<F> {
        let inner = || self.layers[..self.last()].iter().map(|l| Buffer::new(rows, F::of(&**l).outputs()));
        Cache {
            buffers: inner().chain(inner()).collect(),
            children: self.layers.iter().map(|l| F::of(&**l).cache(rows)).collect(),
        }
    }
    fn renew(&self, row: usize, mut rng: Option<&mut ChaCha8Rng>, cache: &mut Cache<F>) {
        for (layer, child) in self.layers.iter().zip(&mut cache.children) {
            F::of(&**layer).renew(row, rng.as_deref_mut(), child);
        }
    }
    fn parts(&self) -> usize {
        1 + self.firsts[self.layers.len()]
    }
    fn meetings(&self) -> Vec<Meeting> {
        let of = |(i, layer): (usize, &Arc<dyn AnyLayer>)| {
            f32::of(&**layer).meetings().into_iter().map(move |m| m.within(i))
        };
        self.layers.iter().enumerate().flat_map(of).collect()
    }
    fn forward(&self, isa: Isa, p: &Params<F>, x: Mat<F>, y: &mut Buffer<F>, cache: &mut Cache<F>) {
        self.pass(None, isa, p, x, y, cache);
    }
    fn forward_part(&self, part: usize, isa: Isa, p: &Params<F>, x: Mat<F>, y: &mut Buffer<F>, cache: &mut Cache<F>) {
        self.pass(Some(part), isa, p, x, y, cache);
    }
    fn backward_rows(
        &self,
        isa: Isa,
        p: &Params<F>,
        x: Mat<F>,
        y: &Buffer<F>,
        dy: &mut Buffer<F>,
        mut dx: Option<&mut Buffer<F>>,
        cache: &mut Cache<F>,
    ) {
        for part in (0..Layer::<F>::parts(self)).rev() {
            self.backward_part(part, isa, p, x, y, dy, dx.as_deref_mut(), cache);
        }
    }
    fn backward_part(
        &self,
        part: usize,
        isa: Isa,
        p: &Params<F>,
        x: Mat<F>,
        y: &Buffer<F>,
        dy: &mut Buffer<F>,
        mut dx: Option<&mut Buffer<F>>,
        cache: &mut Cache<F>,
    ) {
        let (rows, Parts { ys, dys, children }) = (x.rows(), parts(cache));
        for (i, layer) in self.layers.iter().enumerate().rev() {
            let Some(part) = self.part_of(i, part) else { continue };
            let (dx_inner, dy_inner) = dys.split_at_mut(i);
            let (x, dx) = match i {
                0 => (x, dx.take()),
                _ => (ys[i - 1].rows(rows), dx_inner.last_mut()),
            };
            let (y, dy) = (ys.get(i).unwrap_or(y), dy_inner.first_mut().unwrap_or(dy));
            F::of(&**layer).backward_part(part, isa, p, x, y, dy, dx, &mut children[i]);
        }
    }
    fn gradient<'a>(&self, slot: Slot, x: Mat<'a, F>, dy: Mat<'a, F>, cache: &'a Cache<F>) -> Option<Gradient<'a, F>> {
        let rows = x.rows();
        let (ys, dys) = cache.buffers.split_at(cache.buffers.len() / 2);
        self.layers.iter().enumerate().find_map(|(i, layer)| {
            let x = if i == 0 { x } else { ys[i - 1].rows(rows) };
            let dy = dys.get(i).map_or(dy, |dy| dy.rows(rows));
            F::of(&**layer).gradient(slot, x, dy, &cache.children[i])
        })
    }
    fn kinks(&self, rows: usize, y: &Buffer<F>, cache: &Cache<F>, sides: &mut Sides) {
        for (i, layer) in self.layers.iter().enumerate() {
            let inner = if i == self.last() { y } else { &cache.buffers[i] };
            F::of(&**layer).kinks(rows, inner, &cache.children[i], sides);
        }
    }
}
