//! How to run: alone, or on the rayon pool that the caller is in. Threads split outputs, never sums.

use core::marker::PhantomData;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Whether a call may use the other threads of the current rayon pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Par {
    /// On this thread alone.
    Sequential,
    /// On every thread of the pool that the caller is in.
    Pool,
}

impl Par {
    /// Threads that a call may use.
    pub fn threads(self) -> usize {
        match self {
            Par::Sequential => 1,
            Par::Pool => rayon::current_num_threads(),
        }
    }
}

/// Threads that tasks are shared among at most.
const MOST_SHARES: usize = 64;

/// A thread's share of the tasks: the next one to be taken, and the end. It has a cache line to itself.
#[repr(align(128))]
struct Share {
    next: AtomicUsize,
    end: usize,
}

/// Runs `f` for every index below `n`, each with the state of the thread that runs it, which `init` makes.
///
/// Each thread has a share of neighbouring indices, the same in every call, so that what it works on may stay in its
/// cache; a thread that is done takes from the shares of others.
pub fn for_each_with<T>(par: Par, n: usize, init: impl Fn() -> T + Sync, f: impl Fn(&mut T, usize) + Sync) {
    let count = par.threads().min(n).min(MOST_SHARES);
    if count <= 1 {
        let mut state = init();
        (0..n).for_each(|i| f(&mut state, i));
        return;
    }
    let shares: [Share; MOST_SHARES] = core::array::from_fn(|i| {
        let cut = |i: usize| n * i.min(count) / count;
        Share { next: AtomicUsize::new(cut(i)), end: cut(i + 1) }
    });
    let shares = &shares[..count];
    let work = |own: usize| {
        let mut state = init();
        for share in shares[own..].iter().chain(&shares[..own]) {
            // The counter only hands out numbers: what the tasks write is ordered by the joins.
            let take = || share.next.fetch_add(1, Ordering::Relaxed);
            core::iter::from_fn(|| Some(take()).filter(|&i| i < share.end)).for_each(|i| f(&mut state, i));
        }
    };
    fn spread(from: usize, to: usize, work: &(impl Fn(usize) + Sync)) {
        match to - from {
            1 => work(from),
            len => {
                let middle = from + len / 2;
                rayon::join(|| spread(from, middle, work), || spread(middle, to, work));
            }
        }
    }
    spread(0, count, &work);
}

/// Runs `f` for every index below `n`.
pub fn for_each(par: Par, n: usize, f: impl Fn(usize) + Sync) {
    for_each_with(par, n, || (), |(), i| f(i));
}

/// Runs `f` for every item, each of which it may change.
pub fn for_each_mut<T: Send>(par: Par, items: &mut [T], f: impl Fn(usize, &mut T) + Sync) {
    fn halve<T: Send>(first: usize, items: &mut [T], f: &(impl Fn(usize, &mut T) + Sync)) {
        match items {
            [] => {}
            [item] => f(first, item),
            _ => {
                let middle = items.len() / 2;
                let (left, right) = items.split_at_mut(middle);
                rayon::join(|| halve(first, left, f), || halve(first + middle, right, f));
            }
        }
    }
    match par {
        Par::Sequential => items.iter_mut().enumerate().for_each(|(i, item)| f(i, item)),
        Par::Pool => halve(0, items, &f),
    }
}

/// Ranges of a slice that do not meet, one for each task: what makes it safe to hand each to another thread.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cut {
    ranges: Box<[Range<usize>]>,
    end: usize,
}

impl Cut {
    /// The ranges, in the order of the tasks; empty ones are allowed. Panics when two of them meet.
    pub fn new(ranges: impl IntoIterator<Item = Range<usize>>) -> Self {
        // An empty range may name any place, of which not even an address may be taken.
        let place = |r: Range<usize>| if r.is_empty() { 0..0 } else { r };
        let ranges: Box<[Range<usize>]> = ranges.into_iter().map(place).collect();
        let mut sorted: Vec<_> = ranges.iter().filter(|r| !r.is_empty()).cloned().collect();
        sorted.sort_unstable_by_key(|r| r.start);
        for pair in sorted.windows(2) {
            assert!(pair[0].end <= pair[1].start, "ranges {:?} and {:?} meet", pair[0], pair[1]);
        }
        let end = sorted.last().map_or(0, |r| r.end);
        Cut { ranges, end }
    }
    /// Tasks.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }
    /// Where the last range ends: the length of the slices that can be cut so.
    pub fn end(&self) -> usize {
        self.end
    }
    /// Whether there are no tasks.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

/// What [`for_each_piece`] cuts: a slice, or several things that are cut together.
///
/// # Safety
/// Pieces of different tasks must not overlap.
pub unsafe trait Pieces: Sync {
    /// What a task gets.
    type Piece;
    /// Tasks.
    fn tasks(&self) -> usize;
    /// The piece of a task.
    ///
    /// # Safety
    /// `task` is below `tasks`, and is asked for once.
    unsafe fn piece(&self, task: usize) -> Self::Piece;
}

/// A slice that is cut.
#[derive(Debug)]
pub struct Pieced<'a, E> {
    slice: *mut E,
    cut: &'a Cut,
    lent: PhantomData<&'a mut [E]>,
}

impl<'a, E> Pieced<'a, E> {
    /// A slice in pieces. Panics when it is shorter than the cut's end.
    pub fn new(slice: &'a mut [E], cut: &'a Cut) -> Self {
        assert!(cut.end <= slice.len(), "a slice of {} is cut at {}", slice.len(), cut.end);
        Pieced { slice: slice.as_mut_ptr(), cut, lent: PhantomData }
    }
}

// SAFETY: it is a mutable slice, of which threads see parts that do not meet.
unsafe impl<E: Send> Sync for Pieced<'_, E> {}

// SAFETY: a cut's ranges do not meet.
unsafe impl<'a, E: Send> Pieces for Pieced<'a, E> {
    type Piece = &'a mut [E];
    fn tasks(&self) -> usize {
        self.cut.len()
    }
    unsafe fn piece(&self, task: usize) -> &'a mut [E] {
        let range = &self.cut.ranges[task];
        // SAFETY: the range lies in the slice, which `new` checked, and nobody else has this part of it.
        unsafe { core::slice::from_raw_parts_mut(self.slice.add(range.start), range.len()) }
    }
}

// SAFETY: the parts' pieces do not overlap.
unsafe impl<A: Pieces, B: Pieces> Pieces for (A, B) {
    type Piece = (A::Piece, B::Piece);
    fn tasks(&self) -> usize {
        self.0.tasks().min(self.1.tasks())
    }
    unsafe fn piece(&self, task: usize) -> Self::Piece {
        // SAFETY: the caller's promise.
        unsafe { (self.0.piece(task), self.1.piece(task)) }
    }
}

// SAFETY: the parts' pieces do not overlap.
unsafe impl<A: Pieces, const N: usize> Pieces for [A; N] {
    type Piece = [A::Piece; N];
    fn tasks(&self) -> usize {
        self.iter().map(A::tasks).min().unwrap_or(usize::MAX)
    }
    unsafe fn piece(&self, task: usize) -> Self::Piece {
        // SAFETY: the caller's promise.
        core::array::from_fn(|i| unsafe { self[i].piece(task) })
    }
}

/// Runs `f` for every task below `tasks` with its own piece of `pieces`, and with the state of the thread that runs it,
/// which `init` makes. Panics when there are fewer pieces.
pub fn for_each_piece<P: Pieces, T>(
    par: Par,
    tasks: usize,
    pieces: P,
    init: impl Fn() -> T + Sync,
    f: impl Fn(&mut T, usize, P::Piece) + Sync,
) {
    assert!(tasks <= pieces.tasks(), "{tasks} tasks for {} pieces", pieces.tasks());
    // SAFETY: each task is run once, and nobody else has `pieces`.
    for_each_with(par, tasks, init, |state, task| f(state, task, unsafe { pieces.piece(task) }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_gets_its_piece() {
        let cut = Cut::new([4..6, 0..1, 3..3, 1..4]);
        let (mut a, mut b) = ([0; 7], [0; 6]);
        let pieces = ([Pieced::new(&mut a, &cut)], Pieced::new(&mut b, &cut));
        for_each_piece(
            Par::Pool,
            4,
            pieces,
            || (),
            |(), task, ([a], b)| {
                a.fill(task + 1);
                b.fill(10 * task);
            },
        );
        assert_eq!((a, b), ([2, 4, 4, 4, 1, 1, 0], [10, 30, 30, 30, 0, 0]));
    }

    #[test]
    fn every_index_is_run_once_however_many_threads() {
        for threads in [1, 2, 3, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for n in [0, 1, 2, 3, 7, 1000] {
                let runs: Vec<AtomicUsize> = (0..n).map(|_| AtomicUsize::new(0)).collect();
                let states = AtomicUsize::new(0);
                let init = || states.fetch_add(1, Ordering::Relaxed);
                pool.install(|| {
                    for_each_with(Par::Pool, n, init, |_, i| {
                        runs[i].fetch_add(1, Ordering::Relaxed);
                    });
                });
                assert!(runs.iter().all(|r| r.load(Ordering::Relaxed) == 1), "{n} on {threads}");
                assert!(states.into_inner() <= threads, "a state for each thread");
            }
        }
    }

    #[test]
    #[should_panic(expected = "ranges 0..3 and 2..4 meet")]
    fn ranges_that_meet_are_refused() {
        let _ = Cut::new([2..4, 0..3]);
    }

    #[test]
    #[should_panic(expected = "a slice of 3 is cut at 4")]
    fn a_cut_beyond_the_slice_is_refused() {
        let cut = Cut::new([2..4, 0..1]);
        let _ = Pieced::new(&mut [0; 3], &cut);
    }
}
