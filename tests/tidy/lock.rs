//! Rules for the lock file: where code comes from, and what would need more than Rust and a C compiler.

use super::finding::{File, Finding};
use toml::{Table, Value};

/// The one place that foreign code comes from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";
/// Packages that need libraries of the machine, or that were measured and are not to come back.
const BANNED: [(&str, &str); 4] = [
    ("mimalloc", "a node with it has 8 MB private and needs 22 ms to start"),
    ("native-tls", "needs the system's TLS library"),
    ("openssl-sys", "needs the system's OpenSSL"),
    ("protobuf-src", "needs cmake and a C++ compiler"),
];

/// Foreign packages come from the registry with a checksum, and none is banned.
pub fn sources(file: &File) -> Vec<Finding> {
    let table: Table = file.text.parse().unwrap_or_default();
    let packages = table.get("package").and_then(Value::as_array);
    let mut found = Vec::new();
    for package in packages.into_iter().flatten() {
        let text = |key: &str| package.get(key).and_then(Value::as_str).unwrap_or_default();
        let name = text("name");
        let ours = text("source").is_empty() && name.starts_with("regatta");
        if !ours && (text("source") != REGISTRY || text("checksum").len() != 64) {
            found.push(file.finding(1, format!("`{name}` does not come from the registry with a checksum")));
        }
        if let Some((_, reason)) = BANNED.iter().find(|(banned, _)| *banned == name) {
            found.push(file.finding(1, format!("`{name}` is banned: {reason}")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(package: &str) -> File {
        File::new("Cargo.lock", &format!("[[package]]\n{package}\n"))
    }

    #[test]
    fn other_sources_and_banned_packages_are_found() {
        let checksum = "0".repeat(64);
        let from = |name: &str, source: &str| {
            lock(&format!(
                "name = \"{name}\"\nsource = \"{source}\"\nchecksum = \"{checksum}\""
            ))
        };
        assert_eq!(sources(&from("serde", REGISTRY)), []);
        assert_eq!(sources(&lock("name = \"regatta-base\"")), []);
        assert_eq!(sources(&from("serde", "git+https://example.org/serde")).len(), 1);
        assert_eq!(sources(&lock("name = \"serde\"")).len(), 1);
        assert_eq!(
            sources(&lock(&format!("name = \"serde\"\nsource = \"{REGISTRY}\""))).len(),
            1
        );
        for (name, _) in BANNED {
            assert_eq!(sources(&from(name, REGISTRY)).len(), 1, "{name}");
        }
    }
}
