//! What the encoder sees of the examples while a model is trained to restore them.
//!
//! ```text
//! x̃ ~ C(x̃|x)        −log p(x|z),  z ~ q(z|x̃)        KL(q(z|x̃) ‖ p(z))
//! ```
//!
//! The denoising criterion of Im, Ahn, Memisevic and Bengio (2017, arXiv:1511.06406, eq. 9, of one x̃ a row and step); the
//! likelihood is of the examples as they are. An evaluation corrupts where it is asked to.

use super::Draw;
use crate::error::{Error, Result};
use crate::nearest::unknown;
use crate::tensor::{Real, Stream};
use rand::Rng;
use rand_distr::StandardNormal;
use std::fmt;
use std::str::FromStr;

/// What happens to the encoder's input; it reads and prints as `none`, `mask:SHARE` or `noise:DEVIATION`.
///
/// ```
/// use elbo::model::Corruption;
/// assert_eq!("mask:0.3".parse::<Corruption>()?, Corruption::Mask(0.3));
/// assert!("mask:3".parse::<Corruption>().unwrap_err().to_string().contains("between 0 and 1"));
/// # Ok::<(), elbo::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Corruption {
    /// Nothing.
    #[default]
    None,
    /// Each value becomes 0 with this probability (Vincent et al. 2008).
    Mask(f64),
    /// Normal noise of this deviation is added.
    Noise(f64),
}

/// The names, as errors list them.
const NAMES: [&str; 3] = ["none", "mask:SHARE", "noise:DEVIATION"];

impl Corruption {
    /// Whether its number is in range; what is parsed always is.
    ///
    /// # Errors
    /// A share outside (0, 1), or a deviation that is not positive.
    pub fn check(self) -> Result<()> {
        match self {
            Corruption::Mask(share) if !(share > 0.0 && share < 1.0) => {
                Err(Error::input(format!("the share that is masked lies between 0 and 1, and {share} does not"))
                    .hint("mask:0.3, for example"))
            }
            Corruption::Noise(deviation) if !(deviation.is_finite() && deviation > 0.0) => {
                Err(Error::input(format!("the noise's deviation must be a positive number, not {deviation}"))
                    .hint("noise:0.1, for example"))
            }
            _ => Ok(()),
        }
    }
    /// Corrupts row `row` of the batch that `draw` is for: a function of its seed, its step and the row.
    pub fn apply<F: Real>(self, draw: &Draw, row: usize, values: &mut [F]) {
        let mut rng = draw.noise.rng(Stream::Corrupt, draw.step, row as u64, draw.stream as u64);
        match self {
            Corruption::None => {}
            Corruption::Mask(share) => values.iter_mut().for_each(|x| {
                *x = if rng.random::<f64>() < share { F::ZERO } else { *x };
            }),
            Corruption::Noise(deviation) => values.iter_mut().for_each(|x| {
                *x += F::from_f64(deviation * rng.sample::<f64, _>(StandardNormal));
            }),
        }
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Corruption::None => write!(f, "none"),
            Corruption::Mask(share) => write!(f, "mask:{share}"),
            Corruption::Noise(deviation) => write!(f, "noise:{deviation}"),
        }
    }
}

impl FromStr for Corruption {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let number = |n: &str, example: &str| {
            let bad = || Error::input(format!("`{text}`: `{n}` is no number"));
            n.parse().map_err(|_| bad().hint(format!("{example}, for example")))
        };
        let corruption = match text.split_once(':') {
            None if text == "none" => Corruption::None,
            Some(("mask", n)) => Corruption::Mask(number(n, "mask:0.3")?),
            Some(("noise", n)) => Corruption::Noise(number(n, "noise:0.1")?),
            _ => return Err(unknown("corruption", text, &NAMES)),
        };
        corruption.check()?;
        Ok(corruption)
    }
}
