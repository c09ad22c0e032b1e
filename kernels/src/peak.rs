//! The arithmetic that one thread can do at most: fused multiply-adds on registers, with no memory in the way.

use crate::isa::{Isa, Op};
use crate::once::once;
use crate::simd::{Element, LANES, Simd};
use core::hint::black_box;
use core::marker::PhantomData;

/// Registers that accumulate side by side. Two units with a latency of four or five cycles need ten; twelve and the two
/// operands fit into sixteen.
const REGISTERS: usize = 12;

struct Peak<E> {
    rounds: usize,
    element: PhantomData<E>,
}

impl<E: Element> Op<E> for Peak<E> {
    type Out = f64;
    #[inline(always)]
    fn run<S: Simd<E = E>>(self, s: S) -> f64 {
        let chains = (REGISTERS / S::REGISTERS).max(1);
        // x ← x / 2 + 1 / 2 stays at 1: no overflow, and no denormals, which some processors handle slowly.
        let (a, b) = (s.constant(black_box(0.5)), s.constant(black_box(0.5)));
        let mut x = [s.constant(black_box(1.0)); REGISTERS];
        for _ in 0..self.rounds {
            for x in &mut x[..chains] {
                *x = s.fma(*x, a, b);
            }
        }
        for x in x {
            black_box(s.sum(x));
        }
        (2 * LANES * chains) as f64 * self.rounds as f64
    }
}

once! {
    /// Runs `rounds` rounds of independent fused multiply-adds on this thread and returns how many multiplications and
    /// additions they were. Time it, on every thread at once, to know the peak of a processor.
    ///
    /// ```
    /// use elbo_kernels::{Isa, peak::fma_flops};
    /// let start = std::time::Instant::now();
    /// let flops = fma_flops::<f32>(Isa::default(), 10_000);
    /// println!("{:.1} GFLOP/s", flops / start.elapsed().as_secs_f64() / 1e9);
    /// ```
    pub fn fma_flops<E>(isa: Isa, rounds: usize) -> f64 {
        isa.run(Peak { rounds, element: PhantomData::<E> })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_work_that_it_does() {
        for &isa in Isa::available() {
            let once = fma_flops::<f32>(isa, 1);
            assert!(once >= (2 * LANES) as f64 && once % (2 * LANES) as f64 == 0.0, "{}: {once}", isa.name());
            assert_eq!(fma_flops::<f32>(isa, 1000), 1000.0 * once, "{}", isa.name());
        }
    }
}
