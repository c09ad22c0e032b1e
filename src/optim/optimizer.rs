//! One step of an optimizer, on every thread of the pool.

use super::{CHUNK, OptimizerConfig, OptimizerKind, middle};
use crate::error::{Error, Result};
use crate::tensor::profile::{Stage, lap, start};
use crate::tensor::{Isa, Layout, Par, Real, Slab};
use elbo_kernels::Element;
use elbo_kernels::update::{self, AdamStep, SgdStep};

/// An optimizer with its state: nothing, one slab or two, and the number of steps taken.
///
/// ```
/// use elbo::layer::Init;
/// use elbo::optim::{Optimizer, OptimizerConfig};
/// use elbo::tensor::{Isa, Layout, Par, Slab};
/// let mut layout = Layout::new();
/// let slot = layout.vector("x", 1, Init::Constant(0.0));
/// let (mut params, mut grads) = (Slab::<f64>::zeros(&layout), Slab::zeros(&layout));
/// let mut optimizer = Optimizer::new(&OptimizerConfig::adam(0.1, 1e-8), &layout)?;
/// for _ in 0..500 {
///     grads.set(&slot, 0, 0, 2.0 * (params.get(&slot, 0, 0) - 3.0)); // of (x − 3)²
///     optimizer.step(Isa::default(), Par::Sequential, &mut params, &grads, 0.1);
/// }
/// assert!((params.get(&slot, 0, 0) - 3.0).abs() < 1e-3);
/// # Ok::<(), elbo::Error>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct Optimizer<F> {
    config: OptimizerConfig,
    names: &'static [&'static str],
    state: Vec<Slab<F>>,
    steps: u64,
}

/// A counter beyond this is no count: f64, in which Adam's corrections are computed, has no larger integers.
const MOST_STEPS: u64 = 1 << 53;

fn damaged(what: String) -> Error {
    Error::input(what).hint("the checkpoint is damaged; start from an earlier one")
}

/// One step's arithmetic on pieces of slabs.
#[derive(Clone, Copy)]
enum Step {
    Adam(AdamStep),
    Sgd(SgdStep),
}

impl<F: Real> Optimizer<F> {
    /// An optimizer that has taken no step yet.
    ///
    /// # Errors
    /// As [`OptimizerConfig::check`].
    pub fn new(config: &OptimizerConfig, layout: &Layout) -> Result<Self> {
        config.check()?;
        let names: &[&str] = match config.kind {
            OptimizerKind::Adam | OptimizerKind::AdamW => &["exp_avg", "exp_avg_sq"],
            OptimizerKind::Sgd if config.momentum > 0.0 => &["momentum_buffer"],
            OptimizerKind::Sgd => &[],
        };
        let state = names.iter().map(|_| Slab::zeros(layout)).collect();
        Ok(Optimizer { config: *config, names, state, steps: 0 })
    }
    /// Its hyper-parameters.
    pub fn config(&self) -> &OptimizerConfig {
        &self.config
    }
    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }
    /// Its state by PyTorch's names: `exp_avg` and `exp_avg_sq` of Adam, `momentum_buffer` of SGD with momentum.
    pub fn state(&self) -> Vec<(&'static str, &Slab<F>)> {
        self.names.iter().copied().zip(&self.state).collect()
    }
    /// Fills the state from a checkpoint: the number of steps, and `slab(name, state)` for each part of it.
    ///
    /// # Errors
    /// Whatever `slab` returns; a state that is not finite, or with a negative second moment; more steps than any run has.
    pub fn restore(&mut self, steps: u64, mut slab: impl FnMut(&str, &mut Slab<F>) -> Result<()>) -> Result<()> {
        for (name, state) in self.names.iter().zip(&mut self.state) {
            slab(name, state)?;
            let wrong = |x: &F| !Element::is_finite(*x) || (*name == "exp_avg_sq" && *x < F::ZERO);
            if state.data().iter().any(wrong) {
                return Err(damaged(format!("the optimizer's `{name}` holds a value that it cannot have")));
            }
        }
        if steps > MOST_STEPS {
            return Err(damaged(format!("the optimizer claims {steps} steps")));
        }
        self.steps = steps;
        Ok(())
    }

    /// One step against the gradient, with this learning rate. It allocates nothing, and its result does not depend
    /// on the number of threads. Panics when the slabs are not of the optimizer's layout.
    pub fn step(&mut self, isa: Isa, par: Par, params: &mut Slab<F>, grads: &Slab<F>, learning_rate: f64) {
        self.steps += 1;
        let step = self.arithmetic(learning_rate);
        let (p, g) = (params.data_mut(), grads.data());
        assert_eq!(p.len(), g.len(), "parameters and gradients");
        match &mut self.state[..] {
            [] => pieces(isa, par, step, [p, &mut [], &mut []], g),
            [a] => pieces(isa, par, step, [p, a.data_mut(), &mut []], g),
            [a, b, ..] => pieces(isa, par, step, [p, a.data_mut(), b.data_mut()], g),
        }
    }
    /// For a caller that updates parameters itself, tile by tile: counts a step, and gives its arithmetic and both moments.
    /// `None`, and nothing counted, where the optimizer is not Adam or AdamW.
    pub fn fused(&mut self, learning_rate: f64) -> Option<(AdamStep, [&mut Slab<F>; 2])> {
        if self.state.len() != 2 {
            return None;
        }
        self.steps += 1;
        match (self.arithmetic(learning_rate), &mut self.state[..]) {
            (Step::Adam(step), [m, v]) => Some((step, [m, v])),
            _ => None,
        }
    }
    fn arithmetic(&self, learning_rate: f64) -> Step {
        let c = &self.config;
        let adam = |weight_decay, decoupled_weight_decay| {
            let step = AdamStep::new(learning_rate, c.betas[0], c.betas[1], c.epsilon, self.steps);
            Step::Adam(AdamStep { weight_decay, decoupled_weight_decay, ..step })
        };
        match c.kind {
            OptimizerKind::Adam => adam(c.weight_decay, 0.0),
            OptimizerKind::AdamW => adam(0.0, c.weight_decay),
            OptimizerKind::Sgd => Step::Sgd(SgdStep {
                learning_rate,
                momentum: c.momentum,
                nesterov: c.nesterov,
                weight_decay: c.weight_decay,
            }),
        }
    }
}

/// Parameters and the optimizer's state; a state that is not kept is empty.
type Pieces<'a, F> = [&'a mut [F]; 3];

/// Cuts slabs in halves, each for any thread, until they are a chunk; each element belongs to one of them.
fn pieces<F: Real>(isa: Isa, par: Par, step: Step, slabs: Pieces<F>, g: &[F]) {
    if par == Par::Sequential || g.len() <= CHUNK {
        return piece(isa, step, slabs, g);
    }
    let cut = middle(g.len());
    let [p, a, b] = slabs.map(|slab| {
        let cut = cut.min(slab.len());
        slab.split_at_mut(cut)
    });
    let (left, right) = g.split_at(cut);
    rayon::join(|| pieces(isa, par, step, [p.0, a.0, b.0], left), || pieces(isa, par, step, [p.1, a.1, b.1], right));
}

fn piece<F: Real>(isa: Isa, step: Step, [p, a, b]: Pieces<F>, g: &[F]) {
    start();
    match step {
        Step::Adam(step) => update::adam(isa, &step, p, a, b, g),
        Step::Sgd(step) => update::sgd(isa, &step, p, a, g),
    }
    lap(Stage::Optimizer, None);
}
