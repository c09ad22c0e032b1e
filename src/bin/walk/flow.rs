//! A coupling flow in the plane from nothing: exact densities by an invertible network.

use super::net::Net;
use rand::Rng;

/// Points of the plane.
pub type Points = Vec<[f64; 2]>;

pub const LOG_TAU: f64 = 1.837_877_066_409_345_5;

/// Rows of two numbers as points.
pub fn pairs(flat: &[f64]) -> Points {
    flat.chunks_exact(2).map(|p| [p[0], p[1]]).collect()
}

/// Affine couplings (Dinh et al. 2017, section 3.2): one coordinate passes, the other is scaled and shifted by functions of it.
///
/// ```text
/// y_a = x_a        y_b = x_b e^{s(x_a)} + t(x_a)        log |dy/dx| = s        s = 2 tanh(raw)
/// dx_b = dy_b e^s        ds = dy_b x_b e^s + dlog        dt = dy_b        dx_a = dy_a + what the network passes back
/// ```
pub struct Flow {
    pub layers: Vec<Net>,
}

/// The coordinate that passes through layer `l`, and the one that changes.
fn roles(l: usize) -> (usize, usize) {
    (l % 2, 1 - l % 2)
}

impl Flow {
    pub fn new(layers: usize, hidden: usize, rng: &mut impl Rng) -> Flow {
        Flow { layers: (0..layers).map(|_| Net::new(&[1, hidden, 2], rng)).collect() }
    }
    /// The mean of −log p(x) = ½|z|² + log 2π − Σ s over rows, and its gradient into the networks.
    pub fn loss_grad(&mut self, x: &[f64]) -> f64 {
        let rows = x.len() / 2;
        let (mut y, mut kept, mut log) = (pairs(x), Vec::new(), 0.0);
        for (l, net) in self.layers.iter().enumerate() {
            let (a, b) = roles(l);
            let trace = net.forward(&y.iter().map(|y| y[a]).collect::<Vec<_>>());
            kept.push((trace, y.clone()));
            let (trace, _) = &kept[l];
            for (y, st) in y.iter_mut().zip(trace.output().chunks_exact(2)) {
                let s = 2.0 * st[0].tanh();
                y[b] = y[b] * s.exp() + st[1];
                log += s;
            }
        }
        let square: f64 = y.iter().map(|y| y[0] * y[0] + y[1] * y[1]).sum();
        let weight = 1.0 / rows as f64;
        let mut d: Points = y.iter().map(|y| [weight * y[0], weight * y[1]]).collect();
        for (l, (trace, x)) in kept.iter().enumerate().rev() {
            let (a, b) = roles(l);
            let mut slopes = Vec::with_capacity(2 * rows);
            for ((d, x), st) in d.iter_mut().zip(x).zip(trace.output().chunks_exact(2)) {
                let (s, grown) = (2.0 * st[0].tanh(), (2.0 * st[0].tanh()).exp());
                let ds = d[b] * x[b] * grown - weight;
                slopes.extend([ds * (2.0 - 0.5 * s * s), d[b]]);
                d[b] *= grown;
            }
            let passed = self.layers[l].backward(trace, &slopes);
            d.iter_mut().zip(passed).for_each(|(d, p)| d[a] += p);
        }
        weight * (0.5 * square - log) + LOG_TAU
    }
    /// z of x and log p(x), by row.
    pub fn log_prob(&self, x: &Points) -> Vec<(f64, [f64; 2])> {
        let one = |x: &[f64; 2]| {
            let (mut y, mut log) = (*x, 0.0);
            for (l, net) in self.layers.iter().enumerate() {
                let (a, b) = roles(l);
                let trace = net.forward(&[y[a]]);
                let s = 2.0 * trace.output()[0].tanh();
                y[b] = y[b] * s.exp() + trace.output()[1];
                log += s;
            }
            (log - 0.5 * (y[0] * y[0] + y[1] * y[1]) - LOG_TAU, y)
        };
        x.iter().map(one).collect()
    }
    /// x of z: the layers backwards.
    pub fn inverse(&self, z: &Points) -> Points {
        let one = |z: &[f64; 2]| {
            let mut y = *z;
            for (l, net) in self.layers.iter().enumerate().rev() {
                let (a, b) = roles(l);
                let trace = net.forward(&[y[a]]);
                y[b] = (y[b] - trace.output()[1]) * (-2.0 * trace.output()[0].tanh()).exp();
            }
            y
        };
        z.iter().map(one).collect()
    }
    pub fn values(&self) -> Vec<f64> {
        self.layers.iter().flat_map(|n| n.p.clone()).collect()
    }
    pub fn set(&mut self, values: &[f64]) {
        let mut values = values.iter();
        for net in &mut self.layers {
            net.p.iter_mut().zip(&mut values).for_each(|(p, v)| *p = *v);
            net.g.fill(0.0);
        }
    }
}
