//! 01: a derivative by hand and by finite differences, and why the step size matters.

mod walk;

use elbo::gradcheck::{Numeric, differentiate};
use walk::plot::{Plot, Scale};
use walk::{Walk, bar};

/// The one input and the one target, a pixel that is on.
const X: f64 = 2.0;
const T: f64 = 1.0;

/// −log p(t | w) in nats, where t is 1 with probability σ(o), and o = w·x.
fn loss(w: f64) -> f64 {
    let o = w * X;
    o.exp().ln_1p() - T * o
}

/// The same numbers in f32.
fn loss_f32(w: f64) -> f64 {
    let o = w as f32 * X as f32;
    f64::from(o.exp().ln_1p() - T as f32 * o)
}

fn sigmoid(o: f64) -> f64 {
    1.0 / (1.0 + (-o).exp())
}

/// dℓ/dw and the next two derivatives, by hand.
fn by_hand(w: f64) -> [f64; 3] {
    let s = sigmoid(w * X);
    [(s - T) * X, s * (1.0 - s) * X * X, s * (1.0 - s) * (1.0 - 2.0 * s) * X.powi(3)]
}

/// Weights at which errors are measured: one alone might be lucky.
fn weights() -> impl Iterator<Item = f64> {
    (-20..=20).map(|i| 0.06 * f64::from(i) + 0.017)
}

/// The root mean square of `f` over the weights.
fn rms(f: impl Fn(f64) -> f64) -> f64 {
    (weights().map(|w| f(w).powi(2)).sum::<f64>() / weights().count() as f64).sqrt()
}

/// A function of the weight.
type Function = fn(f64) -> f64;

fn forward(f: Function, w: f64, h: f64) -> f64 {
    (f(w + h) - f(w)) / h
}

fn central(f: Function, w: f64, h: f64) -> f64 {
    (f(w + h) - f(w - h)) / (2.0 * h)
}

fn main() -> elbo::Result<()> {
    let mut walk = Walk::start(
        1,
        "One number",
        "what a derivative promises, how to test one that you wrote, and how far to trust the test.",
    );
    derive(&mut walk);
    let errors = steps(&mut walk);
    why(&mut walk, &errors);
    ladder(&mut walk);
    if let Some(path) = walk.picture("01-step-size.png") {
        let points = |column: usize| {
            let by_step = errors.iter().zip(1..).map(move |(e, k)| [10f64.powi(-k), e[column]]);
            by_step.collect::<Vec<_>>()
        };
        Plot::new(
            "Why the step size matters",
            "Derivatives by differences against the one by hand. Large steps cut off Taylor's series, small ones meet rounding.",
        )
        .x("step h", Scale::Log)
        .y("root mean square error", Scale::Log)
        .joined(3, "central, in f32", points(2))
        .joined(1, "forward", points(0))
        .joined(0, "central", points(1))
        .save(path)?;
    }
    walk.end();
    Ok(())
}

fn derive(walk: &mut Walk) {
    walk.part("By hand");
    walk.say(
        "All of learning rests on one question: if I turn this number a little, how does the loss move? Take the \
         smallest network there is, one weight w, and the smallest data, one input x = 2 with one target t = 1.",
    );
    walk.show("o = w·x\nℓ = log(1 + eᵒ) − t·o            −log p(t), in nats, if p(1) = σ(o)");
    walk.say("The chain rule takes one factor from each line, the last line first:");
    walk.show("dℓ/do = σ(o) − t                 (what the model says, minus what is true)\ndℓ/dw = dℓ/do · x");
    let (w, h) = (0.3, 0.01);
    let [slope, ..] = by_hand(w);
    let (moved, promised) = (loss(w + h) - loss(w), slope * h);
    walk.show(&format!(
        "at w = {w}:   ℓ = {:.6}   dℓ/dw = {slope:.6}\nw + {h}:      ℓ moves by {moved:.6}, and dℓ/dw · {h} = {promised:.6}",
        loss(w)
    ));
    walk.claim(
        (moved - promised).abs() < 0.01 * promised.abs(),
        "A step of 0.01 moves the loss by what the derivative promises, to one per cent.",
    );
}

/// Prints the table and returns, by k, the errors of steps h = 10⁻ᵏ: forward, central, central in f32.
fn steps(walk: &mut Walk) -> Vec<[f64; 3]> {
    walk.part("By differences");
    walk.say(
        "A derivative that was written by hand can be wrong, and a computer can look: it moves w by h and divides. \
         There are two ways to look, and a step to choose.",
    );
    walk.show(
        "forward    (ℓ(w + h) − ℓ(w)) / h                = ℓ′ + h ℓ″/2 + …\n\
         central    (ℓ(w + h) − ℓ(w − h)) / 2h           = ℓ′ + h² ℓ‴/6 + …",
    );
    walk.say("Here is how far each is from the derivative by hand (root mean square over 41 weights):");
    let error = |f: Function, way: fn(Function, f64, f64) -> f64, h| rms(|w| way(f, w, h) - by_hand(w)[0]);
    let errors: Vec<[f64; 3]> = (1..=15)
        .map(|k| 10f64.powi(-k))
        .map(|h| [error(loss, forward, h), error(loss, central, h), error(loss_f32, central, h)])
        .collect();
    let mut table = String::from("step     forward   central   in f32     digits right, central\n");
    for (i, [f, c, single]) in errors.iter().enumerate() {
        let h = format!("1e-{}", i + 1);
        table += &format!("{h:6}   {f:7.0e}   {c:7.0e}   {single:7.0e}   {}\n", bar(-2.0 * c.log10(), 40));
    }
    walk.show(&table);
    errors
}

fn why(walk: &mut Walk, errors: &[[f64; 3]]) {
    walk.part("Two errors that pull apart");
    walk.say(
        "Read the table from above. While h is large, the next term of Taylor's series rules: a tenth of the step \
         leaves a tenth of the forward error, and a hundredth of the central one.",
    );
    let ratio = |column: usize, k: usize| errors[k][column] / errors[k + 1][column];
    walk.claim(
        (0..5).all(|k| (8.0..12.5).contains(&ratio(0, k))),
        "From 1e-1 to 1e-6, forward: ten times better each.",
    );
    walk.claim((0..3).all(|k| (80.0..125.0).contains(&ratio(1, k))), "From 1e-1 to 1e-4, central: a hundred times.");
    let h = 1e-3;
    let predicted = [rms(|w| h * by_hand(w)[1] / 2.0), rms(|w| h * h * by_hand(w)[2] / 6.0)];
    let close = |k: usize| (errors[2][k] / predicted[k] - 1.0).abs() < 0.01;
    walk.claim(close(0) && close(1), "At h = 1e-3 both errors are the next term of the series, to one per cent.");
    walk.say(
        "Then it turns. Numbers have 53 binary digits; a loss near 1 is known to about 10⁻¹⁶, and the division by h \
         makes that 10⁻¹⁶/h. The two errors meet near the cube root of 10⁻¹⁶ for the central difference, at h ≈ 10⁻⁵; \
         smaller steps are worse ones.",
    );
    let best = |column: usize| (0..15).min_by(|&a, &b| errors[a][column].total_cmp(&errors[b][column])).unwrap_or(0);
    let (forward, central, single) = (best(0), best(1), best(2));
    walk.claim((3..=6).contains(&central), &format!("The best central step is 1e-{}.", central + 1));
    walk.claim(errors[14][1] > 1e6 * errors[central][1], "A step of 1e-15 is a million times worse than the best.");
    walk.claim(
        errors[central][1] < 0.01 * errors[forward][0],
        &format!("At its best, central is right to {:.0e}, forward to {:.0e}.", errors[central][1], errors[forward][0]),
    );
    walk.claim(
        errors[single][2] > 1e4 * errors[central][1],
        &format!(
            "In f32 no step gets below {:.0e}: networks may train in f32, derivatives are checked in f64.",
            errors[single][2]
        ),
    );
}

fn ladder(walk: &mut Walk) {
    walk.part("What the library does");
    walk.say(
        "`elbo::gradcheck::differentiate` weights four points so that the h² term cancels as well, tries a ladder of \
         steps, and keeps the one at which its own error seems least. It never sees the derivative by hand: a judge \
         who has read the answer proves nothing.",
    );
    walk.show("ℓ′ ≈ (ℓ(w − 2h) − 8 ℓ(w − h) + 8 ℓ(w + h) − ℓ(w + 2h)) / 12h = ℓ′ + O(h⁴)");
    let worst = weights()
        .map(|w| match differentiate(|t| (loss(w + t), Default::default())) {
            Numeric::Smooth(found) => (found - by_hand(w)[0]).abs(),
            Numeric::Kink => f64::INFINITY,
        })
        .fold(0.0, f64::max);
    walk.claim(worst < 1e-10, "At all 41 weights it agrees with the derivative by hand to 1e-10.");
}
