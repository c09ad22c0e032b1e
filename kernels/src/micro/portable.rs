//! Plain Rust: sixteen scalars. With `FUSED` it is the reference twin of every vector instruction set; without, the
//! elementwise companion of matrixmultiply on processors that have no fused multiply-add.

use crate::simd::{Element, LANES};
use crate::wide::Register;

/// A function on lanes that is called where the baseline has no fused multiply-add, and written out in its callers elsewhere.
/// There each lane's multiply-add is a call, no vectors come of it, and sixteen lanes written out at every use were half of the
/// crate's code, and of the time to compile it.
macro_rules! lanewise {
    ($($function:tt)*) => {
        #[cfg_attr(all(target_arch = "x86_64", not(target_feature = "fma")), inline(never))]
        #[cfg_attr(not(all(target_arch = "x86_64", not(target_feature = "fma"))), inline(always))]
        $($function)*
    };
}

/// Sixteen scalars in an array.
#[derive(Clone, Copy, Debug)]
pub struct Scalars<E, const FUSED: bool>([E; LANES]);

impl<E: Element, const FUSED: bool> Scalars<E, FUSED> {
    lanewise! {
        fn map(a: Self, f: impl Fn(E) -> E) -> Self {
            Scalars(a.0.map(f))
        }
    }
    lanewise! {
        fn zip(a: Self, b: Self, f: impl Fn(E, E) -> E) -> Self {
            let mut out = a.0;
            for (o, y) in out.iter_mut().zip(b.0) {
                *o = f(*o, y);
            }
            Scalars(out)
        }
    }
    #[inline(always)]
    fn bits(a: Self, b: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self::zip(a, b, |x, y| E::from_bits(f(x.to_bits(), y.to_bits())))
    }
    lanewise! {
        fn test(a: Self, b: Self, f: impl Fn(E, E) -> bool) -> [bool; LANES] {
            let mut out = [false; LANES];
            for (o, (x, y)) in out.iter_mut().zip(a.0.into_iter().zip(b.0)) {
                *o = f(x, y);
            }
            out
        }
    }
}

impl<E: Element, const FUSED: bool> Register for Scalars<E, FUSED> {
    type E = E;
    type M = [bool; LANES];
    const LANES: usize = LANES;
    const AVAILABLE: usize = 8;
    const FUSED: bool = FUSED;

    #[inline(always)]
    unsafe fn splat(x: E) -> Self {
        Scalars([x; LANES])
    }
    #[inline(always)]
    unsafe fn load(p: *const E) -> Self {
        // SAFETY: the caller lends sixteen elements.
        Scalars(unsafe { p.cast::<[E; LANES]>().read() })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut E) {
        // SAFETY: the caller lends sixteen elements.
        unsafe { p.cast::<[E; LANES]>().write(self.0) }
    }
    #[inline(always)]
    unsafe fn add(a: Self, b: Self) -> Self {
        Self::zip(a, b, |x, y| x + y)
    }
    #[inline(always)]
    unsafe fn sub(a: Self, b: Self) -> Self {
        Self::zip(a, b, |x, y| x - y)
    }
    #[inline(always)]
    unsafe fn mul(a: Self, b: Self) -> Self {
        Self::zip(a, b, |x, y| x * y)
    }
    #[inline(always)]
    unsafe fn div(a: Self, b: Self) -> Self {
        Self::zip(a, b, |x, y| x / y)
    }
    lanewise! {
        unsafe fn fma(a: Self, b: Self, c: Self) -> Self {
            let mut out = c.0;
            for i in 0..LANES {
                out[i] = if FUSED { a.0[i].mul_add(b.0[i], c.0[i]) } else { a.0[i] * b.0[i] + c.0[i] };
            }
            Scalars(out)
        }
    }
    #[inline(always)]
    unsafe fn fnma(a: Self, b: Self, c: Self) -> Self {
        // SAFETY: plain Rust needs no instruction set.
        unsafe { Self::fma(Self::map(a, |x| -x), b, c) }
    }
    #[inline(always)]
    unsafe fn max(a: Self, b: Self) -> Self {
        Self::zip(a, b, |x, y| if x > y { x } else { y })
    }
    #[inline(always)]
    unsafe fn min(a: Self, b: Self) -> Self {
        Self::zip(a, b, |x, y| if x < y { x } else { y })
    }
    #[inline(always)]
    unsafe fn sqrt(a: Self) -> Self {
        Self::map(a, |x| x.sqrt())
    }
    #[inline(always)]
    unsafe fn round(a: Self) -> Self {
        Self::map(a, |x| x.round_even())
    }
    #[inline(always)]
    unsafe fn lt(a: Self, b: Self) -> [bool; LANES] {
        Self::test(a, b, |x, y| x < y)
    }
    #[inline(always)]
    unsafe fn le(a: Self, b: Self) -> [bool; LANES] {
        Self::test(a, b, |x, y| x <= y)
    }
    lanewise! {
        unsafe fn select(m: [bool; LANES], yes: Self, no: Self) -> Self {
            let mut out = no.0;
            for i in 0..LANES {
                if m[i] {
                    out[i] = yes.0[i];
                }
            }
            Scalars(out)
        }
    }
    lanewise! {
        unsafe fn nonzero(a: Self) -> u16 {
            let mut bits = 0;
            for i in 0..LANES {
                bits |= u16::from(a.0[i] != E::ZERO) << i;
            }
            bits
        }
    }
    #[inline(always)]
    unsafe fn and(a: Self, b: Self) -> Self {
        Self::bits(a, b, |x, y| x & y)
    }
    #[inline(always)]
    unsafe fn or(a: Self, b: Self) -> Self {
        Self::bits(a, b, |x, y| x | y)
    }
    #[inline(always)]
    unsafe fn xor(a: Self, b: Self) -> Self {
        Self::bits(a, b, |x, y| x ^ y)
    }
    #[inline(always)]
    unsafe fn iadd(a: Self, b: Self) -> Self {
        Self::bits(a, b, |x, y| x.wrapping_add(y))
    }
    #[inline(always)]
    unsafe fn isub(a: Self, b: Self) -> Self {
        Self::bits(a, b, |x, y| x.wrapping_sub(y))
    }
    #[inline(always)]
    unsafe fn shl_mantissa(a: Self) -> Self {
        Self::map(a, |x| E::from_bits(x.to_bits() << E::MANTISSA_BITS))
    }
    #[inline(always)]
    unsafe fn shr_mantissa(a: Self) -> Self {
        Self::map(a, |x| E::from_bits(x.to_bits() >> E::MANTISSA_BITS))
    }
}
