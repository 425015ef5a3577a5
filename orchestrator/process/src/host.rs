//! What the kernel tells about the machine.

use crate::HostSample;
use procfs::{
    CpuPressure, Current, CurrentSI, IoPressure, KernelStats, LoadAverage, Meminfo, MemoryPressure, PressureRecord,
};

/// CPU time of all cores in ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Ticks {
    total: u64,
    idle: u64,
    steal: u64,
}

/// Takes samples of the host; shares are over the time since the sample before.
#[derive(Debug, Default)]
pub struct HostSampler {
    before: Ticks,
}

impl HostSampler {
    /// Remembers the counters, so that the first sample covers the time from now on.
    #[must_use]
    pub fn new() -> Self {
        Self {
            before: ticks().unwrap_or_default(),
        }
    }

    /// One sample; what the kernel does not tell is 0.
    pub fn sample(&mut self, at_ms: u64) -> HostSample {
        let now = ticks().unwrap_or(self.before);
        let (cpu_share, steal_share) = shares(self.before, now);
        self.before = now;
        let some = |record: PressureRecord| f64::from(record.avg10) / 100.0;
        HostSample {
            at_ms,
            load1: LoadAverage::current().map_or(0.0, |load| f64::from(load.one)),
            cpu_share,
            steal_share,
            pressure_cpu: CpuPressure::current().map_or(0.0, |pressure| some(pressure.some)),
            pressure_memory: MemoryPressure::current().map_or(0.0, |pressure| some(pressure.some)),
            pressure_io: IoPressure::current().map_or(0.0, |pressure| some(pressure.some)),
            memory_available_bytes: Meminfo::current().ok().and_then(|info| info.mem_available).unwrap_or(0),
        }
    }
}

fn ticks() -> Option<Ticks> {
    let time = KernelStats::current().ok()?.total;
    let idle = time.idle + time.iowait.unwrap_or(0);
    let steal = time.steal.unwrap_or(0);
    let busy = time.user + time.nice + time.system + time.irq.unwrap_or(0) + time.softirq.unwrap_or(0);
    Some(Ticks {
        total: idle + steal + busy,
        idle,
        steal,
    })
}

/// Busy and stolen shares between two readings; the kernel's idle counter may step back.
fn shares(before: Ticks, now: Ticks) -> (f64, f64) {
    let total = now.total.saturating_sub(before.total);
    if total == 0 {
        return (0.0, 0.0);
    }
    let share = |now: u64, before: u64| (now.saturating_sub(before) as f64 / total as f64).min(1.0);
    (1.0 - share(now.idle, before.idle), share(now.steal, before.steal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_the_time_between() {
        let before = Ticks {
            total: 100,
            idle: 50,
            steal: 0,
        };
        let now = Ticks {
            total: 200,
            idle: 75,
            steal: 10,
        };
        assert_eq!(shares(before, now), (0.75, 0.1));
        assert_eq!(shares(now, now), (0.0, 0.0));
        assert_eq!(shares(now, before), (0.0, 0.0));
    }

    #[test]
    fn this_host_has_memory_and_a_load() {
        let sample = HostSampler::new().sample(7);
        assert!(sample.memory_available_bytes > 0 && sample.at_ms == 7);
        assert!((0.0..=1.0).contains(&sample.cpu_share));
    }
}
