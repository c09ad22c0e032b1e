//! The order in which an epoch visits rows, and the batches it falls into.

use crate::tensor::{Noise, Stream};
use crate::{Error, Result};
use rand::RngCore;

/// Fills `order` with a permutation of its positions: a pure function of the seed, the epoch and the length.
///
/// Fisher and Yates' shuffle, started from the identity, so that no earlier epoch matters; each of the permutations is
/// equally likely.
pub fn shuffle(noise: Noise, epoch: u64, order: &mut [u32]) {
    identity(order);
    let mut rng = noise.rng(Stream::Order, epoch, 0, 0);
    for last in (1..order.len()).rev() {
        order.swap(last, below(&mut rng, last as u32 + 1) as usize);
    }
}

/// Chooses `count` of `rows` positions, all choices equally likely, as a function of the seed alone: `(chosen, others)`,
/// each in ascending order.
pub(super) fn choose(noise: Noise, count: usize, rows: usize) -> (Vec<u32>, Vec<u32>) {
    let mut order = vec![0; rows];
    identity(&mut order);
    let mut rng = noise.rng(Stream::Split, 0, 0, 0);
    for first in 0..count {
        let other = first + below(&mut rng, (rows - first) as u32) as usize;
        order.swap(first, other);
    }
    let mut others = order.split_off(count);
    order.sort_unstable();
    others.sort_unstable();
    (order, others)
}

fn identity(order: &mut [u32]) {
    for (position, o) in order.iter_mut().enumerate() {
        *o = position as u32;
    }
}

/// A uniform number in `0..n`, without bias: Lemire 2019, "Fast random integer generation in an interval", algorithm 5.
/// Our own, so that no new version of a library changes what a seed means.
fn below(rng: &mut impl RngCore, n: u32) -> u32 {
    let mut product = u64::from(rng.next_u32()) * u64::from(n);
    if (product as u32) < n {
        let threshold = n.wrapping_neg() % n;
        while (product as u32) < threshold {
            product = u64::from(rng.next_u32()) * u64::from(n);
        }
    }
    (product >> 32) as u32
}

/// The batches of an epoch over some rows, in seeded order. Allocates when made, never after.
///
/// ```
/// use elbo::data::Batches;
/// use elbo::tensor::Noise;
/// let mut batches = Batches::new(10, 4, Noise::new(7))?;
/// batches.start(0);
/// let sizes: Vec<usize> = batches.iter().map(|batch| batch.len()).collect();
/// assert_eq!(sizes, [4, 4, 2]);
/// # Ok::<(), elbo::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Batches {
    order: Vec<u32>,
    size: usize,
    count: usize,
    noise: Noise,
}

impl Batches {
    /// Batches of `size` rows; the last one holds the remainder. Rows stand in their own order until
    /// [`start`](Batches::start).
    ///
    /// # Errors
    /// No rows, or a batch of no rows.
    pub fn new(rows: usize, size: usize, noise: Noise) -> Result<Batches> {
        if rows == 0 {
            return Err(Error::input("there are no rows to make batches of"));
        }
        if size == 0 {
            return Err(Error::input("a batch needs at least one row"));
        }
        let mut order = vec![0; rows];
        identity(&mut order);
        Ok(Batches { order, size, count: rows.div_ceil(size), noise })
    }

    /// Leaves out a last batch that is smaller than the others.
    ///
    /// # Errors
    /// Fewer rows than one batch.
    pub fn drop_last(mut self) -> Result<Batches> {
        self.count = self.order.len() / self.size;
        if self.count == 0 {
            let what = format!("{} rows do not fill one batch of {}", self.order.len(), self.size);
            return Err(Error::input(what).hint("use smaller batches, or keep the last one"));
        }
        Ok(self)
    }

    /// Puts the rows into the order of an epoch, whatever came before.
    pub fn start(&mut self, epoch: u64) {
        shuffle(self.noise, epoch, &mut self.order);
    }

    /// Number of batches in an epoch, at least 1.
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        self.count
    }

    /// Rows in a batch, but for a smaller last one.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Rows that an epoch visits.
    pub fn rows(&self) -> usize {
        self.order.len().min(self.count * self.size)
    }

    /// The positions of the rows of one batch.
    ///
    /// # Panics
    /// A batch that does not exist.
    pub fn batch(&self, number: usize) -> &[u32] {
        assert!(number < self.count, "batch {number} of {}", self.count);
        let start = number * self.size;
        &self.order[start..self.order.len().min(start + self.size)]
    }

    /// The batches of the epoch, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u32]> {
        (0..self.count).map(|number| self.batch(number))
    }
}
