//! The nearest of many remembered means to each of a few: exact, by scores z·μ − ½ ‖μ‖², the greatest of which is the nearest.

use crate::density::{Exemplars, GROUP};
use crate::tensor::{Buffer, Isa, Mat, Real};
use std::cmp::Ordering;

/// One block's search for the nearest of the rows that were drawn: their remembered means by groups, all of them.
#[derive(Clone, Debug)]
pub(super) struct Search<F> {
    group: Exemplars<F>,
    /// (n, GROUP)
    scores: Buffer<F>,
    nearest: Vec<Nearest<F>>,
}

impl<F: Real> Search<F> {
    /// For blocks of up to `rows` rows, of each of which the nearest `count` are wanted.
    pub fn new(rows: usize, latent: usize, count: usize) -> Self {
        Search {
            group: Exemplars::new(GROUP, latent),
            scores: Buffer::new(rows, GROUP),
            nearest: (0..rows).map(|_| Nearest::new(count)).collect(),
        }
    }
    /// Finds those nearest to each of some means, (n, L), that are not the row's own.
    pub fn find(&mut self, isa: Isa, means: Mat<F>, own: &[u32], drawn: &[u32], cache: Mat<F>) {
        let (n, nearest) = (means.rows(), &mut self.nearest[..means.rows()]);
        nearest.iter_mut().for_each(Nearest::clear);
        for some in drawn.chunks(GROUP) {
            self.group.replace(F::ZERO, some.iter().map(|&place| cache.row(place as usize)));
            self.group.scores(isa, means, 0, self.scores.rows_mut(n).columns(0, some.len()));
            for (r, nearest) in nearest.iter_mut().enumerate() {
                for (&score, &place) in self.scores.rows(n).row(r).iter().zip(some) {
                    nearest.offer(score, place, own[r]);
                }
            }
        }
        nearest.iter_mut().for_each(Nearest::select);
    }
    /// The places of those that the last search found for its first `rows` rows, in no order.
    pub fn found(&self, rows: usize) -> impl Iterator<Item = u32> {
        self.nearest[..rows].iter().flat_map(|nearest| nearest.kept.iter().map(|(_, place)| *place))
    }
}

/// The greatest scores so far, up to twice as many as are wanted, with their places. Of equal ones the earlier place is taken.
#[derive(Clone, Debug)]
struct Nearest<F> {
    kept: Vec<(F, u32)>,
    count: usize,
    /// No smaller score is among those wanted.
    least: F,
}

impl<F: Real> Nearest<F> {
    fn new(count: usize) -> Self {
        Nearest { kept: Vec::with_capacity(2 * count), count, least: F::from_f64(f64::NEG_INFINITY) }
    }
    fn clear(&mut self) {
        self.kept.clear();
        self.least = F::from_f64(f64::NEG_INFINITY);
    }
    #[inline]
    fn offer(&mut self, score: F, place: u32, own: u32) {
        if score > self.least && place != own {
            self.kept.push((score, place));
            if self.kept.len() == 2 * self.count {
                self.select();
            }
        }
    }
    fn select(&mut self) {
        if self.kept.len() <= self.count {
            return;
        }
        let order = |a: &(F, u32), b: &(F, u32)| b.0.partial_cmp(&a.0).unwrap_or(Ordering::Equal).then(a.1.cmp(&b.1));
        self.kept.select_nth_unstable_by(self.count - 1, order);
        self.kept.truncate(self.count);
        self.least = self.kept[self.count - 1].0;
    }
}
