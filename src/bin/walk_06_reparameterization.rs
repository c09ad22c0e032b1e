//! 06: reparameterization, z = μ + σ ε, against the score-function estimator: the variance of both, measured.

mod walk;

use elbo::density::{DiagonalGaussian, Posterior};
use elbo::gradcheck::check_coordinates;
use elbo::layer::Sides;
use elbo::tensor::{Buffer, Isa, Noise, Stream};
use rand::Rng;
use rand_distr::StandardNormal;
use walk::plot::{Plot, Scale};
use walk::{Walk, bar, mean_and_error};

const DRAWS: usize = 20_000;

/// f(z) = Σ (z_j − 1)²: what a decoder says of z, as simple as can be.
fn f(z: &[f64]) -> f64 {
    z.iter().map(|z| (z - 1.0).powi(2)).sum()
}

/// Estimates of ∂/∂μ₁ and ∂/∂v₁ of E f(z), one for each draw.
struct Estimates {
    reparameterized: [Vec<f64>; 2],
    score: [Vec<f64>; 2],
    /// The score function's, with the mean of f taken off.
    baseline: Vec<f64>,
}

/// `draws` draws of z ~ N(mean, e^v) in `latent` dimensions, all with the same mean and log-variance, through the
/// library's posterior.
fn estimates(latent: usize, mean: f64, v: f64, draws: usize) -> Estimates {
    let (isa, q) = (Isa::default(), DiagonalGaussian::new(latent));
    let buffer = |cols| Buffer::<f64>::new(draws, cols);
    let (mut eta, mut eps, mut z, mut dz, mut deta) =
        (buffer(2 * latent), buffer(latent), buffer(latent), buffer(latent), buffer(2 * latent));
    eta.view_mut(draws).indexed_iter_mut().for_each(|((_, c), eta)| *eta = if c < latent { mean } else { v });
    let mut rng = Noise::new(6).rng(Stream::Check, latent as u64, 0, 0);
    eps.view_mut(draws).mapv_inplace(|_| rng.sample(StandardNormal));

    q.sample(isa, eta.rows(draws), eps.rows(draws), z.rows_mut(draws));
    dz.view_mut(draws).assign(&z.view(draws).mapv(|z| 2.0 * (z - 1.0)));
    q.sample_grad(isa, eta.rows(draws), eps.rows(draws), dz.rows(draws), deta.rows_mut(draws));

    let exact_mean = latent as f64 * ((mean - 1.0).powi(2) + v.exp());
    let each = |of: &dyn Fn(usize) -> f64| (0..draws).map(of).collect::<Vec<f64>>();
    let (z, deta) = (z.rows(draws), deta.rows(draws));
    // ∂ log q/∂μ = (z − μ) / σ²,  ∂ log q/∂v = ½ ((z − μ)² / σ² − 1)
    let score = |r: usize| (z.row(r)[0] - mean) / v.exp();
    let score_v = |r: usize| 0.5 * ((z.row(r)[0] - mean).powi(2) / v.exp() - 1.0);
    Estimates {
        reparameterized: [each(&|r| deta.row(r)[0]), each(&|r| deta.row(r)[latent])],
        score: [each(&|r| f(z.row(r)) * score(r)), each(&|r| f(z.row(r)) * score_v(r))],
        baseline: each(&|r| (f(z.row(r)) - exact_mean) * score(r)),
    }
}

fn variance(values: &[f64]) -> f64 {
    mean_and_error(values).1.powi(2) * values.len() as f64
}

fn main() -> elbo::Result<()> {
    let mut walk = Walk::start(
        6,
        "Reparameterization",
        "how a gradient gets through a random draw, and why the other way to get it there is so much noisier.",
    );
    problem(&mut walk);
    unbiased(&mut walk);
    derivative(&mut walk);
    variances(&mut walk);
    race(&mut walk)?;
    walk.end();
    Ok(())
}

fn problem(walk: &mut Walk) {
    walk.part("The problem");
    walk.say(
        "The encoder gives μ and v = log σ², a draw z ~ N(μ, σ²) goes into the decoder, and the loss is an average \
         over draws, E f(z). How does it depend on μ? The draw stands in between, and a draw has no derivative. There \
         are two ways around it.",
    );
    walk.show(
        "score function      ∂/∂μ E f(z) = E [ f(z) · ∂ log q(z)/∂μ ],  (z − μ)/σ²\n\
         reparameterization  ∂/∂μ E f(z) = E [ f′(z) · ∂z/∂μ ],  z = μ + σ ε",
    );
    walk.say(
        "The first differentiates the density and only ever looks at values of f; it works for any f, even a dice \
         game. The second moves the randomness out: ε comes from outside, and z is an ordinary differentiable function \
         of μ, v and ε, with σ = e^{v/2}:",
    );
    walk.show("∂z/∂μ = 1        ∂z/∂v = ½ σ ε        (Kingma and Welling 2014, section 2.4)");
}

fn unbiased(walk: &mut Walk) {
    walk.part("Both are right on average");
    walk.say(
        "Take f(z) = Σ (z_j − 1)², for which all is known: E f = Σ (μ_j − 1)² + σ_j², so the derivative by a mean is \
         2 (μ − 1), and that by a log-variance σ². With μ = 0.3, v = −0.5, four latents and 20,000 draws:",
    );
    let (mean, v) = (0.3f64, -0.5f64);
    let e = estimates(4, mean, v, DRAWS);
    let exact = [2.0 * (mean - 1.0), v.exp()];
    let mut table = String::from("                      exact    reparameterized        score function\n");
    let mut within = true;
    for (k, name) in ["∂/∂μ", "∂/∂v"].into_iter().enumerate() {
        let found = [mean_and_error(&e.reparameterized[k]), mean_and_error(&e.score[k])];
        within &= found.iter().all(|(m, error)| (m - exact[k]).abs() < 5.0 * error);
        let [(r, r_error), (s, s_error)] = found;
        table +=
            &format!("{name}               {:10.4}   {r:8.4} ± {r_error:.4}    {s:8.4} ± {s_error:.4}\n", exact[k]);
    }
    walk.show(&table);
    walk.claim(within, "All four estimates agree with the exact derivative within five standard errors.");
}

fn derivative(walk: &mut Walk) {
    walk.part("With ε fixed there is nothing random left");
    let (isa, q, latent) = (Isa::default(), DiagonalGaussian::new(3), 3);
    let (at, eps) = ([0.3f64, -1.0, 0.8, -0.5, 0.2, 0.9], [0.7, -1.3, 0.4]);
    let buffer = |values: &[f64]| {
        let mut b = Buffer::<f64>::new(1, values.len());
        b.rows_mut(1).row(0).copy_from_slice(values);
        b
    };
    let z = |eta: &[f64]| {
        let mut z = Buffer::<f64>::new(1, latent);
        q.sample(isa, buffer(eta).rows(1), buffer(&eps).rows(1), z.rows_mut(1));
        z.rows(1).row(0).to_vec()
    };
    let by_hand: Vec<f64> = (0..latent).map(|j| at[j] + (0.5 * at[latent + j]).exp() * eps[j]).collect();
    let close = z(&at).iter().zip(&by_hand).all(|(a, b)| (a - b).abs() < 1e-14);
    walk.claim(close, "The library's draw is μ + e^{v/2} ε, whatever ε it is given.");
    let dz: Vec<f64> = z(&at).iter().map(|z| 2.0 * (z - 1.0)).collect();
    let mut deta = Buffer::<f64>::new(1, 2 * latent);
    q.sample_grad(isa, buffer(&at).rows(1), buffer(&eps).rows(1), buffer(&dz).rows(1), deta.rows_mut(1));
    let check = check_coordinates("posterior", &at, deta.rows(1).row(0), |eta| (f(&z(eta)), Sides::default()));
    walk.claim(
        check.passed(),
        "Its derivative by each mean and log-variance passes the gradient check of walkthrough 03.",
    );
}

fn variances(walk: &mut Walk) {
    walk.part("But not equally useful");
    walk.say(
        "Training uses one draw, not 20,000, so what matters is how far a single estimate strays. At μ = 0 and σ = 1 \
         the variances can be worked out with the moments of a normal variable. For ∂/∂μ₁, with L latents:",
    );
    walk.show(
        "reparameterized     4                         f′ sees its own latent alone\n\
         score               30 + 22 (L−1) + 4 (L−1)²  f carries the others along\n\
         with a baseline     18 + 6 (L−1)              f minus its mean still grows",
    );
    let mut table = String::from(" L   reparameterized    score   baseline   score / reparameterized\n");
    let (mut agree, mut ratios) = (true, Vec::new());
    for latent in [1, 2, 4, 8, 16, 32] {
        let (e, others) = (estimates(latent, 0.0, 0.0, DRAWS), latent as f64 - 1.0);
        let found = [variance(&e.reparameterized[0]), variance(&e.score[0]), variance(&e.baseline)];
        let exact = [4.0, 30.0 + 22.0 * others + 4.0 * others * others, 18.0 + 6.0 * others];
        // A variance of 20,000 draws with such tails is known to a few per cent.
        agree &= found.iter().zip(exact).all(|(f, e)| (f / e - 1.0).abs() < 0.25);
        ratios.push(found[1] / found[0]);
        let [r, s, b] = found;
        table +=
            &format!("{latent:2}   {r:15.2}   {s:6.0}   {b:8.1}   {:8.0} {}\n", s / r, bar((s / r).log2() * 2.0, 24));
    }
    walk.show(&table);
    walk.claim(agree, "Measured, all eighteen are within a quarter of the formulas.");
    walk.claim(ratios.windows(2).all(|w| w[1] > w[0]), "The more latents, the greater the ratio.");
    let last = ratios.last().copied().unwrap_or(0.0);
    walk.claim(
        last > 800.0,
        &format!("With 32 latents the score function needs {last:.0} draws for what one reparameterized draw knows."),
    );
}

/// Squared distances to the optimum of gradient descent on E f by one draw a step, in 16 dimensions.
fn descend(score_function: bool) -> Vec<f64> {
    const LATENT: usize = 16;
    let mut rng = Noise::new(6).rng(Stream::Train, 0, 0, 0);
    let (mut mean, mut distances) = ([0.0; LATENT], Vec::new());
    for _ in 0..=2000 {
        distances.push(f(&mean));
        let eps: [f64; LATENT] = std::array::from_fn(|_| rng.sample(StandardNormal));
        let z: [f64; LATENT] = std::array::from_fn(|j| mean[j] + eps[j]);
        let value = f(&z);
        for j in 0..LATENT {
            let gradient = if score_function { value * eps[j] } else { 2.0 * (z[j] - 1.0) };
            mean[j] -= 0.001 * gradient;
        }
    }
    distances
}

fn race(walk: &mut Walk) -> elbo::Result<()> {
    walk.part("What that does to learning");
    walk.say(
        "Sixteen means, all at 0, should go to 1. Gradient descent, one draw a step, the same noise and the same \
         learning rate for both. The squared distance to the optimum:",
    );
    let (reparameterized, score) = (descend(false), descend(true));
    let mut table = String::from("step   reparameterized                     score function\n");
    for step in (0..=2000).step_by(250) {
        let (r, s) = (reparameterized[step], score[step]);
        table += &format!("{step:4}   {r:6.2} {:28} {s:6.2} {}\n", bar(r, 26), bar(s, 26));
    }
    walk.show(&table);
    let late = |d: &[f64]| d[1500..].iter().sum::<f64>() / 501.0;
    let (r, s) = (late(&reparameterized), late(&score));
    walk.claim(
        r < 16.0 / 50.0,
        "Reparameterized, the means arrive: less than a fiftieth of the squared distance is left.",
    );
    walk.claim(
        s > 4.0 * r,
        &format!(
            "By the score function they wander: {:.0} times that squared distance, mean of the last 500 steps.",
            s / r
        ),
    );
    walk.say(
        "That is why VAEs could be trained at all. The price: f must be differentiable and z continuous. Where z is a \
         choice among things, the score function with a good baseline, or a relaxation, is what is left.",
    );
    if let Some(path) = walk.picture("06-race.png") {
        let points = |d: &[f64]| d.iter().enumerate().map(|(i, d)| [i as f64, *d]).collect::<Vec<_>>();
        Plot::new(
            "Two gradients of one loss",
            "Sixteen means on their way from 0 to 1, one draw a step, with the same noise and learning rate.",
        )
        .x("step of gradient descent", Scale::Linear)
        .y("squared distance to the optimum", Scale::Linear)
        .line(1, "score function", points(&score))
        .line(0, "reparameterized", points(&reparameterized))
        .save(path)?;
    }
    Ok(())
}
