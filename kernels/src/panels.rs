//! The order in which weights are stored: column panels, zero-padded to whole vectors.
//!
//! A `k×n` matrix is cut into panels of at most [`MAX_VECTORS`] vectors of columns, as equal as can be. In a panel the
//! rows follow each other without a gap, so a matrix product reads it front to back, and a tile of a few rows is one
//! contiguous piece. The layout depends on the shape alone, not on the instruction set.

use crate::simd::{Element, LANES};

/// Widest panel, in vectors.
pub const MAX_VECTORS: usize = 4;

/// The panel layout of a `rows × cols` matrix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Panels {
    rows: usize,
    cols: usize,
}

/// One panel: `width` columns (a multiple of sixteen, the last ones perhaps padding) from column `col` on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Panel {
    /// First column.
    pub col: usize,
    /// Columns, padding included.
    pub width: usize,
    /// Where its first row starts in the packed slice.
    pub offset: usize,
}

impl Panels {
    /// The layout for a shape.
    pub const fn new(rows: usize, cols: usize) -> Self {
        Panels { rows, cols }
    }
    /// The layout of the same matrix in pairs of two rows, as [`half`](crate::half) has them.
    pub const fn pairs(&self) -> Self {
        Panels { rows: self.rows.div_ceil(2), cols: self.cols }
    }
    /// Rows (`k`).
    pub const fn rows(&self) -> usize {
        self.rows
    }
    /// Columns (`n`), without padding.
    pub const fn cols(&self) -> usize {
        self.cols
    }
    const fn vectors(&self) -> usize {
        self.cols.div_ceil(LANES)
    }
    /// Elements of the packed slice, padding included.
    pub const fn len(&self) -> usize {
        if let Some(width) = self.cols.checked_next_multiple_of(LANES)
            && let Some(len) = self.rows.checked_mul(width)
        {
            return len;
        }
        panic!("a matrix too large to count")
    }
    /// Whether there are no elements.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Number of panels.
    pub const fn count(&self) -> usize {
        self.vectors().div_ceil(MAX_VECTORS)
    }
    /// Panel `j`. Panics unless `j < count()`.
    #[inline]
    pub const fn panel(&self, j: usize) -> Panel {
        let (v, n) = (self.vectors(), self.count());
        assert!(j < n);
        let (base, wider) = (v / n, v % n);
        let first = j * base + if j < wider { j } else { wider };
        let col = first * LANES;
        Panel { col, width: (base + (j < wider) as usize) * LANES, offset: self.rows * col }
    }
    /// The panel that holds a column. Panics unless `col < cols()`.
    pub const fn panel_of(&self, col: usize) -> Panel {
        assert!(col < self.cols);
        let (v, n) = (self.vectors(), self.count());
        let (base, wider, at) = (v / n, v % n, col / LANES);
        let cut = wider * (base + 1);
        self.panel(if at < cut { at / (base + 1) } else { wider + (at - cut) / base })
    }
    /// Where the element `(row, col)` stands in the packed slice.
    pub const fn index(&self, row: usize, col: usize) -> usize {
        let p = self.panel_of(col);
        p.offset + row * p.width + (col - p.col)
    }

    /// Packs the matrix whose element `(r, c)` is `src[r * strides[0] + c * strides[1]]`; padding becomes zero.
    /// Panics when a slice is too short.
    pub fn pack<E: Element>(&self, src: &[E], strides: [usize; 2], packed: &mut [E]) {
        for j in 0..self.count() {
            let p = self.panel(j);
            self.pack_panel(j, src, strides, &mut packed[p.offset..][..self.rows * p.width]);
        }
    }

    /// Packs panel `j` alone into a slice of its own.
    pub fn pack_panel<E: Element>(&self, j: usize, src: &[E], [rs, cs]: [usize; 2], packed: &mut [E]) {
        let p = self.panel(j);
        let real = p.width.min(self.cols - p.col);
        assert_eq!(packed.len(), self.rows * p.width, "a panel of {}×{}", self.rows, p.width);
        if self.rows == 0 {
            return;
        }
        if cs == 1 {
            for (r, row) in packed.chunks_exact_mut(p.width).enumerate() {
                row[..real].copy_from_slice(&src[r * rs + p.col..][..real]);
                row[real..].fill(E::ZERO);
            }
        } else {
            // Sixteen source columns at a time keep their cache lines until all of their rows are taken.
            for c in 0..real {
                let column = &src[(p.col + c) * cs..];
                for (r, row) in packed.chunks_exact_mut(p.width).enumerate() {
                    row[c] = column[r * rs];
                }
            }
            for row in packed.chunks_exact_mut(p.width) {
                row[real..].fill(E::ZERO);
            }
        }
    }

    /// The inverse of [`pack`](Self::pack): writes `dst[r * strides[0] + c * strides[1]]` for every real element.
    pub fn unpack<E: Element>(&self, packed: &[E], [rs, cs]: [usize; 2], dst: &mut [E]) {
        for j in 0..self.count() {
            let p = self.panel(j);
            let real = p.width.min(self.cols - p.col);
            for r in 0..self.rows {
                let row = &packed[p.offset + r * p.width..][..real];
                for (c, &x) in row.iter().enumerate() {
                    dst[r * rs + (p.col + c) * cs] = x;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_cover_every_column_once_and_are_balanced() {
        for cols in 1..1100 {
            let layout = Panels::new(3, cols);
            let mut next = 0;
            let (mut widest, mut narrowest) = (0, usize::MAX);
            for j in 0..layout.count() {
                let p = layout.panel(j);
                assert_eq!(p.col, next);
                assert_eq!(p.offset, 3 * next);
                next += p.width;
                (widest, narrowest) = (widest.max(p.width), narrowest.min(p.width));
            }
            assert!(next >= cols && next < cols + LANES);
            assert_eq!(layout.len(), 3 * next);
            assert!(widest <= MAX_VECTORS * LANES && widest - narrowest <= LANES);
            for c in 0..cols {
                let p = layout.panel_of(c);
                assert!(p.col <= c && c < p.col + p.width);
            }
        }
    }

    #[test]
    fn packing_and_its_inverse_agree() {
        for (rows, cols) in [(1, 1), (3, 20), (784, 40), (40, 100), (17, 65), (0, 5), (5, 0)] {
            let plain: Vec<f32> = (0..rows * cols).map(|i| i as f32 + 1.0).collect();
            let layout = Panels::new(rows, cols);
            let mut packed = vec![f32::NAN; layout.len()];
            layout.pack(&plain, [cols.max(1), 1], &mut packed);
            for r in 0..rows {
                for c in 0..cols {
                    assert_eq!(packed[layout.index(r, c)], plain[r * cols + c]);
                }
            }
            assert_eq!(packed.iter().filter(|x| **x == 0.0).count(), layout.len() - rows * cols);
            let mut back = vec![f32::NAN; rows * cols];
            layout.unpack(&packed, [cols.max(1), 1], &mut back);
            assert_eq!(back, plain);
        }
    }
}
