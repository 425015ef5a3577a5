//! The program `regatta-node`.

fn main() -> std::process::ExitCode {
    regatta_node::cli::main()
}
