//! Pictures and tables of results, the same bytes for the same numbers.
//!
//! - [`grid`]: images side by side, and originals above their reconstructions.
//! - [`points`]: rows of a table as points in the plane, or as a heat map.
//! - [`curve`]: the loss by epoch.
//! - [`matrix`]: a matrix as what its path's ending says.

mod canvas;
pub mod curve;
pub mod grid;
pub mod matrix;
mod picture;
pub mod points;

/// Height, width and channels of an image; a row holds it in that order, the channels of a pixel side by side.
pub type ImageShape = (usize, usize, usize);
