//! Which objective, as a configuration names it.

use super::{Batch, Bound, Elbo, Estimator, FreeBits, Penalty, Terms, Weighted, Weights};
use crate::error::{Error, Result};
use crate::nearest::unknown;
use crate::tensor::Real;
use std::fmt;
use std::str::FromStr;

/// How the gradient by the posterior's parameters is estimated; it reads and prints as `plain`, `stl` or `dreg`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PathGradient {
    /// That of the value.
    #[default]
    Plain,
    /// Sticking the landing (Roeder, Wu and Duvenaud 2017): without the score of q.
    StickingTheLanding,
    /// Doubly reparameterized (Tucker et al. 2019): the score of q reparameterized once more.
    DoublyReparameterized,
}

impl PathGradient {
    /// Every kind, with its name in configurations.
    pub const ALL: [(&'static str, PathGradient); 3] = [
        ("plain", PathGradient::Plain),
        ("stl", PathGradient::StickingTheLanding),
        ("dreg", PathGradient::DoublyReparameterized),
    ];
}

impl fmt::Display for PathGradient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL[*self as usize].0)
    }
}

impl FromStr for PathGradient {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, gradient)| *gradient);
        found.ok_or_else(|| unknown("gradient", text, &Self::ALL.map(|(name, _)| name)))
    }
}

/// The objective's configuration; it reads and prints as `elbo`, `iwae`, `miwae:GROUPS`, `piwae:GROUPS`, `ciwae:SHARE` or
/// `renyi:ORDER`.
///
/// ```
/// use elbo::estimator::{Bound, ObjectiveKind};
/// assert_eq!("miwae:4".parse::<ObjectiveKind>()?, ObjectiveKind::Weighted(Bound::Miwae(4)));
/// assert_eq!(ObjectiveKind::Weighted(Bound::Ciwae(0.5)).to_string(), "ciwae:0.5");
/// assert!("iwea".parse::<ObjectiveKind>().unwrap_err().to_string().contains("did you mean `iwae`?"));
/// # Ok::<(), elbo::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum ObjectiveKind {
    /// The ELBO: its KL in closed form where there is one and the gradient is plain, else sampled.
    #[default]
    Elbo,
    /// An importance-weighted [`Bound`].
    Weighted(Bound),
}

/// More samples than anyone trains with.
const MOST_SAMPLES: usize = 1 << 16;

/// The names, as errors list them.
const NAMES: [&str; 6] = ["elbo", "iwae", "miwae:GROUPS", "piwae:GROUPS", "ciwae:SHARE", "renyi:ORDER"];

impl ObjectiveKind {
    /// Its name in figures, with the number of samples: `IWAE_5`.
    pub fn label(&self, samples: usize) -> String {
        let text = self.to_string();
        let name = text.split(':').next().unwrap_or_default().to_uppercase();
        format!("{name}_{samples}")
    }
    /// The objective with `samples` samples of z a row; `closed_form` says whether the prior has a KL in closed form.
    ///
    /// # Errors
    /// As [`Weighted::new`] and [`FreeBits::check`]; free bits of an objective without a KL by latent.
    pub fn build(
        self,
        samples: usize,
        gradient: PathGradient,
        free_bits: Option<FreeBits>,
        closed_form: bool,
    ) -> Result<Objective> {
        if !(1..=MOST_SAMPLES).contains(&samples) {
            let what = format!("{samples} samples of a row; an objective has between 1 and {MOST_SAMPLES}");
            return Err(Error::input(what).hint("--samples 1 is usual of the ELBO, --samples 5 or 50 of IWAE"));
        }
        free_bits.map_or(Ok(()), FreeBits::check)?;
        let objective = match self {
            ObjectiveKind::Elbo if closed_form && gradient == PathGradient::Plain => {
                return Ok(Objective::Elbo(Elbo::new(samples, free_bits)));
            }
            ObjectiveKind::Elbo => Objective::Weighted(Weighted::elbo(samples, gradient)),
            ObjectiveKind::Weighted(bound) => Objective::Weighted(Weighted::new(bound, samples, gradient)?),
        };
        match free_bits {
            None => Ok(objective),
            Some(_) => Err(Error::input(format!(
                "{self} with gradient {gradient} samples its KL, and free bits floor the KL of each latent"
            ))
            .hint("leave free-bits out, or train the plain ELBO of a Gaussian posterior under the standard prior, without levels below z")),
        }
    }
}

impl fmt::Display for ObjectiveKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ObjectiveKind::Elbo => write!(f, "elbo"),
            ObjectiveKind::Weighted(Bound::Iwae) => write!(f, "iwae"),
            ObjectiveKind::Weighted(Bound::Miwae(groups)) => write!(f, "miwae:{groups}"),
            ObjectiveKind::Weighted(Bound::Piwae(groups)) => write!(f, "piwae:{groups}"),
            ObjectiveKind::Weighted(Bound::Ciwae(share)) => write!(f, "ciwae:{share}"),
            ObjectiveKind::Weighted(Bound::Renyi(order)) => write!(f, "renyi:{order}"),
        }
    }
}

impl FromStr for ObjectiveKind {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        fn number<T: FromStr>(text: &str, n: &str, example: &str) -> Result<T> {
            let bad = || Error::input(format!("`{text}`: `{n}` is no number")).hint(format!("{example}, for example"));
            n.trim().parse().map_err(|_| bad())
        }
        let bound = match text.split_once(':') {
            None if text == "elbo" => return Ok(ObjectiveKind::Elbo),
            None if text == "iwae" => Bound::Iwae,
            Some(("miwae", n)) => Bound::Miwae(number(text, n, "miwae:4")?),
            Some(("piwae", n)) => Bound::Piwae(number(text, n, "piwae:4")?),
            Some(("ciwae", n)) => Bound::Ciwae(number(text, n, "ciwae:0.5")?),
            Some(("renyi", n)) => Bound::Renyi(number(text, n, "renyi:0.5")?),
            _ => return Err(unknown("objective", text, &NAMES)),
        };
        Ok(ObjectiveKind::Weighted(bound))
    }
}

/// An objective as a configuration has it: one of the estimators of this room.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Objective {
    /// The ELBO with its KL in closed form.
    Elbo(Elbo),
    /// A bound of sampled terms.
    Weighted(Weighted),
}

impl Objective {
    /// With a [capacity](Elbo::with_capacity) of so many nats, if any. Panics when it is no ELBO of a KL in closed form.
    #[must_use]
    pub fn with_capacity(self, nats: Option<f64>) -> Self {
        match (nats, self) {
            (None, _) => self,
            (Some(nats), Objective::Elbo(elbo)) => Objective::Elbo(elbo.with_capacity(nats)),
            (Some(_), Objective::Weighted(weighted)) => panic!("a capacity of {weighted:?}"),
        }
    }
    /// With a [penalty](Elbo::with_penalty). Panics when it is no ELBO of a KL in closed form and one sample.
    #[must_use]
    pub fn with_penalty(self, penalty: Option<(Penalty, usize)>) -> Self {
        match (penalty, self) {
            (None, _) => self,
            (Some((penalty, examples)), Objective::Elbo(elbo)) => Objective::Elbo(elbo.with_penalty(penalty, examples)),
            (Some((penalty, _)), Objective::Weighted(weighted)) => panic!("a penalty {penalty} of {weighted:?}"),
        }
    }
    fn inner<F: Real>(&self) -> &dyn Estimator<F> {
        match self {
            Objective::Elbo(elbo) => elbo,
            Objective::Weighted(weighted) => weighted,
        }
    }
}

impl<F: Real> Estimator<F> for Objective {
    fn samples(&self) -> usize {
        self.inner::<F>().samples()
    }
    fn couples_rows(&self) -> bool {
        self.inner::<F>().couples_rows()
    }
    fn penalty(&self) -> Option<(Penalty, usize)> {
        self.inner::<F>().penalty()
    }
    fn sampled(&self) -> bool {
        self.inner::<F>().sampled()
    }
    fn surrogate(&self) -> bool {
        self.inner::<F>().surrogate()
    }
    fn is_elbo(&self) -> bool {
        self.inner::<F>().is_elbo()
    }
    fn row_value(&self, beta: f64, row: usize, terms: &Terms<F>) -> Option<f64> {
        self.inner().row_value(beta, row, terms)
    }
    fn likelihood_weight(&self, batch: &Batch) -> Option<F> {
        self.inner().likelihood_weight(batch)
    }
    fn weights(&self, batch: &Batch, rows: usize, terms: &Terms<F>, weights: &mut Weights<F>) {
        self.inner().weights(batch, rows, terms, weights);
    }
    fn objective(&self, beta: f64, reconstruction: f64, mean_kl: &[f64]) -> f64 {
        self.inner::<F>().objective(beta, reconstruction, mean_kl)
    }
}
