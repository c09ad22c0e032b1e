//! Same seed, same bytes: threads × instruction sets × batch remainders × resume points × ways of updating, compared as
//! files: model, checkpoint, configuration, pictures, and the record but for its times.

use crate::support::{At, assert_same, bars, small};
use elbo::tensor::{Exec, Isa};
use elbo::train::{Flow, Observer, Outcome, Place, RunFolder, Settings, StepReport, Trainer};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tempfile::{TempDir, tempdir};

/// Wide enough to be worth seven threads.
const BASE: &str = "hidden = [128, 64]\nepochs = 2";

/// What differs in the arithmetic of a step: the update in the weights pass (which the others of a case leave), clipping,
/// which needs the whole gradient first, another optimizer, operands of bf16, and priors whose components every row of a
/// batch says something of. All but one with data that are drawn.
const CONFIGS: [&str; 7] = [
    "binarize = \"dynamic\"\nvalidation = 0",
    "clip = 0.5\nfree-bits = 0.1\nwarmup-epochs = 1.5\nlayer = \"gated\"\nnorm = \"batch\"",
    "optimizer = \"sgd\"\nmomentum = 0.9\nlearning-rate = 1e-4\nbinarize = \"fixed\"\nlikelihood = \"gaussian-learned\"",
    "precision = \"bf16\"\noptimizer = \"adamw\"\nweight-decay = 0.1\nbinarize = \"dynamic\"",
    "condition = \"labels\"\nconditional-prior = true\nvalidation = 0\nbinarize = \"dynamic\"\nsamples = 2",
    "prior = \"vamp:9\"\nobjective = \"iwae\"\nsamples = 3\ngradient = \"dreg\"\nbinarize = \"dynamic\"",
    "prior = \"mixture:5\"\ngradient = \"stl\"\nwarmup-epochs = 1.5\nclip = 0.5\naverage = 0.9\nbinarize = \"fixed\"",
];

/// The one of bf16. Where a processor has no products of it, a run that is gone on with goes on in f32, and says so.
const HALF: usize = 3;

const THREADS: [usize; 4] = [1, 2, 3, 7];
/// Of 70 rows: nothing left for a last batch, one row, and some.
const BATCHES: [usize; 3] = [70, 69, 32];
/// Where the run is interrupted: nowhere, after its first step, within an epoch or at its end, and in the last epoch.
const STOPS: [Stop; 4] = [Stop::Never, Stop::First, Stop::Epoch, Stop::Last];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stop {
    Never,
    First,
    Epoch,
    Last,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    config: usize,
    batch: usize,
    isa: Isa,
    threads: usize,
    stop: Stop,
    fused: bool,
    /// Whether what resumes the run has another instruction set and other threads than what began it.
    moves: bool,
}

/// Runs of one test, each compared with the plain one of its kind: uninterrupted and fused, on the best instruction set by
/// one thread; or on `foreign`, whose sums are others.
struct Runs {
    scratch: TempDir,
    plain: HashMap<(usize, usize, bool), PathBuf>,
    count: usize,
}

/// Counts steps, which a resumed run must not repeat.
struct Steps(u64);

impl Observer for Steps {
    fn step(&mut self, _: &Trainer, _: &StepReport) -> elbo::Result<Flow> {
        self.0 += 1;
        Ok(Flow::Continue)
    }
}

fn ways(trainer: Trainer, fused: bool) -> Trainer {
    if fused { trainer } else { trainer.unfused() }
}

impl Runs {
    fn new() -> Self {
        Runs { scratch: tempdir().unwrap(), plain: HashMap::new(), count: 0 }
    }

    fn run(&mut self, case: Case) -> PathBuf {
        self.count += 1;
        let out = self.scratch.path().join(self.count.to_string());
        let settings = small(&format!("{BASE}\nbatch-size = {}\n{}", case.batch, CONFIGS[case.config]));
        let data = settings.split(bars()).unwrap();
        let (config, _) = settings.resolve(&data).unwrap();
        let steps = config.steps_per_epoch(data.train().len());
        // Really so many threads, however few the cores.
        let ex = Exec::with_isa(case.isa, case.threads).unwrap();
        let mut trainer = ways(Trainer::new(config, data, ex).unwrap(), case.fused);
        let mut run = RunFolder::create(&Place::New(out.clone()), &trainer, "bars").unwrap();
        let step = match case.stop {
            Stop::Never => {
                assert_eq!(run.train(&mut trainer, &mut (), &false.into()).unwrap(), Outcome::Finished);
                return out;
            }
            Stop::First => 1,
            Stop::Epoch => steps,
            Stop::Last => 2 * steps - 1,
        };
        let outcome = run.train(&mut trainer, &mut At { step, crash: false }, &false.into()).unwrap();
        assert_eq!(outcome, Outcome::Interrupted, "{case:?}");
        drop((run, trainer));
        let (isa, threads) = if case.moves { elsewhere(case) } else { (case.isa, case.threads) };
        let ex = Exec::with_isa(isa, threads).unwrap();
        let (mut run, trainer, _) = RunFolder::resume_with(&out, &Settings::default(), bars(), ex).unwrap();
        let (mut trainer, mut rest) = (ways(trainer, case.fused), Steps(0));
        assert_eq!(run.train(&mut trainer, &mut rest, &false.into()).unwrap(), Outcome::Finished);
        assert_eq!(rest.0, 2 * steps - step, "{case:?}");
        out
    }

    fn plain(&mut self, case: Case) -> PathBuf {
        let isa = if case.isa.is_foreign() { case.isa } else { Isa::default() };
        let key = (case.config, case.batch, isa.is_foreign());
        if let Some(path) = self.plain.get(&key) {
            return path.clone();
        }
        let path = self.run(Case { isa, threads: 1, stop: Stop::Never, fused: true, moves: false, ..case });
        self.plain.insert(key, path.clone());
        path
    }

    fn check(&mut self, case: Case) {
        let (expected, found) = (self.plain(case), self.run(case));
        assert_same(&expected, &found, &format!("{case:?} {}", CONFIGS[case.config]));
        for file in ["model.safetensors", "checkpoint", "metrics.jsonl"] {
            assert!(found.join(file).is_file(), "{file} is among what was compared");
        }
        remove(&found);
    }
}

fn remove(path: &Path) {
    std::fs::remove_dir_all(path).unwrap();
}

/// Another instruction set that gives the same bits and keeps the precision, if there is one, and other threads.
fn elsewhere(case: Case) -> (Isa, usize) {
    let alike = |isa: &Isa| isa.is_foreign() == case.isa.is_foreign() && (case.config != HALF || isa.has_half());
    let other = Isa::available().iter().copied().filter(alike).find(|&isa| isa != case.isa);
    (other.unwrap_or(case.isa), 8 - case.threads)
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for config in 0..CONFIGS.len() {
        for batch in BATCHES {
            for &isa in Isa::available() {
                for threads in THREADS {
                    for stop in STOPS {
                        for (fused, moves) in [(true, false), (true, true), (false, false), (false, true)] {
                            let goes_on = config != HALF || isa.has_half();
                            if stop == Stop::Never && !moves || stop != Stop::Never && goes_on {
                                cases.push(Case { config, batch, isa, threads, stop, fused, moves });
                            }
                        }
                    }
                }
            }
        }
    }
    cases
}

/// Of the whole product, one case in so many: numbers prime to every factor, so that each value of each meets others' in
/// turn.
#[test]
fn a_sample_of_the_matrix_gives_the_same_bytes() {
    let mut runs = Runs::new();
    let (all, mut sample) = (cases(), Vec::new());
    for config in 0..CONFIGS.len() {
        let own = all.iter().filter(|case| case.config == config);
        sample.extend(own.step_by(if config == HALF { 29 } else { 83 }).copied());
    }
    for &isa in Isa::available() {
        assert!(sample.iter().any(|c| c.isa == isa && c.threads > 1), "{} is in the sample", isa.name());
    }
    sample.iter().for_each(|&case| runs.check(case));
    println!("{} of {} cases", sample.len(), all.len());
}

#[test]
#[ignore = "minutes: the whole product; cargo test --release --test run matrix -- --ignored --nocapture"]
fn the_whole_matrix_gives_the_same_bytes() {
    let mut runs = Runs::new();
    let all = cases();
    all.iter().for_each(|&case| runs.check(case));
    println!("{} cases, {} runs", all.len(), runs.count);
}
