//! 09: posterior collapse. Which latents are used is no accident: a linear VAE obeys a formula to the digit,
//! and the same formula says which cure helps when.

mod walk;

use elbo::Result;
use elbo::TrainConfig;
use elbo::data::Dataset;
use elbo::density::LikelihoodKind;
use elbo::estimator::{BetaSchedule, FreeBits};
use elbo::layer::{Activation, InitScheme};
use elbo::model::Hidden;
use elbo::optim::OptimizerConfig;
use elbo::train::Evaluation;
use ndarray::{Array1, Array2, Axis};
use walk::Walk;
use walk::digits::{PIXELS, config, digits, kl_by_latent, terms, train};
use walk::draw::bar;
use walk::plot::{Plot, Scale};

/// Latents of the linear models.
const LATENT: usize = 10;

fn main() -> Result<()> {
    let mut walk = Walk::start(
        9,
        "Posterior collapse",
        "how to see that latents are dead, why a latent lives exactly if its signal is louder than the noise that the \
         likelihood claims, and which of three cures (an honest variance, a warm-up, free bits) mends which cause.",
    );
    let data = digits()?;
    let eigenvalues = eigenvalues(&data);
    seeing(&walk);
    making(&mut walk, &data, &eigenvalues)?;
    dead(&mut walk, &data, &eigenvalues)?;
    curing(&mut walk, &data)?;
    walk.end();
    Ok(())
}

fn seeing(walk: &Walk) {
    walk.part("Seeing it");
    walk.say(
        "A collapsed latent has q(z_j|x) = p(z_j) for every x: it carries nothing, costs nothing, and the decoder has \
         learned to ignore it. Two gauges, one by latent and one in all:",
    );
    walk.show(
        "KL_j = E ½ (μ_j² + e^{v_j} − 1 − v_j)                     nats that latent j carries; 0 if it is dead\n\
         active units: latents with Var_x μ_j(x) > 0.01            (Burda et al. 2016, section 5.2)",
    );
    walk.say("The total KL alone hides it: 12 nats may be twelve latents at work, or one.");
}

/// The greatest eigenvalues of the training rows' covariance, by power iteration: each found is taken out of the matrix.
fn eigenvalues(data: &Dataset) -> Vec<f64> {
    let x: Array2<f64> = data.train().to_array();
    let centred = &x - &x.mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(PIXELS));
    let mut covariance = centred.t().dot(&centred) / x.nrows() as f64;
    let mut values = Vec::new();
    for k in 0..LATENT + 2 {
        let mut v = Array1::from_shape_fn(PIXELS, |i| ((i * (k + 3)) as f64).sin());
        for _ in 0..300 {
            v = covariance.dot(&v);
            v /= v.dot(&v).sqrt();
        }
        let value = v.dot(&covariance.dot(&v));
        covariance = covariance - value * v.view().insert_axis(Axis(1)).dot(&v.view().insert_axis(Axis(0)));
        values.push(value);
    }
    values
}

/// The terms of a linear VAE on the rows that it was trained on.
fn linear(data: &Dataset, epochs: u64, likelihood: LikelihoodKind, beta: BetaSchedule) -> Result<Evaluation> {
    let optimizer = OptimizerConfig::adam(0.01, 1e-8);
    let trainer = train(TrainConfig { epochs, optimizer, beta, ..config(PIXELS, &[], LATENT, likelihood)? }, data)?;
    Ok(terms(&trainer, data.train()))
}

fn making(walk: &mut Walk, data: &Dataset, eigenvalues: &[f64]) -> Result<()> {
    walk.part("Making it: the noise that the likelihood claims");
    walk.say(
        "Take the plainest VAE: linear encoder, linear decoder, Gaussian noise of variance σ². Its best parameters are \
         known (Tipping and Bishop 1999; Lucas et al. 2019): latent j lies along the data's principal axis j, whose \
         variance is the eigenvalue λ_j. Along that axis the posterior keeps the share σ²/λ_j of the prior's variance, so",
    );
    walk.show("KL_j = ½ log(λ_j / σ²)   if λ_j > σ²,   and 0 if not: then the latent is dead, and that is the optimum");
    let axes: Vec<String> = eigenvalues.iter().map(|l| format!("{l:.3}")).collect();
    walk.say(&format!("The eigenvalues of 9,000 digits of 14 by 14 pixels begin {}.", axes.join(", ")));
    let (mut table, mut counts, mut rates) =
        (String::from("    σ²   λ above it   latents in use   KL by formula   KL found\n"), true, true);
    let mut plot = Plot::new(
        "Collapse, counted in advance",
        "A linear VAE on digits. Lines: ½ log(λ / σ²), or 0 where λ is below σ². Dots: what training found.",
    )
    .x("latent, the busiest first", Scale::Linear)
    .y("KL, nats per example", Scale::Linear);
    for (color, variance) in gaps(eigenvalues).into_iter().enumerate() {
        let found = linear(data, 24, LikelihoodKind::GaussianGiven(variance), BetaSchedule::Constant(1.0))?;
        let alive = eigenvalues[..LATENT].iter().filter(|l| **l > variance).count();
        let expected: f64 = eigenvalues[..alive].iter().map(|l| 0.5 * (l / variance).ln()).sum();
        let kl = found.stats.mean_kl();
        let by_latent =
            |kl: &mut dyn Iterator<Item = f64>| kl.zip(1..).map(|(kl, j)| [f64::from(j), kl]).collect::<Vec<_>>();
        let formula = &mut eigenvalues[..LATENT].iter().map(|l| 0.5 * (l / variance).ln().max(0.0));
        plot = plot.line(color, &format!("σ² = {variance:.3}"), by_latent(formula)).dots(
            color,
            "",
            by_latent(&mut kl_by_latent(&found).into_iter()),
        );
        table += &format!(
            "{variance:>6.3}  {alive:>11}  {:>15}  {expected:>14.3}  {kl:>9.3}   {}\n",
            found.active_units,
            bar(kl / 12.0, 20)
        );
        counts &= found.active_units == alive;
        rates &= (kl - expected).abs() < 0.05 * expected + 0.02;
    }
    walk.show(&table);
    walk.claim(counts, "As many latents are in use as eigenvalues lie above σ²: collapse is counted in advance.");
    walk.claim(rates, "And together they carry the nats of the formula, to five per cent.");
    walk.say(
        "This also answers how many latents to choose: more do no harm. Those whose signal is below the noise switch \
         themselves off, so take a few more than are in use at the end.",
    );
    if let Some(path) = walk.picture("09-linear.png") {
        plot.save(path)?;
    }
    Ok(())
}

/// Variances where the answer is not close: in the three widest gaps between neighbouring eigenvalues (in the middle, by
/// logarithms), and below all that there are latents for.
fn gaps(eigenvalues: &[f64]) -> [f64; 4] {
    let [first, second, third] = [1, 6, 9].map(|j| (eigenvalues[j] * eigenvalues[j - 1]).sqrt());
    [first, second, third, eigenvalues[LATENT - 1] / 2.0]
}

fn dead(walk: &mut Walk, data: &Dataset, eigenvalues: &[f64]) -> Result<()> {
    walk.part("All of it, and the first cure");
    let variance = 2.0 * eigenvalues[0];
    let (noisy, plain) = (LikelihoodKind::GaussianGiven(variance), BetaSchedule::Constant(1.0));
    let collapsed = linear(data, 10, noisy, plain)?;
    let warm = linear(data, 10, noisy, BetaSchedule::Linear { beta: 1.0, warmup: 450 })?;
    let cured = linear(data, 10, LikelihoodKind::GaussianLearned, plain)?;
    let line = |name: &str, e: &Evaluation| {
        format!(
            "{name:<28}  {:>2} of {LATENT} latents in use    KL {:>6.3}    −ELBO {:>8.2}\n",
            e.active_units,
            e.stats.mean_kl(),
            e.stats.neg_elbo()
        )
    };
    walk.say(&format!("With σ² = {variance:.2}, above the first eigenvalue, nothing is worth sending:"));
    walk.show(
        &(line("σ² too large", &collapsed)
            + &line("σ² too large, with a warm-up", &warm)
            + &line("σ² learned", &cured)),
    );
    walk.claim(
        collapsed.active_units == 0 && collapsed.stats.mean_kl() < 0.01,
        "With too much noise claimed, every latent is dead.",
    );
    walk.claim(
        warm.active_units == 0,
        "A warm-up does not help: where the optimum itself is collapsed, no path to it can.",
    );
    walk.claim(
        cured.active_units == LATENT && cured.stats.neg_elbo() < collapsed.stats.neg_elbo() - 100.0,
        "A variance that is learned brings all latents back, and wins more than 100 nats an example.",
    );
    walk.say("First cure: an honest likelihood. A mean instead of a sum of squared errors is this very mistake (walkthrough 11).");
    Ok(())
}

/// Nats below which a latent counts as lost: of those at work here, each carries ten times as much.
const LOST: f64 = 0.1;
/// Latents of the deep model.
const MANY: usize = 16;

fn at_work(evaluation: &Evaluation) -> usize {
    kl_by_latent(evaluation).iter().filter(|kl| **kl > LOST).count()
}

/// A network deep enough to lose latents on the way: at the start its decoder hears nothing of z, so the KL meets no
/// resistance.
fn deep(data: &Dataset, beta: BetaSchedule, free_bits: Option<FreeBits>) -> Result<Evaluation> {
    let mut config = config(PIXELS, &[64, 64, 64], MANY, LikelihoodKind::GaussianGiven(0.03))?;
    config.vae.layer = Hidden::Dense(Activation::Tanh);
    config.vae.init = InitScheme::Glorot;
    let optimizer = OptimizerConfig::adam(0.006, 1e-8);
    let trainer = train(TrainConfig { epochs: 8, optimizer, beta, free_bits, ..config }, data)?;
    Ok(terms(&trainer, data.train()))
}

fn curing(walk: &mut Walk, data: &Dataset) -> Result<()> {
    walk.part("Lost on the way, and two more cures");
    walk.say(
        "The other cause is the path. At the start a deep decoder makes nothing of z, so nothing speaks for a latent, \
         while the KL speaks against it from the first step. With a weight β on the KL the rule above reads λ_j > β σ². \
         A warm-up starts with β near 0, when every signal is loud enough, and raises it while the decoder listens. Free \
         bits leave each latent λ nats untaxed: the KL's gradient is off while a latent has less.",
    );
    walk.say("Three hidden layers of 64 on either side, 16 latents, σ² = 0.03, which is honest: 720 steps each.");
    let plain = deep(data, BetaSchedule::Constant(1.0), None)?;
    let warm = deep(data, BetaSchedule::Linear { beta: 1.0, warmup: 504 }, None)?;
    let free = deep(data, BetaSchedule::Constant(1.0), Some(FreeBits { lambda: 0.5, group: 1 }))?;
    let runs = [
        ("β = 1 from the start", &plain),
        ("β from 0 to 1 in 504 steps", &warm),
        ("free bits, 0.5 nats a latent", &free),
    ];
    for (name, e) in runs {
        walk.show(&format!(
            "{name}: {} of {MANY} latents at work, D + R = {:.2} + {:.2} = {:.2}\n{}",
            at_work(e),
            e.stats.mean_reconstruction(),
            e.stats.mean_kl(),
            e.stats.neg_elbo(),
            bars(e)
        ));
    }
    walk.claim(at_work(&plain) < MANY, "From the start at β = 1, latents are lost: they carry less than 0.1 nats.");
    walk.claim(at_work(&warm) == MANY, "With the warm-up every latent works.");
    walk.claim(
        warm.stats.neg_elbo() < plain.stats.neg_elbo() - 0.3,
        "And the objective, the same for both at the end, is lower: those latents were worth their price.",
    );
    walk.claim(
        kl_by_latent(&free).iter().all(|kl| *kl > 0.4),
        "With free bits each latent keeps its half nat, to a fifth.",
    );
    walk.say(
        "Which cure? Look at the gauges first. All latents dead and a fixed variance: mend the likelihood. Some dead in a \
         deep network: warm up. A use that needs every latent: free bits. They keep latents by force, whether or not those \
         are worth their cost; where they are, as here, the objective gains as well.",
    );
    if let Some(path) = walk.picture("09-cures.png") {
        let mut plot = Plot::new(
            "Lost on the way, and kept",
            "Sixteen latents of a deep VAE after 720 steps. Under 0.1 nats a latent counts as lost.",
        )
        .x("latent, the busiest first", Scale::Linear)
        .y("KL, nats per example", Scale::Linear);
        for (color, (name, run)) in runs.iter().enumerate() {
            plot = plot.joined(color, name, kl_by_latent(run).into_iter().zip(1..).map(|(kl, j)| [f64::from(j), kl]));
        }
        plot.level("lost below", LOST).save(path)?;
    }
    Ok(())
}

/// The KL of each latent, greatest first, as bars.
fn bars(evaluation: &Evaluation) -> String {
    let kl = kl_by_latent(evaluation);
    let line = |kl: &f64| format!("{kl:>7.3} {}\n", bar(kl / 4.0, 48));
    kl.iter().map(line).collect()
}
