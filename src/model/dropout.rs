//! Which outputs of the hidden layers a training step leaves out; what evaluates or uses a model leaves out nothing, and nor do the
//! components of a mixture prior.

use super::{Block, Draw, Vae};
use crate::layer::Layer;
use crate::tensor::profile::{Stage, lap};
use crate::tensor::{Real, Stream};

impl Vae {
    /// Draws what a step leaves out of a block's hidden layers: a function of the batch's row and of the sample.
    pub(crate) fn leave_out<F: Real>(&self, draw: &Draw, first: usize, b: &mut Block<F>) {
        if self.config().dropout == 0.0 {
            return;
        }
        let rng =
            |row: usize, sample: usize| draw.noise.rng(Stream::Dropout, draw.step, (first + row) as u64, sample as u64);
        for r in 0..b.rows {
            // The encoder's draws, then one generator for each sample of the decoder.
            self.encoder.renew(r, Some(&mut rng(r, 0)), &mut b.encoder);
            for k in 0..b.samples {
                self.decoder.renew(r * b.samples + k, Some(&mut rng(r, 1 + k)), &mut b.decoder);
            }
        }
        lap(Stage::Noise, None);
    }
    /// Leaves nothing out.
    pub(super) fn rest<F: Real>(&self, b: &mut Block<F>) {
        if self.config().dropout == 0.0 {
            return;
        }
        (0..b.rows).for_each(|r| self.encoder.renew(r, None, &mut b.encoder));
        (0..b.many()).for_each(|r| self.decoder.renew(r, None, &mut b.decoder));
    }
}
