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
//!
//! The force v' solves the same equations for g = v' where dZ = v and o = 1: a triangle, and its last latent is known first. A hidden
//! unit of degree d (see [`Mask`]) is fed by the latents before d and feeds those from d on, so that its dA is whole when latent d is,
//! and latent i has heard from all units that it feeds before its turn comes:
//!
//! ```text
//! from the last latent to the first      v'_i = (v_i − Σ_{deg > i} dA Wᵀ) / σ_i
//! ```
//!
//! Each weight is used once for each sample, as on the way back, and in bf16 too as it is, not rounded. Z of Z' is found from the first latent on, by a forward pass each.

use super::PosteriorFlow;
use crate::layer::{Activation, Cache, Dense, Gradient, InitScheme, Layer};
use crate::tensor::logistic::{sigmoid, softplus};
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

/// The flow's own buffers: a gradient of z, and, once a force was asked for, W' and W turned over, (2L, H) and (H, L).
const DZ: usize = 0;
const LEAVE: usize = 1;
const ENTER: usize = 2;

/// `matrix` of a slot with its rows and columns exchanged.
fn turn<F: Real>(p: &Params<F>, slot: Slot, matrix: &mut Buffer<F>) {
    let stride = matrix.flat(1).len();
    slot.panels().unpack(p.slot(&slot), [1, stride], matrix.flat_mut(slot.cols()));
}

/// `y += a x`
fn add_scaled<F: Real>(a: F, x: &[F], y: &mut [F]) {
    y.iter_mut().zip(x).for_each(|(y, &x)| *y += a * x);
}

impl Autoregressive {
    /// [m | s] of step k from the z in its cache.
    fn gates<F: Real>(&self, isa: Isa, p: &Params<F>, k: usize, many: usize, eta: Mat<F>, cache: &mut Cache<F>) {
        let (step, samples, none) = (&self.steps[k], many / eta.rows().max(1), &mut Cache::default());
        let [before, hidden, gates, _] = &mut cache.buffers[..] else { unreachable!("four buffers") };
        step.enter.forward(isa, p, before.rows(many), hidden, none);
        for r in 0..many {
            let context = &eta.row(r / samples)[k * self.width..][..self.width];
            hidden.rows_mut(many).row(r).iter_mut().zip(context).for_each(|(a, &c)| *a += c);
        }
        activation::forward(isa, ELU, hidden.flat_mut(many));
        lap(Stage::Activation, Some(&step.enter.weight()));
        step.leave.forward(isa, p, hidden.rows(many), gates, none);
    }
    /// Turns a row of ∂ log q/∂z into that of ∂ log q/∂z', by the way from z over the hidden layer to [m | s]. `turned` are W' and W,
    /// `d_hidden` is used up.
    fn force_row<F: Real>(
        &self,
        turned: [Mat<F>; 2],
        [z, hidden, gates]: [&[F]; 3],
        force: &mut [F],
        d_hidden: &mut [F],
    ) {
        let (latent, [leave, enter], (m, s)) = (self.latent, turned, gates.split_at(self.latent));
        d_hidden.fill(F::ZERO);
        for i in (0..latent).rev() {
            let gate = s[i].to_f64() + OPEN;
            let (keeps, takes) = (sigmoid(gate), sigmoid(-gate));
            let v = force[i].to_f64() / keeps;
            force[i] = F::from_f64(v);
            add_scaled(F::from_f64(v * takes), leave.row(i), d_hidden);
            let ds = (v * (z[i].to_f64() - m[i].to_f64()) * keeps + 1.0) * takes;
            add_scaled(F::from_f64(ds), leave.row(latent + i), d_hidden);
            for unit in (i..self.width).step_by(latent) {
                let slope = if hidden[unit] > F::ZERO { F::ONE } else { hidden[unit] + F::ONE };
                add_scaled(-(d_hidden[unit] * slope), &enter.row(unit)[..i], &mut force[..i]);
            }
        }
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
        let many = z.rows();
        for (k, cache) in cache.children.iter_mut().enumerate() {
            for r in 0..many {
                if k > 0 {
                    z.row(r).reverse();
                }
                cache.buffers[Z].rows_mut(many).row(r).copy_from_slice(z.row(r));
            }
            self.gates(isa, p, k, many, eta, cache);
            for (r, log_det) in log_det[..many].iter_mut().enumerate() {
                let (m, s) = cache.buffers[GATES].rows(many).row(r).split_at(self.latent);
                for ((z, m), s) in z.row(r).iter_mut().zip(m).zip(s) {
                    let s = s.to_f64() + OPEN;
                    *z = F::from_f64(sigmoid(s) * z.to_f64() + sigmoid(-s) * m.to_f64());
                    *log_det -= softplus(-s);
                }
            }
            lap(Stage::Latent, None);
        }
    }
    fn inverse(
        &self,
        isa: Isa,
        p: &Params<F>,
        eta: Mat<F>,
        mut z: MatMut<F>,
        log_det: &mut [f64],
        cache: &mut Cache<F>,
    ) {
        let many = z.rows();
        for (k, cache) in cache.children.iter_mut().enumerate().rev() {
            for r in 0..many {
                cache.buffers[Z].rows_mut(many).row(r).copy_from_slice(z.row(r));
            }
            // Wherever it starts, each pass finds one latent more.
            for _ in 0..self.latent {
                self.gates(isa, p, k, many, eta, cache);
                let [before, _, gates, _] = &mut cache.buffers[..] else { unreachable!("four buffers") };
                for r in 0..many {
                    let (m, s) = gates.rows(many).row(r).split_at(self.latent);
                    for (((before, z), m), s) in before.rows_mut(many).row(r).iter_mut().zip(z.row(r)).zip(m).zip(s) {
                        let s = s.to_f64() + OPEN;
                        *before = F::from_f64((z.to_f64() - sigmoid(-s) * m.to_f64()) / sigmoid(s));
                    }
                }
            }
            for (r, log_det) in log_det[..many].iter_mut().enumerate() {
                let (_, s) = cache.buffers[GATES].rows(many).row(r).split_at(self.latent);
                s.iter().for_each(|s| *log_det -= softplus(-(s.to_f64() + OPEN)));
                z.row(r).copy_from_slice(cache.buffers[Z].rows(many).row(r));
                if k > 0 {
                    z.row(r).reverse();
                }
            }
        }
    }
    fn force(&self, p: &Params<F>, _: Mat<F>, mut force: MatMut<F>, cache: &mut Cache<F>) {
        let many = force.rows();
        let Cache { buffers, children } = cache;
        if buffers.len() == LEAVE {
            // Once: plain gradients have no use for them.
            buffers.extend([(2 * self.latent, self.width), (self.width, self.latent)].map(|(r, c)| Buffer::new(r, c)));
        }
        for (k, (step, cache)) in self.steps.iter().zip(children).enumerate() {
            turn(p, step.leave.weight(), &mut buffers[LEAVE]);
            turn(p, step.enter.weight(), &mut buffers[ENTER]);
            let [before, hidden, gates, d_hidden] = &mut cache.buffers[..] else { unreachable!("four buffers") };
            let turned = [buffers[LEAVE].rows(2 * self.latent), buffers[ENTER].rows(self.width)];
            for r in 0..many {
                let (force, row) = (force.row(r), [&*before, &*hidden, &*gates].map(|buffer| buffer.rows(many).row(r)));
                if k > 0 {
                    force.reverse();
                }
                self.force_row(turned, row, force, d_hidden.rows_mut(many).row(r));
            }
        }
        lap(Stage::Latent, None);
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
            step.enter.backward_rows(isa, p, before.rows(many), spent, d_hidden, Some(&mut buffers[DZ]), none);
            for r in 0..many {
                dz.row(r).iter_mut().zip(buffers[DZ].rows(many).row(r)).for_each(|(dz, &d)| *dz += d);
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
