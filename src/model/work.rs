//! What a training step multiplies: how many rows meet each weight, forward, backward and for its gradient.

use super::{MixturePrior, ModelPrior, Vae};
use crate::tensor::Entry;
use crate::tensor::profile::Stage;

/// The products of a step.
const PRODUCTS: [Stage; 3] = [Stage::Forward, Stage::Backward, Stage::Gradient];

/// What goes through a network in a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rows {
    /// Examples, and samples of z of each.
    pub examples: usize,
    pub samples: usize,
    /// Pseudo-inputs.
    pub components: usize,
}

impl Vae {
    /// Multiplications and additions of one training step per example: three products a weight, two for the first
    /// layer, whose input's gradient nobody needs. What a mixture prior's components cost is left out, and what gradients without
    /// scores take besides plain ones.
    pub fn flops(&self) -> f64 {
        self.flops_with(1)
    }
    /// The same with `samples` samples of z an example: the decoder works for each.
    pub fn flops_with(&self, samples: usize) -> f64 {
        self.flops_of(Rows { examples: 1, samples, components: 0 })
    }
    /// The same of a whole step, pseudo-inputs through the encoder and back among them; of exemplars, whose number differs from
    /// step to step, nothing.
    pub fn step_flops(&self, examples: usize, samples: usize) -> f64 {
        self.flops_of(Rows { examples, samples, components: self.pseudo_inputs() })
    }
    fn flops_of(&self, rows: Rows) -> f64 {
        let products = self.layout().entries().iter().flat_map(|e| PRODUCTS.map(|product| (e, product)));
        products.map(|(e, product)| self.product_flops(e, product, rows)).sum()
    }
    /// How many pseudo-inputs there are.
    pub(crate) fn pseudo_inputs(&self) -> usize {
        self.mixture().and_then(MixturePrior::pseudo_inputs).map_or(0, |slot| slot.rows())
    }
    /// Multiplications and additions of one product of a step with a parameter; 0 for a vector, and for what belongs to components.
    pub(crate) fn product_flops(&self, entry: &Entry, product: Stage, rows: Rows) -> f64 {
        if entry.vector || self.mixture().is_some_and(|mixture| mixture.owns(entry.slot)) {
            return 0.0;
        }
        let Rows { examples, samples, components } = rows;
        let samples = if self.is_of_encoder(entry) { 1 } else { samples };
        let back = product == Stage::Backward;
        let of_examples = if back && self.reads_data(entry) { 0 } else { examples * samples };
        let of_components = if self.encodes_components(entry) { components } else { 0 };
        2.0 * entry.slot.count() as f64 * (of_examples + of_components) as f64
    }
    /// Whether a parameter meets each example once, and not each sample of it.
    fn is_of_encoder(&self, entry: &Entry) -> bool {
        let of_condition = matches!(self.prior, ModelPrior::Conditional(_)) && entry.name.starts_with("prior.");
        entry.name.starts_with("encoder.") || of_condition
    }
    /// Whether a parameter stands where data come in, which nobody differentiates by.
    fn reads_data(&self, entry: &Entry) -> bool {
        let first = if self.config().hidden.is_empty() { "encoder." } else { "encoder.0." };
        !entry.slot.has_transpose() || self.encodes_components(entry) && entry.name.starts_with(first)
    }
    /// Whether pseudo-inputs go through it: the encoder of z stands first in the layout, what else looks at x does not.
    fn encodes_components(&self, entry: &Entry) -> bool {
        let mut of_z = self.layout().entries().iter().take_while(|e| e.name.starts_with("encoder."));
        self.pseudo_inputs() > 0 && of_z.any(|e| e.slot == entry.slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::density::PriorKind;
    use crate::model::{Preset, VaeConfig};

    /// Six hundred rows go through the encoder, of which five hundred come back to its first layer's input.
    #[test]
    fn pseudo_inputs_are_work() {
        for lower in ["none", "hvae:40x300"] {
            let gated = Preset::named("gated-300").unwrap().config(784);
            let of = |prior| Vae::new(&VaeConfig { prior, lower: lower.parse().unwrap(), ..gated.clone() }).unwrap();
            let (plain, vamp) = (of(PriorKind::StandardNormal), of(PriorKind::Vamp(500)));
            assert_eq!(vamp.flops(), plain.flops());
            assert_eq!(plain.step_flops(100, 3), 100.0 * plain.flops_with(3));
            let encoder = 784 * 600 + 300 * 600 + 300 * 80;
            assert_eq!(vamp.step_flops(100, 3) - plain.step_flops(100, 3), (2 * 3 * 500 * encoder) as f64, "{lower}");
        }
    }
}
