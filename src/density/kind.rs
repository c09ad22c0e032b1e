//! Which likelihood, as a configuration names it.

use super::{
    AnyLikelihood, Bernoulli, BetaBinomial, Categorical, Column, Columns, ContinuousBernoulli, DiscretizedLogistic,
    Domain, Gaussian, Laplace, Multinomial, NegativeBinomial, Poisson, StudentT, Variance, ZeroInflated,
};
use crate::error::{Error, Result};
use crate::nearest::unknown;
use crate::tensor::Layout;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Most classes of a column: each takes a logit, and a column with more is a number, not a category.
const MOST_CLASSES: usize = 1 << 16;

/// The names, as errors list them.
const NAMES: [&str; 21] = [
    "bernoulli",
    "continuous-bernoulli",
    "gaussian",
    "gaussian:VARIANCE",
    "gaussian-learned",
    "gaussian-optimal",
    "gaussian-per-dimension",
    "gaussian-predicted",
    "laplace",
    "laplace-learned",
    "laplace-predicted",
    "student-t",
    "student-t:DEGREES",
    "poisson",
    "negative-binomial",
    "zero-inflated-negative-binomial",
    "multinomial",
    "multinomial:TRIALS",
    "discretized-logistic",
    "beta-binomial",
    "categorical:CLASSES",
];

/// A likelihood's configuration; it reads and prints as `bernoulli`, `gaussian:0.1`, `student-t:4`, `categorical:4` and so
/// on: the names are those of the variants.
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
    /// `bernoulli`: [`Bernoulli`], from logits.
    Bernoulli,
    /// `continuous-bernoulli`: [`ContinuousBernoulli`], from logits.
    ContinuousBernoulli,
    /// `gaussian`: [`Gaussian`] of [unit variance](Variance::Unit).
    GaussianUnit,
    /// `gaussian:0.1`: [`Gaussian`] of a [given variance](Variance::Given) σ², from 1e-30 to 1e30.
    GaussianGiven(f64),
    /// `gaussian-learned`: [`Gaussian`] with [one learned variance](Variance::Learned).
    GaussianLearned,
    /// `gaussian-optimal`: [`Gaussian`] with [one variance at its closed form](Variance::Optimal).
    GaussianOptimal,
    /// `gaussian-per-dimension`: [`Gaussian`] with [a learned variance for each column](Variance::LearnedPerDimension).
    GaussianPerDimension,
    /// `gaussian-predicted`: [`Gaussian`] with [the decoder's variances](Variance::Predicted).
    GaussianPredicted,
    /// `laplace`, `laplace-learned`, `laplace-predicted`: [`Laplace`] of scale 1, a learned one, or the decoder's.
    Laplace(Laplace),
    /// `student-t`: [`StudentT`] with learned degrees of freedom; `student-t:4`: with given ones, from 0.01 to 1e9.
    StudentT(Option<f64>),
    /// `poisson`: [`Poisson`], from log-means.
    Poisson,
    /// `negative-binomial`: [`NegativeBinomial`], with a learned inverse dispersion for each column.
    NegativeBinomial,
    /// `zero-inflated-negative-binomial`: [`ZeroInflated`], the same with lost counts.
    ZeroInflated,
    /// `multinomial`, `multinomial:1000`: [`Multinomial`], with means and draws of so many trials, 1 if not given.
    Multinomial(u64),
    /// `discretized-logistic`: [`DiscretizedLogistic`], for 8-bit values.
    DiscretizedLogistic,
    /// `beta-binomial`: [`BetaBinomial`], for 8-bit values.
    BetaBinomial,
    /// `categorical:4`: [`Categorical`] with so many classes a column, from 1 to 65,536.
    Categorical(usize),
}

impl LikelihoodKind {
    /// The values on which it is defined.
    pub fn domain(self) -> Domain {
        use LikelihoodKind as Kind;
        match self {
            Kind::Bernoulli | Kind::ContinuousBernoulli => Domain::Unit,
            Kind::Categorical(classes) => Domain::Classes(classes),
            Kind::Poisson | Kind::NegativeBinomial | Kind::ZeroInflated | Kind::Multinomial(_) => Domain::Counts,
            Kind::DiscretizedLogistic | Kind::BetaBinomial => Domain::Bytes,
            _ => Domain::Real,
        }
    }
    /// Columns of η for `cols` columns of x; `usize::MAX` if there are too many to count.
    pub fn eta_cols(self, cols: usize) -> usize {
        use LikelihoodKind as Kind;
        match self {
            Kind::GaussianPredicted
            | Kind::Laplace(Laplace::Predicted)
            | Kind::StudentT(_)
            | Kind::ZeroInflated
            | Kind::DiscretizedLogistic
            | Kind::BetaBinomial => cols.saturating_mul(2),
            Kind::Categorical(classes) => cols.saturating_mul(classes),
            _ => cols,
        }
    }
    /// Whether its number is in range; what is parsed always is.
    ///
    /// # Errors
    /// A variance, degrees of freedom, or a number of classes or trials out of range.
    pub fn check(self) -> Result<()> {
        let (what, hint) = match self {
            LikelihoodKind::GaussianGiven(variance) if !Gaussian::accepts(variance) => (
                format!("a Gaussian's variance must lie between 1e-30 and 1e30, and {variance} does not"),
                "gaussian:0.1, for example, or gaussian-learned",
            ),
            LikelihoodKind::Categorical(classes) if !(1..=MOST_CLASSES).contains(&classes) => (
                format!("a categorical likelihood has 1 to {MOST_CLASSES} classes, not {classes}"),
                "categorical:4, for example",
            ),
            LikelihoodKind::StudentT(Some(degrees)) if !StudentT::accepts(degrees) => (
                format!("degrees of freedom must lie between 0.01 and 1e9, and {degrees} do not"),
                "student-t:4, for example, or student-t, which learns them",
            ),
            LikelihoodKind::Multinomial(trials) if !Multinomial::accepts(trials) => (
                format!("a multinomial likelihood has 1 to 16777216 trials, not {trials}"),
                "multinomial:1000, for example; the counts of each row are its own whatever the trials",
            ),
            _ => return Ok(()),
        };
        Err(Error::input(what).hint(hint))
    }
    /// The likelihood for rows of `cols` columns, its own parameters added to the layout. Panics when
    /// [`check`](Self::check) fails.
    pub fn build(&self, layout: &mut Layout, cols: usize) -> Arc<dyn AnyLikelihood> {
        fn columns<C: Column>(layout: &mut Layout, cols: usize, column: C) -> Arc<dyn AnyLikelihood> {
            Arc::new(Columns::new(layout, cols, column))
        }
        let mut gaussian = |variance| -> Arc<dyn AnyLikelihood> { Arc::new(Gaussian::new(layout, cols, variance)) };
        match *self {
            LikelihoodKind::Bernoulli => Arc::new(Bernoulli::new(cols)),
            LikelihoodKind::GaussianUnit => gaussian(Variance::Unit),
            LikelihoodKind::GaussianGiven(variance) => gaussian(Variance::Given(variance)),
            LikelihoodKind::GaussianLearned => gaussian(Variance::Learned),
            LikelihoodKind::GaussianOptimal => gaussian(Variance::Optimal),
            LikelihoodKind::GaussianPerDimension => gaussian(Variance::LearnedPerDimension),
            LikelihoodKind::GaussianPredicted => gaussian(Variance::Predicted),
            LikelihoodKind::ContinuousBernoulli => columns(layout, cols, ContinuousBernoulli),
            LikelihoodKind::Laplace(laplace) => columns(layout, cols, laplace),
            LikelihoodKind::StudentT(degrees) => columns(layout, cols, StudentT::new(degrees)),
            LikelihoodKind::Poisson => columns(layout, cols, Poisson),
            LikelihoodKind::NegativeBinomial => columns(layout, cols, NegativeBinomial),
            LikelihoodKind::ZeroInflated => columns(layout, cols, ZeroInflated),
            LikelihoodKind::Multinomial(trials) => Arc::new(Multinomial::new(cols, trials)),
            LikelihoodKind::DiscretizedLogistic => columns(layout, cols, DiscretizedLogistic),
            LikelihoodKind::BetaBinomial => columns(layout, cols, BetaBinomial),
            LikelihoodKind::Categorical(classes) => Arc::new(Categorical::new(cols, classes)),
        }
    }
}

/// Every kind without a number, by its name.
const PLAIN: [(&str, LikelihoodKind); 17] = [
    ("bernoulli", LikelihoodKind::Bernoulli),
    ("continuous-bernoulli", LikelihoodKind::ContinuousBernoulli),
    ("gaussian", LikelihoodKind::GaussianUnit),
    ("gaussian-learned", LikelihoodKind::GaussianLearned),
    ("gaussian-optimal", LikelihoodKind::GaussianOptimal),
    ("gaussian-per-dimension", LikelihoodKind::GaussianPerDimension),
    ("gaussian-predicted", LikelihoodKind::GaussianPredicted),
    ("laplace", LikelihoodKind::Laplace(Laplace::Unit)),
    ("laplace-learned", LikelihoodKind::Laplace(Laplace::Learned)),
    ("laplace-predicted", LikelihoodKind::Laplace(Laplace::Predicted)),
    ("student-t", LikelihoodKind::StudentT(None)),
    ("poisson", LikelihoodKind::Poisson),
    ("negative-binomial", LikelihoodKind::NegativeBinomial),
    ("zero-inflated-negative-binomial", LikelihoodKind::ZeroInflated),
    ("multinomial", LikelihoodKind::Multinomial(1)),
    ("discretized-logistic", LikelihoodKind::DiscretizedLogistic),
    ("beta-binomial", LikelihoodKind::BetaBinomial),
];

impl fmt::Display for LikelihoodKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LikelihoodKind::GaussianGiven(variance) => write!(f, "gaussian:{variance}"),
            LikelihoodKind::StudentT(Some(degrees)) => write!(f, "student-t:{degrees}"),
            LikelihoodKind::Multinomial(trials) if *trials != 1 => write!(f, "multinomial:{trials}"),
            LikelihoodKind::Categorical(classes) => write!(f, "categorical:{classes}"),
            plain => f.write_str(PLAIN.iter().find(|(_, kind)| kind == plain).map_or("", |(name, _)| name)),
        }
    }
}

impl FromStr for LikelihoodKind {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let bad = |what: &str, value: &str, example: &str| {
            Error::input(format!("`{text}`: `{value}` is no {what}")).hint(format!("{example}, for example"))
        };
        let plain = PLAIN.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind);
        let kind = match (plain, text.split_once(':')) {
            (Some(kind), _) => kind,
            (None, Some(("gaussian", v))) => {
                LikelihoodKind::GaussianGiven(v.parse().map_err(|_| bad("variance", v, "gaussian:0.1"))?)
            }
            (None, Some(("student-t", nu))) => {
                let degrees = nu.parse().map_err(|_| bad("number of degrees of freedom", nu, "student-t:4"))?;
                LikelihoodKind::StudentT(Some(degrees))
            }
            (None, Some(("multinomial", n))) => {
                LikelihoodKind::Multinomial(n.parse().map_err(|_| bad("number of trials", n, "multinomial:1000"))?)
            }
            (None, Some(("categorical", k))) => {
                LikelihoodKind::Categorical(k.parse().map_err(|_| bad("number of classes", k, "categorical:4"))?)
            }
            _ => return Err(unknown("likelihood", text, &NAMES)),
        };
        kind.check()?;
        Ok(kind)
    }
}
