//! Which likelihood, as a configuration names it.

use super::{AnyLikelihood, Bernoulli, Categorical, Domain, Gaussian, Variance};
use crate::error::{Error, Result};
use crate::nearest::unknown;
use crate::tensor::Layout;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Most classes of a column: each takes a logit, and a column with more is a number, not a category.
const MOST_CLASSES: usize = 1 << 16;

/// The names, as errors list them.
const NAMES: [&str; 7] = [
    "bernoulli",
    "gaussian",
    "gaussian:VARIANCE",
    "gaussian-learned",
    "gaussian-per-dimension",
    "gaussian-predicted",
    "categorical:CLASSES",
];

/// A likelihood's configuration; it reads and prints as `bernoulli`, `gaussian`, `gaussian:0.1`, `gaussian-learned`,
/// `gaussian-per-dimension`, `gaussian-predicted` or `categorical:4`.
///
/// ```
/// use elbo::density::LikelihoodKind;
/// let kind: LikelihoodKind = "gaussian:0.1".parse()?;
/// assert_eq!(kind, LikelihoodKind::GaussianGiven(0.1));
/// assert_eq!(kind.to_string(), "gaussian:0.1");
/// let typo = "bernouli".parse::<LikelihoodKind>().unwrap_err();
/// assert!(typo.to_string().ends_with("hint: did you mean `bernoulli`?"));
/// # Ok::<(), elbo::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum LikelihoodKind {
    /// [`Bernoulli`], from logits.
    Bernoulli,
    /// [`Gaussian`] of [unit variance](Variance::Unit).
    GaussianUnit,
    /// [`Gaussian`] of a [given variance](Variance::Given) σ², from 1e-30 to 1e30.
    GaussianGiven(f64),
    /// [`Gaussian`] with [one learned variance](Variance::Learned).
    GaussianLearned,
    /// [`Gaussian`] with [a learned variance for each column](Variance::LearnedPerDimension).
    GaussianPerDimension,
    /// [`Gaussian`] with [the decoder's variances](Variance::Predicted).
    GaussianPredicted,
    /// [`Categorical`] with so many classes a column, from 1 to 65,536.
    Categorical(usize),
}

impl LikelihoodKind {
    /// The values on which it is defined.
    pub fn domain(self) -> Domain {
        match self {
            LikelihoodKind::Bernoulli => Domain::Unit,
            LikelihoodKind::Categorical(classes) => Domain::Classes(classes),
            _ => Domain::Real,
        }
    }
    /// Columns of η for `cols` columns of x; `usize::MAX` if there are too many to count.
    pub fn eta_cols(self, cols: usize) -> usize {
        match self {
            LikelihoodKind::GaussianPredicted => cols.saturating_mul(2),
            LikelihoodKind::Categorical(classes) => cols.saturating_mul(classes),
            _ => cols,
        }
    }
    fn variance(self) -> Option<Variance> {
        match self {
            LikelihoodKind::Bernoulli | LikelihoodKind::Categorical(_) => None,
            LikelihoodKind::GaussianUnit => Some(Variance::Unit),
            LikelihoodKind::GaussianGiven(variance) => Some(Variance::Given(variance)),
            LikelihoodKind::GaussianLearned => Some(Variance::Learned),
            LikelihoodKind::GaussianPerDimension => Some(Variance::LearnedPerDimension),
            LikelihoodKind::GaussianPredicted => Some(Variance::Predicted),
        }
    }
    /// Whether its number is in range; what is parsed always is.
    ///
    /// # Errors
    /// A variance or a number of classes out of range.
    pub fn check(self) -> Result<()> {
        match self {
            LikelihoodKind::GaussianGiven(variance) if !Gaussian::accepts(variance) => Err(Error::input(format!(
                "a Gaussian's variance must lie between 1e-30 and 1e30, and {variance} does not"
            ))
            .hint("gaussian:0.1, for example, or gaussian-learned")),
            LikelihoodKind::Categorical(classes) if !(1..=MOST_CLASSES).contains(&classes) => {
                Err(Error::input(format!("a categorical likelihood has 1 to {MOST_CLASSES} classes, not {classes}"))
                    .hint("categorical:4, for example"))
            }
            _ => Ok(()),
        }
    }
    /// The likelihood for rows of `cols` columns, its own parameters added to the layout. Panics when
    /// [`check`](Self::check) fails.
    pub fn build(&self, layout: &mut Layout, cols: usize) -> Arc<dyn AnyLikelihood> {
        match *self {
            LikelihoodKind::Categorical(classes) => Arc::new(Categorical::new(cols, classes)),
            kind => match kind.variance() {
                Some(variance) => Arc::new(Gaussian::new(layout, cols, variance)),
                None => Arc::new(Bernoulli::new(cols)),
            },
        }
    }
}

impl fmt::Display for LikelihoodKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LikelihoodKind::Bernoulli => write!(f, "bernoulli"),
            LikelihoodKind::GaussianUnit => write!(f, "gaussian"),
            LikelihoodKind::GaussianGiven(variance) => write!(f, "gaussian:{variance}"),
            LikelihoodKind::GaussianLearned => write!(f, "gaussian-learned"),
            LikelihoodKind::GaussianPerDimension => write!(f, "gaussian-per-dimension"),
            LikelihoodKind::GaussianPredicted => write!(f, "gaussian-predicted"),
            LikelihoodKind::Categorical(classes) => write!(f, "categorical:{classes}"),
        }
    }
}

impl FromStr for LikelihoodKind {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let bad = |what: &str, value: &str, example: &str| {
            Error::input(format!("`{text}`: `{value}` is no {what}")).hint(format!("{example}, for example"))
        };
        let kind = match text.split_once(':') {
            None => match text {
                "bernoulli" => LikelihoodKind::Bernoulli,
                "gaussian" => LikelihoodKind::GaussianUnit,
                "gaussian-learned" => LikelihoodKind::GaussianLearned,
                "gaussian-per-dimension" => LikelihoodKind::GaussianPerDimension,
                "gaussian-predicted" => LikelihoodKind::GaussianPredicted,
                _ => return Err(unknown("likelihood", text, &NAMES)),
            },
            Some(("gaussian", v)) => {
                LikelihoodKind::GaussianGiven(v.parse().map_err(|_| bad("variance", v, "gaussian:0.1"))?)
            }
            Some(("categorical", k)) => {
                LikelihoodKind::Categorical(k.parse().map_err(|_| bad("number of classes", k, "categorical:4"))?)
            }
            Some(_) => return Err(unknown("likelihood", text, &NAMES)),
        };
        kind.check()?;
        Ok(kind)
    }
}
