//! The optimizer's update inside the gradient's tiles: the same bits as after them.

mod common;

use common::{bits, values};
use elbo_kernels::gemm::{Accum, Operand, adam_tile, gradient_tile};
use elbo_kernels::half::{Pair, pair_rows};
use elbo_kernels::panels::Panels;
use elbo_kernels::update::{AdamStep, adam};
use elbo_kernels::{Element, Isa, Mat};

/// Every panel of a weight of `inputs × outputs`, in tiles of up to `tall` rows.
fn check<E: Element, X: Operand<E>>(
    isa: Isa,
    blocks: &[(Mat<X>, Mat<X>)],
    (inputs, outputs): (usize, usize),
    tall: usize,
) {
    let layout = Panels::new(inputs, outputs);
    let step = AdamStep { weight_decay: 0.01, decoupled_weight_decay: 0.1, ..AdamStep::new(1e-3, 0.9, 0.999, 1e-8, 7) };
    let start = || -> [Vec<E>; 3] {
        let v = values::<E>(layout.len(), 3).into_iter().map(|x| x * x).collect();
        [values(layout.len(), 1), values(layout.len(), 2), v]
    };
    let ([mut p, mut m, mut v], [mut p1, mut m1, mut v1]) = (start(), start());
    for j in 0..layout.count() {
        let panel = layout.panel(j);
        for from in (0..inputs).step_by(tall) {
            let rows = from..(from + tall).min(inputs);
            let range = panel.offset + rows.start * panel.width..panel.offset + rows.end * panel.width;
            let mut g = vec![E::ZERO; range.len()];
            gradient_tile(isa, blocks, &layout, j, rows.clone(), Accum::Replace, &mut g);
            adam(isa, &step, &mut p[range.clone()], &mut m[range.clone()], &mut v[range.clone()], &g);
            let state = [&mut p1[range.clone()], &mut m1[range.clone()], &mut v1[range]];
            adam_tile(isa, &step, blocks, &layout, j, rows, state);
        }
    }
    let what = format!("{} {inputs}×{outputs} tiles of {tall}", isa.name());
    for (apart, fused) in [(p, p1), (m, m1), (v, v1)] {
        assert_eq!(bits(&apart), bits(&fused), "{what}");
    }
}

const SHAPES: [(usize, usize, usize); 7] =
    [(1, 1, 1), (64, 128, 64), (50, 33, 20), (16, 0, 16), (17, 3, 100), (20, 100, 400), (5, 7, 65)];

fn singles<E: Element>() {
    for (inputs, rows, outputs) in SHAPES {
        let (ldx, ldy) = (inputs + 1, outputs.next_multiple_of(16));
        let (x, dy) = (values::<E>(rows * ldx, 5), values::<E>(rows * ldy, 6));
        for &isa in Isa::available() {
            for cut in [0, rows / 2] {
                let blocks = [
                    (Mat::new(&x, cut, inputs, ldx), Mat::new(&dy, cut, outputs, ldy)),
                    (
                        Mat::new(&x[cut * ldx..], rows - cut, inputs, ldx),
                        Mat::new(&dy[cut * ldy..], rows - cut, outputs, ldy),
                    ),
                ];
                check::<E, E>(isa, &blocks, (inputs, outputs), 64);
                check::<E, E>(isa, &blocks, (inputs, outputs), 7);
            }
        }
    }
}

#[test]
fn fused_adam_is_adam() {
    singles::<f32>();
    singles::<f64>();
}

#[test]
fn fused_adam_is_adam_in_bf16() {
    for (inputs, rows, outputs) in SHAPES {
        let (ldx, ldy) = (usize::next_multiple_of(inputs, 16), outputs.next_multiple_of(16));
        let (x, dy) = (values::<f32>(rows * ldx, 5), values::<f32>(rows * ldy, 6));
        for &isa in Isa::available() {
            let half = rows.div_ceil(2);
            let (mut xs, mut dys) = (vec![Pair::default(); half * ldx], vec![Pair::default(); half * ldy]);
            pair_rows(isa, &x, ldx, &mut xs);
            pair_rows(isa, &dy, ldy, &mut dys);
            let blocks = [(Mat::new(&xs, half, inputs, ldx), Mat::new(&dys, half, outputs, ldy))];
            check::<f32, Pair>(isa, &blocks, (inputs, outputs), 64);
        }
    }
}
