//! The vector maths of the step, elements a second on one thread: each function against the standard library's scalar
//! one, and the sweeps that no library has.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use elbo_kernels::activation::{self, Activation};
use elbo_kernels::update::{AdamStep, adam};
use elbo_kernels::{Isa, LANES, Op, Simd, math, sweep};
use std::hint::black_box;
use std::time::Duration;

/// Eight rows of 784: they stay in the first-level cache.
const ROWS: usize = 8;
const COLS: usize = 784;

#[derive(Clone, Copy)]
enum Function {
    Exp,
    Log,
    Log1p,
    Sigmoid,
    Softplus,
    Tanh,
    Erf,
}
use Function::*;

type Scalar = fn(f32) -> f32;

/// Each function with its name and its scalar twin; the standard library has no erf.
const FUNCTIONS: [(Function, &str, Option<Scalar>); 7] = [
    (Exp, "exp", Some(f32::exp)),
    (Log, "log", Some(f32::ln)),
    (Log1p, "log1p", Some(f32::ln_1p)),
    (Sigmoid, "sigmoid", Some(|x| 1.0 / (1.0 + (-x).exp()))),
    (Softplus, "softplus", Some(|x| x.max(0.0) + (-x.abs()).exp().ln_1p())),
    (Tanh, "tanh", Some(f32::tanh)),
    (Erf, "erf", None),
];

struct Map<'a>(Function, &'a [f32], &'a mut [f32]);

impl Op<f32> for Map<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<E = f32>>(self, s: S) {
        let Map(f, x, y) = self;
        macro_rules! each {
            ($f:path) => {
                for (x, y) in x.chunks_exact(LANES).zip(y.chunks_exact_mut(LANES)) {
                    s.store($f(s, s.load(x)), y);
                }
            };
        }
        match f {
            Exp => each!(math::exp),
            Log => each!(math::log),
            Log1p => each!(math::log1p),
            Sigmoid => each!(math::sigmoid),
            Softplus => each!(math::softplus),
            Tanh => each!(math::tanh),
            Erf => each!(math::erf),
        }
    }
}

fn benches(c: &mut Criterion) {
    let isa = Isa::detect().expect("ELBO_ISA names an instruction set of this processor");
    let n = ROWS * COLS;
    let logits: Vec<f32> = (0..n).map(|i| ((i * 7919) % 1000) as f32 / 100.0 - 5.0).collect();
    let positive: Vec<f32> = logits.iter().map(|x| x.abs() + 0.01).collect();
    let pixels: Vec<f32> = (0..n).map(|i| ((i * 31) % 256) as f32 / 255.0).collect();
    let mut y = vec![0.0; n];

    let mut group = c.benchmark_group("maths");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    group.throughput(Throughput::Elements(n as u64));
    for (f, name, scalar) in FUNCTIONS {
        let x = if matches!(f, Log | Log1p) { &positive } else { &logits };
        group.bench_function(name, |b| b.iter(|| isa.run(Map(f, black_box(x), black_box(&mut y)))));
        if let Some(scalar) = scalar {
            group.bench_function(format!("{name}, standard library"), |b| {
                b.iter(|| black_box(&mut y).iter_mut().zip(black_box(x)).for_each(|(y, &x)| *y = scalar(x)));
            });
        }
    }
    for (name, act) in [
        ("relu", Activation::Relu),
        ("tanh", Activation::Tanh),
        ("sigmoid", Activation::Sigmoid),
        ("softplus", Activation::Softplus),
        ("gelu", Activation::Gelu),
        ("elu", Activation::Elu(1.0)),
    ] {
        group.bench_function(format!("{name} and its derivative"), |b| {
            let mut dy = logits.clone();
            b.iter(|| {
                y.copy_from_slice(black_box(&logits));
                activation::forward(isa, act, &mut y);
                // From a fresh gradient each time, which would else shrink to nothing.
                dy.copy_from_slice(black_box(&pixels));
                activation::backward(isa, act, &y, &mut dy);
            });
        });
    }
    group.bench_function("cross-entropy with its delta", |b| {
        b.iter(|| {
            y.copy_from_slice(black_box(&logits));
            let rows = pixels.chunks_exact(COLS).zip(y.chunks_exact_mut(COLS));
            rows.map(|(x, o)| sweep::bernoulli_log_prob_grad(isa, x, o, 0.01)).sum::<f32>()
        });
    });
    let (mut m, mut v) = (vec![0.0; n], vec![0.0; n]);
    group.bench_function("Adam", |b| {
        let step = AdamStep::new(1e-3, 0.9, 0.999, 1e-8, 10);
        b.iter(|| adam(isa, &step, black_box(&mut y), &mut m, &mut v, black_box(&logits)));
    });
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
