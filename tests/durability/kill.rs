//! SIGKILL at random moments.

use crate::support::{Job, leftovers};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::fs;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

/// A run is killed so often at most; then it may end.
const KILLS_OF_A_RUN: usize = 6;
/// Of a run.
const EPOCHS: usize = 50;

#[derive(Debug, Default)]
struct Tally {
    kills: usize,
    /// A temporary file or folder was left, or half a line.
    within_a_write: usize,
    /// Before the run's folder was there.
    before_the_folder: usize,
    /// With a model on the disk, which was loaded.
    with_a_model: usize,
    /// Runs that went on to their end after the last kill.
    finished: usize,
}

/// What writers that were killed have left of a run, in its folder and beside it.
fn left_of(job: &Job, run: &str) -> Vec<PathBuf> {
    [leftovers(&job.path(run)), leftovers(&job.runs())].concat()
}

/// Epochs in a run's record.
fn epochs(job: &Job, run: &str) -> usize {
    let record = fs::read(job.path(run).join("metrics.jsonl")).unwrap_or_default();
    record.iter().filter(|&&byte| byte == b'\n').count()
}

/// The moment at which a run is to be killed.
struct Moment {
    /// Epochs in its record, so that slow and fast machines are met at the same moments.
    epochs: usize,
    /// Time after that.
    delay: Duration,
    /// Then, whether to wait for a temporary file, of which some were there before.
    in_a_write: bool,
    before: Vec<PathBuf>,
}

/// Kills the child, and says whether it was still alive.
fn kill(child: &mut Child, job: &Job, run: &str, moment: &Moment) -> bool {
    let mut reached = None;
    loop {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if reached.is_none() && epochs(job, run) >= moment.epochs {
            reached = Some(Instant::now());
        }
        let writes = || left_of(job, run).iter().any(|path| !moment.before.contains(path));
        if reached.is_some_and(|at| at.elapsed() >= moment.delay) && (!moment.in_a_write || writes()) {
            child.kill().unwrap();
            return child.wait().unwrap().code().is_none();
        }
        // The child needs a core to get anywhere.
        std::thread::sleep(Duration::from_micros(20));
    }
}

/// What is to be seen after a kill.
fn examine(job: &Job, run: &str, before: &[PathBuf], had_model: &mut bool, tally: &mut Tally) {
    let record = fs::read(job.path(run).join("metrics.jsonl")).unwrap_or_default();
    let torn = record.last().is_some_and(|&last| last != b'\n');
    let left = left_of(job, run).iter().filter(|path| !before.contains(path)).count();
    assert!(left <= 1, "one writer leaves one file");
    tally.kills += 1;
    tally.within_a_write += usize::from(torn || left > 0);
    tally.before_the_folder += usize::from(!job.path(run).exists());
    let has_model = job.has_model(run, "after a kill");
    assert!(has_model || !*had_model, "the model is gone");
    tally.with_a_model += usize::from(has_model);
    *had_model = has_model;
}

fn kill_and_go_on(kills: usize, seed: u64) {
    const PLAIN: &str = "--hidden 256 --latent 4 --batch-size 20 --epochs 50 --threads 1 --quiet";
    const FULL: &str = "--hidden 256 --latent 4 --batch-size 20 --epochs 50 --threads 2 --quiet --validation 0.2 \
                        --binarize dynamic --clip 1 --warmup-epochs 9 --schedule cosine";
    let begun = Instant::now();
    let jobs = [PLAIN, FULL].map(Job::new);
    let (mut rng, mut tally, mut number) = (ChaCha8Rng::seed_from_u64(seed), Tally::default(), 0);
    while tally.kills < kills {
        let (job, run) = (&jobs[number % jobs.len()], format!("run-{number}"));
        let (mut had_model, mut alive) = (false, true);
        for _ in 0..KILLS_OF_A_RUN.min(kills - tally.kills) {
            let moment = Moment {
                epochs: epochs(job, &run) + rng.random_range(0..EPOCHS / KILLS_OF_A_RUN * 2),
                delay: Duration::from_micros(rng.random_range(0..20_000)),
                in_a_write: rng.random_bool(0.6),
                before: left_of(job, &run),
            };
            let mut child = job.go_on(&run).spawn().unwrap();
            alive = kill(&mut child, job, &run, &moment);
            if !alive {
                break;
            }
            examine(job, &run, &moment.before, &mut had_model, &mut tally);
        }
        job.assert_ends_the_same(&run, &format!("seed {seed}, killed: {alive}"));
        tally.finished += usize::from(alive);
        job.clear(&run);
        number += 1;
    }
    println!("{tally:?} in {number} runs, {:.1} s", begun.elapsed().as_secs_f64());
    assert!(tally.within_a_write * 4 >= tally.kills, "too few of the moments were in the middle of a write: {tally:?}");
}

#[test]
fn a_run_that_is_killed_loses_nothing() {
    kill_and_go_on(10, 1);
}

#[test]
#[ignore = "200 kills take minutes"]
fn a_run_that_is_killed_loses_nothing_200_times() {
    kill_and_go_on(200, 2);
}
