//! 13: the common mistakes, each made on purpose. None of them crashes; each is caught by a check of a few
//! lines.

mod walk;

use elbo::data::{Dataset, Rows, Split, View};
use elbo::density::{LikelihoodKind, Prior, StandardNormal};
use elbo::estimator::{BetaSchedule, LogSumExp};
use elbo::gradcheck::{Check, check_coordinates};
use elbo::task::{Examples, reconstruct, sample, scores};
use elbo::tensor::{Isa, Mat, MatMut, Noise, Stream};
use elbo::{Exec, Result, TrainConfig, Trainer};
use ndarray::{Array2, Axis};
use rand::Rng;
use rand_distr::StandardNormal as Normal;
use walk::Walk;
use walk::digits::{PIXELS, SIDE, config, digits, terms, train};
use walk::plot::{Plot, Scale, strips};

fn main() -> Result<()> {
    let mut walk = Walk::start(
        13,
        "The common mistakes",
        "twelve ways in which published code gets a VAE wrong without an error message, what each looks like from \
         outside, and the small check that would have caught it.",
    );
    let data = digits()?;
    let honest = with_beta(&data, 1.0)?;
    let averaged = mean_against_sum(&mut walk, &data, &honest)?;
    let free = no_kl(&mut walk, &data, &honest)?;
    three_models(&walk, &data, [&honest, &averaged, &free])?;
    wrong_sign(&mut walk);
    half_the_gradient(&mut walk);
    deviation_for_log_variance(&mut walk);
    kl_averaged(&mut walk);
    normalised_inputs(&mut walk, &data)?;
    probabilities_for_logits(&mut walk, &data);
    one_noise_for_all(&mut walk);
    noise_at_test_time(&mut walk, &honest)?;
    weights_upside_down(&mut walk);
    a_warm_up_that_never_ends(&mut walk)?;
    walk.say(
        "What the checks have in common: a value that is known beforehand. A baseline, a closed form, a finite \
         difference, a moment, a limit. Write it down before the network is trained; afterwards every number looks \
         plausible.",
    );
    walk.end();
    Ok(())
}

fn with_beta(data: &Dataset, beta: f64) -> Result<Trainer> {
    let beta = BetaSchedule::Constant(beta);
    train(TrainConfig { epochs: 5, beta, ..config(PIXELS, &[96], 10, LikelihoodKind::Bernoulli)? }, data)
}

/// The cross-entropy of pixels that are drawn each by itself, whatever the digit: Σ_d H(mean of pixel d).
fn baseline(data: &Dataset) -> f64 {
    let x: Array2<f64> = data.train().to_array();
    let entropy = |p: f64| if p > 0.0 && p < 1.0 { -p * p.ln() - (1.0 - p) * (1.0 - p).ln() } else { 0.0 };
    x.mean_axis(Axis(0)).map_or(f64::NAN, |mean| mean.iter().map(|p| entropy(*p)).sum())
}

fn mean_against_sum(walk: &mut Walk, data: &Dataset, honest: &Trainer) -> Result<Trainer> {
    walk.part("1. The mean over pixels against the sum over latents");
    walk.show("loss = binary_cross_entropy(y, x).mean() + kl.sum()        -- is D/196 + R, which is a β of 196");
    let averaged = with_beta(data, PIXELS as f64)?;
    let wrong = terms(&averaged, data.train());
    let (right, floor) = (terms(honest, data.train()), baseline(data));
    walk.show(&format!(
        "                      D        R   latents in use\nas written       {:>6.2}   {:>6.3}   {:>14}\nsum and sum      {:>6.2}   {:>6.3}   {:>14}\n\
         no model at all  {floor:>6.2}",
        wrong.stats.mean_reconstruction(),
        wrong.stats.mean_kl(),
        wrong.active_units,
        right.stats.mean_reconstruction(),
        right.stats.mean_kl(),
        right.active_units
    ));
    walk.claim(
        wrong.active_units == 0 && (wrong.stats.mean_reconstruction() / floor - 1.0).abs() < 0.02,
        "Caught by a baseline: the loss is that of pixels drawn each by itself, to two per cent, and no latent is used.",
    );
    walk.claim(
        right.stats.neg_elbo() < 0.95 * floor,
        "The honest D + R is below the baseline, by more than a twentieth.",
    );
    Ok(averaged)
}

fn no_kl(walk: &mut Walk, data: &Dataset, honest: &Trainer) -> Result<Trainer> {
    walk.part("2. No KL at all");
    walk.say("The reconstructions are the best of all, which is what makes this one so hard to see.");
    let free = with_beta(data, 0.0)?;
    let (wrong, right) = (terms(&free, data.train()), terms(honest, data.train()));
    walk.show(&format!(
        "               D         R     D + R\nno KL     {:>6.2}  {:>8.2}  {:>8.2}\nwith it   {:>6.2}  {:>8.2}  {:>8.2}",
        wrong.stats.mean_reconstruction(),
        wrong.stats.mean_kl(),
        wrong.stats.neg_elbo(),
        right.stats.mean_reconstruction(),
        right.stats.mean_kl(),
        right.stats.neg_elbo()
    ));
    walk.claim(
        wrong.stats.mean_reconstruction() < right.stats.mean_reconstruction(),
        "It reconstructs better than the honest model.",
    );
    walk.claim(
        wrong.stats.neg_elbo() > right.stats.neg_elbo() + 20.0,
        "Caught by printing both terms: D + R is more than 20 nats worse, for the codes have left the prior.",
    );
    Ok(free)
}

/// What the first two mistakes look like beside the honest model.
fn three_models(walk: &Walk, data: &Dataset, trainers: [&Trainer; 3]) -> Result<()> {
    let Some(path) = walk.picture("13-three-models.png") else { return Ok(()) };
    let view = Examples::first(data.split(Split::Test)?, 10);
    let both = |t: &Trainer| -> Result<[Array2<f32>; 2]> {
        let (mut inference, binarize) = (t.inference(), t.config().binarize);
        let back = reconstruct(&mut inference, &Examples::new(t.vae(), &view, binarize, 0)?)?;
        Ok([back, sample(&mut inference, 10, 3)?])
    };
    let [honest, averaged, free] = trainers.map(both);
    let (honest, averaged, free) = (honest?, averaged?, free?);
    strips(
        [
            "Two mistakes that crash nothing",
            "A mean over pixels leaves no latent in use; without a KL, samples show what reconstructions hide.",
        ],
        SIDE,
        &[
            ("held-out digits", &view.to_array()),
            ("sum + KL: reconstructions", &honest[0]),
            ("sum + KL: samples", &honest[1]),
            ("mean + KL: reconstructions", &averaged[0]),
            ("mean + KL: samples", &averaged[1]),
            ("no KL: reconstructions", &free[0]),
            ("no KL: samples", &free[1]),
        ],
        path,
    )
}

/// KL(N(μ, eᵛ) ‖ N(0, 1)) over pairs (μ, v).
fn kl(at: &[f64]) -> f64 {
    at.chunks(2).map(|p| 0.5 * (p[0] * p[0] + p[1].exp() - 1.0 - p[1])).sum()
}

const POINT: [f64; 4] = [0.7, -1.2, -0.4, 0.9];

fn checked(walk: &mut Walk, right: Check, wrong: Check, text: &str) {
    walk.show(&format!("right: worst {:.0e}\nwrong: worst {:.0e}, {}", right.worst, wrong.worst, wrong.at));
    walk.claim(right.passed() && !wrong.passed(), text);
}

fn wrong_sign(walk: &mut Walk) {
    walk.part("3. A wrong sign");
    walk.show("KL = ½ (μ² + eᵛ − 1 − v)        ∂v = ½ (eᵛ − 1)        written:  ½ (1 − eᵛ)");
    let gradient =
        |sign: f64| -> Vec<f64> { POINT.chunks(2).flat_map(|p| [p[0], sign * 0.5 * p[1].exp_m1()]).collect() };
    let check = |sign| check_coordinates("KL", &POINT, &gradient(sign), |at| (kl(at), Default::default()));
    checked(walk, check(1.0), check(-1.0), "Caught by finite differences in f64, which name the coordinate.");
}

fn half_the_gradient(walk: &mut Walk) {
    walk.part("4. A factor in the reparameterization");
    walk.show("z = μ + e^{v/2} ε        ∂v = ½ dz ε e^{v/2}        written:  dz ε e^{v/2}");
    let eps = [0.8, -1.3];
    let z = |at: &[f64], j: usize| at[2 * j] + (0.5 * at[2 * j + 1]).exp() * eps[j];
    let value = |at: &[f64]| (0..2).map(|j| z(at, j).sin()).sum::<f64>();
    let gradient = |factor: f64| -> Vec<f64> {
        let of = |j: usize| (z(&POINT, j).cos(), eps[j] * (0.5 * POINT[2 * j + 1]).exp());
        (0..2).flat_map(|j| [of(j).0, factor * of(j).0 * of(j).1]).collect()
    };
    let check = |factor| check_coordinates("z", &POINT, &gradient(factor), |at| (value(at), Default::default()));
    checked(
        walk,
        check(0.5),
        check(1.0),
        "caught by the same check: training would go on, with steps of the wrong size",
    );
}

fn normals(n: usize, which: u64) -> Vec<f64> {
    let mut rng = Noise::new(13).rng(Stream::Check, which, 0, 0);
    (0..n).map(|_| rng.sample(Normal)).collect()
}

fn mean_of(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let n = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / n;
    (mean, (values.map(|v| (v - mean).powi(2)).sum::<f64>() / n / n).sqrt())
}

fn deviation_for_log_variance(walk: &mut Walk) {
    walk.part("5. One number, read as log σ² here and as log σ there");
    walk.show(
        "z = mu + exp(h) * eps            -- reads h as log σ\nkl = ½ (mu² + exp(h) − 1 − h)    -- reads h as log σ²",
    );
    let (mu, h) = (0.5, -1.0f64);
    let (eps, closed) = (normals(200_000, 5), kl(&[mu, h]));
    let monte_carlo = |sigma: f64| {
        // log q − log p at z = μ + σ ε, for the q that z was really drawn from.
        mean_of(eps.iter().map(|e| -sigma.ln() - 0.5 * e * e + 0.5 * (mu + sigma * e).powi(2)))
    };
    let (wrong, right) = (monte_carlo(h.exp()), monte_carlo((0.5 * h).exp()));
    walk.show(&format!(
        "closed form {closed:.4};  E log q − log p:  z as written {:.4} ± {:.4},  with e^{{h/2}} {:.4} ± {:.4}",
        wrong.0, wrong.1, right.0, right.1
    ));
    walk.claim(
        (right.0 - closed).abs() < 5.0 * right.1 && (wrong.0 - closed).abs() > 50.0 * wrong.1,
        "Caught by a Monte Carlo estimate: it meets the closed form within its error only if both read h alike.",
    );
}

fn kl_averaged(walk: &mut Walk) {
    walk.part("6. A KL averaged over latents");
    walk.say("Twenty latents, all with mean 1 and variance 1: each costs ½ nat, so the row costs 10.");
    let eta: Vec<f64> = [vec![1.0; 20], vec![0.0; 20]].concat();
    let mut by_latent = [0.0; 20];
    let prior = StandardNormal::new(20);
    prior.kl(Isa::default(), Mat::new(&eta, 1, 40, 40), MatMut::new(&mut by_latent, 1, 20, 20));
    let (sum, mean) = (by_latent.iter().sum::<f64>(), by_latent.iter().sum::<f64>() / 20.0);
    walk.show(&format!("kl.sum() = {sum:.1}        kl.mean() = {mean:.1}, a β of 1/20 that nobody chose"));
    walk.claim(
        (sum - 10.0).abs() < 1e-12 && (mean - 0.5).abs() < 1e-12,
        "Caught by a posterior whose KL is known: 10 nats, not ½.",
    );
}

fn normalised_inputs(walk: &mut Walk, data: &Dataset) -> Result<()> {
    walk.part("7. Normalised inputs under a cross-entropy");
    walk.show("x = (x − 0.1307) / 0.3081        -- between −0.42 and 2.82: not a probability any more");
    let (x, loss) = (2.82f64, |x: f64, a: f64| a.max(0.0) - x * a + (-a.abs()).exp().ln_1p());
    let line: Vec<String> = [1.0, 10.0, 100.0, 1000.0].iter().map(|a| format!("{:.1}", loss(x, *a))).collect();
    walk.show(&format!(
        "−[x log p + (1 − x) log(1 − p)] of x = 2.82 at logits 1, 10, 100, 1000:  {}",
        line.join(",  ")
    ));
    walk.claim(
        loss(x, 1000.0) < -1800.0 && loss(1.0, 1000.0) >= 0.0,
        "The loss has no least value: the network runs off to ever larger logits, and the curve looks splendid.",
    );
    let rows: Array2<f32> = data.train().to_array();
    let normalised = Dataset::new("normalised", View::new(Rows::from_f32(rows.mapv(|x| (x - 0.1307) / 0.3081))?));
    let refused = Trainer::new(config(PIXELS, &[96], 10, LikelihoodKind::Bernoulli)?, normalised, Exec::sequential()?);
    let message = refused.err().map(|e| e.to_string()).unwrap_or_default();
    walk.show(&message);
    walk.claim(message.contains("[0, 1]"), "Caught by looking at the range of the data before the first step.");
    if let Some(path) = walk.picture("13-no-least-loss.png") {
        let mut plot = Plot::new("A loss without a least value", "The cross-entropy of one pixel x. For x in [0, 1] it is never negative; for a normalised pixel it has no bottom.")
            .x("logit a of the decoder", Scale::Linear)
            .y("−x log p − (1 − x) log(1 − p), nats", Scale::Linear)
            .y_range(-18.0, 14.0);
        for (color, x) in [0.0, 0.5, 1.0, -0.42, 2.82].into_iter().enumerate() {
            let curve = (-100..=100).map(|i| 0.1 * f64::from(i)).map(|a| [a, loss(x, a)]);
            plot = plot.line(color, &format!("x = {x}").replace('-', "−"), curve);
        }
        plot.save(path)?;
    }
    Ok(())
}

fn probabilities_for_logits(walk: &mut Walk, data: &Dataset) {
    walk.part("8. Probabilities where logits are wanted");
    walk.show("loss = binary_cross_entropy_with_logits(sigmoid(a), x)        -- the sigmoid is taken twice");
    let x: Array2<f64> = data.train().to_array::<f64>().mapv(f64::round);
    let loss = |x: f64, a: f64| a.max(0.0) - x * a + (-a.abs()).exp().ln_1p();
    // A perfect network: huge logits of the right sign.
    let perfect = |x: f64| if x > 0.5 { 40.0 } else { -40.0 };
    let rows = x.nrows() as f64;
    let right = x.iter().map(|&x| loss(x, perfect(x))).sum::<f64>() / rows;
    let wrong = x.iter().map(|&x| loss(x, 1.0 / (1.0 + (-perfect(x)).exp()))).sum::<f64>() / rows;
    walk.show(&format!(
        "a perfect reconstruction of binary digits costs {right:.3} nats from logits, {wrong:.1} this way"
    ));
    walk.claim(
        right < 1e-9 && wrong > 100.0,
        "Caught by a perfect reconstruction: its loss is 0, and here it can never fall below 100 nats.",
    );
    walk.claim(
        (loss(1.0, -800.0) - 800.0).abs() < 1e-9 && (1.0 / (1.0 + 800f64.exp())).ln() == f64::NEG_INFINITY,
        "The other way round, log(sigmoid(a)) is −∞ at a = −800; from the logit the loss is 800, as it should be.",
    );
}

fn one_noise_for_all(walk: &mut Walk) {
    walk.part("9. The same noise for all rows of a batch");
    walk.show("eps = randn(latent); z = mu + sigma * eps        -- one ε, broadcast over the batch");
    walk.say("The mean is right, so the loss looks right. But rows no longer average each other's noise away:");
    // The gradient of ½ z² by μ is z = μ + ε: here at μ = 0, averaged over a batch.
    let (steps, mut table, mut ratios) =
        (2000, String::from("rows   variance of the batch's gradient: own noise   one noise\n"), vec![]);
    for rows in [1, 10, 100] {
        let eps = normals(steps * rows, rows as u64);
        let variance = |g: Vec<f64>| g.iter().map(|g| g * g).sum::<f64>() / g.len() as f64;
        let own = variance(eps.chunks(rows).map(|e| e.iter().sum::<f64>() / rows as f64).collect());
        let one = variance(eps.chunks(rows).map(|e| e[0]).collect());
        table += &format!("{rows:>4}   {own:>44.4}   {one:>9.4}\n");
        ratios.push(one / own);
    }
    walk.show(&table);
    // A variance from 2,000 squares is known to about 3 %.
    walk.claim(
        (ratios[1] / 10.0 - 1.0).abs() < 0.25 && (ratios[2] / 100.0 - 1.0).abs() < 0.25,
        "Caught by the variance: it must fall as 1/rows, and with one noise it does not fall at all.",
    );
}

fn noise_at_test_time(walk: &mut Walk, honest: &Trainer) -> Result<()> {
    walk.part("10. Sampling noise at test time");
    walk.say(
        "A score, or an embedding, that is one random draw differs from call to call. Scores of 300 held-out digits:",
    );
    let view = Examples::first(honest.data().split(Split::Test)?, 300);
    let examples = Examples::new(honest.vae(), &view, honest.config().binarize, 0)?;
    let score = |samples| -> Result<Vec<f64>> {
        Ok(scores(&mut honest.inference(), &examples, samples)?.iter().map(|s| s.neg_elbo()).collect())
    };
    let spread =
        |a: &[f64], b: &[f64]| (a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / a.len() as f64).sqrt();
    let (once, again) = (score(None)?, score(None)?);
    let (drawn, redrawn) = (score(Some((1, 1)))?, score(Some((1, 2)))?);
    let top = |s: &[f64]| {
        let mut order: Vec<usize> = (0..s.len()).collect();
        order.sort_by(|&a, &b| s[b].total_cmp(&s[a]));
        order[..30].to_vec()
    };
    let (first, second) = (top(&drawn), top(&redrawn));
    let moved = first.iter().filter(|row| !second.contains(row)).count();
    walk.show(&format!(
        "difference of two calls: {:.2} nats with one draw, {:.2} at the posterior's mean\nof the 30 most unusual digits by one draw, {moved} are others in the second call",
        spread(&drawn, &redrawn),
        spread(&once, &again)
    ));
    walk.claim(once == again, "At the posterior's mean two calls agree to the bit.");
    walk.claim(
        spread(&drawn, &redrawn) > 0.5 && moved > 0,
        "Caught by calling twice: one draw moves scores by more than half a nat, and ranks with them.",
    );
    Ok(())
}

fn weights_upside_down(walk: &mut Walk) {
    walk.part("11. Importance weights upside down");
    walk.show("log w = log p(x|z) + log p(z) − log q(z|x)        written:  log p(x|z) − log p(z) + log q(z|x)");
    let log_normal = |z: f64, mean: f64, variance: f64| {
        -0.5 * ((2.0 * std::f64::consts::PI * variance).ln() + (z - mean).powi(2) / variance)
    };
    let (x, variance) = (1.5, 0.3f64);
    let (mut right, mut wrong, samples) = (LogSumExp::default(), LogSumExp::default(), 10_000);
    for eps in normals(samples, 11) {
        let z = 1.2 + variance.sqrt() * eps;
        let (likelihood, prior, q) = (log_normal(x, z, 0.25), log_normal(z, 0.0, 1.0), log_normal(z, 1.2, variance));
        right.add(likelihood + prior - q);
        wrong.add(likelihood - prior + q);
    }
    let (exact, of) = (log_normal(x, 0.0, 1.25), |sum: LogSumExp| sum.value() - (samples as f64).ln());
    walk.show(&format!("log p(x) = {exact:.4}        right {:.4}        upside down {:.4}", of(right), of(wrong)));
    walk.claim((of(right) - exact).abs() < 0.03, "The right weights find log p(x) to 0.03 nats.");
    walk.claim(
        of(wrong) > exact + 0.5,
        "Caught by a model with a known log p(x): the wrong \"lower bound\" is half a nat above it.",
    );
}

fn a_warm_up_that_never_ends(walk: &mut Walk) -> Result<()> {
    walk.part("12. A warm-up that is longer than the run");
    let (schedule, steps) = (BetaSchedule::Linear { beta: 1.0, warmup: 10_000 }, 720);
    let last = schedule.at(steps - 1);
    walk.show(&format!("β of the last of {steps} steps: {last:.3}, in a run that says β = 1"));
    let (fitted, warning) = schedule.check(steps)?;
    walk.show(&warning.clone().unwrap_or_default());
    walk.claim(
        last < 0.1 && warning.is_some() && fitted.at(steps - 1) == 1.0,
        "Caught by printing the last step's β beside the one that was asked for.",
    );
    Ok(())
}
