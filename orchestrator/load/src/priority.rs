//! Makes a thread of the generator punctual: exact timers, and real-time priority where the system allows it.

use nix::{sys::prctl::set_timerslack, unistd::gettid};
use regatta_report::model::NamedText;
use std::process::Command;

/// Timer slack in nanoseconds: the kernel may not delay the thread's timers to batch wake-ups.
const SLACK_NS: u64 = 1;
/// Real-time priority: the lowest there is, above everything that has none.
const PRIORITY: &str = "1";

/// Settles the calling thread, called `name`, and says what it got.
///
/// Neither is needed for a right measurement: without them the lag is larger, and the lag is measured.
pub fn settle(name: &str, real_time: bool) -> Vec<NamedText> {
    let slack = match set_timerslack(SLACK_NS) {
        Ok(()) => format!("{SLACK_NS} ns"),
        Err(error) => format!("the kernel's default ({error})"),
    };
    let scheduling = match real_time.then(raise) {
        None => "normal priority".to_owned(),
        Some(Ok(())) => format!("real-time, round robin, priority {PRIORITY}"),
        Some(Err(reason)) => format!("normal priority ({reason})"),
    };
    let text = |what: &str, value: String| NamedText {
        name: format!("{name} {what}"),
        value,
    };
    vec![text("timer slack", slack), text("scheduling", scheduling)]
}

/// Asks for real-time priority through the system's own tool: the call itself has no safe interface here.
fn raise() -> Result<(), String> {
    let thread = gettid().to_string();
    let output = Command::new("chrt")
        .args(["--rr", "--pid", PRIORITY, &thread])
        .output()
        .map_err(|error| format!("chrt: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(text.lines().next().unwrap_or("chrt failed").chars().take(80).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_it_got_whether_allowed_or_not() {
        let lines = std::thread::spawn(|| settle("pacer", true)).join().unwrap();
        assert_eq!(lines[0].name, "pacer timer slack");
        assert!(lines[1].value.contains("priority"), "{lines:?}");
        assert_eq!(settle("pacer", false)[1].value, "normal priority");
    }
}
