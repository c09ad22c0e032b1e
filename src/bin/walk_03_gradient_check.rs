//! 03: the gradient check: central differences, f64, kinks, and wrong gradients caught.

mod walk;

use elbo::estimator::Elbo;
use elbo::gradcheck::{Check, Numeric, TOLERANCE, check_coordinates, check_layer, check_vae, differentiate};
use elbo::layer::{Activation, Cache, Dense, Gradient, InitScheme, Layer, Sides};
use elbo::model::{Preset, VaeConfig};
use elbo::tensor::{Buffer, Isa, Layout, Mat, Params, Slot};
use walk::plot::{Plot, Scale};
use walk::{Walk, bar};

fn main() -> elbo::Result<()> {
    let mut walk = Walk::start(
        3,
        "The gradient check",
        "how to prove a backward pass right, and why a falling loss proves nothing.",
    );
    falling(&mut walk)?;
    own_layer(&mut walk)?;
    kinks(&mut walk);
    whole_model(&mut walk)?;
    walk.end();
    Ok(())
}

/// Mean squared error of y = w x + b over a line of points, and its gradient by (w, b).
fn line([w, b]: [f64; 2]) -> (f64, [f64; 2]) {
    let points: Vec<(f64, f64)> = (0..20).map(|i| f64::from(i) / 10.0 - 0.5).map(|x| (x, 3.0 * x - 1.0)).collect();
    let n = points.len() as f64;
    let error = |(x, y): &(f64, f64)| w * x + b - y;
    let loss = points.iter().map(|p| error(p).powi(2)).sum::<f64>() / n;
    let by = |f: fn(f64) -> f64| points.iter().map(|p| 2.0 * error(p) * f(p.0)).sum::<f64>() / n;
    (loss, [by(|x| x), by(|_| 1.0)])
}

fn falling(walk: &mut Walk) -> elbo::Result<()> {
    walk.part("A falling loss proves nothing");
    walk.say(
        "Fit a line to twenty points by gradient descent, once with the right gradient and once with a mistake: the \
         derivative by b is divided by the batch size once too often, a mean of a mean.",
    );
    let descend = |mistake: f64| {
        let (mut at, mut losses) = ([0.0, 0.0], Vec::new());
        for _ in 0..=200 {
            let (loss, [dw, db]) = line(at);
            losses.push(loss);
            at = [at[0] - 0.3 * dw, at[1] - 0.3 * mistake * db];
        }
        losses
    };
    let (right, wrong) = (descend(1.0), descend(1.0 / 20.0));
    let mut table = String::from("step      right     wrong\n");
    for step in [0, 1, 5, 20, 50, 100, 200] {
        let wrong = wrong[step];
        table += &format!("{step:4}  {:9.6} {wrong:9.6}  {}\n", right[step], bar(12.0 * wrong, 40));
    }
    walk.show(&table);
    let falls = wrong.windows(2).all(|w| w[1] < w[0]);
    walk.claim(
        falls && wrong[200] < 0.05 * wrong[0],
        "With the wrong gradient the loss falls at every step, below 5 % of its start.",
    );
    walk.claim(right[50] < 1e-3 * wrong[50], "It is only worse: a thousand times, after 50 steps. Who would know?");
    let start = [0.4, 0.3];
    let check = |scale: f64| {
        let (_, [dw, db]) = line(start);
        check_coordinates("line", &start, &[dw, scale * db], |at| (line([at[0], at[1]]).0, Sides::default()))
    };
    walk.say("Differences know at once, before the first step of training:");
    show_check(walk, "right", &check(1.0));
    show_check(walk, "wrong", &check(1.0 / 20.0));
    walk.claim(
        check(1.0).passed() && !check(1.0 / 20.0).passed(),
        "The check passes the right gradient and names the wrong one.",
    );
    if let Some(path) = walk.picture("03-falling-losses.png") {
        let points = |losses: &[f64]| losses.iter().enumerate().map(|(i, l)| [i as f64, *l]).collect::<Vec<_>>();
        Plot::new(
            "A falling loss proves nothing",
            "A line fitted to twenty points by gradient descent: the wrong gradient lowers the loss as well.",
        )
        .x("step of gradient descent", Scale::Linear)
        .y("mean squared error", Scale::Log)
        .y_range(1e-12, 10.0)
        .line(0, "the right gradient", points(&right))
        .line(3, "by b, divided by 20", points(&wrong))
        .save(path)?;
    }
    Ok(())
}

fn show_check(walk: &Walk, name: &str, check: &Check) {
    walk.show(&format!("{name:8} worst relative error {:.1e}\n         at {}", check.worst, check.at));
}

/// y = x σ(x), a layer of one's own, with the mistake that one makes.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Swish {
    Right,
    /// The product rule's second half forgotten.
    HalfTheProductRule,
    /// Right, but for a factor of 1.001.
    OneInAThousand,
}

impl Swish {
    fn derivative(self, x: f64) -> f64 {
        let s = 1.0 / (1.0 + (-x).exp());
        match self {
            Swish::Right => s + x * s * (1.0 - s),
            Swish::HalfTheProductRule => s,
            Swish::OneInAThousand => 1.001 * (s + x * s * (1.0 - s)),
        }
    }
}

const COLUMNS: usize = 4;

impl Layer<f64> for Swish {
    fn inputs(&self) -> usize {
        COLUMNS
    }
    fn outputs(&self) -> usize {
        COLUMNS
    }
    fn cache(&self, _rows: usize) -> Cache<f64> {
        Cache::default()
    }
    fn forward(&self, _: Isa, _: &Params<f64>, x: Mat<f64>, y: &mut Buffer<f64>, _: &mut Cache<f64>) {
        let mut y = y.rows_mut(x.rows());
        for r in 0..x.rows() {
            y.row(r).iter_mut().zip(x.row(r)).for_each(|(y, x)| *y = x / (1.0 + (-x).exp()));
        }
    }
    fn backward_rows(
        &self,
        _: Isa,
        _: &Params<f64>,
        x: Mat<f64>,
        _: &Buffer<f64>,
        dy: &mut Buffer<f64>,
        dx: Option<&mut Buffer<f64>>,
        _: &mut Cache<f64>,
    ) {
        let Some(dx) = dx else { return };
        let (dy, mut dx) = (dy.rows(x.rows()), dx.rows_mut(x.rows()));
        for r in 0..x.rows() {
            let from = dy.row(r).iter().zip(x.row(r));
            dx.row(r).iter_mut().zip(from).for_each(|(dx, (dy, x))| *dx = dy * self.derivative(*x));
        }
    }
    fn gradient<'a>(&self, _: Slot, _: Mat<'a, f64>, _: Mat<'a, f64>, _: &'a Cache<f64>) -> Option<Gradient<'a, f64>> {
        None
    }
}

fn own_layer(walk: &mut Walk) -> elbo::Result<()> {
    walk.part("A layer of one's own");
    walk.say(
        "`check_layer` takes anything that implements `Layer`. It draws x, makes the loss Σ c ⊙ y with random c (every \
         output matters, and none cancels another), and compares each coordinate. Here is y = x σ(x), first as it \
         should be, then with half of the product rule forgotten, then 0.1 % too steep.",
    );
    let check = |layer: Swish| check_layer(&layer, &Layout::new(), 5, 3).swap_remove(0);
    let [right, half, steep] = [Swish::Right, Swish::HalfTheProductRule, Swish::OneInAThousand].map(check);
    show_check(walk, "right", &right);
    show_check(walk, "half", &half);
    show_check(walk, "0.1 %", &steep);
    walk.claim(right.passed() && right.compared == 20, "The right one passes, at 5 rows of 4.");
    walk.claim(!half.passed() && half.worst > 0.01, "Half of the product rule is caught.");
    walk.claim(
        !steep.passed() && (steep.worst - 1e-3).abs() < 1e-5,
        "A thousandth too much is caught, and measured: the error is 1.0e-3.",
    );
    walk.claim(TOLERANCE < 1e-3 * steep.worst, "The tolerance, 1e-7, lies four digits lower still.");
    if let Some(path) = walk.picture("03-relative-errors.png") {
        errors_by_input(path)?;
    }
    Ok(())
}

/// The relative error of each of the three derivatives, over the inputs that a network meets.
fn errors_by_input(path: std::path::PathBuf) -> elbo::Result<()> {
    let value = |x: f64| x / (1.0 + (-x).exp());
    let error = |layer: Swish| {
        (-150..=150).map(|i| 0.04 * f64::from(i) + 0.003).filter_map(move |x| {
            match differentiate(|t| (value(x + t), Sides::default())) {
                Numeric::Smooth(slope) => Some([x, ((layer.derivative(x) - slope) / slope).abs().max(1e-16)]),
                Numeric::Kink => None,
            }
        })
    };
    Plot::new(
        "What differences see of y = x σ(x)",
        "Each derivative by hand against a numeric one, at 301 inputs. Only the right one stays below the tolerance.",
    )
    .x("x", Scale::Linear)
    .y("relative error of dy/dx", Scale::Log)
    .y_range(1e-16, 100.0)
    .line(3, "half of the product rule", error(Swish::HalfTheProductRule))
    .line(1, "0.1 % too steep", error(Swish::OneInAThousand))
    .line(0, "right", error(Swish::Right))
    .level("the tolerance", TOLERANCE)
    .save(path)
}

fn kinks(walk: &mut Walk) {
    walk.part("Kinks");
    walk.say(
        "max(0, x) has the slope 0 left of 0 and 1 right of it. Where the kink lies between the two points, a central \
         difference sees a bit of both: at x = h/3, two thirds.",
    );
    let relu = |x: f64| x.max(0.0);
    let h = 1e-5;
    let x = h / 3.0;
    let seen = (relu(x + h) - relu(x - h)) / (2.0 * h);
    walk.show(&format!("(max(0, x + h) − max(0, x − h)) / 2h = {seen:.6}     at x = h/3, with slope 1"));
    walk.claim((seen - 2.0 / 3.0).abs() < 1e-9, "The difference is 2/3: neither slope, and an alarm about nothing.");
    walk.say(
        "So a layer may note the side on which each of its units is (`Layer::kinks`), and the checker takes a \
         difference only of points on the same sides. It shrinks h until that holds; where it never does, it counts \
         the coordinate as a kink and leaves it out, and says how many those were.",
    );
    let at = |x: f64| {
        differentiate(move |t| {
            let mut sides = Sides::default();
            sides.sign(x + t > 0.0);
            (relu(x + t), sides)
        })
    };
    let near = |x: f64| matches!(at(x), Numeric::Smooth(d) if (d - relu(x.signum())).abs() < 1e-9);
    walk.claim([0.5, 0.004, 1e-4, -1e-4].into_iter().all(near), "At 0.5, 0.004 and ±0.0001 the slope is found.");
    walk.claim(at(0.0) == Numeric::Kink, "At 0 itself it answers: kink.");
    let mut layout = Layout::new();
    let layer = Dense::new(&mut layout, 6, 5, Activation::Relu, InitScheme::Torch);
    let checks = check_layer(&layer, &layout, 8, 3);
    let (compared, left_out) = checks.iter().fold((0, 0), |(c, k), check| (c + check.compared, k + check.kinks));
    walk.claim(
        checks.iter().all(Check::passed) && left_out < compared / 10,
        &format!("A dense ReLU layer passes: {compared} derivatives compared, {left_out} left out."),
    );
}

fn whole_model(walk: &mut Walk) -> elbo::Result<()> {
    walk.part("A whole VAE");
    walk.say(
        "The noise of a VAE is no obstacle: with ε fixed, its loss is a plain function of its parameters. `check_vae` \
         compares each of them, encoder, heads, decoder and the likelihood's own, and then the same gradient in f32, \
         which is the one that trains.",
    );
    let likelihood = "gaussian-learned".parse()?;
    let small = VaeConfig { hidden: vec![6], latent: 3, likelihood, ..Preset::named("mlp-one")?.config(7) };
    let checks = check_vae(&small, &Elbo::new(2, None), 1.0, 5, 3)?;
    let mut table = String::from("parameter                   compared   worst error   f32 against f64\n");
    for c in &checks {
        let Check { name, compared, worst, .. } = &c.check;
        table += &format!("{name:26} {compared:9} {worst:13.1e} {:17.1e}\n", c.f32_error);
    }
    walk.show(&table);
    let compared: usize = checks.iter().map(|c| c.check.compared).sum();
    let worst = checks.iter().map(|c| c.check.worst).fold(0.0, f64::max);
    walk.claim(
        checks.iter().all(|c| c.check.passed()),
        &format!("{compared} derivatives of the objective, the worst relative error {worst:.1e}: allowed are {TOLERANCE:.0e}."),
    );
    // A gradient in f32 is a few dozen roundings of 2⁻²⁴ = 6e-8 away from the one in f64.
    walk.claim(checks.iter().all(|c| c.f32_error < 2e-5), "In f32 the same gradients, to 2e-5.");
    walk.say(
        "`elbo gradcheck` does this for any model that you configure, and the test suite for every layer, likelihood \
         and preset. No derivative enters the library without it.",
    );
    Ok(())
}
