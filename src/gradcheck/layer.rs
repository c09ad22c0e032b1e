//! Any layer: the gradients of its input and of each of its parameters.

use super::{Check, Value, check_coordinates};
use crate::layer::{Layer, Sides};
use crate::tensor::{Buffer, Isa, Layout, Noise, Par, Params, Slot, Stream};
use ndarray::Array2;
use rand::Rng;
use rand_distr::StandardNormal;

/// Checks a layer by every coordinate of its input (`rows` rows of standard normal values) and of its parameters, on the
/// loss `Σ c ⊙ y` with random c.
///
/// ```
/// use elbo::gradcheck::check_layer;
/// use elbo::layer::{Activation, Dense, InitScheme};
/// use elbo::tensor::Layout;
/// let mut layout = Layout::new();
/// let layer = Dense::new(&mut layout, 3, 2, Activation::Gelu, InitScheme::Torch);
/// assert!(check_layer(&layer, &layout, 4, 7).iter().all(|check| check.passed()));
/// ```
pub fn check_layer(layer: &dyn Layer<f64>, layout: &Layout, rows: usize, seed: u64) -> Vec<Check> {
    let noise = Noise::new(seed);
    let normal = |which: u64, rows: usize, cols: usize| {
        let mut rng = noise.rng(Stream::Check, which, 0, 0);
        Array2::from_shape_simple_fn((rows, cols), || rng.sample::<f64, _>(StandardNormal))
    };
    let (x, c) = (normal(0, rows, layer.inputs()), normal(1, rows, layer.outputs()));
    let mut params = Params::init(layout, &noise);
    let mut run = Run::new(layer, rows);

    let (dx, grads) = run.gradients(layout, &params, &x, &c);
    let mut checks = vec![check_coordinates("input", &flat(&x), &flat(&dx), |at| {
        let x = Array2::from_shape_vec(x.raw_dim(), at.to_vec()).expect("the input's shape");
        run.loss(&params, &x, &c)
    })];
    for (entry, gradient) in layout.entries().iter().zip(&grads) {
        let start = flat(&params.values().unpack(&entry.slot));
        checks.push(check_coordinates(&entry.name, &start, gradient, |at| {
            params.values_mut().pack(&entry.slot, at);
            params.refresh(Par::Sequential);
            run.loss(&params, &x, &c)
        }));
        params.values_mut().pack(&entry.slot, &start);
        params.refresh(Par::Sequential);
    }
    checks
}

fn flat(m: &Array2<f64>) -> Vec<f64> {
    m.iter().copied().collect()
}

/// A layer with its memory.
struct Run<'a> {
    layer: &'a dyn Layer<f64>,
    cache: crate::layer::Cache<f64>,
    x: Buffer<f64>,
    y: Buffer<f64>,
    rows: usize,
}

impl<'a> Run<'a> {
    fn new(layer: &'a dyn Layer<f64>, rows: usize) -> Self {
        let (x, y) = (Buffer::new(rows, layer.inputs()), Buffer::new(rows, layer.outputs()));
        Run { layer, cache: layer.cache(rows), x, y, rows }
    }

    fn loss(&mut self, params: &Params<f64>, x: &Array2<f64>, c: &Array2<f64>) -> Value {
        self.x.view_mut(self.rows).assign(x);
        self.layer.forward(Isa::default(), params, self.x.rows(self.rows), &mut self.y, &mut self.cache);
        let mut sides = Sides::default();
        self.layer.kinks(self.rows, &self.y, &self.cache, &mut sides);
        ((&self.y.view(self.rows) * c).sum(), sides)
    }

    /// The input's gradient, and each parameter's in file order (out, in).
    fn gradients(
        &mut self,
        layout: &Layout,
        params: &Params<f64>,
        x: &Array2<f64>,
        c: &Array2<f64>,
    ) -> (Array2<f64>, Vec<Vec<f64>>) {
        self.loss(params, x, c);
        let (n, mut dy) = (self.rows, Buffer::new(self.rows, self.layer.outputs()));
        let mut dx = Buffer::new(n, self.layer.inputs());
        dy.view_mut(n).assign(c);
        let x = self.x.rows(n);
        self.layer.backward_rows(Isa::default(), params, x, &self.y, &mut dy, Some(&mut dx), &mut self.cache);
        let of = |slot: Slot| match self.layer.gradient(slot, x, dy.rows(n), &self.cache) {
            Some(gradient) => flat(&gradient.to_array()),
            None => panic!("parameter {} does not belong to the layer", slot.index()),
        };
        (dx.view(n).to_owned(), layout.entries().iter().map(|e| of(e.slot)).collect())
    }
}
