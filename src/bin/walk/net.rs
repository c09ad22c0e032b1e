//! A small dense network from nothing: forward, backward, Adam. For lessons about other models than the library's.

use rand::Rng;
use rand_distr::StandardNormal;

/// Dense layers with tanh between them. Parameters, gradients and moments are flat; a layer's are W (in, out), then b.
pub struct Net {
    widths: Vec<usize>,
    pub p: Vec<f64>,
    pub g: Vec<f64>,
    moments: Vec<[f64; 2]>,
    steps: i32,
}

/// What a forward pass leaves: every layer's output, (rows, width) each, the input first.
pub struct Trace {
    layers: Vec<Vec<f64>>,
}

impl Trace {
    pub fn output(&self) -> &[f64] {
        self.layers.last().map_or(&[], Vec::as_slice)
    }
}

impl Net {
    /// With Glorot's normal initialisation.
    pub fn new(widths: &[usize], rng: &mut impl Rng) -> Net {
        let mut p = Vec::new();
        for w in widths.windows(2) {
            let deviation = (2.0 / (w[0] + w[1]) as f64).sqrt();
            p.extend((0..w[0] * w[1]).map(|_| deviation * rng.sample::<f64, _>(StandardNormal)));
            p.extend(std::iter::repeat_n(0.0, w[1]));
        }
        let n = p.len();
        Net { widths: widths.to_vec(), p, g: vec![0.0; n], moments: vec![[0.0; 2]; n], steps: 0 }
    }
    /// Each layer's inputs, outputs, and where its parameters start.
    fn layers(&self) -> Vec<(usize, usize, usize)> {
        let mut at = 0;
        let layer = |w: &[usize]| {
            at += w[0] * w[1] + w[1];
            (w[0], w[1], at - w[0] * w[1] - w[1])
        };
        self.widths.windows(2).map(layer).collect()
    }
    /// Y = tanh(X W + b), layer by layer; the last is linear.
    pub fn forward(&self, x: &[f64]) -> Trace {
        let mut trace = Trace { layers: vec![x.to_vec()] };
        let layers = self.layers();
        for (l, &(inputs, outputs, at)) in layers.iter().enumerate() {
            let (w, b) = self.p[at..at + (inputs + 1) * outputs].split_at(inputs * outputs);
            let mut y = Vec::with_capacity(trace.layers[l].len() / inputs * outputs);
            for x in trace.layers[l].chunks_exact(inputs) {
                let start = y.len();
                y.extend_from_slice(b);
                for (x, w) in x.iter().zip(w.chunks_exact(outputs)) {
                    y[start..].iter_mut().zip(w).for_each(|(y, w)| *y += x * w);
                }
            }
            if l + 1 < layers.len() {
                y.iter_mut().for_each(|y| *y = y.tanh());
            }
            trace.layers.push(y);
        }
        trace
    }
    /// Adds the parameters' gradients to `g` and returns the input's: dA = dY (1 − Y²), dW = Xᵀ dA, db = Σ dA, dX = dA Wᵀ.
    pub fn backward(&mut self, trace: &Trace, dy: &[f64]) -> Vec<f64> {
        let (layers, mut d) = (self.layers(), dy.to_vec());
        for (l, &(inputs, outputs, at)) in layers.iter().enumerate().rev() {
            if l + 1 < layers.len() {
                d.iter_mut().zip(&trace.layers[l + 1]).for_each(|(d, y)| *d *= 1.0 - y * y);
            }
            let w = &self.p[at..at + inputs * outputs];
            let (dw, db) = self.g[at..at + (inputs + 1) * outputs].split_at_mut(inputs * outputs);
            let mut dx = Vec::with_capacity(trace.layers[l].len());
            for (x, d) in trace.layers[l].chunks_exact(inputs).zip(d.chunks_exact(outputs)) {
                db.iter_mut().zip(d).for_each(|(db, d)| *db += d);
                for ((x, dw), w) in x.iter().zip(dw.chunks_exact_mut(outputs)).zip(w.chunks_exact(outputs)) {
                    dw.iter_mut().zip(d).for_each(|(dw, d)| *dw += x * d);
                    dx.push(w.iter().zip(d).map(|(w, d)| w * d).sum());
                }
            }
            d = dx;
        }
        d
    }
    /// One step of Adam (Kingma and Ba 2015) by `g`, which is set to zero.
    pub fn adam(&mut self, rate: f64, [first, second]: [f64; 2]) {
        self.steps += 1;
        let (c1, c2) = (1.0 - first.powi(self.steps), 1.0 - second.powi(self.steps));
        for ((p, g), [m, v]) in self.p.iter_mut().zip(&mut self.g).zip(&mut self.moments) {
            *m += (1.0 - first) * (*g - *m);
            *v += (1.0 - second) * (*g * *g - *v);
            *p -= rate * (*m / c1) / ((*v / c2).sqrt() + 1e-8);
            *g = 0.0;
        }
    }
}
