//! `regatta`: runs testnets of real nodes and writes reports.

fn main() -> std::process::ExitCode {
    regatta::cli::main()
}
