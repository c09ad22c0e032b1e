//! The safe edge: each public function of slices, given too little memory or shapes that do not agree, panics and reads or
//! writes nothing outside. Under AddressSanitizer this would find what an assertion lets through.

mod common;

use common::{bits, values};
use elbo_kernels::activation::{self, Activation};
use elbo_kernels::gemm::{
    Accum, Transpose, adam_tile, gemm, gemm_scratch, gradient_tile, rows_product, rows_product_half,
};
use elbo_kernels::half::{Pair, pair_rows};
use elbo_kernels::panels::Panels;
use elbo_kernels::par::{Cut, Par, Pieced, for_each_piece};
use elbo_kernels::row::row_product;
use elbo_kernels::transpose::{transpose_tile, transpose_tile_half};
use elbo_kernels::update::{AdamStep, SgdStep, adam, sgd};
use elbo_kernels::{Filled, Isa, Mat, MatMut, block, reduce, stream, sweep};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs what must panic on every instruction set, with words of ours and not the arithmetic's: a check of overflow that
/// only debug builds have is no check.
#[track_caller]
fn refused(what: &str, words: &str, f: impl Fn(Isa)) {
    for &isa in Isa::available() {
        let panic = catch_unwind(AssertUnwindSafe(|| f(isa)));
        let payload = panic.expect_err(&format!("{what} on {} is not refused", isa.name()));
        let said = payload.downcast_ref::<String>().cloned();
        let said = said.or_else(|| payload.downcast_ref::<&str>().map(|&s| s.to_owned())).unwrap_or_default();
        assert!(said.contains(words), "{what} on {}: {said}", isa.name());
    }
}

/// What a call would return is not wanted.
fn ignore<T>(_: T) {}

const HUGE: usize = usize::MAX;

#[test]
fn a_matrix_fits_its_slice() {
    let refused = |what: &str, rows, cols, stride, len: usize| {
        let words = "does not fit a slice";
        refused(what, words, |_| ignore(Mat::new(&vec![0f32; len], rows, cols, stride)));
        refused(what, words, |_| ignore(MatMut::new(&mut vec![0f32; len], rows, cols, stride)));
    };
    refused("one element short", 3, 4, 5, 13);
    refused("rows that overlap", 2, 4, 3, 100);
    refused("a product beyond counting", 3, 2, HUGE / 2 + 1, 100);
    refused("a sum beyond counting", 2, HUGE, HUGE, 100);
    refused("rows beyond counting", HUGE, 1, 1, 100);
    // And what just fits does.
    Mat::new(&[0f32; 14], 3, 4, 5);
    Mat::<f32>::new(&[], 0, 9, 0);
    Mat::new(&[0f32; 4], 1, 4, 0);
}

#[test]
fn parts_of_a_matrix_lie_in_it() {
    let data = [0f32; 12];
    let x = Mat::new(&data, 3, 4, 4);
    refused("row 3 of 3", "row 3 of 3", |_| ignore(x.row(3).to_vec()));
    refused("columns past the end", "columns from 3 on", |_| ignore(x.columns(3, 2)));
    refused("columns that wrap", "columns from", |_| ignore(x.columns(2, HUGE)));
    refused("rows past the end", "rows from 2 on", |_| ignore(x.block(2, 2, 0, 4)));
    refused("rows that wrap", "rows from", |_| ignore(x.block(1, HUGE, 0, 4)));
    refused("rows from beyond", "rows from", |_| ignore(x.block(HUGE, 1, 0, 4)));
    refused("writing row 3 of 3", "row 3 of 3", |_| MatMut::new(&mut [0f32; 12], 3, 4, 4).row(3)[0] = 1.0);
    refused("writing columns past the end", "columns from", |_| {
        ignore(MatMut::new(&mut [0f32; 12], 3, 4, 4).columns(2, 3));
    });
    // Empty parts at the very end.
    assert_eq!((x.block(3, 0, 4, 0).rows(), x.columns(4, 0).cols()), (0, 0));
}

#[test]
fn a_rows_product_has_shapes_that_agree() {
    let w = Panels::new(3, 20);
    let (x, packed, bias) = (values::<f32>(6, 1), values::<f32>(w.len(), 2), values::<f32>(20, 3));
    let run = |isa, rows: usize, k: usize, w: &Panels, packed: &[f32], bias: &[f32], n: usize| {
        let mut y = vec![0f32; rows * n];
        rows_product(
            isa,
            Mat::new(&x[..2 * k], 2, k, k),
            w,
            packed,
            Some(bias),
            Activation::Relu,
            Accum::Replace,
            MatMut::new(&mut y, rows, n, n),
        );
    };
    let says = "rows product";
    refused("another inner size", says, |isa| run(isa, 2, 2, &w, &packed, &bias, 20));
    refused("another width", says, |isa| run(isa, 2, 3, &w, &packed, &bias, 21));
    refused("another height", says, |isa| run(isa, 3, 3, &w, &packed, &bias, 20));
    refused("weights one short", says, |isa| run(isa, 2, 3, &w, &packed[1..], &bias, 20));
    refused("a bias one short", says, |isa| run(isa, 2, 3, &w, &packed, &bias[1..], 20));
    Isa::available().iter().for_each(|&isa| run(isa, 2, 3, &w, &packed, &bias, 20));

    let pairs = vec![Pair::default(); w.pairs().len()];
    let half = |isa, k: usize, packed: &[Pair], bias: &[f32], rows: usize| {
        let mut y = [0f32; 60];
        rows_product_half(
            isa,
            Mat::new(&x[..2 * k], 2, k, k),
            &w,
            packed,
            Some(bias),
            Activation::Relu,
            MatMut::new(&mut y, rows, 20, 20),
        );
    };
    refused("half: another inner size", says, |isa| half(isa, 2, &pairs, &bias, 2));
    refused("half: weights one short", says, |isa| half(isa, 3, &pairs[1..], &bias, 2));
    refused("half: a bias one short", says, |isa| half(isa, 3, &pairs, &bias[1..], 2));
    refused("half: another height", says, |isa| half(isa, 3, &pairs, &bias, 3));
    Isa::available().iter().for_each(|&isa| half(isa, 3, &pairs, &bias, 2));

    let row = |isa, x: &[f32], packed: &[f32], bias: &[f32], y: &mut [f32]| {
        row_product(isa, x, &w, packed, Some(bias), Accum::Add, y);
    };
    let says = "row product";
    refused("row: another inner size", says, |isa| row(isa, &x[..2], &packed, &bias, &mut [0.0; 20]));
    refused("row: weights one short", says, |isa| row(isa, &x[..3], &packed[1..], &bias, &mut [0.0; 20]));
    refused("row: a bias one short", says, |isa| row(isa, &x[..3], &packed, &bias[1..], &mut [0.0; 20]));
    refused("row: an output one short", says, |isa| row(isa, &x[..3], &packed, &bias, &mut [0.0; 19]));
}

#[test]
fn a_general_product_has_shapes_that_agree() {
    let (a, b) = (values::<f32>(6, 1), values::<f32>(12, 2));
    let run = |isa, (ta, tb): (Transpose, Transpose), (rows, cols): (usize, usize), scratch: usize| {
        let (mut c, mut scratch) = (vec![0f32; rows * cols], vec![0f32; scratch]);
        let (a, b) = (Mat::new(&a, 2, 3, 3), Mat::new(&b, 3, 4, 4));
        gemm(isa, Par::Sequential, (ta, a), (tb, b), Accum::Add, MatMut::new(&mut c, rows, cols, cols), &mut scratch);
    };
    let (no, enough) = ((Transpose::No, Transpose::No), gemm_scratch(3, 4));
    refused("a transposed", "gemm: a 3×2", |isa| run(isa, (Transpose::Yes, Transpose::No), (3, 4), 1000));
    refused("b transposed", "b 4×3", |isa| run(isa, (Transpose::No, Transpose::Yes), (2, 3), 1000));
    refused("another height", "c 3×4", |isa| run(isa, no, (3, 4), enough));
    refused("another width", "c 2×5", |isa| run(isa, no, (2, 5), enough));
    refused("scratch one short", "scratch 47", |isa| run(isa, no, (2, 4), enough - 1));
    Isa::available().iter().for_each(|&isa| run(isa, no, (2, 4), enough));
}

/// Both ways to a gradient, of a weight 5×20 (panel 0 is 32 wide) by two rows of data.
fn tiles(isa: Isa, x: Mat<f32>, dy: Mat<f32>, w: &Panels, rows: core::ops::Range<usize>, out: usize, fused: bool) {
    let mut state = [(); 3].map(|()| vec![0f32; out]);
    let [p, m, v] = &mut state;
    match fused {
        true => adam_tile(isa, &AdamStep::new(1e-3, 0.9, 0.999, 1e-8, 1), &[(x, dy)], w, 0, rows, [p, m, v]),
        false => gradient_tile(isa, &[(x, dy)], w, 0, rows, Accum::Replace, p),
    }
}

#[test]
fn a_gradient_has_shapes_that_agree() {
    let (x, dy, w) = (values::<f32>(15, 1), values::<f32>(96, 2), Panels::new(5, 20));
    let (x2, x3) = (Mat::new(&x, 2, 5, 5), Mat::new(&x, 3, 5, 5));
    let dy2 = Mat::new(&dy, 2, 20, 32);
    for fused in [false, true] {
        let refused = |what: &str, x: Mat<f32>, dy: Mat<f32>, rows: core::ops::Range<usize>, out: usize| {
            let words = if rows.end > 5 || out != 160 { "rows " } else { "gradient of a weight" };
            refused(what, words, |isa| tiles(isa, x, dy, &w, rows.clone(), out, fused));
        };
        refused("other rows in x than in dy", x3, dy2, 0..5, 160);
        refused("other columns in x than inputs", Mat::new(&x, 2, 4, 4), dy2, 0..5, 160);
        refused("other columns in dy than outputs", x2, Mat::new(&dy, 2, 19, 32), 0..5, 160);
        refused("a last row that ends before the vector", x2, Mat::new(&dy[..52], 2, 20, 32), 0..5, 160);
        refused("rows past the weight's", x2, dy2, 1..6, 160);
        refused("an output one short", x2, dy2, 0..5, 159);
        refused("an output one long", x2, dy2, 0..5, 161);
        Isa::available().iter().for_each(|&isa| tiles(isa, x2, dy2, &w, 0..5, 160, fused));
        Isa::available().iter().for_each(|&isa| tiles(isa, x2, dy2, &w, 0..0, 0, fused));
    }
    // State of unequal lengths.
    refused_state(&x, &dy, &w);
    refused("a panel that is not there", "", |isa| {
        gradient_tile::<f32, f32>(isa, &[], &w, 1, 0..0, Accum::Replace, &mut [])
    });
}

fn refused_state(x: &[f32], dy: &[f32], w: &Panels) {
    let block = [(Mat::new(x, 2, 5, 5), Mat::new(dy, 2, 20, 32))];
    for short in 0..3 {
        refused("a moment one short", "rows 0..5 of 5", |isa| {
            let mut state = core::array::from_fn::<_, 3, _>(|i| vec![0f32; 160 - usize::from(i == short)]);
            let [p, m, v] = &mut state;
            adam_tile(isa, &AdamStep::new(1e-3, 0.9, 0.999, 1e-8, 1), &block, w, 0, 0..5, [p, m, v]);
        });
    }
}

/// 2⁶⁰ rows of sixteen columns are 2⁶⁴ elements, which is 0 where the product wraps around: the length of no slice at all.
#[test]
fn lengths_beyond_counting_are_no_lengths() {
    let (rows, w) = (1usize << 60, Panels::new(1 << 60, 16));
    for fused in [false, true] {
        refused("2⁶⁰ rows of a gradient", "rows", |isa| {
            let none = Mat::new(&[0f32; 0], 0, rows, rows);
            tiles(isa, none, Mat::new(&[], 0, 16, 16), &w, 0..rows, 0, fused);
        });
    }
    refused("2⁶⁰ rows of weights", "too large to count", |_| ignore(vec![0f32; w.len()]));
    refused("columns up to the last number", "too large to count", |_| ignore(vec![0f32; Panels::new(1, HUGE).len()]));
}

/// Lists of zeros are for whole groups of rows: a tile that begins within one must not follow them.
#[test]
fn a_gradient_s_tile_may_begin_at_any_row() {
    let (rows, inputs, outputs) = (40, 23, 20);
    let mut x = values::<f32>(rows * inputs, 1);
    x.iter_mut().enumerate().filter(|(i, _)| i % 11 != 0 || i / inputs % 5 == i % 5).for_each(|(_, x)| *x = 0.0);
    let (dy, w) = (values::<f32>(rows * 32, 2), Panels::new(inputs, outputs));
    for &isa in Isa::available() {
        let plain = Mat::new(&x, rows, inputs, inputs);
        let mut filled = Filled::default();
        filled.find(isa, plain);
        let dy = Mat::new(&dy, rows, outputs, 32);
        for from in 0..inputs {
            let found = [plain, plain.with_filled(&filled)].map(|x| {
                let mut out = vec![f32::NAN; (inputs - from) * 32];
                gradient_tile(isa, &[(x, dy)], &w, 0, from..inputs, Accum::Replace, &mut out);
                bits(&out)
            });
            assert!(found[0] == found[1], "{}: rows from {from}", isa.name());
        }
    }
}

#[test]
fn packing_stays_in_its_slices() {
    let w = Panels::new(3, 20);
    let src = values::<f32>(60, 1);
    refused("a source one short", "", |_| w.pack(&src[1..], [20, 1], &mut vec![0.0; w.len()]));
    refused("a transposed source one short", "", |_| w.pack(&src[1..], [1, 3], &mut vec![0.0; w.len()]));
    refused("a destination one short", "", |_| w.pack(&src, [20, 1], &mut vec![0.0; w.len() - 1]));
    refused("a panel one short", "a panel of 3×32", |_| w.pack_panel(0, &src, [20, 1], &mut [0.0; 95]));
    refused("unpacking from one short", "", |_| w.unpack(&vec![0f32; w.len() - 13], [20, 1], &mut [0.0; 60]));
    refused("unpacking to one short", "", |_| w.unpack(&vec![0f32; w.len()], [20, 1], &mut [0.0; 59]));
}

#[test]
fn transposes_have_shapes_that_agree() {
    let x = values::<f32>(3 * 32, 1);
    let says = "a tile of";
    for (what, width, out, out_width) in [
        ("no columns", 0, 16, 16),
        ("rows of nothing", 32, 16, 0),
        ("a width that is no multiple of sixteen", 24, 16, 16),
        ("a row begun", 64, 32, 16),
        ("rows too narrow", 32, 32, 15),
        ("rows too wide", 32, 64, 32),
        ("an output begun", 32, 33, 16),
        ("more rows than columns", 32, 33 * 16, 16),
    ] {
        refused(what, says, |isa| transpose_tile(isa, &x, width, &mut vec![0.0; out], out_width));
        refused(what, says, |isa| transpose_tile_half(isa, &x, width, &mut vec![Pair::default(); out], out_width));
    }
    refused("more pairs than pairs of columns", says, |isa| {
        transpose_tile_half(isa, &x, 32, &mut [Pair::default(); 17 * 16], 16);
    });
    refused("pairs: no columns", "elements in rows of 0", |isa| pair_rows(isa, &x, 0, &mut []));
    refused("pairs: a width of 24", "elements in rows of 24", |isa| pair_rows(isa, &x, 24, &mut [Pair::default(); 48]));
    refused("pairs: one short", "to 63 pairs", |isa| pair_rows(isa, &x, 32, &mut [Pair::default(); 63]));
    refused("pairs: a row begun", "95 elements", |isa| pair_rows(isa, &x[1..], 32, &mut [Pair::default(); 64]));
}

#[test]
fn sweeps_take_slices_of_one_length() {
    let (x, says) = ([0.5f32; 40], "slices of unequal length");
    type Sweep = fn(Isa, &[f32], &mut [f32]);
    let of_two: [(&str, Sweep); 12] = [
        ("bernoulli", |i, x, y| ignore(sweep::bernoulli_log_prob(i, x, y))),
        ("bernoulli grad", |i, x, y| ignore(sweep::bernoulli_log_prob_grad(i, x, y, 1.0))),
        ("squared", |i, x, y| ignore(sweep::squared_error(i, x, y))),
        ("gaussian", |i, x, y| ignore(sweep::gaussian_log_prob(i, x, x, y))),
        ("gaussian grad", |i, x, y| ignore(sweep::gaussian_log_prob_grad(i, x, &mut x.to_vec(), y, 1.0))),
        ("gaussian grad x", |i, x, y| {
            ignore(sweep::gaussian_log_prob_grad_x(i, x, &mut x.to_vec(), &mut x.to_vec(), 1.0, y));
        }),
        ("normal grad", |i, x, y| sweep::standard_normal_log_prob_grad(i, x, 1.0, y)),
        ("kl", |i, x, y| ignore(sweep::kl_standard_normal(i, x, x, y))),
        ("kl grad", |i, x, y| sweep::kl_standard_normal_grad(i, x, x, x, &mut x.to_vec(), y)),
        ("reparameterize", |i, x, y| sweep::reparameterize(i, x, x, x, y)),
        ("reparameterize grad", |i, x, y| sweep::reparameterize_grad(i, x, x, x, &mut x.to_vec(), y)),
        ("activation", |i, x, y| activation::backward(i, Activation::Tanh, x, y)),
    ];
    for (what, sweep) in of_two {
        for length in [0, 39, 41, 64] {
            refused(what, says, |isa| sweep(isa, &x, &mut vec![0.5; length]));
        }
        Isa::available().iter().for_each(|&isa| sweep(isa, &x, &mut [0.5; 40]));
    }
    refused("gate", says, |isa| activation::glu_forward(isa, &x, &x, &mut [0f32; 39]));
    refused("gate grad", says, |isa| activation::glu_backward(isa, &x, &x, &x, &mut [0f32; 40], &mut [0f32; 41]));
    refused("bytes", says, |isa| sweep::scale_u8(isa, &[1; 40], 1.0, &mut [0f32; 41]));
    refused("no such class", "", |isa| ignore(sweep::softmax_log_prob(isa, 40, &x)));
    refused("no such class, grad", "", |isa| ignore(sweep::softmax_log_prob_grad(isa, 40, &mut [0f32; 40], 1.0)));
}

#[test]
fn sweeps_over_blocks_have_shapes_that_agree() {
    let (data, says) = ([0.5f32; 40], "do not go together");
    let mat = |rows: usize, cols: usize| Mat::new(&data, rows, cols, cols);
    let sample = |isa, eta, eps, z: (usize, usize), kl: (usize, usize)| {
        let (mut a, mut b) = (data, data);
        block::sample_and_kl(isa, eta, eps, MatMut::new(&mut a, z.0, z.1, z.1), MatMut::new(&mut b, kl.0, kl.1, kl.1));
    };
    refused("no half for the variances", says, |isa| sample(isa, mat(4, 5), mat(4, 3), (4, 3), (4, 3)));
    refused("fewer rows of parameters", says, |isa| sample(isa, mat(3, 6), mat(4, 3), (4, 3), (4, 3)));
    refused("fewer latents", says, |isa| sample(isa, mat(4, 6), mat(4, 3), (4, 2), (4, 3)));
    refused("fewer rows of divergences", says, |isa| sample(isa, mat(4, 6), mat(4, 3), (4, 3), (3, 3)));
    Isa::available().iter().for_each(|&isa| sample(isa, mat(4, 6), mat(4, 3), (4, 3), (4, 3)));

    let back = |isa, dz, w, deta: (usize, usize)| {
        let mut out = data;
        let deta = MatMut::new(&mut out, deta.0, deta.1, deta.1);
        block::sample_and_kl_grad(isa, mat(4, 6), mat(4, 3), dz, w, deta);
    };
    refused("fewer derivatives by z", says, |isa| back(isa, mat(3, 3), mat(4, 3), (4, 6)));
    refused("fewer weights", says, |isa| back(isa, mat(4, 3), mat(4, 2), (4, 6)));
    refused("room for the means alone", says, |isa| back(isa, mat(4, 3), mat(4, 3), (4, 3)));

    let squared = |isa, x, rows: usize, w: usize, out: usize| {
        let (mut mu, mut sums) = (data, data);
        block::squared_error_grad(isa, x, MatMut::new(&mut mu, rows, 5, 5), &data[..w], 1.0, &mut sums[..out]);
    };
    refused("rows that are no multiple", says, |isa| squared(isa, mat(3, 5), 8, 8, 8));
    refused("no rows for some", says, |isa| squared(isa, mat(0, 5), 8, 8, 8));
    refused("other columns", says, |isa| squared(isa, mat(4, 4), 8, 8, 8));
    refused("a weight short", says, |isa| squared(isa, mat(4, 5), 8, 7, 8));
    refused("a sum short", says, |isa| squared(isa, mat(4, 5), 8, 8, 7));
    Isa::available().iter().for_each(|&isa| squared(isa, mat(4, 5), 8, 8, 8));
}

#[test]
fn updates_sums_and_copies_stay_in_their_slices() {
    let (g, says) = ([0.5f32; 40], "slices of unequal length");
    let step = AdamStep::new(1e-3, 0.9, 0.999, 1e-8, 1);
    for short in 0..3 {
        refused("adam", says, |isa| {
            let mut state = core::array::from_fn::<_, 3, _>(|i| vec![0f32; 40 - usize::from(i == short)]);
            let [p, m, v] = &mut state;
            adam(isa, &step, p, m, v, &g);
        });
    }
    let momentum = |momentum| SgdStep { learning_rate: 0.1, momentum, nesterov: false, weight_decay: 0.0 };
    refused("sgd without its buffer", says, |isa| sgd(isa, &momentum(0.9), &mut [0f32; 40], &mut [], &g));
    refused("sgd", says, |isa| sgd(isa, &momentum(0.0), &mut [0f32; 39], &mut [], &g));
    refused("step 0", "counted from 1", |_| ignore(vec![AdamStep::new(1e-3, 0.9, 0.999, 1e-8, 0)]));

    let sums = |isa, rows, stride, cols, room: usize| {
        reduce::column_sums(isa, rows, stride, cols, &g, &mut vec![0f32; room], false);
    };
    refused("columns wider than the stride", "", |isa| sums(isa, 2, 4, 5, 5));
    refused("no room for the sums", "", |isa| sums(isa, 2, 8, 8, 7));
    refused("a matrix one short", "", |isa| sums(isa, 6, 7, 6, 6));
    refused("rows beyond counting", "", |isa| sums(isa, HUGE / 8 + 2, 8, 8, 8));

    refused("a copy of another length", "elements to copy", |_| stream::copy(&g, &mut [0f32; 39]));
}

#[test]
fn pieces_of_a_slice_do_not_meet_and_lie_in_it() {
    refused("ranges that meet", "meet", |_| ignore(Cut::new([0..5, 4..6])));
    refused("a range inside another", "meet", |_| ignore(Cut::new([0..9, 2..3])));
    refused("a slice too short", "is cut at 9", |_| ignore(Pieced::new(&mut [0; 8], &Cut::new(std::iter::once(0..9)))));
    refused("more tasks than pieces", "3 tasks for 2 pieces", |_| {
        let (mut x, cut) = ([0; 8], Cut::new([0..4, 4..8]));
        for_each_piece(Par::Pool, 3, Pieced::new(&mut x, &cut), || (), |(), _, _| {});
    });
    // Empty ranges may stand anywhere, behind the slice's end too, and are empty slices.
    #[allow(clippy::reversed_empty_ranges, reason = "that is the point")]
    let (mut x, cut) = ([0; 3], Cut::new([0..2, HUGE..HUGE, 7..5, 2..3]));
    for_each_piece(Par::Pool, 4, Pieced::new(&mut x, &cut), || (), |(), task, piece| piece.fill(task + 1));
    assert_eq!((x, cut.end()), ([1, 1, 4], 3));
}
