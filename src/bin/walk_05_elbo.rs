//! 05: the ELBO, its gap measured on a model whose marginal likelihood is known exactly.

mod walk;

use elbo::model::{Draw, Inference, Preset, Vae, VaeConfig};
use elbo::optim::OptimizerConfig;
use elbo::tensor::{Exec, Noise, Par, Params, Stream};
use elbo::train::{EpochReport, Flow, Observer};
use elbo::{Dataset, TrainConfig, Trainer};
use ndarray::Array2;
use rand::Rng;
use rand_distr::StandardNormal;
use walk::plot::{Plot, Scale};
use walk::{Walk, bar, mean_and_error};

const LOG_TAU: f64 = 1.837_877_066_409_345_3;
/// σ², the likelihood's variance.
const VARIANCE: f64 = 0.25;
const DRAWS: usize = 10_000;

/// z ~ N(0, 1), x = w z + b + σ·noise in the plane: every integral over z has a closed form.
#[derive(Clone, Copy)]
struct Linear {
    w: [f64; 2],
    b: [f64; 2],
}

impl Linear {
    /// 1 + wᵀw/σ²: the precision of z given x.
    fn precision(&self) -> f64 {
        1.0 + dot(self.w, self.w) / VARIANCE
    }
    /// The mean of z given x, exactly.
    fn posterior_mean(&self, x: [f64; 2]) -> f64 {
        dot(self.w, minus(x, self.b)) / VARIANCE / self.precision()
    }
    /// log p(x): x ~ N(b, w wᵀ + σ² I), with the inverse by Sherman and Morrison.
    fn log_px(&self, x: [f64; 2]) -> f64 {
        let d = minus(x, self.b);
        let square = (dot(d, d) - self.posterior_mean(x) * dot(self.w, d)) / VARIANCE;
        -0.5 * (2.0 * LOG_TAU + 2.0 * VARIANCE.ln() + self.precision().ln() + square)
    }
    fn draw(&self, rng: &mut impl Rng) -> [f64; 2] {
        let z: f64 = rng.sample(StandardNormal);
        let mut noise = || VARIANCE.sqrt() * rng.sample::<f64, _>(StandardNormal);
        [self.w[0] * z + self.b[0] + noise(), self.w[1] * z + self.b[1] + noise()]
    }
}

fn dot(a: [f64; 2], b: [f64; 2]) -> f64 {
    a[0] * b[0] + a[1] * b[1]
}

fn minus(a: [f64; 2], b: [f64; 2]) -> [f64; 2] {
    [a[0] - b[0], a[1] - b[1]]
}

/// A VAE without hidden layers: both networks are linear, and its decoder is the model above.
fn config() -> elbo::Result<VaeConfig> {
    let likelihood = format!("gaussian:{VARIANCE}").parse()?;
    Ok(VaeConfig { hidden: vec![], latent: 1, likelihood, ..Preset::named("tabular")?.config(2) })
}

/// Parameters of which q(z|x) has the model's own posterior mean, `shift` posterior deviations off, and its deviation,
/// `width` times.
fn params(vae: &Vae, model: &Linear, shift: f64, width: f64) -> Params<f64> {
    let mut params = Params::zeros(vae.layout());
    let deviation = model.precision().sqrt().recip();
    let scale = 1.0 / (VARIANCE * model.precision());
    let mean = [model.w[0] * scale, model.w[1] * scale];
    let entries: [(&str, &[f64]); 5] = [
        ("encoder.mean.weight", &mean),
        ("encoder.mean.bias", &[shift * deviation - dot(mean, model.b)]),
        ("encoder.log_variance.bias", &[2.0 * (width * deviation).ln()]),
        ("decoder.0.weight", &model.w),
        ("decoder.0.bias", &model.b),
    ];
    for (name, values) in entries {
        match vae.layout().find(name) {
            Some(entry) => params.values_mut().pack(&entry.slot, values),
            None => panic!("no parameter {name}"),
        }
    }
    params.refresh(Par::Sequential);
    params
}

fn draw(step: u64) -> Draw {
    Draw { noise: Noise::new(5), stream: Stream::Evaluate, step }
}

/// Estimates of the ELBO at x by one draw each: −reconstruction − KL with the KL in closed form, and
/// log p(x, z) − log q(z|x).
fn estimates(vae: &Vae, params: &Params<f64>, ex: &Exec, x: [f64; 2]) -> [Vec<f64>; 2] {
    let fill = |_: usize, row: &mut [f64]| row.copy_from_slice(&x);
    let (mut closed, mut weights) = (Vec::new(), Vec::new());
    let mut inference = Inference::new(vae, params, ex);
    inference.sampled_score(DRAWS, &fill, &draw(0), 1, |_, score| closed.push(-score.neg_elbo()));
    inference.importance(DRAWS, &fill, &draw(0), 1, |_, bounds| weights.push(bounds.log_likelihood()));
    [closed, weights]
}

fn main() -> elbo::Result<()> {
    let mut walk = Walk::start(
        5,
        "The evidence lower bound",
        "what the ELBO is a bound of, how far below it lies, and why one maximises a bound.",
    );
    identity(&mut walk);
    let (vae, ex) = (Vae::new(&config()?)?, Exec::new(0)?);
    let model = Linear { w: [1.2, -0.7], b: [0.5, 0.2] };
    exact(&mut walk, &vae, &ex, &model);
    gaps(&mut walk, &vae, &ex, &model)?;
    learned(&mut walk, &model)?;
    walk.end();
    Ok(())
}

fn identity(walk: &mut Walk) {
    walk.part("Why a bound");
    walk.say(
        "A model with latents says how x comes about: z from p(z), then x from p(x|z). To fit it, one would make the \
         data probable, and the probability of x is an integral over every z that might have caused it:",
    );
    walk.show("p(x) = ∫ p(z) p(x|z) dz");
    walk.say(
        "With a network for p(x|z) nobody can do that integral. So one guesses where z might have been, by a density \
         q(z|x) that is easy to draw from, and splits the logarithm. This is an identity, for any q:",
    );
    walk.show(
        "log p(x) = E_q[log p(x, z) − log q(z|x)]  +  KL(q(z|x) ‖ p(z|x))\n\
         \u{20}         ╰────────── ELBO ─────────────╯     ╰──── the gap ≥ 0 ────╯\n\
         ELBO     = E_q[log p(x|z)] − KL(q(z|x) ‖ p(z))",
    );
    walk.say(
        "The left side does not know q. So raising the ELBO by q closes the gap, and raising it by the model makes the \
         data more probable, or the gap smaller. The ELBO can be computed; the gap cannot, as a rule. Here it can.",
    );
}

const X: [f64; 2] = [1.7, -0.9];

fn exact(walk: &mut Walk, vae: &Vae, ex: &Exec, model: &Linear) {
    walk.part("A model without secrets");
    walk.say(
        "Let z be one number and x = w z + b + σ·noise a point in the plane, with w = (1.2, −0.7), b = (0.5, 0.2), σ² = \
         0.25. Sums of Gaussians are Gaussian, so p(x) and p(z|x) have closed forms; and a VAE without hidden layers \
         has exactly this decoder, and an encoder that can express p(z|x).",
    );
    walk.show(
        "x   ~ N(b, w wᵀ + σ² I)\n\
         z|x ~ N(wᵀ(x − b) / σ²P, 1/P),     P = 1 + wᵀw/σ²",
    );
    // By summing p(z) p(x|z) over a fine grid: smooth and vanishing at both ends, so the trapezoid rule is exact to rounding.
    let normal = |d: f64, v: f64| -0.5 * (LOG_TAU + v.ln() + d * d / v);
    let joint = |z: f64| {
        let d = [X[0] - model.w[0] * z - model.b[0], X[1] - model.w[1] * z - model.b[1]];
        (normal(z, 1.0) + normal(d[0], VARIANCE) + normal(d[1], VARIANCE)).exp()
    };
    let by_sum = (-1000..=1000).map(|i| joint(f64::from(i) * 0.01) * 0.01).sum::<f64>().ln();
    let log_px = model.log_px(X);
    walk.show(&format!(
        "at x = ({}, {}):     log p(x) = {log_px:.9} in closed form\n{by_sum:42.9} by a sum over z",
        X[0], X[1]
    ));
    walk.claim((by_sum - log_px).abs() < 1e-12, "The closed form is the integral.");
    let params = params(vae, model, 0.0, 1.0);
    let [closed, weights] = estimates(vae, &params, ex, X);
    walk.say(
        "Now give the library's encoder the exact posterior, and look at single draws of z. By Bayes' rule p(x, z) / \
         p(z|x) is p(x), whatever z is:",
    );
    let off = weights.iter().map(|w| (w - log_px).abs()).fold(0.0, f64::max);
    walk.claim(
        off < 1e-11,
        &format!("Each of {DRAWS} draws of log p(x, z) − log q(z|x) is log p(x) itself, to 1e-11."),
    );
    let (mean, error) = mean_and_error(&closed);
    walk.claim(
        (mean - log_px).abs() < 5.0 * error && error > 1e-3,
        &format!(
            "−reconstruction − KL is right on average, {mean:.3} ± {error:.3}: its draws differ, its mean does not."
        ),
    );
}

fn gaps(walk: &mut Walk, vae: &Vae, ex: &Exec, model: &Linear) -> elbo::Result<()> {
    walk.part("The gap, measured");
    walk.say(
        "Now spoil q: put its mean off by some posterior deviations δ, or make it r times as wide. Between Gaussians \
         the KL has a closed form, so the gap is predicted; the library's ELBO is measured, with 10,000 draws.",
    );
    walk.show("KL(q ‖ p(z|x)) = ½ (δ² + r² − 1 − log r²)");
    let log_px = model.log_px(X);
    let mut table = String::from("   δ     r      ELBO    log p(x) − ELBO     predicted\n");
    let (mut below, mut predicted, mut gaps, mut measured) = (true, true, Vec::new(), Vec::new());
    for (shift, width) in
        [(0.0, 1.0), (0.5, 1.0), (1.0, 1.0), (2.0, 1.0), (0.0, 0.5), (0.0, 2.0), (0.0, 3.0), (1.0, 2.0)]
    {
        let params = params(vae, model, shift, width);
        let [_, weights] = estimates(vae, &params, ex, X);
        let (elbo, error) = mean_and_error(&weights);
        let kl = 0.5 * (shift * shift + width * width - 1.0 - (width * width).ln());
        let gap = log_px - elbo;
        predicted &= (gap - kl).abs() < 5.0 * error + 1e-11;
        below &= elbo < log_px + 5.0 * error + 1e-11;
        gaps.push(gap);
        measured.push((shift, [width, elbo]));
        // Rounding to a few decimals may leave a minus before a zero.
        let gap = if gap.abs() < 5e-5 { 0.0 } else { gap };
        table +=
            &format!("{shift:4} {width:5}  {elbo:8.4}    {gap:7.4} ± {error:.4}    {kl:10.4}  {}\n", bar(6.0 * kl, 18));
    }
    walk.show(&table);
    walk.claim(predicted, "All eight gaps are the predicted KL, within five standard errors.");
    walk.claim(below, "The ELBO never exceeds log p(x).");
    walk.claim(
        gaps[5] > 2.0 * gaps[4],
        "Twice as wide costs more than twice what half as wide does: q must not go where p(z|x) is not.",
    );
    walk.say("The gap says nothing of x itself: only how well q answers the question where z was.");
    if let Some(path) = walk.picture("05-gap.png") {
        let mut plot = Plot::new(
            "The ELBO lies below log p(x) by KL(q ‖ p(z|x))",
            "One x, many q. Lines: the closed form. Dots: the library's ELBO, 10,000 draws each.",
        )
        .x("r, the deviation of q in deviations of p(z|x)", Scale::Linear)
        .y("ELBO, nats", Scale::Linear)
        .x_range(0.25, 3.25)
        .y_range(log_px - 5.2, log_px + 0.4)
        .level("log p(x)", log_px);
        for (color, delta) in [0.0, 0.5, 1.0, 2.0].into_iter().enumerate() {
            let gap = |r: f64| 0.5 * (delta * delta + r * r - 1.0 - (r * r).ln());
            let widths = (25..=325).map(|i| 0.01 * f64::from(i));
            let dots = measured.iter().filter(|(shift, _)| *shift == delta).map(|(_, p)| *p);
            plot = plot
                .line(color, &format!("mean off by δ = {delta}"), widths.map(|r| [r, log_px - gap(r)]))
                .dots(color, "", dots);
        }
        plot.save(path)?;
    }
    Ok(())
}

/// Notes the bound and the exact value after each epoch.
struct Notes {
    data: Vec<[f64; 2]>,
    epochs: Vec<(f64, f64)>,
}

impl Observer for Notes {
    fn epoch(&mut self, trainer: &Trainer, _: &EpochReport) -> elbo::Result<Flow> {
        let params = trainer.params().cast::<f64>();
        let plain = |name: &str| match trainer.vae().layout().find(name) {
            Some(entry) => params.values().unpack(&entry.slot).into_raw_vec_and_offset().0,
            None => panic!("no parameter {name}"),
        };
        let (w, b) = (plain("decoder.0.weight"), plain("decoder.0.bias"));
        let model = Linear { w: [w[0], w[1]], b: [b[0], b[1]] };
        let rows = self.data.len();
        let exact = self.data.iter().map(|&x| model.log_px(x)).sum::<f64>() / rows as f64;
        let fill = |r: usize, out: &mut [f64]| out.copy_from_slice(&self.data[r]);
        let (mut sum, ex) = (0.0, trainer.exec());
        let mut inference = Inference::new(trainer.vae(), &params, ex);
        inference
            .importance(rows, &fill, &draw(1), 8, |_, bounds| sum += bounds.iter().next().map_or(f64::NAN, |b| b.1));
        self.epochs.push((sum / rows as f64, exact));
        Ok(Flow::Continue)
    }
}

fn learned(walk: &mut Walk, model: &Linear) -> elbo::Result<()> {
    walk.part("Raising the bound raises what it bounds");
    walk.say(
        "Last, forget the closed forms and train: 2,000 points from the model above, a VAE that starts at random, and \
         nothing but gradients of the ELBO. The exact log p(x) is looked at, never used. Means over the points, nats:",
    );
    let mut rng = Noise::new(5).rng(Stream::Data, 0, 0, 0);
    let data: Vec<[f64; 2]> = (0..2000).map(|_| model.draw(&mut rng)).collect();
    let x = Array2::from_shape_fn((data.len(), 2), |(r, c)| data[r][c] as f32);
    let truth = data.iter().map(|&x| model.log_px(x)).sum::<f64>() / data.len() as f64;
    let config = TrainConfig {
        vae: config()?,
        epochs: 40,
        batch_size: 100,
        optimizer: OptimizerConfig::adam(1e-2, 1e-8),
        ..TrainConfig::preset("tabular", 2)?
    };
    let mut notes = Notes { data, epochs: Vec::new() };
    Trainer::new(config, Dataset::from_array(x.view())?, Exec::new(0)?)?.run(&mut notes)?;
    let mut table = String::from("epoch      ELBO   log p(x)       gap\n");
    for epoch in [1, 2, 3, 5, 10, 20, 40] {
        let (elbo, exact) = notes.epochs[epoch - 1];
        table += &format!(
            "{epoch:5}  {elbo:8.4}   {exact:8.4}   {:7.4}  {}\n",
            exact - elbo,
            bar(30.0 * (exact - elbo), 36)
        );
    }
    walk.show(&table);
    let (first, last) = (notes.epochs[0], notes.epochs[39]);
    walk.claim(
        notes.epochs.iter().all(|(elbo, exact)| elbo < exact),
        "In each of 40 epochs the ELBO lies below log p(x).",
    );
    walk.claim(last.1 > first.1 + 0.1, "Raising the bound has raised log p(x), which no gradient ever saw.");
    walk.claim(
        last.1 - last.0 < 0.1 * (first.1 - first.0),
        "And the gap is less than a tenth of what it was: q has learned p(z|x).",
    );
    walk.show(&format!("log p(x) under the model that made the points: {truth:.4}"));
    walk.claim(
        (last.1 - truth).abs() < 0.02,
        "The learned model explains the points as well as the one that made them, to 0.02 nats.",
    );
    if let Some(path) = walk.picture("05-training.png") {
        let by_epoch = |of: fn(&(f64, f64)) -> f64| {
            notes.epochs.iter().enumerate().map(move |(i, e)| [(i + 1) as f64, of(e)]).collect::<Vec<_>>()
        };
        Plot::new(
            "Raising the bound raises what it bounds",
            "Gradients of the ELBO alone; the exact log p(x) is only looked at. The first epochs lie further down.",
        )
        .x("epoch", Scale::Linear)
        .y("mean over 2,000 points, nats", Scale::Linear)
        .y_range(truth - 1.8, truth + 0.15)
        .level("under the true model", truth)
        .joined(0, "log p(x)", by_epoch(|e| e.1))
        .joined(1, "ELBO", by_epoch(|e| e.0))
        .save(path)?;
    }
    Ok(())
}
