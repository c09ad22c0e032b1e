//! 12: how tight is the bound? Many draws instead of one close the gap, at a rate that is known; and the
//! posterior that is best for one draw is not the best for a hundred.

mod walk;

use elbo::Result;
use elbo::data::{Binarize, Split};
use elbo::density::LikelihoodKind;
use elbo::estimator::ImportanceBounds;
use elbo::task::{EvaluationReport, Examples, evaluate};
use elbo::tensor::{Noise, Stream};
use elbo::{TrainConfig, Trainer};
use rand::Rng;
use rand_distr::StandardNormal;
use walk::Walk;
use walk::digits::{PIXELS, config, digits, train};
use walk::draw::bar;
use walk::plot::{GREY, Plot, Scale};

const LOG_TAU: f64 = 1.837_877_066_409_345_5;

fn main() -> Result<()> {
    let mut walk = Walk::start(
        12,
        "How tight is the bound",
        "what a second draw of z buys, why the bound with K draws never falls, that its gap shrinks as 1/2K times a \
         variance, when that variance is infinite, and what to report as −log p(x).",
    );
    derive(&walk);
    let wide = known(&mut walk);
    too_narrow(&mut walk, &wide)?;
    digits_too(&mut walk)?;
    walk.end();
    Ok(())
}

fn derive(walk: &Walk) {
    walk.part("One weight, many weights");
    walk.say(
        "For a draw z from q(z|x) call w = p(x, z) / q(z|x) its weight. Its mean is the number that we want, and the \
         mean of its logarithm is the ELBO; in between lies the logarithm of a mean of K weights (Burda, Grosse and \
         Salakhutdinov 2016, theorem 1):",
    );
    walk.show("E w = ∫ p(x, z) dz = p(x)        L_K = E log (1/K) Σ_k w_k        ELBO = L_1 ≤ L_2 ≤ … ≤ log p(x)");
    walk.say(
        "Why it never falls: a mean of 10 weights is the mean, over its singles, of single weights, and the logarithm of \
         a mean is at least the mean of the logarithms. How fast it rises: expand log(1 + δ), where δ is what a mean of K \
         weights misses of p(x). Its mean is 0 and its variance that of w/p(x), divided by K:",
    );
    walk.show("log p(x) − L_K ≈ ½ Var(δ) = Var(w / p(x)) / 2K        (Domke and Sheldon 2018, theorem 3)");
}

/// z ~ N(0, 1), x|z ~ N(z, ¼), one x: all is known. And a q(z|x) = N(mean, variance) that is not the posterior.
#[derive(Clone, Copy)]
struct Toy {
    mean: f64,
    variance: f64,
}

const X: f64 = 1.5;
const NOISE: f64 = 0.25;
/// The variance of a q that is wider than the posterior.
const WIDE: f64 = 0.6;

impl Toy {
    fn log_normal(z: f64, mean: f64, variance: f64) -> f64 {
        -0.5 * (LOG_TAU + variance.ln() + (z - mean).powi(2) / variance)
    }
    /// log p(x): the sum of two independent Gaussians is one.
    fn log_px() -> f64 {
        Self::log_normal(X, 0.0, 1.0 + NOISE)
    }
    /// The exact posterior's mean and variance.
    fn posterior() -> (f64, f64) {
        (X / (1.0 + NOISE), NOISE / (1.0 + NOISE))
    }
    fn log_weight(&self, z: f64) -> f64 {
        Self::log_normal(z, 0.0, 1.0) + Self::log_normal(X, z, NOISE) - Self::log_normal(z, self.mean, self.variance)
    }
    /// KL(q ‖ posterior): the ELBO's gap.
    fn gap(&self) -> f64 {
        let (mean, variance) = Self::posterior();
        let ratio = self.variance / variance;
        0.5 * (ratio - 1.0 - ratio.ln() + (self.mean - mean).powi(2) / variance)
    }
    /// Var(w / p(x)) = ∫ posterior² / q dz − 1, by the trapezoidal rule; for a q that is wide enough.
    fn weight_variance(&self) -> f64 {
        let step = 1e-3;
        let square = |z: f64| {
            (2.0 * (self.log_weight(z) - Self::log_px()) + Self::log_normal(z, self.mean, self.variance)).exp()
        };
        (-20_000..20_000).map(|i| square(f64::from(i) * step) * step).sum::<f64>() - 1.0
    }
    /// L_1, L_10, L_100 and L_1000, each the mean of 20 million weights, and whether they rose in every group of 1,000.
    fn bounds(&self) -> (Vec<(usize, f64)>, bool) {
        const GROUPS: usize = 20_000;
        let mut rng = Noise::new(12).rng(Stream::Evaluate, 0, 0, 0);
        let (mut bounds, mut means, mut rising) = (ImportanceBounds::new(1000), Vec::new(), true);
        for _ in 0..GROUPS {
            bounds.restart(1000);
            for _ in 0..1000 {
                let eps: f64 = rng.sample(StandardNormal);
                bounds.add(self.log_weight(self.mean + self.variance.sqrt() * eps));
            }
            let found: Vec<(usize, f64)> = bounds.iter().collect();
            rising &= found.windows(2).all(|w| w[1].1 >= w[0].1 - 1e-9);
            means.resize(found.len(), (0, 0.0));
            means.iter_mut().zip(found).for_each(|(m, (k, l))| *m = (k, m.1 + l / GROUPS as f64));
        }
        (means, rising)
    }
}

fn known(walk: &mut Walk) -> Vec<(usize, f64)> {
    walk.part("Where the truth is known");
    let (mean, variance) = Toy::posterior();
    let toy = Toy { mean, variance: WIDE };
    walk.say(&format!(
        "Let z ~ N(0, 1), x|z ~ N(z, ¼) and x = 1.5. Then log p(x) = {:.4}, and the posterior is N({mean:.1}, {variance:.1}). \
         Take a q with the right mean and three times the variance. Its ELBO must lie KL(q ‖ posterior) = {:.4} nats \
         below the truth, and the rule above says Var(w/p(x)) / 2K with a variance of {:.4}.",
        Toy::log_px(),
        toy.gap(),
        toy.weight_variance()
    ));
    let (bounds, rising) = toy.bounds();
    let mut table = String::from("     K        L_K   log p(x) − L_K      rule\n");
    for &(k, bound) in &bounds {
        let (gap, rule) = (Toy::log_px() - bound, toy.weight_variance() / (2 * k) as f64);
        table += &format!("{k:>6}  {bound:>9.5}  {gap:>15.5}  {rule:>8.5}   {}\n", bar(gap / toy.gap(), 30));
    }
    walk.show(&table);
    // The mean of 20 million log weights, whose deviation is about 1, is known to 0.0003.
    walk.claim(
        (Toy::log_px() - bounds[0].1 - toy.gap()).abs() < 0.002,
        "With one draw the gap is KL(q ‖ posterior), to 0.002 nats.",
    );
    walk.claim(rising, "In each of 20,000 groups of 1,000 weights, L_1 ≤ L_10 ≤ L_100 ≤ L_1000: not only on average.");
    // 200,000 groups of a hundred leave 0.00014 of noise on a gap of 0.0017.
    let hundred = (Toy::log_px() - bounds[2].1) * 200.0 / toy.weight_variance();
    walk.claim((hundred - 1.0).abs() < 0.3, &format!("At K = 100 the gap is the rule's, times {hundred:.2}."));
    bounds
}

fn too_narrow(walk: &mut Walk, wide: &[(usize, f64)]) -> Result<()> {
    walk.part("The best q for one draw is not the best for a hundred");
    let (mean, variance) = Toy::posterior();
    let narrow = Toy { mean, variance: 0.3 * variance };
    let (bounds, _) = narrow.bounds();
    walk.say(
        "Now a q with three tenths of the posterior's variance. Where q is thin and the posterior is not, weights are \
         enormous and rare: ∫ posterior²/q is finite only if q's variance is more than half of the posterior's.",
    );
    let mut table = String::from("     K   gap of the wide q   gap of the narrow q\n");
    for (w, n) in wide.iter().zip(&bounds) {
        table += &format!("{:>6}  {:>18.5}  {:>20.5}\n", w.0, Toy::log_px() - w.1, Toy::log_px() - n.1);
    }
    walk.show(&table);
    walk.claim(
        bounds[0].1 > wide[0].1 + 0.1 && bounds[2].1 < wide[2].1 - 0.005,
        "The ELBO prefers the narrow q, by more than 0.1 nats; with a hundred draws the wide one is the tighter.",
    );
    // 1/K would make it a tenth.
    let falls = (Toy::log_px() - bounds[3].1) / (Toy::log_px() - bounds[2].1);
    walk.claim(
        falls > 0.2,
        &format!("From K = 100 to 1,000 the narrow one's gap falls to {falls:.2} of what it was, not to a tenth: the variance of its weights is infinite."),
    );
    walk.say(
        "The KL in the ELBO punishes mass where the posterior has none, and forgives missing mass. So encoders that \
         are trained by it err on the narrow side, and their importance weights converge slowly. Look at the trend over \
         K before you trust a figure.",
    );
    if let Some(path) = walk.picture("12-gap.png") {
        let gap =
            |bounds: &[(usize, f64)]| bounds.iter().map(|&(k, l)| [k as f64, Toy::log_px() - l]).collect::<Vec<_>>();
        let spread = Toy { mean, variance: WIDE }.weight_variance();
        Plot::new(
            "How tight is the bound",
            "For two q, one too wide and one too narrow; log p(x) is known, and each mean of 20 million draws to 0.0003 nats.",
        )
        .x("K, draws of z", Scale::Log)
        .y("log p(x) − L_K, nats", Scale::Log)
        .dashes(GREY, "Var(w / p(x)) / 2K, wide q", [1.0, 1000.0].map(|k| [k, spread / (2.0 * k)]))
        .joined(0, "wide q, 3 × the variance", gap(wide))
        .joined(1, "narrow q, 0.3 × the variance", gap(&bounds))
        .save(path)?;
    }
    Ok(())
}

fn trained() -> Result<Trainer> {
    let config = config(PIXELS, &[128], 8, LikelihoodKind::Bernoulli)?;
    train(TrainConfig { epochs: 6, binarize: Binarize::Fixed, ..config }, &digits()?)
}

fn report(trainer: &Trainer, rows: usize) -> Result<EvaluationReport> {
    let view = Examples::first(trainer.data().split(Split::Test)?, rows);
    let examples = Examples::new(trainer.vae(), &view, Binarize::Fixed, trainer.config().seed)?;
    evaluate(&mut trainer.inference(), &examples, 0, Some(1000))
}

fn digits_too(walk: &mut Walk) -> Result<()> {
    walk.part("A trained VAE");
    walk.say(
        "200 held-out digits, made binary, under a small VAE with 8 latents. Each is encoded once; 1,000 draws of z go \
         through the decoder. The truth is not known here: only that all these are below it.",
    );
    let report = report(&trained()?, 200)?;
    let first = report.nll[0].nats;
    let gained = first - report.nll[report.nll.len() - 1].nats;
    let mut table = String::from("     K    −L_K   ± over digits   won since the K before\n");
    for (i, nll) in report.nll.iter().enumerate() {
        let won = if i == 0 { 0.0 } else { report.nll[i - 1].nats - nll.nats };
        table += &format!(
            "{:>6}  {:>6.2}  {:>14.2}   {won:>22.3}   {}\n",
            nll.samples,
            nll.nats,
            nll.stderr,
            bar(won / gained, 24)
        );
    }
    walk.show(&table);
    walk.show(&format!("D + R = {:.2} + {:.2} = {:.2}", report.reconstruction, report.kl, report.neg_elbo));
    // One draw a row leaves a few nats of noise on each of 200 rows.
    walk.claim(
        (first - report.neg_elbo).abs() < 1.0,
        "With one draw −L_1 is D + R: the same bound, by other draws of z.",
    );
    walk.claim(report.nll.windows(2).all(|w| w[1].nats <= w[0].nats), "−L_K never rises with K.");
    walk.claim(
        (0.5..10.0).contains(&gained),
        &format!("A thousand draws close {gained:.2} nats of the gap, which the decoder was never guilty of."),
    );
    let won = |i: usize| report.nll[i - 1].nats - report.nll[i].nats;
    walk.claim(won(1) > won(2) && won(2) > won(3), "Each further factor of ten wins less than the one before.");
    walk.say(
        "So: −ELBO to compare runs of one setting, as it costs one decoding; −L_K with a stated K to compare with papers, \
         and never against a −ELBO. A spread over digits that is wider than the gap says how many digits to evaluate.",
    );
    if let Some(path) = walk.picture("12-digits.png") {
        Plot::new(
            "The bound on 200 held-out digits, by draws",
            "A small VAE on binary digits; log p(x) itself is not known, and lies lower still.",
        )
        .x("K, draws of z", Scale::Log)
        .y("−L_K, nats per example", Scale::Linear)
        .level("−ELBO = D + R", report.neg_elbo)
        .joined(0, "−L_K", report.nll.iter().map(|n| [n.samples as f64, n.nats]))
        .save(path)?;
    }
    Ok(())
}
