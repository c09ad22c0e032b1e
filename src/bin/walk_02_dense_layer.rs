//! 02: a dense layer, Y = X W + b, and its three products; shapes on paper.

mod walk;

use elbo::gradcheck::check_layer;
use elbo::layer::{ACTIVATIONS, Activation, Cache, Dense, InitScheme, Layer, parse_activation};
use elbo::model::{Preset, Vae};
use elbo::tensor::{Buffer, Isa, Layout, Par, Params, Slot};
use ndarray::{Array1, Array2, Axis, array, concatenate};
use walk::Walk;
use walk::plot::{Plot, Scale};

/// The library's dense layer with given numbers, and what backward leaves.
struct Subject {
    layer: Dense,
    params: Params<f64>,
}

struct Gradients {
    dx: Array2<f64>,
    dw: Array2<f64>,
    db: Array1<f64>,
}

fn buffer(from: &Array2<f64>) -> Buffer<f64> {
    let mut buffer = Buffer::new(from.nrows(), from.ncols());
    buffer.view_mut(from.nrows()).assign(from);
    buffer
}

impl Subject {
    /// `w` is (in, out), `b` (out).
    fn new(w: &Array2<f64>, b: &Array1<f64>, activation: Activation) -> Self {
        let mut layout = Layout::new();
        let layer = Dense::new(&mut layout, w.nrows(), w.ncols(), activation, InitScheme::Torch);
        let mut params = Params::zeros(&layout);
        let mut fill = |slot: Slot, row: usize, col: usize, value| params.values_mut().set(&slot, row, col, value);
        w.indexed_iter().for_each(|((i, j), &value)| fill(layer.weight(), i, j, value));
        b.indexed_iter().for_each(|(j, &value)| fill(layer.bias(), 0, j, value));
        params.refresh(Par::Sequential);
        Subject { layer, params }
    }
    fn run(&self, x: &Buffer<f64>, rows: usize) -> (Buffer<f64>, Cache<f64>) {
        let (mut y, mut cache) = (Buffer::new(rows, Layer::<f64>::outputs(&self.layer)), self.layer.cache(rows));
        self.layer.forward(Isa::default(), &self.params, x.rows(rows), &mut y, &mut cache);
        (y, cache)
    }
    fn forward(&self, x: &Array2<f64>) -> Array2<f64> {
        self.run(&buffer(x), x.nrows()).0.view(x.nrows()).to_owned()
    }
    fn backward(&self, x: &Array2<f64>, dy: &Array2<f64>) -> Gradients {
        let (rows, x, mut dy, mut dx) = (x.nrows(), buffer(x), buffer(dy), Buffer::new(x.nrows(), x.ncols()));
        let (y, mut cache) = self.run(&x, rows);
        self.layer.backward_rows(Isa::default(), &self.params, x.rows(rows), &y, &mut dy, Some(&mut dx), &mut cache);
        let of = |slot| match self.layer.gradient(slot, x.rows(rows), dy.rows(rows), &cache) {
            Some(gradient) => gradient.to_array(),
            None => panic!("a parameter of another layer"),
        };
        // Files and the library's arrays have a weight as (out, in).
        let (dw, db) = (of(self.layer.weight()).reversed_axes(), of(self.layer.bias()).remove_axis(Axis(1)));
        Gradients { dx: dx.view(rows).to_owned(), dw, db }
    }
}

/// Matrices side by side, each under its name and shape.
fn side_by_side(named: &[(&str, &Array2<f64>)]) -> String {
    let width = |m: &Array2<f64>| (4 * m.ncols() + 2).max(16);
    let heads =
        named.iter().map(|(name, m)| format!("{:w$}", format!("{name} ({}, {})", m.nrows(), m.ncols()), w = width(m)));
    let mut text = heads.collect::<String>() + "\n";
    for r in 0..named.iter().map(|(_, m)| m.nrows()).max().unwrap_or(0) {
        for (_, m) in named {
            let cells = if r < m.nrows() { m.row(r).iter().map(|v| format!("{v:4}")).collect() } else { String::new() };
            text += &format!("{cells:w$}", w = width(m));
        }
        text += "\n";
    }
    text
}

fn main() -> elbo::Result<()> {
    let mut walk = Walk::start(
        2,
        "A dense layer",
        "where the three matrix products of every network come from, and how shapes alone put them together.",
    );
    // Whole numbers: sums of them are exact, so that claims are equalities.
    let x = array![[1., 2., 0.], [0., 1., -1.], [2., 0., 1.], [1., 1., 1.]];
    let (w, b) = (array![[1., 0.], [2., -1.], [0., 3.]], array![1., -2.]);
    let dy = array![[1., 0.], [0., 1.], [1., 1.], [-1., 2.]];
    forward(&mut walk, &x, &w, &b);
    backward(&mut walk, &x, &w, &b, &dy);
    differences(&mut walk, &x, &w, &b, &dy)?;
    sums(&mut walk, &x, &w, &b, &dy);
    activations(&mut walk)?;
    cost(&mut walk)?;
    walk.end();
    Ok(())
}

fn forward(walk: &mut Walk, x: &Array2<f64>, w: &Array2<f64>, b: &Array1<f64>) {
    walk.part("Forward");
    walk.say(
        "A batch is a matrix: B rows, one example each. A dense layer gives each row the same treatment, o weighted \
         sums of its i numbers.",
    );
    walk.show("Y = X W + b           (B, i) (i, o) + (o) → (B, o)\ny_nk = Σ_j x_nj w_jk + b_k");
    let y = Subject::new(w, b, Activation::Identity).forward(x);
    walk.show(&side_by_side(&[("X", x), ("W", w), ("Y", &y)]));
    let sum = |n: usize, k: usize| (0..3).map(|j| x[[n, j]] * w[[j, k]]).sum::<f64>() + b[k];
    walk.claim(
        y == Array2::from_shape_fn((4, 2), |(n, k)| sum(n, k)),
        "The library's Y is the sum above, b = (1, −2) added to each row.",
    );
}

fn backward(walk: &mut Walk, x: &Array2<f64>, w: &Array2<f64>, b: &Array1<f64>, dy: &Array2<f64>) {
    walk.part("Backward");
    walk.say(
        "Somewhere above there is a loss ℓ, one number. All that this layer learns of it is dY = ∂ℓ/∂Y, of Y's shape. \
         Three things can move Y, and each gets a gradient of its own shape:",
    );
    walk.show(
        "∂ℓ/∂x_nj = Σ_k dy_nk w_jk     dX = dY Wᵀ     (B, o) (o, i) → (B, i)\n\
         ∂ℓ/∂w_jk = Σ_n x_nj dy_nk     dW = Xᵀ dY     (i, B) (B, o) → (i, o)\n\
         ∂ℓ/∂b_k  = Σ_n dy_nk          db = Σ_n dY    (B, o) → (o)",
    );
    walk.say(
        "Nobody remembers the transposes. There is no need to: dW must be (i, o), and of X (B, i) and dY (B, o) there \
         is one product of that shape.",
    );
    let g = Subject::new(w, b, Activation::Identity).backward(x, dy);
    walk.show(&side_by_side(&[("dY", dy), ("dX", &g.dx), ("dW", &g.dw), ("db", &g.db.clone().insert_axis(Axis(0)))]));
    let dx = |n: usize, j: usize| (0..2).map(|k| dy[[n, k]] * w[[j, k]]).sum::<f64>();
    walk.claim(g.dx == Array2::from_shape_fn((4, 3), |(n, j)| dx(n, j)), "dX = dY Wᵀ: sums over the outputs.");
    let dw = |j: usize, k: usize| (0..4).map(|n| x[[n, j]] * dy[[n, k]]).sum::<f64>();
    walk.claim(g.dw == Array2::from_shape_fn((3, 2), |(j, k)| dw(j, k)), "dW = Xᵀ dY: sums over the rows.");
    walk.claim(g.db == dy.sum_axis(Axis(0)), "db = Σ dY: sums over the rows.");
}

fn differences(
    walk: &mut Walk,
    x: &Array2<f64>,
    w: &Array2<f64>,
    b: &Array1<f64>,
    dy: &Array2<f64>,
) -> elbo::Result<()> {
    walk.part("One step of size one");
    walk.say(
        "Walkthrough 01 needed small steps because its loss was curved. With ℓ = Σ dY ⊙ Y the loss is a straight line \
         in each single number, and a step of 1 is as good as a small one: turn one weight by 1, and ℓ moves by \
         exactly its derivative.",
    );
    let loss = |x: &Array2<f64>, w: &Array2<f64>, b: &Array1<f64>| {
        (Subject::new(w, b, Activation::Identity).forward(x) * dy).sum()
    };
    let (g, start) = (Subject::new(w, b, Activation::Identity).backward(x, dy), loss(x, w, b));
    let turned = |m: &Array2<f64>, at| {
        let mut m = m.clone();
        m[at] += 1.0;
        m
    };
    let by_w = g.dw.indexed_iter().all(|(at, &d)| loss(x, &turned(w, at), b) - start == d);
    walk.claim(by_w, "Each of the 6 weights, turned by 1, moves ℓ by its element of dW.");
    let by_x = g.dx.indexed_iter().all(|(at, &d)| loss(&turned(x, at), w, b) - start == d);
    walk.claim(by_x, "Each of the 12 inputs, turned by 1, moves ℓ by its element of dX.");
    let by_b = (0..2).all(|k| loss(x, w, &(b + &Array1::from_shape_fn(2, |i| f64::from(i == k)))) - start == g.db[k]);
    walk.claim(by_b, "Each of the 2 biases, turned by 1, moves ℓ by its element of db.");
    if let Some(path) = walk.picture("02-straight-lines.png") {
        let mut plot = Plot::new(
            "A dense layer's loss is straight in each single weight",
            "Lines: what dW promises. Dots: the loss of a forward pass with that one weight turned.",
        )
        .x("change of one weight", Scale::Linear)
        .y("change of the loss ℓ = Σ dY ⊙ Y", Scale::Linear);
        for (i, ((j, k), &slope)) in g.dw.indexed_iter().enumerate() {
            let moved = |by: f64| {
                let mut w = w.clone();
                w[(j, k)] += by;
                [by, loss(x, &w, b) - start]
            };
            let name = format!("w{}{}, dW = {slope}", ['₁', '₂', '₃'][j], ['₁', '₂'][k]);
            // Each weight at steps of its own: two of the lines are one.
            let steps = (0..5).map(|s| 0.7 * f64::from(s) - 1.55 + 0.1 * i as f64);
            plot = plot.line(i, &name, [[-1.6, -1.6 * slope], [1.8, 1.8 * slope]]).dots(i, "", steps.map(moved));
        }
        plot.save(path)?;
    }
    Ok(())
}

fn sums(walk: &mut Walk, x: &Array2<f64>, w: &Array2<f64>, b: &Array1<f64>, dy: &Array2<f64>) {
    walk.part("Sums, not means");
    walk.say(
        "A row's gradient does not know how many rows there are. If the loss is a mean over the batch, the 1/B is in \
         dY already; a layer that divided again would learn too slowly, and nobody would notice.",
    );
    let twice = |m: &Array2<f64>| concatenate![Axis(0), m.view(), m.view()];
    let subject = Subject::new(w, b, Activation::Identity);
    let (once, both) = (subject.backward(x, dy), subject.backward(&twice(x), &twice(dy)));
    walk.claim(
        both.dw == once.dw * 2.0 && both.db == once.db * 2.0,
        "The same rows twice: dW and db are twice as large.",
    );
    walk.claim(both.dx == twice(&once.dx), "And each row's dX is what it was: rows do not see each other.");
}

fn activations(walk: &mut Walk) -> elbo::Result<()> {
    walk.part("With an activation");
    walk.say("A function of each element adds one line in front, and the three products then start from dA:");
    walk.show("A = X W + b,  Y = f(A)\ndA = dY ⊙ f′(A)     dX = dA Wᵀ     dW = Xᵀ dA     db = Σ dA");
    let mut table = String::from("f              derivatives checked   worst relative error\n");
    let mut passed = true;
    for name in ACTIVATIONS {
        let mut layout = Layout::new();
        let layer = Dense::new(&mut layout, 5, 4, parse_activation(name)?, InitScheme::Torch);
        let checks = check_layer(&layer, &layout, 6, 2);
        passed &= checks.iter().all(|c| c.passed()) && checks.len() == 3;
        let compared: usize = checks.iter().map(|c| c.compared).sum();
        let worst = checks.iter().map(|c| c.worst).fold(0.0, f64::max);
        table += &format!("{name:14} {compared:19} {worst:22.0e}\n");
    }
    walk.show(&table);
    walk.claim(passed, "By finite differences, dX, dW and db of all eight are right to 1e-7.");
    Ok(())
}

fn cost(walk: &mut Walk) -> elbo::Result<()> {
    walk.part("What it costs");
    walk.say(
        "Each of the three products takes B·i·o multiplications and as many additions: backward costs twice what \
         forward does. One product is never needed. Nobody differentiates by the data, so the first layer has no dX, \
         and in a VAE of pixels that is one of the two largest layers.",
    );
    let vae = Vae::new(&Preset::named("mlp-400")?.config(784))?;
    let (data, rest) = (784.0 * 400.0, 400.0 * 40.0 + 20.0 * 400.0 + 400.0 * 784.0);
    let by_hand = 2.0 * (2.0 * data + 3.0 * rest);
    walk.show(&format!(
        "784 → 400 → 20 + 20,  20 → 400 → 784:\n2 · (2 · {data} + 3 · {rest}) = {:.2} million operations an example",
        by_hand / 1e6
    ));
    walk.claim(vae.flops() == by_hand, "The library counts the same for a step of this VAE.");
    Ok(())
}
