//! Waiting for conditions: look, pause, look again, and say in the end what was seen instead.

use std::time::{Duration, Instant};

/// How long anything may take. Far beyond what it takes on a busy machine: reaching it means that it never happens.
pub const DEADLINE: Duration = Duration::from_secs(180);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks until `look` gives a value; an error says what is seen instead.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match look() {
            Ok(value) => return value,
            Err(seen) if began.elapsed() > DEADLINE => {
                panic!("waited {} s for: {what}\nlast seen: {seen}", DEADLINE.as_secs())
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// Looks until `holds` is true.
pub fn until_true(what: &str, mut holds: impl FnMut() -> bool) {
    until(what, || if holds() { Ok(()) } else { Err("not yet".to_owned()) });
}
