//! Where two threads stand: on cores that share a cache, or apart.
//!
//! A virtual machine's cores sometimes share a core complex and sometimes do not, and may be moved at any time; work of
//! two threads runs up to half as fast again where they do. A cache line sent to and fro tells which it is.

use super::Exec;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Round trips of less than this many nanoseconds are those of cores that share a cache: 60 to 120 are usual there, and
/// 340 and more between core complexes.
const SHARED_NS: f64 = 200.0;
/// Trips between two looks at the clock.
const TRIPS: u64 = 16;

/// How two cores stood to each other while something was measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cores {
    /// They shared a cache, before and after.
    Shared,
    /// They did not.
    Apart,
    /// They were moved in between: what was measured is a mixture.
    Changed,
}

impl Cores {
    /// From the round trips before and after, in nanoseconds.
    pub fn from_round_trips([before, after]: [f64; 2]) -> Self {
        match (before < SHARED_NS, after < SHARED_NS) {
            (true, true) => Cores::Shared,
            (false, false) => Cores::Apart,
            _ => Cores::Changed,
        }
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cores::Shared => "shared",
            Cores::Apart => "apart",
            Cores::Changed => "changed",
        })
    }
}

/// A counter with a cache line, and the one fetched along with it, to itself.
#[derive(Default)]
#[repr(align(128))]
struct Ball(AtomicU64);

/// What ends the game. Odd, as what the other side waits for, and never reached by counting.
const OVER: u64 = u64::MAX;

/// The median time, in nanoseconds, in which a number goes from one thread to another and back through memory that they
/// share, with nothing else to do: two threads wherever the system puts them, for as long as `budget`. `None` where there are no two
/// threads, or no two cores.
pub fn core_round_trip(ex: &Exec, budget: Duration) -> Option<f64> {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    if ex.workers() < 2 || cores < 2 {
        return None;
    }
    let ball = Ball::default();
    std::thread::scope(|scope| {
        let echo = || {
            // Answers each odd number with the next even one.
            loop {
                match ball.0.load(Ordering::Acquire) {
                    OVER => break,
                    n if n % 2 == 1 => ball.0.store(n + 1, Ordering::Release),
                    _ => {}
                }
            }
        };
        // Without a second thread there is nothing to measure.
        std::thread::Builder::new().spawn_scoped(scope, echo).ok()?;
        let median = play(&ball, budget);
        ball.0.store(OVER, Ordering::Release);
        Some(median)
    })
}

fn play(ball: &Ball, budget: Duration) -> f64 {
    let (start, mut served, mut rounds) = (Instant::now(), 0, Vec::new());
    while rounds.is_empty() || start.elapsed() < budget {
        let round = Instant::now();
        for _ in 0..TRIPS {
            ball.0.store(served + 1, Ordering::Release);
            served += 2;
            while ball.0.load(Ordering::Acquire) != served {}
        }
        rounds.push(round.elapsed().as_nanos() as f64 / TRIPS as f64);
    }
    rounds.sort_unstable_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Isa;

    #[test]
    fn a_state_needs_both_sides() {
        for (trips, state) in [
            ([80.0, 110.0], Cores::Shared),
            ([350.0, 420.0], Cores::Apart),
            ([80.0, 350.0], Cores::Changed),
            ([350.0, 80.0], Cores::Changed),
        ] {
            assert_eq!(Cores::from_round_trips(trips), state);
        }
        assert_eq!(Cores::Shared.to_string(), "shared");
    }

    #[test]
    fn a_round_trip_takes_two() {
        let budget = Duration::from_millis(5);
        assert_eq!(core_round_trip(&Exec::with_isa(Isa::default(), 1).unwrap(), budget), None);
        if std::thread::available_parallelism().is_ok_and(|n| n.get() > 1) {
            // Faster than light crosses a processor and back; slower than the scheduler takes turns.
            let ns = core_round_trip(&Exec::with_isa(Isa::default(), 2).unwrap(), budget).unwrap();
            assert!((1.0..1e9).contains(&ns), "{ns}");
        }
    }
}
