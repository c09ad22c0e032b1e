//! Layers side by side, each on columns of its own; columns without a layer go through as they are.
//!
//! ```text
//! X = [X₁ | X₂ | …]      Y = [f₁(X₁) | f₂(X₂) | …]      dX = [dX₁ | dX₂ | …]
//! ```

use super::{AnyLayer, Cache, Gradient, Layer, Sides};
use crate::tensor::{Buffer, Isa, Mat, MatMut, Params, Real, Slot};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

/// What is done with adjacent columns of the input.
#[derive(Clone, Debug)]
pub enum Part {
    /// Nothing, with so many of them.
    Keep(usize),
    /// A layer of their own.
    Through(Arc<dyn AnyLayer>),
}

impl Part {
    fn inputs(&self) -> usize {
        match self {
            Part::Keep(columns) => *columns,
            Part::Through(layer) => f32::of(&**layer).inputs(),
        }
    }
    fn outputs(&self) -> usize {
        match self {
            Part::Keep(columns) => *columns,
            Part::Through(layer) => f32::of(&**layer).outputs(),
        }
    }
    fn layer<F: Real>(&self) -> Option<&dyn Layer<F>> {
        if let Part::Through(layer) = self { Some(F::of(&**layer)) } else { None }
    }
}

/// `[f₁(X₁) | f₂(X₂) | …]`: inputs of different kinds, each with a layer of its own before they meet.
#[derive(Clone, Debug)]
pub struct Parallel {
    parts: Vec<Part>,
}

impl Parallel {
    /// Panics when there is no part.
    pub fn new(parts: Vec<Part>) -> Self {
        assert!(!parts.is_empty(), "layers side by side need a layer");
        Parallel { parts }
    }
    /// Each part, with where its input and its output begin.
    fn each(&self) -> impl Iterator<Item = (&Part, usize, usize)> {
        self.parts.iter().scan((0, 0), |(x, y), part| {
            let at = (*x, *y);
            (*x, *y) = (*x + part.inputs(), *y + part.outputs());
            Some((part, at.0, at.1))
        })
    }
}

/// What the cache has of each part: X, Y, dY and dX. A kernel may read past the last column of a matrix, so a part's columns are
/// copied to matrices of their own.
const X: usize = 0;
const Y: usize = 1;
const DY: usize = 2;
const OF_PART: usize = 4;

fn copy<F: Real>(from: Mat<F>, mut to: MatMut<F>) {
    (0..from.rows()).for_each(|r| to.row(r).copy_from_slice(from.row(r)));
}

impl<F: Real> Layer<F> for Parallel {
    fn inputs(&self) -> usize {
        self.parts.iter().map(Part::inputs).sum()
    }
    fn outputs(&self) -> usize {
        self.parts.iter().map(Part::outputs).sum()
    }
    fn cache(&self, rows: usize) -> Cache<F> {
        let buffers = |part: &Part| {
            let rows = if part.layer::<F>().is_some() { rows } else { 0 };
            let (x, y) = (|| Buffer::new(rows, part.inputs()), || Buffer::new(rows, part.outputs()));
            [x(), y(), y(), x()]
        };
        Cache {
            buffers: self.parts.iter().flat_map(buffers).collect(),
            children: self.parts.iter().map(|p| p.layer().map_or_else(Cache::default, |l| l.cache(rows))).collect(),
        }
    }
    fn renew(&self, row: usize, mut rng: Option<&mut ChaCha8Rng>, cache: &mut Cache<F>) {
        for (part, child) in self.parts.iter().zip(&mut cache.children) {
            part.layer().into_iter().for_each(|layer| layer.renew(row, rng.as_deref_mut(), child));
        }
    }
    fn forward(&self, isa: Isa, p: &Params<F>, x: Mat<F>, y: &mut Buffer<F>, cache: &mut Cache<F>) {
        let rows = x.rows();
        let memory = cache.buffers.chunks_exact_mut(OF_PART).zip(&mut cache.children);
        for ((part, at_x, at_y), (own, child)) in self.each().zip(memory) {
            let (from, to) = (x.columns(at_x, part.inputs()), y.rows_mut(rows).columns(at_y, part.outputs()));
            let Some(layer) = part.layer() else {
                copy(from, to);
                continue;
            };
            copy(from, own[X].rows_mut(rows));
            let (own_x, own_y) = own.split_at_mut(Y);
            layer.forward(isa, p, own_x[X].rows(rows), &mut own_y[0], child);
            copy(own_y[0].rows(rows), to);
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
        let rows = x.rows();
        let memory = cache.buffers.chunks_exact_mut(OF_PART).zip(&mut cache.children);
        for ((part, at_x, at_y), (own, child)) in self.each().zip(memory) {
            let from = dy.rows(rows).columns(at_y, part.outputs());
            let to = dx.as_deref_mut().map(|dx| dx.rows_mut(rows).columns(at_x, part.inputs()));
            let Some(layer) = part.layer() else {
                to.into_iter().for_each(|to| copy(from, to));
                continue;
            };
            copy(from, own[DY].rows_mut(rows));
            let [own_x, own_y, own_dy, own_dx] = own else { unreachable!("four of each part") };
            let wanted = to.is_some().then_some(&mut *own_dx);
            layer.backward_rows(isa, p, own_x.rows(rows), own_y, own_dy, wanted, child);
            to.into_iter().for_each(|to| copy(own_dx.rows(rows), to));
        }
    }
    fn gradient<'a>(&self, slot: Slot, x: Mat<'a, F>, _: Mat<'a, F>, cache: &'a Cache<F>) -> Option<Gradient<'a, F>> {
        let (rows, memory) = (x.rows(), cache.buffers.chunks_exact(OF_PART).zip(&cache.children));
        self.parts
            .iter()
            .zip(memory)
            .find_map(|(part, (own, child))| part.layer()?.gradient(slot, own[X].rows(rows), own[DY].rows(rows), child))
    }
    fn kinks(&self, rows: usize, _y: &Buffer<F>, cache: &Cache<F>, sides: &mut Sides) {
        let memory = cache.buffers.chunks_exact(OF_PART).zip(&cache.children);
        for (part, (own, child)) in self.parts.iter().zip(memory) {
            part.layer().into_iter().for_each(|layer| layer.kinks(rows, &own[Y], child, sides));
        }
    }
}
