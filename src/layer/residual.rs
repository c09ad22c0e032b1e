//! A layer and the way around it (He, Zhang, Ren and Sun 2016, arXiv:1512.03385, eq. 1).
//!
//! ```text
//! Y = X + f(X)        dX = dY + f's dX
//! ```

use super::{AnyLayer, Cache, Gradient, Layer, Sides};
use crate::tensor::{Buffer, Isa, Mat, Params, Real, Slot};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

/// `Y = X + f(X)`, of a layer as wide as its input.
#[derive(Clone, Debug)]
pub struct Residual {
    layer: Arc<dyn AnyLayer>,
}

impl Residual {
    /// Panics when the layer gives another number of columns than it takes.
    pub fn new(layer: Arc<dyn AnyLayer>) -> Self {
        let inner = f32::of(&*layer);
        assert_eq!(inner.inputs(), inner.outputs(), "a way around {layer:?}");
        Residual { layer }
    }
}

/// f(X), and its derivative, which the layer turns into what it needs.
const Y: usize = 0;
const DY: usize = 1;

impl<F: Real> Layer<F> for Residual {
    fn inputs(&self) -> usize {
        F::of(&*self.layer).inputs()
    }
    fn outputs(&self) -> usize {
        F::of(&*self.layer).outputs()
    }
    fn cache(&self, rows: usize) -> Cache<F> {
        let inner = F::of(&*self.layer);
        let wide = || Buffer::new(rows, inner.outputs());
        Cache { buffers: vec![wide(), wide()], children: vec![inner.cache(rows)] }
    }
    fn renew(&self, row: usize, rng: Option<&mut ChaCha8Rng>, cache: &mut Cache<F>) {
        F::of(&*self.layer).renew(row, rng, &mut cache.children[0]);
    }
    fn forward(&self, isa: Isa, p: &Params<F>, x: Mat<F>, y: &mut Buffer<F>, cache: &mut Cache<F>) {
        let (rows, inner) = (x.rows(), &mut cache.buffers[Y]);
        F::of(&*self.layer).forward(isa, p, x, inner, &mut cache.children[0]);
        let mut y = y.rows_mut(rows);
        for r in 0..rows {
            let each = y.row(r).iter_mut().zip(x.row(r)).zip(inner.rows(rows).row(r));
            each.for_each(|((y, &x), &f)| *y = x + f);
        }
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
        let (rows, layer) = (x.rows(), F::of(&*self.layer));
        let [y, d] = &mut cache.buffers[..] else { unreachable!("two buffers") };
        d.flat_mut(rows).copy_from_slice(dy.flat(rows));
        let Some(dx) = dx else { return layer.backward_rows(isa, p, x, y, d, None, &mut cache.children[0]) };
        layer.backward_rows(isa, p, x, y, d, Some(&mut *dx), &mut cache.children[0]);
        dx.flat_mut(rows).iter_mut().zip(dy.flat(rows)).for_each(|(dx, &dy)| *dx += dy);
    }
    fn gradient<'a>(&self, slot: Slot, x: Mat<'a, F>, _: Mat<'a, F>, cache: &'a Cache<F>) -> Option<Gradient<'a, F>> {
        F::of(&*self.layer).gradient(slot, x, cache.buffers[DY].rows(x.rows()), &cache.children[0])
    }
    fn kinks(&self, rows: usize, _y: &Buffer<F>, cache: &Cache<F>, sides: &mut Sides) {
        F::of(&*self.layer).kinks(rows, &cache.buffers[Y], &cache.children[0], sides);
    }
}
