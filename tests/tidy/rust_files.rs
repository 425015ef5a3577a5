//! Rules for every Rust file: opening sentence, length, words, `unwrap`.

use super::{
    finding::{File, Finding},
    source::{comments_of, functions, line_of, production_code, words},
};
use std::collections::BTreeSet;

/// Longest file, in lines.
const FILE_LINES_MAX: usize = 600;
/// Longest function, in lines.
const FUNCTION_LINES_MAX: usize = 100;
/// From this length on a function is named in the output.
const FUNCTION_LINES_LONG: usize = 70;
/// What says that something is unfinished. In halves, so that this file passes its own rule.
const UNFINISHED: [&str; 5] = [
    concat!("to", "do"),
    concat!("fix", "me"),
    concat!("place", "holder"),
    concat!("st", "ub"),
    concat!("tempo", "rary hack"),
];
/// What sleeps. A test that waits by sleeping fails on a slow machine and wastes time on a fast one.
const SLEEPS_IN_TESTS: &str = "thread::sleep";

/// Every file opens with a sentence about itself.
pub fn opening(file: &File) -> Vec<Finding> {
    let first = file.text.lines().next().unwrap_or_default();
    match first.strip_prefix("//! ") {
        Some(sentence) if sentence.len() > 10 => Vec::new(),
        _ => vec![file.finding(1, "does not open with a `//!` sentence")],
    }
}

/// Files and functions have a size that fits into a head.
pub fn size(file: &File) -> Vec<Finding> {
    let lines = file.text.lines().count();
    let long = (lines > FILE_LINES_MAX).then(|| {
        let what = format!("{lines} lines; a file has at most {FILE_LINES_MAX}");
        file.finding(FILE_LINES_MAX, what)
    });
    let functions = functions(&file.text).into_iter();
    let too_long = functions.filter(|f| f.lines > FUNCTION_LINES_MAX).map(|f| {
        let what = format!(
            "`{}` has {} lines; a function has at most {FUNCTION_LINES_MAX}",
            f.name, f.lines
        );
        file.finding(f.line, what)
    });
    long.into_iter().chain(too_long).collect()
}

/// Functions that are long, and not yet too long.
pub fn long_functions(file: &File) -> Vec<Finding> {
    let long = functions(&file.text)
        .into_iter()
        .filter(|f| f.lines > FUNCTION_LINES_LONG);
    long.map(|f| file.finding(f.line, format!("`{}` has {} lines", f.name, f.lines)))
        .collect()
}

/// Nothing is left for later: neither in words nor in macros.
pub fn unfinished(file: &File) -> Vec<Finding> {
    let comments = comments_of(&file.text).to_lowercase();
    let mut found = Vec::new();
    for word in UNFINISHED {
        let places = words(&comments, word);
        found.extend(places.map(|(_, line)| file.finding(line, format!("says `{word}`"))));
    }
    found
}

/// Production code handles what it unwraps. Files of tests are exempt; see [`test_only`].
pub fn unwraps(file: &File) -> Vec<Finding> {
    let code = production_code(&file.text);
    let places = code.match_indices(".unwrap()");
    places
        .map(|(at, _)| file.finding(line_of(&code, at), "`unwrap()` outside tests"))
        .collect()
}

/// Nobody waits by sleeping a thread and hoping; production code that polls says so by its own means.
pub fn sleeps_in_tests(file: &File) -> Vec<Finding> {
    let code = super::source::code_of(&file.text);
    let places = code.match_indices(SLEEPS_IN_TESTS);
    places
        .map(|(at, _)| file.finding(line_of(&code, at), "a test sleeps; wait for a condition"))
        .collect()
}

/// Paths of files that exist only for tests: by their place, or because their parent says so.
pub fn test_only(files: &[File]) -> BTreeSet<String> {
    let by_place = |path: &str| {
        path.starts_with("tests/")
            || path.starts_with("benches/")
            || path.contains("/tests/")
            || path.contains("/benches/")
            || path.ends_with("/tests.rs")
    };
    let mut folders = Vec::new();
    for file in files.iter().filter(|file| file.has_extension("rs")) {
        folders.extend(test_modules(file));
    }
    let by_parent = |path: &str| {
        folders
            .iter()
            .any(|module| path == format!("{module}.rs") || path.starts_with(&format!("{module}/")))
    };
    files
        .iter()
        .map(|file| file.path.clone())
        .filter(|path| by_place(path) || by_parent(path))
        .collect()
}

/// Modules that `file` declares for tests, as paths without their ending.
fn test_modules(file: &File) -> Vec<String> {
    let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    let folder = match name {
        "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
        other => format!("{folder}/{}", other.trim_end_matches(".rs")),
    };
    let mut marked = false;
    let mut modules = Vec::new();
    for line in file.text.lines().map(str::trim) {
        let declared = line.strip_suffix(';').and_then(|line| line.rsplit_once("mod "));
        if let (true, Some((_, module))) = (marked, declared) {
            modules.push(format!("{folder}/{module}"));
        }
        // Other attributes may stand between.
        marked = line == "#[cfg(test)]" || (marked && line.starts_with("#["));
    }
    modules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> File {
        File::new("a/src/b.rs", text)
    }

    #[test]
    fn a_file_without_a_sentence_is_found() {
        assert_eq!(opening(&file("//! What this is for.\nfn a() {}\n")), []);
        for text in ["", "fn a() {}\n", "// What this is for.\n", "//!\n", "//! Short\n"] {
            assert_eq!(opening(&file(text)).len(), 1, "{text}");
        }
    }

    #[test]
    fn a_long_file_and_a_long_function_are_found() {
        let function = |lines: usize| format!("fn f() {{\n{}}}\n", "  a();\n".repeat(lines - 2));
        assert_eq!(size(&file(&function(100))), []);
        assert_eq!(size(&file(&function(101))).len(), 1);
        assert_eq!(long_functions(&file(&function(70))), []);
        assert_eq!(long_functions(&file(&function(71))).len(), 1);
        assert_eq!(size(&file(&"//\n".repeat(600))), []);
        assert_eq!(size(&file(&"//\n".repeat(601))).len(), 1);
    }

    #[test]
    fn unfinished_words_are_found_in_comments_only() {
        for word in UNFINISHED {
            let text = format!("fn a() {{}}\n// {}: later\n", word.to_uppercase());
            assert_eq!(
                unfinished(&file(&text)),
                [file("").finding(2, format!("says `{word}`"))]
            );
            assert_eq!(unfinished(&file(&format!("let a = \"{word}\";"))), []);
        }
        assert_eq!(unfinished(&file("// stubborn")), []);
    }

    #[test]
    fn an_unwrap_is_found_unless_it_is_a_test() {
        let text = "fn a() { b.unwrap() }\n#[cfg(test)]\nmod tests {\n fn c() { d.unwrap() }\n}\n";
        assert_eq!(unwraps(&file(text)), [file("").finding(1, "`unwrap()` outside tests")]);
    }

    #[test]
    fn a_sleeping_test_is_found() {
        assert_eq!(sleeps_in_tests(&file("std::thread::sleep(x);")).len(), 1);
        assert_eq!(sleeps_in_tests(&file("// thread::sleep\nthread::park();")), []);
    }

    #[test]
    fn files_of_tests_are_known_by_place_and_by_parent() {
        let files = [
            File::new("a/src/lib.rs", "mod b;\n#[cfg(test)]\nmod fixture;\n"),
            File::new(
                "a/src/b.rs",
                "#[cfg(test)]\n#[allow(x)]\npub(crate) mod deep;\nmod other;\n",
            ),
            File::new("a/src/b/deep.rs", ""),
            File::new("a/src/b/other.rs", ""),
            File::new("a/src/fixture/part.rs", ""),
            File::new("a/src/c/tests.rs", ""),
            File::new("a/tests/d.rs", ""),
        ];
        let expected = [
            "a/src/b/deep.rs",
            "a/src/c/tests.rs",
            "a/src/fixture/part.rs",
            "a/tests/d.rs",
        ];
        assert_eq!(Vec::from_iter(test_only(&files)), expected);
    }
}
