//! The rows of one batch after the other, from memory or from a file.

use super::prefetch::Prefetch;
use super::{Batches, View};
use crate::Result;
use elbo_kernels::Element;

/// Hands out the rows of batches in an epoch's order. Rows in a file are read ahead of time by a few threads, so that they are
/// in memory when they are asked for; which rows they are does not depend on where they come from.
///
/// ```
/// use elbo::data::{Batches, Feed};
/// use elbo::tensor::Noise;
/// let data = elbo::data::load("gaussian-2d")?;
/// let mut feed = Feed::new(data.train(), Batches::new(data.train().len(), 128, Noise::new(7))?)?;
/// feed.load(0, 3)?;
/// let (batch, mut x) = (feed.batch(), vec![0.0f32; 128 * 2]);
/// for (r, x) in x.chunks_exact_mut(2).enumerate() {
///     batch.gather(r, x);
/// }
/// # Ok::<(), elbo::Error>(())
/// ```
#[derive(Debug)]
pub struct Feed {
    view: View,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// The batches, the epoch whose order they are in, if any, and the one that is handed out.
    Memory(Batches, Option<u64>, usize),
    /// Threads, each with its share of every batch.
    File(Vec<Prefetch>),
}

impl Feed {
    /// The rows of a view, in batches of its positions. Where the view is [streamed](super::Rows::is_streamed), a few
    /// threads start to read. Together they hold three groups of batches of about a megabyte
    /// each (or single batches, if they are larger).
    ///
    /// # Errors
    /// Not enough memory for that, or a thread that does not start.
    pub fn new(view: &View, batches: Batches) -> Result<Feed> {
        let source = match view.rows().is_streamed() {
            true => Source::File(Prefetch::lanes(view, batches)?),
            false => Source::Memory(batches, None, 0),
        };
        Ok(Feed { view: view.clone(), source })
    }

    /// Makes a batch of an epoch the one that [`batch`](Feed::batch) hands out; the epoch is put in order if it is a new
    /// one. From a file, batches come at once if they are asked for in order, epoch after epoch, and any other one is
    /// waited for. Allocates nothing.
    ///
    /// # Errors
    /// Rows of the batch, or of the group that is read with it, that cannot be read. The next call tries again.
    ///
    /// # Panics
    /// A batch that does not exist.
    pub fn load(&mut self, epoch: u64, number: usize) -> Result<()> {
        match &mut self.source {
            Source::File(lanes) => lanes.iter_mut().try_for_each(|lane| lane.load(epoch, number)),
            Source::Memory(batches, order, at) => {
                assert!(number < batches.len(), "batch {number} of {}", batches.len());
                if *order != Some(epoch) {
                    batches.start(epoch);
                    *order = Some(epoch);
                }
                *at = number;
                Ok(())
            }
        }
    }

    /// The batch that was loaded last.
    ///
    /// # Panics
    /// No batch has been loaded, or the last one could not be.
    pub fn batch(&self) -> Batch<'_> {
        match &self.source {
            Source::Memory(batches, _, number) => {
                Batch { view: &self.view, positions: batches.batch(*number), lanes: &[] }
            }
            Source::File(lanes) => Batch { view: &self.view, positions: &[], lanes },
        }
    }
}

/// Rows from one that is gathered to one that is fetched meanwhile.
const AHEAD: usize = 3;

/// The rows of one batch.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    view: &'a View,
    /// Of rows in memory.
    positions: &'a [u32],
    /// Of rows in a file, else empty: row `r` is in lane `r % lanes`.
    lanes: &'a [Prefetch],
}

impl Batch<'_> {
    /// Number of rows, at least 1.
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        self.positions.len() + self.lanes.iter().map(Prefetch::rows).sum::<usize>()
    }

    /// The row number in the whole set of row `r` of the batch; see [`View::id`].
    ///
    /// # Panics
    /// A row that the batch does not have.
    pub fn id(&self, r: usize) -> usize {
        match self.lanes.len() {
            0 => self.view.id(self.positions[r] as usize),
            count => self.lanes[r % count].row(r / count).0,
        }
    }

    /// Writes the condition of row `r` of the batch. See [`View::gather_condition`].
    ///
    /// # Panics
    /// As [`View::gather_condition`].
    pub fn gather_condition<F: Element>(&self, r: usize, out: &mut [F]) {
        if !out.is_empty() {
            self.view.condition_of(self.id(r), out);
        }
    }
    /// The position in the view of row `r` of the batch, of rows in memory.
    ///
    /// # Panics
    /// A row that the batch does not have, or rows in a file, of which the row number alone is kept.
    pub fn position(&self, r: usize) -> usize {
        self.positions[r] as usize
    }

    /// Writes row `r` of the batch as numbers, `(cols)`. See [`Rows::gather`](super::Rows::gather).
    ///
    /// # Panics
    /// A row that the batch does not have, or an `out` whose length is not the number of columns.
    pub fn gather<F: Element>(&self, r: usize, out: &mut [F]) {
        match (self.lanes.len(), self.view.rows().file()) {
            (count @ 1.., Some(file)) => {
                assert_eq!(out.len(), self.view.cols(), "values of a row");
                let ((_, place, bytes), len) = (self.lanes[r % count].row(r / count), file.row_bytes());
                file.decode(&bytes[place * len..(place + 1) * len], out);
            }
            _ => {
                // Rows in order of a shuffle are far apart, and the next ones are known.
                if let Some(&next) = self.positions.get(r + AHEAD) {
                    self.view.rows().fetch(self.view.id(next as usize));
                }
                self.view.gather(self.positions[r] as usize, out);
            }
        }
    }
}
