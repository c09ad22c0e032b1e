//! Data: where rows come from, how they are split, ordered, and gathered into batches.
//!
//! A set is in memory once, bytes as bytes, or stays in its file if it is larger than memory; splits are lists of row numbers, and a batch becomes numbers while it is
//! gathered. Splits, order and binarization are pure functions of the seed. Rows and columns count from 0.
//!
//! ```
//! use elbo::data::{Batches, Dataset, Validation};
//! use elbo::tensor::Noise;
//!
//! let data = elbo::data::load("gaussian-2d")?.with_validation(Validation::Fraction(0.1), 7)?;
//! let train = data.train();
//! let mut batches = Batches::new(train.len(), 128, Noise::new(7))?;
//! batches.start(0);
//! let batch = batches.batch(0);
//! let mut x = vec![0.0f32; batch.len() * train.cols()];
//! train.gather_batch(batch, &mut x);
//! # Ok::<(), elbo::Error>(())
//! ```

mod binarize;
mod condition;
mod conditioned;
mod dataset;
mod feed;
mod labels;
mod memory;
mod order;
mod prefetch;
mod row_file;
mod rows;
mod source;
mod view;

pub use binarize::Binarize;
pub use condition::{Condition, ConditionColumns, Field};
pub use dataset::{Dataset, Split, Validation};
pub use feed::{Batch, Feed};
pub use labels::Labels;
pub use memory::Memory;
pub(crate) use memory::expect_memory;
pub use order::{Batches, shuffle};
pub use rows::{ImageShape, Rows};
pub use source::{KNOWN, load, load_beside, load_in, load_labels, load_within};
pub use view::View;
