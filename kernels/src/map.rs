//! How an elementwise kernel is written: a function on slices, its body compiled for each instruction set, walking
//! vectors of sixteen and then the rest.

use crate::simd::{Element, LANES, Simd};

/// Defines `fn name(isa, …)` from a body that is given the instruction set's [`Simd`] under the name after `isa`. Compiled
/// [once](crate::once).
macro_rules! kernel {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<E>($isa:ident, $s:ident; $($arg:ident: $ty:ty),+ $(,)?)
     $(-> $out:ty)? $body:block) => {
        $crate::once::once! {
            $(#[$meta])*
            $vis fn $name<E>($isa: $crate::Isa, $($arg: $ty),+) $(-> $out)? {
                struct Kernel<T>(T);
                impl $crate::Op<E> for Kernel<($($ty,)+)> {
                    type Out = kernel!(@out $($out)?);
                    #[inline(always)]
                    fn run<S: $crate::Simd<E = E>>(self, $s: S) -> Self::Out {
                        let ($($arg,)+) = self.0;
                        $body
                    }
                }
                $isa.run(Kernel(($($arg,)+)))
            }
        }
    };
    (@out) => { () };
    (@out $out:ty) => { $out };
}

/// Runs a block for each vector of `n` elements, with its first index and its count of elements: [`LANES`], then once
/// the rest. The block is written out twice so that the count is a constant in the first.
macro_rules! for_each_vector {
    ($n:expr, |$i:ident, $count:ident| $body:block) => {{
        let n: usize = $n;
        let mut $i = 0;
        while n - $i >= $crate::LANES {
            let $count = $crate::LANES;
            $body
            $i += $crate::LANES;
        }
        if $i < n {
            let $count = n - $i;
            $body
        }
    }};
}

/// The common length of slices; a panic that shows every length if they differ.
macro_rules! common_length {
    ($first:ident $(, $rest:ident)+) => {{
        let n = $first.len();
        if $($rest.len() != n)||+ {
            $crate::map::lengths_differ(&[(stringify!($first), n), $((stringify!($rest), $rest.len())),+]);
        }
        n
    }};
}

pub(crate) use {common_length, for_each_vector, kernel};

#[cold]
#[inline(never)]
#[track_caller]
pub(crate) fn lengths_differ(lengths: &[(&str, usize)]) -> ! {
    panic!("slices of unequal length: {lengths:?}")
}

/// `count` elements of `x` from `i`, the rest of the vector zero.
#[inline(always)]
pub(crate) fn load<S: Simd>(s: S, x: &[S::E], i: usize, count: usize) -> S::V {
    if count == LANES { s.load(&x[i..]) } else { s.load_partial(&x[i..i + count]) }
}

/// The first `count` elements of a vector to `y` from `i`.
#[inline(always)]
pub(crate) fn store<S: Simd>(s: S, v: S::V, y: &mut [S::E], i: usize, count: usize) {
    if count == LANES { s.store(v, &mut y[i..]) } else { s.store_partial(v, &mut y[i..i + count]) }
}

/// `y += v` for `count` elements from `i`.
#[inline(always)]
pub(crate) fn accumulate<S: Simd>(s: S, v: S::V, y: &mut [S::E], i: usize, count: usize) {
    let old = load(s, y, i, count);
    store(s, s.add(old, v), y, i, count);
}

/// The first `count` lanes of `v`, the others from `rest`: what keeps a partial vector's padding out of a sum.
#[inline(always)]
pub(crate) fn keep<S: Simd>(s: S, count: usize, v: S::V, rest: S::V) -> S::V {
    if count == LANES {
        return v;
    }
    let mut index = [S::E::ZERO; LANES];
    for (i, lane) in index.iter_mut().enumerate() {
        *lane = S::E::from_f64(i as f64);
    }
    s.select(s.lt(s.load(&index), s.constant(count as f64)), v, rest)
}
