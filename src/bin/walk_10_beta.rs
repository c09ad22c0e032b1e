//! 10: β buys and sells nats. One network is trained at five prices; the results lie on a curve whose slope
//! is β, and only one of its points is the bound.

mod walk;

use elbo::Result;
use elbo::data::Dataset;
use elbo::density::LikelihoodKind;
use elbo::estimator::BetaSchedule;
use elbo::task::{Examples, reconstruct, sample};
use elbo::{TrainConfig, Trainer};
use ndarray::{Array2, Axis, concatenate};
use walk::digits::{PIXELS, SIDE, config, digits, first, pictures, terms, train};
use walk::draw::{Window, plot};
use walk::{Walk, grey};

const BETAS: [f64; 5] = [0.1, 0.3, 1.0, 3.0, 10.0];

/// One trained model: where it stands on the training rows, and its −ELBO on held-out ones. Nats per example.
struct Point {
    beta: f64,
    trainer: Trainer,
    rate: f64,
    distortion: f64,
    held_out: f64,
    active: usize,
}

fn main() -> Result<()> {
    let mut walk = Walk::start(
        10,
        "Beta: the rate–distortion curve",
        "what β trades for what, why the curve's slope is −β, why only β = 1 is a bound on log p(x), and why a β can \
         hide in the noise of a likelihood.",
    );
    let data = digits()?;
    two_currencies(&walk);
    let points = points(&data)?;
    the_curve(&mut walk, &points);
    what_it_looks_like(&mut walk, &points, &data)?;
    beta_in_disguise(&mut walk, &data)?;
    walk.end();
    Ok(())
}

fn two_currencies(walk: &Walk) {
    walk.part("Two costs");
    walk.say(
        "Think of the encoder as a sender and of the decoder as a receiver. What the receiver must be told about x \
         costs nats twice. The rate R is what z says: how far q(z|x) is from what the receiver expected anyway. The \
         distortion D is what is still missing once z is known.",
    );
    walk.show("R = E KL(q(z|x) ‖ p(z))        D = E −log p(x|z)        −ELBO = D + R");
    walk.say(
        "Plain training minimises D + R: one nat of rate may be spent to save one nat of distortion, and no more. \
         The β-VAE (Higgins et al. 2017) changes the price:",
    );
    walk.show("minimise  D + β R");
    walk.say(
        "Two models, trained at prices β₁ < β₂, each the best at its own price, tell on each other: neither may win at \
         the other's price. Write both inequalities down and subtract (Alemi et al. 2018):",
    );
    walk.show(
        "D₁ + β₁ R₁ ≤ D₂ + β₁ R₂                  D₂ − D₁\nD₂ + β₂ R₂ ≤ D₁ + β₂ R₁    gives    β₁ ≤ ─────── ≤ β₂\n                                         R₁ − R₂",
    );
    walk.say("So R falls as β rises, D rises, and the slope between two neighbours lies between their two prices.");
}

fn beta_config(beta: f64, likelihood: LikelihoodKind, hidden: &[usize], latent: usize) -> Result<TrainConfig> {
    let beta = BetaSchedule::Constant(beta);
    Ok(TrainConfig { epochs: 6, beta, ..config(PIXELS, hidden, latent, likelihood)? })
}

fn points(data: &Dataset) -> Result<Vec<Point>> {
    let point = |beta: f64| {
        let trainer = train(beta_config(beta, LikelihoodKind::Bernoulli, &[128], 12)?, data)?;
        let (seen, held_out) = (terms(&trainer, data.train()), terms(&trainer, data.split(elbo::data::Split::Test)?));
        Ok(Point {
            beta,
            rate: seen.stats.mean_kl(),
            distortion: seen.stats.mean_reconstruction(),
            held_out: held_out.stats.neg_elbo(),
            active: held_out.active_units,
            trainer,
        })
    };
    BETAS.into_iter().map(point).collect()
}

fn the_curve(walk: &mut Walk, points: &[Point]) {
    walk.part("The curve, on 9,000 digits of 14 by 14 pixels");
    let mut table = String::from("    β       R       D   D + R   held out   latents in use   slope to the next\n");
    let slope = |pair: &[Point]| (pair[1].distortion - pair[0].distortion) / (pair[0].rate - pair[1].rate);
    for (i, p) in points.iter().enumerate() {
        let next = points.get(i..i + 2).map_or(String::new(), |pair| format!("{:.2}", slope(pair)));
        let total = p.rate + p.distortion;
        table += &format!(
            "{:>5}  {:>6.2}  {:>6.2}  {total:>6.2}  {:>9.2}  {:>11} of 12  {next:>18}\n",
            p.beta, p.rate, p.distortion, p.held_out, p.active
        );
    }
    walk.show(&table);
    let curve: Vec<[f64; 2]> = points.windows(2).flat_map(|w| dots(&w[0], &w[1])).collect();
    let marks: Vec<[f64; 2]> = points.iter().map(|p| [p.rate, p.distortion]).collect();
    let top = points.iter().map(|p| p.distortion).fold(0.0, f64::max);
    let low = points.iter().map(|p| p.distortion).fold(top, f64::min);
    let right = points.iter().map(|p| p.rate).fold(0.0, f64::max);
    let window = Window { x: (0.0, right), y: (low, top) };
    walk.show(&format!("D (up, {low:.0} to {top:.0} nats) against R (right, 0 to {right:.0} nats)\n"));
    walk.show(&plot(&[('·', curve), ('●', marks)], window, 64, 16));

    walk.claim(
        points.windows(2).all(|p| p[1].rate < p[0].rate && p[1].distortion > p[0].distortion),
        "With every rise of β the rate falls and the distortion rises.",
    );
    // Training is finite and z is drawn once a row: a tenth is far more than either moves a slope.
    walk.claim(
        points.windows(2).all(|p| (0.9 * p[0].beta..1.1 * p[1].beta).contains(&slope(p))),
        "Each chord's slope lies between the two prices: the curve is convex, and its slope at a point is −β.",
    );
    let at_one = points.iter().find(|p| p.beta == 1.0).map_or(f64::NAN, |p| p.held_out);
    walk.claim(
        points.iter().all(|p| p.beta == 1.0 || p.held_out > at_one + 1.0),
        "The −ELBO of held-out digits is least at β = 1, by more than a nat: every other β trains for another objective.",
    );
    let (least, most) = (&points[0], &points[points.len() - 1]);
    walk.claim(
        most.active < least.active && most.rate < 0.2 * least.rate,
        "At the highest price latents fall out of use one by one: walkthrough 09 says which.",
    );
}

/// Dots on the straight line between two points of the curve.
fn dots(a: &Point, b: &Point) -> Vec<[f64; 2]> {
    let mix = |t: f64| [a.rate + t * (b.rate - a.rate), a.distortion + t * (b.distortion - a.distortion)];
    (1..24).map(|i| mix(f64::from(i) / 24.0)).collect()
}

fn what_it_looks_like(walk: &mut Walk, points: &[Point], data: &Dataset) -> Result<()> {
    walk.part("What a nat looks like");
    walk.say(
        "Five held-out digits, then each model's reconstruction of them. A high price leaves the mean of many digits; a \
         low price keeps strokes. Below them, what each model makes of five latents drawn from the prior.",
    );
    let view = Examples::first(data.split(elbo::data::Split::Test)?, 200);
    let originals: Array2<f32> = view.to_array();
    walk.show(&grey(&pictures(&first(&originals, 5)), SIDE, SIDE));
    let mut errors = Vec::new();
    for p in points.iter().filter(|p| [0.1, 1.0, 10.0].contains(&p.beta)) {
        let mut inference = p.trainer.inference();
        let back =
            reconstruct(&mut inference, &Examples::new(p.trainer.vae(), &view, p.trainer.config().binarize, 0)?)?;
        let drawn = sample(&mut inference, 40, 3)?;
        walk.show(&format!("β = {}: reconstructions, then samples\n", p.beta));
        walk.show(&grey(&pictures(&first(&back, 5)), SIDE, SIDE));
        walk.show(&grey(&pictures(&first(&drawn, 5)), SIDE, SIDE));
        errors.push((&back - &originals).mapv(|d| f64::from(d * d)).sum() / view.len() as f64);
        if let Some(path) = walk.picture(&format!("10_beta_{}.png", p.beta)) {
            let both = concatenate(Axis(0), &[first(&back, 20).view(), first(&drawn, 20).view()]);
            let both = both.map_err(|e| elbo::Error::input(e.to_string()))?;
            elbo::report::grid::grid(both.view(), (SIDE, SIDE, 1), 10, path)?;
        }
    }
    walk.show(&format!(
        "squared error of a reconstruction: {:.2} at β = 0.1, {:.2} at β = 1, {:.2} at β = 10",
        errors[0], errors[1], errors[2]
    ));
    walk.claim(
        errors[0] < 0.95 * errors[1] && errors[1] < 0.7 * errors[2],
        "A low β reconstructs better, a high one worse: squared error rises with β.",
    );
    Ok(())
}

fn beta_in_disguise(walk: &mut Walk, data: &Dataset) -> Result<()> {
    walk.part("A β in disguise");
    walk.say(
        "A Gaussian likelihood has a noise variance σ², and squared error is what is left when one forgets it. But it \
         is a price. With the constants left out:",
    );
    walk.show("½ Σ d² + β R  =  β ( Σ d² / 2β + R ):   unit variance at β  is  variance σ² = β at price 1");
    let rate = |beta: f64, likelihood| -> Result<f64> {
        let trainer = train(beta_config(beta, likelihood, &[], 8)?, data)?;
        Ok(terms(&trainer, data.train()).stats.mean_kl())
    };
    let mut table = String::from("    β      R at unit variance and β      R at variance β and price 1\n");
    let mut agree = true;
    for beta in [0.3, 0.1, 0.03] {
        let (priced, noisy) =
            (rate(beta, LikelihoodKind::GaussianUnit)?, rate(1.0, LikelihoodKind::GaussianGiven(beta))?);
        table += &format!("{beta:>5}  {priced:>27.3}  {noisy:>31.3}\n");
        agree &= (priced - noisy).abs() < 0.03 * noisy;
    }
    walk.show(&table);
    walk.claim(
        agree,
        "To three per cent the two runs buy the same rate: they minimise the same function, up to a factor.",
    );
    walk.say(
        "So a paper's β means nothing without its likelihood, and neither does a squared error without its σ². If the \
         noise is not known, let it be learned (walkthrough 11); if β ≠ 1 is chosen, it is chosen for what the codes \
         are for, and the −ELBO no longer measures success.",
    );
    Ok(())
}
