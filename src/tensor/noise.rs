//! Randomness as a pure function: of the seed, a stream, a step, a row and a sample, with the column as position.
//!
//! So noise does not depend on threads, on how rows fall into blocks, or on what was drawn before.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What the noise is for. Each purpose draws from a stream of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Stream {
    /// Initial parameters.
    Init = 1,
    /// The order of rows in an epoch.
    Order = 2,
    /// Which rows are set aside for validation.
    Split = 3,
    /// Binarization of pixels.
    Binarize = 4,
    /// Reparameterization noise while training.
    Train = 5,
    /// Reparameterization noise while evaluating.
    Evaluate = 6,
    /// Samples from the prior and the likelihood.
    Sample = 7,
    /// Generated data sets.
    Data = 8,
    /// Directions and points of gradient checks.
    Check = 9,
    /// Corruption of what the encoder sees.
    Corrupt = 10,
    /// Draws from the prior that a penalty compares latents with.
    Prior = 11,
    /// Which outputs of hidden layers are left out.
    Dropout = 12,
    /// Which training rows are a step's exemplars.
    Exemplars = 13,
}

/// A seed, from which every generator of a run is derived.
///
/// ```
/// use elbo::tensor::{Noise, Stream};
/// use rand::Rng;
/// let noise = Noise::new(7);
/// let draw = |row| noise.rng(Stream::Train, 0, row, 0).random::<u64>();
/// assert_eq!(draw(3), draw(3));
/// assert_ne!(draw(3), draw(4));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Noise {
    seed: u64,
}

impl Noise {
    /// The noise of a seed.
    pub fn new(seed: u64) -> Self {
        Noise { seed }
    }
    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }
    /// The generator for one row and sample of one step: ChaCha with 8 rounds, whose key is the whole tuple, so that no
    /// two tuples share a sequence.
    pub fn rng(&self, stream: Stream, step: u64, row: u64, sample: u64) -> ChaCha8Rng {
        let mut key = [0; 32];
        for (bytes, word) in key.chunks_exact_mut(8).zip([self.seed, stream as u64, step, row]) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(sample);
        rng
    }
}
