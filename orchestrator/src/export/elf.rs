//! What a program needs from where it runs, read from its ELF headers: a loader, a version of the C library, symbols.

use std::collections::BTreeSet;

/// Type of the program header that names the loader.
const PT_INTERP: u32 = 3;
/// Type of the section with the names that a program wants from shared libraries.
const SHT_DYNSYM: u32 = 11;
/// Largest number of headers that is looked at.
const HEADERS_MAX: usize = 4096;
/// Most symbols that are looked at.
const SYMBOLS_MAX: usize = 1 << 20;

/// What a program says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Path of the loader; none for a static program.
    pub(crate) loader: Option<String>,
    /// The newest version of glibc that it wants, as `(2, 36)`.
    pub(crate) glibc: Option<(u32, u32)>,
    /// Names that it takes from shared libraries.
    pub(crate) imports: BTreeSet<String>,
}

/// Reads the headers of a 64-bit little-endian ELF program; `None` when `bytes` are no such program.
pub(crate) fn needs(bytes: &[u8]) -> Option<Needs> {
    if bytes.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    Some(Needs {
        loader: loader(bytes)?,
        glibc: glibc(bytes),
        imports: imports(bytes)?,
    })
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let field: [u8; N] = bytes.get(at..at.checked_add(N)?)?.try_into().ok()?;
    Some(field.iter().rev().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)))
}

/// Where each header of a table begins: offset, size and number stand in the file's header.
fn table(bytes: &[u8], offset_at: usize, size_at: usize) -> Option<Vec<usize>> {
    let offset = usize::try_from(number::<8>(bytes, offset_at)?).ok()?;
    let size = number::<2>(bytes, size_at)? as usize;
    let count = (number::<2>(bytes, size_at + 2)? as usize).min(HEADERS_MAX);
    (0..count)
        .map(|index| offset.checked_add(index.checked_mul(size)?))
        .collect()
}

fn slice(bytes: &[u8], offset: u64, size: u64) -> Option<&[u8]> {
    let begin = usize::try_from(offset).ok()?;
    bytes.get(begin..begin.checked_add(usize::try_from(size).ok()?)?)
}

fn loader(bytes: &[u8]) -> Option<Option<String>> {
    for header in table(bytes, 32, 54)? {
        if number::<4>(bytes, header)? == u64::from(PT_INTERP) {
            let path = slice(bytes, number::<8>(bytes, header + 8)?, number::<8>(bytes, header + 32)?)?;
            return Some(Some(String::from_utf8_lossy(path).trim_end_matches('\0').to_owned()));
        }
    }
    Some(None)
}

/// Undefined symbols of the dynamic symbol table.
fn imports(bytes: &[u8]) -> Option<BTreeSet<String>> {
    const ENTRY: usize = 24;
    let sections = table(bytes, 40, 58)?;
    let mut found = BTreeSet::new();
    for &section in &sections {
        if number::<4>(bytes, section + 4)? != u64::from(SHT_DYNSYM) {
            continue;
        }
        let content = |section: usize| {
            slice(
                bytes,
                number::<8>(bytes, section + 24)?,
                number::<8>(bytes, section + 32)?,
            )
        };
        let names = content(*sections.get(number::<4>(bytes, section + 40)? as usize)?)?;
        for symbol in content(section)?.chunks_exact(ENTRY).take(SYMBOLS_MAX) {
            let (name, defined_in) = (number::<4>(symbol, 0)? as usize, number::<2>(symbol, 6)?);
            let name = names.get(name..)?.split(|byte| *byte == 0).next().unwrap_or_default();
            if defined_in == 0 && !name.is_empty() {
                found.insert(String::from_utf8_lossy(name).into_owned());
            }
        }
    }
    Some(found)
}

/// The highest of the version names `GLIBC_2.N` in the file; they stand nowhere else than where versions are asked for.
fn glibc(bytes: &[u8]) -> Option<(u32, u32)> {
    const MARK: &[u8] = b"\0GLIBC_";
    let version = |window: &[u8]| {
        let text = window.split(|byte| *byte == 0).next()?;
        let mut parts = std::str::from_utf8(text).ok()?.split('.').map(str::parse::<u32>);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    };
    let places = bytes
        .windows(MARK.len())
        .enumerate()
        .filter(|(_, window)| *window == MARK);
    places
        .filter_map(|(place, _)| version(bytes.get(place + MARK.len()..)?.get(..16)?))
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_program_of_this_machine_names_its_loader_and_what_it_takes() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let needs = needs(&own).unwrap();
        assert!(
            needs.loader.as_deref().is_some_and(|path| path.contains("ld-linux")),
            "{:?}",
            needs.loader
        );
        assert!(
            needs.glibc.is_some_and(|version| version >= (2, 17)),
            "{:?}",
            needs.glibc
        );
        assert!(needs.imports.contains("malloc"), "{} names", needs.imports.len());
    }

    #[test]
    fn what_is_no_program_says_nothing() {
        for bytes in [&b""[..], b"#!/bin/sh\n", b"\x7fELF\x01\x01", b"\x7fELF\x02\x01"] {
            assert_eq!(needs(bytes), None);
        }
    }

    proptest! {
        #[test]
        fn damaged_headers_never_panic(rest in proptest::collection::vec(any::<u8>(), 0..400), small in any::<bool>()) {
            let mut bytes = b"\x7fELF\x02\x01".to_vec();
            // Small offsets lead into the file more often.
            bytes.extend(rest.iter().map(|byte| if small { byte & 3 } else { *byte }));
            let _ = needs(&bytes);
        }
    }
}
