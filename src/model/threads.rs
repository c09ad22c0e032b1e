//! How many threads a piece of work is worth.

/// What it costs to share work among threads, for each time that their number doubles, in the multiplications and
/// additions that one thread does meanwhile: some 15 to 30 µs, to wake the others, to wait for the last of them, and to
/// fetch what they wrote into their caches. Measured on steps of `tabular`, where two threads break even with one at
/// batches of 32 to 64, twice this; a 784-400-20 network is past it at two rows.
const FORK_FLOPS: f64 = 1.5e6;

/// The threads that do `flops` multiplications and additions soonest, of `asked` ones on a machine with `available`: one,
/// where the work does not repay waking the others; else all that were asked for and can run at once, since more would
/// only take turns. Results never depend on it.
///
/// The model: t threads take `flops / t + FORK · log₂ t`.
///
/// ```
/// use elbo::model::threads_used;
/// assert_eq!(threads_used(1e9, 8, 2), 2);
/// assert_eq!(threads_used(1e9, 1, 2), 1);
/// assert_eq!(threads_used(1e5, 8, 2), 1);
/// ```
pub fn threads_used(flops: f64, asked: usize, available: usize) -> usize {
    let all = asked.min(available).max(1);
    let cost = |threads: f64| flops / threads + FORK_FLOPS * threads.log2();
    if cost(all as f64) < cost(1.0) { all } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_asked_or_available() {
        for flops in [0.0, 1e3, 1e6, 1e9, 1e15] {
            for asked in 0..20 {
                for available in 1..20 {
                    let used = threads_used(flops, asked, available);
                    assert!(used >= 1 && (used == 1 || used == asked.min(available)), "{flops} {asked} {available}");
                }
            }
        }
    }

    #[test]
    fn small_work_stays_on_one_thread_and_large_work_does_not() {
        for threads in [2, 3, 8, 64] {
            // One row of a network of three units and a step of mlp-400 at batch 128.
            assert_eq!(threads_used(100.0, threads, 64), 1);
            assert_eq!(threads_used(4.2e8, threads, 64), threads);
            // More work never gets fewer threads.
            let used: Vec<usize> = (0..60).map(|i| threads_used(1e3 * 1.5f64.powi(i), threads, 64)).collect();
            assert!(used.is_sorted(), "{used:?}");
        }
    }

    #[test]
    fn the_more_threads_the_more_work_it_takes_to_wake_them() {
        let least = |threads| (0..).map(|i| 1e5 * f64::from(i)).find(|&w| threads_used(w, threads, threads) > 1);
        assert!(least(2) < least(8) && least(8) < least(64));
    }
}
