//! 07: the closed-form KL and its gradient for the mean and log-variance heads, against quadrature and Monte Carlo.

mod walk;

use elbo::density::{DiagonalGaussian, Posterior, Prior, StandardNormal};
use elbo::gradcheck::check_coordinates;
use elbo::layer::Sides;
use elbo::tensor::{Buffer, Isa, Noise, Stream};
use rand::Rng;
use walk::plot::{Plot, Scale};
use walk::{Walk, bar, mean_and_error};

const LOG_TAU: f64 = 1.837_877_066_409_345_3;
/// Heads at which everything is compared: (μ, v).
const HEADS: [(f64, f64); 6] = [(0.0, 0.0), (1.0, 0.0), (0.0, -2.0), (0.0, 1.5), (-2.0, 0.5), (1.5, -3.0)];

fn buffer(rows: usize, values: &[f64]) -> Buffer<f64> {
    let cols = values.len() / rows;
    let mut b = Buffer::new(rows, cols);
    b.view_mut(rows).indexed_iter_mut().for_each(|((r, c), b)| *b = values[r * cols + c]);
    b
}

/// The library's KL of each latent; η is [means | log-variances].
fn kl(eta: &[f64]) -> Vec<f64> {
    let latent = eta.len() / 2;
    let mut kl = Buffer::<f64>::new(1, latent);
    StandardNormal::new(latent).kl(Isa::default(), buffer(1, eta).rows(1), kl.rows_mut(1));
    kl.rows(1).row(0).to_vec()
}

/// The library's gradient of the sum of the above by η.
fn kl_grad(eta: &[f64]) -> Vec<f64> {
    let (latent, mut deta) = (eta.len() / 2, Buffer::<f64>::new(1, eta.len()));
    let weights = buffer(1, &vec![1.0; latent]);
    StandardNormal::new(latent).kl_grad(Isa::default(), buffer(1, eta).rows(1), weights.rows(1), deta.rows_mut(1));
    deta.rows(1).row(0).to_vec()
}

/// log N(z; mean, e^v)
fn log_normal(z: f64, mean: f64, v: f64) -> f64 {
    -0.5 * (LOG_TAU + v + (z - mean).powi(2) * (-v).exp())
}

/// ∫ N(z; a) (log N(z; a) − log N(z; b)) dz by the trapezoid rule over ±12 deviations, which for such integrands is exact
/// to rounding. a and b are (mean, log-variance).
fn by_quadrature(a: (f64, f64), b: (f64, f64)) -> f64 {
    let (deviation, step) = ((0.5 * a.1).exp(), 0.01);
    let each = (-1200..=1200).map(|i| {
        let z = a.0 + f64::from(i) * step * deviation;
        let q = log_normal(z, a.0, a.1);
        q.exp() * (q - log_normal(z, b.0, b.1)) * step * deviation
    });
    each.sum()
}

/// log q(z) − log p(z) of draws z ~ q, by the library's two densities.
fn draws(eta: &[f64], count: usize) -> Vec<f64> {
    let (isa, latent) = (Isa::default(), eta.len() / 2);
    let (q, p) = (DiagonalGaussian::new(latent), StandardNormal::new(latent));
    let mut rng = Noise::new(7).rng(Stream::Check, latent as u64, 0, 0);
    let noise: Vec<f64> = (0..count * latent).map(|_| rng.sample(rand_distr::StandardNormal)).collect();
    let (eta, eps, mut z) = (buffer(1, eta), buffer(count, &noise), Buffer::new(count, latent));
    q.sample(isa, eta.rows(1), eps.rows(count), z.rows_mut(count));
    let (mut log_q, mut log_p) = (vec![0.0; count], vec![0.0; count]);
    q.log_prob(isa, z.rows(count), eta.rows(1), &mut log_q);
    p.log_prob(isa, z.rows(count), &mut log_p);
    log_q.iter().zip(log_p).map(|(q, p)| q - p).collect()
}

fn main() -> elbo::Result<()> {
    let mut walk = Walk::start(
        7,
        "The KL in closed form",
        "every term of ½ (μ² + σ² − 1 − log σ²), what each asks of the encoder, and what an estimate would cost.",
    );
    derive(&mut walk);
    gradient(&mut walk);
    shape(&mut walk)?;
    sampled(&mut walk)?;
    walk.end();
    Ok(())
}

fn derive(walk: &mut Walk) {
    walk.part("One integral");
    walk.say(
        "The second half of the ELBO asks how far the encoder's q = N(μ, σ²) is from the prior p = N(0, 1). With z = μ + σε \
         both logarithms are quadratic in ε, and E ε = 0, E ε² = 1 are all that is needed:",
    );
    walk.show(
        "log q − log p = −½ (log σ² + ε²) + ½ (μ + σε)²      (log 2π cancels)\n\
         E             = −½ (log σ² + 1)  + ½ (μ² + σ²)\n\
         KL(q ‖ p)     =  ½ (μ² + σ² − 1 − log σ²) = ½ (μ² + eᵛ − 1 − v), v = log σ²",
    );
    walk.say("Against an integral by brute force, which knows nothing of the derivation:");
    let mut table = String::from("   μ      v       library    by quadrature\n");
    let mut worst: f64 = 0.0;
    for (mean, v) in HEADS {
        let (closed, integral) = (kl(&[mean, v])[0], by_quadrature((mean, v), (0.0, 0.0)));
        worst = worst.max((closed - integral).abs());
        table += &format!(
            "{mean:4.1}   {v:4.1}   {closed:11.8}    {:13.8}  {}\n",
            integral.max(0.0),
            bar(10.0 * closed, 34)
        );
    }
    walk.show(&table);
    walk.claim(worst < 1e-10, "All six agree to 1e-10.");
    let all: Vec<f64> = HEADS.iter().map(|h| h.0).chain(HEADS.iter().map(|h| h.1)).collect();
    let (together, apart): (f64, f64) = (kl(&all).iter().sum(), HEADS.iter().map(|&(m, v)| kl(&[m, v])[0]).sum());
    walk.claim(
        (together - apart).abs() < 1e-12,
        "Latents are independent under both, so their KLs add up: a sum over latents, never a mean.",
    );
    let (there, back) = (by_quadrature((1.5, -3.0), (0.0, 0.0)), by_quadrature((0.0, 0.0), (1.5, -3.0)));
    walk.claim(
        back > 5.0 * there,
        &format!("It is no distance: from q to p {there:.2} nats at (1.5, −3), and {back:.2} from p to q."),
    );
}

fn gradient(walk: &mut Walk) {
    walk.part("Two heads, two derivatives");
    walk.show("∂KL/∂μ = μ                 pulls each mean towards 0\n∂KL/∂v = ½ (eᵛ − 1)        pulls each variance towards 1");
    let all: Vec<f64> = HEADS.iter().map(|h| h.0).chain(HEADS.iter().map(|h| h.1)).collect();
    let found = kl_grad(&all);
    let by_hand = all.iter().enumerate().map(|(i, &x)| if i < HEADS.len() { x } else { 0.5 * x.exp_m1() });
    let close = by_hand.zip(&found).all(|(a, b)| (a - b).abs() < 1e-13);
    walk.claim(close, "The library's gradient is this, for six latents at once.");
    let check = check_coordinates("kl", &all, &found, |eta| (kl(eta).iter().sum(), Sides::default()));
    walk.claim(
        check.passed() && check.compared == all.len(),
        &format!("And the derivative of its own KL, by finite differences: worst relative error {:.0e}.", check.worst),
    );
    walk.say(
        "Why a head for v = log σ², and not for σ? A network's output may be any number, and eᵛ is positive for all of \
         them. And the pull is tame where σ is small: by v it is never below −½, while by σ it would be σ − 1/σ, which \
         has no bound.",
    );
    let least = (0..100).map(|i| kl_grad(&[0.0, -f64::from(i)])[1]).fold(0.0, f64::min);
    walk.claim((-0.5..-0.4999).contains(&least), "From v = 0 down to −99, ∂KL/∂v stays within −½.");
}

fn shape(walk: &mut Walk) -> elbo::Result<()> {
    walk.part("What certainty costs");
    let mut picture = String::from("   v       σ      KL, at μ = 0\n");
    for v in (-10..=4).map(f64::from) {
        let kl = kl(&[0.0, v])[0];
        picture += &format!("{v:4}   {:5.3}   {kl:6.3}  {}\n", (0.5 * v).exp(), bar(2.0 * kl, 50));
    }
    walk.show(&picture);
    let positive = (-400..=400).flat_map(|i| (-40..=40).map(move |j| (f64::from(j) * 0.1, f64::from(i) * 0.05)));
    let mut zeros = positive.filter(|&(mean, v)| kl(&[mean, v])[0] <= 0.0);
    walk.claim(
        zeros.next() == Some((0.0, 0.0)) && zeros.next().is_none(),
        "Of 64,881 heads on a grid exactly one has no KL: μ = 0, v = 0, the prior itself.",
    );
    let halving = kl(&[0.0, -20.0 - 2.0 * 2f64.ln()])[0] - kl(&[0.0, -20.0])[0];
    walk.claim(
        (halving - 2f64.ln()).abs() < 1e-6,
        "To the left it is a straight line: each halving of σ costs log 2 nats, one bit. That is the price of precision.",
    );
    if let Some(path) = walk.picture("07-price.png") {
        let mut plot = Plot::new("What a latent costs", "Lines: the library's closed form. Dots: the integral by quadrature. Free is the prior alone, μ = 0 and v = 0.")
            .x("v = log σ²", Scale::Linear)
            .y("KL(N(μ, σ²) ‖ N(0, 1)), nats", Scale::Linear)
            .y_range(-0.25, 6.9);
        for (color, mean) in [2.0, 1.0, 0.0].into_iter().enumerate() {
            let closed = (-200..=50).map(|i| 0.05 * f64::from(i)).map(|v| [v, kl(&[mean, v])[0]]);
            let integral = (-10..=2).map(f64::from).map(|v| [v, by_quadrature((mean, v), (0.0, 0.0))]);
            plot = plot.line(color, &format!("μ = {mean}"), closed).dots(color, "", integral);
        }
        plot.save(path)?;
    }
    Ok(())
}

fn sampled(walk: &mut Walk) -> elbo::Result<()> {
    walk.part("Estimated instead");
    walk.say(
        "Where there is no closed form, one draws z ~ q and averages log q(z) − log p(z). The same six heads, with \
         20,000 draws each:",
    );
    let mut table = String::from("   μ      v    closed form        estimated\n");
    let mut within = true;
    for (mean, v) in HEADS {
        let (closed, (found, error)) = (kl(&[mean, v])[0], mean_and_error(&draws(&[mean, v], 20_000)));
        within &= (found - closed).abs() <= 5.0 * error + 1e-12;
        table += &format!("{mean:4.1}   {v:4.1}      {closed:8.4}   {found:7.4} ± {error:.4}\n");
    }
    walk.show(&table);
    walk.claim(within, "All six agree within five standard errors.");
    walk.say(
        "But a training step has one draw. Twenty latents that hold on to little, μ = 0.3 and v = −0.2 each, as many \
         do early in training:",
    );
    let eta: Vec<f64> = (0..40).map(|i| if i < 20 { 0.3 } else { -0.2 }).collect();
    let (closed, each): (f64, Vec<f64>) = (kl(&eta).iter().sum(), draws(&eta, 20_000));
    let (mean, error) = mean_and_error(&each);
    let deviation = error * (each.len() as f64).sqrt();
    let negative = each.iter().filter(|d| **d < 0.0).count() as f64 / each.len() as f64;
    walk.show(&format!(
        "closed form {closed:.3} nats     single draws {mean:.3} ± {deviation:.3}, {:.0} % of them negative",
        100.0 * negative
    ));
    // Each latent adds the variance μ²σ² + ½ (σ² − 1)²: 1.80 in all, a deviation of 1.34 around a mean of 1.09.
    walk.claim((mean - closed).abs() < 5.0 * error, "Right on average again.");
    walk.claim(
        deviation > closed,
        "But one draw strays by more than the whole KL, which is never negative, while draws of it are.",
    );
    walk.claim(negative > 0.1, "More than a tenth of them.");
    walk.say(
        "So the library takes the closed form wherever there is one, and keeps draws for what needs them: the \
         reconstruction, and the importance weights of walkthrough 12.",
    );
    if let Some(path) = walk.picture("07-draws.png") {
        // The outline of a histogram in steps of a quarter of a nat.
        let step = |i: i32| {
            let range = 0.25 * f64::from(i)..0.25 * f64::from(i + 1);
            let share = each.iter().filter(|d| range.contains(*d)).count() as f64 / each.len() as f64;
            [[range.start, 100.0 * share], [range.end, 100.0 * share]]
        };
        Plot::new(
            "One draw, or the closed form",
            "KL of twenty latents, μ = 0.3 and v = −0.2 each: 20,000 estimates by a single draw.",
        )
        .x("log q(z) − log p(z), nats", Scale::Linear)
        .y("share of draws, per cent", Scale::Linear)
        .line(0, "single draws", (-16..28).flat_map(step))
        .upright("the closed form", closed)
        .save(path)?;
    }
    Ok(())
}
