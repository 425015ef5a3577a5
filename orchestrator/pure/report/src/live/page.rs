//! The page that draws a board in a browser: one file, no other source, bound by its own policy.

use super::Setting;
use askama::Template;
use regatta_base::Digest;

#[derive(Template)]
#[template(path = "live.html")]
struct Page<'a> {
    nonce: String,
    setting: &'a Setting,
}

/// The page of a run, and the content security policy to send with it. It asks its own host for `map.json` once and for
/// `live.json` again and again.
///
/// # Errors
/// [`askama::Error`] when the page cannot be filled in.
pub fn page(setting: &Setting) -> Result<(String, String), askama::Error> {
    // Nobody who chose a name in the scenario could know it beforehand: the run's id is part of it.
    let names = [
        setting.run.as_bytes(),
        setting.scenario.as_bytes(),
        setting.question.as_bytes(),
    ];
    let nonce: String = Digest::of("regatta live page nonce v1", &names)
        .to_string()
        .chars()
        .take(32)
        .collect();
    let policy = format!(
        "default-src 'none'; connect-src 'self'; img-src data:; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let text = Page { nonce, setting }.render()?;
    Ok((text, policy))
}
