//! Penalties of a whole batch's latents, which no row has alone: the total correlation of the aggregate posterior, and the
//! maximum mean discrepancy between it and the prior. An objective adds one to the β-ELBO:
//!
//! ```text
//! β-TC-VAE       −ELBO + w TC(q(z))                      tc:W        Chen et al. 2018, eq. 4 with α = γ = 1, β = 1 + w
//! WAE-MMD        −log p(x|z) + w MMD²(q(z), p(z))        mmd:W       with β = 0; Tolstikhin et al. 2018, eq. 4
//! InfoVAE        −log p(x|z) + β KL + w MMD²(q(z), p(z))             Zhao et al. 2019, eq. 6: β = 1 − α, w = α + λ − 1
//! ```

mod mmd;
#[cfg(test)]
mod tests;
mod total_correlation;

use crate::error::{Error, Result};
use crate::nearest::unknown;
use crate::tensor::Isa;
use std::fmt;
use std::str::FromStr;

/// What is penalised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PenaltyKind {
    /// The total correlation of q(z), in nats.
    TotalCorrelation,
    /// The squared maximum mean discrepancy of q(z) and p(z), by a sum of inverse multiquadratic kernels.
    Mmd,
    /// The same by a Gaussian kernel.
    MmdGaussian,
}

/// A penalty and its weight; it reads and prints as `tc:WEIGHT`, `mmd:WEIGHT` or `mmd-gaussian:WEIGHT`.
///
/// ```
/// use elbo::estimator::{Penalty, PenaltyKind};
/// let penalty: Penalty = "tc:5".parse()?;
/// assert_eq!(penalty, Penalty { kind: PenaltyKind::TotalCorrelation, weight: 5.0 });
/// assert_eq!(penalty.to_string(), "tc:5");
/// assert!("mdd:1".parse::<Penalty>().unwrap_err().to_string().contains("did you mean `mmd`?"));
/// # Ok::<(), elbo::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Penalty {
    /// What it is of.
    pub kind: PenaltyKind,
    /// What it is multiplied by in the objective.
    pub weight: f64,
}

const KINDS: [(&str, PenaltyKind); 3] =
    [("tc", PenaltyKind::TotalCorrelation), ("mmd", PenaltyKind::Mmd), ("mmd-gaussian", PenaltyKind::MmdGaussian)];

impl Penalty {
    /// Whether its weight makes sense.
    ///
    /// # Errors
    /// A weight that is not a number from 0 up.
    pub fn check(self) -> Result<()> {
        if self.weight.is_finite() && self.weight >= 0.0 {
            return Ok(());
        }
        let name = KINDS.iter().find(|(_, kind)| *kind == self.kind).map_or("", |(name, _)| name);
        Err(Error::input(format!("the weight of the penalty {name} is a number from 0 up, not {}", self.weight))
            .hint(format!("{name}:5, for example")))
    }
    /// Whether it needs draws from the prior.
    pub fn needs_prior(self) -> bool {
        self.kind != PenaltyKind::TotalCorrelation
    }
    /// Whether it depends on the posterior otherwise than through z.
    pub fn needs_posterior(self) -> bool {
        self.kind == PenaltyKind::TotalCorrelation
    }
    /// The number of `f64` that its functions want to work in, for a batch of `rows` rows.
    pub(crate) fn scratch(rows: usize) -> usize {
        2 * rows
    }
    /// What row `i` adds to the estimate, of which the batch has the sum; into `dz` (L) the derivative of the estimate by the
    /// row's z, and into `log_q` (L + 1) log q̂ of each of its latents and of all, for
    /// [`posterior_grad`](Self::posterior_grad). 0 of a batch of a single row, which no estimate can be made from.
    pub(crate) fn row(
        self,
        isa: Isa,
        all: &BatchLatents,
        i: usize,
        scratch: &mut [f64],
        dz: &mut [f64],
        log_q: &mut [f64],
    ) -> f64 {
        dz.fill(0.0);
        log_q.fill(0.0);
        match self.kind {
            _ if all.rows < 2 => 0.0,
            PenaltyKind::TotalCorrelation => total_correlation::row(isa, all, i, scratch, dz, log_q),
            PenaltyKind::Mmd => mmd::row(&mmd::InverseMultiquadratics::new(all.latent), all, i, scratch, dz),
            PenaltyKind::MmdGaussian => mmd::row(&mmd::Gaussian::new(all.latent), all, i, scratch, dz),
        }
    }
    /// Into `d_eta` (2L) the derivative of the estimate by the parameters of row `j`'s posterior, at fixed z.
    pub(crate) fn posterior_grad(self, isa: Isa, all: &BatchLatents, j: usize, scratch: &mut [f64], d_eta: &mut [f64]) {
        d_eta.fill(0.0);
        if self.needs_posterior() && all.rows > 1 {
            total_correlation::posterior_grad(isa, all, j, scratch, d_eta);
        }
    }
}

impl fmt::Display for Penalty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = KINDS.iter().find(|(_, kind)| *kind == self.kind).map_or("", |(name, _)| name);
        write!(f, "{name}:{}", self.weight)
    }
}

impl FromStr for Penalty {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let (name, weight) = text.split_once(':').unwrap_or((text, ""));
        let Some((_, kind)) = KINDS.iter().find(|(known, _)| *known == name) else {
            return Err(unknown("penalty", name, &KINDS.map(|(name, _)| name)));
        };
        let penalty = Penalty { kind: *kind, weight: weight.parse().unwrap_or(f64::NAN) };
        penalty.check().map(|()| penalty)
    }
}

/// What a penalty sees: one sample of z of each of B rows, (L, B) like all that follows, so that what is summed over rows
/// lies side by side.
#[derive(Clone, Debug, Default)]
pub(crate) struct BatchLatents {
    /// B and L.
    pub rows: usize,
    pub latent: usize,
    /// Training rows, of which the batch is a draw.
    pub examples: usize,
    pub z: Vec<f64>,
    /// The posterior's μ, e^{−v}, and −½ (log 2π + v).
    pub mean: Vec<f64>,
    pub precision: Vec<f64>,
    pub norm: Vec<f64>,
    /// Draws from the prior.
    pub prior: Vec<f64>,
    /// (L + 1, B), as [`Penalty::row`] leaves them.
    pub log_q: Vec<f64>,
}

impl BatchLatents {
    /// Makes room for a batch.
    pub fn resize(&mut self, rows: usize, latent: usize, examples: usize) {
        (self.rows, self.latent, self.examples) = (rows, latent, examples);
        for part in [&mut self.z, &mut self.mean, &mut self.precision, &mut self.norm, &mut self.prior] {
            part.resize(rows * latent, 0.0);
        }
        self.log_q.resize(rows * (latent + 1), 0.0);
    }
    /// The numbers of one latent.
    fn of<'a>(&self, part: &'a [f64], latent: usize) -> &'a [f64] {
        &part[latent * self.rows..][..self.rows]
    }
}
