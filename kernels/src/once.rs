//! Kernels are compiled here, once for each scalar type and instruction set, and not again in every crate that calls them.
//!
//! A generic function is compiled where its type is chosen. So each kernel has a trait of its own name, whose two methods, for
//! `f32` and for `f64`, are not generic; the function that callers see passes on to the method, which every [`Element`] has.

use crate::{activation, block, filled, gemm, mixture, peak, reduce, row, sweep, transpose, update};

/// Defines a function on elements `E` that is compiled for both of them in this crate. Add its name to [`Compiled`].
macro_rules! once {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<E>($($arg:ident: $ty:ty),+ $(,)?) $(-> $out:ty)? $body:block) => {
        #[doc(hidden)]
        #[allow(non_camel_case_types, reason = "one name for the function and for how it is found")]
        pub trait $name<E> {
            #[allow(clippy::too_many_arguments, reason = "one for each quantity of the formula")]
            fn $name($($arg: $ty),+) $(-> $out)?;
        }
        const _: () = {
            type E = f32;
            impl $name<E> for E {
                fn $name($($arg: $ty),+) $(-> $out)? $body
            }
        };
        const _: () = {
            type E = f64;
            impl $name<E> for E {
                fn $name($($arg: $ty),+) $(-> $out)? $body
            }
        };
        $(#[$meta])*
        #[allow(clippy::too_many_arguments, reason = "one for each quantity of the formula")]
        $vis fn $name<E: $crate::Element>($($arg: $ty),+) $(-> $out)? {
            <E as $name<E>>::$name($($arg),+)
        }
    };
}

pub(crate) use once;

/// What is compiled once: every name is that of a function.
#[rustfmt::skip]
pub trait Compiled: Sized
    + activation::backward<Self> + activation::forward<Self> + activation::forward_rows<Self>
    + activation::glu_backward<Self> + activation::glu_forward<Self>
    + block::sample_and_kl<Self> + block::sample_and_kl_grad<Self> + block::squared_error_grad<Self>
    + filled::find<Self>
    + gemm::gemm<Self> + gemm::rows_product<Self>
    + mixture::mixture_grad_component<Self> + mixture::mixture_grad_z<Self> + mixture::mixture_log_prob<Self>
    + mixture::mixture_precisions<Self>
    + mixture::to_shares<Self>
    + peak::fma_flops<Self>
    + reduce::column_sums<Self> + reduce::first_non_finite<Self> + reduce::sum_squares_f64<Self>
    + row::row_product<Self>
    + sweep::bernoulli_log_prob<Self> + sweep::bernoulli_log_prob_grad<Self> + sweep::gaussian_log_prob<Self>
    + sweep::gaussian_sweep<Self> + sweep::kl_standard_normal<Self> + sweep::kl_standard_normal_grad<Self>
    + sweep::reparameterize<Self> + sweep::reparameterize_grad<Self> + sweep::scale_u8<Self>
    + sweep::softmax_log_prob<Self> + sweep::softmax_log_prob_grad<Self> + sweep::squared_error<Self>
    + sweep::standard_normal_log_prob<Self> + sweep::standard_normal_log_prob_grad<Self>
    + transpose::transpose_tile<Self>
    + update::adam<Self> + update::sgd<Self>
{
}

impl Compiled for f32 {}
impl Compiled for f64 {}
