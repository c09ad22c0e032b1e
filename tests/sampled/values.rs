//! Values of the bounds against their definitions, and the weights as their derivatives.

use super::{ALL, GRADIENTS, sampled};
use elbo::estimator::{Batch, Bound, Estimator, ObjectiveKind, PathGradient, Terms, Weights};

const BETA: f64 = 0.7;

/// Two rows of `samples` samples, `scale` nats apart.
fn terms(samples: usize, scale: f64) -> Terms<f64> {
    let mut terms = Terms::new(2, samples, 1);
    for i in 0..2 * samples {
        let wave = |f: f64| scale * (f * (i as f64 + 1.0)).sin();
        (terms.log_px[i], terms.log_pz[i], terms.log_qz[i]) = (-90.0 + wave(1.7), -3.0 + wave(0.9), 2.0 + wave(2.3));
    }
    terms
}

fn log_w(terms: &Terms<f64>, samples: usize, row: usize) -> Vec<f64> {
    (row * samples..(row + 1) * samples).map(|i| terms.log_px[i] + BETA * (terms.log_pz[i] - terms.log_qz[i])).collect()
}

/// The definitions, as they are written.
fn naive(kind: ObjectiveKind, w: &[f64]) -> f64 {
    let mean = |f: &dyn Fn(f64) -> f64, w: &[f64]| w.iter().map(|x| f(*x)).sum::<f64>() / w.len() as f64;
    let iwae = |w: &[f64]| mean(&f64::exp, w).ln();
    match kind {
        ObjectiveKind::Elbo => mean(&|x| x, w),
        ObjectiveKind::Weighted(Bound::Iwae | Bound::Piwae(_)) => iwae(w),
        ObjectiveKind::Weighted(Bound::Miwae(groups)) => {
            w.chunks(w.len() / groups).map(iwae).sum::<f64>() / groups as f64
        }
        ObjectiveKind::Weighted(Bound::Ciwae(c)) => c * mean(&|x| x, w) + (1.0 - c) * iwae(w),
        ObjectiveKind::Weighted(Bound::Renyi(alpha)) => mean(&|x| ((1.0 - alpha) * x).exp(), w).ln() / (1.0 - alpha),
    }
}

fn value(kind: ObjectiveKind, samples: usize, terms: &Terms<f64>, row: usize) -> f64 {
    let objective = sampled(kind, samples, PathGradient::Plain);
    -objective.row_value(BETA, row, terms).unwrap()
}

#[test]
fn bounds_are_what_their_papers_write() {
    for (kind, samples) in ALL {
        let terms = terms(samples, 3.0);
        for row in 0..2 {
            let (found, expected) = (value(kind, samples, &terms, row), naive(kind, &log_w(&terms, samples, row)));
            assert!((found - expected).abs() < 1e-11, "{kind} of {samples}: {found}, expected {expected}");
        }
    }
}

#[test]
fn bounds_of_one_family_meet_and_are_in_order() {
    let (samples, terms) = (6, terms(6, 2.0));
    let of = |name: &str| value(name.parse().unwrap(), samples, &terms, 0);
    let same = |a: &str, b: &str| assert!((of(a) - of(b)).abs() < 1e-12, "{a} and {b}");
    same("miwae:6", "elbo");
    same("ciwae:1", "elbo");
    same("renyi:1", "elbo");
    same("miwae:1", "iwae");
    same("piwae:3", "iwae");
    same("ciwae:0", "iwae");
    same("renyi:0", "iwae");
    // Jensen's inequality for these very numbers, not only in expectation.
    let names = ["renyi:3", "elbo", "miwae:3", "iwae", "renyi:-1"];
    assert!(names.windows(2).all(|pair| of(pair[0]) < of(pair[1])), "{:?}", names.map(of));
    // As α nears 1 the Rényi bound nears the ELBO, linearly.
    assert!((of("renyi:0.999999") - of("elbo")).abs() < 1e-4);
    // To the last place, on both sides: nothing is left of the powers' logarithm where it is divided by 1 − α as it stands.
    for alpha in ["renyi:0.99999999999999", "renyi:1.0000000000000002"] {
        assert!((of(alpha) - of("elbo")).abs() < 1e-11, "{alpha}: {} and {}", of(alpha), of("elbo"));
    }
}

/// Of −1e4 and less no weight is representable, and a bound is still a number.
#[test]
fn weights_that_underflow_are_no_zero() {
    for (kind, samples) in ALL {
        let mut terms = terms(samples, 900.0);
        terms.log_px.iter_mut().for_each(|x| *x -= 1e5);
        let found = value(kind, samples, &terms, 0);
        assert!(found.is_finite() && found < -9e4, "{kind}: {found}");
        for gradient in GRADIENTS {
            let weights = weights(kind, samples, gradient, &terms);
            let all = [&weights.log_px, &weights.log_pz, &weights.log_qz, &weights.path, &weights.score];
            assert!(all.into_iter().flatten().all(|w| w.is_finite()), "{kind}, {gradient}: {weights:?}");
        }
    }
}

fn weights(kind: ObjectiveKind, samples: usize, gradient: PathGradient, terms: &Terms<f64>) -> Weights<f64> {
    let mut weights = Weights::new(2, samples, 1);
    let batch = Batch { rows: 2, beta: BETA, mean_kl: &[] };
    sampled(kind, samples, gradient).weights(&batch, 2, terms, &mut weights);
    weights
}

/// By each term of the mean over two rows, in central differences of step 10⁻⁴ whose error is some 10⁻⁹.
#[test]
fn weights_are_the_value_s_derivatives() {
    for (kind, samples) in ALL {
        let terms = terms(samples, 1.5);
        let w = weights(kind, samples, PathGradient::Plain, &terms);
        for i in 0..2 * samples {
            let difference = |which: fn(&mut Terms<f64>) -> &mut Vec<f64>| {
                let at = |h: f64| {
                    let mut terms = terms.clone();
                    which(&mut terms)[i] += h;
                    -(value(kind, samples, &terms, 0) + value(kind, samples, &terms, 1)) / 2.0
                };
                (at(1e-4) - at(-1e-4)) / 2e-4
            };
            let by = [difference(|t| &mut t.log_px), difference(|t| &mut t.log_pz), difference(|t| &mut t.log_qz)];
            for (found, expected) in [w.log_px[i], w.log_pz[i], w.log_qz[i]].into_iter().zip(by) {
                assert!((found - expected).abs() < 1e-8, "{kind} at {i}: {found}, expected {expected}");
            }
            if !matches!(kind, ObjectiveKind::Weighted(Bound::Piwae(_))) {
                assert!(w.path[i] == 1.0 && w.score[i] == w.log_qz[i], "{kind}: a plain gradient is the value's");
            }
        }
    }
}

/// Tucker et al. (2019), eq. 8: squares of the normalised weights, and no score.
#[test]
fn doubly_reparameterized_weights_are_squares() {
    let (samples, terms) = (4, terms(4, 1.0));
    let iwae = ObjectiveKind::Weighted(Bound::Iwae);
    let mut w = Weights::new(2, samples, 1);
    let batch = Batch { rows: 2, beta: 1.0, mean_kl: &[] };
    sampled(iwae, samples, PathGradient::DoublyReparameterized).weights(&batch, 2, &terms, &mut w);
    for i in 0..8 {
        let normalised = -2.0 * w.log_px[i];
        assert!((w.path[i] * w.log_px[i] + normalised * normalised / 2.0).abs() < 1e-15 && w.score[i] == 0.0);
    }
}

#[test]
fn what_makes_no_objective_is_refused() {
    for (name, samples, says) in [
        ("iwae", 0, "0 samples"),
        ("miwae:3", 4, "do not fall into 3 equal groups"),
        ("piwae:0", 4, "0 equal groups"),
        ("ciwae:1.5", 2, "[0, 1]"),
        ("renyi:inf", 2, "must be a number"),
        ("iwae", 1 << 20, "between 1 and"),
    ] {
        let kind: ObjectiveKind = name.parse().unwrap();
        let error = kind.build(samples, PathGradient::Plain, None, true).unwrap_err().to_string();
        assert!(error.contains(says), "{name} of {samples}: {error}");
    }
    for (text, says) in [("iwea", "did you mean `iwae`?"), ("miwae:x", "`x` is no number"), ("iwae:3", "objective")] {
        let error = text.parse::<ObjectiveKind>().unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
    let free_bits = Some("0.5".parse().unwrap());
    for (name, gradient) in [("iwae", PathGradient::Plain), ("elbo", PathGradient::StickingTheLanding)] {
        let kind: ObjectiveKind = name.parse().unwrap();
        assert!(kind.build(2, gradient, free_bits, true).unwrap_err().to_string().contains("free-bits"));
    }
    for (kind, _) in ALL {
        assert_eq!(kind.to_string().parse::<ObjectiveKind>().unwrap(), kind);
    }
}
