//! How long an embedded encoder takes: the posterior mean of one row, and of 1,000 rows, without an allocation a call.
//!
//! ```text
//! cargo run --release --example latency -- MODEL DATA [THREADS [SECONDS [PRECISION]]]
//! ```
//!
//! MODEL is a run folder or a model's file, DATA a known name or a path, PRECISION f32 or bf16 (weights take half the
//! memory, sums stay f32). Prints one JSON object: the median call in
//! microseconds for both, and the root mean square of the 1,000 rows' means, by which others can tell that they computed
//! the same.

use elbo::data::{Split, load};
use elbo::model::Inference;
use elbo::tensor::{Exec, Precision};
use elbo::train::SavedModel;
use elbo::{Error, Result};
use ndarray::{Array2, s};
use serde_json::json;
use std::time::{Duration, Instant};

/// Rows of the large call, and the single rows that take turns in the small one.
const MANY: usize = 1000;
const SINGLE: usize = 64;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, data, rest @ ..] = &args[..] else {
        return Err(Error::input("latency MODEL DATA [THREADS [SECONDS [PRECISION]]]"));
    };
    let threads = number(rest.first(), 1.0)? as usize;
    let budget = Duration::from_secs_f64(number(rest.get(1), 1.0)?);
    let precision: Precision = rest.get(2).map_or(Ok(Precision::F32), |name| name.parse())?;
    let (model, data, ex) = (SavedModel::load(model)?, load(data)?, Exec::new(threads)?);
    let (view, latent) = (data.split(Split::Train)?, model.vae.config().latent);
    if view.len() < MANY || view.cols() != model.vae.config().inputs {
        let expected = format!("{MANY} rows of {} columns", model.vae.config().inputs);
        return Err(Error::input(format!("{expected} are needed, not {} of {}", view.len(), view.cols())));
    }
    let mut x = Array2::<f32>::zeros((MANY, view.cols()));
    for (r, mut row) in x.rows_mut().into_iter().enumerate() {
        view.gather(r, row.as_slice_mut().unwrap_or_default());
    }

    let params = model.params.with_precision(precision);
    let mut inference = Inference::new(&model.vae, &params, &ex);
    let (mut one, mut means) = (Array2::zeros((1, latent)), Array2::zeros((MANY, latent)));
    let mut turn = 0;
    let one_row = median(budget, || {
        inference.encode_into(x.slice(s![turn..turn + 1, ..]), one.view_mut());
        turn = (turn + 1) % SINGLE;
    });
    let thousand_rows = median(budget, || inference.encode_into(x.view(), means.view_mut()));
    let square = means.iter().map(|m| f64::from(*m).powi(2)).sum::<f64>() / means.len() as f64;
    let report = json!({
        "program": "elbo",
        "version": env!("CARGO_PKG_VERSION"),
        "precision": precision.to_string(),
        "threads": ex.threads(),
        "isa": ex.isa().name(),
        "one_row_us": one_row,
        "thousand_rows_us": thousand_rows,
        "root_mean_square": square.sqrt(),
    });
    println!("{report}");
    Ok(())
}

fn number(text: Option<&String>, default: f64) -> Result<f64> {
    let parsed = text.map_or(Ok(default), |t| t.parse().map_err(|_| Error::input(format!("`{t}` is not a number"))))?;
    if (0.0..=1e4).contains(&parsed) { Ok(parsed) } else { Err(Error::input(format!("{parsed} is out of range"))) }
}

/// The median time of a call, in microseconds, after as many calls as fit in a tenth of the budget have warmed up.
fn median(budget: Duration, mut call: impl FnMut()) -> f64 {
    let mut measure = |budget: Duration| {
        let (begun, mut times) = (Instant::now(), Vec::with_capacity(1 << 20));
        while times.is_empty() || begun.elapsed() < budget {
            let start = Instant::now();
            call();
            times.push(start.elapsed().as_nanos() as u64);
        }
        times
    };
    measure(budget / 10);
    let mut times = measure(budget);
    let half = times.len() / 2;
    *times.select_nth_unstable(half).1 as f64 / 1e3
}
