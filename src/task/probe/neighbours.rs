//! The k nearest neighbours' vote, by Euclidean distance.

use ndarray::{ArrayView2, Axis};

/// Rows whose distances are held at once.
const BLOCK: usize = 128;

/// The class of each row of `x`, (m, D), by the vote of its `k` nearest rows among `known`, (n, D); of classes with equal
/// votes, the one whose nearest row is nearer.
pub fn classify(known: ArrayView2<'_, f32>, classes: &[usize], x: ArrayView2<'_, f32>, k: usize) -> Vec<usize> {
    let count = classes.iter().max().map_or(0, |most| most + 1);
    let squares: Vec<f32> = known.rows().into_iter().map(|row| row.dot(&row)).collect();
    let mut out = Vec::with_capacity(x.nrows());
    let (mut near, mut votes) = (Vec::with_capacity(known.nrows()), vec![0usize; count]);
    for block in x.axis_chunks_iter(Axis(0), BLOCK) {
        for products in block.dot(&known.t()).rows() {
            near.clear();
            // ‖a − b‖² − ‖a‖², which orders as the distance does; equal ones by row.
            near.extend(products.iter().zip(&squares).enumerate().map(|(i, (p, square))| (square - 2.0 * p, i)));
            let order = |a: &(f32, usize), b: &(f32, usize)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
            let k = k.min(near.len());
            near.select_nth_unstable_by(k - 1, order);
            near[..k].sort_unstable_by(order);
            votes.fill(0);
            near[..k].iter().for_each(|(_, i)| votes[classes[*i]] += 1);
            let most = votes.iter().copied().max().unwrap_or(0);
            let nearest = near[..k].iter().map(|(_, i)| classes[*i]).find(|&class| votes[class] == most);
            out.push(nearest.unwrap_or(0));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::classify;
    use ndarray::array;

    #[test]
    fn votes_by_hand() {
        let (known, classes) = (array![[0.0f32, 0.0], [1.0, 0.0], [1.2, 0.0], [5.0, 5.0], [5.0, 6.0]], [0, 1, 1, 2, 2]);
        let x = array![[0.1f32, 0.0], [5.0, 5.4], [0.55, 0.1]];
        assert_eq!(classify(known.view(), &classes, x.view(), 1), [0, 2, 1]);
        // One vote for 0 and two for 1.
        assert_eq!(classify(known.view(), &classes, x.view(), 3), [1, 2, 1]);
        // A vote each: the nearest.
        assert_eq!(classify(known.view(), &classes, x.view(), 2), [0, 2, 1]);
        // More than there are: all vote, and of two equal classes the nearer wins.
        assert_eq!(classify(known.view(), &classes, x.view(), 99), [1, 2, 1]);
    }
}
