//! The run folder: what is in it, that equal runs write equal bytes however often they are interrupted, and plain words
//! about whatever does not fit.
#![cfg(feature = "files")]

mod bad;
mod embed;
mod exemplar;
mod folder;
mod format;
mod hostile;
mod likelihoods;
mod matrix;
mod resume;
mod settings;
mod start;
mod streamed;
mod support;
