//! What several test binaries need.

use elbo_kernels::Element;

/// `n` numbers in [−1, 1), a function of the seed.
pub fn values<E: Element>(n: usize, seed: u64) -> Vec<E> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            E::from_f64((state >> 33) as f64 / (1u64 << 30) as f64 - 1.0)
        })
        .collect()
}

/// The bits of each, for comparisons that tell zeros and NaNs apart.
pub fn bits<E: Element>(x: &[E]) -> Vec<u64> {
    x.iter().map(|x| x.to_bits()).collect()
}
