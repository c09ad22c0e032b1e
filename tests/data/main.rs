//! Data: every format there and back, every kind of bad input, splits, order, binarization, and the known sets.

#[cfg(feature = "files")]
mod bad_input;
mod fixtures;
#[cfg(feature = "files")]
mod formats;
mod known;
mod light;
#[cfg(feature = "files")]
mod odd_files;
#[cfg(feature = "files")]
mod round_trips;
mod seeded;
mod streamed;
