//! How long each step took by which a host was reached: what to look at where reaching a fleet takes long.

use regatta_report::format;
use std::time::{Duration, Instant};

/// The steps of one host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    /// The connection and the login, without waiting for a turn.
    pub(crate) login: Duration,
    /// Until the shell of the user said its first word: its start-up files are read in this time.
    pub(crate) shell: Duration,
    /// Until the agent's program was there; nothing where it was there already.
    pub(crate) upload: Duration,
    /// Until the agent had answered, which may have had to start first.
    pub(crate) greeting: Duration,
}

impl Reach {
    fn steps(self) -> [Duration; 4] {
        [self.login, self.shell, self.upload, self.greeting]
    }
}

/// Takes the time between steps.
#[derive(Debug)]
pub(super) struct Watch(Instant);

impl Watch {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the last step.
    pub(super) fn step(&mut self) -> Duration {
        let now = Instant::now();
        now.duration_since(std::mem::replace(&mut self.0, now))
    }
}

/// The median of each step and the slowest host, in words; nothing for no host.
pub(crate) fn in_words<'a>(hosts: impl Iterator<Item = (&'a str, Reach)>) -> Option<String> {
    let hosts: Vec<(&str, Reach)> = hosts.collect();
    let whole = |reach: &Reach| reach.steps().iter().sum::<Duration>();
    let (slowest, reach) = hosts.iter().max_by_key(|(_, reach)| whole(reach))?;
    let shown = |time: Duration| format::duration_us(time.as_secs_f64() * 1e6);
    let steps = ["login", "shell", "agent sent", "greeting"].iter().enumerate();
    let medians = steps.map(|(step, name)| {
        let mut times: Vec<Duration> = hosts.iter().map(|(_, reach)| reach.steps()[step]).collect();
        times.sort_unstable();
        format!("{name} {}", shown(times[(times.len() - 1) / 2]))
    });
    let medians = medians.collect::<Vec<_>>().join(", ");
    Some(format!("{medians} (medians); `{slowest}` took {}", shown(whole(reach))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_each_step_and_the_slowest_host_are_named() {
        let reach = |login, shell| Reach {
            login: Duration::from_millis(login),
            shell: Duration::from_millis(shell),
            ..Reach::default()
        };
        let hosts = [("a", reach(30, 5)), ("b", reach(10, 400)), ("c", reach(20, 7))];
        let words = in_words(hosts.into_iter()).unwrap();
        assert!(words.starts_with("login 20"), "{words}");
        assert!(words.contains("shell 7") && words.contains("`b` took 410"), "{words}");
        assert_eq!(in_words(std::iter::empty()), None);
    }

    #[test]
    fn steps_follow_each_other_without_gaps() {
        let began = Instant::now();
        let mut watch = Watch::start();
        let steps = watch.step() + watch.step();
        assert!(steps <= began.elapsed());
    }
}
