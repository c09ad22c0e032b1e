//! What latents know of labels that the model never saw: the accuracy of simple classifiers on them, beside the same on the
//! rows themselves.

mod lbfgs;
mod logistic;
mod neighbours;

use super::{Examples, check_some, encode, originals};
use crate::error::{Error, Result};
use crate::model::Inference;
use crate::tensor::{Noise, Stream};
use logistic::Logistic;
use ndarray::{Array2, ArrayView2, Axis};
use rand::seq::SliceRandom;

/// Rows with a class each: any numbers, of which equal ones are one class.
#[derive(Clone, Copy, Debug)]
pub struct Labelled<'a> {
    /// The rows.
    pub examples: &'a Examples<'a>,
    /// Their classes.
    pub classes: &'a [usize],
}

/// Shares of held-out rows that are classified rightly, by what was learned from some labels.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Accuracy {
    /// Multinomial logistic regression on standardised columns, to its optimum.
    pub linear: f64,
    /// The vote of the nearest neighbours.
    pub neighbours: f64,
    /// Whether the regression reached its optimum.
    pub converged: bool,
}

/// The accuracies with some labels.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ProbeResult {
    /// Labels.
    pub labels: usize,
    /// On posterior means.
    pub latent: Accuracy,
    /// On the rows as the model sees them.
    pub input: Accuracy,
}

/// Learns classes from labelled rows, of `few` labels each time and of all, and measures on held-out rows. Both classifiers see
/// posterior means (a linear probe: Alain and Bengio, 2017), and the rows themselves; `neighbours` vote.
///
/// A few labels are drawn by the seed, as evenly among the classes as they go, the same for both. With more labels come the
/// same ones first.
///
/// # Errors
/// No rows; another number of classes than rows; fewer than two classes; fewer labels than classes, or more than rows; no
/// neighbours; more rows than fit in memory.
pub fn probe(
    inference: &mut Inference<'_, f32>,
    known: Labelled<'_>,
    heldout: Labelled<'_>,
    few: &[usize],
    neighbours: usize,
    seed: u64,
) -> Result<Vec<ProbeResult>> {
    let (classes, [of_known, of_heldout]) = numbered([known.classes, heldout.classes]);
    let (known, heldout) = (Labelled { classes: &of_known, ..known }, Labelled { classes: &of_heldout, ..heldout });
    check(&known, &heldout, few, neighbours, classes)?;
    let mut views = Vec::new();
    for rows in [known, heldout] {
        views.push((encode(inference, rows.examples)?.mean, originals(rows.examples)?));
    }
    let order = evenly(known.classes, classes, Noise::new(seed));
    let all = known.classes.len();
    let mut sizes: Vec<usize> = few.iter().copied().filter(|&n| n < all).collect();
    sizes.push(all);
    let measure = |labels: usize| {
        let rows = &order[..labels];
        let of: Vec<usize> = rows.iter().map(|&r| known.classes[r]).collect();
        let accuracy = |known: &Array2<f32>, test: &Array2<f32>| {
            let known = known.select(Axis(0), rows);
            accuracy(known.view(), &of, test.view(), heldout.classes, classes, neighbours)
        };
        let [(z, x), (z_test, x_test)] = [&views[0], &views[1]];
        ProbeResult { labels, latent: accuracy(z, z_test), input: accuracy(x, x_test) }
    };
    Ok(sizes.into_iter().map(measure).collect())
}

fn check(known: &Labelled<'_>, heldout: &Labelled<'_>, few: &[usize], neighbours: usize, classes: usize) -> Result<()> {
    for rows in [known, heldout] {
        check_some(rows.examples.len())?;
        if rows.classes.len() != rows.examples.len() {
            return Err(Error::input(format!("{} labels for {} rows", rows.classes.len(), rows.examples.len())));
        }
    }
    if classes < 2 {
        return Err(Error::input("every row has the same label: there is nothing to tell apart"));
    }
    if neighbours == 0 {
        return Err(Error::input("the number of neighbours must be at least 1, not 0").hint("5 is usual"));
    }
    match few.iter().find(|&&n| n < classes || n > known.classes.len()) {
        None => Ok(()),
        Some(n) => Err(Error::input(format!(
            "{n} labels of {classes} classes and {} rows; it must be at least one a class and at most one a row",
            known.classes.len()
        ))
        .hint("--few 100,1000, for example")),
    }
}

/// The number of classes that there are, and labels that count them from 0 in their order.
fn numbered(labels: [&[usize]; 2]) -> (usize, [Vec<usize>; 2]) {
    let mut distinct: Vec<usize> = labels.concat();
    distinct.sort_unstable();
    distinct.dedup();
    let number = |label: &usize| distinct.partition_point(|other| other < label);
    (distinct.len(), labels.map(|labels| labels.iter().map(number).collect()))
}

/// All rows in an order whose beginnings have the classes as evenly as they go: in turn one of each, at random.
fn evenly(classes: &[usize], count: usize, noise: Noise) -> Vec<usize> {
    let mut by_class = vec![Vec::new(); count];
    classes.iter().enumerate().for_each(|(row, &class)| by_class[class].push(row));
    let mut turns: Vec<(usize, usize, usize)> = Vec::with_capacity(classes.len());
    for (class, rows) in by_class.iter_mut().enumerate() {
        rows.shuffle(&mut noise.rng(Stream::Split, 1, class as u64, 0));
        turns.extend(rows.iter().enumerate().map(|(turn, &row)| (turn, class, row)));
    }
    turns.sort_unstable();
    turns.into_iter().map(|(.., row)| row).collect()
}

fn accuracy(
    known: ArrayView2<'_, f32>,
    classes: &[usize],
    test: ArrayView2<'_, f32>,
    truth: &[usize],
    count: usize,
    neighbours: usize,
) -> Accuracy {
    let right = |found: Vec<usize>| {
        found.iter().zip(truth).filter(|(found, truth)| found == truth).count() as f64 / truth.len() as f64
    };
    let fit = Logistic::fit(known, classes, count);
    let neighbours = right(neighbours::classify(known, classes, test, neighbours));
    Accuracy { linear: right(fit.predict(test)), neighbours, converged: fit.converged }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_labels_are_even_random_and_the_same_first() {
        let classes: Vec<usize> = (0..300).map(|r| [0, 0, 0, 1, 2][r % 5]).collect();
        let order = evenly(&classes, 3, Noise::new(1));
        let share = |n: usize, class: usize| order[..n].iter().filter(|&&r| classes[r] == class).count();
        assert_eq!([share(30, 0), share(30, 1), share(30, 2)], [10, 10, 10]);
        // 60 rows of the rarer ones; then the first alone goes on.
        assert_eq!([share(300, 0), share(300, 1), share(180, 2)], [180, 60, 60]);
        assert_ne!(order, evenly(&classes, 3, Noise::new(2)));
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..300), "every row once");
    }
}
