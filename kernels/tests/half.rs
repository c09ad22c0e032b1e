//! bf16: rounding, pairs, and products of pairs, the same bits from every instruction set.

use elbo_kernels::activation::Activation;
use elbo_kernels::gemm::{Accum, gradient_tile, rows_product_half};
use elbo_kernels::half::{Pair, dot2, pair_rows, round};
use elbo_kernels::panels::Panels;
use elbo_kernels::transpose::{transpose_tile, transpose_tile_half};
use elbo_kernels::{Isa, Mat, MatMut};

/// Values of every size, with zeros and subnormal numbers among them.
fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..n)
        .map(|i| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let x = (state >> 33) as f32 / (1u64 << 30) as f32 - 1.0;
            match i % 37 {
                0 => 0.0,
                1 => x * 1e-39,
                2 => x * 1e-20,
                3 => x * 1e4,
                _ => x,
            }
        })
        .collect()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

fn pair(a: f32, b: f32) -> Pair {
    Pair(u32::from(round(a)) | u32::from(round(b)) << 16)
}

#[test]
fn rounding_is_to_the_nearest_even_and_keeps_nan() {
    let value = |x: f32| f32::from_bits(u32::from(round(x)) << 16);
    for (x, expected) in [
        (1.0, 1.0),
        (1.0 + 0.00390625, 1.0),      // halfway between 1 and 1 + 2⁻⁷: to the even one
        (1.0 + 0.01171875, 1.015625), // halfway between 1 + 2⁻⁷ and 1 + 2⁻⁶: up to the even one
        (-3.39e38, -3.3895314e38),    // the largest
        (f32::MAX, f32::INFINITY),
        (f32::NEG_INFINITY, f32::NEG_INFINITY),
        (1e-40, 0.0),
    ] {
        assert_eq!(value(x), expected, "{x}");
    }
    assert!(value(f32::NAN).is_nan());
    assert!(value(f32::from_bits(0x7F80_0001)).is_nan(), "a NaN whose upper half would be an infinity");
    assert_eq!(value(-1e-40).to_bits(), (-0.0f32).to_bits());
    for x in values(10_000, 1) {
        let error = (f64::from(value(x)) - f64::from(x)).abs();
        assert!(error <= f64::from(x.abs()) / 256.0 + f64::from(f32::MIN_POSITIVE), "{x}");
    }
}

#[test]
fn pairs_and_transposes_are_where_they_should_be() {
    for (rows, cols) in [(1, 1), (2, 16), (5, 17), (16, 32), (33, 64), (48, 40), (64, 64), (7, 50)] {
        let width = usize::next_multiple_of(cols, 16);
        let mut x = values(rows * width, 2);
        for row in x.chunks_exact_mut(width) {
            row[cols..].fill(0.0);
        }
        let at = |r: usize, c: usize| if r < rows && c < cols { x[r * width + c] } else { 0.0 };
        let out_width = rows.next_multiple_of(16);
        for &isa in Isa::available() {
            let mut turned = vec![f32::NAN; cols * out_width];
            transpose_tile(isa, &x, width, &mut turned, out_width);
            let expected: Vec<f32> = (0..cols * out_width).map(|i| at(i % out_width, i / out_width)).collect();
            assert_eq!(bits(&turned), bits(&expected), "{} {rows}×{cols}", isa.name());

            let mut paired = vec![Pair(u32::MAX); rows.div_ceil(2) * width];
            pair_rows(isa, &x, width, &mut paired);
            for (i, p) in paired.iter().enumerate() {
                let (r, c) = (2 * (i / width), i % width);
                assert_eq!(*p, pair(at(r, c), at(r + 1, c)), "{} {rows}×{cols}: {r} {c}", isa.name());
            }

            let mut both = vec![Pair(u32::MAX); cols.div_ceil(2) * out_width];
            transpose_tile_half(isa, &x, width, &mut both, out_width);
            for (i, p) in both.iter().enumerate() {
                let (r, c) = (i % out_width, 2 * (i / out_width));
                assert_eq!(*p, pair(at(r, c), at(r, c + 1)), "{} {rows}×{cols}: {r} {c}", isa.name());
            }
        }
    }
}

const SHAPES: [(usize, usize, usize); 8] =
    [(1, 1, 1), (3, 784, 400), (7, 0, 9), (13, 31, 20), (65, 40, 33), (2, 4099, 17), (130, 2048, 5), (6, 64, 64)];

#[test]
fn a_rows_product_of_pairs_is_the_chain() {
    for (m, k, n) in SHAPES {
        let (a, b, bias) = (values(m * (k + 3), 3), values(k * n, 4), values(n, 5));
        let layout = Panels::new(k, n);
        let mut packed = vec![0.0; layout.len()];
        layout.pack(&b, [n.max(1), 1], &mut packed);
        let b_at = |p: usize, j: usize| if p < k { b[p * n + j] } else { 0.0 };
        let a_at = |i: usize, p: usize| if p < k { a[i * (k + 3) + p] } else { 0.0 };
        for &isa in Isa::available() {
            let mut pairs = vec![Pair::default(); layout.pairs().len()];
            for j in 0..layout.count() {
                let (p, q) = (layout.panel(j), layout.pairs().panel(j));
                let from = &packed[p.offset..][..k * p.width];
                pair_rows(isa, from, p.width, &mut pairs[q.offset..][..k.div_ceil(2) * q.width]);
            }
            for (bias, f) in [(None, Activation::Identity), (Some(&bias[..]), Activation::Relu)] {
                let mut c = vec![f32::NAN; m * (n + 2)];
                let x = Mat::new(&a, m, k, k + 3);
                rows_product_half(isa, x, &layout, &pairs, bias, f, MatMut::new(&mut c, m, n, n + 2));
                for i in 0..m {
                    for j in 0..n {
                        let sum = (0..k).step_by(2).fold(0.0, |sum, p| {
                            dot2(sum, pair(a_at(i, p), a_at(i, p + 1)), pair(b_at(p, j), b_at(p + 1, j)))
                        });
                        let expected = bias.map_or(sum, |bias| (sum + bias[j]).max(0.0));
                        assert_eq!(c[i * (n + 2) + j].to_bits(), expected.to_bits(), "{} {m}×{k}×{n}", isa.name());
                    }
                    assert!(c[i * (n + 2) + n..(i + 1) * (n + 2)].iter().all(|x| x.is_nan()), "overrun");
                }
            }
        }
    }
}

#[test]
fn a_gradient_of_pairs_is_the_chain_and_near_the_exact_one() {
    let (rows, inputs, outputs, ldx, ldy) = (27, 37, 40, 48, 48);
    let (x, mut dy) = (values(rows * ldx, 6), values(rows * ldy, 7));
    for row in dy.chunks_exact_mut(ldy) {
        row[outputs..].fill(0.0);
    }
    let layout = Panels::new(inputs, outputs);
    let mut first = None;
    for &isa in Isa::available() {
        let paired = |x: &[f32], width: usize| {
            let mut out = vec![Pair::default(); rows.div_ceil(2) * width];
            pair_rows(isa, x, width, &mut out);
            out
        };
        let (xs, dys) = (paired(&x, ldx), paired(&dy, ldy));
        let half = rows.div_ceil(2);
        let blocks = [(Mat::new(&xs, half, inputs, ldx), Mat::new(&dys, half, outputs, ldy))];
        let mut found = vec![f32::NAN; layout.len()];
        let p = layout.panel(0);
        gradient_tile(isa, &blocks, &layout, 0, 0..inputs, Accum::Replace, &mut found);
        for i in 0..inputs {
            for j in 0..outputs {
                let exact: f64 = (0..rows).map(|r| f64::from(x[r * ldx + i]) * f64::from(dy[r * ldy + j])).sum();
                let size: f64 = (0..rows).map(|r| f64::from((x[r * ldx + i] * dy[r * ldy + j]).abs())).sum();
                let value = f64::from(found[i * p.width + j]);
                // Two roundings of at most 2⁻⁸ for each product; the sum's own are far smaller.
                assert!((value - exact).abs() <= size / 127.0 + 1e-30, "{} {i} {j}: {value} {exact}", isa.name());
            }
        }
        assert_eq!(*first.get_or_insert(bits(&found)), bits(&found), "{}", isa.name());
    }
}
