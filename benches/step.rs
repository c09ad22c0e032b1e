//! One training step, everything but the epoch's shuffle: gather, noise, both passes, Adam.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use elbo::data::Dataset;
use elbo::tensor::Exec;
use elbo::train::{Flow, Observer, StepReport, TrainConfig, Trainer};
use ndarray::Array2;
use std::time::{Duration, Instant};

/// Stops after a number of steps.
struct Steps(u64);

impl Observer for Steps {
    fn step(&mut self, _: &Trainer, _: &StepReport) -> elbo::Result<Flow> {
        self.0 -= 1;
        Ok(if self.0 == 0 { Flow::Stop } else { Flow::Continue })
    }
}

fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("step");
    for (preset, cols, batch) in [
        ("mlp-400", 784, 128),
        ("mlp-400", 784, 32),
        ("mlp-512-256", 784, 128),
        ("gated-300", 784, 100),
        ("iwae-200", 784, 100),
        ("tabular", 2, 32),
    ] {
        for threads in [1, 2] {
            // More rows than any run of steps uses, so that no epoch ends inside a measurement.
            let data = Array2::from_shape_fn((16_384, cols), |(i, j)| ((i * 31 + j * 17) % 256) as f32 / 255.0);
            let data = Dataset::from_array(data.view()).expect("finite data");
            let config = TrainConfig {
                batch_size: batch,
                epochs: u64::MAX >> 20,
                ..TrainConfig::preset(preset, cols).expect("a preset")
            };
            let exec = Exec::new(threads).expect("threads");
            let mut trainer = Trainer::new(config, data, exec).expect("a valid configuration");
            group.throughput(Throughput::Elements(batch as u64));
            group.bench_function(BenchmarkId::new(preset, format!("batch {batch}, threads {threads}")), |bench| {
                bench.iter_custom(|n| {
                    let start = Instant::now();
                    trainer.run(&mut Steps(n)).expect("finite losses");
                    start.elapsed().max(Duration::from_nanos(1))
                });
            });
        }
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
