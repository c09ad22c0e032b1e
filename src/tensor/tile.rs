//! How the weights pass is cut: tiles of every parameter, each contiguous in a slab and in the copies of its weight.

use super::{Layout, Slot};
use elbo_kernels::panels::Panels;
use elbo_kernels::par::Cut;
use std::ops::Range;

/// Some rows of one panel of a parameter: the columns of one panel of its transpose, so that both are contiguous.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tile {
    /// The parameter.
    pub slot: Slot,
    /// The panel of its columns.
    pub panel: usize,
    /// Its rows.
    pub rows: Range<usize>,
}

impl Tile {
    /// Columns, padding included.
    pub fn width(&self) -> usize {
        self.slot.panels().panel(self.panel).width
    }
    /// Columns without padding.
    fn cols(&self) -> Range<usize> {
        let col = self.slot.panels().panel(self.panel).col;
        col..(col + self.width()).min(self.slot.cols())
    }
    /// Columns of the transpose's tile, padding included.
    pub(super) fn turned_width(&self) -> usize {
        self.turned().panel_of(self.rows.start).width
    }
    fn turned(&self) -> Panels {
        Panels::new(self.slot.cols(), self.slot.rows())
    }
    /// Its range of a slab.
    fn values(&self) -> Range<usize> {
        let p = self.slot.panels().panel(self.panel);
        let at = |row| self.slot.range().start + p.offset + row * p.width;
        at(self.rows.start)..at(self.rows.end)
    }
    /// Its range of the transposed copies.
    fn transposed(&self) -> Range<usize> {
        self.slot.transposed().map_or(0..0, |start| {
            let p = self.turned().panel_of(self.rows.start);
            let at = |row| start + p.offset + row * p.width;
            at(self.cols().start)..at(self.cols().end)
        })
    }
    /// Its range of the weights in pairs of rows.
    fn pairs(&self) -> Range<usize> {
        self.slot.pairs().map_or(0..0, |start| {
            let p = self.slot.panels().pairs().panel(self.panel);
            let at = |row: usize| start + p.offset + row.div_ceil(2) * p.width;
            at(self.rows.start)..at(self.rows.end)
        })
    }
    /// Its range of the transposed copies in pairs of rows.
    fn transposed_pairs(&self) -> Range<usize> {
        self.slot.transposed_pairs().map_or(0..0, |start| {
            let p = self.turned().pairs().panel_of(self.rows.start);
            let at = |row: usize| start + p.offset + row.div_ceil(2) * p.width;
            at(self.cols().start)..at(self.cols().end)
        })
    }
}

/// All tiles of a layout, in the order of its parameters, and where each lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tiles {
    list: Vec<Tile>,
    pub(super) values: Cut,
    pub(super) transposed: Cut,
    pub(super) pairs: Cut,
    pub(super) transposed_pairs: Cut,
}

impl Tiles {
    /// The tiles of a layout.
    pub fn new(layout: &Layout) -> Self {
        let mut list = Vec::new();
        for slot in layout.entries().iter().map(|e| e.slot) {
            let turned = Panels::new(slot.cols(), slot.rows());
            for panel in 0..slot.panels().count() {
                for j in 0..turned.count() {
                    let p = turned.panel(j);
                    list.push(Tile { slot, panel, rows: p.col..(p.col + p.width).min(slot.rows()) });
                }
            }
        }
        Tiles {
            values: Cut::new(list.iter().map(Tile::values)),
            transposed: Cut::new(list.iter().map(Tile::transposed)),
            pairs: Cut::new(list.iter().map(Tile::pairs)),
            transposed_pairs: Cut::new(list.iter().map(Tile::transposed_pairs)),
            list,
        }
    }
    /// The tiles.
    pub fn list(&self) -> &[Tile] {
        &self.list
    }
    /// How they cut a slab.
    pub fn cut(&self) -> &Cut {
        &self.values
    }
}
