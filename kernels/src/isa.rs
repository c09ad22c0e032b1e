//! The instruction set: found once at run time, and the one place where a kernel is compiled for each.

use crate::micro::portable::Scalars;
use crate::simd::{Element, Simd};
use crate::wide::Wide;
use std::sync::OnceLock;

pub(crate) mod sealed {
    pub trait Sealed {}
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Avx512,
    Avx2,
    Portable,
    Foreign,
}

/// A proof that this processor has an instruction set, and the way to run a kernel compiled for it.
///
/// `avx512`, `avx2` and `portable` compute every result as the same fused multiply-adds in the same order, so they
/// agree to the bit. `foreign` is for processors without fused multiply-add: its matrix products are
/// matrixmultiply's, and its results agree with the others only within rounding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Isa(Kind);

/// A kernel: code written once for any [`Simd`]. Mark `run` as `#[inline(always)]`, and all that it calls per
/// element, or it is not compiled for the instruction set.
pub trait Op<E: Element> {
    /// What the kernel returns.
    type Out;
    /// The kernel's body.
    fn run<S: Simd<E = E>>(self, s: S) -> Self::Out;
}

/// A kernel compiled for each instruction set.
///
/// Methods, because the compiler divides a crate by modules and puts a method where its type is: the kernels of each file
/// are a piece of work of their own, where functions of this module would be one piece with all of them.
trait Compile<E: Element>: Op<E> + Sized {
    /// # Safety
    /// The processor must have these features.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2")]
    unsafe fn on_avx512(self) -> Self::Out {
        // SAFETY: the caller's promise.
        self.run(unsafe { E::Avx512::assume() })
    }

    /// # Safety
    /// The processor must have these features.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,bmi2")]
    unsafe fn on_avx512_half(self) -> Self::Out {
        // SAFETY: the caller's promise.
        self.run(unsafe { E::Avx512::assume() })
    }

    /// # Safety
    /// The processor must have these features.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma,bmi2")]
    unsafe fn on_avx2(self) -> Self::Out {
        // SAFETY: the caller's promise.
        self.run(unsafe { E::Avx2::assume() })
    }

    #[inline(never)]
    fn on_scalars<const FUSED: bool>(self) -> Self::Out {
        // SAFETY: plain Rust needs no instruction set.
        self.run(unsafe { Wide::<Scalars<E, FUSED>, 1>::assume() })
    }
}

impl<E: Element, O: Op<E>> Compile<E> for O {}

impl Isa {
    /// The portable twin: plain Rust with `mul_add`. Slow where the processor has no such instruction.
    pub const PORTABLE: Isa = Isa(Kind::Portable);

    /// Every instruction set that this processor has, best first; `portable` and `foreign` are always there.
    pub fn available() -> &'static [Isa] {
        static FOUND: OnceLock<Vec<Isa>> = OnceLock::new();
        FOUND.get_or_init(|| {
            let mut found = Vec::new();
            #[cfg(target_arch = "x86_64")]
            {
                let avx2 = is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("bmi2");
                let avx512 = avx2
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl");
                if avx512 {
                    found.push(Isa(Kind::Avx512));
                }
                if avx2 {
                    found.push(Isa(Kind::Avx2));
                }
            }
            // Where the compiler's baseline has fused multiply-add, the portable twin is a real path.
            let fused = cfg!(any(target_arch = "aarch64", target_feature = "fma"));
            let rest = if fused || !found.is_empty() {
                [Kind::Portable, Kind::Foreign]
            } else {
                [Kind::Foreign, Kind::Portable]
            };
            found.extend(rest.map(Isa));
            found
        })
    }

    /// The instruction set to use: the best there is, or the one that the environment variable `ELBO_ISA` names
    /// (`avx512`, `avx2`, `portable`, `foreign`).
    ///
    /// # Errors
    /// When `ELBO_ISA` names none, or one that this processor lacks.
    pub fn detect() -> Result<Isa, String> {
        match std::env::var("ELBO_ISA") {
            Err(_) => Ok(Self::available()[0]),
            Ok(name) => Self::named(&name),
        }
    }

    /// The instruction set of that name.
    ///
    /// # Errors
    /// When there is none of that name, or this processor lacks it.
    pub fn named(name: &str) -> Result<Isa, String> {
        let known = ["avx512", "avx2", "portable", "foreign"];
        let have = || Self::available().iter().map(|i| i.name()).collect::<Vec<_>>().join(", ");
        match Self::available().iter().find(|i| i.name() == name) {
            Some(&isa) => Ok(isa),
            None if known.contains(&name) => {
                Err(format!("ELBO_ISA={name}: this processor lacks it; it has: {}", have()))
            }
            None => Err(format!("ELBO_ISA={name}: no such instruction set; this processor has: {}", have())),
        }
    }

    /// `avx512`, `avx2`, `portable` or `foreign`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Avx512 => "avx512",
            Kind::Avx2 => "avx2",
            Kind::Portable => "portable",
            Kind::Foreign => "foreign",
        }
    }

    /// Whether matrix products go to matrixmultiply, which sums each block of rows apart: there, and only there, results depend
    /// on how rows fall into blocks.
    pub fn is_foreign(self) -> bool {
        self.0 == Kind::Foreign
    }

    /// Runs a kernel compiled for this instruction set.
    #[inline]
    pub fn run<E: Element, O: Op<E>>(self, op: O) -> O::Out {
        match self.0 {
            // SAFETY: values of these kinds are made only by `available`, which found the features.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => unsafe { op.on_avx512() },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { op.on_avx2() },
            #[cfg(not(target_arch = "x86_64"))]
            Kind::Avx512 | Kind::Avx2 => unreachable!("found on x86-64 only"),
            Kind::Portable => op.on_scalars::<true>(),
            Kind::Foreign => op.on_scalars::<false>(),
        }
    }

    /// Whether the processor multiplies pairs of bf16 in this instruction set. Where it does not, [`run_half`](Self::run_half)
    /// computes the same bits slowly.
    pub fn has_half(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        if self.0 == Kind::Avx512 {
            return is_x86_feature_detected!("avx512bf16");
        }
        false
    }

    /// As [`run`](Self::run), for kernels of pairs of bf16.
    pub fn run_half<O: Op<f32>>(self, op: O) -> O::Out {
        match self.0 {
            // SAFETY: as in `run`, and the feature of pairs was just found.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 if self.has_half() => unsafe { op.on_avx512_half() },
            // The vectors of this kind would use instructions that are not there.
            Kind::Avx512 => op.on_scalars::<true>(),
            _ => self.run(op),
        }
    }

    /// As [`run`](Self::run), for kernels that `foreign` leaves to matrixmultiply and are not compiled for it.
    pub(crate) fn run_fused<E: Element, O: Op<E>>(self, op: O) -> O::Out {
        match self.0 {
            // SAFETY: as in `run`.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => unsafe { op.on_avx512() },
            // SAFETY: as in `run`.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { op.on_avx2() },
            #[cfg(not(target_arch = "x86_64"))]
            Kind::Avx512 | Kind::Avx2 => unreachable!("found on x86-64 only"),
            Kind::Portable => op.on_scalars::<true>(),
            Kind::Foreign => unreachable!("the caller has asked for matrixmultiply"),
        }
    }
}

impl Default for Isa {
    /// The best instruction set there is, whatever the environment says.
    fn default() -> Self {
        Self::available()[0]
    }
}
