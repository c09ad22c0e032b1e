//! Why a loss stopped being finite: the step, the term, the layer, and the likely cause.

use crate::error::Error;
use crate::model::{Stats, Vae, Workspace};
use crate::tensor::{Mat, Params};

fn first_bad(m: Mat<f32>) -> Option<(usize, usize)> {
    (0..m.rows()).find_map(|r| m.row(r).iter().position(|x| !x.is_finite()).map(|c| (r, c)))
}

/// The first parameter that is not finite, as a message.
pub(super) fn bad_parameter(vae: &Vae, params: &Params<f32>) -> Option<String> {
    let bad = |e: &&crate::tensor::Entry| params.slot(&e.slot).iter().any(|x| !x.is_finite());
    vae.layout().entries().iter().find(bad).map(|e| e.name.clone())
}

/// Explains a step whose terms are not all finite.
pub(super) fn diverged(step: u64, stats: &Stats, vae: &Vae, params: &Params<f32>, ws: &Workspace<f32>) -> Error {
    let term = match stats.kl.iter().position(|kl| !kl.is_finite()) {
        Some(latent) => format!("the KL of latent {latent}"),
        None => "the reconstruction".to_string(),
    };
    let what = format!("step {step}: {term} is not finite");
    if let Some(name) = bad_parameter(vae, params) {
        return Error::diverged(format!("{what}; parameter {name} is not finite: an update overflowed"))
            .hint("lower --learning-rate, or limit gradients with --clip 100");
    }
    let latent = vae.config().latent;
    for b in ws.blocks() {
        if let Some((_, col)) = first_bad(b.eta.rows(b.rows)) {
            let head = if col < latent { "mean" } else { "log-variance" };
            return Error::diverged(format!(
                "{what}; the encoder's {head} of latent {} is not finite: its activations overflowed",
                col % latent
            ))
            .hint("scale the data, or lower --learning-rate");
        }
        if let Some((_, col)) = first_bad(b.z.rows(b.many())) {
            let largest = b.eta.rows(b.rows).columns(latent, latent);
            let most = (0..b.rows).flat_map(|r| largest.row(r)).fold(f32::MIN, |m, &x| m.max(x));
            return Error::diverged(format!(
                "{what}; latent {col} overflowed when it was sampled: the largest log-variance is {most}"
            ))
            .hint("lower --learning-rate, or limit gradients with --clip 100");
        }
    }
    Error::diverged(format!("{what}; parameters and latents are finite, so the decoder's output overflowed"))
        .hint("scale the data, lower --learning-rate, or choose a likelihood with a wider range")
}
