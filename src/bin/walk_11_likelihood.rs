//! 11: the likelihood is the claim about the noise. Squared error, cross-entropy and their kin are densities
//! with something left out, and what is left out matters.

mod walk;

use elbo::data::{Binarize, Dataset, Split, View};
use elbo::density::{Gaussian, Likelihood, LikelihoodKind, Variance};
use elbo::gradcheck::check_coordinates;
use elbo::optim::OptimizerConfig;
use elbo::task::{Examples, reconstruct};
use elbo::tensor::{Isa, Layout, Mat, Noise, Params};
use elbo::train::filler;
use elbo::{Result, TrainConfig, Trainer};
use walk::Walk;
use walk::digits::{PIXELS, SIDE, config, digits, terms, train};
use walk::draw::{Window, plot};
use walk::plot::{Plot, Scale, strips};

const LOG_TAU: f64 = 1.837_877_066_409_345_5;

fn main() -> Result<()> {
    let mut walk = Walk::start(
        11,
        "The likelihood matters",
        "which density hides behind a squared error and which behind a cross-entropy, why a mean instead of a sum \
         switches the latents off, how a variance is learned, and what grey values do to a loss made for bits.",
    );
    let data = digits()?;
    let held_out = data.split(Split::Test)?;
    squared_error(&mut walk)?;
    let [unit, averaged] = mean_instead_of_sum(&mut walk, &data)?;
    let learned = learned_variance(&mut walk, &data, &unit)?;
    let grey = grey_values(&mut walk, &data, held_out)?;
    continuous_bernoulli(&mut walk)?;
    one_table(&mut walk, held_out, [&unit, &learned, &grey])?;
    reconstructions(&walk, held_out, [&averaged, &unit, &learned, &grey])?;
    walk.end();
    Ok(())
}

fn squared_error(walk: &mut Walk) -> Result<()> {
    walk.part("A squared error is a Gaussian that lost its constants");
    walk.show(
        "−log N(x; μ, σ²) = Σ_d [ (x_d − μ_d)² / 2σ² + ½ log σ² + ½ log 2π ]        σ² = 1:  ½ Σ d² + D/2 · log 2π",
    );
    let (x, mu) = ([0.1, 0.9, 0.4, 0.0], [0.3, 0.7, 0.4, 0.2]);
    let half_squares: f64 = x.iter().zip(&mu).map(|(x, m): (&f64, &f64)| 0.5 * (x - m).powi(2)).sum();
    let mut layout = Layout::new();
    let gaussian = Gaussian::new(&mut layout, 4, Variance::Unit);
    let (params, mut log_prob) = (Params::<f64>::zeros(&layout), [0.0]);
    gaussian.log_prob(Isa::default(), &params, Mat::new(&x, 1, 4, 4), Mat::new(&mu, 1, 4, 4), &mut log_prob);
    walk.show(&format!(
        "half the squared error {half_squares:.6}, and 4/2 · log 2π = {:.6}: the library's −log p is {:.6}",
        2.0 * LOG_TAU,
        -log_prob[0]
    ));
    walk.claim(
        (-log_prob[0] - half_squares - 2.0 * LOG_TAU).abs() < 1e-12,
        "−log p(x|z) at unit variance is half the squared error plus D/2 · log 2π.",
    );
    Ok(())
}

fn gaussian(data: &Dataset, likelihood: LikelihoodKind) -> Result<Trainer> {
    // A log-variance that is learned has four nats to go, a learning rate at a time: hence 0.01.
    let optimizer = OptimizerConfig::adam(0.01, 1e-8);
    train(TrainConfig { epochs: 14, optimizer, ..config(PIXELS, &[96], 12, likelihood)? }, data)
}

/// The mean squared error of a pixel, with one draw of z a row; −log p is known, and everything else in it.
fn pixel_error(trainer: &Trainer, view: &View, log_variance: f64) -> f64 {
    let nats = terms(trainer, view).stats.mean_reconstruction();
    (2.0 * nats / PIXELS as f64 - LOG_TAU - log_variance) * log_variance.exp()
}

fn mean_instead_of_sum(walk: &mut Walk, data: &Dataset) -> Result<[Trainer; 2]> {
    walk.part("A mean instead of a sum switches the latents off");
    walk.say(
        "Much code averages the squared error over the pixels and adds the KL. Read as a likelihood, that is a Gaussian \
         again, but of another variance:",
    );
    walk.show("(1/D) Σ d² + KL  =  Σ d² / 2σ² + KL    with  σ² = D/2,   98 for 196 pixels between 0 and 1");
    walk.say("Nobody would claim a noise of standard deviation 10 on values between 0 and 1. The model believes it:");
    let unit = gaussian(data, LikelihoodKind::GaussianUnit)?;
    let mean = gaussian(data, LikelihoodKind::GaussianGiven(PIXELS as f64 / 2.0))?;
    let (with_sum, with_mean) = (terms(&unit, data.train()), terms(&mean, data.train()));
    walk.show(&format!(
        "sum  (σ² = 1)    R = {:>7.4} nats,  {:>2} latents in use\nmean (σ² = D/2)  R = {:>7.4} nats,  {:>2} latents in use",
        with_sum.stats.mean_kl(),
        with_sum.active_units,
        with_mean.stats.mean_kl(),
        with_mean.active_units
    ));
    walk.claim(
        with_mean.active_units == 0 && with_mean.stats.mean_kl() < 0.01,
        "With the mean, no latent is used and the KL is 0: a VAE that learned nothing.",
    );
    walk.claim(
        with_sum.active_units >= 1,
        "With the sum at least one latent is used; even σ² = 1 is much noise for these pixels.",
    );
    Ok([unit, mean])
}

fn learned_variance(walk: &mut Walk, data: &Dataset, unit: &Trainer) -> Result<Trainer> {
    walk.part("A variance is a parameter like any other");
    walk.say("So let the data say how noisy they are. Set the derivative of Σ d²/2σ² + D/2 · log σ² by σ² to zero:");
    walk.show("σ² = (1/D) Σ d²,  the mean squared error of a pixel      (the σ-VAE of Rybkin et al. 2021)");
    let learned = gaussian(data, LikelihoodKind::GaussianLearned)?;
    let entry = learned.vae().layout().find("likelihood.log_variance");
    let log_variance = entry.map_or(f64::NAN, |e| f64::from(learned.params().slot(&e.slot)[0]));
    let (before, after) = (pixel_error(unit, data.train(), 0.0), pixel_error(&learned, data.train(), log_variance));
    let (at_unit, at_learned) = (terms(unit, data.train()), terms(&learned, data.train()));
    walk.show(&format!(
        "          σ²      mean d²        R   latents in use    −ELBO\nfixed    1.0000    {before:.4}   {:>6.2}   {:>14}   {:>6.1}\n\
         learned  {:.4}    {after:.4}   {:>6.2}   {:>14}   {:>6.1}",
        at_unit.stats.mean_kl(),
        at_unit.active_units,
        at_unit.stats.neg_elbo(),
        log_variance.exp(),
        at_learned.stats.mean_kl(),
        at_learned.active_units,
        at_learned.stats.neg_elbo()
    ));
    walk.claim(
        (log_variance.exp() / after - 1.0).abs() < 0.1,
        "The learned σ² is the mean squared error, within a tenth.",
    );
    walk.claim(after < 0.5 * before, "With it, reconstructions have less than half the error: R was too dear before.");
    walk.claim(
        at_learned.stats.neg_elbo() < at_unit.stats.neg_elbo() - 150.0,
        "And −ELBO falls by more than 150 nats an example. It is negative: a density may exceed 1.",
    );
    let x: ndarray::Array2<f32> = data.train().to_array();
    let constant = x.columns().into_iter().filter(|c| c.iter().all(|v| *v == c[0])).count();
    walk.say(&format!(
        "One caution. {constant} of the {PIXELS} pixels never change. Give each pixel a variance of its own, and those \
         variances may shrink for ever: each halving of σ wins {constant} · log 2 = {:.1} nats that say nothing of \
         digits. Densities have no ceiling; compare them only where the variance is held up by something.",
        constant as f64 * 2f64.ln()
    ));
    walk.claim(constant > 0, "There are pixels that are the same in all digits.");
    Ok(learned)
}

/// −log of the Bernoulli "probability" of a grey value: x log p + (1 − x) log (1 − p) at p = σ(a), from the logit.
fn cross_entropy(x: f64, a: f64) -> f64 {
    a.max(0.0) - x * a + (-a.abs()).exp().ln_1p()
}

/// The least cross-entropy of a grey value: its entropy.
fn entropy(x: f64) -> f64 {
    let term = |p: f64| if p > 0.0 { -p * p.ln() } else { 0.0 };
    term(x) + term(1.0 - x)
}

fn grey_values(walk: &mut Walk, data: &Dataset, held_out: &View) -> Result<Trainer> {
    walk.part("Grey values under a cross-entropy");
    walk.say(
        "A Bernoulli pixel is 0 or 1, and its cross-entropy is a number of nats. A grey x = 0.4 is neither; the formula \
         still gives a number. What is it? Not even a perfect reconstruction, p = x, makes it 0:",
    );
    walk.show("−x log p − (1 − x) log(1 − p)  ≥  H(x) = −x log x − (1 − x) log(1 − x)");
    let trainer = train(TrainConfig { epochs: 6, ..config(PIXELS, &[128], 12, LikelihoodKind::Bernoulli)? }, data)?;
    let distortion = terms(&trainer, held_out).stats.mean_reconstruction();
    let x: ndarray::Array2<f64> = held_out.to_array();
    let floor = x.iter().map(|&x| entropy(x)).sum::<f64>() / held_out.len() as f64;
    walk.show(&format!(
        "reconstruction of held-out digits: {distortion:.2} nats, of which H(x) = {floor:.2} nats can never go away"
    ));
    walk.claim(
        floor > 0.4 * distortion && floor < distortion,
        "More than four tenths of the reconstruction term is the entropy of the grey values: it is not an error.",
    );
    walk.say(
        "The gradient, p − x, is sensible, and so grey digits are trained this way everywhere. But the number is no −log \
         density: p^x (1 − p)^(1 − x) does not integrate to 1 over the grey values.",
    );
    Ok(trainer)
}

/// log C of the continuous Bernoulli, from the logit: C(a) = a / tanh(a/2), and 2 at 0.
fn log_normaliser(a: f64) -> f64 {
    // Near 0: log 2 + a²/12 − 7a⁴/1440, whose last term is below the rounding of log 2 here.
    if a.abs() < 1e-3 { 2f64.ln() + a * a / 12.0 } else { (a / (0.5 * a).tanh()).ln() }
}

/// Its mean, σ(a) − d log C / da = 1 / (1 − e⁻ᵃ) − 1/a.
fn mean(a: f64) -> f64 {
    if a.abs() < 1e-3 { 0.5 + a / 12.0 } else { 1.0 / -(-a).exp_m1() - 1.0 / a }
}

/// ∫₀¹ f by Simpson's rule.
fn integral(f: impl Fn(f64) -> f64) -> f64 {
    let n = 1000;
    let at = |i: usize| f(i as f64 / f64::from(n));
    let weight = |i: usize| if i % 2 == 1 { 4.0 } else { 2.0 };
    let inner: f64 = (1..n as usize).map(|i| weight(i) * at(i)).sum();
    (at(0) + inner + at(n as usize)) / (3.0 * f64::from(n))
}

fn continuous_bernoulli(walk: &mut Walk) -> Result<()> {
    walk.part("The density behind it: the continuous Bernoulli");
    walk.say("With the logit a, p = 1 / (1 + e⁻ᵃ), the integral has a closed form (Loaiza-Ganem and Cunningham 2019):");
    walk.show(
        "∫ p^x (1 − p)^(1 − x) dx = (1 − p) ∫ e^{a x} dx = (1 − p) (eᵃ − 1) / a = tanh(a/2) / a = 1 / C(a)\n\n\
         log p(x; a) = −cross-entropy + log C(a)        C(0) = 2\n∂/∂a = x − σ(a) + 1/a − 1/sinh a = x − mean(a)",
    );
    let logits = [-6.0, -2.0, -0.3, 0.0, 0.7, 3.0, 9.0];
    let mut table = String::from("    a   ∫ exp(−cross-entropy)     1/C(a)    log C(a)   p = σ(a)    mean(a)\n");
    let mut closed = true;
    for a in logits {
        let (area, c) = (integral(|x| (-cross_entropy(x, a)).exp()), log_normaliser(a));
        let p = 1.0 / (1.0 + (-a).exp());
        table += &format!("{a:>5}  {area:>22.6}  {:>9.6}  {c:>10.4}  {p:>9.4}  {:>9.4}\n", (-c).exp(), mean(a));
        closed &= (area * c.exp() - 1.0).abs() < 1e-8;
    }
    walk.show(&table);
    walk.claim(closed, "The closed form is the integral, to eight digits, at every logit of the table.");
    walk.claim(
        logits.iter().all(|a| log_normaliser(*a) >= 2f64.ln()),
        "log C is log 2 or more: a cross-entropy overstates −log density by at least 0.69 nats a pixel.",
    );
    let x = 0.3;
    let gradient: Vec<f64> = logits.iter().map(|a| x - mean(*a)).collect();
    let check = check_coordinates("log p", &logits, &gradient, |a| {
        (a.iter().map(|&a| log_normaliser(a) - cross_entropy(x, a)).sum(), Default::default())
    });
    walk.claim(check.passed(), &format!("Its derivative is x − mean(a): worst relative error {:.0e}.", check.worst));
    let density = |x: f64, a: f64| [x, (log_normaliser(a) - cross_entropy(x, a)).exp()];
    let curve = |a: f64| (0..64).map(|i| density(f64::from(i) / 63.0, a)).collect();
    walk.show("the density over x in [0, 1] for logits 0 (·), 2 (+) and 4 (#)\n");
    let curves = [('·', curve(0.0)), ('+', curve(2.0)), ('#', curve(4.0))];
    walk.show(&plot(&curves, Window { x: (0.0, 1.0), y: (0.0, 4.1) }, 64, 12));
    walk.say(
        "A model that says p = 0.88 means, as a density, a mean of 0.66: it is piled up at the edge. A cross-entropy \
         makes p the mean of x; the density wants another logit for the same pixel:",
    );
    best_logits(walk);
    if let Some(path) = walk.picture("11-continuous-bernoulli.png") {
        let mut plot = Plot::new(
            "The density behind a cross-entropy on grey values",
            "The continuous Bernoulli, p^x (1 − p)^(1 − x) · C: each area is 1.",
        )
        .x("x, a grey value", Scale::Linear)
        .y("density", Scale::Linear)
        .y_range(0.0, 4.2);
        for (color, a) in [-2.0, 0.0, 2.0, 4.0f64].into_iter().enumerate() {
            let name = format!("p = {:.2}, mean {:.2}", 1.0 / (1.0 + (-a).exp()), mean(a));
            plot = plot.line(color, &name, (0..=200).map(|i| density(0.005 * f64::from(i), a)));
        }
        plot.save(path)?;
    }
    Ok(())
}

/// A pixel with grey values of mean 0.8: the logit that each loss wants, and their densities.
fn best_logits(walk: &mut Walk) {
    let target: f64 = 0.8;
    let by_cross_entropy = (target / (1.0 - target)).ln();
    let (mut low, mut high) = (0.0, 50.0);
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        *(if mean(middle) < target { &mut low } else { &mut high }) = middle;
    }
    // Both are linear in x, so the mean of log p over pixels of mean 0.8 is log p at 0.8.
    let nats = |a: f64| log_normaliser(a) - cross_entropy(target, a);
    walk.show(&format!(
        "                        logit        p   mean(a)   log density\nby the cross-entropy   {by_cross_entropy:>6.3}   {:.4}    {:.4}   {:>11.4}\n\
         by the density         {low:>6.3}   {:.4}    {:.4}   {:>11.4}",
        1.0 / (1.0 + (-by_cross_entropy).exp()),
        mean(by_cross_entropy),
        nats(by_cross_entropy),
        1.0 / (1.0 + (-low).exp()),
        mean(low),
        nats(low)
    ));
    walk.claim(
        (mean(low) - target).abs() < 1e-12 && nats(low) > nats(by_cross_entropy) + 0.1,
        "The density's own optimum has the pixel's mean, and gains more than a tenth of a nat on every such pixel.",
    );
}

fn one_table(walk: &mut Walk, view: &View, [unit, learned, grey]: [&Trainer; 3]) -> Result<()> {
    walk.part("One table, and what may be compared in it");
    let fill = filler(view, Binarize::None, Noise::new(0));
    let mut total = 0.0;
    grey.inference().reconstruct(view.len(), &fill, |_, logits, _| {
        total += logits.iter().map(|&a| log_normaliser(f64::from(a))).sum::<f64>();
    });
    let normaliser = total / view.len() as f64;
    let [a, b, c] = [unit, learned, grey].map(|t| terms(t, view).stats);
    walk.show(&format!(
        "held-out digits, nats per example           D         R     D + R   a density?\n\
         Gaussian, σ² = 1                     {:>8.1}  {:>8.2}  {:>8.1}   yes\n\
         Gaussian, σ² learned                 {:>8.1}  {:>8.2}  {:>8.1}   yes\n\
         cross-entropy on grey values         {:>8.1}  {:>8.2}  {:>8.1}   no\n\
         the same network, with log C         {:>8.1}  {:>8.2}  {:>8.1}   yes, continuous Bernoulli",
        a.mean_reconstruction(),
        a.mean_kl(),
        a.neg_elbo(),
        b.mean_reconstruction(),
        b.mean_kl(),
        b.neg_elbo(),
        c.mean_reconstruction(),
        c.mean_kl(),
        c.neg_elbo(),
        c.mean_reconstruction() - normaliser,
        c.mean_kl(),
        c.neg_elbo() - normaliser
    ));
    walk.claim(
        normaliser > PIXELS as f64 * 2f64.ln(),
        "On trained digits the left-out log C is more than log 2 a pixel: hundreds of nats an example.",
    );
    walk.claim(
        c.neg_elbo() > 0.0 && c.neg_elbo() - normaliser < 0.0,
        "What looked like a positive cost is a negative −log density once the constant is there.",
    );
    walk.say(
        "Numbers from different likelihoods compare only where all are densities of the same x. Grey made binary is other \
         data: then a cross-entropy is exact, and comparable with papers that binarized the same way.",
    );
    Ok(())
}

/// Held-out digits, and what each likelihood makes of them.
fn reconstructions(walk: &Walk, held_out: &View, trainers: [&Trainer; 4]) -> Result<()> {
    let Some(path) = walk.picture("11-reconstructions.png") else { return Ok(()) };
    let view = Examples::first(held_out, 10);
    let back = |t: &Trainer| reconstruct(&mut t.inference(), &Examples::new(t.vae(), &view, Binarize::None, 0)?);
    let [averaged, unit, learned, grey] = trainers.map(back);
    let (averaged, unit, learned, grey) = (averaged?, unit?, learned?, grey?);
    let continuous = grey.mapv(|p| mean((f64::from(p) / (1.0 - f64::from(p))).ln()) as f32);
    strips(
        [
            "The likelihood decides what is worth sending",
            "Ten held-out digits, and the mean of p(x|z) at the mean of q(z|x).",
        ],
        SIDE,
        &[
            ("held-out digits", &view.to_array()),
            ("Gaussian, σ² = D/2: a mean of squares", &averaged),
            ("Gaussian, σ² = 1: a sum of squares", &unit),
            ("Gaussian, σ² learned", &learned),
            ("cross-entropy: p = σ(a)", &grey),
            ("the same logits, as a continuous Bernoulli", &continuous),
        ],
        path,
    )
}
