//! A layer and the way around it (He, Zhang, Ren and Sun 2016, arXiv:1512.03385, eq. 1).
//!
//! ```text
//! Y = X + f(X)        dX = dY + f's dX
//! ```

use super::{AnyLayer, Cache, Gradient, Layer, Meeting, Sides};
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

/// Y = X + f(X), of whole rows.
fn add<F: Real>(x: Mat<F>, y: &mut Buffer<F>, inner: &Buffer<F>) {
    let rows = x.rows();
    let mut y = y.rows_mut(rows);
    for r in 0..rows {
        let each = y.row(r).iter_mut().zip(x.row(r)).zip(inner.rows(rows).row(r));
        each.for_each(|((y, &x), &f)| *y = x + f);
    }
}

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
    fn parts(&self) -> usize {
        F::of(&*self.layer).parts()
    }
    fn meetings(&self) -> Vec<Meeting> {
        f32::of(&*self.layer).meetings().into_iter().map(|meeting| meeting.within(0)).collect()
    }
    fn forward(&self, isa: Isa, p: &Params<F>, x: Mat<F>, y: &mut Buffer<F>, cache: &mut Cache<F>) {
        F::of(&*self.layer).forward(isa, p, x, &mut cache.buffers[Y], &mut cache.children[0]);
        add(x, y, &cache.buffers[Y]);
    }
    fn forward_part(&self, part: usize, isa: Isa, p: &Params<F>, x: Mat<F>, y: &mut Buffer<F>, cache: &mut Cache<F>) {
        F::of(&*self.layer).forward_part(part, isa, p, x, &mut cache.buffers[Y], &mut cache.children[0]);
        if part + 1 == Layer::<F>::parts(self) {
            add(x, y, &cache.buffers[Y]);
        }
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
        _y: &Buffer<F>,
        dy: &mut Buffer<F>,
        mut dx: Option<&mut Buffer<F>>,
        cache: &mut Cache<F>,
    ) {
        let (rows, layer) = (x.rows(), F::of(&*self.layer));
        let [y, d] = &mut cache.buffers[..] else { unreachable!("two buffers") };
        if part + 1 == layer.parts() {
            d.flat_mut(rows).copy_from_slice(dy.flat(rows));
        }
        layer.backward_part(part, isa, p, x, y, d, dx.as_deref_mut(), &mut cache.children[0]);
        if let (0, Some(dx)) = (part, dx) {
            dx.flat_mut(rows).iter_mut().zip(dy.flat(rows)).for_each(|(dx, &dy)| *dx += dy);
        }
    }
    fn gradient<'a>(&self, slot: Slot, x: Mat<'a, F>, _: Mat<'a, F>, cache: &'a Cache<F>) -> Option<Gradient<'a, F>> {
        F::of(&*self.layer).gradient(slot, x, cache.buffers[DY].rows(x.rows()), &cache.children[0])
    }
    fn kinks(&self, rows: usize, _y: &Buffer<F>, cache: &Cache<F>, sides: &mut Sides) {
        F::of(&*self.layer).kinks(rows, &cache.buffers[Y], &cache.children[0], sides);
    }
}
