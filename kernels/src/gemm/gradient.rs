//! A tile of a weight's gradient, to memory or straight into the optimizer's update.

use super::Accum;
use super::tile::{Job, Left, MOST_VECTORS, Operand, Piece, run};
use crate::filled::{Filled, GROUP};
use crate::isa::{Isa, Op};
use crate::mat::Mat;
use crate::panels::{MAX_VECTORS, Panel, Panels};
use crate::prefetch::will_write;
use crate::simd::{Element, LANES, Simd, few_registers};
use crate::update::{AdamStep, AdamVectors, adam, adam_vector};
use core::ops::Range;

/// The operands of a gradient: `X_s` (rows, in) and `dY_s` (rows, out) for each block of rows `s`.
pub type Blocks<'a, X> = [(Mat<'a, X>, Mat<'a, X>)];

/// Which part of the gradient: columns from `col` on, rows from `row` on.
#[derive(Debug)]
struct Part<'a, X> {
    blocks: &'a Blocks<'a, X>,
    row: usize,
    col: usize,
}

impl<X> Clone for Part<'_, X> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<X> Copy for Part<'_, X> {}

impl<'a, X> Part<'a, X> {
    #[inline(always)]
    fn piece<E>(self, s: usize, i: usize, col: usize) -> Piece<'a, E>
    where
        X: Operand<E>,
    {
        let (x, dy) = &self.blocks[s];
        let (row, col) = (self.row + i, self.col + col);
        let a = Left { ptr: x.data().as_ptr().wrapping_add(row).cast(), row: 1, col: x.stride() };
        // Lists are of whole groups.
        let list = x.filled().filter(|_| self.row.is_multiple_of(GROUP)).and_then(|filled| filled.rows(row / GROUP));
        Piece { k: x.rows(), a, b: dy.data().as_ptr().wrapping_add(col).cast(), ldb: dy.stride(), list }
    }
    fn listed(self) -> bool {
        self.row.is_multiple_of(GROUP) && self.blocks.iter().any(|(x, _)| x.filled().is_some_and(Filled::lists_rows))
    }
}

/// Asserts that every block has the weight's shape, and reaches as far as vectors read.
fn check<X>(blocks: &Blocks<X>, w: &Panels, p: &Panel, rows: &Range<usize>, out: usize) {
    let m = rows.len();
    assert!(rows.end <= w.rows() && m.checked_mul(p.width) == Some(out), "rows {rows:?} of {}, out {out}", w.rows());
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
}

/// A tile to memory.
struct Store<'a, E, X> {
    part: Part<'a, X>,
    m: usize,
    width: usize,
    first: Accum,
    out: *mut E,
}

// SAFETY: `gradient_tile` checked every block's shape and the output's length.
unsafe impl<'a, S: Simd, X: Operand<S::E>> Job<'a, S> for Store<'a, S::E, X> {
    type Multiply = X::Multiply;
    #[inline(always)]
    fn pieces(&self) -> usize {
        self.part.blocks.len()
    }
    #[inline(always)]
    fn piece(&self, p: usize, i: usize, col: usize) -> Piece<'a, S::E> {
        self.part.piece(p, i, col)
    }
    #[inline(always)]
    fn listed(&self) -> bool {
        self.part.listed()
    }
    #[inline(always)]
    fn start<const MR: usize, const NV: usize>(&self, s: S, i: usize, col: usize) -> [[S::V; NV]; MR] {
        let mut acc = [[s.splat(S::E::ZERO); NV]; MR];
        if self.first == Accum::Add {
            for r in 0..MR {
                for v in 0..NV {
                    // SAFETY: the output holds m rows of `width`.
                    acc[r][v] = unsafe { s.load_ptr(self.out.add((i + r) * self.width + col + v * LANES)) };
                }
            }
        }
        acc
    }
    #[inline(always)]
    fn finish<const MR: usize, const NV: usize>(&mut self, s: S, i: usize, col: usize, acc: [[S::V; NV]; MR]) {
        for r in 0..MR {
            for v in 0..NV {
                // SAFETY: the output holds m rows of `width`.
                unsafe { s.store_ptr(acc[r][v], self.out.add((i + r) * self.width + col + v * LANES)) };
            }
        }
    }
}

impl<E: Element, X: Operand<E>> Op<E> for Store<'_, E, X> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<E = E>>(mut self, s: S) {
        let all = self.part.blocks;
        let mut from = 0;
        loop {
            let to = if const { few_registers::<S>() } { near(all, from) } else { all.len() };
            self.part.blocks = &all[from..to];
            run(s, self.m, self.width, &mut self);
            if to == all.len() {
                return;
            }
            (from, self.first) = (to, Accum::Add);
        }
    }
}

/// Rows that are summed before the next ones where registers are few: micro-tiles are small there, and read their operands so
/// often that these should stay in the first-level cache.
const NEAR: usize = 128;

/// Where the blocks from `from` on have [`NEAR`] rows; one block may have more.
fn near<X: Copy>(blocks: &Blocks<X>, from: usize) -> usize {
    let (mut to, mut rows) = (from, 0);
    while to < blocks.len() && (to == from || rows + blocks[to].0.rows() <= NEAR) {
        rows += blocks[to].0.rows();
        to += 1;
    }
    to
}

/// Some `rows` of panel `j` of a weight's gradient, `dW = Σ_s X_sᵀ dY_s` over blocks of rows `s` in order, to a
/// contiguous `out` of `rows.len() × width` elements as [`Panels`] stores them. `w` is the weight's layout (in, out), a
/// block its `X_s` (rows, in) and `dY_s` (rows, out). The slice below `dY_s` must reach to the next multiple of sixteen
/// columns in its last row; columns of padding get what is found there makes of them: zero if it is zero.
///
/// Panics when shapes do not agree.
pub fn gradient_tile<E: Element, X: Operand<E>>(
    isa: Isa,
    blocks: &Blocks<X>,
    w: &Panels,
    j: usize,
    rows: Range<usize>,
    accum: Accum,
    out: &mut [E],
) {
    X::gradient_tile(isa, blocks, w, j, rows, accum, out);
}

pub(super) fn store<E: Element, X: Operand<E>>(
    isa: Isa,
    blocks: &Blocks<X>,
    w: &Panels,
    j: usize,
    rows: Range<usize>,
    accum: Accum,
    out: &mut [E],
) {
    let (p, m) = (w.panel(j), rows.len());
    check(blocks, w, &p, &rows, out.len());
    let part = Part { blocks, row: rows.start, col: p.col };
    if !(isa.is_foreign() && X::PLAIN) {
        X::run(isa, Store { part, m, width: p.width, first: accum, out: out.as_mut_ptr() });
        return;
    }
    if accum == Accum::Replace {
        out.fill(E::ZERO);
    }
    for s in 0..blocks.len() {
        let Piece { k, a, b, ldb, .. } = part.piece(s, 0, 0);
        let (xs, ys, c) = ([1, a.col as isize], [ldb as isize, 1], [p.width as isize, 1]);
        // SAFETY: the shapes and lengths were checked.
        unsafe { E::foreign_gemm(m, k, p.width, a.ptr, xs, b, ys, true, out.as_mut_ptr(), c) };
    }
}

/// A tile whose elements each become a step of Adam. A finished micro-tile waits in a buffer while the next one is
/// summed, and every few steps of `k` one of its vectors is taken: roots and divisions then cost next to nothing.
struct Update<'a, S: Simd, X> {
    part: Part<'a, X>,
    m: usize,
    width: usize,
    step: AdamVectors<S>,
    /// Parameters and both moments.
    state: [*mut S::E; 3],
    gradient: [S::E; MOST_VECTORS * LANES],
    waiting: Waiting,
}

/// What of the last micro-tile is still to be updated.
#[derive(Clone, Copy, Default)]
struct Waiting {
    /// The next vector in the buffer, and their number.
    next: usize,
    count: usize,
    /// Its place in the tile, its number in its row, and vectors of a row.
    at: usize,
    v: usize,
    nv: usize,
    /// Steps of `k` from one vector to the next.
    pace: usize,
}

/// How far ahead the state is fetched, which comes from a distant cache: about a micro-tile.
const AHEAD: usize = MOST_VECTORS * LANES;

impl<S: Simd, X> Update<'_, S, X> {
    /// Updates one vector of the micro-tile that waits.
    #[inline(always)]
    fn one(&mut self, s: S) {
        let Waiting { next, at, v, nv, .. } = self.waiting;
        let [p, m, v2] = self.state.map(|x| x.wrapping_add(at));
        // SAFETY: `finish` put `count` vectors into the buffer, whose places lie in the tile, as `adam_tile` checked.
        unsafe {
            let g = s.load_ptr(self.gradient.as_ptr().add(next * LANES));
            let (p1, m1, v1) = adam_vector(s, s.load_ptr(p), s.load_ptr(m), s.load_ptr(v2), g, &self.step);
            s.store_ptr(p1, p);
            s.store_ptr(m1, m);
            s.store_ptr(v1, v2);
        }
        for x in [p, m, v2] {
            will_write(x.wrapping_add(AHEAD));
        }
        let last = v + 1 == nv;
        self.waiting.next = next + 1;
        self.waiting.v = if last { 0 } else { v + 1 };
        self.waiting.at = if last { at + self.width - (nv - 1) * LANES } else { at + LANES };
    }
    #[inline(always)]
    fn rest(&mut self, s: S) {
        while self.waiting.next < self.waiting.count {
            self.one(s);
        }
    }
}

// SAFETY: `adam_tile` checked every block's shape and the state's lengths.
unsafe impl<'a, S: Simd, X: Operand<S::E>> Job<'a, S> for Update<'a, S, X> {
    type Multiply = X::Multiply;
    #[inline(always)]
    fn pieces(&self) -> usize {
        self.part.blocks.len()
    }
    #[inline(always)]
    fn piece(&self, p: usize, i: usize, col: usize) -> Piece<'a, S::E> {
        self.part.piece(p, i, col)
    }
    #[inline(always)]
    fn listed(&self) -> bool {
        self.part.listed()
    }
    #[inline(always)]
    fn start<const MR: usize, const NV: usize>(&self, s: S, _: usize, _: usize) -> [[S::V; NV]; MR] {
        [[s.splat(S::E::ZERO); NV]; MR]
    }
    #[inline(always)]
    fn finish<const MR: usize, const NV: usize>(&mut self, s: S, i: usize, col: usize, acc: [[S::V; NV]; MR]) {
        self.rest(s);
        for r in 0..MR {
            for v in 0..NV {
                s.store(acc[r][v], &mut self.gradient[(r * NV + v) * LANES..]);
            }
        }
        let (count, at) = (MR * NV, i * self.width + col);
        self.waiting = Waiting { next: 0, count, at, v: 0, nv: NV, pace: 0 };
    }
    #[inline(always)]
    fn begin(&mut self, steps: usize) {
        self.waiting.pace = (steps / self.waiting.count.max(1)).max(1);
    }
    #[inline(always)]
    fn pace(&self) -> usize {
        if self.waiting.next < self.waiting.count { self.waiting.pace } else { usize::MAX }
    }
    #[inline(always)]
    fn beside(&mut self, s: S) {
        self.one(s);
    }
}

/// The arguments of [`adam_tile`], before there is an instruction set.
struct AdamTile<'a, E, X> {
    part: Part<'a, X>,
    m: usize,
    width: usize,
    step: &'a AdamStep,
    state: [*mut E; 3],
}

impl<E: Element, X: Operand<E>> Op<E> for AdamTile<'_, E, X> {
    /// Whether it was done: where registers are few, the update would drive a product's sums out of them.
    type Out = bool;
    #[inline(always)]
    fn run<S: Simd<E = E>>(self, s: S) -> bool {
        if const { few_registers::<S>() } {
            return false;
        }
        let AdamTile { part, m, width, step, state } = self;
        let gradient = [E::ZERO; MOST_VECTORS * LANES];
        let step = step.vectors(s);
        let mut update = Update { part, m, width, step, state, gradient, waiting: Waiting::default() };
        run(s, update.m, width, &mut update);
        update.rest(s);
        true
    }
}

/// One step of Adam on some `rows` of panel `j` of a weight, by the gradient that [`gradient_tile`] would give, which
/// never goes to memory. `state` is the tile of the parameter and of its moments `m` and `v`. The same bits as
/// `gradient_tile` and then [`adam`](crate::update::adam).
///
/// Panics when shapes do not agree.
pub fn adam_tile<E: Element, X: Operand<E>>(
    isa: Isa,
    step: &AdamStep,
    blocks: &Blocks<X>,
    w: &Panels,
    j: usize,
    rows: Range<usize>,
    state: [&mut [E]; 3],
) {
    X::adam_tile(isa, step, blocks, w, j, rows, state);
}

pub(super) fn update<E: Element, X: Operand<E>>(
    isa: Isa,
    step: &AdamStep,
    blocks: &Blocks<X>,
    w: &Panels,
    j: usize,
    rows: Range<usize>,
    mut state: [&mut [E]; 3],
) {
    let (p, m) = (w.panel(j), rows.len());
    for part in &state {
        check(blocks, w, &p, &rows, part.len());
    }
    if !(isa.is_foreign() && X::PLAIN) {
        let part = Part { blocks, row: rows.start, col: p.col };
        let state = state.each_mut().map(|x| x.as_mut_ptr());
        if X::run(isa, AdamTile { part, m, width: p.width, step, state }) {
            return;
        }
    }
    adam_rows(isa, step, blocks, w, j, rows, state);
}

/// Rows whose gradient is in memory at once, which the first-level cache holds, and their elements at most.
const ROWS: usize = 64;
const ROWS_LEN: usize = ROWS * MAX_VECTORS * LANES;

/// [`adam_tile`] by way of memory, a few rows at a time: for matrixmultiply, and where registers are few.
fn adam_rows<E: Element, X: Operand<E>>(
    isa: Isa,
    step: &AdamStep,
    blocks: &Blocks<X>,
    w: &Panels,
    j: usize,
    rows: Range<usize>,
    state: [&mut [E]; 3],
) {
    let mut gradient = [E::ZERO; ROWS_LEN];
    let len = ROWS * w.panel(j).width;
    let [p, m, v] = state.map(|x| x.chunks_mut(len));
    for (from, ((p, m), v)) in rows.clone().step_by(ROWS).zip(p.zip(m).zip(v)) {
        let g = &mut gradient[..p.len()];
        store(isa, blocks, w, j, from..(from + ROWS).min(rows.end), Accum::Replace, g);
        adam(isa, step, p, m, v, g);
    }
}
