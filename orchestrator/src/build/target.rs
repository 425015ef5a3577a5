//! Whether this machine can build programs for another one: known before minutes are spent on crates that do not need it.

use super::cargo::{BuildError, output_of};
use std::{
    ffi::{OsStr, OsString},
    path::Path,
};

/// Checks that there is a standard library and a C compiler for `target`, by what the compiler of the workspace at `root`
/// says and the environment of the lab.
///
/// # Errors
/// [`BuildError::NoTarget`] or [`BuildError::NoCompiler`], each with what to install.
pub(super) async fn check(root: &Path, target: &str) -> Result<(), BuildError> {
    let folder = output_of(root, "rustc", &["--print", "target-libdir", "--target", target]).await;
    // A compiler that does not say where its library would be is left to cargo.
    if folder.is_some_and(|folder| !Path::new(&folder).is_dir()) {
        return Err(BuildError::NoTarget(target.to_owned()));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    check_compiler(target, &path, &|name| std::env::var_os(name))
}

/// Crates with C parts are compiled for musl by a compiler of its own: one that is named in the environment, or one of the
/// names that build scripts try.
fn check_compiler(target: &str, path: &OsStr, variable: &dyn Fn(&str) -> Option<OsString>) -> Result<(), BuildError> {
    if !target.ends_with("-musl") {
        return Ok(());
    }
    let own = format!("CC_{target}");
    let chosen = [&own, &own.replace('-', "_"), "TARGET_CC", "CC"];
    if chosen.iter().any(|name| variable(name).is_some()) {
        return Ok(());
    }
    let arch = target.split('-').next().unwrap_or(target);
    let mut names = vec![format!("{arch}-linux-musl-gcc")];
    if arch == "x86_64" {
        names.push("musl-gcc".to_owned());
    }
    let is_there = |name: &String| std::env::split_paths(path).any(|folder| folder.join(name).is_file());
    if names.iter().any(is_there) {
        return Ok(());
    }
    Err(BuildError::NoCompiler {
        target: target.to_owned(),
        tried: names.join("` or `"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::block_on;

    const MUSL: &str = "x86_64-unknown-linux-musl";

    #[test]
    fn a_target_without_a_standard_library_is_named_with_what_to_install() {
        // The compiler knows it; few machines have its library.
        let error = block_on(check(Path::new("."), "mips64-unknown-linux-muslabi64")).unwrap_err();
        assert!(matches!(error, BuildError::NoTarget(_)), "{error}");
        assert!(error.to_string().contains("help: rustup target add mips64"), "{error}");
    }

    #[test]
    fn a_missing_compiler_is_named_with_what_to_install() {
        let folder = tempfile::tempdir().unwrap();
        let none = |_: &str| None;
        let error = check_compiler(MUSL, folder.path().as_os_str(), &none).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("`musl-gcc`") && text.contains("apt-get install musl-tools"),
            "{text}"
        );
        std::fs::write(folder.path().join("musl-gcc"), "").unwrap();
        check_compiler(MUSL, folder.path().as_os_str(), &none).unwrap();
        let other = check_compiler("aarch64-unknown-linux-musl", folder.path().as_os_str(), &none);
        assert!(other.is_err(), "a compiler for another machine is none");
    }

    #[test]
    fn a_compiler_that_the_environment_names_is_taken_and_glibc_needs_none() {
        for name in [
            "CC_x86_64_unknown_linux_musl",
            "CC_x86_64-unknown-linux-musl",
            "TARGET_CC",
            "CC",
        ] {
            let named = |asked: &str| (asked == name).then(|| OsString::from("clang"));
            check_compiler(MUSL, OsStr::new(""), &named).unwrap();
        }
        check_compiler("x86_64-unknown-linux-gnu", OsStr::new(""), &|_| None).unwrap();
    }
}
