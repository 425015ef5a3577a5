//! Loopback addresses of a test's own, so that tests and runs of tests stand side by side.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicU8, Ordering},
};

/// First second octet; the lab by itself and other tests stay below it.
const FIRST_OCTET: u8 = 224;
/// Second octets that are used, one by each test process.
const OCTETS: u32 = 30;

static TAKEN: AtomicU8 = AtomicU8::new(1);

/// 256 loopback addresses.
#[derive(Debug, Clone, Copy)]
pub struct Subnet {
    second: u8,
    third: u8,
}

impl Subnet {
    /// One that no other test of this process has.
    pub fn take() -> Self {
        Self {
            second: FIRST_OCTET + (std::process::id() % OCTETS) as u8,
            third: TAKEN.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// The address of node `index`, as the lab gives them out.
    pub fn address(self, index: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.second, self.third, index + 1)
    }

    /// As a scenario writes it.
    pub fn text(self) -> String {
        format!("127.{}.{}.0/24", self.second, self.third)
    }
}
