//! Where the decoder's last bias starts.

use crate::data::View;
use crate::density::LikelihoodKind;
use crate::error::{Error, Result};
use crate::model::{Vae, VaeConfig};
use crate::nearest::unknown;
use crate::tensor::{Par, Params};
use std::fmt;
use std::str::FromStr;

/// Where the bias of the decoder's output starts.
///
/// ```
/// use elbo::train::OutputBias;
/// assert_eq!("data-mean".parse::<OutputBias>()?, OutputBias::DataMean);
/// # Ok::<(), elbo::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OutputBias {
    /// Where the initial parameters have it.
    #[default]
    Init,
    /// At the logits of the training rows' mean, so that a network that knows nothing yet says the mean (Burda, Grosse and
    /// Salakhutdinov 2016, in their code). For the Bernoulli likelihood.
    DataMean,
}

/// Means are kept this far from 0 and 1, whose logits are infinite; the number is that of the authors' code.
const MARGIN: f64 = 1e-3;

impl OutputBias {
    /// The names, as flags and files write them.
    pub const NAMES: [&str; 2] = ["init", "data-mean"];

    /// Whether a network has such a bias.
    ///
    /// # Errors
    /// Another likelihood than Bernoulli.
    pub(super) fn check(self, vae: &VaeConfig) -> Result<()> {
        if self == OutputBias::DataMean && vae.likelihood != LikelihoodKind::Bernoulli {
            let what = format!(
                "the likelihood is {}, and only Bernoulli's logits can start at the data's mean",
                vae.likelihood
            );
            return Err(Error::input(what).hint("--output-bias init, or --likelihood bernoulli"));
        }
        Ok(())
    }

    /// Puts the bias where it starts. `rows` are those of training.
    ///
    /// # Errors
    /// Streamed rows that cannot be read.
    pub(super) fn apply(self, vae: &Vae, rows: &View, params: &mut Params<f32>) -> Result<()> {
        let last = format!("decoder.{}.bias", vae.config().hidden.len());
        let (OutputBias::DataMean, Some(entry)) = (self, vae.layout().find(&last)) else { return Ok(()) };
        let (mut row, mut sums) = (vec![0.0f32; rows.cols()], vec![0.0f64; rows.cols()]);
        for position in 0..rows.len() {
            rows.gather(position, &mut row);
            sums.iter_mut().zip(&row).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        rows.check_read()?;
        let logit = |sum: &f64| {
            let mean = (sum / rows.len() as f64).clamp(MARGIN, 1.0 - MARGIN);
            (mean / (1.0 - mean)).ln() as f32
        };
        params.values_mut().pack(&entry.slot, &sums.iter().map(logit).collect::<Vec<f32>>());
        params.refresh(Par::Sequential);
        Ok(())
    }
}

impl fmt::Display for OutputBias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES[*self as usize])
    }
}

impl FromStr for OutputBias {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "init" => Ok(OutputBias::Init),
            "data-mean" => Ok(OutputBias::DataMean),
            _ => Err(unknown("output bias", text, &Self::NAMES)),
        }
    }
}
