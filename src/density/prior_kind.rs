//! Which prior, as a configuration names it.

use super::Levels;
use crate::error::{Error, Result};
use crate::nearest::unknown;
use std::fmt;
use std::str::FromStr;

/// The prior's configuration; it reads and prints as `standard`, `mixture:COMPONENTS`, `vamp:COMPONENTS`, `flow:COUPLINGS`,
/// `flow:COUPLINGS:WIDTH`, `exemplar:DRAWN`, `exemplar:DRAWN:NEAREST` or `vae:LATENTxWIDTH,…`.
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
    /// N(0, I) at the end of a learned [flow](crate::flow::CouplingFlow): its affine couplings, and the hidden units of each
    /// coupling's net, if they are given.
    Flow(usize, Option<usize>),
    /// Normal densities around the encodings of the training rows (Norouzi, Fleet and Norouzi 2020).
    Exemplar {
        /// Rows that are drawn anew each step to be exemplars.
        drawn: usize,
        /// How many of them each row of the batch has encoded, those nearest to it; without a number, all are.
        nearest: Option<usize>,
    },
    /// A VAE over the latents: more stochastic layers (Burda, Grosse and Salakhutdinov 2016).
    Stacked(Levels),
}

/// The names, as errors list them.
const NAMES: [&str; 6] = [
    "standard",
    "mixture:COMPONENTS",
    "vamp:COMPONENTS",
    "flow:COUPLINGS",
    "exemplar:DRAWN:NEAREST",
    "vae:LATENTxWIDTH",
];

/// More components than anyone means: each of them is weighed for each latent.
const MOST_COMPONENTS: usize = 1 << 16;
/// And more exemplars.
const MOST_EXEMPLARS: usize = 1 << 24;

/// The same of couplings, through which each latent goes one after the other, and of their hidden units.
const MOST_COUPLINGS: usize = 64;
const MOST_WIDTH: usize = 1 << 16;
/// Hidden units at least, where their number is not given.
const LEAST_WIDTH: usize = 64;

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
            PriorKind::StandardNormal | PriorKind::Flow(..) | PriorKind::Exemplar { .. } | PriorKind::Stacked(_) => 0,
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
    /// Couplings of a flow over `latent` latents, and hidden units of each coupling's net: twice the latents, and 64 at
    /// least, if they are not given. None of other priors.
    pub fn flow(self, latent: usize) -> Option<(usize, usize)> {
        match self {
            PriorKind::Flow(couplings, width) => {
                Some((couplings, width.unwrap_or(latent.saturating_mul(2).max(LEAST_WIDTH))))
            }
            _ => None,
        }
    }
    /// The levels of more stochastic layers; none of other priors.
    pub fn levels(self) -> Option<Levels> {
        if let PriorKind::Stacked(levels) = self { Some(levels) } else { None }
    }
    /// Parameters of its own, for rows of `inputs` columns and `latent` latents; `usize::MAX` if there are too many to
    /// count.
    pub fn parameters(self, inputs: usize, latent: usize) -> usize {
        match self {
            PriorKind::StandardNormal => 0,
            PriorKind::Mixture(count) => latent.saturating_mul(2).saturating_add(1).saturating_mul(count),
            PriorKind::Vamp(count) => inputs.saturating_mul(count),
            PriorKind::Flow(..) => {
                let (couplings, width) = self.flow(latent).unwrap_or_default();
                // A unit sees the half that is kept, and gives the other, of no more latents, a scale and a shift.
                let half = latent.div_ceil(2);
                let unit = half.saturating_mul(3).saturating_add(1);
                unit.saturating_mul(width).saturating_add(half.saturating_mul(2)).saturating_mul(couplings)
            }
            PriorKind::Exemplar { .. } => 1,
            PriorKind::Stacked(levels) => levels.parameters(latent),
        }
    }
    /// Numbers that a step keeps for each sample of `latent` latents, in about; those of mixtures are counted by component.
    pub fn activations(self, latent: usize) -> usize {
        let of = |(couplings, width): (usize, usize)| (6 * latent).saturating_add(2 * width).saturating_mul(couplings);
        match self {
            PriorKind::Stacked(levels) => levels.activations(latent),
            _ => self.flow(latent).map_or(0, of),
        }
    }
    /// Whether it can be over so many latents.
    ///
    /// # Errors
    /// A flow over a single latent, which cannot be split.
    pub fn check_latent(self, latent: usize) -> Result<()> {
        match self {
            PriorKind::Flow(..) if latent < 2 => Err(Error::input(format!(
                "the prior {self} moves some latents by the others, and {latent} cannot be split"
            ))
            .hint("--latent 2 or more, or another prior: mixture:10, for example")),
            _ => Ok(()),
        }
    }
    /// Whether its numbers are in range; what is parsed always is.
    ///
    /// # Errors
    /// No components, couplings or units, or more than 65,536, 64 and 65,536; exemplars of which a row has none that is not itself, or
    /// more than 2²⁴, and fewer than are to be the nearest.
    pub fn check(self) -> Result<()> {
        match self {
            PriorKind::Flow(couplings, _) if !(1..=MOST_COUPLINGS).contains(&couplings) => {
                Err(Error::input(format!("a flow has 1 to {MOST_COUPLINGS} couplings, not {couplings}"))
                    .hint("flow:4, for example"))
            }
            PriorKind::Flow(couplings, Some(width)) if !(1..=MOST_WIDTH).contains(&width) => {
                Err(Error::input(format!("a coupling has 1 to {MOST_WIDTH} hidden units, not {width}"))
                    .hint(format!("flow:{couplings} chooses them by the latents")))
            }
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
            PriorKind::Flow(couplings, None) => write!(f, "flow:{couplings}"),
            PriorKind::Flow(couplings, Some(width)) => write!(f, "flow:{couplings}:{width}"),
            PriorKind::Exemplar { drawn, nearest: None } => write!(f, "exemplar:{drawn}"),
            PriorKind::Exemplar { drawn, nearest: Some(nearest) } => write!(f, "exemplar:{drawn}:{nearest}"),
            PriorKind::Stacked(levels) => write!(f, "vae:{levels}"),
        }
    }
}

impl FromStr for PriorKind {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let number_of = |what: &str, n: &str, example: &str| {
            let bad = || Error::input(format!("`{text}`: `{n}` is no number of {what}"));
            n.parse().map_err(|_| bad().hint(format!("{example}, for example")))
        };
        let number = |n: &str, example: &str| number_of("components", n, example);
        let kind = match text.split_once(':') {
            None if text == "standard" => PriorKind::StandardNormal,
            Some(("mixture", n)) => PriorKind::Mixture(number(n, "mixture:10")?),
            Some(("vamp", n)) => PriorKind::Vamp(number(n, "vamp:500")?),
            Some(("flow", numbers)) => {
                let (couplings, width) = numbers.split_once(':').map_or((numbers, None), |(n, w)| (n, Some(w)));
                let width = width.map(|w| number_of("hidden units", w, "flow:4:64")).transpose()?;
                PriorKind::Flow(number_of("couplings", couplings, "flow:4")?, width)
            }
            Some(("exemplar", numbers)) => {
                let of = |n: &str| number(n, "exemplar:25000:10");
                let (drawn, nearest) = numbers.split_once(':').map_or((numbers, None), |(m, k)| (m, Some(k)));
                PriorKind::Exemplar { drawn: of(drawn)?, nearest: nearest.map(of).transpose()? }
            }
            Some(("vae", levels)) => PriorKind::Stacked(Levels::parse(levels, text)?),
            _ => return Err(unknown("prior", text, &NAMES)),
        };
        kind.check()?;
        Ok(kind)
    }
}
