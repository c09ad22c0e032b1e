//! Which posterior, as a configuration names it.

use super::FullGaussian;
use crate::error::{Error, Result};
use crate::nearest::unknown;
use std::fmt;
use std::str::FromStr;

/// The posterior's configuration; it reads and prints as `diagonal`, `full`, `planar:STEPS` or `iaf:STEPS`.
///
/// ```
/// use elbo::density::PosteriorKind;
/// assert_eq!("iaf:4".parse::<PosteriorKind>()?, PosteriorKind::Autoregressive(4));
/// assert!("planer:4".parse::<PosteriorKind>().unwrap_err().to_string().contains("planar:STEPS"));
/// # Ok::<(), elbo::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PosteriorKind {
    /// A Gaussian whose latents are independent given x.
    #[default]
    Diagonal,
    /// A Gaussian of any covariance.
    Full,
    /// So many planar flows on the diagonal Gaussian (Rezende and Mohamed 2015).
    Planar(usize),
    /// So many inverse autoregressive flows on it (Kingma et al. 2016).
    Autoregressive(usize),
}

/// The names, as errors list them.
const NAMES: [&str; 4] = ["diagonal", "full", "planar:STEPS", "iaf:STEPS"];

/// More steps than anyone means: each is work for each latent.
const MOST_STEPS: usize = 1 << 10;

impl PosteriorKind {
    /// Whether it is a Gaussian: its mean, its variances and its KL to the standard normal have closed forms.
    pub fn is_gaussian(self) -> bool {
        matches!(self, PosteriorKind::Diagonal | PosteriorKind::Full)
    }
    /// Columns of η after the means and log-variances of `latent` latents, for autoregressive networks of `width` hidden
    /// units; `usize::MAX` if there are too many to count.
    pub fn more_columns(self, latent: usize, width: usize) -> usize {
        match self {
            PosteriorKind::Diagonal => 0,
            PosteriorKind::Full => FullGaussian::below(latent),
            PosteriorKind::Planar(steps) => latent.saturating_mul(2).saturating_add(1).saturating_mul(steps),
            PosteriorKind::Autoregressive(steps) => width.saturating_mul(steps),
        }
    }
    /// Parameters of its own, besides what the encoder has for it; likewise.
    pub fn parameters(self, latent: usize, width: usize) -> usize {
        match self {
            PosteriorKind::Autoregressive(steps) => {
                let leave = width.saturating_add(1).saturating_mul(latent.saturating_mul(2));
                latent.saturating_add(1).saturating_mul(width).saturating_add(leave).saturating_mul(steps)
            }
            _ => 0,
        }
    }
    /// Whether its number is in range; what is parsed always is.
    ///
    /// # Errors
    /// No steps of a flow, or more than 1,024.
    pub fn check(self) -> Result<()> {
        match self {
            PosteriorKind::Planar(steps) | PosteriorKind::Autoregressive(steps)
                if !(1..=MOST_STEPS).contains(&steps) =>
            {
                Err(Error::input(format!("a flow has 1 to {MOST_STEPS} steps, not {steps}"))
                    .hint("planar:10 or iaf:4, for example; diagonal is the posterior without a flow"))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for PosteriorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PosteriorKind::Diagonal => write!(f, "diagonal"),
            PosteriorKind::Full => write!(f, "full"),
            PosteriorKind::Planar(steps) => write!(f, "planar:{steps}"),
            PosteriorKind::Autoregressive(steps) => write!(f, "iaf:{steps}"),
        }
    }
}

impl FromStr for PosteriorKind {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let number = |n: &str, example: &str| {
            let bad = || Error::input(format!("`{text}`: `{n}` is no number of steps"));
            n.parse().map_err(|_| bad().hint(format!("{example}, for example")))
        };
        let kind = match text.split_once(':') {
            None if text == "diagonal" => PosteriorKind::Diagonal,
            None if text == "full" => PosteriorKind::Full,
            Some(("planar", n)) => PosteriorKind::Planar(number(n, "planar:10")?),
            Some(("iaf", n)) => PosteriorKind::Autoregressive(number(n, "iaf:4")?),
            _ => return Err(unknown("posterior", text, &NAMES)),
        };
        kind.check()?;
        Ok(kind)
    }
}
