//! The instruction sets: what one register can do, a file each.

pub(crate) mod portable;

/// A [`Register`](crate::wide::Register) of x86 from the names of its intrinsics: the two widths differ in little else.
/// `blend` takes the mask, then what to take where it does not hold, then where it does; `test` is `nonzero`. What this type alone can do
/// better than plain Rust follows in braces.
#[cfg(target_arch = "x86_64")]
macro_rules! register {
    ($reg:ty, $e:ty, $mask:ty, $lanes:expr, $available:expr, $bits:literal,
     $set1:ident $loadu:ident $storeu:ident $add:ident $sub:ident $mul:ident $div:ident $fmadd:ident $fnmadd:ident
     $max:ident $min:ident $sqrt:ident $round:ident $cmp:ident $blend:ident $test:ident $and:ident $or:ident $xor:ident
     $to_int:ident $from_int:ident $iadd:ident $isub:ident $shl:ident $shr:ident
     $({ $($more:item)* })?) => {
        // SAFETY, for every function here: the caller has the instruction set, and lends whole registers.
        impl Register for $reg {
            type E = $e;
            type M = $mask;
            const LANES: usize = $lanes;
            const AVAILABLE: usize = $available;
            const FUSED: bool = true;
            #[inline(always)]
            unsafe fn splat(x: $e) -> Self {
                // SAFETY: as said above.
                unsafe { $set1(x) }
            }
            #[inline(always)]
            unsafe fn load(p: *const $e) -> Self {
                // SAFETY: as said above.
                unsafe { $loadu(p) }
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut $e) {
                // SAFETY: as said above.
                unsafe { $storeu(p, self) }
            }
            #[inline(always)]
            unsafe fn add(a: Self, b: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $add(a, b) }
            }
            #[inline(always)]
            unsafe fn sub(a: Self, b: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $sub(a, b) }
            }
            #[inline(always)]
            unsafe fn mul(a: Self, b: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $mul(a, b) }
            }
            #[inline(always)]
            unsafe fn div(a: Self, b: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $div(a, b) }
            }
            #[inline(always)]
            unsafe fn fma(a: Self, b: Self, c: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $fmadd(a, b, c) }
            }
            #[inline(always)]
            unsafe fn fnma(a: Self, b: Self, c: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $fnmadd(a, b, c) }
            }
            #[inline(always)]
            unsafe fn max(a: Self, b: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $max(a, b) }
            }
            #[inline(always)]
            unsafe fn min(a: Self, b: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $min(a, b) }
            }
            #[inline(always)]
            unsafe fn sqrt(a: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $sqrt(a) }
            }
            #[inline(always)]
            unsafe fn round(a: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $round::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
            }
            #[inline(always)]
            unsafe fn lt(a: Self, b: Self) -> $mask {
                // SAFETY: as said above.
                unsafe { $cmp::<_CMP_LT_OQ>(a, b) }
            }
            #[inline(always)]
            unsafe fn le(a: Self, b: Self) -> $mask {
                // SAFETY: as said above.
                unsafe { $cmp::<_CMP_LE_OQ>(a, b) }
            }
            #[inline(always)]
            unsafe fn select(m: $mask, yes: Self, no: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $blend(m, no, yes) }
            }
            #[inline(always)]
            unsafe fn nonzero(a: Self) -> u16 {
                // SAFETY: as said above.
                unsafe { $test(a) }
            }
            #[inline(always)]
            unsafe fn and(a: Self, b: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $and(a, b) }
            }
            #[inline(always)]
            unsafe fn or(a: Self, b: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $or(a, b) }
            }
            #[inline(always)]
            unsafe fn xor(a: Self, b: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $xor(a, b) }
            }
            #[inline(always)]
            unsafe fn iadd(a: Self, b: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $from_int($iadd($to_int(a), $to_int(b))) }
            }
            #[inline(always)]
            unsafe fn isub(a: Self, b: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $from_int($isub($to_int(a), $to_int(b))) }
            }
            #[inline(always)]
            unsafe fn shl_mantissa(a: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $from_int($shl::<$bits>($to_int(a))) }
            }
            #[inline(always)]
            unsafe fn shr_mantissa(a: Self) -> Self {
                // SAFETY: as said above.
                unsafe { $from_int($shr::<$bits>($to_int(a))) }
            }
            $($($more)*)?
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
