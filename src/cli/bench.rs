//! `elbo bench`: training throughput.

use super::console::{complain, count};
use super::model::{describe, describe_network};
use super::network::Network;
use super::{Common, MemoryArgs};
use crate::data::Dataset;
use crate::error::Result;
use crate::model::Vae;
use crate::task::{self, BenchReport, StageTime};
use crate::tensor::Exec;
use crate::train::{Settings, TrainConfig, WARNING};
use serde_json::json;
use std::time::{Duration, Instant};

/// Measure training on real data, everything included: examples a second, and the share of the processor's peak
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  elbo bench
  elbo bench --preset iwae-200 --objective iwae --samples 50 --gradient dreg --batch-size 20
  elbo bench --preset mlp-400 --data fashion-mnist --batch-size 128 --threads 2 --json

The figure is that of the median epoch: shuffle, gathering of rows, noise, forward, backward,
optimizer and metrics. The remainder that fills no batch is left out; evaluation between epochs is
not counted. The peak is measured before and after, and the larger one counts: fused multiply-adds
on registers, on all threads, f32. Cores are `shared` when a number goes from one to the other and
back in less than 200 ns, else `apart`; compare figures of two threads within one state only. Steps
too small to repay waking other threads use one.")]
pub struct Bench {
    #[command(flatten)]
    network: Network,
    /// Data: a known name or a path
    #[arg(long, value_name = "DATA", default_value = "mnist")]
    data: String,
    /// What rows are conditioned on: labels, or columns of a CSV file
    #[arg(long, value_name = "COLUMN,…")]
    condition: Option<String>,
    /// Rows of a step
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Operands of matrix products: f32, or bf16 where the processor multiplies it (parameters and sums stay f32)
    #[arg(long, value_name = "NAME")]
    precision: Option<String>,
    /// What to minimise: elbo, iwae, miwae:GROUPS, piwae:GROUPS, ciwae:SHARE or renyi:ORDER
    #[arg(long, value_name = "NAME")]
    objective: Option<String>,
    /// Samples of z a row
    #[arg(long, value_name = "K")]
    samples: Option<usize>,
    /// Gradient by the posterior: plain, stl or dreg
    #[arg(long, value_name = "NAME")]
    gradient: Option<String>,
    /// A penalty of the batch's latents: tc:WEIGHT, mmd:WEIGHT or mmd-gaussian:WEIGHT
    #[arg(long, value_name = "NAME:WEIGHT")]
    penalty: Option<String>,
    /// Epochs to measure; without it, at least three, until the time is up
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// The time, if epochs are not given
    #[arg(long, value_name = "S", default_value_t = 5)]
    seconds: u64,
    /// Multiply the zeros of the data as well, as a share of the peak should be quoted
    #[arg(long)]
    dense: bool,
    /// Where the time of a step goes, stage by stage
    #[arg(long)]
    profile: bool,
    #[command(flatten)]
    memory: MemoryArgs,
    #[command(flatten)]
    common: Common,
}

impl Bench {
    fn settings(&self) -> Settings {
        Settings {
            data: Some(self.data.clone()),
            condition: self.condition.clone(),
            batch_size: self.batch_size,
            epochs: self.epochs,
            precision: self.precision.clone(),
            objective: self.objective.clone(),
            samples: self.samples,
            gradient: self.gradient.clone(),
            penalty: self.penalty.clone(),
            seed: self.common.seed,
            ..self.network.settings()
        }
    }

    pub(super) fn run(&self) -> Result<()> {
        let begun = Instant::now();
        let console = self.common.console();
        let ex = self.common.exec()?;
        let settings = self.settings();
        let data = settings.load_data_within(self.memory.memory)?;
        let (mut config, _) = settings.resolve(&data)?;
        if let Some(why) = config.fit_precision(ex.isa()) {
            complain(format_args!("{WARNING}{why}"));
        }
        console.say(describe(&data));
        data.note().into_iter().for_each(|note| console.say(note));
        console.say(describe_network(&Vae::new(&config.vae)?));
        let budget = Duration::from_secs(self.seconds);
        let bench = task::Bench {
            begun,
            config: config.clone(),
            epochs: self.epochs,
            budget,
            dense: self.dense,
            profile: self.profile,
        };
        let report = bench.run(&data, &ex)?;
        let mut json = to_json(&report, &config, &data, &ex);
        json["dense"] = self.dense.into();
        let mut text = text(&report, &config, &ex);
        if let (Some(cores), Some([before, after])) = (report.cores(), report.core_round_trip_ns) {
            text += &format!("\ncores {cores}: a round trip takes {before:.0} ns before the run, {after:.0} ns after");
        }
        if let Some(stages) = &report.stages {
            json["stages"] = stages.iter().map(stage_json).collect();
            text += &table(stages, report.threads_used);
        }
        console.report(&json, text)
    }
}

fn to_json(report: &BenchReport, config: &TrainConfig, data: &Dataset, ex: &Exec) -> serde_json::Value {
    json!({
        "samples_per_second": report.samples_per_second,
        "slowest_epoch": report.spread.0,
        "fastest_epoch": report.spread.1,
        "gflops": report.gflops,
        "peak_gflops": report.peak_gflops,
        "peak_share": report.peak_share,
        "first_step_seconds": report.first_step_seconds,
        "threads": ex.threads(),
        "threads_used": report.threads_used,
        "cores": report.cores().map(|cores| cores.to_string()),
        "core_round_trip_ns": report.core_round_trip_ns,
        "batch_size": report.batch_size,
        "preset": config.vae.preset,
        "data": data.name(),
        "rows": report.rows,
        "streamed": data.all().rows().is_streamed(),
        "epochs": report.epochs,
        "isa": ex.isa().name(),
        "precision": config.precision.to_string(),
        "objective": config.objective.to_string(),
        "samples": config.samples,
        "penalty": config.penalty.map(|penalty| penalty.to_string()),
    })
}

fn text(report: &BenchReport, config: &TrainConfig, ex: &Exec) -> String {
    format!(
        "{:.0} examples/s (median of {} epochs, {:.0} to {:.0})\n{:.1} GFLOP/s, {:.1} % of a peak of {:.1} GFLOP/s\n\
         {}, {} used, {}, {}, batches of {}",
        report.samples_per_second,
        report.epochs,
        report.spread.0,
        report.spread.1,
        report.gflops,
        100.0 * report.peak_share,
        report.peak_gflops,
        count(ex.threads(), "thread"),
        report.threads_used,
        ex.isa().name(),
        config.precision,
        report.batch_size
    )
}

fn stage_json(stage: &StageTime) -> serde_json::Value {
    json!({
        "stage": stage.stage,
        "parameter": stage.parameter,
        "microseconds": stage.microseconds,
        "share": stage.share,
        "peak_share": stage.peak_share,
    })
}

fn table(stages: &[StageTime], threads: usize) -> String {
    let of = if threads == 1 { String::new() } else { format!(", of {threads} threads together") };
    let mut text = format!("\n\na step in µs{of}                      share   of peak");
    for s in stages {
        let name = format!("{} {}", s.stage, s.parameter.as_deref().unwrap_or_default());
        let peak = s.peak_share.map_or(String::new(), |share| format!("{:>7.1} %", 100.0 * share));
        text += &format!("\n{name:<32}{:>10.1}{:>9.1} %{peak}", s.microseconds, 100.0 * s.share);
    }
    text
}
