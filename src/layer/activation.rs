//! Activations by name.

use super::Activation;
use crate::error::{Error, Result};

/// The names that [`parse_activation`] knows.
pub const ACTIVATIONS: [&str; 8] = ["identity", "relu", "tanh", "sigmoid", "softplus", "gelu", "leaky-relu", "elu"];

/// The activation of a name: `relu`, `tanh`, `sigmoid`, `softplus`, `gelu` (the exact one), `identity`,
/// `leaky-relu` or `leaky-relu:SLOPE` (0.01), `elu` or `elu:ALPHA` (1).
///
/// ```
/// use elbo::layer::{Activation, parse_activation};
/// assert_eq!(parse_activation("leaky-relu:0.2")?, Activation::LeakyRelu(0.2));
/// assert!(parse_activation("rleu").unwrap_err().to_string().contains("relu"));
/// # Ok::<(), elbo::Error>(())
/// ```
///
/// # Errors
/// When there is none of that name, or its number is not positive.
pub fn parse_activation(text: &str) -> Result<Activation> {
    let (name, number) = match text.split_once(':') {
        Some((name, number)) => (name, Some(number)),
        None => (text, None),
    };
    let parameter = |default: f64| match number {
        None => Ok(default),
        Some(n) => n.parse().map_err(|_| needs_positive(name, n, default)),
    };
    let parametric = |activation| check_activation(activation).map(|()| activation);
    let activation = match name {
        "leaky-relu" => return parametric(Activation::LeakyRelu(parameter(0.01)?)),
        "elu" => return parametric(Activation::Elu(parameter(1.0)?)),
        "identity" => Activation::Identity,
        "relu" => Activation::Relu,
        "tanh" => Activation::Tanh,
        "sigmoid" => Activation::Sigmoid,
        "softplus" => Activation::Softplus,
        "gelu" => Activation::Gelu,
        _ => return Err(crate::nearest::unknown("activation", name, &ACTIVATIONS)),
    };
    match number {
        None => Ok(activation),
        Some(n) => Err(Error::input(format!("{name} takes no number, {n:?} was given")).hint(format!("write {name}"))),
    }
}

/// Whether an activation's number, if it has one, is positive.
///
/// # Errors
/// When it is not.
pub fn check_activation(activation: Activation) -> Result<()> {
    match activation {
        Activation::LeakyRelu(x) if !(x.is_finite() && x > 0.0) => Err(needs_positive("leaky-relu", x, 0.01)),
        Activation::Elu(x) if !(x.is_finite() && x > 0.0) => Err(needs_positive("elu", x, 1.0)),
        _ => Ok(()),
    }
}

fn needs_positive(name: &str, found: impl std::fmt::Display, default: f64) -> Error {
    Error::input(format!("{name} takes a positive number, not {found}")).hint(format!("{name}:{default}"))
}

/// The name of an activation, which [`parse_activation`] reads back to the same.
///
/// ```
/// use elbo::layer::{Activation, activation_name};
/// assert_eq!(activation_name(Activation::LeakyRelu(0.2)), "leaky-relu:0.2");
/// ```
pub fn activation_name(activation: Activation) -> String {
    match activation {
        Activation::Identity => "identity".into(),
        Activation::Relu => "relu".into(),
        Activation::Tanh => "tanh".into(),
        Activation::Sigmoid => "sigmoid".into(),
        Activation::Softplus => "softplus".into(),
        Activation::Gelu => "gelu".into(),
        Activation::LeakyRelu(slope) => format!("leaky-relu:{slope:?}"),
        Activation::Elu(alpha) => format!("elu:{alpha:?}"),
    }
}
