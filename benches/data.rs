//! What a batch of digits costs before the network sees it: the gather, the binarization, the shuffle.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use elbo::data::{Batches, Binarize, Rows, View};
use elbo::tensor::Noise;

const ROWS: usize = 10_000;
const COLS: usize = 784;
const BATCH: usize = 128;

fn benches(c: &mut Criterion) {
    let pixels = (0..ROWS * COLS).map(|i| (i * 31 % 256) as u8).collect();
    let view = View::new(Rows::from_u8(pixels, COLS).expect("whole rows"));
    let noise = Noise::new(1);
    let mut batches = Batches::new(ROWS, BATCH, noise).expect("a batch of rows");
    let mut x = vec![0.0f32; BATCH * COLS];

    let mut group = c.benchmark_group("data");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("shuffle", |b| b.iter(|| batches.start(1)));
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("gather", |b| {
        b.iter(|| {
            for (&row, x) in batches.batch(3).iter().zip(x.chunks_exact_mut(COLS)) {
                view.gather(row as usize, x);
            }
        });
    });
    for binarize in [Binarize::Dynamic, Binarize::Threshold] {
        group.bench_function(format!("gather and binarize, {binarize}"), |b| {
            b.iter(|| {
                for (&row, x) in batches.batch(3).iter().zip(x.chunks_exact_mut(COLS)) {
                    view.gather(row as usize, x);
                    binarize.apply(noise, 7, u64::from(row), x);
                }
            });
        });
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
