//! How to run: alone, or on the rayon pool that the caller is in. Threads split outputs, never sums.

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

/// Runs `f` for every index below `n`.
pub fn for_each(par: Par, n: usize, f: impl Fn(usize) + Sync) {
    fn halve(from: usize, to: usize, f: &(impl Fn(usize) + Sync)) {
        if to - from <= 1 {
            (from..to).for_each(f);
        } else {
            let middle = from + (to - from) / 2;
            rayon::join(|| halve(from, middle, f), || halve(middle, to, f));
        }
    }
    match par {
        Par::Sequential => (0..n).for_each(f),
        Par::Pool => halve(0, n, &f),
    }
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

/// Gives each task its own piece of a slice: task `t` the next `len(t)` elements. Tasks are in the order of their
/// pieces. Panics when the pieces do not fill the slice.
pub fn for_each_piece<T: Sync, E: Send>(
    par: Par,
    tasks: &[T],
    slice: &mut [E],
    len: impl Fn(&T) -> usize + Sync,
    f: impl Fn(&T, &mut [E]) + Sync,
) {
    fn halve<T: Sync, E: Send>(
        par: Par,
        tasks: &[T],
        slice: &mut [E],
        len: &(impl Fn(&T) -> usize + Sync),
        f: &(impl Fn(&T, &mut [E]) + Sync),
    ) {
        match tasks {
            [] => assert!(slice.is_empty(), "{} elements belong to no task", slice.len()),
            [task] => {
                assert_eq!(slice.len(), len(task), "a task's piece");
                f(task, slice);
            }
            _ => {
                // Cut where half of the elements are, so that the halves weigh about the same.
                let (half, mut at, mut middle) = (slice.len() / 2, 0, 0);
                while middle + 1 < tasks.len() && (middle == 0 || at + len(&tasks[middle]) <= half) {
                    at += len(&tasks[middle]);
                    middle += 1;
                }
                let (left_tasks, right_tasks) = tasks.split_at(middle);
                let (left, right) = slice.split_at_mut(at);
                match par {
                    Par::Sequential => {
                        halve(par, left_tasks, left, len, f);
                        halve(par, right_tasks, right, len, f);
                    }
                    Par::Pool => {
                        rayon::join(|| halve(par, left_tasks, left, len, f), || halve(par, right_tasks, right, len, f));
                    }
                }
            }
        }
    }
    halve(par, tasks, slice, &len, &f);
}
