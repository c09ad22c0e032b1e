//! Rows times packed weights.

use super::Accum;
use super::product::{PanelProduct, Target};
use super::tile::Left;
use crate::activation::{Activation, forward_rows};
use crate::half::{Pair, pair_columns};
use crate::isa::Isa;
use crate::mat::{Mat, MatMut};
use crate::once::once;
use crate::panels::Panels;
use crate::row::row_product;
use crate::simd::Element;

once! {
    /// `Y = f(X W + b)`: rows times packed weights. `x` is (B, in), `y` (B, out), `packed` the weights in the order of `w`
    /// (in, out), `bias` of `out` elements. Sequential: the caller splits rows.
    ///
    /// The bias is added to sums that are still in registers, the activation `f` applied to a panel that is still in the
    /// first-level cache.
    ///
    /// Panics when shapes do not agree.
    pub fn rows_product<E>(
        isa: Isa,
        x: Mat<'_, E>,
        w: &Panels,
        packed: &[E],
        bias: Option<&[E]>,
        act: Activation,
        accum: Accum,
        y: MatMut<'_, E>,
    ) {
        product(isa, x, w, packed, bias, act, accum, y);
    }
}

#[allow(clippy::too_many_arguments, reason = "one for each quantity of the formula")]
fn product<E: Element>(
    isa: Isa,
    x: Mat<E>,
    w: &Panels,
    packed: &[E],
    bias: Option<&[E]>,
    act: Activation,
    accum: Accum,
    mut y: MatMut<E>,
) {
    let (m, k, n) = (x.rows(), x.cols(), y.cols());
    assert!(
        y.rows() == m && w.rows() == k && w.cols() == n && packed.len() == w.len() && bias.is_none_or(|b| b.len() >= n),
        "rows product: x {m}×{k}, w {}×{} in {} elements, bias {:?}, y {}×{n}",
        w.rows(),
        w.cols(),
        packed.len(),
        bias.map(<[E]>::len),
        y.rows()
    );
    if m == 0 {
        return;
    }
    if m == 1 && !isa.is_foreign() {
        row_product(isa, x.row(0), w, packed, bias, accum, y.row(0));
        return activate(isa, act, y);
    }
    let a = Left { ptr: x.data().as_ptr(), row: x.stride(), col: 1 };
    let stride = y.stride();
    let out = y.data().as_mut_ptr();
    for j in 0..w.count() {
        let p = w.panel(j);
        let c = Target { ptr: out.wrapping_add(p.col), stride, cols: n - p.col };
        let b = packed[p.offset..].as_ptr();
        let bias = bias.map(|b| b[p.col..].as_ptr());
        // SAFETY: the shapes were asserted, and Mat and MatMut hold what they claim.
        unsafe { PanelProduct { isa, m, k, a, filled: x.filled(), b, width: p.width, first: accum, c, bias }.run() };
        activate(isa, act, y.reborrow().columns(p.col, p.width.min(n - p.col)));
    }
}

/// The epilogue of a panel.
fn activate<E: Element>(isa: Isa, act: Activation, y: MatMut<E>) {
    if act != Activation::Identity {
        forward_rows(isa, act, y);
    }
}

/// Rows and columns of `X` that are rounded to bf16 at once: what fits a second-level cache beside the weights.
const HALF_ROWS: usize = 64;
const HALF_COLS: usize = 2048;
/// Pairs from one rounded row to the next; odd in cache lines, so that a column's lines fall into different sets.
const HALF_STRIDE: usize = HALF_COLS / 2 + 16;

/// [`rows_product`] with both operands rounded to bf16, products summed in `f32`: `x` is rounded here, `packed` holds the
/// weights as [`pair_rows`](crate::half::pair_rows) of each panel, in the order of `w.pairs()`.
///
/// Panics when shapes do not agree.
pub fn rows_product_half(
    isa: Isa,
    x: Mat<f32>,
    w: &Panels,
    packed: &[Pair],
    bias: Option<&[f32]>,
    act: Activation,
    mut y: MatMut<f32>,
) {
    let (rows, cols, n, pairs) = (x.rows(), x.cols(), y.cols(), w.pairs());
    assert!(
        y.rows() == rows
            && w.rows() == cols
            && w.cols() == n
            && packed.len() == pairs.len()
            && bias.is_none_or(|b| b.len() >= n),
        "rows product: x {rows}×{cols}, w {}×{} in {} pairs, bias {:?}, y {}×{n}",
        w.rows(),
        w.cols(),
        packed.len(),
        bias.map(<[f32]>::len),
        y.rows()
    );
    let mut rounded = [const { core::mem::MaybeUninit::uninit() }; HALF_ROWS * HALF_STRIDE];
    let out_stride = y.stride();
    for top in (0..rows).step_by(HALF_ROWS) {
        let m = HALF_ROWS.min(rows - top);
        let mut from = 0;
        // At least once, so that an empty sum still writes its zero and its bias.
        loop {
            let k = HALF_COLS.min(cols - from);
            let stride = if k == HALF_COLS { HALF_STRIDE } else { Pair::stride(k) };
            let rounded = pair_columns(isa, x.block(top, m, from, k), stride, &mut rounded);
            let last = from + k == cols;
            for j in 0..pairs.count() {
                let p = pairs.panel(j);
                let out = y.data().as_mut_ptr().wrapping_add(top * out_stride + p.col);
                let product = PanelProduct {
                    isa,
                    m,
                    k: k.div_ceil(2),
                    a: Left { ptr: rounded.as_ptr().cast(), row: stride, col: 1 },
                    filled: None,
                    b: packed[p.offset + from / 2 * p.width..].as_ptr().cast(),
                    width: p.width,
                    first: if from == 0 { Accum::Replace } else { Accum::Add },
                    c: Target { ptr: out, stride: out_stride, cols: n - p.col },
                    bias: bias.filter(|_| last).map(|b| b[p.col..].as_ptr()),
                };
                // SAFETY: the shapes were asserted, MatMut holds what it claims, and `rounded` has m rows.
                unsafe { product.run_pairs() };
                if last {
                    activate(isa, act, y.reborrow().block(top, m, p.col, p.width.min(n - p.col)));
                }
            }
            from += k;
            if last {
                break;
            }
        }
    }
}
