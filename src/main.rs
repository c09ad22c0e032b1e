//! The `elbo` program; see `elbo --help`.

fn main() -> std::process::ExitCode {
    elbo::cli::main()
}
