//! The micro-tile: a few rows by a few vectors of the output, held in registers while `k` runs.

use super::Accum;
use super::gradient::{self, Blocks};
use crate::filled::GROUP;
use crate::half::Pair;
use crate::isa::{Isa, Op, sealed};
use crate::panels::Panels;
use crate::simd::{Element, LANES, Simd, few_registers};
use crate::update::AdamStep;
use core::ops::Range;

/// A left operand by address: element `(i, p)` at `ptr + i * row + p * col`.
#[derive(Clone, Copy)]
pub(super) struct Left<E> {
    pub ptr: *const E,
    pub row: usize,
    pub col: usize,
}

/// A piece of a tile's chains: `k` steps, and the operands' addresses at the tile's first row and column; rows of the
/// right one are `ldb` apart. With a list, the steps are those that it names.
#[derive(Clone, Copy)]
pub(super) struct Piece<'a, E> {
    pub k: usize,
    pub a: Left<E>,
    pub b: *const E,
    pub ldb: usize,
    pub list: Option<&'a [u32]>,
}

impl<E> Piece<'_, E> {
    /// The steps that are taken.
    #[inline(always)]
    fn steps(&self) -> usize {
        self.list.map_or(self.k, <[u32]>::len)
    }
}

/// What one step of `k` does to an accumulator.
pub trait Multiply {
    /// Whether by [`Simd::dot2`].
    const PAIRS: bool;
    /// `acc + x b`
    ///
    /// # Safety
    /// Of pairs: as for [`Simd::dot2`].
    unsafe fn add<S: Simd>(s: S, x: S::V, b: S::V, acc: S::V) -> S::V;
}

/// Operands of the accumulators' own type: one fused multiply-add.
#[derive(Debug)]
pub struct Singles;

impl Multiply for Singles {
    const PAIRS: bool = false;
    #[inline(always)]
    unsafe fn add<S: Simd>(s: S, x: S::V, b: S::V, acc: S::V) -> S::V {
        s.fma(x, b, acc)
    }
}

/// Operands that are pairs of bf16 in the place of one `f32`: two products.
#[derive(Debug)]
pub struct Pairs;

impl Multiply for Pairs {
    const PAIRS: bool = true;
    #[inline(always)]
    unsafe fn add<S: Simd>(s: S, x: S::V, b: S::V, acc: S::V) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { s.dot2(x, b, acc) }
    }
}

/// What an operand of a product is made of: an [`Element`], or [`Pair`](crate::half::Pair)s of bf16 that are multiplied
/// into `f32`. An operand has the size of its accumulator.
pub trait Operand<E>: Copy + Send + Sync + sealed::Sealed + 'static {
    /// How two of them are multiplied.
    type Multiply: Multiply;
    /// Whether it is an element, which matrixmultiply can multiply as well.
    const PLAIN: bool;
    /// Runs a product of such operands, compiled for the instruction set.
    fn run<O: Op<E>>(isa: Isa, op: O) -> O::Out
    where
        E: Element;
    /// [`gradient_tile`](super::gradient_tile) of such operands.
    fn gradient_tile(
        isa: Isa,
        blocks: &Blocks<Self>,
        w: &Panels,
        j: usize,
        rows: Range<usize>,
        accum: Accum,
        out: &mut [E],
    );
    /// [`adam_tile`](super::adam_tile) of such operands.
    fn adam_tile(
        isa: Isa,
        step: &AdamStep,
        blocks: &Blocks<Self>,
        w: &Panels,
        j: usize,
        rows: Range<usize>,
        state: [&mut [E]; 3],
    );
}

/// Compiled here, once for each kind of operand, and not again in every crate that calls them.
macro_rules! operand {
    ($operand:ty, $element:ty, $multiply:ty, $plain:literal, $run:ident) => {
        impl Operand<$element> for $operand {
            type Multiply = $multiply;
            const PLAIN: bool = $plain;
            fn run<O: Op<$element>>(isa: Isa, op: O) -> O::Out {
                isa.$run(op)
            }
            fn gradient_tile(
                isa: Isa,
                blocks: &Blocks<Self>,
                w: &Panels,
                j: usize,
                rows: Range<usize>,
                accum: Accum,
                out: &mut [$element],
            ) {
                gradient::store(isa, blocks, w, j, rows, accum, out);
            }
            fn adam_tile(
                isa: Isa,
                step: &AdamStep,
                blocks: &Blocks<Self>,
                w: &Panels,
                j: usize,
                rows: Range<usize>,
                state: [&mut [$element]; 3],
            ) {
                gradient::update(isa, step, blocks, w, j, rows, state);
            }
        }
    };
}

operand!(f32, f32, Singles, true, run_fused);
operand!(f64, f64, Singles, true, run_fused);
operand!(Pair, f32, Pairs, false, run_half);

/// What to compute in tiles, and where the results go. `i` and `col` are a tile's first row and column.
///
/// # Safety
/// `piece` must give addresses good for a tile of any size that fits the matrix: `MR` rows and `k` columns of the left
/// operand, `k` rows of `NV` vectors of the right one; and lists of numbers below `k`.
pub(super) unsafe trait Job<'a, S: Simd> {
    /// How operands are multiplied.
    type Multiply: Multiply;
    /// The pieces of every chain, in order: a rows product has one, a gradient one for each block of rows.
    fn pieces(&self) -> usize;
    /// Piece `p` of a tile. Its list is good for [`GROUP`] rows from a multiple of it on.
    fn piece(&self, p: usize, i: usize, col: usize) -> Piece<'a, S::E>;
    /// Whether pieces may have lists.
    fn listed(&self) -> bool;
    /// A tile with so many steps is about to be computed.
    #[inline(always)]
    fn begin(&mut self, _steps: usize) {}
    /// What a tile's chains start from.
    fn start<const MR: usize, const NV: usize>(&self, s: S, i: usize, col: usize) -> [[S::V; NV]; MR];
    /// Takes a finished tile.
    fn finish<const MR: usize, const NV: usize>(&mut self, s: S, i: usize, col: usize, acc: [[S::V; NV]; MR]);
    /// Steps of `k` until [`beside`](Self::beside) should be called again.
    #[inline(always)]
    fn pace(&self) -> usize {
        usize::MAX
    }
    /// A little other work, for units of the processor that the product leaves idle.
    #[inline(always)]
    fn beside(&mut self, _: S) {}
}

/// Whether products are loops over lanes: then tiles are of one row, for anything larger is only long.
const fn slow<S: Simd, M: Multiply>() -> bool {
    M::PAIRS && !S::HALF
}

/// Steps that are taken at once where registers are few. Tiles are short there and take more instructions a product, so that
/// each one that only moves a pointer counts.
const UNROLL: usize = 4;

/// One step of `k`: `acc += a b`, the element of row `i` at `a(i)`, a row of vectors at `b`.
///
/// # Safety
/// `a` must be readable for every row, `b` for `NV` vectors; of pairs, as for [`Simd::dot2`].
#[inline(always)]
unsafe fn step<S: Simd, M: Multiply, const MR: usize, const NV: usize>(
    s: S,
    acc: &mut [[S::V; NV]; MR],
    a: impl Fn(usize) -> *const S::E,
    b: *const S::E,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut bv = [s.splat(S::E::ZERO); NV];
        for v in 0..NV {
            bv[v] = s.load_ptr(b.add(v * LANES));
        }
        for i in 0..MR {
            let x = s.splat(*a(i));
            for v in 0..NV {
                acc[i][v] = M::add(s, x, bv[v], acc[i][v]);
            }
        }
    }
}

/// `acc += A B` over `k`, for a tile of `MR` rows and `NV` vectors of columns; rows of `B` are `ldb` apart.
///
/// # Safety
/// `a` must be readable at rows below `MR` and columns below `k`, `b` at `k` rows of `NV` vectors; of pairs, as for
/// [`Simd::dot2`].
#[inline(always)]
unsafe fn accumulate<S: Simd, M: Multiply, const MR: usize, const NV: usize>(
    s: S,
    mut acc: [[S::V; NV]; MR],
    mut k: usize,
    mut a: Left<S::E>,
    mut b: *const S::E,
    ldb: usize,
) -> [[S::V; NV]; MR] {
    // A loop for each order of the left operand, so that one of its strides is a constant in every address.
    macro_rules! unrolled {
        ($row:expr, $col:expr) => {{
            let (row, col) = ($row, $col);
            // An address is a base and a register times one or two: of six rows, the last three have a base of their own.
            let mut low = a.ptr.wrapping_add(3 * row);
            while k >= UNROLL {
                for u in 0..UNROLL {
                    let at = |i| if i < 3 { a.ptr.wrapping_add(i * row) } else { low.wrapping_add((i - 3) * row) };
                    // SAFETY: the caller's promise, one `k` at a time.
                    unsafe {
                        step::<S, M, MR, NV>(s, &mut acc, |i| at(i).wrapping_add(u * col), b.wrapping_add(u * ldb));
                    }
                }
                a.ptr = a.ptr.wrapping_add(UNROLL * col);
                low = low.wrapping_add(UNROLL * col);
                b = b.wrapping_add(UNROLL * ldb);
                k -= UNROLL;
            }
        }};
    }
    if const { few_registers::<S>() && !slow::<S, M>() } {
        if a.row == 1 {
            unrolled!(1, a.col);
        } else if a.col == 1 {
            unrolled!(a.row, 1);
        }
    }
    for _ in 0..k {
        // SAFETY: the caller's promise, one `k` at a time. The wrapping steps past the last are never read.
        unsafe { step::<S, M, MR, NV>(s, &mut acc, |i| a.ptr.wrapping_add(i * a.row), b) };
        a.ptr = a.ptr.wrapping_add(a.col);
        b = b.wrapping_add(ldb);
    }
    acc
}

/// [`accumulate`] over the steps of a list.
///
/// # Safety
/// As for [`accumulate`], and the numbers must be below its `k`.
#[inline(always)]
unsafe fn accumulate_listed<S: Simd, M: Multiply, const MR: usize, const NV: usize>(
    s: S,
    mut acc: [[S::V; NV]; MR],
    list: &[u32],
    a: Left<S::E>,
    b: *const S::E,
    ldb: usize,
) -> [[S::V; NV]; MR] {
    for &k in list {
        let at = a.ptr.wrapping_add(k as usize * a.col);
        // SAFETY: the caller's promise, one `k` at a time.
        unsafe { step::<S, M, MR, NV>(s, &mut acc, |i| at.wrapping_add(i * a.row), b.wrapping_add(k as usize * ldb)) };
    }
    acc
}

/// One tile, from its operands to where its job puts it.
#[inline(always)]
fn tile<'a, S: Simd, J: Job<'a, S>, const MR: usize, const NV: usize>(s: S, job: &mut J, i: usize, col: usize) {
    let pieces = job.pieces();
    job.begin((0..pieces).map(|p| job.piece(p, i, col).steps()).sum());
    let mut acc = job.start::<MR, NV>(s, i, col);
    for p in 0..pieces {
        let piece = job.piece(p, i, col);
        let Piece { mut a, mut b, ldb, list, .. } = piece;
        let (mut done, steps) = (0, piece.steps());
        loop {
            let run = (steps - done).min(job.pace());
            match list {
                // Tall tiles take no lists, so none is compiled for them.
                Some(list) if const { MR <= GROUP } => {
                    let list = &list[done..done + run];
                    // SAFETY: a job promises that its operands are good for its tiles, and its lists for its operands.
                    acc = unsafe { accumulate_listed::<S, J::Multiply, MR, NV>(s, acc, list, a, b, ldb) };
                }
                _ => {
                    // SAFETY: a job promises that its operands are good for its tiles; this is the part from here on.
                    acc = unsafe { accumulate::<S, J::Multiply, MR, NV>(s, acc, run, a, b, ldb) };
                    a.ptr = a.ptr.wrapping_add(run * a.col);
                    b = b.wrapping_add(run * ldb);
                }
            }
            done += run;
            if done == steps {
                break;
            }
            job.beside(s);
        }
    }
    job.finish(s, i, col, acc);
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
const fn tallest<S: Simd, M: Multiply>(nv: usize) -> usize {
    match (S::AVAILABLE, S::REGISTERS, nv) {
        _ if slow::<S, M>() => 1,
        (32.., 1, 4) => 6,
        (32.., 1, 3) => 8,
        (32.., 1, _) => 12,
        (32.., _, _) => 6,
        (_, 2, _) => 6,
        (_, 4, _) => 2,
        _ => 4,
    }
}

/// Vectors of the largest tile of any instruction set.
pub(super) const MOST_VECTORS: usize = 24;

/// `m` rows of `NV` vectors of columns, in tiles from the top down.
#[inline(always)]
fn strip<'a, S: Simd, J: Job<'a, S>, const NV: usize>(s: S, m: usize, col: usize, job: &mut J) {
    let mut i = 0;
    let most = if job.listed() { GROUP } else { usize::MAX };
    macro_rules! tiles {
        ($($mr:literal)+) => {$(
            if const { $mr <= tallest::<S, J::Multiply>(NV) } {
                while m - i >= $mr && $mr <= most {
                    tile::<S, J, $mr, NV>(s, job, i, col);
                    i += $mr;
                }
            }
        )+};
    }
    tiles!(12 8 6 4 2 1);
}

/// All `m` rows and `width` columns, in strips as wide as the registers allow.
#[inline(always)]
pub(super) fn run<'a, S: Simd, J: Job<'a, S>>(s: S, m: usize, width: usize, job: &mut J) {
    let mut col = 0;
    while col < width {
        let nv = ((width - col) / LANES).min(widest::<S>());
        // Widths that the registers rule out are not even compiled.
        if const { widest::<S>() >= 4 } && nv == 4 {
            strip::<S, J, 4>(s, m, col, job);
        } else if const { widest::<S>() >= 3 } && nv == 3 {
            strip::<S, J, 3>(s, m, col, job);
        } else if const { widest::<S>() >= 2 } && nv == 2 {
            strip::<S, J, 2>(s, m, col, job);
        } else {
            strip::<S, J, 1>(s, m, col, job);
        }
        col += nv * LANES;
    }
}
