//! Posteriors in a whole model: every parameter's derivative, and what does not go together.

use super::small;
use elbo::data::Dataset;
use elbo::estimator::{AnyEstimator, Elbo, FreeBits, ObjectiveKind, PathGradient};
use elbo::gradcheck::check_vae;
use elbo::model::{Heads, Inference, Vae, VaeConfig};
use elbo::task;
use elbo::tensor::{Exec, Noise, Params};
use elbo::train::Settings;
use ndarray::Array2;

/// As for other sampled objectives; and a flow's steps have as many roundings more.
const F32_BOUND: f64 = 2e-4;

fn check(config: &VaeConfig, estimator: &dyn AnyEstimator, what: &str) {
    for c in check_vae(config, estimator, 0.7, 3, 7).unwrap() {
        let check = &c.check;
        assert!(check.passed(), "{what}, {}: {:.1e} at {}", check.name, check.worst, check.at);
        assert!(c.f32_error <= F32_BOUND, "{what}, {}: f32 is {:.1e} off", check.name, c.f32_error);
    }
}

fn objective(text: &str, samples: usize, gradient: &str, config: &VaeConfig) -> elbo::estimator::Objective {
    let (kind, gradient): (ObjectiveKind, PathGradient) = (text.parse().unwrap(), gradient.parse().unwrap());
    kind.build(samples, gradient, None, config.closed_form()).unwrap()
}

fn check_text(config: &VaeConfig, text: &str, samples: usize, gradient: &str) {
    let what = format!("{}, {:?}, {text} of {samples}, {gradient}", config.posterior, config.heads);
    check(config, &objective(text, samples, gradient, config), &what);
}

/// With its KL in closed form and sampled, under both heads and under bounds, and by every gradient.
#[test]
fn a_full_covariance() {
    let separate = small("full");
    let joint = VaeConfig { heads: Heads::Joint, ..separate.clone() };
    let bounded = VaeConfig { log_variance: Some([-0.05, 0.02]), ..separate.clone() };
    check(&separate, &Elbo::new(2, None), "full");
    check(&joint, &Elbo::new(1, Some(FreeBits { lambda: 0.05, group: 2 })), "full, joint, free bits");
    check(&bounded, &Elbo::new(1, None).with_penalty("mmd:3".parse().unwrap(), 40), "full, bounded, MMD");
    for (config, text, samples, gradient) in [
        (&separate, "iwae", 3, "plain"),
        (&joint, "iwae", 3, "dreg"),
        (&separate, "elbo", 2, "stl"),
        (&bounded, "piwae:2", 4, "dreg"),
    ] {
        check_text(config, text, samples, gradient);
    }
}

#[test]
fn flows() {
    for posterior in ["planar:2", "iaf:2"] {
        let separate = small(posterior);
        let joint = VaeConfig { heads: Heads::Joint, log_variance: Some([-0.05, 0.02]), ..separate.clone() };
        check_text(&separate, "elbo", 2, "plain");
        check_text(&joint, "iwae", 3, "plain");
        check_text(&separate, "piwae:2", 4, "plain");
        check_text(&separate, "elbo", 2, "stl");
        check_text(&joint, "iwae", 3, "dreg");
        check_text(&separate, "piwae:2", 4, "dreg");
    }
}

/// A learned mixture under posteriors of more columns than its components; and under a joint head, whose bias is none of the
/// mixture's business.
#[test]
fn a_mixture_prior_under_any_posterior() {
    let heads = Heads::Joint;
    for posterior in ["diagonal", "full", "iaf:1"] {
        let config = VaeConfig { prior: "mixture:3".parse().unwrap(), heads, ..small(posterior) };
        check_text(&config, "iwae", 2, "plain");
    }
}

/// The path's way through z₀ to z_K and on, whatever the prior's own way is.
#[test]
fn flows_without_scores_under_other_priors() {
    for (posterior, prior) in
        [("planar:2", "mixture:3"), ("iaf:1", "flow:2:4"), ("iaf:2", "vae:2x4"), ("full", "vae:2x3")]
    {
        let prior = prior.parse().unwrap();
        check_text(&VaeConfig { hidden: vec![3], latent: 2, prior, ..small(posterior) }, "iwae", 2, "dreg");
    }
}

/// Of one latent the first output of an autoregressive network sees no latent, only its context; no hidden layer, a wide one.
#[test]
fn flows_at_the_edges() {
    for (posterior, latent, hidden) in [("iaf:2", 1, vec![4]), ("iaf:1", 3, vec![]), ("planar:2", 1, vec![])] {
        for gradient in ["plain", "stl"] {
            check_text(&VaeConfig { latent, hidden: hidden.clone(), ..small(posterior) }, "elbo", 1, gradient);
        }
    }
    // More hidden units than a tile is wide, and more latents: several panels under masks.
    let wide = VaeConfig { latent: 70, hidden: vec![150], ..small("iaf:1") };
    check_text(&wide, "elbo", 1, "plain");
}

fn refused(toml: &str) -> String {
    let x = Array2::from_shape_fn((30, 4), |(i, j)| ((i * 3 + j) % 5) as f32 / 4.0);
    let data = Dataset::from_array(x.view()).unwrap();
    let settings = Settings::from_toml(toml).unwrap();
    let run = settings.resolve(&data).and_then(|(config, _)| {
        elbo::Trainer::new(config, data.clone(), Exec::sequential().unwrap()).map(|_| String::new())
    });
    run.unwrap_or_else(|error| error.to_string())
}

#[test]
fn what_does_not_go_together_says_so() {
    for (toml, said) in [
        ("posterior = \"planar:2\"\nfree-bits = 0.1", "samples its KL"),
        ("posterior = \"planar:2\"\ncapacity = 3", "--posterior"),
        ("posterior = \"iaf:2\"\npenalty = \"mmd:3\"", "--posterior"),
        ("posterior = \"full\"\npenalty = \"tc:3\"", "products over latents"),
        ("posterior = \"full\"\nprior = \"vamp:3\"", "--prior mixture"),
        ("posterior = \"planar:0\"", "1 to 1024 steps"),
        ("posterior = \"planar:x\"", "no number of steps"),
        ("posterior = \"fool\"", "did you mean `full`"),
        ("posterior = \"full\"\nlatent = 100000\nhidden = [1000]", "2^31"),
        ("posterior = \"iaf:1024\"\nlatent = 4000\nhidden = [4000]", "2^31"),
    ] {
        assert!(refused(toml).contains(said), "{toml}: {}", refused(toml));
    }
    for toml in
        ["posterior = \"iaf:2\"\ngradient = \"dreg\"", "posterior = \"full\"\npenalty = \"mmd:3\"\nfree-bits = 0.1"]
    {
        assert_eq!(refused(toml), "", "{toml}");
    }
}

/// A row's middle and log-variances, and what the tasks make of them.
#[test]
fn encodings_scores_and_aggregates_are_right_or_refused() {
    let x = Array2::from_shape_fn((9, 7), |(i, j)| ((i * 3 + j) % 5) as f32 / 4.0);
    let (data, ex) = (Dataset::from_array(x.view()).unwrap(), Exec::sequential().unwrap());
    for posterior in ["diagonal", "full", "planar:2", "iaf:2"] {
        let vae = Vae::new(&small(posterior)).unwrap();
        let params = Params::<f32>::init(vae.layout(), &Noise::new(4));
        let mut inference = Inference::new(&vae, &params, &ex);
        let examples = task::Examples::new(&vae, data.all(), Default::default(), 0).unwrap();
        let (gaussian, diagonal) = (posterior == "diagonal" || posterior == "full", posterior == "diagonal");
        let encoding = task::encode(&mut inference, &examples).unwrap();
        assert!(encoding.mean.iter().all(|m| m.is_finite()));
        assert!(encoding.log_variance.iter().all(|v| v.is_finite() == gaussian), "{posterior}");
        let scores = task::scores(&mut inference, &examples, None);
        assert_eq!(scores.is_ok(), gaussian, "{posterior}");
        let sampled = task::scores(&mut inference, &examples, Some((400, 0))).unwrap();
        if let Ok(scores) = &scores {
            // In closed form either way.
            assert!(scores.iter().zip(&sampled).all(|(a, b)| a.kl == b.kl && a.kl > 0.0));
        }
        // −ELBO by 400 draws of a row is above its −log p(x) by as many.
        let report = task::evaluate(&mut inference, &examples, 0, Some(400)).unwrap();
        assert!(report.nll.windows(2).all(|pair| pair[0].nats >= pair[1].nats));
        assert_eq!(report.kl_per_latent.len(), if gaussian { 3 } else { 0 });
        assert_eq!(task::aggregate_posterior(&mut inference, &examples, 0).is_ok(), diagonal, "{posterior}");
        for (covariance, allowed) in [(task::Covariance::Full, diagonal), (task::Covariance::Diagonal, gaussian)] {
            let fit = task::fit_mixture(&mut inference, &examples, 2, covariance, 0);
            assert_eq!(fit.is_ok(), allowed, "{posterior}, {covariance:?}");
        }
    }
}
