//! A device that stalls under a journal without flushes.

use super::{consensus, open_with, options, wait_durable};
use regatta_api::{metrics::Metric, testing::NodeFaults};

/// Far longer than a write that is slow.
const STALL_US: u64 = 1_000_000;

#[test]
fn whoever_writes_is_held_up_by_a_stalled_device_once_and_no_record_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let (mut journal, meter) = open_with(&options);
    options.trouble.set(&NodeFaults {
        flush_delay_us: STALL_US,
        ..NodeFaults::default()
    });
    for number in 1..=2 {
        journal.append(number, consensus("slow"));
    }
    journal.write();
    assert_eq!(
        journal.state().borrow().durable,
        2,
        "written by who called, who was held up"
    );
    for number in 3..=20 {
        journal.append(number, consensus("later"));
        journal.write();
        assert!(
            journal.state().borrow().durable < 20,
            "the call did not wait for the device"
        );
    }
    wait_durable(&mut journal, 20);
    assert!(meter.get(Metric::JournalWritesSlow) >= 2);
    assert!(meter.get(Metric::JournalWriteLongest) >= STALL_US);
    // The thread stays when the device is quick again.
    options.trouble.set(&NodeFaults::default());
    journal.append(21, consensus("quick"));
    wait_durable(&mut journal, 21);
    journal.close().unwrap();
    let (_, found) = super::open(&options).unwrap();
    assert_eq!(found.len(), 21);
    assert_eq!(found[1], consensus("slow"));
}
