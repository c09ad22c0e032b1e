//! The program as a person runs it: in folders of its own, by its arguments, its exit status and its files.
#![cfg(all(feature = "cli", feature = "mnist", unix))]

mod belong;
mod exchange;
mod hostile;
mod mistakes;
mod options;
mod same_bytes;
mod signals;
mod support;
mod workflow;
