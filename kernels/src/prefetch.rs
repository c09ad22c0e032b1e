//! Hints that memory will soon be used. They change no result, and do nothing where the processor knows none.

/// Bytes of a cache line.
const LINE: usize = 64;

/// The line at `p` will be written. Any address will do: a hint never faults.
#[inline(always)]
pub(crate) fn will_write<T>(p: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        // SAFETY: a hint, part of every x86-64 (or ignored there), good for any address.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(p.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}

/// The line at `p` will be read. Any address will do.
#[inline(always)]
fn will_read<T>(p: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, part of every x86-64, good for any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}

/// All of `x` will be read.
#[inline]
pub fn read_soon<T>(x: &[T]) {
    lines(x, will_read);
}

/// All of `x` will be written.
#[inline]
pub fn write_soon<T>(x: &mut [T]) {
    lines(x, will_write);
}

#[inline(always)]
fn lines<T>(x: &[T], hint: impl Fn(*const u8)) {
    let (start, bytes) = (x.as_ptr().cast::<u8>(), size_of_val(x));
    (0..bytes).step_by(LINE).for_each(|at| hint(start.wrapping_add(at)));
}
