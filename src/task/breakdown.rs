//! Where the time of a training step goes, stage by stage.

use crate::model::{Rows, Vae};
use crate::tensor::profile::{Lap, Stage};

/// The time of one stage in an average step.
#[derive(Clone, PartialEq, Debug)]
pub struct StageTime {
    /// What was done: [`Stage::name`], or [`BETWEEN`].
    pub stage: &'static str,
    /// The parameter that it was done for, if for one.
    pub parameter: Option<String>,
    /// Time, in microseconds of one thread; two threads that share the work spend half of it each.
    pub microseconds: f64,
    /// Share of the time that all threads had.
    pub share: f64,
    /// Of a matrix product: the share of its thread's peak.
    pub peak_share: Option<f64>,
}

/// The name of the time that belongs to no stage: shuffling, sums of terms, metrics, and waiting for each other.
pub const BETWEEN: &str = "between";

/// What was measured of how many steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured<'a> {
    pub laps: &'a [Lap],
    /// By the clock on the wall, and steps.
    pub seconds: f64,
    pub steps: f64,
    /// What goes through the network in a step.
    pub rows: Rows,
    /// Threads at work, and the peak of one.
    pub threads: usize,
    pub peak_gflops: f64,
}

/// The stages of an average step, in the order of [`Stage`] and of parameters, and the time between them.
pub(super) fn breakdown(vae: &Vae, measured: &Measured) -> Vec<StageTime> {
    let Measured { laps, seconds, steps, rows, threads, peak_gflops } = *measured;
    let all = seconds * threads as f64;
    let row = |stage, parameter, spent: f64, peak_share| StageTime {
        stage,
        parameter,
        microseconds: spent / steps * 1e6,
        share: spent / all,
        peak_share,
    };
    let mut stages: Vec<StageTime> = Vec::new();
    for lap in laps {
        let spent = lap.time.as_secs_f64();
        let product = matches!(lap.stage, Stage::Forward | Stage::Backward | Stage::Gradient);
        let entry = vae.layout().entries().get(lap.slot).filter(|_| product);
        let flops = entry.map_or(0.0, |e| vae.product_flops(e, lap.stage, rows));
        let peak_share = (flops > 0.0).then(|| flops * steps / spent / 1e9 / peak_gflops);
        match stages.last_mut() {
            // Only products are told apart by layer.
            Some(last) if last.stage == lap.stage.name() && entry.is_none() => {
                last.microseconds += spent / steps * 1e6;
                last.share += spent / all;
            }
            _ => stages.push(row(lap.stage.name(), entry.map(|e| e.name.clone()), spent, peak_share)),
        }
    }
    let counted: f64 = laps.iter().map(|lap| lap.time.as_secs_f64()).sum();
    stages.push(row(BETWEEN, None, (all - counted).max(0.0), None));
    stages
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Preset;
    use std::time::Duration;

    #[test]
    fn times_add_up_and_products_have_their_share_of_the_peak() {
        let vae = Vae::new(&Preset::named("mlp-400").unwrap().config(784)).unwrap();
        let entry = &vae.layout().entries()[0];
        let flops = 2.0 * (entry.slot.count() * 128) as f64;
        let lap = |stage, slot, micros| Lap { stage, slot, time: Duration::from_micros(micros) };
        // Ten steps of two threads, one millisecond each.
        let laps = [
            lap(Stage::Gather, 0, 1000),
            lap(Stage::Forward, 0, 4000),
            lap(Stage::Activation, 0, 500),
            lap(Stage::Activation, 4, 500),
            lap(Stage::Gradient, 0, 4000),
            lap(Stage::Gradient, 1, 1000),
        ];
        let peak_gflops = flops / 200e-6 / 1e9;
        let rows = Rows { examples: 128, samples: 1, components: 0 };
        let measured = Measured { laps: &laps, seconds: 0.01, steps: 10.0, rows, threads: 2, peak_gflops };
        let stages = breakdown(&vae, &measured);
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9 * b.abs();
        let total: f64 = stages.iter().map(|s| s.microseconds).sum();
        assert!(close(total, 2000.0), "{total}");
        assert!(close(stages.iter().map(|s| s.share).sum(), 1.0));
        let names: Vec<_> = stages.iter().map(|s| (s.stage, s.parameter.as_deref())).collect();
        let [weight, bias] = [0, 1].map(|i| vae.layout().entries()[i].name.as_str());
        let expected = [
            ("gather", None),
            ("forward", Some(weight)),
            ("activation", None),
            ("gradient", Some(weight)),
            ("gradient", Some(bias)),
            (BETWEEN, None),
        ];
        assert_eq!(names, expected);
        // 4000 µs of ten steps are 400 a step, where the peak would take 200.
        assert!(close(stages[1].peak_share.unwrap(), 0.5), "{stages:?}");
        assert_eq!(stages[4].peak_share, None);
        assert!(close(stages[2].microseconds, 100.0));
        assert!(close(stages[5].microseconds, 900.0));
    }
}
