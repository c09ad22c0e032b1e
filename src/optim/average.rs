//! A moving average of the parameters.
//!
//! ```text
//! a ← a + (1 − d) (p − a)        d = min(decay, (1 + t) / (10 + t)) after step t = 0, 1, …
//! ```
//!
//! A model's statistics are averaged with its parameters: a first layer's running mean is linear in its weight, so the average of
//! the means is the mean under the average of the weights.
//!
//! Averages of late iterates are nearer the optimum than the iterates, which step around it (Polyak and Juditsky 1992; Kingma and
//! Ba 2015, section 7.2). The decay begins small, so that the first parameters are soon forgotten.

use crate::tensor::{Par, Params, Real};

/// The decay after step `step`, counted from 0.
///
/// ```
/// use elbo::optim::average_decay;
/// assert_eq!(average_decay(0.999, 0), 0.1);
/// assert_eq!(average_decay(0.999, 1_000_000), 0.999);
/// ```
pub fn average_decay(decay: f64, step: u64) -> f64 {
    decay.min((1.0 + step as f64) / (10.0 + step as f64))
}

/// Moves an average towards the parameters by 1 − `decay` of the way. It allocates nothing, and its result does not depend
/// on the number of threads. Panics when they are of different layouts.
pub fn average_into<F: Real>(par: Par, average: &mut Params<F>, params: &mut Params<F>, decay: f64) {
    let keep = F::from_f64(1.0 - decay);
    let of_statistics = average.statistics_mut().data_mut().iter_mut().zip(params.statistics().data());
    of_statistics.for_each(|(a, p)| *a += keep * (*p - *a));
    average.for_each_tile(
        par,
        [params.values_mut()],
        || (),
        |(), _, average, [params]| {
            average.iter_mut().zip(params).for_each(|(a, p)| *a += keep * (*p - *a));
        },
    );
}
