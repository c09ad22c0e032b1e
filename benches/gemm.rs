//! Matrix products at the shapes of real VAEs: elbo's kernels against matrixmultiply, the `gemm` crate (its
//! part for `f32`, with the AVX-512 kernels) and ndarray's `dot`. Each uses one thread: elbo and `gemm` are told so,
//! matrixmultiply and ndarray have no other way here.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use elbo_kernels::activation::Activation;
use elbo_kernels::gemm::{Accum, Transpose, gemm, gemm_scratch, gradient_tile, rows_product};
use elbo_kernels::panels::Panels;
use elbo_kernels::par::Par;
use elbo_kernels::{Isa, Mat, MatMut};
use ndarray::Array2;
use std::hint::black_box;

/// (rows, in, out): the layers of `mlp-400`, `mlp-512-256`, `iwae-200` and `gated-300` at batch 128.
const SHAPES: [(usize, usize, usize); 8] = [
    (128, 784, 400),
    (128, 400, 784),
    (128, 400, 40),
    (128, 20, 400),
    (128, 784, 512),
    (128, 512, 256),
    (128, 200, 200),
    (128, 300, 600),
];

fn benches(c: &mut Criterion) {
    let isa = Isa::detect().expect("ELBO_ISA names an instruction set of this processor");
    let product = gemm_f32::gemm::f32::get_gemm_fn();
    let mut group = c.benchmark_group("gemm");
    for (m, k, n) in SHAPES {
        group.throughput(Throughput::Elements(2 * (m * k * n) as u64));
        let shape = format!("{m}x{k}x{n}");
        let a = Array2::from_shape_fn((m, k), |(i, j)| ((i * 7 + j * 3) % 11) as f32 / 11.0 - 0.4);
        let b = Array2::from_shape_fn((k, n), |(i, j)| ((i * 5 + j * 2) % 13) as f32 / 13.0 - 0.5);
        let (av, bv) = (a.as_slice().unwrap(), b.as_slice().unwrap());
        let mut out = vec![0.0f32; m * n.next_multiple_of(16)];

        let layout = Panels::new(k, n);
        let mut packed = vec![0.0; layout.len()];
        layout.pack(bv, [n, 1], &mut packed);
        group.bench_function(BenchmarkId::new("elbo rows, weights packed", &shape), |bench| {
            bench.iter(|| {
                let y = MatMut::new(&mut out, m, n, n);
                rows_product(
                    isa,
                    Mat::new(black_box(av), m, k, k),
                    &layout,
                    &packed,
                    None,
                    Activation::Identity,
                    Accum::Replace,
                    y,
                );
            });
        });
        let mut scratch = vec![0.0; gemm_scratch(k, n)];
        group.bench_function(BenchmarkId::new("elbo gemm", &shape), |bench| {
            bench.iter(|| {
                let (a, b) = (Mat::new(black_box(av), m, k, k), Mat::new(black_box(bv), k, n, n));
                let y = MatMut::new(&mut out, m, n, n);
                let (a, b) = ((Transpose::No, a), (Transpose::No, b));
                gemm(isa, Par::Sequential, a, b, Accum::Replace, y, &mut scratch);
            });
        });
        let stride = n.next_multiple_of(16);
        let dy = vec![0.25f32; m * stride];
        let mut grads = vec![0.0; layout.len()];
        group.bench_function(BenchmarkId::new("elbo gradient", &shape), |bench| {
            let blocks = [(Mat::new(av, m, k, k), Mat::new(&dy, m, n, stride))];
            bench.iter(|| {
                for j in 0..layout.count() {
                    let p = layout.panel(j);
                    let tile = &mut grads[p.offset..][..k * p.width];
                    gradient_tile(isa, black_box(&blocks), &layout, j, 0..k, Accum::Replace, tile);
                }
            });
        });
        group.bench_function(BenchmarkId::new("matrixmultiply", &shape), |bench| {
            bench.iter(|| {
                let (k, n) = (k as isize, n as isize);
                // SAFETY: the slices hold m×k, k×n and at least m×n elements.
                unsafe {
                    let (a, b, c) = (black_box(av).as_ptr(), black_box(bv).as_ptr(), out.as_mut_ptr());
                    matrixmultiply::sgemm(m, k as usize, n as usize, 1.0, a, k, 1, b, n, 1, 0.0, c, n, 1);
                }
            });
        });
        group.bench_function(BenchmarkId::new("gemm crate", &shape), |bench| {
            bench.iter(|| {
                let (rows, inner) = (n as isize, k as isize);
                let (a, b, c) = (black_box(av).as_ptr(), black_box(bv).as_ptr(), out.as_mut_ptr());
                let alone = gemm_common::Parallelism::None;
                // SAFETY: the slices hold m×k, k×n and at least m×n elements.
                unsafe {
                    product(m, n, k, c, 1, rows, false, a, 1, inner, b, 1, rows, 0.0, 1.0, false, false, false, alone);
                }
            });
        });
        group.bench_function(BenchmarkId::new("ndarray dot", &shape), |bench| {
            bench.iter(|| black_box(&a).dot(black_box(&b)));
        });
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
