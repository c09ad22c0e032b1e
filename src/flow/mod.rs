//! Flows: invertible layers with a log-determinant.
//!
//! A flow takes rows through layers whose inverse and whose Jacobian's determinant are cheap, so that a simple density
//! at its end is an exact density at its start: log p(x) = log p(y) + log |dy/dx|, y = f(x).

mod coupling;

pub use coupling::CouplingFlow;
