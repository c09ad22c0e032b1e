//! The ELBO's value, beta's schedules, and their warnings.

use elbo::estimator::{BetaSchedule, Elbo, Estimator, FreeBits};

fn objective(free_bits: Option<FreeBits>, beta: f64, mean_kl: &[f64]) -> f64 {
    Estimator::<f32>::objective(&Elbo::new(1, free_bits), beta, 100.0, mean_kl)
}

#[test]
fn objectives_are_reconstruction_plus_weighted_kl() {
    let kl = [0.5, 2.0, 0.125, 4.0, 1.0];
    assert_eq!(objective(None, 1.0, &kl), 107.625);
    assert_eq!(objective(None, 4.0, &kl), 130.5);
    assert_eq!(objective(None, 0.0, &kl), 100.0);
    let free = |lambda, group| Some(FreeBits { lambda, group });
    assert_eq!(objective(free(0.0, 1), 1.0, &kl), 107.625);
    assert_eq!(objective(free(1.0, 1), 1.0, &kl), 100.0 + 1.0 + 2.0 + 1.0 + 4.0 + 1.0);
    // Groups of two: 2.5, 4.125, and 1 alone.
    assert_eq!(objective(free(3.0, 2), 1.0, &kl), 100.0 + 3.0 + 4.125 + 3.0);
    assert_eq!(objective(free(3.0, 2), 2.0, &kl), 100.0 + 2.0 * 10.125);
    assert_eq!(objective(free(3.0, 9), 1.0, &kl), 107.625);
    assert!(objective(free(3.0, 2), 1.0, &[1.0, f64::NAN]).is_nan(), "a floor hides no NaN");
}

#[test]
fn elbo_averages_over_its_samples() {
    let batch = elbo::estimator::Batch { rows: 4, beta: 1.0, mean_kl: &[] };
    let weight = |samples| Estimator::<f64>::likelihood_weight(&Elbo::new(samples, None), &batch);
    assert_eq!((weight(1), weight(5)), (Some(-0.25), Some(-0.05)));
    assert_eq!(Estimator::<f64>::samples(&Elbo::new(5, None)), 5);
    assert_eq!(Elbo::default(), Elbo::new(1, None));
}

#[test]
fn free_bits_read_and_print() {
    for (text, lambda, group) in [("0.25", 0.25, 1), ("2,4", 2.0, 4), ("0", 0.0, 1)] {
        let free_bits: FreeBits = text.parse().unwrap();
        assert_eq!((free_bits, free_bits.to_string().as_str()), (FreeBits { lambda, group }, text));
    }
    for (text, part) in [
        ("", "LAMBDA,GROUP"),
        ("x", "not `x`"),
        ("1,", "LAMBDA,GROUP"),
        ("1,2,3", "LAMBDA,GROUP"),
        ("-1", "not -1"),
        ("inf", "not inf"),
        ("nan", "not NaN"),
        ("1,0", "at least 1 latent"),
    ] {
        let error = text.parse::<FreeBits>().unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}

fn curve(schedule: BetaSchedule, steps: u64) -> Vec<f64> {
    (0..steps).map(|step| schedule.at(step)).collect()
}

#[test]
fn beta_by_step() {
    assert_eq!(curve(BetaSchedule::Constant(4.0), 3), [4.0; 3]);
    assert_eq!(curve(BetaSchedule::Linear { beta: 2.0, warmup: 4 }, 6), [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]);
    assert_eq!(curve(BetaSchedule::Linear { beta: 2.0, warmup: 0 }, 2), [2.0; 2]);
    let cyclic = BetaSchedule::Cyclic { beta: 1.0, period: 4, ratio: 0.5 };
    assert_eq!(curve(cyclic, 9), [0.5, 1.0, 1.0, 1.0, 0.5, 1.0, 1.0, 1.0, 0.5]);
    let saw = BetaSchedule::Cyclic { beta: 1.0, period: 4, ratio: 1.0 };
    assert_eq!(curve(saw, 5), [0.25, 0.5, 0.75, 1.0, 0.25]);
    // One cycle is a warm-up over its rising part.
    let once = BetaSchedule::Cyclic { beta: 3.0, period: 40, ratio: 0.25 };
    assert_eq!(curve(once, 40), curve(BetaSchedule::Linear { beta: 3.0, warmup: 10 }, 40));
}

#[test]
fn schedules_that_fit_the_run_are_left_alone() {
    for schedule in [
        BetaSchedule::Constant(0.0),
        BetaSchedule::Linear { beta: 1.0, warmup: 100 },
        BetaSchedule::Linear { beta: 0.0, warmup: 1000 },
        BetaSchedule::Cyclic { beta: 1.0, period: 25, ratio: 1.0 },
        BetaSchedule::Cyclic { beta: 1.0, period: 30, ratio: 0.2 },
    ] {
        assert_eq!(schedule.check(100), Ok((schedule, None)));
    }
}

#[test]
fn a_warm_up_longer_than_the_run_is_cut_with_a_warning() {
    let (cut, warning) = BetaSchedule::Linear { beta: 1.0, warmup: 101 }.check(100).unwrap();
    assert_eq!(cut, BetaSchedule::Linear { beta: 1.0, warmup: 100 });
    assert!(warning.unwrap().contains("warm-up of 101 steps is longer than the run of 100"));
}

/// Whatever the numbers, a checked schedule ends at its weight, and cycles change no more than they must.
#[test]
fn checked_schedules_end_at_their_weight() {
    for total in [1, 2, 7, 100, 4690] {
        for period in [1, 3, 7, 64, 1000, 10_000] {
            for ratio in [0.01, 0.5, 0.9, 1.0] {
                let asked = BetaSchedule::Cyclic { beta: 0.7, period, ratio };
                let (schedule, warning) = asked.check(total).unwrap();
                assert_eq!(schedule.at(total - 1), 0.7, "{schedule:?} in {total}");
                assert_eq!(warning.is_some(), schedule != asked);
                assert_eq!(warning.is_some(), asked.at(total - 1) != 0.7);
                // As many cycles as were asked for, or the most below that whose last has its weight.
                let BetaSchedule::Cyclic { period: fitted, .. } = schedule else { panic!("{schedule:?}") };
                let whole = |n: u64| BetaSchedule::Cyclic { beta: 0.7, period: total.div_ceil(n), ratio };
                let wanted = (total as f64 / period as f64).round().max(1.0) as u64;
                let most = (1..=wanted).rev().find(|n| whole(*n).at(total - 1) == 0.7);
                assert!(
                    schedule == asked || most.is_some_and(|n| fitted == total.div_ceil(n)),
                    "{asked:?} in {total}: {fitted}"
                );
            }
        }
    }
    let (schedule, _) = BetaSchedule::Cyclic { beta: 1.0, period: 60, ratio: 0.5 }.check(200).unwrap();
    assert_eq!(schedule, BetaSchedule::Cyclic { beta: 1.0, period: 67, ratio: 0.5 }, "three cycles in 200 steps");
}

#[test]
fn senseless_schedules_are_errors() {
    for (schedule, part) in [
        (BetaSchedule::Constant(-1.0), "not -1"),
        (BetaSchedule::Constant(f64::NAN), "not NaN"),
        (BetaSchedule::Linear { beta: f64::INFINITY, warmup: 3 }, "not inf"),
        (BetaSchedule::Cyclic { beta: 1.0, period: 0, ratio: 0.5 }, "at least 1 step"),
        (BetaSchedule::Cyclic { beta: 1.0, period: 5, ratio: 0.0 }, "0 does not"),
        (BetaSchedule::Cyclic { beta: 1.0, period: 5, ratio: 1.5 }, "1.5 does not"),
    ] {
        let error = schedule.check(100).unwrap_err().to_string();
        assert!(error.contains(part), "{schedule:?}: {error}");
    }
}
