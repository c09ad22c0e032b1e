//! Which prior, as a configuration names it.

use crate::error::{Error, Result};
use crate::nearest::unknown;
use std::fmt;
use std::str::FromStr;

/// The prior's configuration; it reads and prints as `standard`, `mixture:COMPONENTS` or `vamp:COMPONENTS`.
///
/// ```
/// use elbo::density::PriorKind;
/// assert_eq!("vamp:500".parse::<PriorKind>()?, PriorKind::Vamp(500));
/// assert!("vampire:5".parse::<PriorKind>().unwrap_err().to_string().contains("vamp:COMPONENTS"));
/// # Ok::<(), elbo::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PriorKind {
    /// N(0, I).
    #[default]
    StandardNormal,
    /// A learned mixture of so many diagonal Gaussians, weights included.
    Mixture(usize),
    /// The encoder's posteriors of so many learned pseudo-inputs, in equal parts (Tomczak and Welling 2018).
    Vamp(usize),
}

/// The names, as errors list them.
const NAMES: [&str; 3] = ["standard", "mixture:COMPONENTS", "vamp:COMPONENTS"];

/// More components than anyone means: each of them is weighed for each latent.
const MOST_COMPONENTS: usize = 1 << 16;

impl PriorKind {
    /// Whether the posterior's KL to it has a closed form.
    pub fn closed_form(self) -> bool {
        self == PriorKind::StandardNormal
    }
    /// Components of a mixture; 0 of none.
    pub fn components(self) -> usize {
        match self {
            PriorKind::StandardNormal => 0,
            PriorKind::Mixture(count) | PriorKind::Vamp(count) => count,
        }
    }
    /// Parameters of its own, for rows of `inputs` columns and `latent` latents; `usize::MAX` if there are too many to
    /// count.
    pub fn parameters(self, inputs: usize, latent: usize) -> usize {
        match self {
            PriorKind::StandardNormal => 0,
            PriorKind::Mixture(count) => latent.saturating_mul(2).saturating_add(1).saturating_mul(count),
            PriorKind::Vamp(count) => inputs.saturating_mul(count),
        }
    }
    /// Whether its number is in range; what is parsed always is.
    ///
    /// # Errors
    /// No components, or more than 65,536.
    pub fn check(self) -> Result<()> {
        match self {
            PriorKind::Mixture(count) | PriorKind::Vamp(count) if !(1..=MOST_COMPONENTS).contains(&count) => {
                Err(Error::input(format!("a mixture has 1 to {MOST_COMPONENTS} components, not {count}"))
                    .hint("vamp:500, for example"))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for PriorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PriorKind::StandardNormal => write!(f, "standard"),
            PriorKind::Mixture(count) => write!(f, "mixture:{count}"),
            PriorKind::Vamp(count) => write!(f, "vamp:{count}"),
        }
    }
}

impl FromStr for PriorKind {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let number = |n: &str, example: &str| {
            let bad = || Error::input(format!("`{text}`: `{n}` is no number of components"));
            n.parse().map_err(|_| bad().hint(format!("{example}, for example")))
        };
        let kind = match text.split_once(':') {
            None if text == "standard" => PriorKind::StandardNormal,
            Some(("mixture", n)) => PriorKind::Mixture(number(n, "mixture:10")?),
            Some(("vamp", n)) => PriorKind::Vamp(number(n, "vamp:500")?),
            _ => return Err(unknown("prior", text, &NAMES)),
        };
        kind.check()?;
        Ok(kind)
    }
}
