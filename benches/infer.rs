//! A trained `mlp-400` at work: the latency of one row, and the throughput of a thousand; importance sampling, and its share
//! of time in matrix products.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use elbo::model::{Draw, Inference, Preset, Vae};
use elbo::tensor::profile::{self, Stage};
use elbo::tensor::{Exec, Noise, Params, Stream};
use ndarray::Array2;
use std::hint::black_box;
use std::time::Duration;

fn benches(c: &mut Criterion) {
    let config = Preset::named("mlp-400").expect("a preset").config(784);
    let vae = Vae::new(&config).expect("a valid network");
    let params = Params::<f32>::init(vae.layout(), &Noise::new(1));
    let mut group = c.benchmark_group("infer");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for threads in [1, 2] {
        let exec = Exec::new(threads).expect("threads");
        let mut model = Inference::new(&vae, &params, &exec);
        for rows in [1, 1000] {
            let pixels = Array2::from_shape_fn((rows, 784), |(i, j)| ((i * 31 + j * 17) % 256) as f32 / 255.0);
            let mut means = Array2::<f32>::zeros((rows, config.latent));
            let mut decoded = Array2::<f32>::zeros((rows, 784));
            let of = format!("{rows} rows, threads {threads}");
            group.throughput(Throughput::Elements(rows as u64));
            group.bench_function(BenchmarkId::new("encode", &of), |b| {
                b.iter(|| model.encode_into(black_box(pixels.view()), means.view_mut()));
            });
            group.bench_function(BenchmarkId::new("decode", &of), |b| {
                b.iter(|| model.decode_into(black_box(means.view()), decoded.view_mut()));
            });
            group.bench_function(BenchmarkId::new("score", &of), |b| {
                let fill = |r: usize, x: &mut [f32]| x.copy_from_slice(pixels.row(r).to_slice().expect("whole rows"));
                b.iter(|| {
                    let mut total = 0.0;
                    model.score(rows, &fill, |_, score| total += score.neg_elbo());
                    total
                });
            });
        }
    }
    group.finish();
}

/// Rows times samples a second.
fn importance(c: &mut Criterion) {
    const ROWS: usize = 200;
    const SAMPLES: usize = 500;
    let vae = Vae::new(&Preset::named("mlp-400").expect("a preset").config(784)).expect("a valid network");
    let params = Params::<f32>::init(vae.layout(), &Noise::new(1));
    let pixels = Array2::from_shape_fn((ROWS, 784), |(i, j)| ((i * 31 + j * 17) % 256) as f32 / 255.0);
    let draw = Draw { noise: Noise::new(2), stream: Stream::Evaluate, step: 0 };
    let mut group = c.benchmark_group("importance");
    group.sample_size(10).throughput(Throughput::Elements((ROWS * SAMPLES) as u64));
    for threads in [1, 2] {
        let exec = Exec::new(threads).expect("threads");
        let mut model = Inference::new(&vae, &params, &exec);
        let mut run = || {
            let fill = |r: usize, x: &mut [f32]| x.copy_from_slice(pixels.row(r).to_slice().expect("whole rows"));
            let mut total = 0.0;
            model.importance(ROWS, &fill, &draw, SAMPLES, |_, bounds| total -= bounds.log_likelihood());
            total
        };
        group.bench_function(BenchmarkId::new("200 rows, 500 samples", format!("threads {threads}")), |b| {
            b.iter(&mut run)
        });
        profile::reset(&exec, true);
        run();
        let laps = profile::reset(&exec, false);
        let all: f64 = laps.iter().map(|lap| lap.time.as_secs_f64()).sum();
        for stage in [Stage::Noise, Stage::Forward, Stage::Activation, Stage::Latent, Stage::Likelihood] {
            let of: f64 = laps.iter().filter(|lap| lap.stage == stage).map(|lap| lap.time.as_secs_f64()).sum();
            println!("threads {threads}: {:.1} % of the time in {}", 100.0 * of / all, stage.name());
        }
    }
    group.finish();
}

criterion_group!(all, benches, importance);
criterion_main!(all);
