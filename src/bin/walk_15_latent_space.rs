//! 15: what a latent space is for. One small VAE that never saw a label, and what its twelve numbers are good for.

mod walk;

use elbo::data::{Dataset, Rows, Split, View};
use elbo::density::LikelihoodKind;
use elbo::optim::OptimizerConfig;
use elbo::task::{Examples, auc, decode, encode, scores};
use elbo::tensor::{Noise, Stream};
use elbo::{Result, TrainConfig, Trainer};
use ndarray::{Array1, Array2, ArrayView1, Axis};
use rand::Rng;
use rand_distr::StandardNormal;
use walk::digits::{PIXELS, SIDE, config, digits, labels, pictures, train};
use walk::{Walk, grey};

const LATENT: usize = 12;
const CLASSES: usize = 10;

/// Rows as pixels, as latents, and what they show.
struct Digits {
    x: Array2<f32>,
    z: Array2<f32>,
    label: Vec<usize>,
}

impl Digits {
    fn of(trainer: &Trainer, view: &View) -> Result<Digits> {
        let examples = Examples::new(trainer.vae(), view, trainer.config().binarize, 0)?;
        let z = encode(&mut trainer.inference(), &examples)?.mean;
        Ok(Digits { x: view.to_array(), z, label: labels(view) })
    }
    fn len(&self) -> usize {
        self.label.len()
    }
    fn select(&self, rows: &[usize]) -> Digits {
        let label = rows.iter().map(|&r| self.label[r]).collect();
        Digits { x: self.x.select(Axis(0), rows), z: self.z.select(Axis(0), rows), label }
    }
}

fn main() -> Result<()> {
    let mut walk = Walk::start(
        15,
        "What a latent space is for",
        "how a line through the latents differs from a blend of pixels, how a direction means something, what twelve \
         numbers keep of 196, how drawn digits make a classifier better, and how to find odd ones out.",
    );
    let data = digits()?;
    let vae = config(PIXELS, &[160], LATENT, LikelihoodKind::GaussianLearned)?;
    let optimizer = OptimizerConfig::adam(0.006, 1e-8);
    let trainer = train(TrainConfig { epochs: 15, optimizer, ..vae }, &data)?;
    let learned = Digits::of(&trainer, data.train())?;
    let held_out = Digits::of(&trainer, data.split(Split::Test)?)?;
    walk.say(
        "A VAE with 12 latents learned 9,000 digits of 14 by 14 pixels, and no labels. Everything below is on 1,000 others.",
    );
    interpolation(&mut walk, &trainer, &learned, &held_out)?;
    arithmetic(&mut walk, &trainer, &learned, &held_out)?;
    neighbours(&mut walk, &learned, &held_out);
    let few = few_labels(&learned);
    probe(&mut walk, &learned, &few, &held_out);
    generated(&mut walk, &trainer, &learned, &held_out)?;
    odd_ones(&mut walk, &trainer, &data, &held_out)?;
    walk.end();
    Ok(())
}

fn squared(a: ArrayView1<f32>, b: ArrayView1<f32>) -> f32 {
    let zip = a.as_slice().into_iter().flatten().zip(b.as_slice().into_iter().flatten());
    zip.map(|(a, b)| (a - b) * (a - b)).sum()
}

/// The row nearest to `point`, and its squared distance.
fn nearest(point: ArrayView1<f32>, rows: &Array2<f32>) -> (usize, f32) {
    let distances = rows.rows().into_iter().map(|row| squared(point, row)).enumerate();
    distances.fold((0, f32::INFINITY), |best, found| if found.1 < best.1 { found } else { best })
}

fn mean_distance(points: &Array2<f32>, rows: &Array2<f32>) -> f64 {
    points.rows().into_iter().map(|p| f64::from(nearest(p, rows).1)).sum::<f64>() / points.nrows() as f64
}

fn interpolation(walk: &mut Walk, trainer: &Trainer, learned: &Digits, held_out: &Digits) -> Result<()> {
    walk.part("Between two digits");
    walk.say(
        "Halfway between two pictures, pixel by pixel, lie two pale pictures on top of each other. Halfway between their \
         latents lies a third digit: the decoder knows no other way to draw. Above, pixels; below, latents.",
    );
    let first = |label: usize| held_out.label.iter().position(|l| *l == label).unwrap_or(0);
    let (a, b) = (first(0), first(7));
    let mix = |rows: &Array2<f32>, t: f32| &rows.row(a) * (1.0 - t) + &rows.row(b) * t;
    let steps = [0.0, 0.25, 0.5, 0.75, 1.0];
    let stack = |rows: &Array2<f32>| Array2::from_shape_fn((5, rows.ncols()), |(i, j)| mix(rows, steps[i])[j]);
    let drawn = decode(&mut trainer.inference(), stack(&held_out.z).view())?;
    walk.show(&grey(&pictures(&stack(&held_out.x)), SIDE, SIDE));
    walk.show(&grey(&pictures(&drawn), SIDE, SIDE));
    if let Some(path) = walk.picture("15_interpolation.png") {
        elbo::report::grid::pairs(stack(&held_out.x).view(), drawn.view(), (SIDE, SIDE, 1), 5, path)?;
    }
    // Many pairs of different digits, and a judge that is not the model: the nearest real digit.
    let pairs: Vec<usize> =
        (0..held_out.len() - 1).filter(|&r| held_out.label[r] != held_out.label[r + 1]).take(100).collect();
    let halfway = |rows: &Array2<f32>| {
        Array2::from_shape_fn((pairs.len(), rows.ncols()), |(i, j)| {
            0.5 * (rows[[pairs[i], j]] + rows[[pairs[i] + 1, j]])
        })
    };
    let blends = halfway(&held_out.x);
    let decoded = decode(&mut trainer.inference(), halfway(&held_out.z).view())?;
    let ends = decode(&mut trainer.inference(), held_out.z.select(Axis(0), &pairs).view())?;
    let [of_blends, of_decoded, of_ends] = [&blends, &decoded, &ends].map(|points| mean_distance(points, &learned.x));
    walk.show(&format!(
        "squared distance to the nearest of 9,000 real digits, mean over 100 pairs:\nhalfway in pixels {of_blends:.2}      \
         halfway in latents {of_decoded:.2}      reconstructions of the ends {of_ends:.2}"
    ));
    walk.claim(
        of_decoded < 0.8 * of_blends,
        "Halfway in latents is nearer to real digits than halfway in pixels, by a fifth or more.",
    );
    Ok(())
}

/// How far strokes lean to the right: the covariance of column and height over the variance of height, by ink.
fn slant(x: ArrayView1<f32>) -> f64 {
    let place = |p: usize| ((p % SIDE) as f64, -((p / SIDE) as f64));
    let ink: f64 = x.iter().map(|v| f64::from(*v)).sum();
    let sum = |f: &dyn Fn(f64, f64) -> f64| {
        let of = |(p, v): (usize, &f32)| f64::from(*v) * f(place(p).0, place(p).1);
        x.iter().enumerate().map(of).sum::<f64>() / ink
    };
    let (col, height) = (sum(&|c, _| c), sum(&|_, h| h));
    sum(&|c, h| (c - col) * (h - height)) / sum(&|_, h| (h - height).powi(2))
}

fn arithmetic(walk: &mut Walk, trainer: &Trainer, learned: &Digits, held_out: &Digits) -> Result<()> {
    walk.part("A direction that means something");
    walk.say(
        "Measure how far each training digit leans. The mean latent of the fifth that leans most, minus that of the fifth \
         that leans least, is a direction. Add it to digits that the model never saw:",
    );
    let mut order: Vec<(f64, usize)> = learned.x.rows().into_iter().enumerate().map(|(r, x)| (slant(x), r)).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mean = |part: &[(f64, usize)]| {
        let rows: Vec<usize> = part.iter().map(|(_, r)| *r).collect();
        learned.z.select(Axis(0), &rows).mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(LATENT))
    };
    let fifth = order.len() / 5;
    let direction = mean(&order[4 * fifth..]) - mean(&order[..fifth]);
    let (steps, mut leaning, mut kept) = ([-0.5f32, -0.25, 0.0, 0.25, 0.5], Vec::new(), Vec::new());
    let z = held_out.z.select(Axis(0), &(0..300).collect::<Vec<_>>());
    let mut shown: Vec<Array2<f32>> = Vec::new();
    for t in steps {
        let moved = &z + &(&direction * t);
        let x = decode(&mut trainer.inference(), moved.view())?;
        leaning.push(x.rows().into_iter().map(slant).sum::<f64>() / x.nrows() as f64);
        let same = moved
            .rows()
            .into_iter()
            .zip(&held_out.label)
            .filter(|(z, l)| learned.label[nearest(*z, &learned.z).0] == **l);
        kept.push(same.count() as f64 / x.nrows() as f64);
        shown.push(x);
    }
    for row in [0, 2, 3] {
        let line: Vec<&[f32]> = shown.iter().filter_map(|x| x.row(row).to_slice()).collect();
        walk.show(&grey(&line, SIDE, SIDE));
    }
    if let Some(path) = walk.picture("15_slant.png") {
        let lines = Array2::from_shape_fn((50, PIXELS), |(i, p)| shown[i % 5][[i / 5, p]]);
        elbo::report::grid::grid(lines.view(), (SIDE, SIDE, 1), 5, path)?;
    }
    let mut table = String::from("steps along it    mean slant of 300 digits    still the same digit\n");
    for ((t, lean), kept) in steps.iter().zip(&leaning).zip(&kept) {
        table += &format!("{t:>14}    {lean:>24.3}    {:>18.0} %\n", 100.0 * kept);
    }
    walk.show(&table);
    walk.claim(
        leaning.windows(2).all(|w| w[1] > w[0] + 0.05),
        "Each step along the direction makes the digits lean further.",
    );
    walk.claim(
        kept[1] > 0.9 * kept[2] && kept[3] > 0.9 * kept[2],
        "And a quarter of it either way leaves nine in ten of them what they were.",
    );
    Ok(())
}

/// The share of rows whose nearest neighbour among the learned ones shows the same digit.
fn one_nearest(points: &Array2<f32>, label: &[usize], rows: &Array2<f32>, of: &[usize]) -> f64 {
    let right = points.rows().into_iter().zip(label).filter(|(p, l)| of[nearest(*p, rows).0] == **l).count();
    right as f64 / label.len() as f64
}

fn neighbours(walk: &mut Walk, learned: &Digits, held_out: &Digits) {
    walk.part("Neighbours");
    let some = held_out.select(&(0..400).collect::<Vec<_>>());
    let by_pixels = one_nearest(&some.x, &some.label, &learned.x, &learned.label);
    let by_latents = one_nearest(&some.z, &some.label, &learned.z, &learned.label);
    walk.say(&format!(
        "Of 400 held-out digits, {:.1} % show what their nearest neighbour among 9,000 shows if distance is measured over \
         196 pixels, and {:.1} % if over 12 latents: a search with a sixteenth of the numbers.",
        100.0 * by_pixels,
        100.0 * by_latents
    ));
    walk.claim(
        by_latents > 0.8,
        "Twelve numbers, learned without labels, find the right digit more than four times in five.",
    );
    walk.claim(by_latents > by_pixels - 0.12, "And lose less than 12 points against all 196 pixels.");
}

/// Ten rows of each digit: the first of each.
fn few_labels(learned: &Digits) -> Digits {
    let of = |class: usize| (0..learned.len()).filter(move |&r| learned.label[r] == class).take(10);
    learned.select(&(0..CLASSES).flat_map(of).collect::<Vec<_>>())
}

/// A linear classifier, softmax(X W + b), by gradient descent with momentum on the mean cross-entropy and a small
/// penalty on W.
fn linear(x: &Array2<f32>, label: &[usize], steps: usize) -> impl Fn(&Array2<f32>) -> Vec<usize> + use<> {
    let with_one = |x: &Array2<f32>| {
        let mut wide = Array2::ones((x.nrows(), x.ncols() + 1));
        wide.slice_mut(ndarray::s![.., ..x.ncols()]).assign(x);
        wide
    };
    let (wide, n) = (with_one(x), x.nrows() as f32);
    let (mut w, mut velocity) =
        (Array2::<f32>::zeros((x.ncols() + 1, CLASSES)), Array2::zeros((x.ncols() + 1, CLASSES)));
    for _ in 0..steps {
        // dlogits = softmax − one-hot; dW = Xᵀ dlogits / n.
        let mut d = wide.dot(&w);
        for (mut row, &l) in d.rows_mut().into_iter().zip(label) {
            let most = row.fold(f32::NEG_INFINITY, |m, v| m.max(*v));
            row.mapv_inplace(|v| (v - most).exp());
            row /= row.sum();
            row[l] -= 1.0;
        }
        velocity = &velocity * 0.9 + wide.t().dot(&d) / n + &w * 1e-3;
        w.scaled_add(-0.2, &velocity);
    }
    move |x| {
        let best = |row: ArrayView1<f32>| (0..CLASSES).fold(0, |b, c| if row[c] > row[b] { c } else { b });
        with_one(x).dot(&w).rows().into_iter().map(best).collect()
    }
}

fn accuracy(found: &[usize], label: &[usize]) -> f64 {
    found.iter().zip(label).filter(|(f, l)| f == l).count() as f64 / label.len() as f64
}

/// Twelve pixels: the means of three by four blocks.
fn coarse(x: &Array2<f32>) -> Array2<f32> {
    let mut blocks = Array2::zeros((x.nrows(), LATENT));
    for ((r, p), v) in x.indexed_iter() {
        blocks[[r, 4 * (3 * (p / SIDE) / SIDE) + 4 * (p % SIDE) / SIDE]] += v / 16.0;
    }
    blocks
}

fn probe(walk: &mut Walk, learned: &Digits, few: &Digits, held_out: &Digits) {
    walk.part("A linear probe against raw pixels");
    walk.say(
        "How much of a digit do twelve numbers keep, and how easily is it read off? A linear classifier on top of them \
         tells, next to the same classifier on twelve coarse pixels and on all 196.",
    );
    type Rows = fn(&Digits) -> Array2<f32>;
    let inputs: [Rows; 3] = [|d| d.x.clone(), |d| coarse(&d.x), |d| d.z.clone()];
    let right = |rows: &Digits, steps| {
        inputs.map(|of| accuracy(&linear(&of(rows), &rows.label, steps)(&of(held_out)), &held_out.label))
    };
    let (hundred, all) = (right(few, 300), right(learned, 80));
    let line = |name: &str, r: [f64; 3]| {
        format!("{name}    {:>10.1} %    {:>13.1} %    {:>8.1} %\n", 100.0 * r[0], 100.0 * r[1], 100.0 * r[2])
    };
    walk.show(
        &(String::from("right on 1,000 digits     196 pixels    12 coarse pixels    12 latents\n")
            + &line("from   100 labels ", hundred)
            + &line("from 9,000 labels ", all)),
    );
    walk.claim(
        [hundred, all].iter().all(|r| r[2] > r[1] + 0.15),
        "Twelve latents tell digits apart far better than twelve pixels: by more than 15 points.",
    );
    walk.claim(
        [hundred, all].iter().all(|r| r[0] > r[2]),
        "And all the pixels better still, with few labels too: the ELBO asks for codes that rebuild the picture, not for \
         classes that a line can cut apart.",
    );
}

/// Examples of the rare digit, and of each other one.
const RARE: usize = 5;
const COMMON: usize = 60;

/// Digits of one kind: between the latents of two known ones, a random part of the way, and a little beside it.
fn more_of(trainer: &Trainer, known: &Digits, count: usize) -> Result<Array2<f32>> {
    let mut rng = Noise::new(15).rng(Stream::Sample, 0, known.label[0] as u64, 0);
    let mut z = Array2::zeros((count, LATENT));
    for mut z in z.rows_mut() {
        let (a, b, t) = (rng.random_range(0..known.len()), rng.random_range(0..known.len()), rng.random::<f32>());
        z.assign(&(&known.z.row(a) * t + &known.z.row(b) * (1.0 - t)));
        z.mapv_inplace(|z: f32| z + 0.6 * rng.sample::<f32, _>(StandardNormal));
    }
    decode(&mut trainer.inference(), z.view())
}

fn generated(walk: &mut Walk, trainer: &Trainer, learned: &Digits, held_out: &Digits) -> Result<()> {
    walk.part("Generated digits for a small classifier");
    walk.say(&format!(
        "One digit is rare: {RARE} labelled examples, and {COMMON} of each other one. A linear classifier of pixels hardly \
         ever says its name. Fill up the rare ones, by copies or by digits that the decoder draws between their latents:",
    ));
    let mut table = String::from(
        "           the rare digit is found         all digits are right\nrare    alone   copies   generated    alone   copies   generated\n",
    );
    let (mut found, mut better) = (true, true);
    for rare in [2, 3, 5, 8] {
        let of = |class: usize| {
            let all = (0..learned.len()).filter(move |&r| learned.label[r] == class);
            all.take(if class == rare { RARE } else { COMMON })
        };
        let rows: Vec<usize> = (0..CLASSES).flat_map(of).collect();
        let (known, missing) = (learned.select(&of(rare).collect::<Vec<_>>()), COMMON - RARE);
        let drawn = more_of(trainer, &known, missing)?;
        let copies = known.x.select(Axis(0), &(0..missing).map(|i| i % RARE).collect::<Vec<_>>());
        if rare == 3 {
            walk.show(&grey(&pictures(&known.x), SIDE, SIDE));
            walk.show(&grey(&pictures(&drawn)[..5], SIDE, SIDE));
            if let Some(path) = walk.picture("15_generated.png") {
                elbo::report::grid::grid(drawn.view(), (SIDE, SIDE, 1), 10, path)?;
            }
        }
        let base = learned.select(&rows);
        let nothing = Array2::zeros((0, PIXELS));
        let [alone, copied, helped] = [&nothing, &copies, &drawn].map(|more| {
            let x = ndarray::concatenate![Axis(0), base.x, *more];
            let label = [base.label.clone(), vec![rare; more.nrows()]].concat();
            let said = linear(&x, &label, 150)(&held_out.x);
            let of_rare = said.iter().zip(&held_out.label).filter(|(_, l)| **l == rare);
            let hits = of_rare.clone().filter(|(s, l)| s == l).count() as f64 / of_rare.count() as f64;
            (hits, accuracy(&said, &held_out.label))
        });
        table += &format!(
            "{rare:>4}  {:>5.0} %  {:>5.0} %  {:>8.0} %  {:>6.1} %  {:>5.1} %  {:>8.1} %\n",
            100.0 * alone.0,
            100.0 * copied.0,
            100.0 * helped.0,
            100.0 * alone.1,
            100.0 * copied.1,
            100.0 * helped.1
        );
        found &= helped.0 > copied.0 + 0.1 && copied.0 > alone.0;
        better &= helped.1 > copied.1;
    }
    walk.show(&table);
    walk.claim(found, "Each of the four is found more often with copies, and by ten points more with generated ones.");
    walk.claim(
        better,
        "And more digits are right over all: what 9,000 digits without labels taught the VAE, it passes on.",
    );
    Ok(())
}

fn odd_ones(walk: &mut Walk, trainer: &Trainer, data: &Dataset, held_out: &Digits) -> Result<()> {
    walk.part("Odd ones out");
    walk.say(
        "−ELBO says how badly a row fits: no threshold, no labels, no training of its own. Mix 1,000 held-out digits with \
         the same digits mirrored, and ask how often a mirrored one scores higher than a true one (the area under the ROC curve).",
    );
    let mirrored =
        Array2::from_shape_fn(held_out.x.dim(), |(r, p)| held_out.x[[r, p - p % SIDE + SIDE - 1 - p % SIDE]]);
    let mirrored = View::new(Rows::from_f32(mirrored)?);
    let score = |view: &View| -> Result<Vec<f64>> {
        let examples = Examples::new(trainer.vae(), view, trainer.config().binarize, 0)?;
        Ok(scores(&mut trainer.inference(), &examples, None)?.iter().map(|s| s.neg_elbo()).collect())
    };
    let (usual, odd) = (score(data.split(Split::Test)?)?, score(&mirrored)?);
    // 0, 1 and 8 look much the same in a mirror.
    let of = |symmetric: bool| -> Result<f64> {
        let chosen: Vec<usize> =
            (0..held_out.len()).filter(|&r| [0, 1, 8].contains(&held_out.label[r]) == symmetric).collect();
        let all: Vec<f64> = chosen.iter().map(|&r| usual[r]).chain(chosen.iter().map(|&r| odd[r])).collect();
        let positive: Vec<bool> = (0..all.len()).map(|i| i >= chosen.len()).collect();
        auc(&all, &positive)
    };
    let (plain, symmetric) = (of(false)?, of(true)?);
    walk.show(&format!("2, 3, 4, 5, 6, 7, 9: AUC {plain:.3}        0, 1, 8: AUC {symmetric:.3}"));
    walk.claim(plain > 0.85, "Mirrored digits stand out: more than 85 times in a hundred.");
    walk.claim(symmetric < plain, "0, 1 and 8, which a mirror changes less, stand out less.");
    walk.say(
        "A word of caution: a low −ELBO does not mean typical. Blank and very simple pictures cost little under any model of \
         pixels, so test a score on the kind of oddity that you expect.",
    );
    Ok(())
}
