//! Same seed, same bytes, through the program: instruction sets by `ELBO_ISA`, threads by `--threads`, and a run that is
//! begun with some and gone on with others.

use crate::options::lab::Lab;
use crate::support::*;
use elbo::tensor::Isa;
use std::fs;
use std::path::Path;

const ARGS: &str = "train set --hidden 64 --latent 4 --batch-size 150 --validation 0.1 --quiet";

fn run(at: &Path, isa: Isa, args: &str) {
    let ran: Ran = command(at, args).env("ELBO_ISA", isa.name()).output().unwrap().into();
    ran.ok();
}

/// The files that hold state.
fn state(run: &Path) -> [Vec<u8>; 2] {
    ["model.safetensors", "checkpoint"].map(|file| fs::read(run.join(file)).unwrap())
}

#[test]
fn every_instruction_set_any_threads_and_a_change_in_between() {
    let lab = Lab::new();
    let at = lab.at();
    for precision in ["f32", "bf16"] {
        for &isa in Isa::available() {
            // The program falls back to f32 where the instruction set has no products of bf16.
            let alike = |other: &&Isa| {
                (other.name() == "foreign") == (isa.name() == "foreign")
                    && (precision == "f32" || other.has_half() == isa.has_half())
            };
            let (first, last) = (isa, Isa::available().iter().rfind(alike).copied().unwrap_or(isa));
            let [whole, parts] = ["whole", "parts"].map(|name| format!("{name}-{precision}-{}", isa.name()));
            let args = format!("{ARGS} --precision {precision}");
            run(at, first, &format!("{args} --epochs 3 --threads 1 --out {whole}"));
            run(at, last, &format!("{args} --epochs 2 --threads 3 --out {parts}"));
            run(at, first, &format!("train --resume {parts} --epochs 3 --threads 2 --quiet"));
            assert!(
                state(&at.join(&whole)) == state(&at.join(&parts)),
                "{precision} on {} and {}",
                isa.name(),
                last.name()
            );
            if alike(&&Isa::default()) {
                let best = at.join(format!("whole-{precision}-{}", Isa::default().name()));
                assert!(state(&best) == state(&at.join(&whole)), "{precision} on {}", isa.name());
            }
        }
    }
}
