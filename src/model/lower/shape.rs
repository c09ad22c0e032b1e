//! What levels below z make of a network: which settings go with them, and how the encoder ends and the decoder begins.

use super::super::vae::{heads, hidden};
use super::super::{Norm, VaeConfig};
use crate::density::{Level, LowerKind};
use crate::error::{Error, Result};
use crate::estimator::{Bound, ObjectiveKind, PathGradient};
use crate::layer::{Activation, AnyLayer, Chain, Concat, Dense, Parallel, Part};
use crate::tensor::Layout;
use std::sync::Arc;

impl VaeConfig {
    /// Whether the rest of the network goes with levels below z.
    pub(in crate::model) fn check_lower(&self) -> Result<()> {
        if self.lower != LowerKind::None && self.condition > 0 {
            let what = format!("the levels below z, {}, know nothing of a condition", self.lower);
            return Err(Error::input(what).hint("leave out --lower or --condition"));
        }
        if self.lower != LowerKind::None && self.norm == Norm::Batch {
            let what = format!(
                "hidden layers are normalised by the batch in the encoder and the decoder, and the levels below z, {}, have networks between",
                self.lower
            );
            return Err(Error::input(what).hint("--norm layer, whose rows do not meet; or leave out --norm or --lower"));
        }
        Ok(())
    }
    /// Whether its levels below z have such an objective's gradient.
    ///
    /// # Errors
    /// PIWAE, of a ladder.
    pub fn check_objective(&self, kind: ObjectiveKind) -> Result<()> {
        match (self.lower, kind) {
            (LowerKind::Ladder(_), ObjectiveKind::Weighted(Bound::Piwae(_))) => Err(Error::input(format!(
                "the objective {kind} weights the generative network and the encoder in two ways, and of {} the networks of p are a \
                 part of q",
                self.lower
            ))
            .hint("--objective iwae or miwae:GROUPS weights both alike; --lower hvae:40x300 has networks of each")),
            _ => Ok(()),
        }
    }
    /// Whether its levels below z have gradients of this kind.
    ///
    /// # Errors
    /// Any but the plain one, where there are such levels.
    pub fn check_gradient(&self, gradient: PathGradient) -> Result<()> {
        if self.lower == LowerKind::None || gradient == PathGradient::Plain {
            return Ok(());
        }
        Err(Error::input(format!(
            "the gradient {gradient} leaves the score of q(z|x) out; the levels below z, {}, have posteriors of their own, whose \
             scores would have to go too, while the latents above them keep theirs",
            self.lower
        ))
        .hint("leave --gradient out, or --lower"))
    }
    /// Columns of what the decoder decodes: [`code_cols`](Self::code_cols), the latents of all levels, or those of the lowest.
    pub(in crate::model) fn decoded_cols(&self) -> usize {
        let latents = self.lower.latents();
        match self.lower {
            LowerKind::Ladder(_) => latents.last().copied().unwrap_or(self.latent),
            _ => latents.into_iter().fold(self.code_cols(), usize::saturating_add),
        }
    }
    /// Widths of the dense layers of encoder and decoder, chain by chain.
    pub(in crate::model) fn chains(&self) -> Vec<Vec<usize>> {
        let levels: Vec<Level> = self.lower.levels().map_or_else(Vec::new, |levels| levels.iter().collect());
        let (eta, code) = (self.likelihood.eta_cols(self.inputs), self.code_cols());
        let up = || [self.row_cols()].into_iter().chain(self.hidden.iter().copied());
        let down = || self.hidden.iter().rev().copied().chain([eta]);
        match (self.lower, levels.first()) {
            (LowerKind::Ladder(_), Some(top)) => {
                vec![
                    up().collect(),
                    vec![top.width, self.posterior_columns()],
                    [self.decoded_cols()].into_iter().chain(down()).collect(),
                ]
            }
            (LowerKind::Hvae(_), _) => {
                let latents = [code].into_iter().chain(self.lower.latents());
                let encoder: Vec<usize> = up().chain([self.posterior_columns()]).collect();
                let Some(&first) = self.hidden.last() else {
                    return vec![encoder, vec![self.decoded_cols(), eta]];
                };
                let wide = first.saturating_mul(1 + levels.len());
                let sides = latents.map(|latent| vec![latent, first]);
                let joint = [wide].into_iter().chain(down().skip(1)).collect();
                [encoder, joint].into_iter().chain(sides).collect()
            }
            _ => {
                vec![up().chain([self.posterior_columns()]).collect(), [code].into_iter().chain(down()).collect()]
            }
        }
    }
}

/// The end of a ladder's encoder, from its last hidden layer, which is d_1: [η | evidence from z down].
pub(in crate::model) fn climb(
    config: &VaeConfig,
    layout: &mut Layout,
    levels: &[Level],
    inputs: usize,
) -> Arc<dyn AnyLayer> {
    let Some((Level { latent, width }, higher)) = levels.split_last() else { return heads(config, layout, inputs) };
    let l = higher.len();
    let evidence = layout.scope("evidence", |layout| {
        layout.scope(l, |layout| Dense::new(layout, inputs, 2 * latent, Activation::Identity, config.init))
    });
    let mut up = |name: usize, inputs| {
        layout.scope("up", |layout| {
            layout.scope(l, |layout| layout.scope(name, |layout| hidden(config, layout, inputs, *width)))
        })
    };
    let further = [up(0, inputs), up(1, *width)];
    let rest = climb(config, layout, higher, *width);
    let layers: [Arc<dyn AnyLayer>; 2] =
        [Arc::new(Chain::new(further.into_iter().chain([rest]).collect())), Arc::new(evidence)];
    Arc::new(Concat::new(layers.to_vec()))
}

/// The decoder's first hidden layer of a two-level model: one of each level's latents, side by side.
pub(in crate::model) fn side_by_side(config: &VaeConfig, layout: &mut Layout, width: usize) -> Arc<dyn AnyLayer> {
    let latents = [config.code_cols()].into_iter().chain(config.lower.latents());
    let part = |(l, latent)| Part::Through(layout.scope(l, |layout| hidden(config, layout, latent, width)));
    Arc::new(Parallel::new(latents.enumerate().map(part).collect()))
}
