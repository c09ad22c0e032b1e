//! Every tile of every instruction set against the naive chain of `mul_add`: the same bits.

mod common;

use common::{bits, values};
use elbo_kernels::activation::{Activation, forward};
use elbo_kernels::gemm::{Accum, Transpose, gemm, gemm_scratch, gradient_tile, rows_product};
use elbo_kernels::panels::Panels;
use elbo_kernels::par::Par;
use elbo_kernels::{Element, Isa, Mat, MatMut};

/// `C (+)= A B (+ bias)`, one chain of fused multiply-adds per element.
fn naive<E: Element>(
    (m, k, n): (usize, usize, usize),
    a: impl Fn(usize, usize) -> E,
    b: impl Fn(usize, usize) -> E,
    start: impl Fn(usize, usize) -> E,
    bias: Option<&[E]>,
) -> Vec<E> {
    let mut c = Vec::with_capacity(m * n);
    for i in 0..m {
        for j in 0..n {
            let sum = (0..k).fold(start(i, j), |sum, p| a(i, p).mul_add(b(p, j), sum));
            c.push(bias.map_or(sum, |bias| sum + bias[j]));
        }
    }
    c
}

/// The same bits from an instruction set with fused multiply-add; close, from matrixmultiply.
fn agree<E: Element>(isa: Isa, found: &[E], expected: &[E], what: &str) {
    if isa.name() != "foreign" {
        assert_eq!(bits(found), bits(expected), "{} {what}", isa.name());
        return;
    }
    // Inputs are below 1 and k below 4100: sums err by less than k roundings of the largest partial sum.
    let bound = 4100.0 * 0.5f64.powi(E::MANTISSA_BITS as i32);
    for (f, e) in found.iter().zip(expected) {
        assert!(
            (f.to_f64() - e.to_f64()).abs() <= bound * (1.0 + e.to_f64().abs()),
            "{} {what}: {f:?} {e:?}",
            isa.name()
        );
    }
}

const SHAPES: [(usize, usize, usize); 12] = [
    (1, 1, 1),
    (1, 784, 400),
    (2, 3, 5),
    (7, 0, 9),
    (13, 31, 20),
    (8, 17, 48),
    (25, 5, 65),
    (64, 40, 33),
    (6, 64, 64),
    (3, 2100, 17),
    (5, 4097, 3),
    (12, 9, 784),
];

fn check_rows<E: Element>() {
    for &(m, k, n) in &SHAPES {
        let (lda, ldc) = (k + 3, n + 2);
        let (a, b, bias) = (values::<E>(m * lda, 1), values::<E>(k * n, 2), values::<E>(n, 3));
        let layout = Panels::new(k, n);
        let mut packed = vec![E::ZERO; layout.len()];
        layout.pack(&b, [n, 1], &mut packed);
        for &isa in Isa::available() {
            for (accum, bias) in [(Accum::Replace, Some(&bias[..])), (Accum::Add, None), (Accum::Replace, None)] {
                let nan = E::from_f64(f64::NAN);
                let mut c = if accum == Accum::Add { values::<E>(m * ldc, 4) } else { vec![nan; m * ldc] };
                let before = c.clone();
                let x = Mat::new(&a, m, k, lda);
                rows_product(
                    isa,
                    x,
                    &layout,
                    &packed,
                    bias,
                    Activation::Identity,
                    accum,
                    MatMut::new(&mut c, m, n, ldc),
                );
                let start = |i: usize, j: usize| if accum == Accum::Add { before[i * ldc + j] } else { E::ZERO };
                let expected = naive((m, k, n), |i, p| a[i * lda + p], |p, j| b[p * n + j], start, bias);
                let found: Vec<E> = (0..m).flat_map(|i| c[i * ldc..][..n].to_vec()).collect();
                agree(isa, &found, &expected, &format!("{m}×{k}×{n} {accum:?}"));
                for i in 0..m {
                    assert_eq!(
                        bits(&c[i * ldc + n..(i + 1) * ldc]),
                        bits(&before[i * ldc + n..(i + 1) * ldc]),
                        "overrun"
                    );
                }
            }
        }
    }
}

/// What a product leaves, its activation in its epilogue or after it.
#[test]
fn the_epilogue_is_the_activation() {
    for (m, k, n) in SHAPES {
        let (a, b, bias) = (values::<f32>(m * k, 1), values::<f32>(k * n, 2), values::<f32>(n, 3));
        let layout = Panels::new(k, n);
        let mut packed = vec![0.0; layout.len()];
        layout.pack(&b, [n, 1], &mut packed);
        for (&isa, f) in Isa::available().iter().flat_map(|isa| [Activation::Relu, Activation::Tanh].map(|f| (isa, f)))
        {
            let product = |f| {
                let (x, mut y) = (Mat::new(&a, m, k, k), vec![f32::NAN; m * (n + 2)]);
                rows_product(
                    isa,
                    x,
                    &layout,
                    &packed,
                    Some(&bias),
                    f,
                    Accum::Replace,
                    MatMut::new(&mut y, m, n, n + 2),
                );
                y
            };
            let (once, mut after) = (product(f), product(Activation::Identity));
            after.chunks_exact_mut(n + 2).for_each(|row| forward(isa, f, &mut row[..n]));
            assert_eq!(bits(&once), bits(&after), "{} {f:?} {m}×{k}×{n}", isa.name());
        }
    }
}

fn check_gradient<E: Element>() {
    for &(n_in, b, n_out) in &SHAPES {
        let (ldx, ldy) = (n_in + 1, n_out.next_multiple_of(16));
        let x = values::<E>(b * ldx, 5);
        let mut dy = values::<E>(b * ldy, 6);
        for row in dy.chunks_exact_mut(ldy) {
            row[n_out..].fill(E::ZERO);
        }
        let layout = Panels::new(n_in, n_out);
        let start = values::<E>(n_in * n_out, 10);
        let chain = |from: &dyn Fn(usize, usize) -> E| {
            naive((n_in, b, n_out), |i, p| x[p * ldx + i], |p, j| dy[p * ldy + j], from, None)
        };
        let expected = [(Accum::Replace, chain(&|_, _| E::ZERO)), (Accum::Add, chain(&|i, j| start[i * n_out + j]))];
        for &isa in Isa::available() {
            // Blocks of fifty rows are summed two at a time where registers are few.
            for (tall, (accum, expected)) in [b.max(1), b.div_ceil(3).max(1), 50]
                .into_iter()
                .flat_map(|tall| expected.iter().map(move |e| (tall, e)))
            {
                let none = (Mat::new(&x, 0, n_in, ldx), Mat::new(&dy, 0, n_out, ldy));
                let some = (0..b).step_by(tall).map(|from| {
                    let rows = tall.min(b - from);
                    (Mat::new(&x[from * ldx..], rows, n_in, ldx), Mat::new(&dy[from * ldy..], rows, n_out, ldy))
                });
                let blocks: Vec<_> = std::iter::once(none).chain(some).collect();
                let mut packed = vec![E::from_f64(f64::NAN); layout.len()];
                if *accum == Accum::Add {
                    layout.pack(&start, [n_out, 1], &mut packed);
                }
                for j in 0..layout.count() {
                    let p = layout.panel(j);
                    let middle = n_in / 2;
                    for rows in [0..middle, middle..n_in] {
                        let out = &mut packed[p.offset + rows.start * p.width..p.offset + rows.end * p.width];
                        gradient_tile(isa, &blocks, &layout, j, rows, *accum, out);
                    }
                }
                let mut found = vec![E::ZERO; n_in * n_out];
                layout.unpack(&packed, [n_out, 1], &mut found);
                agree(isa, &found, expected, &format!("gradient {n_in}×{b}×{n_out}, {accum:?}, blocks of {tall}"));
                let padding: f64 = packed.iter().map(|v| v.to_f64().abs()).sum::<f64>()
                    - found.iter().map(|v| v.to_f64().abs()).sum::<f64>();
                assert!(padding.abs() < 1e-6, "padding is zero");
            }
        }
    }
}

fn check_general<E: Element>() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    for &(m, k, n) in &SHAPES {
        for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
            let (ar, ac) = if ta { (k, m) } else { (m, k) };
            let (br, bc) = if tb { (n, k) } else { (k, n) };
            let (a, b) = (values::<E>(ar * ac, 7), values::<E>(br * bc, 8));
            let at = |i: usize, p: usize| if ta { a[p * m + i] } else { a[i * k + p] };
            let bt = |p: usize, j: usize| if tb { b[j * k + p] } else { b[p * n + j] };
            let expected = naive((m, k, n), at, bt, |_, _| E::ZERO, None);
            let way = |t| if t { Transpose::Yes } else { Transpose::No };
            for &isa in Isa::available() {
                let mut scratch = vec![E::from_f64(f64::NAN); gemm_scratch(k, n)];
                for par in [Par::Sequential, Par::Pool] {
                    let mut c = vec![E::from_f64(f64::NAN); m * n];
                    pool.install(|| {
                        let (a, b) = (Mat::new(&a, ar, ac, ac), Mat::new(&b, br, bc, bc));
                        gemm(
                            isa,
                            par,
                            (way(ta), a),
                            (way(tb), b),
                            Accum::Replace,
                            MatMut::new(&mut c, m, n, n),
                            &mut scratch,
                        );
                    });
                    agree(isa, &c, &expected, &format!("gemm {m}×{k}×{n} {ta} {tb} {par:?}"));
                }
            }
        }
    }
}

#[test]
fn rows_product_is_the_chain() {
    check_rows::<f32>();
    check_rows::<f64>();
}
#[test]
fn gradient_is_the_chain_whatever_the_blocks() {
    check_gradient::<f32>();
    check_gradient::<f64>();
}
#[test]
fn gemm_is_the_chain_in_every_transposition_on_any_thread() {
    check_general::<f32>();
    check_general::<f64>();
}
#[test]
#[should_panic(expected = "rows product: x 2×3")]
fn shapes_that_disagree_are_named() {
    let (x, mut y) = (vec![0f32; 6], vec![0f32; 8]);
    let layout = Panels::new(4, 4);
    let w = vec![0f32; layout.len()];
    rows_product(
        Isa::PORTABLE,
        Mat::new(&x, 2, 3, 3),
        &layout,
        &w,
        None,
        Activation::Identity,
        Accum::Replace,
        MatMut::new(&mut y, 2, 4, 4),
    );
}
