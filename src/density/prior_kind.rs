//! Which prior, as a configuration names it.

use crate::error::{Error, Result};
use crate::nearest::unknown;
use std::fmt;
use std::str::FromStr;

/// The prior's configuration; it reads and prints as `standard`, `mixture:COMPONENTS`, `vamp:COMPONENTS`, or
/// `exemplar:DRAWN:NEAREST` and `exemplar:DRAWN`.
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
    /// Normal densities around the encodings of the training rows (Norouzi, Fleet and Norouzi 2020).
    Exemplar {
        /// Rows that are drawn anew each step to be exemplars.
        drawn: usize,
        /// How many of them each row of the batch has encoded, those nearest to it; without a number, all are.
        nearest: Option<usize>,
    },
}

/// The names, as errors list them.
const NAMES: [&str; 4] = ["standard", "mixture:COMPONENTS", "vamp:COMPONENTS", "exemplar:DRAWN:NEAREST"];

/// More components than anyone means: each of them is weighed for each latent.
const MOST_COMPONENTS: usize = 1 << 16;
/// And more exemplars.
const MOST_EXEMPLARS: usize = 1 << 24;

impl PriorKind {
    /// Whether the posterior's KL to it has a closed form.
    pub fn closed_form(self) -> bool {
        self == PriorKind::StandardNormal
    }
    /// Whether it is made of the training rows.
    pub fn is_exemplar(self) -> bool {
        matches!(self, PriorKind::Exemplar { .. })
    }
    /// Components of a mixture; 0 of none, and of exemplars, which come with the data.
    pub fn components(self) -> usize {
        match self {
            PriorKind::StandardNormal | PriorKind::Exemplar { .. } => 0,
            PriorKind::Mixture(count) | PriorKind::Vamp(count) => count,
        }
    }
    /// Rows that a step on a batch of `rows` encodes besides the batch, at most.
    pub fn encoded(self, rows: usize) -> usize {
        match self {
            PriorKind::Exemplar { drawn, nearest } => nearest.map_or(drawn, |k| drawn.min(k.saturating_mul(rows))),
            _ => self.components(),
        }
    }
    /// Parameters of its own, for rows of `inputs` columns and `latent` latents; `usize::MAX` if there are too many to
    /// count.
    pub fn parameters(self, inputs: usize, latent: usize) -> usize {
        match self {
            PriorKind::StandardNormal => 0,
            PriorKind::Mixture(count) => latent.saturating_mul(2).saturating_add(1).saturating_mul(count),
            PriorKind::Vamp(count) => inputs.saturating_mul(count),
            PriorKind::Exemplar { .. } => 1,
        }
    }
    /// Whether its number is in range; what is parsed always is.
    ///
    /// # Errors
    /// No components, or more than 65,536; exemplars of which a row has none that is not itself, or more than 2²⁴, and fewer than
    /// are to be the nearest.
    pub fn check(self) -> Result<()> {
        match self {
            PriorKind::Mixture(count) | PriorKind::Vamp(count) if !(1..=MOST_COMPONENTS).contains(&count) => {
                Err(Error::input(format!("a mixture has 1 to {MOST_COMPONENTS} components, not {count}"))
                    .hint("vamp:500, for example"))
            }
            PriorKind::Exemplar { drawn, .. } if !(2..=MOST_EXEMPLARS).contains(&drawn) => {
                let what =
                    format!("2 to {MOST_EXEMPLARS} exemplars are drawn for a step, not {drawn}: no row is its own");
                Err(Error::input(what).hint("exemplar:25000:10, for example"))
            }
            PriorKind::Exemplar { drawn, nearest: Some(nearest) } if !(1..=drawn).contains(&nearest) => {
                Err(Error::input(format!("the nearest {nearest} of {drawn} exemplars"))
                    .hint("exemplar:25000:10 takes the nearest 10 of 25,000, exemplar:1000 all of 1,000"))
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
            PriorKind::Exemplar { drawn, nearest: None } => write!(f, "exemplar:{drawn}"),
            PriorKind::Exemplar { drawn, nearest: Some(nearest) } => write!(f, "exemplar:{drawn}:{nearest}"),
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
            Some(("exemplar", numbers)) => {
                let of = |n: &str| number(n, "exemplar:25000:10");
                let (drawn, nearest) = numbers.split_once(':').map_or((numbers, None), |(m, k)| (m, Some(k)));
                PriorKind::Exemplar { drawn: of(drawn)?, nearest: nearest.map(of).transpose()? }
            }
            _ => return Err(unknown("prior", text, &NAMES)),
        };
        kind.check()?;
        Ok(kind)
    }
}
