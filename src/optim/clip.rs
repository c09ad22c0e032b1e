//! Clipping by the global norm, and normalising by each parameter's.

use super::{CHUNK, middle};
use crate::tensor::{Isa, Layout, Par, Real, Slab};
use elbo_kernels::reduce::sum_squares_f64;

/// The sum of squares: of each chunk, then of halves of the range, whose cuts depend on its length alone.
fn sum_squares<F: Real>(isa: Isa, par: Par, x: &[F]) -> f64 {
    if x.len() <= CHUNK {
        return sum_squares_f64(isa, x);
    }
    let (left, right) = x.split_at(middle(x.len()));
    let (left, right) = match par {
        Par::Sequential => (sum_squares(isa, par, left), sum_squares(isa, par, right)),
        Par::Pool => rayon::join(|| sum_squares(isa, par, left), || sum_squares(isa, par, right)),
    };
    left + right
}

fn scale<F: Real>(par: Par, x: &mut [F], by: F) {
    if par == Par::Sequential || x.len() <= CHUNK {
        return x.iter_mut().for_each(|x| *x = *x * by);
    }
    let (left, right) = x.split_at_mut(middle(x.len()));
    rayon::join(|| scale(par, left, by), || scale(par, right, by));
}

/// The Euclidean norm of all gradients together.
///
/// It is summed in f64, in an order that depends on the layout alone: not on threads, nor on the instruction set.
pub fn global_norm<F: Real>(isa: Isa, par: Par, grads: &Slab<F>) -> f64 {
    sum_squares(isa, par, grads.data()).sqrt()
}

/// Scales gradients whose global norm is above `max` by max / (norm + 1e-6), as PyTorch's `clip_grad_norm_`, and
/// returns the norm that they had (Pascanu et al., 2013). A norm that is not finite leaves them as they are, for the
/// caller to report. Panics when the gradients are not of the layout.
///
/// ```
/// use elbo::layer::Init;
/// use elbo::optim::{clip_global_norm, global_norm};
/// use elbo::tensor::{Isa, Layout, Par, Slab};
/// let mut layout = Layout::new();
/// let slot = layout.vector("x", 2, Init::Constant(0.0));
/// let mut grads = Slab::<f64>::zeros(&layout);
/// grads.pack(&slot, &[3.0, 4.0]);
/// let (isa, par) = (Isa::default(), Par::Sequential);
/// assert_eq!(clip_global_norm(isa, par, &layout, &mut grads, 1.0), 5.0);
/// assert!((global_norm(isa, par, &grads) - 1.0).abs() < 1e-6);
/// ```
pub fn clip_global_norm<F: Real>(isa: Isa, par: Par, layout: &Layout, grads: &mut Slab<F>, max: f64) -> f64 {
    assert_eq!(grads.data().len(), layout.len(), "gradients of another layout");
    let norm = global_norm(isa, par, grads);
    let factor = max / (norm + 1e-6);
    if norm.is_finite() && factor < 1.0 {
        scale(par, grads.data_mut(), F::from_f64(factor));
    }
    norm
}

/// Divides each parameter's gradient by its Euclidean norm: g / (‖g‖ + 1e-7), for each weight and each bias of its own (the
/// training of Norouzi, Fleet and Norouzi 2020). A norm that is not finite leaves its gradient as it is, for the caller to
/// report. Panics when the gradients are not of the layout.
pub fn normalize_each<F: Real>(isa: Isa, par: Par, layout: &Layout, grads: &mut Slab<F>) {
    assert_eq!(grads.data().len(), layout.len(), "gradients of another layout");
    for entry in layout.entries() {
        let gradient = &mut grads.data_mut()[entry.slot.range()];
        let norm = sum_squares(isa, par, gradient).sqrt();
        if norm.is_finite() {
            scale(par, gradient, F::from_f64(1.0 / (norm + 1e-7)));
        }
    }
}
