//! 16: an autoencoder, a VAE, a GAN and a flow on the same points of the plane. Each minimises something
//! else; what they are good for follows from that.

mod walk;

use elbo::data::Dataset;
use elbo::density::LikelihoodKind;
use elbo::gradcheck::check_coordinates;
use elbo::optim::OptimizerConfig;
use elbo::task::{Examples, decode_parameters, evaluate, sample_latents};
use elbo::tensor::{Noise, Stream};
use elbo::{Result, TrainConfig, Trainer};
use ndarray::Array2;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use walk::Walk;
use walk::digits::{config, train};
use walk::draw::{Window, beside, cloud};
use walk::flow::{Flow, LOG_TAU, Points, pairs};
use walk::net::Net;

/// Eight round spots on a ring.
const SPOTS: usize = 8;
const RADIUS: f64 = 2.0;
const SPREAD: f64 = 0.2;
const ADAM: [f64; 2] = [0.9, 0.999];

fn main() -> Result<()> {
    let mut walk = Walk::start(
        16,
        "VAE, autoencoder, GAN, flow",
        "what each of the four minimises, what each can and cannot tell about a point, how each fails on the same eight \
         spots, and which to take for what.",
    );
    let (learn, held_out) = (ring(4000, 0), ring(1000, 1));
    let truth = held_out.iter().map(|x| log_px(*x)).sum::<f64>() / held_out.len() as f64;
    walk.say(&format!(
        "Eight spots on a ring; 4,000 points to learn from. The density is known, so the best possible mean log p(x) of \
         held-out points is known as well: {truth:.3} nats."
    ));
    let (auto, codes) = autoencoder(&mut walk, &learn);
    let (vae, bound) = vae(&mut walk, &learn, &held_out, truth)?;
    let gan = gan(&mut walk, &learn, &held_out);
    let (flow, exact) = flow(&mut walk, &learn, &held_out, truth);
    side_by_side(&mut walk, &held_out, [&auto, &vae, &gan, &flow], codes, [bound, exact, truth])?;
    walk.end();
    Ok(())
}

fn generator(which: u64) -> ChaCha8Rng {
    Noise::new(16).rng(Stream::Data, which, 0, 0)
}

fn normals(n: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
    (0..n).map(|_| rng.sample(StandardNormal)).collect()
}

fn spots() -> [[f64; 2]; SPOTS] {
    std::array::from_fn(|i| {
        let (sin, cos) = (std::f64::consts::TAU * i as f64 / SPOTS as f64).sin_cos();
        [RADIUS * cos, RADIUS * sin]
    })
}

fn ring(n: usize, which: u64) -> Points {
    let mut rng = generator(which);
    let mut point = || {
        let [x, y] = spots()[rng.random_range(0..SPOTS)];
        [x + SPREAD * rng.sample::<f64, _>(StandardNormal), y + SPREAD * rng.sample::<f64, _>(StandardNormal)]
    };
    (0..n).map(|_| point()).collect()
}

/// The ring's own log density.
fn log_px([x, y]: [f64; 2]) -> f64 {
    let variance = SPREAD * SPREAD;
    let spot = |[a, b]: [f64; 2]| (-0.5 * ((x - a).powi(2) + (y - b).powi(2)) / variance).exp();
    (spots().map(spot).iter().sum::<f64>() / SPOTS as f64).ln() - LOG_TAU - variance.ln()
}

/// 64 or so rows of the data, drawn at random.
fn batch(learn: &Points, rows: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
    (0..rows).flat_map(|_| learn[rng.random_range(0..learn.len())]).collect()
}

/// The share of points within three deviations of a spot, and how many spots have at least a quarter of their share.
fn quality(points: &Points) -> (f64, usize) {
    let mut counts = [0; SPOTS];
    for [x, y] in points {
        let near = |[a, b]: [f64; 2]| (x - a).hypot(y - b) < 3.0 * SPREAD;
        if let Some(spot) = spots().into_iter().position(near) {
            counts[spot] += 1;
        }
    }
    let fair = points.len() / SPOTS;
    (counts.iter().sum::<usize>() as f64 / points.len() as f64, counts.iter().filter(|n| **n >= fair / 4).count())
}

/// The deviation of the points on a spot from its middle, in each coordinate.
fn spread(points: &Points) -> f64 {
    let nearest =
        |[x, y]: &[f64; 2]| spots().map(|[a, b]| (x - a).hypot(y - b)).into_iter().fold(f64::INFINITY, f64::min);
    let near: Vec<f64> = points.iter().map(nearest).filter(|d| *d < 3.0 * SPREAD).collect();
    (near.iter().map(|d| d * d).sum::<f64>() / near.len() as f64 / 2.0).sqrt()
}

/// The energy distance of two samples, 2 E|x − y| − E|x − x′| − E|y − y′|: 0 only for equal distributions (Székely and
/// Rizzo 2013).
fn distance(a: &Points, b: &Points) -> f64 {
    let mean = |a: &Points, b: &Points| {
        let sum: f64 = a.iter().flat_map(|p| b.iter().map(move |q| (p[0] - q[0]).hypot(p[1] - q[1]))).sum();
        sum / (a.len() * b.len()) as f64
    };
    2.0 * mean(a, b) - mean(a, a) - mean(b, b)
}

fn picture(points: &Points) -> String {
    cloud(points.iter().copied(), Window { x: (-3.0, 3.0), y: (-3.0, 3.0) }, 36, 17)
}

/// Samples, and the mean squared error of reconstructions.
fn autoencoder(walk: &mut Walk, learn: &Points) -> (Points, f64) {
    walk.part("The autoencoder: a reconstruction, and nothing else");
    walk.show("minimise  E |x − g(f(x))|²");
    let mut rng = generator(2);
    let (mut f, mut g) = (Net::new(&[2, 32, 2], &mut rng), Net::new(&[2, 32, 2], &mut rng));
    let (rows, mut error) = (100, 0.0);
    for _ in 0..1500 {
        let x = batch(learn, rows, &mut rng);
        let encoded = f.forward(&x);
        let decoded = g.forward(encoded.output());
        let d: Vec<f64> = decoded.output().iter().zip(&x).map(|(y, x)| 2.0 * (y - x) / rows as f64).collect();
        error = d.iter().map(|d| d * d).sum::<f64>() * rows as f64 / 4.0;
        let dz = g.backward(&decoded, &d);
        f.backward(&encoded, &dz);
        f.adam(3e-3, ADAM);
        g.adam(3e-3, ADAM);
    }
    let samples = pairs(g.forward(&normals(4000, &mut rng)).output());
    walk.say(
        "Two numbers in, two numbers out: nothing is in its way, and it need not know where points are dense. What z means \
         is its own affair, so there is nothing to draw z from; with z ~ N(0, I), as for the others, it draws this:",
    );
    walk.show(&beside(&[("the data", picture(learn)), ("autoencoder, z ~ N(0, I)", picture(&samples))], 36));
    walk.claim(error < 0.02, &format!("It reconstructs to a squared error of {error:.4}."));
    let on = quality(&samples).0;
    walk.claim(on < 0.6, &format!("And only {:.0} % of its samples lie on a spot.", 100.0 * on));
    (samples, error)
}

/// Samples, and log p(x) of held-out points by importance sampling, a lower bound.
fn vae(walk: &mut Walk, learn: &Points, held_out: &Points, truth: f64) -> Result<(Points, f64)> {
    walk.part("The VAE: a bound on log p(x)");
    walk.show("minimise  E −log p(x|z) + KL(q(z|x) ‖ p(z))  ≥  −log p(x)");
    let array = |points: &Points| Array2::from_shape_fn((points.len(), 2), |(r, c)| points[r][c] as f32);
    let data = Dataset::from_array(ndarray::concatenate![ndarray::Axis(0), array(learn), array(held_out)].view())?;
    let data = data.with_test(held_out.len())?;
    let config = config(2, &[48, 48], 2, LikelihoodKind::GaussianLearned)?;
    let trainer = train(TrainConfig { epochs: 60, optimizer: OptimizerConfig::adam(6e-3, 1e-8), ..config }, &data)?;
    let view = data.split(elbo::data::Split::Test)?;
    let examples = Examples::new(trainer.vae(), view, trainer.config().binarize, 0)?;
    let found = evaluate(&mut trainer.inference(), &examples, 1, Some(1000))?;
    let tight = -found.nll.last().map_or(f64::NAN, |n| n.nats);
    let samples = vae_samples(&trainer)?;
    walk.say(&format!(
        "Mean ELBO of held-out points {:.3}, with 1,000 importance weights {tight:.3}, truth {truth:.3}. Now z is drawn \
         from what the codes were trained to fill. Between spots there are bridges: a smooth map of a round cloud cannot \
         tear it into eight.",
        -found.neg_elbo
    ));
    walk.show(&beside(&[("the data", picture(learn)), ("VAE", picture(&samples))], 36));
    // A thousand points fix a mean to 0.03 nats.
    walk.claim(
        -found.neg_elbo < tight && tight < truth + 0.05,
        "The ELBO is below the tighter bound, and that below the truth.",
    );
    let (on, spots) = quality(&samples);
    walk.claim(
        on > 0.6 && spots == SPOTS,
        &format!("All eight spots are there, and {:.0} % of the samples lie on one.", 100.0 * on),
    );
    Ok((samples, tight))
}

/// z from the prior, then x from p(x|z): its mean, and the noise that the likelihood has learned.
fn vae_samples(trainer: &Trainer) -> Result<Points> {
    let mut inference = trainer.inference();
    let z = sample_latents(&inference, 2000, 5)?;
    let eta = decode_parameters(&mut inference, z.view())?;
    let (mut rng, mut x) = (generator(3), [0.0f32; 2]);
    let mut draw = |eta: &[f32]| {
        trainer.vae().likelihood::<f32>().sample(trainer.params(), eta, &mut rng, &mut x);
        x.map(f64::from)
    };
    Ok(eta.rows().into_iter().map(|row| draw(&row.to_vec())).collect())
}

fn sigmoid(a: f64) -> f64 {
    1.0 / (1.0 + (-a).exp())
}

fn softplus(a: f64) -> f64 {
    a.max(0.0) + (-a.abs()).exp().ln_1p()
}

/// The critic's loss on true and drawn rows, and its gradient into `d`: E log(1 + e^{−D(x)}) + E log(1 + e^{D(y)}).
fn critic_loss(d: &mut Net, x: &[f64], y: &[f64]) -> f64 {
    let rows = (x.len() / 2) as f64;
    let (on_x, on_y) = (d.forward(x), d.forward(y));
    let slope_x: Vec<f64> = on_x.output().iter().map(|a| -sigmoid(-a) / rows).collect();
    let slope_y: Vec<f64> = on_y.output().iter().map(|a| sigmoid(*a) / rows).collect();
    d.backward(&on_x, &slope_x);
    d.backward(&on_y, &slope_y);
    let loss = |sign: f64, a: &[f64]| a.iter().map(|a| softplus(sign * a)).sum::<f64>() / rows;
    loss(-1.0, on_x.output()) + loss(1.0, on_y.output())
}

/// The generator's loss, E log(1 + e^{−D(G(z))}) (Goodfellow et al. 2014, section 3), and its gradient into `g`. What it
/// leaves in the critic's gradient is thrown away.
fn generator_loss(g: &mut Net, d: &mut Net, z: &[f64]) -> f64 {
    let rows = (z.len() / 2) as f64;
    let drawn = g.forward(z);
    let judged = d.forward(drawn.output());
    let slope: Vec<f64> = judged.output().iter().map(|a| -sigmoid(-a) / rows).collect();
    let dx = d.backward(&judged, &slope);
    d.g.fill(0.0);
    g.backward(&drawn, &dx);
    judged.output().iter().map(|a| softplus(-a)).sum::<f64>() / rows
}

fn check_gan(walk: &mut Walk) {
    let mut rng = generator(4);
    let (mut g, mut d) = (Net::new(&[2, 5, 2], &mut rng), Net::new(&[2, 6, 1], &mut rng));
    let (x, z) = (normals(12, &mut rng), normals(12, &mut rng));
    critic_loss(&mut d, &x, &z);
    let (at, gradient) = (d.p.clone(), std::mem::take(&mut d.g));
    let of_critic = check_coordinates("critic", &at, &gradient, |p| {
        (d.p, d.g) = (p.to_vec(), vec![0.0; p.len()]);
        (critic_loss(&mut d, &x, &z), Default::default())
    });
    (d.p, d.g) = (at, vec![0.0; gradient.len()]);
    generator_loss(&mut g, &mut d, &z);
    let (at, gradient) = (g.p.clone(), std::mem::take(&mut g.g));
    let of_generator = check_coordinates("generator", &at, &gradient, |p| {
        (g.p, g.g) = (p.to_vec(), vec![0.0; p.len()]);
        (generator_loss(&mut g, &mut d, &z), Default::default())
    });
    walk.claim(
        of_critic.passed() && of_generator.passed(),
        &format!(
            "Both gradients agree with finite differences: worst {:.0e} and {:.0e}.",
            of_critic.worst, of_generator.worst
        ),
    );
}

fn gan(walk: &mut Walk, learn: &Points, held_out: &Points) -> Points {
    walk.part("The GAN: two losses, no likelihood");
    walk.show(
        "critic     minimise  E log(1 + e^{−D(x)}) + E log(1 + e^{D(G(z))})\n\
         generator  minimise  E log(1 + e^{−D(G(z))})        its gradient comes through the critic",
    );
    check_gan(walk);
    let mut rng = generator(5);
    let (mut g, mut d) = (Net::new(&[2, 48, 48, 2], &mut rng), Net::new(&[2, 48, 48, 1], &mut rng));
    let rows = 64;
    let draw = |g: &Net, rng: &mut ChaCha8Rng, n: usize| pairs(g.forward(&normals(2 * n, rng)).output());
    let before = distance(&draw(&g, &mut rng, 1000), held_out);
    let (mut of_g, mut first) = (0.0, 0.0);
    for step in 0..2500 {
        let (x, z) = (batch(learn, rows, &mut rng), normals(2 * rows, &mut rng));
        critic_loss(&mut d, &x, g.forward(&z).output());
        d.adam(2e-3, [0.5, 0.999]);
        let loss = generator_loss(&mut g, &mut d, &normals(2 * rows, &mut rng));
        g.adam(1e-3, [0.5, 0.999]);
        first = if step == 0 { loss } else { first };
        of_g += 0.01 * (loss - of_g);
    }
    let samples = draw(&g, &mut rng, 2000);
    let after = distance(&samples[..1000].to_vec(), held_out);
    walk.show(&beside(&[("the data", picture(learn)), ("GAN", picture(&samples))], 36));
    let (on, spots) = quality(&samples);
    walk.say(&format!(
        "{:.0} % of the samples lie on a spot, and {spots} of 8 spots are met. The distance to held-out points went from \
         {before:.3} to {after:.3}; the generator's loss from {first:.2} to {of_g:.2}. Its loss is a score against the \
         critic of the moment, not a measure: it cannot tell a good run from a bad one.",
        100.0 * on
    ));
    walk.claim(after < 0.2 * before, "The samples came at least five times nearer to the data.");
    let (theirs, true_spread) = (spread(&samples), spread(held_out));
    walk.claim(
        theirs < 0.9 * true_spread,
        &format!("But the spots are too small, {theirs:.2} wide instead of {true_spread:.2}: what the critic does not miss is left out."),
    );
    walk.claim(of_g > 0.8 * first, "All the while the loss of the generator did not fall by even a fifth.");
    samples
}

fn check_flow(walk: &mut Walk) {
    let mut rng = generator(6);
    let mut flow = Flow::new(3, 4, &mut rng);
    let x = normals(10, &mut rng);
    flow.loss_grad(&x);
    let (at, gradient) = (flow.values(), flow.layers.iter().flat_map(|n| n.g.clone()).collect::<Vec<_>>());
    let check = check_coordinates("flow", &at, &gradient, |p| {
        flow.set(p);
        (flow.loss_grad(&x), Default::default())
    });
    walk.claim(check.passed(), &format!("Its gradient agrees with finite differences: worst {:.0e}.", check.worst));
}

/// Samples, and the exact mean log p(x) of held-out points.
fn flow(walk: &mut Walk, learn: &Points, held_out: &Points, truth: f64) -> (Points, f64) {
    walk.part("The flow: log p(x) itself");
    walk.show("minimise  −log p(x) = −log N(f(x); 0, I) − log |det ∂f/∂x|        f invertible, z = f(x)");
    check_flow(walk);
    let mut rng = generator(7);
    let mut flow = Flow::new(8, 24, &mut rng);
    let steps = 2000;
    for step in 0..steps {
        flow.loss_grad(&batch(learn, 100, &mut rng));
        let rate = 4e-3 * (1.0 - f64::from(step) / f64::from(steps));
        flow.layers.iter_mut().for_each(|net| net.adam(rate, ADAM));
    }
    let scored = flow.log_prob(held_out);
    let mean = scored.iter().map(|(log, _)| log).sum::<f64>() / held_out.len() as f64;
    let back = flow.inverse(&scored.iter().map(|(_, z)| *z).collect());
    let worst = back.iter().zip(held_out).map(|(a, b)| (a[0] - b[0]).hypot(a[1] - b[1])).fold(0.0, f64::max);
    let step = 0.05;
    let grid: Points =
        (-100..100).flat_map(|i| (-100..100).map(move |j| [step * f64::from(i), step * f64::from(j)])).collect();
    let mass: f64 = flow.log_prob(&grid).iter().map(|(log, _)| log.exp() * step * step).sum();
    let samples = flow.inverse(&pairs(&normals(4000, &mut rng)));
    walk.show(&beside(&[("the data", picture(learn)), ("flow", picture(&samples))], 36));
    walk.show(&format!(
        "mean log p(x) of held-out points {mean:.3}, truth {truth:.3}; the density's sum over the plane {mass:.4}"
    ));
    walk.claim(worst < 1e-6, "It can be run backwards: f⁻¹(f(x)) is x, to a millionth, for every held-out point.");
    walk.claim((mass - 1.0).abs() < 0.02, "Its density adds up to 1 over the plane, so log p(x) is what it says.");
    walk.claim(mean < truth + 0.05, "And it is not above the truth: no model is better than the distribution itself.");
    (samples, mean)
}

fn side_by_side(
    walk: &mut Walk,
    held_out: &Points,
    samples: [&Points; 4],
    error: f64,
    [bound, exact, truth]: [f64; 3],
) -> Result<()> {
    walk.part("Side by side");
    let [auto, vae, gan, flow] = samples.map(|s| (distance(&s[..1000].to_vec(), held_out), quality(s)));
    let line = |name: &str, (distance, (on, spots)): (f64, (f64, usize)), density: String, code: &str| {
        format!("{name:<12}  {distance:>8.4}   {:>6.0} %   {spots} of 8   {density:<24}  {code}\n", 100.0 * on)
    };
    let fair = distance(&ring(1000, 8), held_out);
    walk.show(
        &(String::from("              distance   on a spot   spots   log p(x), nats            z of a given x\n")
            + &line("autoencoder", auto, "none".into(), "yes, without a law")
            + &line("VAE", vae, format!("at least {bound:.3}"), "a distribution")
            + &line("GAN", gan, "none".into(), "none")
            + &line("flow", flow, format!("{exact:.3}, exactly"), "one point, exactly")
            + &format!("{:<12}  {fair:>8.4}                        {truth:.3}\n", "the data")),
    );
    walk.claim(
        [vae, gan, flow].iter().all(|m| m.0 < 0.5 * auto.0),
        "Each of the three that were made to generate comes at least twice as near to the data as the autoencoder.",
    );
    walk.claim(
        error.is_finite() && bound < truth + 0.05 && exact < truth + 0.05,
        "Both likelihoods stay below the truth.",
    );
    walk.say(
        "Which for what? To compress, to embed, to score oddity, or to draw more of a rare kind: a VAE, as it has a code of \
         few numbers, a law for the code, and a bound on the density, from one loss that falls when things improve. For a \
         density to the last digit, with as many latents as columns: a flow. For samples that look sharp, where nobody asks \
         how probable they are: a GAN, with an eye on what it forgets. To denoise or to reduce columns, and never to \
         sample: an autoencoder.",
    );
    let array = |points: &Points| Array2::from_shape_fn((1000, 2), |(r, c)| points[r][c] as f32);
    for (name, points) in ["autoencoder", "vae", "gan", "flow"].iter().zip(samples) {
        if let Some(path) = walk.picture(&format!("16_{name}.png")) {
            elbo::report::points::scatter(array(held_out).view(), Some(array(points).view()), path)?;
        }
    }
    Ok(())
}
