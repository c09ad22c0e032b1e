//! The layer: rows of a batch in any blocks, forward and back.

use super::{numbers, unsettled};
use elbo::gradcheck::{check_coordinates, check_layer};
use elbo::layer::{Activation, BatchNorm, Cache, Chain, Dense, Dropout, InitScheme, Layer, Linear, Meeting, Residual};
use elbo::tensor::{Buffer, Isa, Layout, Noise, Par, Params, Stream};
use ndarray::{Array1, Array2, Axis};
use std::sync::Arc;

/// A layer, and the blocks of a batch on their way through it.
struct Lab<'l> {
    layer: &'l dyn Layer<f64>,
    meetings: Vec<Meeting>,
    blocks: Vec<InBlock>,
}

struct InBlock {
    rows: usize,
    cache: Cache<f64>,
    x: Buffer<f64>,
    y: Buffer<f64>,
    dy: Buffer<f64>,
    dx: Buffer<f64>,
}

impl<'l> Lab<'l> {
    fn new(layer: &'l dyn Layer<f64>, blocks: &[usize]) -> Self {
        let (wide, narrow) = (|n| Buffer::new(n, layer.inputs()), |n| Buffer::new(n, layer.outputs()));
        let block = |&rows: &usize| {
            let most = rows.max(1);
            let [x, dx, y, dy] = [wide(most), wide(most), narrow(most), narrow(most)];
            InBlock { rows, cache: layer.cache(most), x, y, dy, dx }
        };
        Lab { layer, meetings: layer.meetings(), blocks: blocks.iter().map(block).collect() }
    }
    fn rows(&self) -> usize {
        self.blocks.iter().map(|b| b.rows).sum()
    }
    /// All rows to all outputs, as a step takes them.
    fn forward(&mut self, p: &Params<f64>, x: &Array2<f64>) -> Array2<f64> {
        let alone = self.rows() == 1;
        let mut from = 0;
        for b in &mut self.blocks {
            b.x.view_mut(b.rows).assign(&x.slice(ndarray::s![from..from + b.rows, ..]));
            from += b.rows;
        }
        for part in 0..self.layer.parts() {
            for b in &mut self.blocks {
                if part > 0 {
                    self.meetings[part - 1].tell(p, &mut b.cache);
                }
                self.layer.forward_part(part, Isa::default(), p, b.x.rows(b.rows), &mut b.y, &mut b.cache);
            }
            if let Some(meeting) = self.meetings.get_mut(part) {
                meeting.count(Par::Sequential, alone, &self.blocks, |b| (&b.cache, b.rows));
            }
        }
        let all: Vec<_> = self.blocks.iter().map(|b| b.y.view(b.rows)).collect();
        ndarray::concatenate(Axis(0), &all).unwrap()
    }
    /// The way back of Σ c ⊙ y: the derivative by all rows.
    fn backward(&mut self, p: &Params<f64>, c: &Array2<f64>) -> Array2<f64> {
        let mut from = 0;
        for b in &mut self.blocks {
            b.dy.view_mut(b.rows).assign(&c.slice(ndarray::s![from..from + b.rows, ..]));
            from += b.rows;
        }
        for part in (0..self.layer.parts()).rev() {
            for b in &mut self.blocks {
                if let Some(meeting) = self.meetings.get(part) {
                    meeting.tell(p, &mut b.cache);
                }
                let (x, dx) = (b.x.rows(b.rows), Some(&mut b.dx));
                self.layer.backward_part(part, Isa::default(), p, x, &b.y, &mut b.dy, dx, &mut b.cache);
            }
            if part > 0 {
                self.meetings[part - 1].count_back(Par::Sequential, &self.blocks, |b| (&b.cache, b.rows));
            }
        }
        let all: Vec<_> = self.blocks.iter().map(|b| b.dx.view(b.rows)).collect();
        ndarray::concatenate(Axis(0), &all).unwrap()
    }
    /// The sum over blocks of a parameter's gradient, in file order.
    fn gradient(&self, slot: elbo::tensor::Slot) -> Vec<f64> {
        let of = |b: &InBlock| {
            let gradient = self.layer.gradient(slot, b.x.rows(b.rows), b.dy.rows(b.rows), &b.cache);
            gradient.expect("the layer's own").to_array()
        };
        let sum = self.blocks.iter().map(of).reduce(|a, b| a + b).expect("a block");
        sum.into_raw_vec_and_offset().0
    }
}

/// Against the formula of algorithm 1 in plain array arithmetic, for a batch in one block, in three, and in rows alone.
#[test]
fn the_formula_whatever_the_blocks() {
    let mut layout = Layout::new();
    let layer = BatchNorm::new(&mut layout, 37, Activation::Tanh);
    let (p, x) = (unsettled(&layout), numbers(9, 37, 1) * 3.0 + 700.0);
    let vector = |name: &str| Array1::from_iter(p.values().unpack(&layout.find(name).unwrap().slot));
    let mean = x.mean_axis(Axis(0)).unwrap();
    let variance = x.var_axis(Axis(0), 0.0);
    let expected = (&x - &mean) / (&variance + 1e-5).mapv(f64::sqrt) * vector("weight") + vector("bias");
    let expected = expected.mapv(f64::tanh);
    let mut before: Option<Array2<f64>> = None;
    for blocks in [&[9][..], &[4, 4, 1], &[2, 6, 0, 1], &[1; 9]] {
        let mut lab = Lab::new(&layer, blocks);
        let y = lab.forward(&p, &x);
        // Numbers near 700 are exact to 1e-13, and a deviation of 3 keeps that; a variance as E x² − (E x)² would lose five digits more.
        assert!((&y - &expected).iter().all(|d| d.abs() < 1e-12), "{blocks:?}");
        assert!(before.replace(y.clone()).is_none_or(|before| before == y), "the same bits, {blocks:?}");
    }
}

/// At rest: the derivatives of a layer whose moments are constants.
#[test]
fn at_rest() {
    for activation in [Activation::Identity, Activation::Tanh, Activation::Gelu, Activation::Relu] {
        for columns in [1, 4, 35] {
            let mut layout = Layout::new();
            let layer = BatchNorm::new(&mut layout, columns, activation);
            for check in check_layer(&layer, &layout, 5, 1) {
                assert!(check.passed(), "{activation:?}, {columns}: {check:?}");
            }
        }
    }
    let mut layout = Layout::new();
    let layer = Linear::new(&mut layout, 4, 3, InitScheme::Torch);
    assert!(check_layer(&layer, &layout, 5, 1).iter().all(|check| check.passed()), "linear");
}

/// By every coordinate of the input, the gains, the biases and the weights around them, through the sums over all rows: alone, and in
/// chains with what may stand around it.
#[test]
fn gradients_through_the_whole_batch() {
    let normalised = |layout: &mut Layout, inputs, outputs, activation| -> Arc<dyn elbo::layer::AnyLayer> {
        let linear = Arc::new(Linear::new(layout, inputs, outputs, InitScheme::Torch));
        let norm = layout.scope("norm", |l| BatchNorm::new(l, outputs, activation));
        Arc::new(Chain::new(vec![linear, Arc::new(norm)]))
    };
    for blocks in [&[2][..], &[1, 2], &[3, 4], &[2, 2, 0, 3]] {
        let mut layout = Layout::new();
        let first = layout.scope(0, |l| normalised(l, 4, 5, Activation::Tanh));
        let dropped = Dropout::new(layout.scope(1, |l| normalised(l, 5, 5, Activation::Gelu)), 0.4);
        let around = Residual::new(Arc::new(dropped));
        let last = layout.scope(2, |l| Dense::new(l, 5, 3, Activation::Identity, InitScheme::Torch));
        let chain = Chain::new(vec![first, Arc::new(around), Arc::new(last)]);
        assert_eq!(Layer::<f64>::parts(&chain), 3);
        let rows = blocks.iter().sum();
        let (mut p, x, c) = (unsettled(&layout), numbers(rows, 4, 2), numbers(rows, 3, 3));
        let mut lab = Lab::new(&chain, blocks);
        let mut row = 0;
        for b in &mut lab.blocks {
            for r in 0..b.rows {
                chain.renew(r, Some(&mut Noise::new(4).rng(Stream::Dropout, 0, row, 0)), &mut b.cache);
                row += 1;
            }
        }
        lab.forward(&p, &x);
        let dx = lab.backward(&p, &c);
        let of = |a: &Array2<f64>| a.iter().copied().collect::<Vec<f64>>();
        let gradients: Vec<Vec<f64>> = layout.entries().iter().map(|e| lab.gradient(e.slot)).collect();
        let mut checks = vec![check_coordinates("input", &of(&x), &of(&dx), |at| {
            let x = Array2::from_shape_vec(x.raw_dim(), at.to_vec()).unwrap();
            ((lab.forward(&p, &x) * &c).sum(), Default::default())
        })];
        for (e, gradient) in layout.entries().iter().zip(&gradients) {
            let start = of(&p.values().unpack(&e.slot));
            checks.push(check_coordinates(&e.name, &start, gradient, |at| {
                p.values_mut().pack(&e.slot, at);
                p.refresh(Par::Sequential);
                ((lab.forward(&p, &x) * &c).sum(), Default::default())
            }));
            p.values_mut().pack(&e.slot, &start);
        }
        for check in checks {
            println!("{blocks:?} {} {:.1e}", check.name, check.worst);
            assert!(check.passed(), "{blocks:?}: {check:?}");
        }
    }
}
