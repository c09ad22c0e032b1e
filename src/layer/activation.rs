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
        Some(n) => n.parse().ok().filter(|x: &f64| x.is_finite() && *x > 0.0).ok_or_else(|| {
            Error::input(format!("{name} takes a positive number, not {n:?}")).hint(format!("{name}:{default}"))
        }),
    };
    let activation = match name {
        "leaky-relu" => return parameter(0.01).map(Activation::LeakyRelu),
        "elu" => return parameter(1.0).map(Activation::Elu),
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
