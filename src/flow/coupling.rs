//! Affine couplings (Dinh, Sohl-Dickstein and Bengio 2017, arXiv:1605.08803, eq. 7–8).
//!
//! ```text
//! x = [x_a | x_b]      [S | t] = net(x_a)      v = 4 tanh S          (n, L), (n, |a|) → (n, 2|b|)
//! y_a = x_a            y_b = x_b ⊙ e^{v/2} + t                       log |dy/dx| = ½ Σ v
//! x_a = y_a            x_b = (y_b − t) ⊙ e^{−v/2}                    backwards, by the same v and t
//!
//! dt = dy_b            dv = ½ dy_b ⊙ x_b ⊙ e^{v/2} + ½ w             w: the weight of the row's log |dy/dx|
//! dx_b = dy_b e^{v/2}  dS = dv ⊙ (4 − v²/4)                          dx_a = dy_a + net's dx
//! ```
//!
//! The scale of a column is a deviation by its log-variance v, so that a coupling is a reparameterization
//! z = μ + e^{v/2} ε with t, v and x_b in the places of μ, v and ε, and its arithmetic the same kernels.
//!
//! The paper bounds log-scales by a tanh times a learned factor. Here the factor is fixed, at 2: a column is scaled by
//! e^{±2} at most, some sevenfold either way, and by more where several couplings move it. A learned one would be one more number
//! that can run away, and the inverse, which divides by the scale, would lose digits with it.
//!
//! The net is dense – tanh – dense, and the last layer starts at 0: a flow starts as the identity. The tanh bounds t and
//! makes the density smooth; far out, where the units are saturated, a coupling is affine, and tails stay Gaussian.

use crate::layer::{Activation, AnyLayer, Cache, Chain, Dense, Gradient, InitScheme, Layer};
use crate::tensor::{Buffer, Isa, Layout, Mat, Params, Real, Slot};
use elbo_kernels::activation;
use elbo_kernels::sweep::{reparameterize, reparameterize_grad};
use std::ops::Range;
use std::sync::Arc;

/// The most of |v|: twice that of a log-scale.
const BOUND: f64 = 4.0;

/// One affine coupling: some columns are kept, and say how the others move.
#[derive(Clone, Debug)]
struct Coupling {
    kept: Range<usize>,
    moved: Range<usize>,
    net: Chain,
}

/// x_a; x_b; [S | t], then [v | t]; its derivative; what the net says of x_a; and a row of zeros.
const KEPT: usize = 0;
const D_JOINT: usize = 3;

impl Coupling {
    /// Adds `hidden` (of `width` units) and `affine` to the layout. Panics when nothing is kept.
    fn new(layout: &mut Layout, kept: Range<usize>, moved: Range<usize>, width: usize, init: InitScheme) -> Self {
        assert!(!kept.is_empty() && !moved.is_empty(), "a coupling of columns {kept:?} and {moved:?}");
        let hidden = layout.scope("hidden", |l| Dense::new(l, kept.len(), width, Activation::Tanh, init));
        let affine = layout.scope("affine", |l| Dense::zeros(l, width, 2 * moved.len(), Activation::Identity));
        let layers: Vec<Arc<dyn AnyLayer>> = vec![Arc::new(hidden), Arc::new(affine)];
        Coupling { kept, moved, net: Chain::new(layers) }
    }
    /// Memory for a block of `rows` rows.
    fn cache<F: Real>(&self, rows: usize) -> Cache<F> {
        let (a, b) = (self.kept.len(), self.moved.len());
        let wide = |cols| Buffer::new(rows, cols);
        Cache {
            buffers: vec![wide(a), wide(b), wide(2 * b), wide(2 * b), wide(a), Buffer::new(1, b)],
            children: vec![Layer::<F>::cache(&self.net, rows)],
        }
    }
    /// x_a to [v | t].
    fn affine<F: Real>(&self, isa: Isa, p: &Params<F>, x: Mat<F>, cache: &mut Cache<F>) {
        let rows = x.rows();
        let [kept, _, joint, ..] = &mut cache.buffers[..] else { unreachable!("six buffers") };
        let mut a = kept.rows_mut(rows);
        (0..rows).for_each(|r| a.row(r).copy_from_slice(&x.row(r)[self.kept.clone()]));
        self.net.forward(isa, p, kept.rows(rows), joint, &mut cache.children[0]);
        let (mut joint, bound) = (joint.rows_mut(rows), F::from_f64(BOUND));
        for r in 0..rows {
            let v = &mut joint.row(r)[..self.moved.len()];
            activation::forward(isa, Activation::Tanh, v);
            v.iter_mut().for_each(|v| *v = bound * *v);
        }
    }
    /// `y = f(x)` in the place of the first `rows` rows of `x`, (n, L); adds log |dy/dx| to `log_det`, (n), in nats.
    fn forward<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        rows: usize,
        x: &mut Buffer<F>,
        log_det: &mut [F],
        cache: &mut Cache<F>,
    ) {
        self.affine(isa, p, x.rows(rows), cache);
        let [_, moved, joint, ..] = &mut cache.buffers[..] else { unreachable!("six buffers") };
        let (mut before, joint, mut x) = (moved.rows_mut(rows), joint.rows(rows), x.rows_mut(rows));
        for (r, log_det) in log_det[..rows].iter_mut().enumerate() {
            let (v, t) = joint.row(r).split_at(self.moved.len());
            let (before, x) = (before.row(r), &mut x.row(r)[self.moved.clone()]);
            before.copy_from_slice(x);
            reparameterize(isa, t, v, before, x);
            *log_det += F::from_f64(0.5 * v.iter().map(|v| v.to_f64()).sum::<f64>());
        }
    }
    /// `x` of `y = f(x)`, in the place of the first `rows` rows of `y`, (n, L).
    fn inverse<F: Real>(&self, isa: Isa, p: &Params<F>, rows: usize, y: &mut Buffer<F>, cache: &mut Cache<F>) {
        self.affine(isa, p, y.rows(rows), cache);
        let [_, moved, joint, _, _, zeros] = &mut cache.buffers[..] else { unreachable!("six buffers") };
        let (mut off, mut joint, mut y) = (moved.rows_mut(rows), joint.rows_mut(rows), y.rows_mut(rows));
        for r in 0..rows {
            let (v, t) = joint.row(r).split_at_mut(self.moved.len());
            let (off, y) = (off.row(r), &mut y.row(r)[self.moved.clone()]);
            v.iter_mut().for_each(|v| *v = -*v);
            off.iter_mut().zip(&*y).zip(t).for_each(|((off, &y), &mut t)| *off = y - t);
            reparameterize(isa, zeros.rows(1).row(0), v, off, y);
        }
    }
    /// The rows half of the way back from [`forward`](Self::forward): the derivative by y, in `d`, becomes that by x.
    /// `weights`, (n), are those of log |dy/dx|.
    fn backward_rows<F: Real>(&self, isa: Isa, p: &Params<F>, weights: &[F], d: &mut Buffer<F>, cache: &mut Cache<F>) {
        let rows = weights.len();
        let [kept, moved, joint, d_joint, d_kept, zeros] = &mut cache.buffers[..] else { unreachable!("six buffers") };
        let (half, most, quarter) = (F::from_f64(0.5), F::from_f64(BOUND), F::from_f64(1.0 / BOUND));
        let (mut d_affine, mut dx) = (d_joint.rows_mut(rows), d.rows_mut(rows));
        for (r, &weight) in weights.iter().enumerate() {
            let (v, _) = joint.rows(rows).row(r).split_at(self.moved.len());
            let (dv, dt) = d_affine.row(r).split_at_mut(self.moved.len());
            let dx = &mut dx.row(r)[self.moved.clone()];
            dv.fill(half * weight);
            dt.fill(F::ZERO);
            reparameterize_grad(isa, v, moved.rows(rows).row(r), dx, dt, dv);
            reparameterize(isa, zeros.rows(1).row(0), v, dt, dx);
            dv.iter_mut().zip(v).for_each(|(dv, &v)| *dv = *dv * (most - quarter * v * v));
        }
        let x = kept.rows(rows);
        self.net.backward_rows(isa, p, x, joint, d_joint, Some(&mut *d_kept), &mut cache.children[0]);
        let mut dx = d.rows_mut(rows);
        for r in 0..rows {
            let each = dx.row(r)[self.kept.clone()].iter_mut().zip(d_kept.rows(rows).row(r));
            each.for_each(|(dx, &d)| *dx += d);
        }
    }
    /// The weights half: as of a [`Layer`].
    fn gradient<'a, F: Real>(&self, slot: Slot, rows: usize, cache: &'a Cache<F>) -> Option<Gradient<'a, F>> {
        let (x, dy) = (cache.buffers[KEPT].rows(rows), cache.buffers[D_JOINT].rows(rows));
        self.net.gradient(slot, x, dy, &cache.children[0])
    }
}

/// Couplings one after the other, which keep the first half of the columns and the second in turn.
///
/// ```
/// use elbo::flow::CouplingFlow;
/// use elbo::layer::InitScheme;
/// use elbo::tensor::{Buffer, Isa, Layout, Noise, Params};
/// let mut layout = Layout::new();
/// let flow = CouplingFlow::new(&mut layout, 3, 2, 8, InitScheme::Torch);
/// let params = Params::<f64>::init(&layout, &Noise::new(1));
/// let (mut x, mut log_det, mut cache) = (Buffer::new(1, 3), [1.0], flow.cache(1));
/// x.rows_mut(1).row(0).copy_from_slice(&[0.5, -1.0, 2.0]);
/// flow.forward(Isa::default(), &params, 1, &mut x, &mut log_det, &mut cache);
/// assert_eq!((x.rows(1).row(0), log_det), (&[0.5, -1.0, 2.0][..], [0.0]), "it starts as the identity");
/// ```
#[derive(Clone, Debug)]
pub struct CouplingFlow {
    couplings: Vec<Coupling>,
}

impl CouplingFlow {
    /// `count` couplings of `cols` columns, whose nets have `width` hidden units; adds the parameters of each to the
    /// layout, under its number. Panics when there are fewer than two columns, which cannot be split, or no couplings.
    pub fn new(layout: &mut Layout, cols: usize, count: usize, width: usize, init: InitScheme) -> Self {
        assert!(cols >= 2 && count > 0, "{count} couplings of {cols} columns");
        let middle = cols.div_ceil(2);
        let coupling = |i: usize| {
            let (first, second) = (0..middle, middle..cols);
            let (kept, moved) = if i.is_multiple_of(2) { (first, second) } else { (second, first) };
            layout.scope(i, |l| Coupling::new(l, kept, moved, width, init))
        };
        CouplingFlow { couplings: (0..count).map(coupling).collect() }
    }
    /// Memory for a block of `rows` rows. The passes allocate nothing.
    pub fn cache<F: Real>(&self, rows: usize) -> Cache<F> {
        Cache { buffers: vec![], children: self.couplings.iter().map(|c| c.cache(rows)).collect() }
    }
    /// `y = f(x)` in the place of the first `rows` rows of `x`, (n, L), and log |dy/dx| of each into `log_det`, (n), in
    /// nats.
    pub fn forward<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        rows: usize,
        x: &mut Buffer<F>,
        log_det: &mut [F],
        cache: &mut Cache<F>,
    ) {
        log_det[..rows].fill(F::ZERO);
        for (coupling, cache) in self.couplings.iter().zip(&mut cache.children) {
            coupling.forward(isa, p, rows, x, log_det, cache);
        }
    }
    /// `x` of `y = f(x)`, in the place of the first `rows` rows of `y`, (n, L).
    pub fn inverse<F: Real>(&self, isa: Isa, p: &Params<F>, rows: usize, y: &mut Buffer<F>, cache: &mut Cache<F>) {
        for (coupling, cache) in self.couplings.iter().zip(&mut cache.children).rev() {
            coupling.inverse(isa, p, rows, y, cache);
        }
    }
    /// The rows half of the way back from [`forward`](Self::forward): of Σ dy·y + Σ w log |dy/dx|, the derivative by y,
    /// in `d` (n, L), becomes that by x, where `weights` (n) are the w. What [`gradient`](Self::gradient) needs is kept.
    pub fn backward_rows<F: Real>(
        &self,
        isa: Isa,
        p: &Params<F>,
        weights: &[F],
        d: &mut Buffer<F>,
        cache: &mut Cache<F>,
    ) {
        for (coupling, cache) in self.couplings.iter().zip(&mut cache.children).rev() {
            coupling.backward_rows(isa, p, weights, d, cache);
        }
    }
    /// The weights half: what the gradient of a parameter is made from in a block of `rows` rows, if it is one of the
    /// flow's.
    pub fn gradient<'a, F: Real>(&self, slot: Slot, rows: usize, cache: &'a Cache<F>) -> Option<Gradient<'a, F>> {
        self.couplings.iter().zip(&cache.children).find_map(|(coupling, cache)| coupling.gradient(slot, rows, cache))
    }
}
