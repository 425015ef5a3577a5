//! Measures what the steps of a node cost, by kind of event: the source of the simulator's table of costs.
//!
//! Whole nodes run in a simulated network while each of their steps is timed. A least-squares fit over all steps of a
//! kind tells the fixed part from that for each byte of the frame, each step of consensus (which signs) and each
//! executed transaction. Signatures are timed by themselves.

#![allow(clippy::print_stdout, reason = "this program prints a table")]

use regatta_base::{keys::Claim, seed};
use regatta_benches::{samples, simulation};
use regatta_core::{Output, Protocol, Record};
use regatta_sim::{Handling, MEASURED, Probe};
use std::{cell::RefCell, collections::BTreeMap, hint::black_box, rc::Rc, time::Instant};

/// What a step is explained by: 1, bytes, steps of consensus, executed transactions.
const FACTORS: usize = 4;
/// A step that takes longer was interrupted by the system.
const INTERRUPTED_NS: f64 = 2e6;
/// Names of the kinds of event, by their numbers in the trace.
const KINDS: [&str; 11] = [
    "start",
    "peer up",
    "peer down",
    "frame",
    "submit",
    "job done",
    "durable",
    "disk full",
    "loaded",
    "tick",
    "snapshot",
];

/// Sums of one kind of step.
#[derive(Debug, Default, Clone)]
struct Fit {
    count: u64,
    total_ns: f64,
    squares: [[f64; FACTORS]; FACTORS],
    products: [f64; FACTORS],
}

impl Fit {
    fn add(&mut self, factors: [f64; FACTORS], took_ns: f64) {
        self.count += 1;
        self.total_ns += took_ns;
        for (row, factor) in factors.iter().enumerate() {
            self.products[row] += factor * took_ns;
            for (column, other) in factors.iter().enumerate() {
                self.squares[row][column] += factor * other;
            }
        }
    }

    /// The coefficients; 0 for what never varied.
    fn solve(&self) -> [f64; FACTORS] {
        let (mut squares, mut products) = (self.squares, self.products);
        for pivot in 0..FACTORS {
            // A little on the diagonal keeps factors that never occur at 0.
            squares[pivot][pivot] += 1e-6 + squares[pivot][pivot] * 1e-9;
            for row in pivot + 1..FACTORS {
                let share = squares[row][pivot] / squares[pivot][pivot];
                let above = squares[pivot];
                for (value, other) in squares[row].iter_mut().zip(above).skip(pivot) {
                    *value -= share * other;
                }
                products[row] -= share * products[pivot];
            }
        }
        let mut found = [0.0; FACTORS];
        for row in (0..FACTORS).rev() {
            let known: f64 = (row + 1..FACTORS)
                .map(|column| squares[row][column] * found[column])
                .sum();
            found[row] = (products[row] - known) / squares[row][row];
        }
        found
    }
}

/// Fits by name of the step.
type Fits = Rc<RefCell<BTreeMap<String, Fit>>>;

#[derive(Debug)]
struct Timer {
    fits: Fits,
    began: Instant,
}

impl Probe for Timer {
    fn begins(&mut self) {
        self.began = Instant::now();
    }

    fn ends(&mut self, handling: &Handling<'_>) {
        let took_ns = self.began.elapsed().as_nanos() as f64;
        if took_ns > INTERRUPTED_NS {
            return;
        }
        let steps = handling
            .outputs
            .iter()
            .filter(|output| matches!(output, Output::Append(_, Record::Consensus { .. })));
        let executed = handling.outputs.iter().map(|output| match output {
            Output::Block { summary, .. } => summary.transactions,
            _ => 0,
        });
        let factors = [
            1.0,
            handling.length as f64,
            steps.count() as f64,
            f64::from(executed.sum::<u32>()),
        ];
        let mut name = KINDS[usize::from(handling.kind)].to_owned();
        if let Some(protocol) = handling.protocol {
            name += match protocol {
                Protocol::Consensus => " of consensus",
                Protocol::Payload => " of payload",
                Protocol::Sync => " of catch-up",
                Protocol::Link => " of the link",
            };
        }
        self.fits.borrow_mut().entry(name).or_default().add(factors, took_ns);
    }
}

fn steps() {
    println!("| step | nodes | count | mean ns | fixed ns | ns a byte | ns a step of consensus | ns a transaction |");
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for size in [4, 10, 40] {
        let fits = Fits::default();
        let timer = Timer {
            fits: Rc::clone(&fits),
            began: Instant::now(),
        };
        let transactions = samples::opaque(2000, 64);
        let outcome = simulation::simulate(size, &transactions, MEASURED, Some(Box::new(timer)));
        assert!(outcome.height > 10, "{outcome:?}");
        for (name, fit) in fits.borrow().iter().filter(|(_, fit)| fit.count >= 50) {
            let [fixed, byte, step, executed] = fit.solve();
            let (count, mean) = (fit.count, fit.total_ns / fit.count as f64);
            println!("| {name} | {size} | {count} | {mean:.0} | {fixed:.0} | {byte:.2} | {step:.0} | {executed:.0} |");
        }
    }
}

fn signatures() {
    println!("\n| signatures together | ns each |");
    println!("|---:|---:|");
    let secrets: Vec<_> = (0..100).map(|index| samples::key("validator", index)).collect();
    let message = [7; 120];
    let all: Vec<Claim<'_>> = secrets
        .iter()
        .map(|secret| Claim {
            key: secret.public(),
            message: &message,
            signature: secret.sign(&message),
        })
        .collect();
    let mut rng = seed::rng(1, "bench");
    for count in [1, 2, 4, 16, 67, 100] {
        // Many short rounds: the best of them was not interrupted, however busy the machine is.
        let best = (0..400).map(|_| {
            let began = Instant::now();
            black_box(regatta_base::keys::verify_each(&all[..count], &mut rng));
            began.elapsed().as_nanos() as f64 / count as f64
        });
        println!("| {count} | {:.0} |", best.fold(f64::INFINITY, f64::min));
    }
    let best = (0..400).map(|_| {
        let began = Instant::now();
        black_box(secrets[0].sign(&message));
        began.elapsed().as_nanos() as f64
    });
    println!("| one signed | {:.0} |", best.fold(f64::INFINITY, f64::min));
}

fn main() {
    steps();
    signatures();
}
