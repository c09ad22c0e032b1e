//! The nearest of many remembered means to each of a few: exact, by scores z·μ − ½ ‖μ‖², the greatest of which is the nearest.

use crate::density::{Exemplars, GROUP};
use crate::tensor::{Buffer, Isa, Mat, Real};
use elbo_kernels::LANES;
use std::cmp::Ordering;

/// A search among some of the rows that were drawn: their remembered means by groups, all of them, for every row of a batch.
#[derive(Clone, Debug)]
pub(super) struct Search<F> {
    group: Exemplars<F>,
    /// (rows of a block, GROUP)
    scores: Buffer<F>,
    /// One for each row of the batch.
    nearest: Vec<Nearest<F>>,
}

impl<F: Real> Search<F> {
    /// For batches of up to `batch` rows in blocks of up to `rows`, of each of which the nearest `count` are wanted.
    pub fn new(batch: usize, rows: usize, latent: usize, count: usize) -> Self {
        Search {
            group: Exemplars::new(GROUP, latent),
            scores: Buffer::new(rows, GROUP),
            nearest: (0..batch).map(|_| Nearest::new(count)).collect(),
        }
    }
    /// Finds those nearest to each of a batch's means, (n, L) of each block, that are not the row's own.
    pub fn find<'m>(
        &mut self,
        isa: Isa,
        means: impl Iterator<Item = Mat<'m, F>> + Clone,
        own: &[u32],
        drawn: &[u32],
        cache: Mat<F>,
    ) {
        let nearest = &mut self.nearest[..own.len()];
        nearest.iter_mut().for_each(Nearest::clear);
        for places in drawn.chunks(GROUP) {
            self.group.replace(F::ZERO, places.iter().map(|&place| cache.row(place as usize)));
            let mut rows = nearest.iter_mut().zip(own);
            for means in means.clone() {
                let n = means.rows();
                self.group.scores(isa, means, 0, self.scores.rows_mut(n).columns(0, places.len()));
                for (r, (nearest, &own)) in rows.by_ref().take(n).enumerate() {
                    nearest.offer(self.scores.rows(n).row(r), places, own);
                }
            }
        }
        nearest.iter_mut().for_each(Nearest::select);
    }
    /// Takes what another search found for the first `rows` rows.
    pub fn merge(&mut self, other: &Search<F>, rows: usize) {
        for (nearest, other) in self.nearest[..rows].iter_mut().zip(&other.nearest) {
            other.kept.iter().for_each(|&(score, place)| nearest.offer_one(score, place));
            nearest.select();
        }
    }
    /// The places of those that were found for the first `rows` rows, in no order.
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
    /// Offers the scores of these places, but for the row's own.
    fn offer(&mut self, scores: &[F], places: &[u32], own: u32) {
        for (scores, places) in scores.chunks(LANES).zip(places.chunks(LANES)) {
            // Most have none that is wanted, which is seen without a branch for each.
            let least = self.least;
            if scores.iter().fold(false, |any, &score| any | (score > least)) {
                for (&score, &place) in scores.iter().zip(places).filter(|(_, place)| **place != own) {
                    self.offer_one(score, place);
                }
            }
        }
    }
    fn offer_one(&mut self, score: F, place: u32) {
        if score > self.least {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Small whole numbers, so that scores are exact and many are equal.
    fn numbers(rows: usize, cols: usize, seed: usize) -> Buffer<f64> {
        let mut buffer = Buffer::new(rows, cols);
        for r in 0..rows {
            for (c, x) in buffer.rows_mut(rows).row(r).iter_mut().enumerate() {
                *x = ((r * 7 + c * 13 + seed) * (r + 5 * c + 3) % 5) as f64 - 2.0;
            }
        }
        buffer
    }

    #[test]
    fn a_search_in_shares_finds_what_one_does() {
        let (places, latent, count, blocks) = (900, 4, 3, [4, 5]);
        let cache = numbers(places, latent, 1);
        let batch = blocks.map(|n| numbers(n, latent, n));
        let drawn: Vec<u32> = (0..places as u32).filter(|n| n % 7 != 0).collect();
        let own: Vec<u32> = (0..9).map(|r| 50 * r + 1).collect();
        let means = || batch.iter().zip(blocks).map(|(b, n)| b.rows(n));
        let search = |drawn: &[u32]| {
            let mut search = Search::new(9, 5, latent, count);
            search.find(Isa::default(), means(), &own, drawn, cache.rows(places));
            search
        };
        let found = |search: &Search<f64>, r: usize| {
            let mut found: Vec<u32> = search.nearest[r].kept.iter().map(|(_, place)| *place).collect();
            found.sort_unstable();
            found
        };
        let one = search(&drawn);
        let mut all = search(&drawn[..GROUP]);
        drawn[GROUP..].chunks(GROUP).for_each(|share| all.merge(&search(share), 9));
        for (r, z) in means().flat_map(|m| (0..m.rows()).map(move |r| m.row(r))).enumerate() {
            let score = |&place: &u32| {
                let mean = cache.rows(places).row(place as usize);
                let dot: f64 = z.iter().zip(mean).map(|(z, m)| z * m - 0.5 * m * m).sum();
                (-dot, place)
            };
            let mut expected: Vec<u32> = drawn.iter().copied().filter(|&place| place != own[r]).collect();
            expected.sort_by(|a, b| score(a).partial_cmp(&score(b)).unwrap());
            expected.truncate(count);
            expected.sort_unstable();
            assert_eq!(found(&one, r), expected, "row {r}");
            assert_eq!(found(&all, r), expected, "row {r}, in shares");
        }
        assert_eq!(all.found(9).count(), 9 * count);
    }
}
