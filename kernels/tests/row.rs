//! One row times packed weights: the bits of the product of many rows, on every instruction set.

use elbo_kernels::activation::Activation;
use elbo_kernels::gemm::{Accum, rows_product};
use elbo_kernels::panels::Panels;
use elbo_kernels::row::row_product;
use elbo_kernels::{Element, Isa, Mat, MatMut};

/// A fixed sequence of values in [-1, 1), some of them zero.
fn values<E: Element>(n: usize, seed: u64) -> Vec<E> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as f64 / (1u64 << 30) as f64 - 1.0
    };
    (0..n).map(|i| E::from_f64(if i % 7 == 3 { 0.0 } else { next() })).collect()
}

/// (in, out): widths below, at and between whole vectors and panels; the layers of real networks; nothing at all.
const SHAPES: [(usize, usize); 14] = [
    (1, 1),
    (0, 5),
    (0, 100),
    (3, 16),
    (5, 17),
    (7, 63),
    (20, 64),
    (33, 65),
    (2, 80),
    (20, 400),
    (400, 40),
    (784, 400),
    (130, 784),
    (4100, 48),
];

fn agrees<E: Element>() {
    const GUARD: usize = 8;
    let guard = E::from_f64(-77.0);
    for (k, n) in SHAPES {
        let layout = Panels::new(k, n);
        let (x, plain, bias) = (values::<E>(k, 1), values::<E>(k * n, 2), values::<E>(n, 3));
        let mut packed = vec![E::ZERO; layout.len()];
        layout.pack(&plain, [n, 1], &mut packed);
        for (accum, bias) in [
            (Accum::Replace, Some(&bias[..])),
            (Accum::Replace, None),
            (Accum::Add, Some(&bias[..])),
            (Accum::Add, None),
        ] {
            // What is there is added to, or never looked at.
            let start = match accum {
                Accum::Add => values::<E>(n, 4),
                Accum::Replace => vec![E::from_f64(f64::NAN); n],
            };
            // `foreign` leaves the product of many rows to matrixmultiply, whose sums are others.
            for &isa in Isa::available().iter().filter(|isa| isa.name() != "foreign") {
                let mut want = start.clone();
                let (rows, y) = (Mat::new(&x, 1, k, k), MatMut::new(&mut want, 1, n, n));
                rows_product(isa, rows, &layout, &packed, bias, Activation::Identity, accum, y);
                let mut got = [&start[..], &[guard; GUARD]].concat();
                row_product(isa, &x, &layout, &packed, bias, accum, &mut got[..n]);
                let bits = |y: &[E]| y.iter().map(|y| y.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&got[..n]), bits(&want), "{k}x{n} {accum:?} on {}", isa.name());
                assert_eq!(got[n..], [guard; GUARD], "{k}x{n} {accum:?} on {}", isa.name());
            }
            let foreign = Isa::named("foreign").unwrap();
            let mut got = start.clone();
            row_product(foreign, &x, &layout, &packed, bias, accum, &mut got);
            for (j, got) in got.iter().enumerate() {
                let start = if accum == Accum::Add { start[j].to_f64() } else { 0.0 };
                let sum = (0..k).fold(start, |sum, p| sum + x[p].to_f64() * plain[p * n + j].to_f64());
                let want = sum + bias.map_or(0.0, |b| b[j].to_f64());
                // Each of k sums of terms below 1 rounds twice.
                let bound = (2 * k + 2) as f64 * (k + 2) as f64 * 0.5f64.powi(E::MANTISSA_BITS as i32);
                assert!((got.to_f64() - want).abs() <= bound, "{k}x{n}: {got:?} is not {want}");
            }
        }
    }
}

#[test]
fn one_row_has_the_bits_of_many() {
    agrees::<f32>();
    agrees::<f64>();
}

#[test]
#[should_panic(expected = "row product: x 3, w 4×5 in 64 elements, bias None, y 5")]
fn shapes_are_named() {
    let w = Panels::new(4, 5);
    row_product(Isa::default(), &[1.0f32; 3], &w, &[0.0; 64], None, Accum::Replace, &mut [0.0; 5]);
}
