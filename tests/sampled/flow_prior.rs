//! The flow prior: its couplings by themselves, as a density, and as a part of the model.

use super::priors::check;
use super::support::{exec, figures_agree, same_bytes, trained};
use super::{ALL, GRADIENTS, sampled, small};
use elbo::density::{Prior, PriorKind, StandardNormal};
use elbo::estimator::{FreeBits, ObjectiveKind, PathGradient};
use elbo::gradcheck::check_coordinates;
use elbo::model::{Inference, PriorSampler, Vae, VaeConfig};
use elbo::task::sample_latents;
use elbo::tensor::{Buffer, Exec, Isa, Noise, Par, Params, Real, Stream};
use elbo::train::TrainConfig;
use ndarray::Array2;
use rand::Rng;
use rand_distr::StandardNormal as Normal;

fn vae(latent: usize, couplings: usize, width: usize) -> Vae {
    Vae::new(&VaeConfig { latent, prior: PriorKind::Flow(couplings, Some(width)), ..small() }).unwrap()
}

/// Parameters of which the prior's are normal draws of this deviation, exact in f32: no identity any more.
fn params<F: Real>(vae: &Vae, deviation: f64) -> Params<F> {
    let mut params = Params::init(vae.layout(), &Noise::new(1));
    for e in vae.layout().entries().iter().filter(|e| e.name.starts_with("prior.")) {
        let mut rng = Noise::new(2).rng(Stream::Check, 0, e.slot.index() as u64, 0);
        let draw = |_| F::from_f64(f64::from((deviation * rng.sample::<f64, _>(Normal)) as f32));
        let plain: Vec<F> = (0..e.slot.count()).map(draw).collect();
        params.values_mut().pack(&e.slot, &plain);
    }
    params.refresh(Par::Sequential);
    params
}

/// Standard normal rows times `spread`.
fn rows<F: Real>(count: usize, cols: usize, spread: f64) -> Buffer<F> {
    let mut buffer = Buffer::new(count, cols);
    let mut rng = Noise::new(3).rng(Stream::Check, 1, 0, 0);
    for r in 0..count {
        let mut to = buffer.rows_mut(count);
        to.row(r).iter_mut().for_each(|x| *x = F::from_f64(spread * rng.sample::<f64, _>(Normal)));
    }
    buffer
}

fn log_prob<F: Real>(vae: &Vae, p: &Params<F>, z: &Buffer<F>) -> Vec<F> {
    let (prior, n) = (vae.flow_prior().unwrap(), z.capacity());
    let mut out = vec![F::ZERO; n];
    prior.log_prob(Isa::default(), p, z.rows(n), &mut out, &mut prior.cache(n));
    out
}

/// f(z) and log |df/dz| of all rows.
fn forward<F: Real>(vae: &Vae, p: &Params<F>, z: &Buffer<F>) -> (Buffer<F>, Vec<F>) {
    let (flow, n) = (vae.flow_prior().unwrap().flow(), z.capacity());
    let (mut y, mut log_det) = (z.clone(), vec![F::ONE; n]);
    flow.forward(Isa::default(), p, n, &mut y, &mut log_det, &mut flow.cache(n));
    (y, log_det)
}

#[test]
fn gradients_by_z_and_by_every_parameter() {
    const ROWS: usize = 4;
    const WEIGHTS: [f64; ROWS] = [0.7, -1.3, 0.0, 2.0];
    for (latent, couplings, width) in [(2, 1, 3), (3, 2, 4), (5, 3, 2), (18, 2, 17)] {
        let (vae, at) = (vae(latent, couplings, width), format!("{latent} latents, {couplings} couplings"));
        let (prior, mut p, z) = (vae.flow_prior().unwrap(), params::<f64>(&vae, 0.4), rows::<f64>(ROWS, latent, 1.0));
        let value = |p: &Params<f64>, z: &Buffer<f64>| {
            (log_prob(&vae, p, z).iter().zip(WEIGHTS).map(|(p, w)| p * w).sum::<f64>(), Default::default())
        };
        let (mut cache, mut dz, mut out) = (prior.cache(ROWS), Buffer::new(ROWS, latent), [0.0; ROWS]);
        prior.log_prob(Isa::default(), &p, z.rows(ROWS), &mut out, &mut cache);
        prior.log_prob_grad(Isa::default(), &p, &WEIGHTS, dz.rows_mut(ROWS), &mut cache);

        let plain = |b: &Buffer<f64>| b.view(ROWS).iter().copied().collect::<Vec<f64>>();
        let by_z = check_coordinates("z", &plain(&z), &plain(&dz), |z| {
            let mut b = Buffer::new(ROWS, latent);
            b.view_mut(ROWS).iter_mut().zip(z).for_each(|(to, z)| *to = *z);
            value(&p, &b)
        });
        assert!(by_z.passed() && by_z.compared == ROWS * latent, "{at}: {by_z:?}");
        let entries = vae.layout().entries().iter().filter(|e| e.name.starts_with("prior."));
        let mut found = 0;
        for e in entries {
            let gradient = prior.gradient(e.slot, ROWS, &cache).unwrap().to_array();
            let gradient: Vec<f64> = gradient.iter().copied().collect();
            let start = p.values().unpack(&e.slot).into_raw_vec_and_offset().0;
            let by_parameter = check_coordinates(&e.name, &start, &gradient, |at| {
                p.values_mut().pack(&e.slot, at);
                p.refresh(Par::Sequential);
                value(&p, &z)
            });
            p.values_mut().pack(&e.slot, &start);
            p.refresh(Par::Sequential);
            assert!(by_parameter.passed(), "{at}: {by_parameter:?}");
            found += 1;
        }
        assert_eq!(found, 4 * couplings);
    }
}

#[test]
fn it_starts_as_the_standard_normal_to_the_bit() {
    let vae = vae(5, 3, 8);
    let (p, z, ex) = (Params::<f32>::init(vae.layout(), &Noise::new(1)), rows(50, 5, 2.0), Exec::sequential().unwrap());
    let mut expected = vec![0.0f32; 50];
    StandardNormal::new(5).log_prob(Isa::default(), z.rows(50), &mut expected);
    assert_eq!(log_prob(&vae, &p, &z), expected);
    let inference = Inference::new(&vae, &p, &ex);
    let standard: PriorSampler<f32> = PriorSampler::StandardNormal;
    for row in 0..20 {
        let draw = |prior: &PriorSampler<f32>| {
            let mut z = [0.0f32; 5];
            prior.sample(&mut Noise::new(4).rng(Stream::Sample, 0, row, 0), &mut z);
            z
        };
        assert_eq!(draw(&inference.prior_sampler()), draw(&standard));
    }
}

/// Forwards and back again. A coupling passes a rounding on times e² at most, and four of them move a column twice: u of
/// numbers up to 50 times e⁴ is 3e-13 in f64, 2e-4 in f32.
#[test]
fn the_inverse_undoes_it() {
    fn worst<F: Real>() -> f64 {
        let vae = vae(5, 4, 7);
        let (p, z, n) = (params::<F>(&vae, 0.6), rows::<F>(300, 5, 3.0), 300);
        let (mut y, _) = forward(&vae, &p, &z);
        let apart = |a: &Buffer<F>, b: &Buffer<F>| {
            let each = a.view(n).into_iter().zip(b.view(n)).map(|(a, b)| (a.to_f64() - b.to_f64()).abs());
            each.fold(0.0, f64::max)
        };
        assert!(apart(&y, &z) > 3.0, "it does something");
        let flow = vae.flow_prior().unwrap().flow();
        flow.inverse(Isa::default(), &p, n, &mut y, &mut flow.cache(n));
        apart(&y, &z)
    }
    let (double, float) = (worst::<f64>(), worst::<f32>());
    assert!(double < 3e-13 && float < 2e-4, "{double:e} {float:e}");
}

/// log |det J| by Gaussian elimination of a matrix.
fn log_det(mut j: Vec<Vec<f64>>) -> f64 {
    let mut sum = 0.0;
    for c in 0..j.len() {
        let top = (c..j.len()).max_by(|&a, &b| j[a][c].abs().total_cmp(&j[b][c].abs())).unwrap();
        j.swap(c, top);
        sum += j[c][c].abs().ln();
        let pivot = j[c].clone();
        for row in &mut j[c + 1..] {
            let factor = row[c] / pivot[c];
            row.iter_mut().zip(&pivot).for_each(|(x, p)| *x -= factor * p);
        }
    }
    sum
}

/// Central differences are off by h² of third derivatives of order 1 and by u/h: some 1e-10 at h = 1e-5.
#[test]
fn the_log_determinant_is_that_of_the_jacobian() {
    const L: usize = 5;
    const H: f64 = 1e-5;
    let vae = vae(L, 3, 6);
    let (p, z) = (params::<f64>(&vae, 0.5), rows::<f64>(6, L, 1.5));
    let (_, found) = forward(&vae, &p, &z);
    for (r, found) in found.iter().enumerate() {
        let at = |l: usize, t: f64| {
            let mut b = Buffer::new(1, L);
            b.rows_mut(1).row(0).copy_from_slice(z.rows(6).row(r));
            b.rows_mut(1).row(0)[l] += t;
            forward(&vae, &p, &b).0.rows(1).row(0).to_vec()
        };
        let slopes =
            |l: usize| -> Vec<f64> { at(l, H).iter().zip(at(l, -H)).map(|(a, b)| (a - b) / (2.0 * H)).collect() };
        let expected = log_det((0..L).map(slopes).collect());
        assert!((found - expected).abs() < 1e-7 && found.abs() > 1e-3, "{found} {expected}");
    }
}

/// Cells of the plane by an exact sum of the density, and by the draws that fall into them.
///
/// The sum is a midpoint rule of cells of 0.1 over [−30, 30]²: of a smooth density its error falls faster than any
/// power, and of this one less than 1e-6 lies further out.
#[test]
fn the_density_integrates_to_one_and_draws_follow_it() {
    const SIDE: usize = 600;
    const STEP: f64 = 0.1;
    const DRAWS: usize = 20_000;
    let (vae, ex) = (vae(2, 3, 6), Exec::sequential().unwrap());
    let p = params::<f64>(&vae, 0.2);
    let centre = |i: usize| (i as f64 + 0.5 - SIDE as f64 / 2.0) * STEP;
    // Sixteen cells: the quarters of each axis at the edges −1, 0 and 1.
    let cell = |a: f64, b: f64| {
        let of = |x: f64| [-1.0, 0.0, 1.0].iter().filter(|edge| x > **edge).count();
        4 * of(a) + of(b)
    };
    let (mut mass, mut line) = ([0.0; 16], Buffer::<f64>::new(SIDE, 2));
    for i in 0..SIDE {
        (0..SIDE).for_each(|j| line.rows_mut(SIDE).row(j).copy_from_slice(&[centre(i), centre(j)]));
        for (j, log_p) in log_prob(&vae, &p, &line).iter().enumerate() {
            mass[cell(centre(i), centre(j))] += log_p.exp() * STEP * STEP;
        }
    }
    let total: f64 = mass.iter().sum();
    assert!((total - 1.0).abs() < 1e-6, "{total}");

    let (inference, mut counts) = (Inference::new(&vae, &p, &ex), [0.0; 16]);
    let prior = inference.prior_sampler();
    for row in 0..DRAWS as u64 {
        let mut z = [0.0; 2];
        prior.sample(&mut Noise::new(5).rng(Stream::Sample, 0, row, 0), &mut z);
        counts[cell(z[0], z[1])] += 1.0;
    }
    let expected = mass.map(|m| m * DRAWS as f64);
    let square: f64 = counts.iter().zip(expected).map(|(n, e): (&f64, f64)| (n - e).powi(2) / e.max(1.0)).sum();
    // χ² of fifteen degrees of freedom: mean 15, deviation 5.5; and of a normal's own masses it would be in the thousands.
    assert!(square < 50.0, "{square}: {counts:?}, expected {expected:?}");
    let phi = [0.1586553, 0.3413447, 0.3413447, 0.1586553];
    let normal: f64 =
        (0..16).map(|c| DRAWS as f64 * phi[c / 4] * phi[c % 4]).zip(counts).map(|(e, n)| (n - e).powi(2) / e).sum();
    assert!(normal > 1000.0, "{normal}");
}

/// f of a draw at a temperature is that many times f of the draw itself: to rounding, as of the inverse.
#[test]
fn a_temperature_multiplies_the_normal_at_the_flow_s_end() {
    let (vae, ex) = (vae(4, 4, 6), Exec::sequential().unwrap());
    let p = params::<f64>(&vae, 0.5);
    let inference = Inference::new(&vae, &p, &ex);
    let end = |temperature: f64| {
        let mut z = Buffer::new(1, 4);
        let mut rng = Noise::new(6).rng(Stream::Sample, 0, 0, 0);
        inference.prior_sampler().sample_at(temperature, &mut rng, z.rows_mut(1).row(0));
        forward(&vae, &p, &z).0.rows(1).row(0).to_vec()
    };
    for t in [0.3, 2.0] {
        end(t).iter().zip(end(1.0)).for_each(|(scaled, plain)| assert!((scaled - t * plain).abs() < 1e-12));
    }
}

#[test]
fn every_objective_and_gradient() {
    let config = VaeConfig { hidden: vec![3], prior: PriorKind::Flow(2, Some(2)), ..small() };
    for (kind, samples) in ALL {
        for gradient in GRADIENTS {
            let estimator = sampled(kind, samples, gradient);
            check(&config, &estimator, 0.6, &format!("{kind} of {samples}, {gradient}"));
        }
    }
}

fn config(prior: PriorKind) -> TrainConfig {
    let mut config = TrainConfig { epochs: 8, batch_size: 25, ..TrainConfig::preset("gated-300", 40).unwrap() };
    config.vae = VaeConfig { hidden: vec![20], latent: 4, prior, ..config.vae };
    config.optimizer.learning_rate = 0.005;
    config
}

/// 32 points against 2,000 draws, whose own error is some 0.03 nats a row: what they miss, products of two latents and higher powers, is small.
#[test]
fn inference_under_a_flow() {
    figures_agree(&trained(config(PriorKind::Flow(4, Some(16))), exec(2)), 0.15);
}

/// The mean of log p − log N(0, I) under p is a KL, and so positive; of a prior that has learned, clearly. Where the draws are
/// of the standard normal, it is that KL's reverse with a minus.
#[test]
fn samples_come_from_the_learned_flow() {
    let trainer = trained(config(PriorKind::Flow(4, Some(16))), exec(1));
    let (vae, inference) = (trainer.vae(), trainer.inference());
    let apart = |z: &Array2<f32>| {
        let mut rows = Buffer::new(z.nrows(), 4);
        rows.view_mut(z.nrows()).assign(z);
        let mut standard = vec![0.0f32; z.nrows()];
        StandardNormal::new(4).log_prob(Isa::default(), rows.rows(z.nrows()), &mut standard);
        let each = log_prob(vae, trainer.params(), &rows).into_iter().zip(standard);
        each.map(|(p, standard)| p - standard).sum::<f32>() / z.nrows() as f32
    };
    let z = sample_latents(&inference, 1000, 5).unwrap();
    let normal = Array2::from_shape_simple_fn((1000, 4), {
        let mut rng = Noise::new(7).rng(Stream::Check, 2, 0, 0);
        move || rng.sample::<f32, _>(Normal)
    });
    assert!(apart(&z) > 0.05 && apart(&normal) < -0.05, "{} {}", apart(&z), apart(&normal));
    assert_eq!(sample_latents(&inference, 3, 5).unwrap(), z.slice(ndarray::s![..3, ..]));
}

/// While the flow is the identity the quadrature is the closed form: exact for the square of each latent, but for the rounding of 32
/// differences of numbers of ten times the KL's size in f32.
#[test]
fn the_kl_without_draws_starts_as_the_closed_form() {
    let score = |prior: PriorKind| {
        let vae = Vae::new(&config(prior).vae).unwrap();
        let (mut p, ex) = (Params::<f32>::init(vae.layout(), &Noise::new(1)), exec(1));
        for name in ["encoder.mean.bias", "encoder.log_variance.bias"] {
            let slot = vae.layout().find(name).unwrap().slot;
            p.values_mut().pack(&slot, &[1.5, -2.0, 0.3, -1.0]);
        }
        p.refresh(Par::Sequential);
        let (mut inference, mut scores) = (Inference::new(&vae, &p, &ex), Vec::new());
        let fill =
            |r: usize, x: &mut [f32]| x.iter_mut().enumerate().for_each(|(c, x)| *x = ((r + c) % 3) as f32 / 2.0);
        inference.score(20, &fill, |_, score| scores.push(score.kl));
        scores
    };
    let (flow, closed) = (score(PriorKind::Flow(2, Some(8))), score(PriorKind::StandardNormal));
    for (flow, closed) in flow.iter().zip(closed) {
        assert!((flow - closed).abs() < 2e-5 * (1.0 + closed) && closed > 0.1, "{flow} {closed}");
    }
}

#[test]
fn threads_and_instruction_sets_give_the_same_bytes() {
    same_bytes(&TrainConfig {
        epochs: 1,
        objective: ALL[2].0,
        samples: 5,
        gradient: PathGradient::DoublyReparameterized,
        ..config(PriorKind::Flow(3, Some(9)))
    });
}

#[test]
fn its_name_reads_back_and_slips_are_explained() {
    for text in ["flow:1", "flow:4", "flow:64:1"] {
        assert_eq!(text.parse::<PriorKind>().unwrap().to_string(), text);
    }
    let slips = [
        ("flow", "flow:COUPLINGS"),
        ("flow:", "no number of couplings"),
        ("flow:0", "1 to 64 couplings"),
        ("flow:65", "1 to 64 couplings"),
        ("flow:x", "no number of couplings"),
        ("flow:4:", "no number of hidden units"),
        ("flow:4:0", "1 to 65536 hidden units"),
        ("flow:4:8:2", "no number of hidden units"),
    ];
    for (text, says) in slips {
        let error = text.parse::<PriorKind>().unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
    let alone = VaeConfig { latent: 1, prior: PriorKind::Flow(4, None), ..small() };
    let error = Vae::new(&alone).unwrap_err().to_string();
    assert!(error.contains("1 cannot be split") && error.contains("--latent 2"), "{error}");
    let huge = VaeConfig { latent: 60_000, prior: PriorKind::Flow(64, None), ..small() };
    assert!(Vae::new(&huge).unwrap_err().to_string().contains("2^31 parameters"));
    let free_bits = Some(FreeBits { lambda: 0.1, group: 1 });
    let closed = VaeConfig { prior: PriorKind::Flow(4, None), ..small() }.closed_form();
    let error = ObjectiveKind::Elbo.build(1, PathGradient::Plain, free_bits, closed).unwrap_err().to_string();
    assert!(error.contains("samples its KL") && error.contains("standard prior"), "{error}");
}

/// The number of parameters that a configuration is refused by is the number that there are.
#[test]
fn its_parameters_are_counted() {
    for (latent, couplings, width) in [(2, 1, Some(3)), (6, 4, Some(5)), (4, 2, None)] {
        let kind = PriorKind::Flow(couplings, width);
        let of = |prior| Vae::new(&VaeConfig { latent, prior, ..small() }).unwrap().layout().count();
        assert_eq!(kind.parameters(7, latent), of(kind) - of(PriorKind::StandardNormal), "{kind} of {latent}");
    }
}
