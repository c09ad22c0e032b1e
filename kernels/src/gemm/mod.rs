//! Matrix products. One micro-tile, four callers: rows times packed weights, a tile of a weight's gradient, such a tile
//! with the optimizer's update in it, and the general product in four transpositions.
//!
//! Each output element is one chain of fused multiply-adds in the order of `k`, starting at `+0.0` or, with
//! [`Accum::Add`], at what is there; a bias is added last. Blocks, tiles and threads only decide when a part of a
//! chain is computed, never its order, so none of them changes a bit. Of bf16 operands a step of the chain takes two
//! products, as [`dot2`](crate::half::dot2) says.

mod general;
mod gradient;
mod product;
mod rows;
mod tile;

pub use general::{Transpose, gemm, gemm_scratch};
pub use gradient::{adam_tile, gradient_tile};
pub use rows::{rows_product, rows_product_half};
pub use tile::Operand;

/// Whether a product replaces what is in its output or continues from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accum {
    /// `C = A B`
    Replace,
    /// `C = C + A B`, the chain starting at `C`
    Add,
}
