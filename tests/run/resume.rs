//! Interrupted runs end in the bytes of uninterrupted ones.

use crate::support::{At, assert_same, bars, contents, go_on, small, start, trainer, whole};
use elbo::tensor::Exec;
use elbo::train::{Outcome, Place, RunFolder, SavedModel, Settings};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::tempdir;

/// What a run's state consists of differs between these.
const VARIANTS: [&str; 16] = [
    "",
    "validation = 9\npatience = 2\nclip = 0.5\nwarmup-epochs = 2.5",
    "schedule = \"cosine\"\nbinarize = \"dynamic\"\noptimizer = \"adamw\"\nseed = 7\nnorm = \"batch\"\nhidden = [9, 9]\naverage = 0.9",
    "optimizer = \"sgd\"\nmomentum = 0.9\nlearning-rate = 1e-4\nfree-bits = 0.1\nvalidation = 0.2",
    "likelihood = \"gaussian-learned\"\ncycle-epochs = 2\nlayer = \"gated\"",
    "optimizer = \"sgd\"\nlearning-rate = 1e-4\nhidden = []\nheads = \"joint\"\nschedule = \"step:1,0.5\"",
    "condition = \"labels\"\nconditional-prior = true\nvalidation = 9\nbinarize = \"dynamic\"\naverage = 0.9",
    "prior = \"vamp:9\"\nobjective = \"iwae\"\nsamples = 3\ngradient = \"dreg\"\nvalidation = 9",
    "capacity = 3\ncapacity-epochs = 3\nbeta = 20\ncorrupt = \"noise:0.2\"\naverage = 0.9\nvalidation = 9",
    "penalty = \"tc:3\"\naverage = 0.9\nclip = 1\nnorm = \"layer\"\nresidual = true\ndropout = 0.3\nhidden = [9, 9]",
    "prior = \"mixture:4\"\nwarmup-epochs = 2\nvalidation = 9\nprecision = \"bf16\"",
    "prior = \"flow:3:8\"\nobjective = \"iwae\"\nsamples = 2\ngradient = \"stl\"\naverage = 0.9\nvalidation = 9\nprecision = \"bf16\"",
    "prior = \"exemplar:30:2\"\nbinarize = \"dynamic\"\nvalidation = 9\naverage = 0.9\nnormalize-gradients = true",
    "prior = \"vae:3x8,2x5\"\nposterior = \"iaf:2\"\nobjective = \"iwae\"\nsamples = 3\ngradient = \"dreg\"\ndropout = 0.2\nvalidation = 9\nprecision = \"bf16\"",
    "lower = \"hvae:3x8,2x5\"\nprior = \"exemplar:30:2\"\ndropout = 0.2\nvalidation = 9\naverage = 0.9",
    "lower = \"ladder:3x8,2x5\"\nprior = \"vamp:4\"\nsamples = 2\nvalidation = 9\nprecision = \"bf16\"\nlog-variance = [-6, 2]",
];

fn stop(out: &Path, settings: &Settings, step: u64) {
    let (mut run, mut trainer) = start(settings, out);
    let outcome = run.train(&mut trainer, &mut At { step, crash: false }, &false.into()).unwrap();
    assert_eq!(outcome, Outcome::Interrupted, "step {step}");
    assert_eq!(trainer.state().step, step);
}

#[test]
fn a_run_resumed_after_any_step_ends_in_the_same_bytes() {
    for (i, variant) in VARIANTS.into_iter().enumerate() {
        let settings = small(variant);
        let scratch = tempdir().unwrap();
        let reference = scratch.path().join("whole");
        assert_eq!(whole(&settings, &reference), Outcome::Finished);
        let last = settings.epochs.unwrap() * trainer(&settings, 1).steps_per_epoch();
        // Every step where it is cheap to say why: the plain run and the one with most state; else one in four.
        for step in (1..last).filter(|step| i < 2 || step % 4 == i as u64 % 4) {
            let out = scratch.path().join(step.to_string());
            stop(&out, &settings, step);
            assert_eq!(go_on(&out, &Settings::default(), &mut ()), Outcome::Finished);
            assert_same(&reference, &out, &format!("{variant:?}, stopped after step {step} of {last}"));
        }
    }
}

#[test]
fn a_run_interrupted_after_every_epoch_ends_in_the_same_bytes() {
    let settings = small(VARIANTS[1]);
    let scratch = tempdir().unwrap();
    let (reference, out) = (scratch.path().join("whole"), scratch.path().join("parts"));
    whole(&settings, &reference);
    let steps = trainer(&settings, 1).steps_per_epoch();
    stop(&out, &settings, steps);
    for epoch in 2..4 {
        let at = &mut At { step: epoch * steps, crash: false };
        assert_eq!(go_on(&out, &Settings::default(), at), Outcome::Interrupted);
    }
    assert_eq!(go_on(&out, &Settings::default(), &mut ()), Outcome::Finished);
    assert_same(&reference, &out, "epoch by epoch");
    let before = contents(&out);
    assert_eq!(go_on(&out, &Settings::default(), &mut ()), Outcome::Finished);
    assert!(before == contents(&out), "resuming a finished run changes nothing");
}

#[test]
fn a_run_that_crashed_resumes_from_its_last_checkpoint() {
    for variant in &VARIANTS[..2] {
        let settings = small(variant);
        let scratch = tempdir().unwrap();
        let reference = scratch.path().join("whole");
        whole(&settings, &reference);
        // In the first epoch, with the first checkpoint; and later, when the record is ahead of the checkpoint.
        for step in [2, 13] {
            let out = scratch.path().join(step.to_string());
            let (mut run, mut trainer) = start(&settings, &out);
            run.train(&mut trainer, &mut At { step, crash: true }, &false.into()).unwrap_err();
            assert_eq!(go_on(&out, &Settings::default(), &mut ()), Outcome::Finished);
            assert_same(&reference, &out, &format!("{variant:?}, crashed at step {step}"));
        }
    }
}

#[test]
fn the_stop_flag_ends_the_run_after_the_batch_under_way() {
    let settings = small("");
    let scratch = tempdir().unwrap();
    let (reference, out) = (scratch.path().join("whole"), scratch.path().join("flag"));
    whole(&settings, &reference);
    let (mut run, mut trainer) = start(&settings, &out);
    let stop = AtomicBool::new(true);
    assert_eq!(run.train(&mut trainer, &mut (), &stop).unwrap(), Outcome::Interrupted);
    assert_eq!(trainer.state().step, 1);
    assert_eq!(run.resume_command(), format!("elbo train --resume {}", out.display()));
    assert_eq!(SavedModel::load(&out).unwrap().info.step, 1);
    // The same values go on in memory, too.
    stop.store(false, Ordering::Relaxed);
    assert_eq!(run.train(&mut trainer, &mut (), &stop).unwrap(), Outcome::Finished);
    assert_same(&reference, &out, "stopped and continued");
}

#[test]
fn more_epochs_continue_a_finished_run_as_if_it_had_been_longer() {
    let scratch = tempdir().unwrap();
    let (reference, out) = (scratch.path().join("long"), scratch.path().join("short"));
    whole(&small("epochs = 6\nvalidation = 9"), &reference);
    whole(&small("epochs = 4\nvalidation = 9"), &out);
    let more = Settings { epochs: Some(6), ..Settings::default() };
    assert_eq!(go_on(&out, &more, &mut ()), Outcome::Finished);
    assert_same(&reference, &out, "grown");
    let fewer = Settings { epochs: Some(5), ..Settings::default() };
    let error = RunFolder::resume_with(&out, &fewer, bars(), Exec::sequential().unwrap()).unwrap_err();
    assert!(error.to_string().contains("5 epochs asked for, and epoch 6 has begun"), "{error}");
}

#[test]
fn any_number_of_threads_writes_the_same_bytes() {
    for coupled in ["clip = 5", "penalty = \"tc:2\"", "penalty = \"mmd:9\""] {
        // Large enough for a step to be shared: a smaller one runs on one thread.
        let settings = small(&format!("hidden = [300, 200]\nbatch-size = 70\nvalidation = 0\nepochs = 3\n{coupled}"));
        let scratch = tempdir().unwrap();
        let run = |threads: usize| {
            let out = scratch.path().join(threads.to_string());
            let mut trainer = trainer(&settings, threads);
            let mut run = RunFolder::create(&Place::New(out.clone()), &trainer, "bars").unwrap();
            run.train(&mut trainer, &mut (), &false.into()).unwrap();
            out
        };
        let one = run(1);
        for threads in [2, 3, 7] {
            assert_same(&one, &run(threads), &format!("{coupled}, {threads} threads"));
        }
    }
}

/// While the capacity rises, what is trained is not what validation measures: those epochs do not count.
#[test]
fn patience_waits_for_the_capacity() {
    // Steps too small to change anything: the first epoch is the best.
    let epochs = |more: &str| {
        let base = "epochs = 12\nvalidation = 9\npatience = 1\ncapacity = 5\nlearning-rate = 1e-30";
        let mut trainer = trainer(&small(&format!("{base}\n{more}")), 1);
        trainer.run(&mut ()).unwrap();
        trainer.state().epoch
    };
    assert_eq!([epochs(""), epochs("capacity-epochs = 8")], [2, 9]);
}

#[test]
fn patience_ends_a_run_and_keeps_the_best() {
    let scratch = tempdir().unwrap();
    let out = scratch.path().join("patient");
    // Steps this long find a worse objective after some epochs.
    let settings = small("epochs = 200\nvalidation = 9\npatience = 3\nlearning-rate = 0.1");
    assert_eq!(whole(&settings, &out), Outcome::OutOfPatience);
    let lines = elbo::train::MetricsLine::read(out.join("metrics.jsonl")).unwrap();
    let objective = |l: &elbo::train::MetricsLine| l.validation.unwrap().neg_elbo.unwrap();
    let best = lines.iter().min_by(|a, b| objective(a).total_cmp(&objective(b))).unwrap();
    let model = SavedModel::load(&out).unwrap();
    assert_eq!(model.info.epoch, best.epoch);
    assert_eq!(model.info.selected.to_string(), "best validation");
    assert_eq!(lines.last().unwrap().epoch, best.epoch + 3);
    assert_eq!(go_on(&out, &Settings::default(), &mut ()), Outcome::OutOfPatience);
}

/// By the objective at the weight that cycles rise to, and not at that with which the next one would begin.
#[test]
fn under_cycles_the_best_is_that_at_the_whole_weight() {
    let scratch = tempdir().unwrap();
    let out = scratch.path().join("cycles");
    let settings =
        small("epochs = 8\nvalidation = 9\ncycle-epochs = 2\ncycle-ratio = 0.9\nbeta = 20\nlearning-rate = 0.03");
    let (mut run, mut trainer) = start(&settings, &out);
    run.train(&mut trainer, &mut (), &false.into()).unwrap();
    let lines = elbo::train::MetricsLine::read(out.join("metrics.jsonl")).unwrap();
    let objective = |l: &elbo::train::MetricsLine| {
        let terms = l.validation.unwrap();
        terms.reconstruction.unwrap() + 20.0 * terms.kl.unwrap()
    };
    let best = lines.iter().min_by(|a, b| objective(a).total_cmp(&objective(b))).unwrap();
    let (kept, epoch) = trainer.state().best.unwrap();
    assert_eq!(epoch, best.epoch);
    assert!((kept - objective(best)).abs() < 1e-9 * kept, "{kept}, expected {}", objective(best));
}
