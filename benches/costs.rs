//! Measures what the steps of a node cost, by kind of event: the source of the simulator's table of costs.
//!
//! Whole nodes run in a simulated network while each of their steps is timed. A least-squares fit over all steps of a
//! kind tells the fixed part from that for each byte of the frame, each step of consensus (which signs) and each
//! executed transaction. Signatures are timed by themselves.
//!
//! With `--write` the rows that this measures go into the simulator's table, and the others stay as they are.

#![allow(clippy::print_stdout, reason = "this program prints a table")]

use regatta_base::{Keyring, keyring::Claim, seed};
use regatta_benches::{samples, simulation};
use regatta_core::{Output, Protocol, Record};
use regatta_sim::{Costs, Handling, MEASURED, Probe};
use std::{cell::RefCell, collections::BTreeMap, fmt::Write, hint::black_box, path::Path, rc::Rc, time::Instant};

/// The simulator's table, from this crate's folder.
const TABLE: &str = "../orchestrator/pure/sim/src/costs/measured.rs";
/// The line of that file with which the table begins.
const BEGINNING: &str = "pub const MEASURED: Costs = ";
/// Steps of a kind that its fit needs.
const STEPS_MIN: u64 = 50;
/// What a step is explained by: 1, bytes, steps of consensus, executed transactions.
const FACTORS: usize = 4;
/// Sizes of network whose fits make the table. Of forty validators certificates grow with the committee, which no factor
/// tells apart: their part would go to steps and transactions, and make both several times as dear.
const FITTED: [usize; 2] = [4, 10];
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

    /// The steps of both.
    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.total_ns += other.total_ns;
        for row in 0..FACTORS {
            self.products[row] += other.products[row];
            for column in 0..FACTORS {
                self.squares[row][column] += other.squares[row][column];
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

/// Prints what steps cost in networks of several sizes, and gives back the fits over those of [`FITTED`].
fn steps() -> BTreeMap<String, Fit> {
    println!("| step | nodes | count | mean ns | fixed ns | ns a byte | ns a step of consensus | ns a transaction |");
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    let mut all: BTreeMap<String, Fit> = BTreeMap::new();
    for size in [4, 10, 40] {
        let fits = Fits::default();
        let timer = Timer {
            fits: Rc::clone(&fits),
            began: Instant::now(),
        };
        let transactions = samples::opaque(2000, 64);
        let outcome = simulation::simulate(size, &transactions, MEASURED, Some(Box::new(timer)));
        assert!(outcome.height > 10, "{outcome:?}");
        for (name, fit) in fits.borrow().iter().filter(|(_, fit)| fit.count >= STEPS_MIN) {
            let [fixed, byte, step, executed] = fit.solve();
            let (count, mean) = (fit.count, fit.total_ns / fit.count as f64);
            println!("| {name} | {size} | {count} | {mean:.0} | {fixed:.0} | {byte:.2} | {step:.0} | {executed:.0} |");
            if FITTED.contains(&size) {
                all.entry(name.clone()).or_default().merge(fit);
            }
        }
    }
    all
}

/// What signatures cost, in nanoseconds.
struct Signatures {
    alone: f64,
    /// What a batch costs beside its signatures.
    batch: f64,
    batched: f64,
}

/// Prints what checks of many keys cost together, as nodes check them: with the keys known.
fn signatures() -> Signatures {
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
    let (mut keyring, mut rng) = (Keyring::default(), seed::rng(1, "bench"));
    let mut each = BTreeMap::new();
    for count in [1, 2, 4, 16, 67, 100] {
        // Many short rounds: the best of them was not interrupted, however busy the machine is.
        let rounds = (0..400).map(|_| {
            let began = Instant::now();
            black_box(keyring.verify_votes(&all[..count], &mut rng));
            began.elapsed().as_nanos() as f64 / count as f64
        });
        let best = rounds.fold(f64::INFINITY, f64::min);
        println!("| {count} | {best:.0} |");
        each.insert(count, best);
    }
    let best = (0..400).map(|_| {
        let began = Instant::now();
        black_box(secrets[0].sign(&message));
        began.elapsed().as_nanos() as f64
    });
    println!("| one signed | {:.0} |", best.fold(f64::INFINITY, f64::min));
    let together = |count: usize| each[&count] * count as f64;
    let batched = (together(100) - together(4)) / 96.0;
    Signatures {
        alone: each[&1],
        batch: (together(4) - 4.0 * batched).max(0.0),
        batched,
    }
}

/// The table with every row that was measured; the others stay.
fn table(fits: &BTreeMap<String, Fit>, signatures: &Signatures) -> Costs {
    let mut costs = MEASURED;
    costs.signature_ns = signatures.alone as u64;
    costs.signature_batch_ns = signatures.batch as u64;
    costs.signature_batched_ns = signatures.batched as u64;
    let fit = |name: &str| {
        let fit = fits.get(name).filter(|fit| fit.count >= STEPS_MIN);
        // A part that chance makes negative costs nothing.
        fit.map(|fit| fit.solve().map(|part| part.max(0.0)))
    };
    if let Some([fixed, byte, step, _]) = fit("frame of consensus") {
        (costs.consensus_ns, costs.consensus_byte_ps) = (fixed as u64, (byte * 1e3) as u64);
        costs.step_ns = step as u64;
    }
    if let Some([fixed, byte, ..]) = fit("frame of payload") {
        (costs.frame_ns, costs.frame_byte_ps) = (fixed as u64, (byte * 1e3) as u64);
    }
    if let Some([fixed, _, step, executed]) = fit("job done") {
        (costs.done_ns, costs.execute_ns) = (fixed as u64, executed as u64);
        // Most steps follow from signatures that were checked.
        costs.step_ns = step as u64;
    }
    if let Some([fixed, ..]) = fit("tick") {
        costs.tick_ns = fixed as u64;
    }
    costs
}

/// The table as source text, digits in groups of three.
fn source(costs: &Costs) -> String {
    let mut text = String::new();
    for part in format!("{costs:#?}").split_inclusive(|c: char| !c.is_ascii_digit()) {
        let digits = part.trim_end_matches(|c: char| !c.is_ascii_digit());
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                text.push('_');
            }
            text.push(digit);
        }
        text += &part[digits.len()..];
    }
    text
}

/// Puts the table into its file.
fn write(costs: &Costs) -> std::io::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(TABLE);
    let before = std::fs::read_to_string(&path)?;
    let head = before.split(BEGINNING).next().unwrap_or_default();
    let mut text = String::new();
    let _ = writeln!(text, "{head}{BEGINNING}{};", source(costs));
    std::fs::write(&path, text)?;
    println!("\nwritten: {}", path.display());
    Ok(())
}

fn main() -> std::io::Result<()> {
    let fits = steps();
    let costs = table(&fits, &signatures());
    println!("\n{}", source(&costs));
    if std::env::args().any(|argument| argument == "--write") {
        write(&costs)?;
    }
    Ok(())
}
