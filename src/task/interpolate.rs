//! A straight line between two points of the latent space, decoded.

use super::{Examples, check_size, decode, encode};
use crate::error::{Error, Result};
use crate::model::Inference;
use crate::model::join;
use ndarray::{Array1, Array2, Axis};
use std::fmt;
use std::str::FromStr;

/// Where a line starts or ends.
///
/// ```
/// use elbo::task::Endpoint;
/// assert_eq!("17".parse(), Ok(Endpoint::Row(17)));
/// assert_eq!("class:shirt".parse(), Ok(Endpoint::Class("shirt".into())));
/// assert!("seventeen".parse::<Endpoint>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Endpoint {
    /// The posterior mean of a row of the split, counted from 0.
    Row(usize),
    /// The mean, over the split's rows with this label, of the posterior mean.
    Class(String),
}

impl FromStr for Endpoint {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match text.strip_prefix("class:") {
            Some(label) if !label.trim().is_empty() => Ok(Endpoint::Class(label.to_owned())),
            _ => text.parse().map(Endpoint::Row).map_err(|_| {
                Error::input(format!("`{text}` is neither a row number nor a class"))
                    .hint("write 3 for row 3 of the split, or class:3 for the mean of the rows with label 3")
            }),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Row(row) => write!(f, "{row}"),
            Endpoint::Class(label) => write!(f, "class:{label}"),
        }
    }
}

/// The latents of an endpoint, (L), with its condition behind them if the model has one: of a class, the rows' mean of both.
/// `examples` is made from `view` with the rows that are asked for.
///
/// # Errors
/// A row beyond the last, a class that no row of the split has (with the nearest), or data without labels.
pub fn endpoint(inference: &mut Inference<'_, f32>, examples: &Examples, end: &Endpoint) -> Result<Array1<f32>> {
    let (view, rows) = (examples.view, examples.len());
    let positions = match end {
        Endpoint::Row(row) if *row < rows => vec![*row as u32],
        Endpoint::Row(row) => {
            return Err(Error::input(format!("there is no row {row}: the split has {rows} rows, counted from 0")));
        }
        Endpoint::Class(label) => view.positions_of(label)?,
    };
    if positions.is_empty() {
        return Err(Error::input(format!("no row of the split is of {end}")).hint("--split all looks at every row"));
    }
    let chosen = view.select(&positions);
    let examples = Examples::new(inference.vae(), &chosen, examples.binarize, examples.noise.seed())?;
    let mean = encode(inference, &examples)?.mean;
    let mut c = Array2::zeros((chosen.len(), chosen.condition_cols()));
    for (r, mut c) in c.rows_mut().into_iter().enumerate() {
        chosen.gather_condition(r, c.as_slice_mut().unwrap_or_default());
    }
    let mean = join(mean.view(), c.view());
    // In f64, where thousands of rows lose nothing.
    let sums = mean.mapv(f64::from).sum_axis(Axis(0));
    Ok(sums.mapv(|sum| (sum / positions.len() as f64) as f32))
}

/// Decodes `steps` points of the line from one endpoint to the other, both included: the means of x, (steps, D). Between
/// conditions, too, the line is straight.
///
/// # Errors
/// Fewer than two steps, or as [`endpoint`].
pub fn interpolate(
    inference: &mut Inference<'_, f32>,
    examples: &Examples,
    ends: (&Endpoint, &Endpoint),
    steps: usize,
) -> Result<Array2<f32>> {
    if steps < 2 {
        return Err(Error::input(format!("{steps} steps; the two ends alone are 2")).hint("--steps 10 is usual"));
    }
    let config = inference.vae().config();
    check_size(steps, config.inputs.max(config.code_cols()))?;
    let from = endpoint(inference, examples, ends.0)?;
    let to = endpoint(inference, examples, ends.1)?;
    let z = Array2::from_shape_fn((steps, from.len()), |(step, j)| {
        // As a sum of two parts, the ends are met exactly.
        let t = step as f32 / (steps - 1) as f32;
        (1.0 - t) * from[j] + t * to[j]
    });
    decode(inference, z.view())
}
