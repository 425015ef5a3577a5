//! The files of the workspace, without what is built or run.

use super::finding::File;
use std::{collections::BTreeSet, fs, path::Path};

/// What holds no source.
const SKIPPED: [&str; 3] = [".git", "runs", "target"];
/// Endings of files whose text does not matter.
const BINARY: [&str; 4] = ["png", "gz", "ico", "hlog"];

/// Every file and folder.
#[derive(Debug, Default)]
pub struct Tree {
    pub files: Vec<File>,
    pub folders: BTreeSet<String>,
}

impl Tree {
    pub fn read(root: &Path) -> Self {
        let mut tree = Self::default();
        tree.visit(root, "");
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        tree
    }

    fn visit(&mut self, folder: &Path, prefix: &str) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            let kind = entry.file_type().unwrap();
            // In a second work tree `.git` is a file.
            if SKIPPED.contains(&name.as_str()) {
                continue;
            }
            if kind.is_dir() {
                self.visit(&entry.path(), &format!("{path}/"));
                self.folders.insert(path);
            } else if kind.is_file() {
                let file = File {
                    path,
                    text: String::new(),
                };
                let binary = BINARY.iter().any(|ending| file.has_extension(ending));
                // A file that vanishes meanwhile or is no text has nothing to say.
                let text = if binary {
                    String::new()
                } else {
                    fs::read_to_string(entry.path()).unwrap_or_default()
                };
                self.files.push(File { text, ..file });
            }
        }
    }

    /// A file that must be there.
    pub fn file(&self, path: &str) -> &File {
        let found = self.files.iter().find(|file| file.path == path);
        found.unwrap_or_else(|| panic!("`{path}` is missing"))
    }
}
