//! Scaffolding of the load's tests: a specification of a small load, and an in-process node.

#[cfg(test)]
mod books;
pub mod double;
#[cfg(test)]
mod driver;
#[cfg(test)]
mod remote;

use crate::{Endpoint, LoadLimits, LoadSpec, RunClock};
use regatta_plan::{
    PlannedLoad, PlannedPhases,
    scenario::{ArrivalKind, Rate, TransactionKind},
};

/// A load of blobs at a constant rate for so many milliseconds, all in the measure phase, to one target.
pub fn spec(rate: f64, duration_ms: u64) -> LoadSpec {
    LoadSpec {
        load: PlannedLoad {
            index: 0,
            instance: "main".to_owned(),
            arrivals: ArrivalKind::Constant,
            rate: Rate::Constant(rate),
            mix: vec![(TransactionKind::Blob, 1.0)],
            size: 512,
            targets: vec![0],
            senders: 4,
            timeout_ms: 30_000,
            duration_ms,
            expected: 0,
            host: None,
        },
        phases: PlannedPhases {
            warmup_ms: 0,
            measure_ms: duration_ms,
            cooldown_ms: 0,
            drain_ms: 1000,
        },
        chain: "test".parse().unwrap(),
        instance: "main".parse().unwrap(),
        seed: 7,
        salt: String::new(),
        targets: vec![endpoint(0)],
        resolvers: Vec::new(),
        clock: RunClock::start(),
        limits: LoadLimits {
            real_time: false,
            ..LoadLimits::default()
        },
    }
}

/// An endpoint that nobody listens on.
pub fn endpoint(node: u32) -> Endpoint {
    Endpoint {
        node,
        name: format!("full-{node}"),
        http: "127.0.0.1:9".parse().unwrap(),
    }
}
