//! Weights some of whose entries are not there, so that a network is autoregressive (Germain, Gregor, Murray and Larochelle
//! 2015, arXiv:1502.03509, eq. 8 and 9).
//!
//! Of L latents, hidden unit k has the degree k mod L: it sees the latents before that one, and what comes out for latent i
//! sees the hidden units of degrees up to i, so it depends on the latents before i and on no other. Units of degree 0 see no
//! latent at all, only what else they are given.
//!
//! An entry that is not there is a zero: it starts as one, and its gradient is one wherever a gradient is made, so no
//! optimizer, decay or average moves it.

use super::{Real, Tile};

/// Which entries of a weight, (in, out), are there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mask {
    /// From so many latents to hidden units.
    Enter(usize),
    /// From hidden units to any number of outputs for each of so many latents: output `o` is for latent o mod L.
    Leave(usize),
}

impl Mask {
    /// The latents, and the least degree that an output has which input `input` reaches.
    fn least(self, input: usize) -> (usize, usize) {
        match self {
            Mask::Enter(latent) => (latent, input + 1),
            Mask::Leave(latent) => (latent, input % latent),
        }
    }
    /// Whether output `output` depends on input `input`.
    pub fn keeps(self, input: usize, output: usize) -> bool {
        let (latent, least) = self.least(input);
        output % latent >= least
    }
    /// The first element of a weight of so many inputs, in a file's order (out, in), that is not there and yet not zero.
    pub fn first_outside<F: Real>(self, inputs: usize, plain: &[F]) -> Option<usize> {
        plain.iter().enumerate().position(|(at, x)| *x != F::ZERO && !self.keeps(at % inputs, at / inputs))
    }
    /// Makes zeros of the elements of such a weight that are not there.
    pub(super) fn clear<F: Real>(self, inputs: usize, plain: &mut [F]) {
        for (at, x) in plain.iter_mut().enumerate() {
            *x = if self.keeps(at % inputs, at / inputs) { *x } else { F::ZERO };
        }
    }
    /// The same for a tile of it, in storage order.
    pub fn clear_tile<F: Real>(self, tile: &Tile, values: &mut [F]) {
        let first = tile.slot.panels().panel(tile.panel).col;
        for (row, line) in tile.rows.clone().zip(values.chunks_exact_mut(tile.width())) {
            let (latent, least) = self.least(row);
            // Degrees counted: a remainder for each element would cost as much as its gradient.
            let mut degree = first % latent;
            for x in line {
                *x = if degree < least { F::ZERO } else { *x };
                degree = if degree + 1 == latent { 0 } else { degree + 1 };
            }
        }
    }
}
