//! Reductions against plain loops.

use crate::support::*;
use elbo_kernels::{Element, Isa, reduce, reference};

fn column_sums<E: Element>() {
    let mut random = Random(1);
    for cols in lengths().take(70).chain([64, 128, 400]) {
        let (rows, stride) = (cols % 5 + 3, cols + cols % 3);
        let x: Vec<E> = random.vector(rows * stride, -1.0, 1.0);
        let start: Vec<E> = random.vector(cols, -1.0, 1.0);
        let sums = |isa, rows, from: &[E], into: &[E], add| {
            let mut y = Guarded::new(into);
            reduce::column_sums(isa, rows, stride, cols, from, y.inside(), add);
            y.into_contents()
        };
        for &isa in Isa::available() {
            let chain = |j: usize, from: E| (0..rows).fold(from, |sum, i| sum + x[i * stride + j]);
            let nan = vec![E::from_f64(f64::NAN); cols];
            let whole = sums(isa, rows, &x, &nan, false);
            let want: Vec<E> = (0..cols).map(|j| chain(j, E::ZERO)).collect();
            assert_same_bits(&whole, &want, format_args!("{cols} columns on {}", isa.name()));
            let want: Vec<E> = (0..cols).map(|j| chain(j, start[j])).collect();
            assert_same_bits(&sums(isa, rows, &x, &start, true), &want, "added");
            let first = sums(isa, 2, &x, &nan, false);
            assert_same_bits(&sums(isa, rows - 2, &x[2 * stride..], &first, true), &whole, "block after block");
        }
    }
}

#[test]
fn column_sums_are_chains_in_row_order() {
    column_sums::<f32>();
    column_sums::<f64>();
}

#[test]
fn column_sums_of_no_rows_are_zero_and_leave_padding_alone() {
    let mut y = [7.0f32; 16];
    reduce::column_sums(Isa::default(), 0, 16, 5, &[], &mut y, false);
    assert_eq!(y, core::array::from_fn(|j| if j < 5 { 0.0 } else { 7.0 }));
}

#[test]
#[should_panic(expected = "3x4 from 11 elements")]
fn column_sums_of_too_short_a_matrix() {
    reduce::column_sums(Isa::default(), 3, 4, 4, &[0.0f32; 11], &mut [0.0; 4], false);
}

#[test]
fn sums_in_double_precision() {
    let mut random = Random(2);
    for n in lengths() {
        let x: Vec<f32> = random.vector(n, -1.0, 1.0);
        assert_sum(reduce::sum_f64(&x), &wide(&x), 0, "sum");
        let squares: Vec<f64> = wide(&x).iter().map(|x| x * x).collect();
        for &isa in Isa::available() {
            let got = reduce::sum_squares_f64(isa, &x);
            assert_sum(got, &squares, 0, "sum of squares");
            assert_eq!(got.to_bits(), reduce::sum_squares_f64(Isa::PORTABLE, &x).to_bits());
        }
    }
    // What single precision would lose.
    assert_eq!(reduce::sum_f64(&[1e8f32, 1.0, -1e8]), 1.0);
}

#[test]
fn the_first_non_finite_element_is_found() {
    for &isa in Isa::available() {
        for n in lengths() {
            let mut x = vec![f32::MAX; n];
            assert_eq!(reduce::first_non_finite(isa, &x), None);
            for at in [n.saturating_sub(1), n / 2, 0] {
                for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
                    if let Some(x) = x.get_mut(at) {
                        *x = bad;
                    }
                    assert_eq!(reduce::first_non_finite(isa, &x), (n > 0).then_some(at));
                }
            }
        }
    }
}

#[test]
fn log_sum_exp_at_the_edges() {
    let inf = f64::INFINITY;
    assert_eq!(reduce::log_sum_exp(&[]), -inf);
    assert_eq!(reduce::log_sum_exp(&[-inf, -inf]), -inf);
    assert_eq!(reduce::log_sum_exp(&[1.0, inf, -inf]), inf);
    assert_eq!(reduce::log_sum_exp(&[-inf, 3.0]), 3.0);
    assert!(reduce::log_sum_exp(&[1.0, f64::NAN]).is_nan());
    assert!(reduce::log_sum_exp(&[inf, f64::NAN]).is_nan());
    assert_eq!(reduce::log_sum_exp(&[-1e4, -1e4]), -1e4 + core::f64::consts::LN_2);
    let x: Vec<f64> = Random(3).vector(100, -3.0, 3.0);
    let plain = reference::sum(&x.iter().map(|x| x.exp()).collect::<Vec<_>>()).ln();
    assert_close(reduce::log_sum_exp(&x), plain, 1e-15, "log-sum-exp");
}
