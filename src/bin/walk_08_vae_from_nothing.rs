//! 08: a VAE from nothing. The module `nothing` is the whole of it, and uses no part of the library; below it the library
//! trains the same network from the same numbers, and the two are compared.

mod walk;

/// Vectors, loops and a random number generator.
mod nothing {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::StandardNormal;

    pub const PIXELS: usize = 784;
    pub const HIDDEN: usize = 64;
    pub const LATENT: usize = 4;

    /// Y = X W + b, rows one after the other: X is (n, inputs), W (inputs, outputs).
    pub struct Dense {
        pub inputs: usize,
        pub outputs: usize,
        pub w: Vec<f64>,
        pub b: Vec<f64>,
    }

    /// dW, db.
    pub type Gradient = (Vec<f64>, Vec<f64>);

    impl Dense {
        fn new(inputs: usize, outputs: usize, rng: &mut impl Rng) -> Dense {
            let bound = 1.0 / (inputs as f64).sqrt();
            // f32's digits alone, so that the library starts from the same numbers.
            let mut draw = |n| (0..n).map(|_| f64::from(rng.random_range(-bound..bound) as f32)).collect();
            Dense { inputs, outputs, w: draw(inputs * outputs), b: draw(outputs) }
        }
        fn forward(&self, x: &[f64]) -> Vec<f64> {
            let mut y = Vec::with_capacity(x.len() / self.inputs * self.outputs);
            for x in x.chunks_exact(self.inputs) {
                let start = y.len();
                y.extend(&self.b);
                for (x, w) in x.iter().zip(self.w.chunks_exact(self.outputs)) {
                    y[start..].iter_mut().zip(w).for_each(|(y, w)| *y += x * w);
                }
            }
            y
        }
        /// dW = Xᵀ dY, db = Σ dY
        fn gradient(&self, x: &[f64], dy: &[f64]) -> Gradient {
            let (mut dw, mut db) = (vec![0.0; self.w.len()], vec![0.0; self.outputs]);
            for (x, dy) in x.chunks_exact(self.inputs).zip(dy.chunks_exact(self.outputs)) {
                for (x, dw) in x.iter().zip(dw.chunks_exact_mut(self.outputs)) {
                    dw.iter_mut().zip(dy).for_each(|(dw, dy)| *dw += x * dy);
                }
                db.iter_mut().zip(dy).for_each(|(db, dy)| *db += dy);
            }
            (dw, db)
        }
        /// dX = dY Wᵀ
        fn backward(&self, dy: &[f64]) -> Vec<f64> {
            let row = |dy: &[f64], w: &[f64]| dy.iter().zip(w).map(|(dy, w)| dy * w).sum();
            dy.chunks_exact(self.outputs)
                .flat_map(|dy| self.w.chunks_exact(self.outputs).map(move |w| row(dy, w)))
                .collect()
        }
    }

    /// The encoder's two layers, then the decoder's. The second gives [μ | v], v = log σ².
    pub struct Vae {
        pub layers: [Dense; 4],
    }

    /// Nats per row.
    #[derive(Clone, Copy)]
    pub struct Loss {
        pub reconstruction: f64,
        pub kl: f64,
    }

    fn tanh(x: Vec<f64>) -> Vec<f64> {
        x.into_iter().map(f64::tanh).collect()
    }

    /// dA = dY ⊙ (1 − y²)
    fn tanh_backward(y: &[f64], dy: Vec<f64>) -> Vec<f64> {
        dy.into_iter().zip(y).map(|(dy, y)| dy * (1.0 - y * y)).collect()
    }

    /// μ and v of each latent of each row.
    fn heads(eta: &[f64]) -> impl Iterator<Item = (f64, f64)> {
        eta.chunks_exact(2 * LATENT).flat_map(|row| (0..LATENT).map(move |j| (row[j], row[LATENT + j])))
    }

    impl Vae {
        pub fn new(seed: u64) -> Vae {
            let rng = &mut ChaCha8Rng::seed_from_u64(seed);
            let sizes = [(PIXELS, HIDDEN), (HIDDEN, 2 * LATENT), (LATENT, HIDDEN), (HIDDEN, PIXELS)];
            Vae { layers: sizes.map(|(inputs, outputs)| Dense::new(inputs, outputs, rng)) }
        }

        /// −ELBO of rows x with noise ε, and its gradient by each layer.
        pub fn loss_and_gradient(&self, x: &[f64], eps: &[f64]) -> (Loss, [Gradient; 4]) {
            let [encoder, head, decoder, out] = &self.layers;
            let n = (x.len() / PIXELS) as f64;
            // Forward: z = μ + e^{v/2} ε
            let h = tanh(encoder.forward(x));
            let eta = head.forward(&h);
            let z: Vec<f64> = heads(&eta).zip(eps).map(|((mu, v), e)| mu + (0.5 * v).exp() * e).collect();
            let g = tanh(decoder.forward(&z));
            let o = out.forward(&g);
            // −log p(x|z) = Σ log(1 + eᵒ) − x·o, without overflow; KL = ½ Σ μ² + eᵛ − 1 − v
            let cross_entropy = |(o, x): (&f64, &f64)| o.max(0.0) + (-o.abs()).exp().ln_1p() - x * o;
            let loss = Loss {
                reconstruction: o.iter().zip(x).map(cross_entropy).sum::<f64>() / n,
                kl: heads(&eta).map(|(mu, v)| 0.5 * (mu * mu + v.exp() - 1.0 - v)).sum::<f64>() / n,
            };
            // Backward, in reverse: ∂/∂o = (σ(o) − x) / n
            let d_o: Vec<f64> = o.iter().zip(x).map(|(o, x)| (1.0 / (1.0 + (-o).exp()) - x) / n).collect();
            let d_g = tanh_backward(&g, out.backward(&d_o));
            let d_z = decoder.backward(&d_g);
            // Both heads hear of z and of the KL: dμ = dz + μ/n, dv = ½ dz ε e^{v/2} + ½ (eᵛ − 1)/n
            let mut d_eta = vec![0.0; eta.len()];
            for (i, ((mu, v), (dz, e))) in heads(&eta).zip(d_z.iter().zip(eps)).enumerate() {
                let at = i / LATENT * 2 * LATENT + i % LATENT;
                d_eta[at] = dz + mu / n;
                d_eta[at + LATENT] = 0.5 * dz * e * (0.5 * v).exp() + 0.5 * (v.exp() - 1.0) / n;
            }
            let d_h = tanh_backward(&h, head.backward(&d_eta));
            let gradients = [
                encoder.gradient(x, &d_h),
                head.gradient(&h, &d_eta),
                decoder.gradient(&z, &d_g),
                out.gradient(&g, &d_o),
            ];
            (loss, gradients)
        }

        /// The digits that come back, at z = μ.
        pub fn reconstruct(&self, x: &[f64]) -> Vec<f64> {
            let [encoder, head, decoder, out] = &self.layers;
            let eta = head.forward(&tanh(encoder.forward(x)));
            let z: Vec<f64> = heads(&eta).map(|(mu, _)| mu).collect();
            out.forward(&tanh(decoder.forward(&z))).iter().map(|o| 1.0 / (1.0 + (-o).exp())).collect()
        }
    }

    /// Adam (Kingma and Ba 2015, algorithm 1).
    #[derive(Default)]
    pub struct Adam {
        steps: i32,
        moments: Vec<(f64, f64)>,
    }

    impl Adam {
        pub fn step(&mut self, vae: &mut Vae, gradients: &[Gradient; 4], rate: f64) {
            self.steps += 1;
            let (one, two) = (1.0 - 0.9f64.powi(self.steps), 1.0 - 0.999f64.powi(self.steps));
            let parameters = vae.layers.iter_mut().flat_map(|l| l.w.iter_mut().chain(&mut l.b));
            let gradients = gradients.iter().flat_map(|(dw, db)| dw.iter().chain(db));
            self.moments.resize(vae_len(), (0.0, 0.0));
            for ((p, g), (m, v)) in parameters.zip(gradients).zip(&mut self.moments) {
                *m = 0.9 * *m + 0.1 * g;
                *v = 0.999 * *v + 0.001 * g * g;
                *p -= rate * (*m / one) / ((*v / two).sqrt() + 1e-8);
            }
        }
    }

    fn vae_len() -> usize {
        let dense = |inputs: usize, outputs: usize| (inputs + 1) * outputs;
        dense(PIXELS, HIDDEN) + dense(HIDDEN, 2 * LATENT) + dense(LATENT, HIDDEN) + dense(HIDDEN, PIXELS)
    }

    /// Standard normal noise for `rows` rows of a step: each row's from a generator of its own, whose key says which.
    pub fn noise(seed: u64, step: u64, rows: usize) -> Vec<f64> {
        const TRAINING: u64 = 5;
        let row = |row: usize| {
            let mut key = [0; 32];
            for (bytes, word) in key.chunks_exact_mut(8).zip([seed, TRAINING, step, row as u64]) {
                bytes.copy_from_slice(&word.to_le_bytes());
            }
            let mut rng = ChaCha8Rng::from_seed(key);
            std::array::from_fn::<f64, LATENT, _>(|_| rng.sample(StandardNormal))
        };
        (0..rows).flat_map(row).collect()
    }
}

use elbo::estimator::Elbo;
use elbo::layer::Activation;
use elbo::model::{Draw, Hidden, VaeConfig, Workspace};
use elbo::optim::OptimizerConfig;
use elbo::tensor::{Exec, Noise, Params, Slab, Stream};
use elbo::train::{Flow, Observer, State, StepReport};
use elbo::{Dataset, TrainConfig, Trainer};
use nothing::{Adam, Gradient, HIDDEN, LATENT, Loss, PIXELS, Vae, noise};
use walk::{Walk, grey, halved};

const ROWS: usize = 4000;
const BATCH: usize = 100;
const EPOCHS: u64 = 3;
const STEPS: usize = ROWS / BATCH * EPOCHS as usize;
const SEED: u64 = 8;
const RATE: f64 = 3e-3;
/// The library's names of the four layers.
const NAMES: [&str; 4] = ["encoder.0", "encoder.posterior", "decoder.0", "decoder.1"];

fn main() -> elbo::Result<()> {
    let mut walk = Walk::start(
        8,
        "A VAE from nothing",
        "that a VAE is 180 lines without secrets, and that the library computes these and no other numbers.",
    );
    let digits = elbo::data::load("mnist")?.train().slice(0..ROWS);
    let data = Dataset::from_array(digits.to_array::<f32>().view())?;
    let ours = Vae::new(SEED);
    walk.part("The network");
    walk.say(
        "Read the module `nothing` of this walkthrough's source: a dense layer with its three products (02), the draw \
         z = μ + σε (06), the KL (07), the cross-entropy from logits, the ELBO (05) as their sum, every derivative in \
         the order opposite to its formula, and Adam. No part of the library, and nothing that was not derived before.",
    );
    walk.show(
        "x (784) → tanh (64) → μ, v (4, 4) → z = μ + e^{v/2} ε → tanh (64) → o (784)\n\
         loss = Σ log(1 + eᵒ) − x·o  +  ½ Σ μ² + eᵛ − 1 − v       nats, batch mean",
    );
    let trainer = trainer(&ours, &data)?;
    gradients(&mut walk, &ours, &trainer, &digits.to_array::<f64>().into_raw_vec_and_offset().0[..BATCH * PIXELS]);
    let ours = training(&mut walk, ours, trainer, &data)?;
    reconstructions(&mut walk, &ours, &data)?;
    walk.end();
    Ok(())
}

/// The library's trainer, its parameters replaced by ours.
fn trainer(ours: &Vae, data: &Dataset) -> elbo::Result<Trainer> {
    let preset = TrainConfig::preset("mlp-one", PIXELS)?;
    let tanh = Hidden::Dense(Activation::Tanh);
    let config = TrainConfig {
        vae: VaeConfig { hidden: vec![HIDDEN], layer: tanh, latent: LATENT, ..preset.vae.clone() },
        epochs: EPOCHS,
        batch_size: BATCH,
        optimizer: OptimizerConfig::adam(RATE, 1e-8),
        seed: SEED,
        ..preset
    };
    let mut trainer = Trainer::new(config, data.clone(), Exec::new(0)?)?;
    let (layout, start): (_, State) = (trainer.vae().layout().clone(), trainer.state().clone());
    trainer.restore(start, |params, _| {
        for (name, layer) in NAMES.iter().zip(&ours.layers) {
            for (part, values) in [("weight", transposed(&layer.w, layer.outputs)), ("bias", layer.b.clone())] {
                let entry = layout.find(&format!("{name}.{part}"));
                let entry = entry.ok_or_else(|| elbo::Error::input(format!("the library has no {name}.{part}")))?;
                params.pack(&entry.slot, &values.iter().map(|v| *v as f32).collect::<Vec<_>>());
            }
        }
        Ok(())
    })?;
    Ok(trainer)
}

/// (in, out) to the (out, in) of files, or back.
fn transposed(w: &[f64], cols: usize) -> Vec<f64> {
    (0..cols).flat_map(|c| w.iter().skip(c).step_by(cols).copied()).collect()
}

fn gradients(walk: &mut Walk, ours: &Vae, trainer: &Trainer, x: &[f64]) {
    walk.part("One gradient");
    walk.say(
        "First, one batch: 100 digits, the same parameters and the same noise, in f64. The library has blocks of rows, \
         panels of weights and vector instructions; here are plain loops. Loss terms, nats per digit:",
    );
    let (vae, ex) = (trainer.vae(), trainer.exec());
    let params: Params<f64> = trainer.params().cast();
    let mut workspace = Workspace::new(vae, &params, BATCH, 1, ex);
    let mut grads = Slab::zeros(vae.layout());
    let fill = |r: usize, row: &mut [f64]| row.copy_from_slice(&x[r * PIXELS..][..PIXELS]);
    let draw = Draw { noise: Noise::new(SEED), stream: Stream::Train, step: 0 };
    let stats = ex.install(|| {
        let (estimator, ws) = (Elbo::default(), &mut workspace);
        vae.loss_grad(ex.isa(), &params, BATCH, &fill, &draw, &estimator, 1.0, ws, &mut grads).clone()
    });
    let (loss, by_hand) = ours.loss_and_gradient(x, &noise(SEED, 0, BATCH));
    let library = Loss { reconstruction: stats.mean_reconstruction(), kl: stats.mean_kl() };
    let row = |name: &str, l: Loss| format!("{name:16} {:16.9} {:14.9}\n", l.reconstruction, l.kl);
    let head = format!("{:16} {:>16} {:>14}\n", "", "reconstruction", "KL");
    walk.show(&(head + &row("from nothing", loss) + &row("the library", library)));
    let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
    walk.claim(
        close(loss.reconstruction, library.reconstruction) && close(loss.kl, library.kl),
        "Both terms agree to nine decimals.",
    );
    let mut table = String::from("parameters              ‖gradient‖    ‖difference‖ / ‖gradient‖\n");
    let mut worst: f64 = 0.0;
    for (name, ((dw, db), layer)) in NAMES.iter().zip(by_hand.iter().zip(&ours.layers)) {
        for (part, ours) in [("weight", transposed(dw, layer.outputs)), ("bias", db.clone())] {
            let Some(entry) = vae.layout().find(&format!("{name}.{part}")) else { continue };
            let library = grads.unpack(&entry.slot);
            let size = ours.iter().map(|g| g * g).sum::<f64>().sqrt();
            let difference = library.iter().zip(&ours).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
            worst = worst.max(difference / size);
            table += &format!(
                "{:24} {size:9.5}    {:>25}\n",
                format!("{name}.{part}"),
                if difference < 1e-12 * size { "below 1e-12" } else { "above 1e-12" }
            );
        }
    }
    walk.show(&table);
    walk.claim(worst < 1e-12, "All eight gradients agree to twelve digits.");
}

/// The terms of each step.
#[derive(Default)]
struct Steps(Vec<Loss>);

impl Observer for Steps {
    fn step(&mut self, _: &Trainer, report: &StepReport) -> elbo::Result<Flow> {
        self.0.push(Loss { reconstruction: report.train.reconstruction, kl: report.train.kl });
        Ok(Flow::Continue)
    }
}

fn training(walk: &mut Walk, mut ours: Vae, mut trainer: Trainer, data: &Dataset) -> elbo::Result<Vae> {
    walk.part("A hundred and twenty steps");
    walk.say(
        "Now training: 120 steps of Adam, 4,000 digits three times, in the order in which the library visits them. From \
         nothing, in f64; the library as it always trains, in f32, on every core, the update fused into the gradient. Each \
         draws its own noise: that it is the same noise is part of what is compared.",
    );
    let mut library = Steps::default();
    trainer.run(&mut library)?;
    let (mut adam, mut losses) = (Adam::default(), Vec::new());
    for epoch in 0..EPOCHS {
        let mut order = vec![0; ROWS];
        elbo::data::shuffle(Noise::new(SEED), epoch, &mut order);
        for batch in order.chunks_exact(BATCH) {
            let mut x = vec![0.0; BATCH * PIXELS];
            data.train().gather_batch(batch, &mut x);
            let noise = noise(SEED, losses.len() as u64, BATCH);
            let (loss, gradients): (Loss, [Gradient; 4]) = ours.loss_and_gradient(&x, &noise);
            losses.push(loss);
            adam.step(&mut ours, &gradients, RATE);
        }
    }
    let mut table = String::from(
        "           from nothing            the library\nstep    −ELBO       KL           −ELBO       KL\n",
    );
    for step in [1, 2, 3, 5, 10, 20, 40, 80, 120] {
        let (a, b) = (losses[step - 1], library.0[step - 1]);
        let of = |l: Loss| format!("{:8.3} {:8.3}", l.reconstruction + l.kl, l.kl);
        table += &format!("{step:4} {}    {}\n", of(a), of(b));
    }
    walk.show(&table);
    let off = |a: &Loss, b: &Loss| (a.reconstruction - b.reconstruction).abs().max((a.kl - b.kl).abs());
    let worst = losses.iter().zip(&library.0).map(|(a, b)| off(a, b)).fold(0.0, f64::max);
    // f32 has seven digits, and losses are some 200 nats: the third decimal is the last to be had.
    walk.claim(
        library.0.len() == STEPS && worst < 5e-4,
        "At each of the 120 steps both terms agree to half a unit of the last printed digit.",
    );
    let (first, last) = (losses[0], losses[STEPS - 1]);
    walk.claim(
        last.reconstruction + last.kl < 0.5 * (first.reconstruction + first.kl),
        "And it learns: −ELBO is less than half of what it was.",
    );
    let entries = trainer.vae().layout().entries().iter();
    let theirs = entries.flat_map(|e| trainer.params().values().unpack(&e.slot)).map(f64::from);
    let mine = ours.layers.iter().flat_map(|l| transposed(&l.w, l.outputs).into_iter().chain(l.b.clone()));
    let (mut apart, mut size) = (0.0, 0.0);
    mine.zip(theirs).for_each(|(a, b): (f64, f64)| (apart, size) = (apart + (a - b) * (a - b), size + a * a));
    walk.claim(
        apart.sqrt() < 1e-3 * size.sqrt(),
        "The parameters end where their twins do: ‖difference‖ is less than a thousandth of ‖parameters‖.",
    );
    Ok(ours)
}

fn reconstructions(walk: &mut Walk, ours: &Vae, data: &Dataset) -> elbo::Result<()> {
    walk.part("What it has learned");
    walk.say("Five digits, and what comes back from their four numbers after these three epochs:");
    let mut x = vec![0.0f64; 500 * PIXELS];
    data.train().gather_batch(&(0..500).collect::<Vec<u32>>(), &mut x);
    let back = ours.reconstruct(&x);
    let first = |digits: &[f64]| digits[..5 * PIXELS].iter().map(|v| *v as f32).collect::<Vec<f32>>();
    for digits in [first(&x), first(&back)] {
        let small: Vec<Vec<f32>> = digits.chunks_exact(PIXELS).map(|d| halved(d, 28)).collect();
        walk.show(&grey(&small.iter().map(Vec::as_slice).collect::<Vec<_>>(), 14, 14));
    }
    if let Some(path) = walk.picture("08-reconstructions.png") {
        let rows = |v: &[f64]| ndarray::Array2::from_shape_fn((50, PIXELS), |(r, c)| v[r * PIXELS + c] as f32);
        elbo::report::grid::pairs(rows(&x).view(), rows(&back).view(), (28, 28, 1), 10, path)?;
    }
    let squared = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / 500.0;
    let mean: Vec<f64> = (0..PIXELS).map(|c| x.iter().skip(c).step_by(PIXELS).sum::<f64>() / 500.0).collect();
    let (of_ours, of_mean) = (squared(&x, &back), squared(&x, &mean.repeat(500)));
    walk.show(&format!("squared error, 500 digits: {of_ours:.1} each; their mean in place of each: {of_mean:.1}"));
    walk.claim(of_ours < 0.9 * of_mean, "Four numbers say more of a digit than that it is one.");
    walk.say("Blurred, for now: more epochs and wider layers make it sharper, and change no line of it.");
    Ok(())
}
