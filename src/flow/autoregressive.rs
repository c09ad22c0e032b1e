//! Inverse autoregressive flows (Kingma, Salimans, Jozefowicz, Chen, Sutskever and Welling 2016, arXiv:1606.04934, eq. 10–14 and
//! algorithm 1).
//!
//! ```text
//! Y = elu(Z W + b + c_k)      [m | s] = Y W' + b'      σ = sigmoid(s + 2)      by step k, W and W' masked
//! Z' = σ ⊙ Z + (1 − σ) ⊙ m                             log det = Σ_i log σ_i
//! ```
//!
//! The masks (see [`Mask`]) let m_i and s_i depend on the latents before i alone, so the Jacobian is a triangle with σ on its
//! diagonal, and all latents are computed at once. Before every step but the first the order of latents is reversed. c_k (B, H)
//! is step k's share of the encoder's head: the context, a linear map of the encoder's last hidden layer, is added where z enters,
//! and costs a product for each row instead of one for each sample. The 2 opens the gate at the start (the paper's section 4: s around
//! +1 to +2), so that the flow begins near the identity.
//!
//! Backward, with g the gradient of Z' and o the derivative by the log-determinant:
//!
//! ```text
//! dm = g ⊙ (1 − σ)      ds = (g ⊙ (Z − m) ⊙ σ + o) ⊙ (1 − σ)      dY = [dm | ds] W'ᵀ      dA = dY ⊙ elu'      dc_k = Σ_samples dA
//! dZ = g ⊙ σ + dA Wᵀ     dW = Zᵀ dA      dW' = Yᵀ [dm | ds]
//! ```

use super::{PosteriorFlow, sigmoid, softplus};
use crate::layer::{Activation, Cache, Dense, Gradient, InitScheme, Layer};
use crate::tensor::profile::{Stage, lap};
use crate::tensor::{Buffer, Isa, Layout, Mask, Mat, MatMut, Params, Real, Slot};
use elbo_kernels::activation;

/// The activation of the paper's networks.
const ELU: Activation = Activation::Elu(1.0);

/// What is added to s.
const OPEN: f64 = 2.0;

/// K inverse autoregressive flows over L latents, by a masked network of one hidden layer each.
#[derive(Clone, Debug)]
pub struct Autoregressive {
    latent: usize,
    width: usize,
    steps: Vec<Step>,
}

/// From z to the hidden layer, and from there to m and s.
#[derive(Clone, Debug)]
struct Step {
    enter: Dense,
    leave: Dense,
}

/// A step's buffers: z that went in, the hidden layer, [m | s] and later its gradient, the hidden layer's gradient.
const Z: usize = 0;
const HIDDEN: usize = 1;
const GATES: usize = 2;
const D_HIDDEN: usize = 3;

impl Autoregressive {
    /// `steps` flows over `latent` latents with `width` hidden units each: adds `k.enter` and `k.leave`, a weight and a bias each,
    /// to the layout. Panics when there are none of any.
    pub fn new(layout: &mut Layout, latent: usize, width: usize, steps: usize, init: InitScheme) -> Self {
        assert!(latent > 0 && width > 0 && steps > 0, "{steps} flows over {latent} latents by {width} units");
        let mut dense = |step: usize, name: &str, inputs, outputs, mask| {
            let linear = |l: &mut Layout| Dense::masked(l, inputs, outputs, Activation::Identity, init, mask);
            layout.scope(step, |l| l.scope(name, linear))
        };
        let step = |k| Step {
            enter: dense(k, "enter", latent, width, Mask::Enter(latent)),
            leave: dense(k, "leave", width, 2 * latent, Mask::Leave(latent)),
        };
        Autoregressive { latent, width, steps: (0..steps).map(step).collect() }
    }
}

impl<F: Real> PosteriorFlow<F> for Autoregressive {
    fn latent(&self) -> usize {
        self.latent
    }
    fn eta_cols(&self) -> usize {
        self.steps.len() * self.width
    }
    /// A child for each step; and one gradient of z.
    fn cache(&self, rows: usize) -> Cache<F> {
        let widths = [self.latent, self.width, 2 * self.latent, self.width];
        let step = |_| Cache { buffers: widths.map(|cols| Buffer::new(rows, cols)).into(), children: vec![] };
        Cache { buffers: vec![Buffer::new(rows, self.latent)], children: (0..self.steps.len()).map(step).collect() }
    }
    fn forward(
        &self,
        isa: Isa,
        p: &Params<F>,
        eta: Mat<F>,
        mut z: MatMut<F>,
        log_det: &mut [f64],
        cache: &mut Cache<F>,
    ) {
        let (many, samples) = (z.rows(), z.rows() / eta.rows().max(1));
        let none = &mut Cache::default();
        for (k, (step, cache)) in self.steps.iter().zip(&mut cache.children).enumerate() {
            let [before, hidden, gates, _] = &mut cache.buffers[..] else { unreachable!("four buffers") };
            for r in 0..many {
                if k > 0 {
                    z.row(r).reverse();
                }
                before.rows_mut(many).row(r).copy_from_slice(z.row(r));
            }
            step.enter.forward(isa, p, before.rows(many), hidden, none);
            for r in 0..many {
                let context = &eta.row(r / samples)[k * self.width..][..self.width];
                hidden.rows_mut(many).row(r).iter_mut().zip(context).for_each(|(a, &c)| *a += c);
            }
            activation::forward(isa, ELU, hidden.flat_mut(many));
            lap(Stage::Activation, Some(&step.enter.weight()));
            step.leave.forward(isa, p, hidden.rows(many), gates, none);
            for (r, log_det) in log_det[..many].iter_mut().enumerate() {
                let (m, s) = gates.rows(many).row(r).split_at(self.latent);
                for ((z, m), s) in z.row(r).iter_mut().zip(m).zip(s) {
                    let s = s.to_f64() + OPEN;
                    *z = F::from_f64(sigmoid(s) * z.to_f64() + sigmoid(-s) * m.to_f64());
                    *log_det -= softplus(-s);
                }
            }
            lap(Stage::Latent, None);
        }
    }
    fn backward_rows(
        &self,
        isa: Isa,
        p: &Params<F>,
        eta: Mat<F>,
        mut dz: MatMut<F>,
        weights: &[F],
        mut deta: MatMut<F>,
        cache: &mut Cache<F>,
    ) {
        let (many, samples) = (dz.rows(), dz.rows() / eta.rows().max(1));
        // Linear layers never look at what they gave.
        let (none, spent) = (&mut Cache::default(), &Buffer::default());
        let Cache { buffers, children } = cache;
        for (k, (step, cache)) in self.steps.iter().zip(children).enumerate().rev() {
            let [before, hidden, gates, d_hidden] = &mut cache.buffers[..] else { unreachable!("four buffers") };
            for (r, weight) in weights[..many].iter().enumerate() {
                let mut gates = gates.rows_mut(many);
                let (m, s) = gates.row(r).split_at_mut(self.latent);
                let (z, of_log_det) = (before.rows(many).row(r), -weight.to_f64());
                for (((g, m), s), z) in dz.row(r).iter_mut().zip(m).zip(s).zip(z) {
                    let (d, gate) = (g.to_f64(), s.to_f64() + OPEN);
                    let (keeps, takes) = (sigmoid(gate), sigmoid(-gate));
                    *s = F::from_f64((d * (z.to_f64() - m.to_f64()) * keeps + of_log_det) * takes);
                    *m = F::from_f64(d * takes);
                    *g = F::from_f64(d * keeps);
                }
            }
            lap(Stage::Latent, None);
            step.leave.backward_rows(isa, p, hidden.rows(many), spent, gates, Some(d_hidden), none);
            activation::backward(isa, ELU, hidden.flat(many), d_hidden.flat_mut(many));
            for r in 0..many {
                let context = &mut deta.row(r / samples)[k * self.width..][..self.width];
                context.iter_mut().zip(d_hidden.rows(many).row(r)).for_each(|(dc, &da)| *dc += da);
            }
            lap(Stage::Activation, Some(&step.enter.weight()));
            step.enter.backward_rows(isa, p, before.rows(many), spent, d_hidden, Some(&mut buffers[0]), none);
            for r in 0..many {
                dz.row(r).iter_mut().zip(buffers[0].rows(many).row(r)).for_each(|(dz, &d)| *dz += d);
                if k > 0 {
                    dz.row(r).reverse();
                }
            }
            lap(Stage::Latent, None);
        }
    }
    fn gradient<'a>(&self, slot: Slot, rows: usize, cache: &'a Cache<F>) -> Option<Gradient<'a, F>> {
        self.steps.iter().zip(&cache.children).find_map(|(step, cache)| {
            let of = |buffer: usize| cache.buffers[buffer].rows(rows);
            let enter = step.enter.gradient(slot, of(Z), of(D_HIDDEN), cache);
            enter.or_else(|| step.leave.gradient(slot, of(HIDDEN), of(GATES), cache))
        })
    }
}
