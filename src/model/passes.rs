//! The encoder and the decoder on a block of rows, there and back: what each reads and writes, by what the model has.
//!
//! ```text
//! encoder   [x | c], or what is seen of it   → η, and of a ladder the evidence of every level
//! decoder   z, [z | c] or [z_1 | … | z_L]    → the likelihood's parameters
//! ```

use super::block::encoder_input;
use super::{Block, Vae};
use crate::layer::Layer;
use crate::tensor::{Isa, Params, Real};

impl Vae {
    /// x to η, and of a ladder to the evidence of every level.
    pub(super) fn encoder_forward<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>) {
        if !self.encoder_forward_below(isa, p, b) {
            let x = encoder_input(&b.x, b.seen.as_ref(), b.rows);
            self.encoder.forward(isa, p, x, &mut b.eta, &mut b.encoder);
        }
    }
    /// From the derivatives by what the encoder says to its parameters'; with `to_inputs` those by x to the components' own.
    pub(super) fn encoder_backward<F: Real>(&self, isa: Isa, p: &Params<F>, b: &mut Block<F>, to_inputs: bool) {
        if !self.encoder_backward_below(isa, p, b, to_inputs) {
            let x = encoder_input(&b.x, b.seen.as_ref(), b.rows);
            let dx = b.d_prior.first_mut().filter(|_| to_inputs);
            self.encoder.backward_rows(isa, p, x, &b.eta, &mut b.d_eta, dx, &mut b.encoder);
        }
    }
    /// A [part](Layer::parts) of the decoder's half of the way back: with the first one, from `out` to `dz`.
    pub(super) fn decoder_backward<F: Real>(&self, part: usize, isa: Isa, p: &Params<F>, b: &mut Block<F>) {
        let (many, latent) = (b.many(), self.config().latent);
        if self.decoder_backward_below(isa, p, b) {
            return;
        }
        let Some(given) = &mut b.given else {
            let z = b.z.rows(many);
            let dz = Some(&mut b.dz);
            return self.decoder.backward_part(part, isa, p, z, &b.spent, &mut b.out, dz, &mut b.decoder);
        };
        let (z, dz) = (given.joined.rows(many), &mut given.d_joined);
        self.decoder.backward_part(part, isa, p, z, &b.spent, &mut b.out, Some(dz), &mut b.decoder);
        if part > 0 {
            return;
        }
        for i in 0..many {
            b.dz.rows_mut(many).row(i).copy_from_slice(&given.d_joined.rows(many).row(i)[..latent]);
        }
    }
}
