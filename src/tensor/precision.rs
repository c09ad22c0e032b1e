//! The precision of a network's matrix products.

use crate::error::{Error, Result};
use crate::nearest::unknown;
use std::fmt;
use std::str::FromStr;

/// What the operands of matrix products are rounded to; it reads and prints as `f32` or `bf16`.
///
/// With `bf16`, parameters, moments, activations and sums stay in `f32`; only what enters a product is rounded, to eight
/// bits of significand (Kalamkar et al., 2019).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Precision {
    /// Not at all.
    #[default]
    F32,
    /// To bf16.
    Bf16,
}

impl Precision {
    /// Every precision, with its name in configurations.
    pub const ALL: [(&'static str, Precision); 2] = [("f32", Precision::F32), ("bf16", Precision::Bf16)];
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL[*self as usize].0)
    }
}

impl FromStr for Precision {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.iter().find(|(name, _)| *name == text);
        found
            .map(|(_, precision)| *precision)
            .ok_or_else(|| unknown("precision", text, &Self::ALL.map(|(name, _)| name)))
    }
}
