//! Nothing is lost: the program is killed at any moment, and each of its operations on files made to fail; what it had
//! written before stays, and the run goes on to the bytes of one that nothing happened to.
//!
//! `cargo test --test durability -- --ignored --nocapture` kills 200 times and lets every operation fail in every way.
#![cfg(all(feature = "cli", target_os = "linux"))]

mod faults;
mod kill;
mod outputs;
mod support;
