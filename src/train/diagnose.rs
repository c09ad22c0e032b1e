//! Why a loss stopped being finite: the step, the term, the layer, and the likely cause.

use crate::error::Error;
use crate::model::{DATA, Stats, Vae, Workspace};
use crate::tensor::{Mat, Params};

fn first_bad(m: Mat<f32>) -> Option<(usize, usize)> {
    (0..m.rows()).find_map(|r| m.row(r).iter().position(|x| !x.is_finite()).map(|c| (r, c)))
}

/// The first parameter that is not finite, as a message.
pub(super) fn bad_parameter(vae: &Vae, params: &Params<f32>) -> Option<String> {
    let bad = |e: &&crate::tensor::Entry| params.slot(&e.slot).iter().any(|x| !x.is_finite());
    let of_statistics = |e: &&crate::tensor::Entry| params.statistics().slot(&e.slot).iter().any(|x| !x.is_finite());
    let statistics = vae.layout().statistics().map_or(&[][..], |layout| layout.entries());
    let first = vae.layout().entries().iter().find(bad).or_else(|| statistics.iter().find(of_statistics));
    first.map(|e| e.name.clone())
}

/// Explains a step whose terms are not all finite: the first parameter that is not, or the first stage of the forward
/// pass.
pub(super) fn diverged(step: u64, stats: &Stats, vae: &Vae, params: &Params<f32>, ws: &Workspace<f32>) -> Error {
    let bad_kl = stats.kl.iter().any(|kl| !kl.is_finite());
    let term = if bad_kl { "the KL" } else { "the reconstruction" };
    let what = format!("step {step}: {term} is not finite");
    // Before the first update, only the data can be to blame.
    let cure = match step {
        1 => "the very first step met it: scale the data, to mean 0 and deviation 1 for example",
        _ => "lower --learning-rate, limit gradients with --clip 100, or scale the data",
    };
    if let Some(name) = bad_parameter(vae, params) {
        return Error::diverged(format!("{what}; parameter {name} is not finite: an update overflowed")).hint(cure);
    }
    for b in ws.blocks() {
        for (stage, values) in vae.stages(b) {
            let Some((row, col)) = first_bad(values) else { continue };
            if stage == DATA {
                let found = values.row(row)[col];
                return Error::input(format!(
                    "step {step}: column {col} of a row is {found}, and was finite when loaded"
                ))
                .hint("data that are streamed must not change meanwhile");
            }
            let latent = vae.config().latent;
            let log_variances = b.eta.rows(b.rows).columns(latent, latent);
            let most = (0..b.rows).flat_map(|r| log_variances.row(r)).fold(f32::MIN, |m, &x| m.max(x));
            return Error::diverged(format!(
                "{what}; {stage} is the first to overflow, in unit {col} (the largest log-variance is {most:.3e})"
            ))
            .hint(cure);
        }
    }
    let why = match bad_kl {
        true => "no layer overflowed, so the posterior's mean was too large to be squared",
        false => "no layer before the last overflowed, so the decoder's output was too large for the density",
    };
    Error::diverged(format!("{what}; {why}")).hint(cure)
}
