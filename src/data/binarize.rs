//! Grey values made binary, as a pure function of the seed.

use crate::nearest::unknown;
use crate::tensor::{Noise, Stream};
use crate::{Error, Result};
use elbo_kernels::Element;
use rand::RngCore;
use std::fmt;
use std::str::FromStr;

/// How grey values `v` in [0, 1] become binary before they are used as input and target.
///
/// Published likelihoods differ in this: dynamic binarization is that of the importance weighted autoencoder (Burda,
/// Grosse and Salakhutdinov 2016, section 5), one fixed sample that of Larochelle and Murray 2011. Their numbers do not
/// compare.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Binarize {
    /// Values stay grey.
    #[default]
    None,
    /// 1 with probability `v`, drawn anew each time a row is used: a function of seed, step, row and column.
    Dynamic,
    /// 1 if `v >= 0.5`, else 0.
    Threshold,
    /// 1 with probability `v`, drawn once for ever: a function of seed, row and column.
    Fixed,
}

impl Binarize {
    /// The names, as flags and files write them.
    pub const NAMES: [&str; 4] = ["none", "dynamic", "threshold", "fixed"];

    /// The name, as flags and files write it.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// What to evaluate with: a dynamic draw would change the figure from one evaluation to the next, so it becomes
    /// the fixed draw of the same seed. The others stay as they are.
    #[must_use]
    pub fn evaluation(self) -> Self {
        if self == Binarize::Dynamic { Binarize::Fixed } else { self }
    }

    /// Binarizes one row, `(cols)`, in place. `row` is the row's [`id`](super::View::id) in the whole set; `step` matters
    /// to the dynamic draw alone. Allocates nothing.
    ///
    /// A draw compares `v` with a uniform multiple of 2⁻²⁴ in [0, 1): 1 always stays 1, 0 always 0, and a probability is
    /// met to 2⁻²⁴.
    pub fn apply<F: Element>(self, noise: Noise, step: u64, row: u64, values: &mut [F]) {
        // The sample number keeps the fixed draw apart from the dynamic draw of step 0.
        match self {
            Binarize::None => {}
            Binarize::Dynamic => draw(&mut noise.rng(Stream::Binarize, step, row, 0), values),
            Binarize::Fixed => draw(&mut noise.rng(Stream::Binarize, 0, row, 1), values),
            Binarize::Threshold => {
                let half = F::from_f64(0.5);
                values.iter_mut().for_each(|v| *v = if *v >= half { F::ONE } else { F::ZERO });
            }
        }
    }
}

/// Columns drawn at a time: what one refill of the generator gives.
const COLUMNS: usize = 64;

fn draw<F: Element>(rng: &mut impl RngCore, values: &mut [F]) {
    let mut bytes = [0; 4 * COLUMNS];
    let unit = F::from_f64(1.0 / f64::from(1 << 24));
    for block in values.chunks_mut(COLUMNS) {
        rng.fill_bytes(&mut bytes);
        for (v, word) in block.iter_mut().zip(bytes.chunks_exact(4)) {
            let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]) >> 8;
            let uniform = F::from_f64(f64::from(word)) * unit;
            *v = if uniform < *v { F::ONE } else { F::ZERO };
        }
    }
}

impl fmt::Display for Binarize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Binarize {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self> {
        let all = [Binarize::None, Binarize::Dynamic, Binarize::Threshold, Binarize::Fixed];
        let found = all.into_iter().find(|b| b.name() == name);
        found.ok_or_else(|| unknown("binarization", name, &Self::NAMES))
    }
}
