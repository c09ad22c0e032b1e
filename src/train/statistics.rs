//! What a model has besides its parameters, in files: the running averages of batch normalizations.

use super::saved;
use crate::error::{Error, Result};
use crate::files::tensors::{Tensor, TensorFile};
use crate::tensor::{Layout, Slab};

/// Whether a tensor is one of a layout's statistics.
pub(super) fn has(layout: &Layout, name: &str) -> bool {
    layout.statistics().is_some_and(|statistics| statistics.find(name).is_some())
}

/// A layout's statistics as tensors, `prefix` before their names.
pub(super) fn pack(layout: &Layout, slab: &Slab<f32>, prefix: &str) -> Vec<Tensor<'static>> {
    layout.statistics().map_or_else(Vec::new, |statistics| saved::pack(statistics, slab, prefix))
}

/// Whether statistics are finite, as they are to be written.
pub(super) fn expect_finite(layout: &Layout, slab: &Slab<f32>) -> Result<()> {
    let finite = |e: &&crate::tensor::Entry| slab.slot(&e.slot).iter().any(|x| !x.is_finite());
    match layout.statistics().and_then(|statistics| statistics.entries().iter().find(finite)) {
        None => Ok(()),
        Some(bad) => Err(Error::diverged(format!("{} is not finite: this is no model to keep", bad.name))),
    }
}

/// Whether a file has a layout's statistics, finite, and variances that can be such; and how many tensors they are.
pub(super) fn check(layout: &Layout, file: &TensorFile, prefix: &str) -> Result<usize> {
    let Some(statistics) = layout.statistics() else { return Ok(0) };
    saved::check_tensors(statistics, file, prefix)?;
    for e in statistics.entries() {
        let name = format!("{prefix}{}", e.name);
        expect_variance(&name, file.get::<f32>(&name, &e.shape())?)?;
    }
    Ok(statistics.entries().len())
}

/// Refuses a running variance below 0.
pub(crate) fn expect_variance(name: &str, values: &[f32]) -> Result<()> {
    match values.iter().position(|x| *x < 0.0).filter(|_| name.ends_with("running_var")) {
        None => Ok(()),
        Some(at) => {
            Err(Error::input(format!("tensor {name} is {} at {at}, expected a variance, 0 or more", values[at]))
                .hint("the file is damaged, or another tensor has that name"))
        }
    }
}

/// The inverse of [`pack`].
pub(super) fn unpack(layout: &Layout, file: &TensorFile, prefix: &str, slab: &mut Slab<f32>) -> Result<()> {
    layout.statistics().map_or(Ok(()), |statistics| saved::unpack_into(statistics, file, prefix, slab))
}
