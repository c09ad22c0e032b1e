//! A sweep of inference over rows, in blocks on every thread that the work is worth.

use super::{Block, threads_used};
use crate::tensor::{Exec, Par, Real};
use elbo_kernels::par::for_each_mut;
use std::sync::atomic::{AtomicBool, Ordering};

/// A sweep over rows: how many, how they fall into blocks, what each costs in multiplications and additions, and what
/// ends it early.
#[derive(Clone, Copy)]
pub(super) struct Rows<'s> {
    pub count: usize,
    /// The most rows of a block, and what their number is a multiple of.
    pub block: usize,
    pub unit: usize,
    pub flops: f64,
    pub stop: Option<&'s AtomicBool>,
}

/// What one thread of a sweep works in: memory for a block of rows.
pub(super) trait Work: Send {
    /// Tells it the rows of its next block.
    fn set_rows(&mut self, rows: usize);
}

impl<F: Real> Work for Block<F> {
    fn set_rows(&mut self, rows: usize) {
        self.rows = rows;
    }
}

/// Calls `pass` for each block of each chunk of rows, on every thread that the work is worth, then `done` for each in
/// order. Little work never enters the pool, which takes longer than a row.
pub(super) fn sweep<B: Work>(
    ex: &Exec,
    blocks: &mut [B],
    rows: Rows<'_>,
    pass: impl Fn(usize, &mut B) + Sync,
    done: impl FnMut(usize, &B) + Send,
) {
    let most = rows.count.div_ceil(rows.unit).min(blocks.len());
    match threads_used(rows.flops * rows.count as f64, ex.threads(), most) {
        1 => chunks(Par::Sequential, &mut blocks[..1], rows, pass, done),
        n => ex.install(|| chunks(ex.par(), &mut blocks[..n], rows, &pass, done)),
    }
}

/// A sweep's chunks: as many rows as the blocks hold, or an equal share of the last ones in each.
fn chunks<B: Work>(
    par: Par,
    blocks: &mut [B],
    rows: Rows<'_>,
    pass: impl Fn(usize, &mut B) + Sync,
    mut done: impl FnMut(usize, &B),
) {
    for start in (0..rows.count).step_by(blocks.len() * rows.block) {
        if rows.stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            return;
        }
        let left = rows.count - start;
        let share = left.div_ceil(blocks.len()).next_multiple_of(rows.unit).min(rows.block);
        let first = |i: usize| start + i * share;
        for (i, b) in blocks.iter_mut().enumerate() {
            b.set_rows(rows.count.saturating_sub(first(i)).min(share));
        }
        let used = left.div_ceil(share).min(blocks.len());
        for_each_mut(par, &mut blocks[..used], |i, b| pass(first(i), b));
        for (i, b) in blocks[..used].iter().enumerate() {
            done(first(i), b);
        }
    }
}
