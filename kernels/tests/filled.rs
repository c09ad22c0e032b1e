//! Products that leave out zeros: the same bits as those that do not.

mod common;

use common::{bits, values};
use elbo_kernels::activation::Activation;
use elbo_kernels::gemm::{Accum, Operand, adam_tile, gradient_tile, rows_product};
use elbo_kernels::half::{Pair, pair_rows};
use elbo_kernels::panels::Panels;
use elbo_kernels::update::AdamStep;
use elbo_kernels::{Element, Filled, Isa, Mat, MatMut};

/// Like pictures: dark borders, dark stretches that differ every few rows, and single dark points; dark enough that lists are
/// followed whatever the instruction set. Columns past `cols` are zero up to the stride.
fn pictures<E: Element>(rows: usize, cols: usize, stride: usize) -> Vec<E> {
    let mut x = values::<E>(rows * stride, 5);
    for r in 0..rows {
        for c in 0..stride {
            let border = c < cols / 8 || c % 37 == 5;
            let stretch = (c / 7 + r / 5) % 3 != 0;
            if c >= cols || border || stretch || (r * 31 + c) % 11 == 0 {
                x[r * stride + c] = E::ZERO;
            }
        }
    }
    x
}

const SHAPES: [(usize, usize); 8] = [(1, 1), (3, 5), (8, 16), (64, 784), (65, 63), (70, 100), (130, 257), (9, 2100)];

fn lists<E: Element>(isa: Isa) {
    for (rows, cols) in SHAPES {
        let x = pictures::<E>(rows, cols, cols + 3);
        let x = Mat::new(&x, rows, cols, cols + 3);
        let zero = |r: usize, c: usize| r >= rows || c >= cols || x.row(r)[c] == E::ZERO;
        let mut filled = Filled::default();
        filled.find(isa, x);
        let columns: Vec<Vec<u32>> = (0..rows.div_ceil(4))
            .map(|g| (0..cols).filter(|&c| (4 * g..4 * g + 4).any(|r| !zero(r, c))).map(|c| c as u32).collect())
            .collect();
        let strips: Vec<Vec<u32>> = (0..cols.div_ceil(4))
            .map(|g| (0..rows).filter(|&r| (4 * g..4 * g + 4).any(|c| !zero(r, c))).map(|r| r as u32).collect())
            .collect();
        // Nearly full lists are not given, nor fuller ones than pay where registers are few.
        let limit = if isa.name() == "avx2" { 0.6 } else { 0.9 };
        let worth = |lists: &[Vec<u32>], most: usize| {
            (lists.iter().map(Vec::len).sum::<usize>() as f64) < limit * (lists.len() * most) as f64
        };
        if rows * cols > 1000 {
            assert!(worth(&columns, cols) && worth(&strips, rows), "{} {rows}×{cols}: nothing is left out", isa.name());
        }
        for (g, expected) in columns.iter().enumerate() {
            let expected = worth(&columns, cols).then_some(&expected[..]);
            assert_eq!(filled.columns(g), expected, "{} columns {g} of {rows}×{cols}", isa.name());
        }
        for (g, expected) in strips.iter().enumerate() {
            let expected = worth(&strips, rows).then_some(&expected[..]);
            assert_eq!(filled.rows(g), expected, "{} rows {g} of {rows}×{cols}", isa.name());
        }
    }
}

#[test]
fn lists_say_where_a_matrix_is_not_zero() {
    for &isa in Isa::available() {
        lists::<f32>(isa);
        lists::<f64>(isa);
    }
}

#[test]
fn not_a_number_is_not_zero_and_minus_zero_is() {
    for &isa in Isa::available() {
        let mut x = [0.0f32; 64];
        (x[5], x[20], x[40], x[63]) = (f32::NAN, -0.0, f32::INFINITY, f32::from_bits(1));
        let mut filled = Filled::default();
        filled.find(isa, Mat::new(&x, 1, 64, 64));
        assert_eq!(filled.columns(0), Some(&[5, 40, 63][..]), "{}", isa.name());
    }
}

#[test]
fn after_a_full_matrix_it_pauses_and_then_looks_again() {
    let (full, empty) = ([1.0f32; 64], [0.0f32; 64]);
    let of = |x: &'static str, filled: &mut Filled| {
        let data = if x == "full" { &full } else { &empty };
        filled.find(Isa::default(), Mat::new(data, 8, 8, 8));
        filled.shape()
    };
    let mut filled = Filled::default();
    assert_eq!(of("empty", &mut filled), (8, 8));
    assert_eq!(of("full", &mut filled), (0, 0), "nothing worth a list");
    let paused = (0..100).take_while(|_| of("empty", &mut filled) == (0, 0)).count();
    assert!((1..100).contains(&paused), "{paused}");
    assert_eq!(of("empty", &mut filled), (8, 8));
}

#[test]
#[should_panic(expected = "filled 8×8, of 4×16")]
fn it_belongs_to_one_shape() {
    let x = [0.0f32; 64];
    let mut filled = Filled::default();
    filled.find(Isa::default(), Mat::new(&x, 8, 8, 8));
    let _ = Mat::new(&x, 4, 16, 16).with_filled(&filled);
}

fn products<E: Element>(isa: Isa) {
    for (rows, inputs) in SHAPES {
        for outputs in [1usize, 20, 70] {
            let (stride, w) = (inputs.next_multiple_of(16), Panels::new(inputs, outputs));
            let (x, packed) = (pictures::<E>(rows, inputs, stride), values::<E>(w.len(), 2));
            let (plain, bias) = (Mat::new(&x, rows, inputs, stride), values::<E>(outputs, 3));
            let mut filled = Filled::default();
            filled.find(isa, plain);
            let known = if filled.shape() == (rows, inputs) { plain.with_filled(&filled) } else { plain };
            for accum in [Accum::Replace, Accum::Add] {
                let y = [plain, known].map(|x| {
                    let mut y = values::<E>(rows * outputs, 4);
                    rows_product(
                        isa,
                        x,
                        &w,
                        &packed,
                        Some(&bias),
                        Activation::Identity,
                        accum,
                        MatMut::new(&mut y, rows, outputs, outputs),
                    );
                    y
                });
                assert_eq!(bits(&y[0]), bits(&y[1]), "{} {rows}×{inputs}×{outputs} {accum:?}", isa.name());
            }
        }
    }
}

#[test]
fn rows_products_have_the_same_bits() {
    for &isa in Isa::available() {
        products::<f32>(isa);
        products::<f64>(isa);
    }
}

/// A weight's gradient and its step of Adam, with blocks that know of their zeros beside one that does not.
fn gradients<E: Element, X: Operand<E>>(isa: Isa, plain: &[(Mat<X>, Mat<X>)], known: &[(Mat<X>, Mat<X>)]) {
    let (inputs, outputs) = (plain[0].0.cols(), plain[0].1.cols());
    let (w, step) = (Panels::new(inputs, outputs), AdamStep::new(1e-3, 0.9, 0.999, 1e-8, 3));
    let run = |blocks: &[(Mat<X>, Mat<X>)]| {
        let mut g = values::<E>(w.len(), 8);
        let mut state = [1, 2, 3].map(|seed| values::<E>(w.len(), seed).into_iter().map(|x| x * x).collect::<Vec<E>>());
        for j in 0..w.count() {
            let p = w.panel(j);
            for from in (0..inputs).step_by(48) {
                let rows = from..(from + 48).min(inputs);
                let range = p.offset + rows.start * p.width..p.offset + rows.end * p.width;
                gradient_tile(isa, blocks, &w, j, rows.clone(), Accum::Add, &mut g[range.clone()]);
                let [p, m, v] = &mut state;
                let tile = [&mut p[range.clone()], &mut m[range.clone()], &mut v[range]];
                adam_tile(isa, &step, blocks, &w, j, rows, tile);
            }
        }
        let [p, m, v] = state;
        [g, p, m, v].map(|x| bits(&x))
    };
    assert_eq!(run(plain), run(known), "{} {inputs}×{outputs}", isa.name());
}

fn known<'a, X: Copy>(x: Mat<'a, X>, filled: &'a Filled) -> Mat<'a, X> {
    if filled.shape() == (x.rows(), x.cols()) { x.with_filled(filled) } else { x }
}

fn weights<E: Element>(isa: Isa) {
    for (rows, inputs) in SHAPES {
        for outputs in [1usize, 20, 70] {
            let (ldx, ldy) = (inputs.next_multiple_of(16), outputs.next_multiple_of(16));
            let (x, dy) = (pictures::<E>(rows, inputs, ldx), values::<E>(rows * ldy, 7));
            let (x, dy) = (Mat::new(&x, rows, inputs, ldx), Mat::new(&dy, rows, outputs, ldy));
            let mut filled = Filled::default();
            filled.find(isa, x);
            let (plain, x_known) = ([(x, dy), (x, dy)], known(x, &filled));
            gradients::<E, E>(isa, &plain, &[(x_known, dy), (x, dy)]);
            gradients::<E, E>(isa, &plain, &[(x_known, dy), (x_known, dy)]);
        }
    }
}

#[test]
fn gradients_have_the_same_bits() {
    for &isa in Isa::available() {
        weights::<f32>(isa);
        weights::<f64>(isa);
    }
}

#[test]
fn gradients_of_pairs_have_the_same_bits() {
    for &isa in Isa::available() {
        for (rows, inputs) in SHAPES {
            let (ldx, ldy, pairs) = (inputs.next_multiple_of(16), 80, rows.div_ceil(2));
            let (x, dy) = (pictures::<f32>(rows, inputs, ldx), values::<f32>(rows * ldy, 7));
            let (mut xs, mut dys) = (vec![Pair::default(); pairs * ldx], vec![Pair::default(); pairs * ldy]);
            pair_rows(isa, &x, ldx, &mut xs);
            pair_rows(isa, &dy, ldy, &mut dys);
            let (x, dy) = (Mat::new(&xs, pairs, inputs, ldx), Mat::new(&dys, pairs, 70, ldy));
            let mut filled = Filled::default();
            filled.find_pairs(isa, x);
            gradients::<f32, Pair>(isa, &[(x, dy)], &[(known(x, &filled), dy)]);
        }
    }
}
