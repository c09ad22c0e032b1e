//! Data: every format there and back, every kind of bad input, splits, order, binarization, and the known sets.

#[cfg(feature = "files")]
mod bad_input;
mod fixtures;
#[cfg(feature = "files")]
mod formats;
mod known;
mod light;
mod seeded;
mod streamed;
