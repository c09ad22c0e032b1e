//! Stores that go around the caches.
//!
//! A line that another core has read must be taken from its cache before it can be written, which takes long where the two
//! share none. A line that is written as a whole and around the caches need not be fetched at all; in turn, whoever
//! reads it next finds it in memory.

use crate::isa::sealed;

/// Numbers without padding between their bytes.
pub trait Plain: Copy + sealed::Sealed {}
impl<T: Copy + sealed::Sealed> Plain for T {}

/// Copies `from` to `to` around the caches, where the processor can and `to` starts at a multiple of sixteen bytes; else like
/// any copy. Other threads see it in order with what follows. Panics when the lengths differ.
pub fn copy<T: Plain>(from: &[T], to: &mut [T]) {
    assert_eq!(from.len(), to.len(), "elements to copy");
    #[cfg(target_arch = "x86_64")]
    if to.as_ptr().addr().is_multiple_of(WORD) && size_of_val(from).is_multiple_of(WORD) {
        use core::arch::x86_64::{_mm_loadu_si128, _mm_sfence, _mm_stream_si128};
        let (src, dst) = (from.as_ptr().cast::<u8>(), to.as_mut_ptr().cast::<u8>());
        for at in (0..size_of_val(from)).step_by(WORD) {
            // SAFETY: both slices hold whole words up to their equal ends, plain bytes all of them, and `to` is aligned.
            unsafe { _mm_stream_si128(dst.add(at).cast(), _mm_loadu_si128(src.add(at).cast())) };
        }
        // SAFETY: a fence, part of every x86-64; streaming stores are ordered with others by it alone.
        unsafe { _mm_sfence() };
        return;
    }
    to.copy_from_slice(from);
}

/// Bytes of one store; four of them in a row fill a line.
#[cfg(target_arch = "x86_64")]
const WORD: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aligned::Aligned;

    #[test]
    fn it_copies_whatever_the_length_and_the_alignment() {
        let from: Vec<f32> = (0..100).map(|i| i as f32).collect();
        for len in [0, 1, 3, 4, 64, 99] {
            for start in [0, 1, 4] {
                let mut to = Aligned::<f32>::zeros(110);
                copy(&from[..len], &mut to[start..start + len]);
                assert_eq!(to[start..start + len], from[..len]);
                assert!(to[..start].iter().chain(&to[start + len..]).all(|&x| x == 0.0), "nothing else");
            }
        }
    }
}
