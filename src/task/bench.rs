//! Training throughput on real data, everything included.

use super::breakdown::{Measured, StageTime, breakdown};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::estimator::Estimator;
use crate::model::Rows;
use crate::tensor::profile::{self, Lap};
use crate::tensor::{Cores, Exec, Par, core_round_trip};
use crate::train::{EpochReport, Flow, Observer, StepReport, TrainConfig, Trainer};
use elbo_kernels::{Isa, peak::fma_flops};
use std::time::{Duration, Instant};

/// What to measure, and for how long.
#[derive(Clone, PartialEq, Debug)]
pub struct Bench {
    /// The run: network, batch size, optimizer. Its number of epochs is set by the two below.
    pub config: TrainConfig,
    /// Epochs to measure, exactly; `None` measures at least three, until the time is up.
    pub epochs: Option<u64>,
    /// The time, if epochs are not given.
    pub budget: Duration,
    /// When the program began, before it loaded the data.
    pub begun: Instant,
    /// Whether to multiply the data's zeros as well, which a step else leaves out: what a share of the peak should be
    /// quoted of.
    pub dense: bool,
    /// Whether to take the time of each stage of a step. It costs some tens of nanoseconds a stage and tile of weights.
    pub profile: bool,
}

/// What a bench found.
#[derive(Clone, PartialEq, Debug)]
pub struct BenchReport {
    /// Training examples a second in the median epoch.
    pub samples_per_second: f64,
    /// The slowest and the fastest epoch, likewise.
    pub spread: (f64, f64),
    /// Arithmetic of the median epoch by [`Vae::step_flops`](crate::model::Vae::step_flops), 10⁹ multiplications and additions a second.
    pub gflops: f64,
    /// The most that all threads can do: the larger of [`fma_peak`] before and after the run, so that a neighbour who was
    /// busy at one of them does not flatter the share.
    pub peak_gflops: f64,
    /// `gflops / peak_gflops`.
    pub peak_share: f64,
    /// Epochs measured.
    pub epochs: u64,
    /// Examples of an epoch.
    pub rows: usize,
    /// Examples of a step.
    pub batch_size: usize,
    /// Seconds from [`Bench::begun`] to the end of the first step, what the bench itself measures in between left out.
    pub first_step_seconds: f64,
    /// The threads that a step was shared among: one, where it is too small to repay waking the others.
    pub threads_used: usize,
    /// [`core_round_trip`] before and after the run, in nanoseconds; `None` where there are no two threads or cores.
    pub core_round_trip_ns: Option<[f64; 2]>,
    /// Where the time of an average step went, if asked for.
    pub stages: Option<Vec<StageTime>>,
}

impl BenchReport {
    /// How the cores stood to each other, if there are two.
    pub fn cores(&self) -> Option<Cores> {
        self.core_round_trip_ns.map(Cores::from_round_trips)
    }
}

impl Bench {
    /// Trains on the data's training split and measures each epoch by the clock on the wall: shuffle, gathering of rows,
    /// noise, forward, backward, optimizer, metrics. The remainder that fills no batch is left out, so that every step has
    /// the same work; evaluation between epochs is not counted.
    ///
    /// # Errors
    /// As [`Trainer::new`], fewer than two rows, or a loss that is not finite.
    pub fn run(&self, data: &Dataset, ex: &Exec) -> Result<BenchReport> {
        let loaded = self.begun.elapsed();
        let rows = data.train().len();
        if rows < 2 {
            let error =
                Error::input("a bench needs two training rows, one of them to evaluate on, and there are fewer");
            return Err(error.at(data.name()));
        }
        // As in training, a batch beyond the data is all of them, here but for one row.
        let batch = self.config.batch_size.clamp(1, rows - 1);
        // The rows left out, at least one, become the test split: evaluation then takes no time.
        let rest = if rows.is_multiple_of(batch) { batch } else { rows % batch };
        let data = Dataset::new(data.name(), data.train().clone()).with_test(rest)?;
        let used = rows - rest;
        let epochs = self.epochs.unwrap_or(MOST_EPOCHS);
        let config = TrainConfig { epochs, patience: None, ..self.config.clone() };
        let building = Instant::now();
        let mut trainer = Trainer::new(config, data, ex.clone())?;
        let built = building.elapsed();
        if self.dense {
            trainer = trainer.dense();
        }
        let before = (fma_peak(ex), core_round_trip(ex, ROUND));
        let budget = if self.epochs.is_some() { Duration::MAX } else { self.budget };
        let now = Instant::now();
        let profile = self.profile.then(Vec::new);
        let mut watch = Watch { start: now, begun: now, budget, first: None, seconds: Vec::new(), profile };
        profile::reset(ex, self.profile);
        let ran = trainer.run(&mut watch);
        profile::reset(ex, false);
        ran?;
        let after = (core_round_trip(ex, ROUND), fma_peak(ex));
        let peak_gflops = before.0.max(after.1) / 1e9;
        let threads_used = trainer.threads_used();
        let first_step_seconds = (loaded + built + watch.first.unwrap_or_default()).as_secs_f64();
        let mut seconds = watch.seconds;
        let (vae, samples) = (trainer.vae(), Estimator::<f32>::samples(&self.config.estimator()));
        let stages = watch.profile.map(|laps| {
            let measured = Measured {
                laps: &laps,
                seconds: seconds.iter().sum(),
                steps: (seconds.len() * (used / batch)) as f64,
                rows: Rows { examples: batch, samples, components: vae.pseudo_inputs() },
                threads: threads_used,
                peak_gflops: peak_gflops / ex.workers() as f64,
            };
            breakdown(vae, &measured)
        });
        seconds.sort_unstable_by(f64::total_cmp);
        let speed = |seconds: f64| used as f64 / seconds;
        let (fastest, slowest) = (seconds[0], seconds[seconds.len() - 1]);
        let samples_per_second = speed(median(&seconds));
        let gflops = samples_per_second / batch as f64 * vae.step_flops(batch, samples) / 1e9;
        Ok(BenchReport {
            samples_per_second,
            spread: (speed(slowest), speed(fastest)),
            gflops,
            peak_gflops,
            peak_share: gflops / peak_gflops,
            epochs: seconds.len() as u64,
            rows: used,
            batch_size: batch,
            first_step_seconds,
            threads_used,
            core_round_trip_ns: before.1.zip(after.0).map(|(before, after)| [before, after]),
            stages,
        })
    }
}

/// The middle of sorted values; of two middle ones, the mean.
fn median(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { (sorted[half - 1] + sorted[half]) / 2.0 }
}

/// Takes the time of each epoch, from before its shuffle to after its last step.
struct Watch {
    start: Instant,
    begun: Instant,
    budget: Duration,
    /// From the start to the end of the first step.
    first: Option<Duration>,
    seconds: Vec<f64>,
    profile: Option<Vec<Lap>>,
}

/// Adds an epoch's times to those before it.
fn add(laps: &mut Vec<Lap>, more: &[Lap]) {
    for lap in more {
        match laps.iter_mut().find(|l| (l.stage, l.slot) == (lap.stage, lap.slot)) {
            Some(sum) => sum.time += lap.time,
            None => laps.push(*lap),
        }
    }
    laps.sort_unstable_by_key(|lap| (lap.stage, lap.slot));
}

/// Epochs that no bench sees the end of.
const MOST_EPOCHS: u64 = 1 << 20;

/// Epochs that a median wants at least.
const LEAST_EPOCHS: usize = 3;

impl Observer for Watch {
    fn step(&mut self, trainer: &Trainer, report: &StepReport) -> Result<Flow> {
        self.first.get_or_insert_with(|| self.start.elapsed());
        if report.rows.0 == report.rows.1 {
            self.seconds.push(self.begun.elapsed().as_secs_f64());
            if let Some(laps) = &mut self.profile {
                add(laps, &profile::reset(trainer.exec(), true));
            }
        }
        Ok(Flow::Continue)
    }
    fn epoch(&mut self, trainer: &Trainer, _: &EpochReport) -> Result<Flow> {
        if self.profile.is_some() {
            // What evaluation took is not counted.
            profile::reset(trainer.exec(), true);
        }
        self.begun = Instant::now();
        let enough = self.seconds.len() >= LEAST_EPOCHS && self.start.elapsed() >= self.budget;
        Ok(if enough { Flow::Stop } else { Flow::Continue })
    }
}

/// The most multiplications and additions a second that the threads of `ex` can do in f32: independent fused
/// multiply-adds on registers, all threads at once, the best of several rounds.
pub fn fma_peak(ex: &Exec) -> f64 {
    let isa = ex.isa();
    let round = |work: usize| {
        let start = Instant::now();
        let flops: f64 = match ex.par() {
            Par::Sequential => fma_flops::<f32>(isa, work),
            Par::Pool => ex.install(|| rayon::broadcast(|_| fma_flops::<f32>(isa, work)).iter().sum()),
        };
        flops / start.elapsed().as_secs_f64()
    };
    // First find how much work takes a few milliseconds: instruction sets differ by a hundred times.
    let work = calibrate(isa);
    (0..ROUNDS).map(|_| round(work)).fold(0.0, f64::max)
}

/// Rounds of the peak's measurement, and the length of each.
const ROUNDS: usize = 20;
const ROUND: Duration = Duration::from_millis(10);

fn calibrate(isa: Isa) -> usize {
    let mut work = 1024;
    loop {
        let start = Instant::now();
        fma_flops::<f32>(isa, work);
        if start.elapsed() >= ROUND {
            return work;
        }
        work *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[1.0, 2.0, 9.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), 3.0);
    }

    #[test]
    fn the_peak_is_a_processor_s() {
        // A core of any age does more than ten million operations a second, and none yet a petaflop.
        let peak = fma_peak(&Exec::with_isa(Isa::default(), 1).unwrap());
        assert!((1e7..1e15).contains(&peak), "{peak}");
    }
}
