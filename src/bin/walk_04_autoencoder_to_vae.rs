//! 04: from autoencoder to VAE: what goes wrong when latents have no distribution, shown by sampling both.

mod walk;

use elbo::estimator::BetaSchedule;
use elbo::model::{Draw, Stats, VaeConfig};
use elbo::optim::OptimizerConfig;
use elbo::tensor::{Exec, Noise, Stream};
use elbo::{Dataset, TrainConfig, Trainer};
use ndarray::{Array2, ArrayView2, Axis, concatenate, s};
use walk::{Walk, grey, halved};

const LATENT: usize = 8;
/// Of |z|² under N(0, I) in eight dimensions, 95 % lie below: χ² with 8 degrees of freedom.
const RADIUS_SQUARED: f32 = 15.507;
const SAMPLES: usize = 500;
const SHOWN: usize = 5;

/// A trained model and what it makes of the held-out digits and of the prior.
struct Trained {
    heldout: Stats,
    /// The held-out digits' codes, the means of q(z|x), and the mean of its variances.
    codes: Array2<f32>,
    variance: f64,
    /// Draws of the prior.
    prior: Array2<f32>,
    /// The prior's draws, decoded.
    samples: Array2<f32>,
}

/// The same network, data, seed and steps; only the weight of the KL differs.
fn train(beta: f64, data: &Dataset) -> elbo::Result<Trained> {
    let preset = TrainConfig::preset("mlp-one", 784)?;
    let config = TrainConfig {
        vae: VaeConfig { hidden: vec![128], latent: LATENT, ..preset.vae.clone() },
        epochs: 3,
        optimizer: OptimizerConfig::adam(3e-3, 1e-8),
        beta: BetaSchedule::Constant(beta),
        seed: 4,
        ..preset
    };
    let mut trainer = Trainer::new(config, data.clone(), Exec::new(0)?)?;
    trainer.run(&mut ())?;
    let (test, mut inference) = (heldout(data)?, trainer.inference());
    let draw = Draw { noise: Noise::new(4), stream: Stream::Evaluate, step: 0 };
    let fill = |r: usize, x: &mut [f32]| x.iter_mut().zip(test.row(r)).for_each(|(x, &t)| *x = t);
    let heldout = inference.elbo(test.nrows(), &fill, &draw);
    let (mut codes, mut variance) = (Array2::zeros((test.nrows(), LATENT)), 0.0);
    inference.encode(test.nrows(), &fill, |r, mean, log_variance| {
        codes.row_mut(r).iter_mut().zip(mean).for_each(|(code, &m)| *code = m);
        variance += log_variance.iter().map(|v| f64::from(v.exp())).sum::<f64>() / codes.len() as f64;
    });
    let (mut prior, mut samples) = (Array2::zeros((SAMPLES, LATENT)), Array2::zeros((SAMPLES, 784)));
    let (mut rng, sampler) = (Noise::new(4).rng(Stream::Sample, 0, 0, 0), inference.prior_sampler());
    for mut z in prior.rows_mut() {
        sampler.sample(&mut rng, z.as_slice_mut().unwrap_or_default());
    }
    inference.decode_into(prior.view(), samples.view_mut());
    Ok(Trained { heldout, codes, variance, prior, samples })
}

/// The held-out digits, (1000, 784).
fn heldout(data: &Dataset) -> elbo::Result<Array2<f32>> {
    let test = data.test().ok_or_else(|| elbo::Error::input("the digits have no test split"))?;
    Ok(test.to_array())
}

impl Trained {
    /// The share of held-out codes within the ball that holds 95 % of the prior.
    fn within(&self) -> f64 {
        let inside = self.codes.rows().into_iter().filter(|z| z.dot(z) < RADIUS_SQUARED).count();
        inside as f64 / self.codes.nrows() as f64
    }
    /// How far the decoded draws of the prior are from their nearest held-out digits: the mean squared distance.
    fn strangeness(&self, test: ArrayView2<f32>) -> f64 {
        let squares = |x: ArrayView2<f32>| x.map_axis(Axis(1), |x| x.dot(&x));
        let (products, of_test, own) = (self.samples.dot(&test.t()), squares(test), squares(self.samples.view()));
        let nearest = products.rows().into_iter().zip(&own).map(|(products, own)| {
            let each = products.iter().zip(&of_test).map(|(p, s)| own + s - 2.0 * p);
            f64::from(each.fold(f32::INFINITY, f32::min))
        });
        nearest.sum::<f64>() / self.samples.nrows() as f64
    }
}

/// The first two latents of codes (·) and of draws of the prior (o) on one map, both (#) where they share a cell.
fn map(trained: &Trained, reach: f32) -> String {
    const WIDTH: usize = 61;
    const HEIGHT: usize = 25;
    let mut cells = [[(false, false); WIDTH]; HEIGHT];
    let place = |v: f32, cells: usize| ((v / reach + 1.0) / 2.0 * (cells - 1) as f32).round();
    for (points, codes) in [(&trained.codes, true), (&trained.prior, false)] {
        for z in points.rows() {
            let (x, y) = (place(z[0], WIDTH), place(-z[1], HEIGHT));
            if (0.0..WIDTH as f32).contains(&x) && (0.0..HEIGHT as f32).contains(&y) {
                let cell = &mut cells[y as usize][x as usize];
                *cell = (cell.0 | codes, cell.1 | !codes);
            }
        }
    }
    let ink = |cell: &(bool, bool)| match cell {
        (true, true) => '#',
        (true, false) => '·',
        (false, true) => 'o',
        (false, false) => ' ',
    };
    cells.iter().map(|row| row.iter().map(ink).collect::<String>().trim_end().to_owned() + "\n").collect()
}

fn pictures(images: ArrayView2<f32>) -> String {
    let small: Vec<Vec<f32>> = images.rows().into_iter().map(|x| halved(&x.to_vec(), 28)).collect();
    grey(&small.iter().map(Vec::as_slice).collect::<Vec<_>>(), 14, 14)
}

fn main() -> elbo::Result<()> {
    let mut walk = Walk::start(
        4,
        "From autoencoder to VAE",
        "why one puts a distribution on the latents, and what an autoencoder cannot do without it.",
    );
    let data = elbo::data::load("mnist")?;
    let test = heldout(&data)?;
    let (plain, vae) = (train(0.0, &data)?, train(1.0, &data)?);
    two_objectives(&mut walk, &plain, &vae);
    codes(&mut walk, &plain, &vae);
    samples(&mut walk, &plain, &vae, test.view());
    bill(&mut walk, &plain, &vae);
    if let Some(path) = walk.picture("04-samples.png") {
        let both = concatenate![Axis(0), plain.samples.slice(s![..30, ..]), vae.samples.slice(s![..30, ..])];
        elbo::report::grid::grid(both.view(), (28, 28, 1), 15, path)?;
    }
    for (name, trained) in [("04-codes-autoencoder.png", &plain), ("04-codes-vae.png", &vae)] {
        if let Some(path) = walk.picture(name) {
            let two = |m: &Array2<f32>| m.slice(s![.., ..2]).to_owned();
            elbo::report::points::scatter(two(&trained.codes).view(), Some(two(&trained.prior).view()), path)?;
        }
    }
    walk.end();
    Ok(())
}

fn two_objectives(walk: &mut Walk, plain: &Trained, vae: &Trained) {
    walk.part("Two objectives");
    walk.say(
        "An autoencoder squeezes a digit through a few numbers, its code z, and is asked to give the digit back. A VAE is \
         asked one thing more: that the codes it uses look like draws of a density p(z) that was fixed beforehand.",
    );
    walk.show("autoencoder     minimise  −log p(x|z)\nVAE             minimise  −log p(x|z) + KL(q(z|x) ‖ p(z)),   p(z) = N(0, I)");
    walk.say(
        "Here both are trained on 9,000 digits: the same network 784 → 128 → 8 → 128 → 784, seed and number of steps. \
         The autoencoder is the VAE with its KL multiplied by 0. On the 1,000 digits held out, nats per digit:",
    );
    let row = |name: &str, t: &Trained| {
        format!("{name:12} {:14.2} {:10.2} {:17.3}\n", t.heldout.mean_reconstruction(), t.heldout.mean_kl(), t.variance)
    };
    let head = format!("{:12} {:>14} {:>10} {:>17}\n", "", "reconstruction", "KL", "mean σ² of q(z|x)");
    walk.show(&(head + &row("autoencoder", plain) + &row("VAE", vae)));
    walk.claim(
        plain.heldout.mean_reconstruction() < vae.heldout.mean_reconstruction() - 3.0,
        "The autoencoder gives digits back more faithfully, by more than three nats: it was asked for nothing else.",
    );
    walk.claim(
        plain.variance < 0.01 && vae.variance > 5.0 * plain.variance,
        "Noise on the code is in its way, so it has switched it off: its σ² is below 0.01.",
    );
}

fn codes(walk: &mut Walk, plain: &Trained, vae: &Trained) {
    walk.part("Where the codes are");
    let reach = plain.codes.slice(s![.., ..2]).iter().fold(0.0f32, |m, z| m.max(z.abs())).ceil();
    walk.say(&format!(
        "The first two of the eight latents: the autoencoder's codes of the held-out digits (·), and 500 draws of \
         N(0, I) (o), from −{reach} to {reach}; # is both:"
    ));
    walk.show(&map(plain, reach));
    walk.say("The VAE's, from −4 to 4:");
    walk.show(&map(vae, 4.0));
    let (of_plain, of_vae) = (plain.within(), vae.within());
    walk.show(&format!(
        "codes that lie where 95 % of N(0, I) do:   autoencoder {:.1} %   VAE {:.1} %",
        100.0 * of_plain,
        100.0 * of_vae
    ));
    walk.claim(of_vae > 0.5, "Most of the VAE's codes lie where the prior does, after three epochs.");
    walk.claim(of_plain < 0.05, "Hardly any of the autoencoder's do: nobody told it where to put them.");
}

fn samples(walk: &mut Walk, plain: &Trained, vae: &Trained, test: ArrayView2<f32>) {
    walk.part("Sampling both");
    walk.say(
        "To make a new digit one needs a code to decode, and the only density at hand is p(z). The autoencoder, whose \
         decoder never saw such codes:",
    );
    walk.show(&pictures(plain.samples.slice(s![..SHOWN, ..])));
    walk.say("The VAE, the same five draws of z:");
    walk.show(&pictures(vae.samples.slice(s![..SHOWN, ..])));
    let (a, b) = (plain.strangeness(test), vae.strangeness(test));
    walk.show(&format!(
        "squared distance of a sample to the nearest real digit, mean of {SAMPLES}:\n\
         autoencoder {a:.1}     VAE {b:.1}"
    ));
    walk.claim(
        a > 1.1 * b,
        "The autoencoder's samples are stranger than the VAE's: further from any real digit, by more than a tenth.",
    );
}

fn bill(walk: &mut Walk, plain: &Trained, vae: &Trained) {
    walk.part("The bill");
    walk.say(
        "Read as a model of digits, each of the two can be asked what a digit costs: reconstruction plus KL, the \
         negative ELBO of walkthrough 05. The KL is what it costs to say which code was used, to someone who knows \
         only p(z).",
    );
    let line = |name: &str, s: &Stats| {
        format!("{name:12} {:8.2} + {:6.2} = {:8.2}\n", s.mean_reconstruction(), s.mean_kl(), s.neg_elbo())
    };
    walk.show(&(line("autoencoder", &plain.heldout) + &line("VAE", &vae.heldout)));
    walk.claim(
        plain.heldout.mean_kl() > 3.0 * vae.heldout.mean_kl(),
        "The autoencoder's codes are more than three times as expensive to name.",
    );
    let dearer = plain.heldout.neg_elbo() - vae.heldout.neg_elbo();
    let saved = vae.heldout.mean_reconstruction() - plain.heldout.mean_reconstruction();
    walk.claim(
        dearer > 30.0 && saved < 0.5 * dearer,
        &format!("All in all a digit costs it {dearer:.0} nats more; on the reconstruction it had saved {saved:.0}."),
    );
    walk.say(
        "So: to compress, denoise or look for odd ones out by reconstruction, an autoencoder may do. To draw new data, to \
         compare data by how probable they are, or to move through the codes without falling into a hole, codes need \
         a distribution.",
    );
}
