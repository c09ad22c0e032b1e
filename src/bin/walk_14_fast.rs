//! 14: fast. One matrix product, five times, each time the same bits: what the processor waits for, and what
//! takes the waiting away.

mod walk;

use elbo::layer::Activation;
use elbo::task::{Bench, fma_peak};
use elbo::tensor::{Isa, Mat, MatMut, Noise, Stream};
use elbo::{Exec, Result, TrainConfig, Trainer};
use elbo_kernels::gemm::{Accum, rows_product};
use elbo_kernels::panels::Panels;
use rand::Rng;
use std::time::{Duration, Instant};
use walk::Walk;
use walk::draw::bar;
use walk::plot::bars;

/// Y = X W: a batch of 128 digits through the first layer of the net that everyone trains.
const ROWS: usize = 128;
const INNER: usize = 784;
const COLS: usize = 400;
const FLOPS: f64 = (2 * ROWS * INNER * COLS) as f64;

/// Columns of a panel, and rows of a register tile: 2 × 16 sums are eight registers of four, half of what the oldest
/// processor of this kind has.
const WIDE: usize = 16;
const HIGH: usize = 2;

fn main() -> Result<()> {
    let mut walk = Walk::start(
        14,
        "Fast",
        "why the textbook's three loops reach a few per cent of the processor, which four changes mend that, and why \
         none of them may change a bit.",
    );
    let mut rng = Noise::new(14).rng(Stream::Data, 0, 0, 0);
    let mut numbers = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random_range(-1.0..1.0)).collect() };
    let (x, w, bias) = (numbers(ROWS * INNER), numbers(INNER * COLS), numbers(COLS));
    let peak = fma_peak(&Exec::sequential()?);
    walk.say(&format!(
        "The product: {ROWS} rows of {INNER} numbers by {INNER} × {COLS} weights, {:.0} million multiplications and \
         additions. What one core could do at most is measured, too: fused multiply-adds on registers, with no memory in \
         the way. Times below are of this machine at this moment, and no claim is made about them; the claims are about \
         the results.",
        FLOPS / 1e6
    ));
    walk.show(&format!("one core at most: {:.1} GFLOP/s", peak / 1e9));
    if cfg!(debug_assertions) {
        walk.say(
            "This build has debug assertions: the compiler makes vectors of arrays only at its highest level. For times \
             that say something, run it with --release; the bits are the same.",
        );
    }
    let mut clock = Clock { peak, lines: String::new(), naive: 0.0, speeds: Vec::new() };
    let plain = by_hand(&mut walk, &mut clock, &x, &w);
    fused(&mut walk, &mut clock, &x, &w, &bias, &plain);
    library(&mut walk, &mut clock, &x, &w, &bias, &plain)?;
    walk.part("The table");
    walk.show("                                 ms   GFLOP/s   of the peak    × naive\n");
    walk.show(&clock.lines);
    if let Some(path) = walk.picture("14-speeds.png") {
        clock.speeds.push(("one core at most".to_owned(), peak / 1e9));
        let build = if cfg!(debug_assertions) { "in a debug build, which is slower" } else { "in a release build" };
        let note = format!("{ROWS} × {INNER} by {INNER} × {COLS} in f32 on one core of this machine, {build}.");
        bars(["One matrix product, ever better fed", &note, "GFLOP/s"], 1.02 * peak / 1e9, &clock.speeds, path)?;
    }
    a_step(&mut walk)?;
    walk.end();
    Ok(())
}

/// Takes times, and writes them down.
struct Clock {
    peak: f64,
    lines: String,
    naive: f64,
    /// GFLOP/s by name, for the picture.
    speeds: Vec<(String, f64)>,
}

impl Clock {
    /// The least time of some runs, for the table.
    fn time(&mut self, name: &str, runs: usize, mut f: impl FnMut()) {
        let once = |f: &mut dyn FnMut()| {
            let start = Instant::now();
            f();
            start.elapsed().as_secs_f64()
        };
        let seconds = (0..runs).map(|_| once(&mut f)).fold(f64::INFINITY, f64::min);
        if self.lines.is_empty() {
            self.naive = seconds;
        }
        let share = FLOPS / seconds / self.peak;
        self.speeds.push((name.to_owned(), FLOPS / seconds / 1e9));
        self.lines += &format!(
            "{name:<28}{:>7.2}  {:>8.1}  {:>10.1} %  {:>9.1}   {}\n",
            seconds * 1e3,
            FLOPS / seconds / 1e9,
            100.0 * share,
            self.naive / seconds,
            bar(share, 16)
        );
    }
}

fn naive(x: &[f32], w: &[f32], y: &mut [f32]) {
    for i in 0..ROWS {
        for j in 0..COLS {
            let mut sum = 0.0;
            for k in 0..INNER {
                sum += x[i * INNER + k] * w[k * COLS + j];
            }
            y[i * COLS + j] = sum;
        }
    }
}

/// Columns in blocks of 64, so that a block of W stays in the second-level cache; the innermost loop runs along rows.
fn blocked(x: &[f32], w: &[f32], y: &mut [f32]) {
    y.fill(0.0);
    for from in (0..COLS).step_by(64) {
        let columns = from..(from + 64).min(COLS);
        for (x, y) in x.chunks_exact(INNER).zip(y.chunks_exact_mut(COLS)) {
            for (x, w) in x.iter().zip(w.chunks_exact(COLS)) {
                for (y, w) in y[columns.clone()].iter_mut().zip(&w[columns.clone()]) {
                    *y += x * w;
                }
            }
        }
    }
}

/// W by panels of sixteen columns, each contiguous: what the product reads next is what lies next.
fn pack_weights(w: &[f32]) -> Vec<f32> {
    let panel = |from: usize| w.chunks_exact(COLS).flat_map(move |row| &row[from..from + WIDE]).copied();
    (0..COLS).step_by(WIDE).flat_map(panel).collect()
}

/// X by groups of `HIGH` rows, their elements of one column side by side.
fn pack_rows(x: &[f32]) -> Vec<f32> {
    let group = |rows: &[f32]| -> Vec<f32> {
        (0..INNER).flat_map(|k| (0..HIGH).map(move |r| r * INNER + k)).map(|at| rows[at]).collect()
    };
    x.chunks_exact(HIGH * INNER).flat_map(group).collect()
}

/// sums += x w, sixteen at a time: arrays of a fixed size, which the compiler keeps in vector registers.
#[inline(always)]
fn add(sums: &mut [f32; WIDE], x: f32, w: &[f32; WIDE]) {
    sums.iter_mut().zip(w).for_each(|(s, w)| *s += x * w);
}

/// Tiles of `R` × `WIDE` sums stay in registers while k runs: each weight that is loaded is used `R` times. `done` gets
/// each row of a tile while it is still there: (column, sums).
fn tiled<const R: usize>(
    rows: &[f32],
    panels: &[f32],
    y: &mut [f32],
    done: impl Fn(usize, [f32; WIDE]) -> [f32; WIDE],
) {
    for (p, panel) in panels.chunks_exact(INNER * WIDE).enumerate() {
        for (rows, y) in rows.chunks_exact(INNER * R).zip(y.chunks_exact_mut(COLS * R)) {
            let tile: [_; R] = tile(rows, panel);
            for (sums, y) in tile.into_iter().zip(y.chunks_exact_mut(COLS)) {
                y[p * WIDE..][..WIDE].copy_from_slice(&done(p * WIDE, sums));
            }
        }
    }
}

#[inline(always)]
fn tile<const R: usize>(rows: &[f32], panel: &[f32]) -> [[f32; WIDE]; R] {
    let mut sums = [[0.0; WIDE]; R];
    for (x, w) in rows.as_chunks::<R>().0.iter().zip(panel.as_chunks::<WIDE>().0) {
        for (sums, x) in sums.iter_mut().zip(x) {
            add(sums, *x, w);
        }
    }
    sums
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

fn by_hand(walk: &mut Walk, clock: &mut Clock, x: &[f32], w: &[f32]) -> Vec<f32> {
    let (mut plain, mut y) = (vec![0.0; ROWS * COLS], vec![0.0; ROWS * COLS]);
    walk.part("Naive");
    walk.show("for i { for j { for k { y[i][j] += x[i][k] * w[k][j] } } }");
    walk.say(
        "Each step of the inner loop jumps a whole row of W ahead, 1,600 bytes: of every cache line that is fetched, four \
         bytes of 64 are used. And each addition waits for the one before it, four or five cycles long.",
    );
    clock.time("naive", 2, || naive(x, w, &mut plain));

    walk.part("Blocked");
    walk.say(
        "The same sums, other loops: along rows, in blocks of columns that fit a cache. Every line that is fetched is \
         used up, and sixty-four additions wait for nothing of each other, so the compiler takes four at a time. Now each \
         sum goes to memory and back at every step.",
    );
    clock.time("blocked", 5, || blocked(x, w, &mut y));
    walk.claim(same_bits(&plain, &y), "Blocked: not one bit differs, for each sum still runs over k in its order.");

    walk.part("Packed");
    walk.say(
        "Sixteen sums fit into registers and stay there for the whole of k. What they need of W is sixteen columns: \
         copied once into a panel of its own, it is read from front to back. elbo keeps its weights in this order for \
         good, so that nothing is ever copied.",
    );
    let panels = pack_weights(w);
    y.fill(f32::NAN);
    clock.time("packed", 5, || tiled::<1>(x, &panels, &mut y, |_, sums| sums));
    walk.claim(same_bits(&plain, &y), "Packed: not one bit differs.");

    walk.part("A tile in registers");
    walk.say(
        "A row of W that was loaded serves two rows of X at once; fixed-size arrays tell the compiler that it may keep \
         all 32 sums in vector registers. That is SIMD without an unsafe line, and it is what a matrix product is: loads \
         that are used as often as registers allow.",
    );
    let rows = pack_rows(x);
    y.fill(f32::NAN);
    clock.time("tile of 2 × 16", 10, || tiled::<HIGH>(&rows, &panels, &mut y, |_, sums| sums));
    walk.claim(same_bits(&plain, &y), "In registers: not one bit differs.");
    plain
}

fn fused(walk: &mut Walk, clock: &mut Clock, x: &[f32], w: &[f32], bias: &[f32], plain: &[f32]) {
    walk.part("Fused");
    walk.say(
        "A layer is relu(X W + b). Two more passes over Y read and write all of it again; done on a tile that is still in \
         registers they cost next to nothing. An element's bias is added last either way.",
    );
    let (panels, rows) = (pack_weights(w), pack_rows(x));
    let mut apart = plain.to_vec();
    apart.chunks_exact_mut(COLS).for_each(|y| y.iter_mut().zip(bias).for_each(|(y, b)| *y += b));
    apart.iter_mut().for_each(|y| *y = y.max(0.0));
    let mut y = vec![f32::NAN; ROWS * COLS];
    clock.time("the tile, bias and ReLU fused", 10, || {
        tiled::<HIGH>(&rows, &panels, &mut y, |from, mut sums| {
            sums.iter_mut().zip(&bias[from..]).for_each(|(s, b)| *s = (*s + b).max(0.0));
            sums
        });
    });
    walk.claim(same_bits(&apart, &y), "Fused: the same bits as three passes.");
}

fn library(walk: &mut Walk, clock: &mut Clock, x: &[f32], w: &[f32], bias: &[f32], plain: &[f32]) -> Result<()> {
    walk.part("The library's kernel");
    let isa = Exec::sequential()?.isa();
    walk.say(&format!(
        "The compiler did not know this processor: it wrote vectors of four, and a multiplication, then an addition, with a \
         rounding each. The library asks at run time and finds `{}`. Its tile is written once, for vectors of sixteen, \
         and uses fused multiply-adds: one rounding instead of two. So its bits are others, and better ones.",
        isa.name()
    ));
    let layout = Panels::new(INNER, COLS);
    let mut packed = vec![0.0; layout.len()];
    layout.pack(w, [COLS, 1], &mut packed);
    let x_rows = Mat::new(x, ROWS, INNER, INNER);
    let mut y = vec![f32::NAN; ROWS * COLS];
    let run = |bias, act, y: &mut [f32]| {
        let y = MatMut::new(y, ROWS, COLS, COLS);
        rows_product(isa, x_rows, &layout, &packed, bias, act, Accum::Replace, y);
    };
    run(None, Activation::Identity, &mut y);
    let (ours, theirs, bound) = errors(x, w, &y, plain);
    walk.show(&format!(
        "worst error of a sum of 784 products, as a share of the bound 784 u Σ|x w|:\nmultiply, then add {theirs:.4}        \
         the library {ours:.4}"
    ));
    walk.claim(bound, "Both are within the bound that every order of summation obeys.");
    if isa.is_foreign() {
        walk.say("This processor has no fused multiply-add, so the comparison by bits is left out.");
    } else {
        walk.claim(
            same_bits(&chains(x, w), &y[..4 * COLS]),
            "The library's sums are one mul_add chain over k each, to the bit.",
        );
    }
    let mut apart = y.clone();
    apart.chunks_exact_mut(COLS).for_each(|y| y.iter_mut().zip(bias).for_each(|(y, b)| *y = (*y + b).max(0.0)));
    clock.time("elbo's kernel, fused", 20, || run(Some(bias), Activation::Relu, &mut y));
    walk.claim(same_bits(&apart, &y), "With bias and ReLU fused: the same bits as in passes of their own.");
    Ok(())
}

/// The first four rows, each element one chain of fused multiply-adds.
fn chains(x: &[f32], w: &[f32]) -> Vec<f32> {
    let element = |i: usize, j: usize| (0..INNER).fold(0.0f32, |sum, k| x[i * INNER + k].mul_add(w[k * COLS + j], sum));
    (0..4).flat_map(|i| (0..COLS).map(move |j| (i, j))).map(|(i, j)| element(i, j)).collect()
}

/// The worst errors of the first sixteen rows against f64, as shares of the a-priori bound n u Σ|x w|, and whether all
/// are within it.
fn errors(x: &[f32], w: &[f32], ours: &[f32], theirs: &[f32]) -> (f64, f64, bool) {
    let (mut worst, unit) = ((0.0f64, 0.0f64), f64::from(f32::EPSILON) / 2.0);
    for i in 0..16 {
        for j in 0..COLS {
            let terms = || (0..INNER).map(|k| f64::from(x[i * INNER + k]) * f64::from(w[k * COLS + j]));
            let (exact, size) = (terms().sum::<f64>(), terms().map(f64::abs).sum::<f64>());
            let share = |y: f32| (f64::from(y) - exact).abs() / (INNER as f64 * unit * size);
            worst = (worst.0.max(share(ours[i * COLS + j])), worst.1.max(share(theirs[i * COLS + j])));
        }
    }
    (worst.0, worst.1, worst.0 <= 1.0 && worst.1 <= 1.0)
}

fn a_step(walk: &mut Walk) -> Result<()> {
    walk.part("A whole training step");
    walk.say(
        "A step of a VAE is some eight such products, and around them noise, a cross-entropy, Adam. What is left is to \
         keep everything else out of the way: a block of rows goes through the whole network while it is in cache, and \
         each tile of a gradient updates its weights as soon as it is finished. Threads share out results, never a sum.",
    );
    let full = elbo::data::load("mnist")?;
    let data = elbo::Dataset::new("digits", full.all().slice(0..1280)).with_test(128)?;
    let config = TrainConfig { epochs: 1, ..TrainConfig::preset("mlp-400", INNER)? };
    let bench = Bench {
        config: config.clone(),
        epochs: Some(5),
        budget: Duration::ZERO,
        begun: Instant::now(),
        dense: true,
        profile: false,
    };
    let found = bench.run(&data, &Exec::new(0)?)?;
    walk.show(&format!(
        "{:.0} examples a second on {} threads: {:.0} GFLOP/s of {:.0}, {:.0} % of the peak",
        found.samples_per_second,
        found.threads_used,
        found.gflops,
        found.peak_gflops,
        100.0 * found.peak_share
    ));
    let parameters = |ex: Exec, fuse: bool| -> Result<Vec<f32>> {
        let trainer = Trainer::new(config.clone(), data.clone(), ex)?;
        let mut trainer = if fuse { trainer } else { trainer.unfused().dense() };
        trainer.run(&mut ())?;
        Ok(trainer.params().values().data().to_vec())
    };
    let isa: Isa = Exec::sequential()?.isa();
    let one = parameters(Exec::with_isa(isa, 1)?, true)?;
    walk.claim(
        same_bits(&one, &parameters(Exec::with_isa(isa, 3)?, true)?),
        &format!("After an epoch, all {} parameters have the same bits from one thread and from three.", one.len()),
    );
    walk.claim(
        same_bits(&one, &parameters(Exec::with_isa(isa, 2)?, false)?),
        "And the same bits with the update fused into the product or not, with the zeros of the data skipped or not.",
    );
    walk.say(
        "That is why speed can be trusted here: every one of these changes is checked against the slow way, bit for bit. \
         A change that gains time and moves a result is a change of the result.",
    );
    Ok(())
}
