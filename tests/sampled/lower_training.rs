//! Levels below z in use: inference, training, names and refusals.

use super::lower::{FORMS, KINDS, lower};
use super::priors::check;
use super::support::{bound, data, estimates_agree, exec, same_bytes, trained};
use super::{ALL, sampled, small};
use elbo::density::{LowerKind, PosteriorKind, PriorKind};
use elbo::estimator::{Bound, ObjectiveKind, PathGradient};
use elbo::model::{Vae, VaeConfig};
use elbo::train::{TrainConfig, Trainer};

fn config(text: &str) -> TrainConfig {
    let mut config = TrainConfig { epochs: 8, batch_size: 25, ..TrainConfig::preset("iwae-200", 40).unwrap() };
    config.vae = VaeConfig { hidden: vec![20], latent: 4, lower: lower(text), ..config.vae };
    config.optimizer.learning_rate = 0.005;
    config
}

/// A trained model's figures agree with each other, and what is said without draws is near them: under a mixture, too, whose components
/// the quadrature takes into account.
#[test]
fn inference_over_all_levels() {
    for (text, prior) in [("hvae:3x12,2x8", "standard"), ("ladder:3x12", "vamp:5"), ("hvae:3x12", "exemplar:30:5")] {
        let mut config = config(text);
        config.vae.prior = prior.parse().unwrap();
        let trainer = trained(config, exec(2));
        // 32 points in up to nine latents: products of two latents' noise are not averaged out, so a row is off by some tenths of
        // a nat, of about ten.
        let (stats, scores, _) = estimates_agree(&trainer, 1.0);
        let (vae, by_level) = (trainer.vae(), trainer.vae().kl_by_level(&stats));
        assert_eq!(by_level.len(), 1 + vae.lower().unwrap().levels());
        assert!((by_level.iter().sum::<f64>() - stats.mean_kl()).abs() < 1e-9, "{by_level:?}");
        // One draw a row through all levels is as far from the reconstruction by all means as they vary, and no further.
        let reconstruction = scores.iter().map(|s| s.reconstruction).sum::<f64>() / 50.0;
        assert!(
            (stats.mean_reconstruction() - reconstruction).abs() < 0.2 * reconstruction,
            "{text}: {reconstruction}"
        );
    }
}

#[test]
fn threads_and_instruction_sets_give_the_same_bytes() {
    for text in ["hvae:3x9,2x5", "ladder:3x9,2x5"] {
        let mut config = TrainConfig { epochs: 1, objective: ALL[2].0, samples: 5, ..config(text) };
        config.vae.dropout = 0.2;
        config.vae.prior = PriorKind::Vamp(3);
        same_bytes(&config);
    }
}

#[test]
fn its_name_reads_back_and_slips_are_explained() {
    for text in ["none", "hvae:40x300", "ladder:1x1,2x3,4x5,6x7"] {
        assert_eq!(lower(text).to_string(), text);
    }
    let slips = [
        ("hvae", "hvae:LATENTxWIDTH"),
        ("lader:4x5", "expected none, hvae:LATENTxWIDTH or ladder:LATENTxWIDTH"),
        ("hvae:", "`` is no LATENTxWIDTH"),
        ("ladder:50", "`50` is no LATENTxWIDTH\n  hint: ladder:40x300"),
        ("hvae:50x0", "1 to 65536 latents and hidden units, not 50x0\n  hint: hvae:40x300"),
        ("hvae:1x1,1x1,1x1,1x1,1x1", "1 to 4 levels, not 5"),
    ];
    for (text, says) in slips {
        let error = text.parse::<LowerKind>().unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
    for kind in KINDS {
        let huge = VaeConfig { lower: lower(&format!("{kind}:65536x65536")), ..small() };
        assert!(Vae::new(&huge).unwrap_err().to_string().contains("2^31 parameters"));
        let given = VaeConfig { lower: lower(&format!("{kind}:2x3")), condition: 2, ..small() };
        let error = Vae::new(&given).unwrap_err().to_string();
        assert!(error.contains("know nothing of a condition") && error.contains("leave out --lower"), "{error}");
        for gradient in [PathGradient::StickingTheLanding, PathGradient::DoublyReparameterized] {
            let config = TrainConfig { objective: ALL[2].0, samples: 5, gradient, ..config(&format!("{kind}:3x9")) };
            let error = Trainer::new(config, data(60), exec(1)).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("scores would have to go") && error.contains("leave --gradient out"), "{error}");
        }
    }
    let piwae = ObjectiveKind::Weighted(Bound::Piwae(2));
    let of = |text: &str| Trainer::new(TrainConfig { objective: piwae, samples: 4, ..config(text) }, data(60), exec(1));
    let error = of("ladder:3x9").map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("piwae:2 weights") && error.contains("--lower hvae:40x300"), "{error}");
    assert!(of("hvae:3x9").is_ok());
}

/// Whoever builds an estimator by hand is told, too.
#[test]
#[should_panic(expected = "has its weight")]
fn another_weight_of_a_ladder_is_a_programmer_s_error() {
    let config = VaeConfig { lower: lower("ladder:2x3"), ..small() };
    check(&config, &sampled(ObjectiveKind::Weighted(Bound::Piwae(2)), 4, PathGradient::Plain), 1.0, "");
}

/// The number of parameters that a configuration is refused by is the number that there are. A step multiplies with each weight
/// three times a sample, but for those that look at x alone.
#[test]
fn its_parameters_are_counted() {
    for text in FORMS.into_iter().chain(["hvae:6x4,2x7,1x1"]) {
        for hidden in [vec![], vec![5], vec![5, 6]] {
            let of = |text| Vae::new(&VaeConfig { hidden: hidden.clone(), lower: lower(text), ..small() }).unwrap();
            let (with, without) = (of(text), of("none"));
            let encoded = hidden.last().copied().unwrap_or(7);
            let own = with.config().lower.parameters(7, encoded, 3);
            let of_levels = |e: &&elbo::tensor::Entry| {
                let of_ladder = ["encoder.up.", "encoder.evidence.", "encoder.features.", "lower."];
                of_ladder.iter().any(|name| e.name.starts_with(name))
            };
            let found: usize = with.layout().entries().iter().filter(of_levels).map(|e| e.slot.count()).sum();
            assert_eq!(own, found, "{text} of {hidden:?}");
            let flops = |vae: &Vae, k| vae.flops_with(k);
            assert!(flops(&with, 1) > flops(&without, 1));
            let more = flops(&with, 5) - flops(&with, 1);
            let weights = with.layout().entries().iter().filter(|e| !e.vector && !e.name.starts_with("encoder."));
            assert_eq!(more, 4.0 * 6.0 * weights.map(|e| e.slot.count()).sum::<usize>() as f64, "{text}");
        }
    }
}

/// Few kinds of rows, whose latents lie in as many places: a second level lowers the bound that both are trained by.
#[test]
fn a_second_level_lowers_the_bound() {
    let bound = |text: &str| {
        bound(&trained(TrainConfig { epochs: 60, objective: ALL[2].0, samples: 5, ..config(text) }, exec(2)))
    };
    let (one, two, ladder) = (bound("none"), bound("hvae:4x16"), bound("ladder:4x16"));
    println!("one level {one}, two {two}, ladder {ladder}");
    assert!(two < one - 0.2 && ladder < one, "{one} {two} {ladder}");
}

/// A posterior of z that is no diagonal Gaussian has no KL without draws here either.
#[test]
fn a_score_without_draws_is_of_diagonal_posteriors() {
    let of = |posterior| VaeConfig { posterior, lower: lower("hvae:2x3"), ..small() };
    assert!(of(PosteriorKind::Diagonal).kl_without_draws() && !of(PosteriorKind::Full).kl_without_draws());
}

/// The table's row is the network of the authors' code (github.com/sajadn/Exemplar-VAE, `models/HVAE_2level.py`), layer by layer.
#[test]
fn the_published_two_level_model() {
    use elbo::task::reproduce::Table;
    let dense = |inputs: usize, outputs: usize| inputs * outputs + outputs;
    let gated = |inputs, outputs| 2 * dense(inputs, outputs);
    let heads = 2 * dense(300, 40);
    let upper = gated(784, 300) + gated(300, 300) + heads;
    let lower = gated(784, 300) + gated(40, 300) + gated(600, 300) + heads;
    let prior = gated(40, 300) + gated(300, 300) + heads;
    let decoder = 2 * gated(40, 300) + gated(600, 300) + dense(300, 784);
    for (table, published) in
        [("exemplar-fashion", [227.37, 226.72, 226.53]), ("exemplar-mnist", [82.39, 81.56, 81.22])]
    {
        let table = Table::named(table).unwrap();
        for ((row, published), more) in
            ["hvae", "hvae-vamp", "hvae-exemplar"].iter().zip(published).zip([0, 500 * 784, 1])
        {
            let row = table.row(row).unwrap();
            let config = table.protocol(row).network(784).unwrap();
            assert_eq!((row.published, config.log_variance), (Some(published), Some([-6.0, 2.0])));
            let vae = Vae::new(&config).unwrap();
            assert_eq!(vae.layout().count(), upper + lower + prior + decoder + more, "{}", row.name);
        }
    }
}
