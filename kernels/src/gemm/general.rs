//! The general product, in four transpositions.

use super::Accum;
use super::product::{PanelProduct, Target};
use super::tile::Left;
use crate::isa::Isa;
use crate::mat::{Mat, MatMut};
use crate::once::once;
use crate::panels::Panels;
use crate::par::{Par, for_each};
use crate::simd::Element;

/// Whether an operand of [`gemm`] is taken as it is or transposed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transpose {
    /// As it is.
    No,
    /// Transposed.
    Yes,
}

/// Elements of packing memory that [`gemm`] needs for an inner size `k` and `n` output columns.
pub fn gemm_scratch(k: usize, n: usize) -> usize {
    Panels::new(k, n).len()
}

once! {
    /// `C = op(A) op(B)` or `C += op(A) op(B)`. `scratch` holds at least [`gemm_scratch`] elements; nothing is allocated.
    /// With [`Par::Pool`], threads share the packing and split `C`.
    ///
    /// Panics when shapes do not agree.
    pub fn gemm<E>(
        isa: Isa,
        par: Par,
        a: (Transpose, Mat<'_, E>),
        b: (Transpose, Mat<'_, E>),
        accum: Accum,
        c: MatMut<'_, E>,
        scratch: &mut [E],
    ) {
        product(isa, par, a, b, accum, c, scratch);
    }
}

fn product<E: Element>(
    isa: Isa,
    par: Par,
    (ta, a): (Transpose, Mat<E>),
    (tb, b): (Transpose, Mat<E>),
    accum: Accum,
    mut c: MatMut<E>,
    scratch: &mut [E],
) {
    let shape = |t, m: &Mat<E>| if t == Transpose::No { (m.rows(), m.cols()) } else { (m.cols(), m.rows()) };
    let ((m, k), (kb, n)) = (shape(ta, &a), shape(tb, &b));
    assert!(
        k == kb && c.rows() == m && c.cols() == n && scratch.len() >= gemm_scratch(k, n),
        "gemm: a {m}×{k}, b {kb}×{n}, c {}×{}, scratch {}",
        c.rows(),
        c.cols(),
        scratch.len()
    );
    if m == 0 || n == 0 {
        return;
    }
    let layout = Panels::new(k, n);
    let b_strides = if tb == Transpose::No { [b.stride(), 1] } else { [1, b.stride()] };
    let panels = || 0..layout.count();
    let packed = Shared(scratch.as_mut_ptr());
    for_each(par, panels().len(), |j| {
        let p = layout.panel(j);
        let at = packed.get().wrapping_add(p.offset);
        // SAFETY: panels lie apart in the scratch, whose length was asserted.
        layout.pack_panel(j, b.data(), b_strides, unsafe { core::slice::from_raw_parts_mut(at, k * p.width) });
    });
    let (row, col) = if ta == Transpose::No { (a.stride(), 1) } else { (1, a.stride()) };
    let stride = c.stride();
    let (left, out) = (Shared(a.data().as_ptr().cast_mut()), Shared(c.data().as_mut_ptr()));
    // A few times more pieces than threads even out their pace; whole multiples of the tallest tile waste none.
    let pieces = match par.threads() {
        1 => 1,
        t => (4 * t).div_ceil(layout.count()).min(m.div_ceil(24)),
    };
    let height = m.div_ceil(pieces).next_multiple_of(24).min(m);
    let pieces = m.div_ceil(height);
    for_each(par, pieces * layout.count(), |task| {
        let (j, top) = (task / pieces, task % pieces * height);
        let p = layout.panel(j);
        let a = Left { ptr: left.get().cast_const().wrapping_add(top * row), row, col };
        let c = Target { ptr: out.get().wrapping_add(top * stride + p.col), stride, cols: n - p.col };
        let b = packed.get().cast_const().wrapping_add(p.offset);
        let m = height.min(m - top);
        // SAFETY: shapes were asserted; tasks write rectangles of C that do not meet.
        unsafe { PanelProduct { isa, m, k, a, filled: None, b, width: p.width, first: accum, c, bias: None }.run() };
    });
}

/// A pointer that several threads use at places that do not meet.
struct Shared<E>(*mut E);

impl<E> Shared<E> {
    // A method, so that closures capture the wrapper and not the bare pointer.
    fn get(&self) -> *mut E {
        self.0
    }
}

// SAFETY: each use says why its places do not meet.
unsafe impl<E: Send> Sync for Shared<E> {}
