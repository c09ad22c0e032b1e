//! `elbo gradcheck`: the gradients that training uses, against finite differences.

use super::model::describe_network;
use super::network::Network;
use super::{Common, End};
use crate::error::{Error, Result};
use crate::estimator::Estimator;
use crate::gradcheck::{TOLERANCE, VaeCheck, check_vae};
use crate::model::{Norm, Vae, VaeConfig};
use crate::train::Settings;
use serde_json::json;

/// Check a network's gradients against finite differences, parameter by parameter
#[derive(clap::Args, Debug)]
#[command(
    allow_negative_numbers = true,
    after_help = "\
Examples:
  elbo gradcheck --preset mlp-400
  elbo gradcheck --preset iwae-200 --likelihood gaussian --inputs 20 --json

In f64, with fourth-order central differences of the batch-mean loss on random data: every
coordinate of a small network, random directions of a large one. The error is
|a - n| / max(|a|, |n|, 0.001 |g|max); kinks are derivatives left out because a ReLU turned too
near. The last column compares the gradient in f32, which trains, with the one in f64.

The exit status is 1 if a derivative is wrong."
)]
pub struct Gradcheck {
    #[command(flatten)]
    network: Network,
    /// Columns of x; without it 784, and 2 for the preset tabular
    #[arg(long, value_name = "N")]
    inputs: Option<usize>,
    /// Columns of a condition of each row, behind x
    #[arg(long, value_name = "N", default_value_t = 0)]
    condition: usize,
    /// Rows of the batch; without it 2, and 4 where hidden layers are normalised by the batch
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Weight of the KL
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    beta: f64,
    /// KL that each latent may keep unpressed: NATS, or NATS,GROUP for groups of latents
    #[arg(long, value_name = "NATS")]
    free_bits: Option<String>,
    /// The objective: elbo, iwae, miwae:GROUPS, piwae:GROUPS, ciwae:SHARE or renyi:ORDER
    #[arg(long, value_name = "NAME")]
    objective: Option<String>,
    /// Samples of z a row
    #[arg(long, value_name = "K")]
    samples: Option<usize>,
    /// Gradient by the posterior, each against what it is the gradient of: plain, stl or dreg
    #[arg(long, value_name = "NAME")]
    gradient: Option<String>,
    /// A penalty of the batch's latents, as of 1,000 training rows: tc:WEIGHT, mmd:WEIGHT or mmd-gaussian:WEIGHT
    #[arg(long, value_name = "NAME:WEIGHT")]
    penalty: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Rows of a batch that a check is patient enough for.
const MOST_ROWS: usize = 4096;
/// Training rows that a penalty takes the batch to be drawn from.
const EXAMPLES: usize = 1000;

impl Gradcheck {
    pub(super) fn run(&self) -> Result<End> {
        let console = self.common.console();
        let settings = Settings {
            free_bits: self.free_bits.clone(),
            objective: self.objective.clone(),
            samples: self.samples,
            gradient: self.gradient.clone(),
            penalty: self.penalty.clone(),
            ..self.network.settings()
        };
        let usual = if settings.preset.as_deref() == Some("tabular") { 2 } else { 784 };
        let config = VaeConfig { condition: self.condition, ..settings.network(self.inputs.unwrap_or(usual))? };
        let rows = self.batch_size.unwrap_or(if config.norm == Norm::Batch { 4 } else { 2 });
        if !(1..=MOST_ROWS).contains(&rows) {
            return Err(Error::input(format!("a batch of {rows} rows; check one of 1 to {MOST_ROWS}")));
        }
        console.say(describe_network(&Vae::new(&config)?));
        let estimator = settings.penalised_objective_for(&config, EXAMPLES)?;
        let latents = rows.saturating_mul(Estimator::<f64>::samples(&estimator));
        if latents > MOST_ROWS {
            return Err(Error::input(format!("{latents} samples of z in a batch; check one of at most {MOST_ROWS}"))
                .hint("choose a smaller --batch-size or --samples"));
        }
        let seed = self.common.seed.unwrap_or_default();
        let checks = check_vae(&config, &estimator, self.beta, rows, seed)?;
        let passed = checks.iter().all(|c| c.check.passed());
        console.report(&json(&config, &checks, passed), table(&checks, passed))?;
        Ok(if passed { End::Done } else { End::Failed })
    }
}

fn json(config: &VaeConfig, checks: &[VaeCheck], passed: bool) -> serde_json::Value {
    let check = |c: &VaeCheck| {
        json!({
            "name": c.check.name,
            "compared": c.check.compared,
            "kinks": c.check.kinks,
            "worst": c.check.worst,
            "at": c.check.at,
            "passed": c.check.passed(),
            "f32_error": c.f32_error,
        })
    };
    json!({
        "preset": config.preset,
        "tolerance": TOLERANCE,
        "passed": passed,
        "checks": checks.iter().map(check).collect::<Vec<_>>(),
    })
}

fn table(checks: &[VaeCheck], passed: bool) -> String {
    let width = checks.iter().map(|c| c.check.name.len()).max().unwrap_or_default().max("parameter".len());
    let mut lines = vec![format!("{:width$}  compared  kinks  worst error  f32 vs f64", "parameter")];
    for c in checks {
        let wrong = match c.check.compared {
            _ if c.check.passed() => String::new(),
            0 => "  not compared: a kink is too near everywhere".to_owned(),
            _ => format!("  WRONG at {}", c.check.at),
        };
        lines.push(format!(
            "{:width$}  {:8}  {:5}  {:11.1e}  {:10.1e}{wrong}",
            c.check.name, c.check.compared, c.check.kinks, c.check.worst, c.f32_error
        ));
    }
    let wrong = checks.iter().any(|c| c.check.compared > 0 && !c.check.passed());
    let verdict = match passed {
        true => "all derivatives agree",
        false if wrong => "some derivatives are wrong",
        false => "some derivatives were not compared: another --seed or more rows (--batch-size) may be clear of kinks",
    };
    lines.push(format!("{verdict} (tolerance {TOLERANCE:.0e})"));
    lines.join("\n")
}
