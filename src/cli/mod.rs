//! The `elbo` program: one thin file per verb; a verb calls a task.
//!
//! Exit status: 0 done, 1 training diverged or a gradient is wrong, 2 bad input or usage, 130 interrupted, 143 terminated.

mod bench;
mod console;
mod decode;
mod encode;
mod evaluate;
mod export;
mod gradcheck;
mod import;
mod info;
mod interpolate;
mod model;
mod network;
mod output;
mod probe;
mod progress;
mod reconstruct;
mod reproduce;
mod sample;
mod score;
mod signals;
mod train;

use crate::data::Memory;
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::Exec;
use clap::{Args, CommandFactory, Parser, Subcommand};
use console::{Console, complain};
use signals::Signals;
use std::process::ExitCode;
use std::str::FromStr;

/// Train and use variational autoencoders on a CPU.
#[derive(Parser, Debug)]
#[command(name = "elbo", version, about, after_help = EXAMPLES, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Start here:
  elbo train mnist                     learn from 10,000 digits that are part of the program
  elbo evaluate runs/mnist-mlp-400     how good it is, in nats per example
  elbo sample runs/mnist-mlp-400       new digits, as a picture

Data: mnist, mnist-full, fashion-mnist, gaussian-2d, or a path: IDX (also .gz), NPY, CSV with a header,
a folder of PNG pictures, or a folder with MNIST's four files. $ELBO_DATA names the folder of data sets
that are not built in. Results go to the standard output or to files, progress and messages to the
standard error.

Exit status: 0 done, 1 training diverged, 2 bad input or usage, 130 interrupted, 143 terminated.";

#[derive(Subcommand, Debug)]
enum Verb {
    Train(Box<train::Train>),
    Evaluate(evaluate::Evaluate),
    Info(info::Info),
    Sample(sample::Sample),
    Reconstruct(reconstruct::Reconstruct),
    Encode(encode::Encode),
    Decode(decode::Decode),
    Interpolate(interpolate::Interpolate),
    Score(score::Score),
    Probe(probe::Probe),
    Import(import::Import),
    Export(export::Export),
    Bench(bench::Bench),
    Gradcheck(gradcheck::Gradcheck),
    Reproduce(reproduce::Reproduce),
}

/// What every verb takes.
#[derive(Args, Clone, Debug)]
struct Common {
    /// Seed of all that is random; without it 0 for training and benches, and the model's own for the rest
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Threads, 0 for as many as there are cores; results do not depend on it
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// No progress and no messages, only results and errors
    #[arg(long, short)]
    quiet: bool,
    /// Results as JSON on the standard output
    #[arg(long)]
    json: bool,
}

impl Common {
    fn console(&self) -> Console {
        Console { quiet: self.quiet, json: self.json }
    }
    fn exec(&self) -> Result<Exec> {
        Exec::new(self.threads)
    }
}

/// What every verb takes that reads rows of data.
#[derive(Args, Clone, Copy, Debug)]
struct MemoryArgs {
    /// Memory that data may take, such as 512M or 2G: larger plain IDX and NPY files are streamed, with the same
    /// results; without it, half of what is available
    #[arg(long, value_name = "SIZE", value_parser = parse::<Memory>, default_value = "auto", hide_default_value = true)]
    memory: Memory,
}

/// How a verb ended that did not fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Done,
    /// What was checked is wrong.
    Failed,
    /// A signal was obeyed.
    Signal(u8),
}

/// Parses one value of a flag; the error is the library's own, with its hint.
fn parse<T: FromStr<Err = Error>>(text: &str) -> std::result::Result<T, String> {
    text.parse().map_err(|e: Error| e.to_string())
}

/// The program's verbs and their options, for what lists them: completions, a manual, tests.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program on the process's arguments and returns its exit status.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // Help goes to the standard output with status 0, mistakes to the standard error with status 2.
            let _ = e.print();
            return ExitCode::from(e.exit_code() as u8);
        }
    };
    match Signals::install().and_then(|signals| cli.verb.run(&signals)) {
        Ok(End::Done) => ExitCode::SUCCESS,
        Ok(End::Failed) => ExitCode::FAILURE,
        Ok(End::Signal(signal)) => ExitCode::from(128 + signal),
        Err(e) => {
            complain(format_args!("error: {e}"));
            ExitCode::from(match e.kind() {
                ErrorKind::Diverged => 1,
                ErrorKind::Input | ErrorKind::Io => 2,
            })
        }
    }
}

impl Verb {
    fn run(&self, signals: &Signals) -> Result<End> {
        let done = |result: Result<()>| result.map(|()| End::Done);
        match self {
            Verb::Train(verb) => verb.run(signals),
            Verb::Evaluate(verb) => done(verb.run()),
            Verb::Info(verb) => done(verb.run()),
            Verb::Sample(verb) => done(verb.run()),
            Verb::Reconstruct(verb) => done(verb.run()),
            Verb::Encode(verb) => done(verb.run()),
            Verb::Decode(verb) => done(verb.run()),
            Verb::Interpolate(verb) => done(verb.run()),
            Verb::Score(verb) => done(verb.run()),
            Verb::Probe(verb) => done(verb.run()),
            Verb::Import(verb) => done(verb.run()),
            Verb::Export(verb) => done(verb.run()),
            Verb::Bench(verb) => done(verb.run()),
            Verb::Gradcheck(verb) => verb.run(),
            Verb::Reproduce(verb) => verb.run(signals),
        }
    }
}
