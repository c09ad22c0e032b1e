//! A layer some of whose outputs are left out while training (Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov 2014,
//! JMLR 15, section 4), the others scaled so that the mean stays.
//!
//! ```text
//! M = 0 with probability p, else 1 / (1 − p)        Y = f(X) ⊙ M        df = dY ⊙ M
//! ```

use super::{AnyLayer, Cache, Gradient, Layer, Meeting, Sides};
use crate::tensor::{Buffer, Isa, Mat, Params, Real, Slot};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

/// `Y = f(X) ⊙ M`. M is drawn by [`Layer::renew`], and of ones until then: a model at use leaves nothing out.
#[derive(Clone, Debug)]
pub struct Dropout {
    layer: Arc<dyn AnyLayer>,
    share: f64,
}

impl Dropout {
    /// Leaves out this share of a layer's outputs. Panics unless it is at least 0 and below 1.
    pub fn new(layer: Arc<dyn AnyLayer>, share: f64) -> Self {
        assert!((0.0..1.0).contains(&share), "a share of {share}");
        Dropout { layer, share }
    }
}

/// f(X), and M.
const INNER: usize = 0;
const MASK: usize = 1;

/// `y ⊙ m`, of whole rows.
fn multiply<F: Real>(y: &mut [F], mask: &[F]) {
    y.iter_mut().zip(mask).for_each(|(y, &m)| *y = *y * m);
}

/// Y = f(X) ⊙ M, of whole rows.
fn leave_out<F: Real>(rows: usize, y: &mut Buffer<F>, cache: &Cache<F>) {
    y.flat_mut(rows).copy_from_slice(cache.buffers[INNER].flat(rows));
    multiply(y.flat_mut(rows), cache.buffers[MASK].flat(rows));
}

impl<F: Real> Layer<F> for Dropout {
    fn inputs(&self) -> usize {
        F::of(&*self.layer).inputs()
    }
    fn outputs(&self) -> usize {
        F::of(&*self.layer).outputs()
    }
    fn cache(&self, rows: usize) -> Cache<F> {
        let inner = F::of(&*self.layer);
        let mut mask = Buffer::new(rows, inner.outputs());
        mask.flat_mut(rows).fill(F::ONE);
        Cache { buffers: vec![Buffer::new(rows, inner.outputs()), mask], children: vec![inner.cache(rows)] }
    }
    fn renew(&self, row: usize, mut rng: Option<&mut ChaCha8Rng>, cache: &mut Cache<F>) {
        F::of(&*self.layer).renew(row, rng.as_deref_mut(), &mut cache.children[0]);
        let (mask, kept) = (&mut cache.buffers[MASK], F::from_f64(1.0 / (1.0 - self.share)));
        let rows = mask.capacity();
        let mut mask = mask.rows_mut(rows);
        match rng {
            None => mask.row(row).fill(F::ONE),
            Some(rng) => mask.row(row).iter_mut().for_each(|m| {
                *m = if rng.random::<f64>() < self.share { F::ZERO } else { kept };
            }),
        }
    }
    fn parts(&self) -> usize {
        F::of(&*self.layer).parts()
    }
    fn meetings(&self) -> Vec<Meeting> {
        f32::of(&*self.layer).meetings().into_iter().map(|meeting| meeting.within(0)).collect()
    }
    fn forward(&self, isa: Isa, p: &Params<F>, x: Mat<F>, y: &mut Buffer<F>, cache: &mut Cache<F>) {
        F::of(&*self.layer).forward(isa, p, x, &mut cache.buffers[INNER], &mut cache.children[0]);
        leave_out(x.rows(), y, cache);
    }
    fn forward_part(&self, part: usize, isa: Isa, p: &Params<F>, x: Mat<F>, y: &mut Buffer<F>, cache: &mut Cache<F>) {
        F::of(&*self.layer).forward_part(part, isa, p, x, &mut cache.buffers[INNER], &mut cache.children[0]);
        if part + 1 == Layer::<F>::parts(self) {
            leave_out(x.rows(), y, cache);
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
        dx: Option<&mut Buffer<F>>,
        cache: &mut Cache<F>,
    ) {
        if part + 1 == Layer::<F>::parts(self) {
            multiply(dy.flat_mut(x.rows()), cache.buffers[MASK].flat(x.rows()));
        }
        F::of(&*self.layer).backward_part(part, isa, p, x, &cache.buffers[INNER], dy, dx, &mut cache.children[0]);
    }
    fn gradient<'a>(&self, slot: Slot, x: Mat<'a, F>, dy: Mat<'a, F>, cache: &'a Cache<F>) -> Option<Gradient<'a, F>> {
        F::of(&*self.layer).gradient(slot, x, dy, &cache.children[0])
    }
    fn kinks(&self, rows: usize, _y: &Buffer<F>, cache: &Cache<F>, sides: &mut Sides) {
        F::of(&*self.layer).kinks(rows, &cache.buffers[INNER], &cache.children[0], sides);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::{Dense, InitScheme};
    use crate::tensor::{Layout, Noise, Stream};
    use elbo_kernels::activation::Activation;

    /// Outputs are left out or scaled, in the given share, each row by its own draws; and at rest nothing happens.
    #[test]
    fn a_share_is_left_out_and_the_mean_stays() {
        let (rows, cols, share) = (200, 50, 0.3);
        let mut layout = Layout::new();
        let dense = Arc::new(Dense::new(&mut layout, 3, cols, Activation::Sigmoid, InitScheme::Torch));
        let (layer, p) = (Dropout::new(dense.clone(), share), Params::<f32>::init(&layout, &Noise::new(1)));
        let x = vec![0.7; rows * 3];
        let pass = |layer: &dyn Layer<f32>, cache: &mut Cache<f32>| {
            let mut y = Buffer::new(rows, cols);
            layer.forward(Isa::default(), &p, Mat::new(&x, rows, 3, 3), &mut y, cache);
            y.view(rows).to_owned()
        };
        let whole = pass(&*dense, &mut Layer::<f32>::cache(&*dense, rows));
        let mut cache = Layer::<f32>::cache(&layer, rows);
        assert_eq!(pass(&layer, &mut cache), whole, "before anything is drawn");
        for r in 0..rows {
            layer.renew(r, Some(&mut Noise::new(2).rng(Stream::Dropout, 0, r as u64, 0)), &mut cache);
        }
        let y = pass(&layer, &mut cache);
        let left_out = y.iter().filter(|y| **y == 0.0).count() as f64 / (rows * cols) as f64;
        // 10,000 draws: the deviation of their mean is 0.0046.
        assert!((left_out - share).abs() < 0.02, "{left_out}");
        assert!(y.iter().zip(&whole).all(|(y, w)| *y == 0.0 || (y * 0.7 - w).abs() < 1e-6));
        assert_ne!(y.row(0), y.row(1));
        (0..rows).for_each(|r| Layer::<f32>::renew(&layer, r, None, &mut cache));
        assert_eq!(pass(&layer, &mut cache), whole, "at rest");
    }
}
