//! Train and use variational autoencoders on a CPU: fast, exact, reproducible to the byte.
//!
//! ```
//! use elbo::train::{EpochReport, Flow};
//! use elbo::{Dataset, Exec, TrainConfig, Trainer};
//! use ndarray::Array2;
//!
//! let x = Array2::from_shape_fn((500, 8), |(i, j)| ((i * (j + 1)) % 7) as f32 / 7.0); // your rows, in [0, 1]
//! let config = TrainConfig { epochs: 3, ..TrainConfig::preset("mlp-one", 8)? };
//! let mut trainer = Trainer::new(config, Dataset::from_array(x.view())?, Exec::new(2)?)?;
//! trainer.run(&mut |e: &EpochReport| {
//!     println!("epoch {}: -ELBO {:.2} = {:.2} + {:.2}", e.epoch, e.train.neg_elbo, e.train.reconstruction, e.train.kl);
//!     Flow::Continue
//! })?;
//! let mut latents = Array2::<f32>::zeros((500, 20));
//! trainer.inference().encode_into(x.view(), latents.view_mut());
//! # assert!(latents.iter().all(|z| z.is_finite()) && latents[[0, 0]] != latents[[1, 0]]);
//! # Ok::<(), elbo::Error>(())
//! ```
//!
//! A type that implements [`Observer`](train::Observer) is called after every step as well.
//!
//! Without default features (`default-features = false`) this is all there is, on a handful of crates. The
//! feature `files` adds formats, run folders and pictures; `cli` the `elbo` program; `mnist` 10,000 digits.
//!
//! # A tour
//!
//! - [`tensor`]: parameters in one flat [`Slab`](tensor::Slab); noise that is a pure function of the seed.
//! - [`layer`]: forward and both halves of backward, side by side. [`density`]: likelihoods, the posterior, priors.
//!   [`estimator`]: the objective, a function of a few row terms. [`optim`]: what moves the parameters.
//! - [`model`]: where they meet. A [`Vae`](model::Vae) is a description; [`Params`](tensor::Params) are its numbers.
//! - [`data`]: rows from every format; splits, order and binarization as functions of the seed.
//! - [`train`]: the loop, with callbacks by step and by epoch.
//! - [`gradcheck`]: any derivative, yours too, against finite differences.
//!
//! The mathematics in one place, with z = μ + σε, ε ~ N(0, I), the reparameterized draw from q(z|x) = N(μ, σ²):
//!
//! ```text
//! −ELBO  = −E_q log p(x|z) + KL(q(z|x) ‖ p(z))  ≥  −log p(x)          estimator
//! KL     = Σⱼ ½ (μⱼ² + σⱼ² − 1 − log σⱼ²)                             density, of N(0, I)
//! ∂KL/∂μⱼ = μⱼ      ∂KL/∂log σⱼ² = ½ (σⱼ² − 1)
//! ∂z/∂μ  = 1        ∂zⱼ/∂log σⱼ² = ½ σⱼ εⱼ
//! dX = dY Wᵀ        dW = Xᵀ dY        db = Σ_rows dY                   layer, Y = X W + b
//! −log p(x) ≈ −log (1/K) Σₖ p(x|zₖ) p(zₖ) / q(zₖ|x)                    estimator, K draws
//! ```
//!
//! Sixteen walkthroughs (`COURSE.md`, feature `walk`) derive each line, print it and check it.
//!
//! The objective is in nats per example everywhere: −ELBO = reconstruction + KL, where reconstruction is −log p(x|z).
#![forbid(unsafe_code)]
#![warn(missing_docs)]

/// The README's example compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

#[cfg(feature = "cli")]
pub mod cli;
pub mod data;
pub mod density;
mod error;
pub mod estimator;
#[cfg(feature = "files")]
pub mod files;
pub mod flow;
pub mod gradcheck;
pub mod layer;
pub mod model;
pub mod nearest;
pub mod optim;
#[cfg(feature = "files")]
pub mod report;
pub mod task;
pub mod tensor;
pub mod train;

pub use data::Dataset;
pub use error::{Error, ErrorKind, Result};
pub use tensor::Exec;
pub use train::{TrainConfig, Trainer};
