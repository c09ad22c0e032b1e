//! How parameters start.

use ndarray::Array2;
use ndarray_rand::RandomExt;
use rand::Rng;
use rand_distr::{Normal, Uniform};

/// The distribution that a parameter's initial values are drawn from. `fan_in` and `fan_out` are the inputs and
/// outputs of the layer it belongs to.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Init {
    /// A constant.
    Constant(f64),
    /// Uniform in ±bound.
    Uniform(f64),
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
}

/// A named scheme: which [`Init`] a dense layer's weight and bias get.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum InitScheme {
    /// PyTorch's default for a linear layer: weight and bias uniform in ±1/√fan_in.
    #[default]
    Torch,
    /// Glorot and Bengio (2010), eq. 16: weight uniform in ±√(6 / (fan_in + fan_out)), bias 0.
    Glorot,
    /// He et al. (2015), eq. 10: weight normal with variance 2 / fan_in, bias 0.
    He,
}

impl InitScheme {
    /// Every scheme, with its name in configurations.
    pub const ALL: [(&'static str, InitScheme); 3] =
        [("torch", InitScheme::Torch), ("glorot", InitScheme::Glorot), ("he", InitScheme::He)];

    /// The weight's and the bias's distribution for a layer of `fan_in` inputs and `fan_out` outputs.
    pub fn dense(self, fan_in: usize, fan_out: usize) -> (Init, Init) {
        let (i, o) = (fan_in.max(1) as f64, fan_out as f64);
        match self {
            InitScheme::Torch => (Init::Uniform(i.sqrt().recip()), Init::Uniform(i.sqrt().recip())),
            InitScheme::Glorot => (Init::Uniform((6.0 / (i + o)).sqrt()), Init::Constant(0.0)),
            InitScheme::He => (Init::Normal((2.0 / i).sqrt()), Init::Constant(0.0)),
        }
    }
}

impl Init {
    /// `rows × cols` values.
    pub(crate) fn draw(self, rows: usize, cols: usize, rng: &mut impl Rng) -> Array2<f32> {
        match self {
            Init::Constant(c) => Array2::from_elem((rows, cols), c as f32),
            Init::Uniform(b) => match Uniform::new_inclusive(-b as f32, b as f32) {
                Ok(uniform) => Array2::random_using((rows, cols), uniform, rng),
                Err(_) => panic!("an initial bound of {b}"),
            },
            Init::Normal(sd) => match Normal::new(0.0, sd as f32) {
                Ok(normal) => Array2::random_using((rows, cols), normal, rng),
                Err(_) => panic!("an initial deviation of {sd}"),
            },
        }
    }
}
