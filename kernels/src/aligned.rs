//! Memory that starts on a cache line, so that no vector load is split between two: splitting every other one costs a
//! tenth of the speed at which weights stream in.

use core::ops::{Deref, DerefMut};

/// Elements of a line: a cache line of `f32`, two of `f64`.
const LINE: usize = 16;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line<E>([E; LINE]);

/// A slice on the heap whose first element is at a multiple of 64 bytes.
///
/// ```
/// use elbo_kernels::Aligned;
/// let mut x = Aligned::<f32>::zeros(20);
/// x[19] = 1.0;
/// assert_eq!((x.len(), x.iter().sum::<f32>(), x.as_ptr().align_offset(64)), (20, 1.0, 0));
/// ```
#[derive(Clone)]
pub struct Aligned<E> {
    lines: Box<[Line<E>]>,
    len: usize,
}

impl<E: Copy + Default> Aligned<E> {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        Aligned { lines: vec![Line([E::default(); LINE]); len.div_ceil(LINE)].into(), len }
    }
}

impl<E> Deref for Aligned<E> {
    type Target = [E];
    fn deref(&self) -> &[E] {
        const { assert!(size_of::<Line<E>>() == LINE * size_of::<E>(), "lines without gaps") }
        // SAFETY: the lines are arrays of E without a gap, of at least `len` elements in all.
        unsafe { core::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl<E> DerefMut for Aligned<E> {
    fn deref_mut(&mut self) -> &mut [E] {
        const { assert!(size_of::<Line<E>>() == LINE * size_of::<E>(), "lines without gaps") }
        // SAFETY: as in `deref`, and the lines are borrowed as mutable.
        unsafe { core::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

impl<E> Default for Aligned<E> {
    fn default() -> Self {
        Aligned { lines: Box::new([]), len: 0 }
    }
}

impl<E: PartialEq> PartialEq for Aligned<E> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<E: core::fmt::Debug> core::fmt::Debug for Aligned<E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        (**self).fmt(f)
    }
}

impl<E: Copy + Default> FromIterator<E> for Aligned<E> {
    fn from_iter<I: IntoIterator<Item = E>>(items: I) -> Self {
        let items: Vec<E> = items.into_iter().collect();
        let mut out = Self::zeros(items.len());
        out.copy_from_slice(&items);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Element;

    fn all<E: Element>() {
        for len in [0, 1, 15, 16, 17, 1000] {
            let x: Aligned<E> = (0..len).map(|i| E::from_f64(i as f64)).collect();
            assert_eq!(x.as_ptr().align_offset(64), 0);
            assert_eq!(x.len(), len);
            assert!(x.iter().enumerate().all(|(i, x)| x.to_f64() == i as f64));
            let mut y = x.clone();
            assert!(y == x && y.as_ptr().align_offset(64) == 0);
            if let Some(last) = y.last_mut() {
                *last = E::from_f64(-1.0);
                assert!(y != x);
            }
        }
    }

    #[test]
    fn begins_on_a_line_and_holds_what_it_was_given() {
        all::<f32>();
        all::<f64>();
        assert!(Aligned::<f32>::default().is_empty());
    }
}
