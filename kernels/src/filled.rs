//! Where a matrix is not zero, so that products can leave out the terms that are.
//!
//! A term `0 · b` changes no sum that starts from `+0`, as long as `b` is finite: leaving it out gives the same bits, but for
//! the sign of a result that is zero.

use crate::half::Pair;
use crate::isa::{Isa, Op};
use crate::map::load;
use crate::mat::Mat;
use crate::once::once;
use crate::simd::{Element, LANES, Simd, few_registers};

/// Rows, or columns, that are looked at together: those of a micro-tile.
pub(crate) const GROUP: usize = 4;

/// The share of the terms above which lists are not worth following. Where registers are few, tiles of four rows wait for their
/// right operand, and a term of a list takes 1.5 to 1.7 times as long as one of all of them.
const fn worth<S: Simd>() -> f64 {
    if few_registers::<S>() { 0.6 } else { 0.9 }
}

/// How often in a row nothing is looked for, after it was in vain: a matrix is mostly like those before it.
const PAUSE: u32 = 31;

/// Where a matrix is not zero: for every four rows, the columns in which one of them is not, and for every four columns,
/// the rows.
#[derive(Clone, Debug, Default)]
pub struct Filled {
    rows: usize,
    cols: usize,
    by_rows: Lists,
    by_columns: Lists,
    pause: u32,
    /// A band of rows, a bit a column; and of 64 rows, a bit for every four columns.
    band: Vec<u64>,
    strips: Vec<[u64; 64]>,
}

/// Ascending numbers for each group.
#[derive(Clone, Debug, Default)]
struct Lists {
    /// The lists, each with room for `most`, and for what is written past its end.
    numbers: Vec<u32>,
    lens: Vec<u32>,
    most: usize,
    worth: bool,
}

/// The numbers of a byte's set bits, lowest first; the rest does not matter.
const BITS: [[u8; 8]; 256] = {
    let mut bits = [[0; 8]; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut n, mut bit) = (0, 0);
        while bit < 8 {
            if byte >> bit & 1 == 1 {
                bits[byte][n] = bit;
                n += 1;
            }
            bit += 1;
        }
        byte += 1;
    }
    bits
};

impl Lists {
    fn clear(&mut self, groups: usize, most: usize) {
        self.most = most;
        self.lens.clear();
        self.lens.resize(groups, 0);
        // What is left of earlier lists lies behind the new ones' ends.
        if self.numbers.len() < groups * self.room() {
            self.numbers.resize(groups * self.room(), 0);
        }
    }
    fn room(&self) -> usize {
        self.most + 8
    }
    /// Adds to a list the numbers of the bits that are set in `word`, counted from `first`. Eight are written at a time
    /// and kept as far as they count: a branch on each bit would be mispredicted every other time.
    #[inline(always)]
    fn add(&mut self, group: usize, first: usize, word: u64) {
        let (start, mut len) = (group * self.room(), self.lens[group] as usize);
        for (i, byte) in word.to_le_bytes().into_iter().enumerate() {
            let out = &mut self.numbers[start + len..][..8];
            for (number, bit) in out.iter_mut().zip(BITS[usize::from(byte)]) {
                *number = (first + 8 * i) as u32 + u32::from(bit);
            }
            len += byte.count_ones() as usize;
        }
        self.lens[group] = len as u32;
    }
    fn weigh(&mut self, worth: f64) {
        let listed: f64 = self.lens.iter().map(|&len| f64::from(len)).sum();
        self.worth = listed < worth * (self.lens.len() * self.most) as f64;
    }
    fn get(&self, group: usize) -> Option<&[u32]> {
        self.worth.then(|| &self.numbers[group * self.room()..][..self.lens[group] as usize])
    }
}

once! {
    fn find<E>(isa: Isa, filled: &mut Filled, x: Mat<'_, E>) {
        isa.run(Find(filled, x));
    }
}

impl Filled {
    /// Finds where `x` is not zero. Where that is nearly everywhere, the next matrices are not even looked at, and of them
    /// as of this one nothing is known. Allocates when `x` is larger than any before.
    pub fn find<E: Element>(&mut self, isa: Isa, x: Mat<E>) {
        self.forget();
        if self.pause > 0 {
            self.pause -= 1;
            return;
        }
        find(isa, self, x);
        if !self.lists_columns() && !self.lists_rows() {
            self.forget();
            self.pause = PAUSE;
        }
    }
    /// Finds where `x` is not a pair of zeros, likewise.
    pub fn find_pairs(&mut self, isa: Isa, x: Mat<Pair>) {
        // SAFETY: a pair has the size and the alignment of an `f32`, and any bits are one; as a number it is zero if both
        // halves are, or if they are +0 and −0 in this order, which is as good.
        let data = unsafe { core::slice::from_raw_parts(x.data().as_ptr().cast::<f32>(), x.data().len()) };
        self.find(isa, Mat::new(data, x.rows(), x.cols(), x.stride()));
    }
    /// Back to a matrix of no rows and no columns.
    pub fn forget(&mut self) {
        (self.rows, self.cols) = (0, 0);
    }
    /// The matrix that it was found of: its rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }
    /// Whether [`columns`](Self::columns) has lists.
    pub(crate) fn lists_columns(&self) -> bool {
        self.by_rows.worth
    }
    /// Whether [`rows`](Self::rows) has lists.
    pub(crate) fn lists_rows(&self) -> bool {
        self.by_columns.worth
    }
    /// The columns in which one of the four rows of a group is not zero, in order; `None` where that is nearly all of them.
    pub fn columns(&self, group: usize) -> Option<&[u32]> {
        self.by_rows.get(group)
    }
    /// The rows in which one of the four columns of a group is not zero, likewise.
    pub fn rows(&self, group: usize) -> Option<&[u32]> {
        self.by_columns.get(group)
    }
}

struct Find<'a, E>(&'a mut Filled, Mat<'a, E>);

impl<E: Element> Op<E> for Find<'_, E> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<E = E>>(self, s: S) {
        let Find(filled, x) = self;
        let (rows, cols) = (x.rows(), x.cols());
        (filled.rows, filled.cols) = (rows, cols);
        let strips = cols.div_ceil(GROUP);
        filled.by_rows.clear(rows.div_ceil(GROUP), cols);
        filled.by_columns.clear(strips, rows);
        filled.band.resize(cols.div_ceil(64), 0);
        filled.strips.resize(strips.div_ceil(64), [0; 64]);
        for top in (0..rows).step_by(64) {
            filled.strips.fill([0; 64]);
            for r in top..rows.min(top + 64) {
                if r % GROUP == 0 {
                    filled.band.fill(0);
                }
                for i in 0..cols.div_ceil(LANES) {
                    let bits = u64::from(s.nonzero(load(s, x.row(r), LANES * i, LANES.min(cols - LANES * i))));
                    filled.band[i / 4] |= bits << (i % 4 * LANES);
                    // A bit for each four: the lowest of them, then the four side by side.
                    let any = bits | bits >> 1;
                    let any = (any | any >> 2) & 0x1111;
                    let four = (any | any >> 3 | any >> 6 | any >> 9) & 0xF;
                    filled.strips[i / 16][r - top] |= four << (i % 16 * 4);
                }
                if r % GROUP == GROUP - 1 || r + 1 == rows {
                    for (i, &word) in filled.band.iter().enumerate() {
                        filled.by_rows.add(r / GROUP, 64 * i, word);
                    }
                }
            }
            for (i, matrix) in filled.strips.iter_mut().enumerate() {
                transpose(matrix);
                for (j, &word) in matrix.iter().enumerate().take(strips - 64 * i) {
                    filled.by_columns.add(64 * i + j, top, word);
                }
            }
        }
        filled.by_rows.weigh(worth::<S>());
        filled.by_columns.weigh(worth::<S>());
    }
}

/// Transposes a matrix of 64×64 bits, a row a word, by swapping ever smaller squares (Warren, Hacker's Delight, 7-3).
#[inline(always)]
fn transpose(rows: &mut [u64; 64]) {
    let (mut size, mut mask) = (32, u64::MAX >> 32);
    while size > 0 {
        for i in (0..64).filter(|i| i & size == 0) {
            let swapped = (rows[i] >> size ^ rows[i + size]) & mask;
            rows[i] ^= swapped << size;
            rows[i + size] ^= swapped;
        }
        size /= 2;
        mask ^= mask << size;
    }
}
