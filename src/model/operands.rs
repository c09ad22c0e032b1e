//! What the weights pass multiplies: the operands of a parameter's gradient in every block of rows.

use super::{Block, Vae};
use crate::layer::Gradient;
use crate::tensor::{Isa, Mask, Mat, Precision, Real, Slot, Tile};
use core::ops::Range;
use elbo_kernels::LANES;
use elbo_kernels::gemm::{Accum, adam_tile, gradient_tile};
use elbo_kernels::half::Pair;
use elbo_kernels::panels::MAX_VECTORS;
use elbo_kernels::reduce::column_sums;
use elbo_kernels::update::{self, AdamStep};

/// Elements of a tile at most.
const TILE: usize = (MAX_VECTORS * LANES) * (MAX_VECTORS * LANES);

/// Blocks of rows that are summed into a tile in one go.
pub(super) const BLOCKS_AT_ONCE: usize = 32;

/// What a parameter's gradient is made from in some blocks of rows. A thread keeps it from tile to tile, for most tiles
/// are of the same parameter as the one before.
pub(super) struct Operands<'b, F> {
    /// Of which parameter, and from which block on.
    of: Option<(Slot, *const Block<F>)>,
    kind: Kind,
    /// Which entries of the parameter are there: the gradient of the others is 0.
    mask: Option<Mask>,
    count: usize,
    /// X and dY of each block; of a sum, and of rows, dY alone.
    products: [(Mat<'b, F>, Mat<'b, F>); BLOCKS_AT_ONCE],
    /// The same, rounded.
    pairs: [(Mat<'b, Pair>, Mat<'b, Pair>); BLOCKS_AT_ONCE],
    /// Of rows, the first of each block.
    firsts: [usize; BLOCKS_AT_ONCE],
}

enum Kind {
    Product,
    Pairs,
    Sum,
    Rows,
}

impl<'b, F: Real> Operands<'b, F> {
    pub fn none() -> Self {
        let products = [const { (Mat::EMPTY, Mat::EMPTY) }; BLOCKS_AT_ONCE];
        let pairs = [const { (Mat::EMPTY, Mat::EMPTY) }; BLOCKS_AT_ONCE];
        Operands { of: None, kind: Kind::Sum, mask: None, count: 0, products, pairs, firsts: [0; BLOCKS_AT_ONCE] }
    }
    /// Those of a tile's parameter in `blocks`.
    pub fn find(&mut self, vae: &Vae, precision: Precision, tile: &Tile, blocks: &'b [Block<F>]) {
        let of = Some((tile.slot, blocks.as_ptr()));
        if self.of == of {
            return;
        }
        (self.of, self.count) = (of, blocks.len());
        self.mask = vae.layout().entries()[tile.slot.index()].mask;
        for (i, b) in blocks.iter().enumerate() {
            self.kind = match (vae.gradient(tile.slot, b), precision) {
                (Gradient::Sum(dy), _) => {
                    self.products[i] = (Mat::EMPTY, dy);
                    Kind::Sum
                }
                (Gradient::Rows { first, dw, .. }, _) => {
                    (self.products[i], self.firsts[i]) = ((Mat::EMPTY, dw), first);
                    Kind::Rows
                }
                (Gradient::Product(x, dy), Precision::F32) => {
                    self.products[i] = (x, dy);
                    Kind::Product
                }
                (Gradient::Product(..), Precision::Bf16) => {
                    let (x, dy) = &b.rounded[tile.slot.index()];
                    self.pairs[i] = (x.pairs(), dy.pairs());
                    Kind::Pairs
                }
            };
        }
    }
    /// The rows of a tile that blocks have as they are: where in the tile, and up to the panel's width.
    fn rows(&self, tile: &Tile) -> impl Iterator<Item = (Range<usize>, &'b [F])> {
        let (rows, panel) = (tile.rows.clone(), tile.slot.panels().panel(tile.panel));
        let blocks = self.products[..self.count].iter().zip(self.firsts);
        blocks.flat_map(move |((_, dw), first)| {
            let (dw, from) = (*dw, rows.start);
            (rows.start.max(first)..rows.end.min(first + dw.rows())).map(move |row| {
                let at = (row - from) * panel.width;
                (at..at + panel.width, &dw.data()[(row - first) * dw.stride() + panel.col..][..panel.width])
            })
        })
    }
    /// What they add to a tile.
    pub fn gradient(&self, isa: Isa, tile: &Tile, accum: Accum, out: &mut [F]) {
        let (rows, panel, layout) = (tile.rows.clone(), tile.panel, tile.slot.panels());
        let (products, pairs) = (&self.products[..self.count], &self.pairs[..self.count]);
        match self.kind {
            Kind::Product => gradient_tile(isa, products, layout, panel, rows, accum, out),
            Kind::Pairs => gradient_tile(isa, pairs, layout, panel, rows, accum, F::singles_mut(out)),
            Kind::Sum => {
                let panel = layout.panel(panel);
                for (i, (_, dy)) in products.iter().enumerate() {
                    let from = dy.data().get(panel.col..).unwrap_or_default();
                    let add = i > 0 || accum == Accum::Add;
                    column_sums(isa, dy.rows(), dy.stride(), panel.width, from, out, add);
                }
            }
            Kind::Rows => {
                if accum == Accum::Replace {
                    out.fill(F::ZERO);
                }
                // A row is of one block.
                self.rows(tile).for_each(|(at, row)| out[at].copy_from_slice(row));
            }
        }
        if let Some(mask) = self.mask {
            mask.clear_tile(tile, out);
        }
    }
    /// A step of Adam on a tile of the parameter and both moments.
    pub fn adam(&self, isa: Isa, step: &AdamStep, tile: &Tile, [p, m, v]: [&mut [F]; 3]) {
        let (rows, panel, layout) = (tile.rows.clone(), tile.panel, tile.slot.panels());
        let (products, pairs) = (&self.products[..self.count], &self.pairs[..self.count]);
        if self.mask.is_some() {
            let mut buffer = [F::ZERO; TILE];
            let gradient = &mut buffer[..p.len()];
            self.gradient(isa, tile, Accum::Replace, gradient);
            return update::adam(isa, step, p, m, v, gradient);
        }
        match self.kind {
            Kind::Product => adam_tile(isa, step, products, layout, panel, rows, [p, m, v]),
            Kind::Pairs => adam_tile(isa, step, pairs, layout, panel, rows, [p, m, v].map(F::singles_mut)),
            Kind::Rows => self.rows(tile).for_each(|(at, row)| {
                update::adam(isa, step, &mut p[at.clone()], &mut m[at.clone()], &mut v[at], row);
            }),
            Kind::Sum => {
                let mut buffer = [F::ZERO; MAX_VECTORS * LANES];
                let gradient = &mut buffer[..p.len()];
                self.gradient(isa, tile, Accum::Replace, gradient);
                update::adam(isa, step, p, m, v, gradient);
            }
        }
    }
}
