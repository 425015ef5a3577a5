//! Times the kernels that a node spends its time in: checking transactions, building and checking batches, execution.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use regatta_apps::{CheckedBatch, NamedBatch, State, View, check_transactions, transaction_id, transaction_ids};
use regatta_base::{Keyring, SecretKey, keyring::Claim, seed};
use regatta_benches::samples;
use std::hint::black_box;

/// Transactions that arrive together.
const COUNTS: [usize; 3] = [64, 512, 2048];

fn transactions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("check transactions");
    let domain = samples::domain();
    for count in COUNTS {
        for (name, senders) in [("1 sender", 1), ("64 senders", 64), ("all distinct", count)] {
            let transactions = samples::opaque(count, senders);
            let name = BenchmarkId::new(name, count);
            group.throughput(Throughput::Elements(count as u64));
            group.bench_with_input(name, &transactions, |bencher, transactions| {
                let (mut keys, mut rng) = (Keyring::default(), seed::rng(1, "bench"));
                bencher.iter_batched(
                    || transactions.clone(),
                    |transactions| check_transactions(&domain, transactions, &mut keys, &mut rng),
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

fn ids(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ids");
    let domain = samples::domain();
    for (name, transactions) in [("opaque", samples::opaque(512, 64)), ("put", samples::put(512, 64))] {
        let slices: Vec<&[u8]> = transactions.iter().map(|bytes| &bytes[..]).collect();
        group.throughput(Throughput::Elements(slices.len() as u64));
        group.bench_function(BenchmarkId::new("side by side", name), |bencher| {
            bencher.iter(|| transaction_ids(&domain, black_box(&slices)));
        });
        group.bench_function(BenchmarkId::new("one by one", name), |bencher| {
            let one = |bytes: &&[u8]| transaction_id(&domain, black_box(bytes));
            bencher.iter(|| slices.iter().map(one).collect::<Vec<_>>());
        });
    }
    group.finish();
}

fn batches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch");
    let (domain, author) = (samples::domain(), samples::key("validator", 0));
    for count in COUNTS {
        let checked = samples::checked(samples::opaque(count, 64));
        let batch = CheckedBatch::build(&domain, 0, &checked, &author);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new("build", count), |bencher| {
            bencher.iter(|| CheckedBatch::build(&domain, 0, black_box(&checked), &author));
        });
        for (name, signatures) in [("check as validator", true), ("check as follower", false)] {
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                let (mut keys, mut rng) = (Keyring::default(), seed::rng(1, "bench"));
                bencher.iter(|| {
                    let batch = NamedBatch::new(&domain, batch.bytes.clone()).expect("long enough");
                    CheckedBatch::check(&domain, batch, signatures, &mut keys, &mut rng)
                });
            });
        }
    }
    group.finish();
}

fn execution(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("execute and root");
    for count in COUNTS {
        for (name, transactions) in [("opaque", samples::opaque(count, 64)), ("put", samples::put(count, 64))] {
            let views: Vec<View<'_>> = transactions.iter().flat_map(|bytes| View::parse(bytes)).collect();
            group.throughput(Throughput::Elements(count as u64));
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter_batched_ref(
                    State::default,
                    |state| {
                        for view in &views {
                            black_box(state.execute(view));
                        }
                        state.root()
                    },
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

/// Votes that a quorum of a small set waits for, with the points of the keys known and with their multiples as well.
fn votes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("check votes");
    for count in [2, 3, 6, 10] {
        let secrets: Vec<SecretKey> = (0..count).map(|number| SecretKey::from_seed([number; 32])).collect();
        let claims: Vec<Claim<'_>> = secrets
            .iter()
            .map(|secret| Claim {
                key: secret.public(),
                message: &[7; 120],
                signature: secret.sign(&[7; 120]),
            })
            .collect();
        group.throughput(Throughput::Elements(count.into()));
        let (mut keys, mut rng) = (Keyring::default(), seed::rng(1, "bench"));
        group.bench_function(BenchmarkId::new("points", count), |bencher| {
            bencher.iter(|| keys.verify_each(black_box(&claims), &mut rng));
        });
        group.bench_function(BenchmarkId::new("multiples", count), |bencher| {
            bencher.iter(|| keys.verify_votes(black_box(&claims), &mut rng));
        });
    }
    group.finish();
}

criterion_group!(kernels, votes, transactions, ids, batches, execution);
criterion_main!(kernels);
