//! The command line: four verbs, read by hand, since this program should stay small.

use crate::{attach, generate, options::Options, root::Root, serve};
use std::{ffi::OsString, io, path::PathBuf, process::ExitCode};

/// Most bytes of programs on a host, unless the command line says otherwise: 8 GiB.
const STORE_BYTES_MAX: u64 = 8 << 30;

const USAGE: &str = "usage:
  regatta-agent attach --root DIR [--store-max BYTES]   join stdin and stdout with the agent of DIR; start it when there is none
  regatta-agent serve --root DIR [--store-max BYTES]    be the agent of DIR
  regatta-agent generate                                generate one load, as the lab asks on stdin
  regatta-agent version                                 say what this program is";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Verb {
    Attach(Options),
    Serve(Options),
    Generate,
    Version,
}

/// Reads the command line and does what it asks for.
pub(crate) fn main() -> ExitCode {
    let verb = match parse(std::env::args_os().skip(1)) {
        Ok(verb) => verb,
        Err(message) => {
            eprintln!("{message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let result = match verb {
        Verb::Attach(options) => Root::open(&options.root).and_then(|root| attach::attach(&root, &options)),
        Verb::Serve(options) => Root::open(&options.root).and_then(|root| serve::serve(root, &options)),
        Verb::Generate => generate::generate(),
        Verb::Version => version(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("regatta-agent: {error}");
            ExitCode::FAILURE
        }
    }
}

fn version() -> io::Result<()> {
    let (version, target) = (env!("CARGO_PKG_VERSION"), env!("REGATTA_TARGET"));
    println!("regatta-agent {version} {target} {}", crate::facts::own_digest()?);
    Ok(())
}

fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Verb, String> {
    let mut arguments = arguments;
    let verb = arguments.next().unwrap_or_default();
    let (mut root, mut store_bytes_max) = (None, STORE_BYTES_MAX);
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| format!("{} needs a value", name.display()))?;
        match name.to_str() {
            Some("--root") => root = Some(PathBuf::from(value)),
            Some("--store-max") => {
                let number = value.to_str().and_then(|text| text.parse().ok());
                store_bytes_max = number.ok_or_else(|| format!("--store-max {}: not a number", value.display()))?;
            }
            _ => return Err(format!("unknown option {}", name.display())),
        }
    }
    let options = || {
        let root = root.clone().filter(|root| !root.as_os_str().is_empty());
        root.map(|root| Options { root, store_bytes_max })
            .ok_or_else(|| "--root DIR is missing".to_owned())
    };
    match verb.to_str() {
        Some("attach") => options().map(Verb::Attach),
        Some("serve") => options().map(Verb::Serve),
        Some("generate") => Ok(Verb::Generate),
        Some("version" | "--version" | "-V") => Ok(Verb::Version),
        _ => Err(format!("unknown verb `{}`", verb.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Verb, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn verbs_and_options_are_read() {
        let options = |store_bytes_max| Options {
            root: "x/y".into(),
            store_bytes_max,
        };
        assert_eq!(words("attach --root x/y"), Ok(Verb::Attach(options(STORE_BYTES_MAX))));
        assert_eq!(words("serve --store-max 7 --root x/y"), Ok(Verb::Serve(options(7))));
        assert_eq!(words("version"), Ok(Verb::Version));
        assert_eq!(words("generate"), Ok(Verb::Generate));
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for (line, said) in [
            ("", "unknown verb"),
            ("serve", "--root"),
            ("serve --root", "needs a value"),
            ("serve --port 7", "unknown option"),
            ("serve --root x --store-max much", "not a number"),
            ("fly --root x", "unknown verb"),
            ("generate --rate 7", "unknown option"),
        ] {
            assert!(words(line).is_err_and(|error| error.contains(said)), "{line}");
        }
    }
}
