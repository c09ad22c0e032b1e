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
            // The encoder's draws and a conditional prior's, then one generator for each sample of the decoder, and of the prior's
            // nets and those of levels below z after it.
            let mut of_row = rng(r, 0);
            self.encoder.renew(r, Some(&mut of_row), &mut b.encoder);
            self.prior.renew_row(r, Some(&mut of_row), b);
            self.renew_features(r, Some(&mut of_row), b);
            for k in 0..b.samples {
                let (row, mut rng) = (r * b.samples + k, rng(r, 1 + k));
                self.decoder.renew(row, Some(&mut rng), &mut b.decoder);
                self.prior.renew_sample(row, Some(&mut rng), b);
                self.renew_below(row, Some(&mut rng), b);
            }
        }
        lap(Stage::Noise, None);
    }
    /// Leaves nothing out.
    pub(super) fn rest<F: Real>(&self, b: &mut Block<F>) {
        if self.config().dropout == 0.0 {
            return;
        }
        for r in 0..b.rows {
            self.encoder.renew(r, None, &mut b.encoder);
            self.prior.renew_row(r, None, b);
            self.renew_features(r, None, b);
        }
        for r in 0..b.many() {
            self.decoder.renew(r, None, &mut b.decoder);
            self.prior.renew_sample(r, None, b);
            self.renew_below(r, None, b);
        }
    }
}
