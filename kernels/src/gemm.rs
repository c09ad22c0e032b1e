//! Matrix products. One micro-tile, three callers: rows times packed weights, a tile of a weight's gradient, and the
//! general product in four transpositions.
//!
//! Each output element is one chain of fused multiply-adds in the order of `k`, starting at `+0.0` or, with
//! [`Accum::Add`], at what is there; a bias is added last. Blocks, tiles and threads only decide when a part of a
//! chain is computed, never its order, so none of them changes a bit.

use crate::isa::{Isa, Op};
use crate::mat::{Mat, MatMut};
use crate::panels::{MAX_VECTORS, Panels};
use crate::par::{Par, for_each};
use crate::simd::{Element, LANES, Simd};

/// Whether a product replaces what is in its output or continues from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accum {
    /// `C = A B`
    Replace,
    /// `C = C + A B`, the chain starting at `C`
    Add,
}

/// Rows of `B` that are used before the next ones: a panel of 64 columns of `f32` then stays in a second-level cache.
const KC: usize = 2048;

/// A left operand by address: element `(i, p)` at `ptr + i * row + p * col`.
#[derive(Clone, Copy)]
struct Left<E> {
    ptr: *const E,
    row: usize,
    col: usize,
}

/// `acc += A B` over `k`, for a tile of `MR` rows and `NV` vectors of columns; rows of `B` are `ldb` apart.
///
/// # Safety
/// `a` must be readable at rows below `MR` and columns below `k`, `b` at `k` rows of `NV` vectors.
#[inline(always)]
unsafe fn accumulate<S: Simd, const MR: usize, const NV: usize>(
    s: S,
    mut acc: [[S::V; NV]; MR],
    k: usize,
    a: Left<S::E>,
    b: *const S::E,
    ldb: usize,
) -> [[S::V; NV]; MR] {
    let (mut a_at, mut b_at) = (a.ptr, b);
    for _ in 0..k {
        // SAFETY: the caller's promise, one `k` at a time. The wrapping steps past the last are never read.
        unsafe {
            let mut bv = [s.splat(S::E::ZERO); NV];
            for v in 0..NV {
                bv[v] = s.load_ptr(b_at.add(v * LANES));
            }
            for i in 0..MR {
                let x = s.splat(*a_at.add(i * a.row));
                for v in 0..NV {
                    acc[i][v] = s.fma(x, bv[v], acc[i][v]);
                }
            }
        }
        a_at = a_at.wrapping_add(a.col);
        b_at = b_at.wrapping_add(ldb);
    }
    acc
}

/// Where a tile of the output lies: `cols` real columns (the rest of the vectors is padding that must not be written).
#[derive(Clone, Copy)]
struct Target<E> {
    ptr: *mut E,
    stride: usize,
    cols: usize,
}

/// What a tile is computed from: pieces of `k` in order. A rows product has one, a gradient one for each block of rows.
trait Pieces<E>: Copy {
    /// The pieces' number.
    fn count(self) -> usize;
    /// Piece `p`: its length in `k`, and its operands' addresses at the tile's first row and column.
    fn get(self, p: usize) -> (usize, Left<E>, *const E, usize);
}

#[derive(Clone, Copy)]
struct Whole<E> {
    k: usize,
    a: Left<E>,
    b: *const E,
    ldb: usize,
}

impl<E: Element> Pieces<E> for Whole<E> {
    #[inline(always)]
    fn count(self) -> usize {
        1
    }
    #[inline(always)]
    fn get(self, _: usize) -> (usize, Left<E>, *const E, usize) {
        (self.k, self.a, self.b, self.ldb)
    }
}

/// One tile from its operands to its place. A tile with padding goes through a buffer of whole vectors, so that the
/// accumulators are only ever moved as a whole and stay in registers.
///
/// # Safety
/// As for [`accumulate`] on every piece; `c` must be readable and writable for `MR` rows of `c.cols` columns, `bias`,
/// if any, readable for `c.cols`.
#[inline(always)]
unsafe fn tile<S: Simd, P: Pieces<S::E>, const MR: usize, const NV: usize>(
    s: S,
    pieces: P,
    first: Accum,
    c: Target<S::E>,
    bias: Option<*const S::E>,
) {
    const WIDEST: usize = MAX_VECTORS * LANES;
    let zero = s.splat(S::E::ZERO);
    // Set only where they are used, which is seldom.
    let mut edge = core::mem::MaybeUninit::<[[S::E; WIDEST]; MR]>::uninit();
    let mut edge_bias = core::mem::MaybeUninit::<[S::E; WIDEST]>::uninit();
    let whole = c.cols >= NV * LANES;
    let (out, bias) = if whole {
        (c, bias)
    } else {
        (Target { ptr: edge.as_mut_ptr().cast(), stride: WIDEST, cols: WIDEST }, {
            // SAFETY: `c.cols` is below a tile's width here, and the caller lends so many columns.
            bias.map(|b| unsafe {
                let edge_bias = edge_bias.write([S::E::ZERO; WIDEST]);
                core::ptr::copy_nonoverlapping(b, edge_bias.as_mut_ptr(), c.cols);
                edge_bias.as_ptr()
            })
        })
    };
    // SAFETY: the caller's promise; the buffer has MR rows of the widest tile.
    unsafe {
        if !whole && first == Accum::Add {
            out.ptr.cast::<[[S::E; WIDEST]; MR]>().write([[S::E::ZERO; WIDEST]; MR]);
            for i in 0..MR {
                core::ptr::copy_nonoverlapping(c.ptr.add(i * c.stride), out.ptr.add(i * out.stride), c.cols);
            }
        }
        let mut acc = [[zero; NV]; MR];
        if first == Accum::Add {
            for i in 0..MR {
                for v in 0..NV {
                    acc[i][v] = s.load_ptr(out.ptr.add(i * out.stride + v * LANES));
                }
            }
        }
        for p in 0..pieces.count() {
            let (k, a, b, ldb) = pieces.get(p);
            acc = accumulate::<S, MR, NV>(s, acc, k, a, b, ldb);
        }
        if let Some(b) = bias {
            for v in 0..NV {
                let b = s.load_ptr(b.add(v * LANES));
                for i in 0..MR {
                    acc[i][v] = s.add(acc[i][v], b);
                }
            }
        }
        for i in 0..MR {
            for v in 0..NV {
                s.store_ptr(acc[i][v], out.ptr.add(i * out.stride + v * LANES));
            }
        }
        if !whole {
            for i in 0..MR {
                core::ptr::copy_nonoverlapping(out.ptr.add(i * out.stride), c.ptr.add(i * c.stride), c.cols);
            }
        }
    }
}

/// Vectors that a tile may be wide, by the registers that a vector takes and that there are.
const fn widest<S: Simd>() -> usize {
    match (S::AVAILABLE, S::REGISTERS) {
        (32.., 1) => 4,
        (32.., _) => 2,
        _ => 1,
    }
}

/// Rows of the tallest tile of `nv` vectors: as many accumulators as leave room for the operands.
const fn tallest<S: Simd>(nv: usize) -> usize {
    match (S::AVAILABLE, S::REGISTERS, nv) {
        (32.., 1, 4) => 6,
        (32.., 1, 3) => 8,
        (32.., 1, _) => 12,
        (32.., _, _) => 6,
        (_, 2, _) => 6,
        (_, 4, _) => 2,
        _ => 4,
    }
}

/// `m` rows of `nv` vectors of columns, in tiles from the top down. `at(i)` gives the pieces of the tile at row `i`.
///
/// # Safety
/// As for [`tile`], for every tile.
#[inline(always)]
unsafe fn strip<S: Simd, P: Pieces<S::E>, const NV: usize>(
    s: S,
    m: usize,
    at: impl Fn(usize) -> P,
    first: Accum,
    c: Target<S::E>,
    bias: Option<*const S::E>,
) {
    let mut i = 0;
    macro_rules! tiles {
        ($($mr:literal)+) => {$(
            if const { $mr <= tallest::<S>(NV) } {
                while m - i >= $mr {
                    let c = Target { ptr: c.ptr.wrapping_add(i * c.stride), ..c };
                    // SAFETY: the caller's promise; rows i .. i + MR are below m.
                    unsafe { tile::<S, P, $mr, NV>(s, at(i), first, c, bias) };
                    i += $mr;
                }
            }
        )+};
    }
    tiles!(12 8 6 4 2 1);
}

/// All columns of one panel (`width` of them, `c.cols` real), in strips as wide as the registers allow.
///
/// # Safety
/// As for [`strip`]; `at(i, col)` gives the pieces at row `i` and column `col` of the panel.
#[inline(always)]
unsafe fn panel<S: Simd, P: Pieces<S::E>>(
    s: S,
    m: usize,
    width: usize,
    at: impl Fn(usize, usize) -> P,
    first: Accum,
    c: Target<S::E>,
    bias: Option<*const S::E>,
) {
    let mut col = 0;
    while col < width {
        let nv = ((width - col) / LANES).min(widest::<S>());
        let c = Target { ptr: c.ptr.wrapping_add(col), cols: c.cols.saturating_sub(col), ..c };
        let bias = bias.map(|b| b.wrapping_add(col));
        let at = |i| at(i, col);
        // SAFETY: the caller's promise, narrowed to these columns.
        unsafe {
            // Widths that the registers rule out are not even compiled.
            if const { widest::<S>() >= 4 } && nv == 4 {
                strip::<S, P, 4>(s, m, at, first, c, bias);
            } else if const { widest::<S>() >= 3 } && nv == 3 {
                strip::<S, P, 3>(s, m, at, first, c, bias);
            } else if const { widest::<S>() >= 2 } && nv == 2 {
                strip::<S, P, 2>(s, m, at, first, c, bias);
            } else {
                strip::<S, P, 1>(s, m, at, first, c, bias);
            }
        }
        col += nv * LANES;
    }
}

/// One panel of `C = A B` with `B` packed: the body shared by [`rows_product`] and [`gemm`].
struct PanelProduct<E> {
    isa: Isa,
    m: usize,
    k: usize,
    a: Left<E>,
    b: *const E,
    width: usize,
    first: Accum,
    c: Target<E>,
    bias: Option<*const E>,
}

impl<E: Element> PanelProduct<E> {
    /// # Safety
    /// `a` must be readable for `m×k`, `b` for `k×width`, `bias` for `c.cols`, and `c` writable for `m×c.cols`
    /// and shared with no one.
    unsafe fn run(self) {
        if !self.isa.is_foreign() {
            return self.isa.run_fused(self);
        }
        // SAFETY: the caller's promise, in matrixmultiply's terms.
        unsafe {
            let (add, n) = (self.first == Accum::Add, self.c.cols.min(self.width));
            let strides = [self.a.row as isize, self.a.col as isize];
            let (b, c) = ([self.width as isize, 1], [self.c.stride as isize, 1]);
            E::foreign_gemm(self.m, self.k, n, self.a.ptr, strides, self.b, b, add, self.c.ptr, c);
            if let Some(bias) = self.bias {
                for i in 0..self.m {
                    for j in 0..n {
                        *self.c.ptr.add(i * self.c.stride + j) += *bias.add(j);
                    }
                }
            }
        }
    }
}

impl<E: Element> Op<E> for PanelProduct<E> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<E = E>>(self, s: S) {
        let (a, b, width) = (self.a, self.b, self.width);
        let mut k = 0;
        // At least once, so that an empty sum still writes its zero and its bias.
        loop {
            let kc = (self.k - k).min(KC);
            let last = k + kc == self.k;
            let at = |i: usize, col: usize| Whole {
                k: kc,
                a: Left { ptr: a.ptr.wrapping_add(i * a.row + k * a.col), ..a },
                b: b.wrapping_add(k * width + col),
                ldb: width,
            };
            let first = if k == 0 { self.first } else { Accum::Add };
            // SAFETY: `PanelProduct::run`'s caller promised the whole; this is the part from k on.
            unsafe { panel(s, self.m, width, at, first, self.c, if last { self.bias } else { None }) };
            k += kc;
            if last {
                break;
            }
        }
    }
}

/// `Y = X W + b`: rows times packed weights. `x` is (B, in), `y` (B, out), `packed` the weights in the order of `w`
/// (in, out), `bias` of `out` elements. Sequential: the caller splits rows.
///
/// Panics when shapes do not agree.
pub fn rows_product<E: Element>(
    isa: Isa,
    x: Mat<E>,
    w: &Panels,
    packed: &[E],
    bias: Option<&[E]>,
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
    let a = Left { ptr: x.data().as_ptr(), row: x.stride(), col: 1 };
    let stride = y.stride();
    let out = y.data().as_mut_ptr();
    for j in 0..w.count() {
        let p = w.panel(j);
        let c = Target { ptr: out.wrapping_add(p.col), stride, cols: n - p.col };
        let b = packed[p.offset..].as_ptr();
        let bias = bias.map(|b| b[p.col..].as_ptr());
        // SAFETY: the shapes were asserted, and Mat and MatMut hold what they claim.
        unsafe { PanelProduct { isa, m, k, a, b, width: p.width, first: accum, c, bias }.run() };
    }
}

struct GradientTile<'a, E> {
    blocks: &'a [(Mat<'a, E>, Mat<'a, E>)],
    row: usize,
    m: usize,
    col: usize,
    width: usize,
    first: Accum,
    out: *mut E,
}

/// One piece of `k` for each block of rows.
#[derive(Clone, Copy)]
struct BlockPieces<'a, E> {
    blocks: &'a [(Mat<'a, E>, Mat<'a, E>)],
    row: usize,
    col: usize,
}

impl<E: Element> Pieces<E> for BlockPieces<'_, E> {
    #[inline(always)]
    fn count(self) -> usize {
        self.blocks.len()
    }
    #[inline(always)]
    fn get(self, s: usize) -> (usize, Left<E>, *const E, usize) {
        let (x, dy) = &self.blocks[s];
        let a = Left { ptr: x.data().as_ptr().wrapping_add(self.row), row: 1, col: x.stride() };
        (x.rows(), a, dy.data().as_ptr().wrapping_add(self.col), dy.stride())
    }
}

impl<E: Element> Op<E> for GradientTile<'_, E> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<E = E>>(self, s: S) {
        let at = |i, col| BlockPieces { blocks: self.blocks, row: self.row + i, col: self.col + col };
        let c = Target { ptr: self.out, stride: self.width, cols: self.width };
        // SAFETY: `gradient_tile` asserted every block's shape and the output's length.
        unsafe { panel(s, self.m, self.width, at, self.first, c, None) }
    }
}

/// Some `rows` of panel `j` of a weight's gradient, `dW = Σ_s X_sᵀ dY_s` over blocks of rows `s` in order, to a
/// contiguous `out` of `rows.len() × width` elements as [`Panels`] stores them. `w` is the weight's layout (in, out), a
/// block its `X_s` (rows, in) and `dY_s` (rows, out). The slice below `dY_s` must reach to the next multiple of sixteen
/// columns in its last row; columns of padding get what is found there makes of them: zero if it is zero.
///
/// Panics when shapes do not agree.
pub fn gradient_tile<E: Element>(
    isa: Isa,
    blocks: &[(Mat<E>, Mat<E>)],
    w: &Panels,
    j: usize,
    rows: core::ops::Range<usize>,
    accum: Accum,
    out: &mut [E],
) {
    let (p, m) = (w.panel(j), rows.len());
    assert!(rows.end <= w.rows() && out.len() == m * p.width, "rows {rows:?} of {}, out {}", w.rows(), out.len());
    for (x, dy) in blocks {
        let reach = if dy.rows() == 0 { 0 } else { (dy.rows() - 1) * dy.stride() + p.col + p.width };
        assert!(
            x.rows() == dy.rows() && x.cols() == w.rows() && dy.cols() == w.cols() && reach <= dy.data().len(),
            "gradient of a weight {}×{}: x {}×{}, dy {}×{}, {} elements for {reach}",
            w.rows(),
            w.cols(),
            x.rows(),
            x.cols(),
            dy.rows(),
            dy.cols(),
            dy.data().len()
        );
    }
    if !isa.is_foreign() {
        let out = out.as_mut_ptr();
        isa.run_fused(GradientTile { blocks, row: rows.start, m, col: p.col, width: p.width, first: accum, out });
        return;
    }
    if accum == Accum::Replace {
        out.fill(E::ZERO);
    }
    for (x, dy) in blocks {
        let (a, b) = (x.data().as_ptr().wrapping_add(rows.start), dy.data().as_ptr().wrapping_add(p.col));
        let (xs, ys, c) = ([1, x.stride() as isize], [dy.stride() as isize, 1], [p.width as isize, 1]);
        // SAFETY: the shapes and lengths were asserted above.
        unsafe { E::foreign_gemm(m, x.rows(), p.width, a, xs, b, ys, true, out.as_mut_ptr(), c) };
    }
}

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

/// `C = op(A) op(B)` or `C += op(A) op(B)`. `scratch` holds at least [`gemm_scratch`] elements; nothing is allocated.
/// With [`Par::Pool`], threads share the packing and split `C`.
///
/// Panics when shapes do not agree.
#[allow(clippy::too_many_arguments, reason = "the BLAS signature")]
pub fn gemm<E: Element>(
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
        unsafe { PanelProduct { isa, m, k, a, b, width: p.width, first: accum, c, bias: None }.run() };
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
