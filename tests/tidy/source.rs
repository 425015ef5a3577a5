//! Rust source as the rules see it: text without what strings and comments say, functions with their extent.

/// A function and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    /// Line of its `fn`, from 1.
    pub line: usize,
    /// Lines from its `fn` to its closing brace.
    pub lines: usize,
}

/// What the scanner is inside of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Code,
    Line,
    Block(usize),
    Text,
    Raw(usize),
}

/// The source with everything inside comments, strings and characters replaced by blanks; line breaks stay.
pub fn code_of(source: &str) -> String {
    split(source).0
}

/// The source with everything but comments replaced by blanks; line breaks stay.
pub fn comments_of(source: &str) -> String {
    split(source).1
}

fn split(source: &str) -> (String, String) {
    let bytes = source.as_bytes();
    let mut code = vec![b' '; bytes.len()];
    let mut comments = code.clone();
    let (mut at, mut inside) = (0, Inside::Code);
    while at < bytes.len() {
        let rest = &bytes[at..];
        let (next, length) = step(inside, rest, at.checked_sub(1).map(|before| bytes[before]));
        let here = at..at + length;
        match (inside, next) {
            (Inside::Code, Inside::Code) if rest[0] != b'\'' || length == 1 => {
                code[here.clone()].copy_from_slice(&bytes[here]);
            }
            (Inside::Line | Inside::Block(_), _) | (_, Inside::Line | Inside::Block(_)) => {
                comments[here.clone()].copy_from_slice(&bytes[here]);
            }
            _ => {}
        }
        at += length;
        inside = next;
    }
    for (index, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        (code[index], comments[index]) = (b'\n', b'\n');
    }
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (text(&code), text(&comments))
}

/// What the next bytes are: the state after them and how many they are.
fn step(inside: Inside, rest: &[u8], before: Option<u8>) -> (Inside, usize) {
    match inside {
        Inside::Code => step_code(rest, before),
        Inside::Line if rest[0] == b'\n' => (Inside::Code, 1),
        Inside::Block(depth) if rest.starts_with(b"/*") => (Inside::Block(depth + 1), 2),
        Inside::Block(1) if rest.starts_with(b"*/") => (Inside::Code, 2),
        Inside::Block(depth) if rest.starts_with(b"*/") => (Inside::Block(depth - 1), 2),
        Inside::Text if rest[0] == b'\\' => (Inside::Text, 2.min(rest.len())),
        Inside::Text if rest[0] == b'"' => (Inside::Code, 1),
        Inside::Raw(hashes) if rest[0] == b'"' && hashes_after(&rest[1..]) >= hashes => (Inside::Code, 1 + hashes),
        other => (other, 1),
    }
}

fn step_code(rest: &[u8], before: Option<u8>) -> (Inside, usize) {
    let in_word = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match rest[0] {
        b'/' if rest.starts_with(b"//") => (Inside::Line, 2),
        b'/' if rest.starts_with(b"/*") => (Inside::Block(1), 2),
        b'"' => (Inside::Text, 1),
        b'r' if !in_word || before == Some(b'b') => match hashes_after(&rest[1..]) {
            hashes if rest.get(1 + hashes) == Some(&b'"') => (Inside::Raw(hashes), 2 + hashes),
            _ => (Inside::Code, 1),
        },
        b'\'' => (Inside::Code, character(rest)),
        _ => (Inside::Code, 1),
    }
}

fn hashes_after(rest: &[u8]) -> usize {
    rest.iter().take_while(|byte| **byte == b'#').count()
}

/// Length of the character literal that begins here; 1 when it is a lifetime.
fn character(rest: &[u8]) -> usize {
    if rest.get(1) == Some(&b'\\') {
        let end = rest.iter().skip(3).position(|byte| *byte == b'\'');
        return end.map_or(1, |end| end + 4);
    }
    // One character has at most four bytes in UTF-8.
    let text = String::from_utf8_lossy(&rest[1..rest.len().min(6)]).into_owned();
    let first = text.chars().next().map_or(0, char::len_utf8);
    if first > 0 && rest.get(1 + first) == Some(&b'\'') {
        2 + first
    } else {
        1
    }
}

/// Every function of the source that has a body.
pub fn functions(source: &str) -> Vec<Function> {
    let code = code_of(source);
    let mut found = Vec::new();
    for (at, _) in words(&code, "fn") {
        let after = &code[at + 2..];
        let name: String = after.trim_start().chars().take_while(|c| is_word(*c)).collect();
        let Some(body) = body(after) else { continue };
        if name.is_empty() {
            continue;
        }
        found.push(Function {
            name,
            line: line_of(&code, at),
            lines: after[..body].matches('\n').count() + 1,
        });
    }
    found
}

/// Offset behind the closing brace of the body; none for a declaration without one.
fn body(after: &str) -> Option<usize> {
    let (mut braces, mut brackets) = (0, 0);
    for (at, c) in after.char_indices() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            '{' => braces += 1,
            '}' if braces == 1 => return Some(at + 1),
            '}' => braces -= 1,
            ';' if braces == 0 && brackets == 0 => return None,
            _ => {}
        }
    }
    None
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Places where `word` stands by itself, with the line of each.
pub fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = (usize, usize)> + 'a {
    text.match_indices(word)
        .filter(move |(at, _)| {
            let before = text[..*at].chars().next_back();
            let after = text[at + word.len()..].chars().next();
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
        .map(|(at, _)| (at, line_of(text, at)))
}

/// Line of an offset, from 1.
pub fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// The code outside blocks marked `#[cfg(test)]`; line breaks stay.
pub fn production_code(source: &str) -> String {
    let code = code_of(source);
    let mut kept = String::new();
    let mut rest = code.as_str();
    while let Some(at) = rest.find("#[cfg(test)]") {
        kept += &rest[..at];
        let after = &rest[at..];
        let end = block_end(after);
        kept.extend(after[..end].chars().filter(|c| *c == '\n'));
        rest = &after[end..];
    }
    kept + rest
}

/// Offset behind the item that begins here: behind its block or its semicolon.
fn block_end(text: &str) -> usize {
    match (text.find(';'), text.find('{')) {
        (Some(semicolon), None) => semicolon + 1,
        (Some(semicolon), Some(brace)) if semicolon < brace => semicolon + 1,
        (_, Some(_)) => body(&text["#[cfg(test)]".len()..]).map_or(text.len(), |end| end + "#[cfg(test)]".len()),
        (None, None) => text.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strings_and_comments_say_is_no_code() {
        let source =
            "let a = \"x.unwrap() \\\" }\"; // y.unwrap()\nlet b = 'c'; /* { /* */ } */ let c: &'a str = r#\"}\"#;";
        let code = code_of(source);
        assert!(!code.contains("unwrap") && !code.contains('}'), "{code}");
        assert!(code.contains("let c: &'a str"), "{code}");
        assert_eq!(code.len(), source.len());
        assert!(comments_of(source).contains("y.unwrap()") && !comments_of(source).contains("x.unwrap()"));
        assert_eq!(code_of("'\\''; '{'; 'ö'; b'}'; x").trim_end().chars().last(), Some('x'));
        assert!(!code_of("'\\''; '{'; b'}'").contains(['{', '}']));
    }

    #[test]
    fn functions_have_their_extent() {
        let source =
            "trait T { fn declared(&self) -> [u8; 3]; }\nfn one() {}\nfn two(f: fn(u8) -> u8) {\n  if x { \"}\" }\n}\n";
        let found = functions(source);
        let shape = |name: &str| found.iter().find(|f| f.name == name).map(|f| (f.line, f.lines));
        assert_eq!(shape("declared"), None);
        assert_eq!(shape("one"), Some((2, 1)));
        assert_eq!(shape("two"), Some((3, 3)));
    }

    #[test]
    fn test_modules_are_left_out() {
        let source =
            "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() { c.unwrap() }\n}\n#[cfg(test)]\nmod other;\nfn d() {}\n";
        let code = production_code(source);
        assert!(!code.contains("unwrap") && !code.contains("other"), "{code}");
        assert!(code.contains("fn a") && code.contains("fn d"), "{code}");
        assert_eq!(code.matches('\n').count(), source.matches('\n').count());
    }
}
