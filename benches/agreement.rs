//! Times a block: in consensus cores alone, and in whole nodes with real signatures, batches and frames.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use regatta_api::config::VoteTopology;
use regatta_benches::{committee::Committee, network::Network, samples};

fn cores(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide a block, cores alone");
    group.sample_size(10);
    for size in [4, 20, 100] {
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            let mut committee = Committee::new(size);
            bencher.iter(|| committee.decide(false));
        });
    }
    group.finish();
}

fn nodes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("submit, decide and execute, 4 whole nodes");
    group.sample_size(10);
    for count in [1, 100, 1000] {
        let transactions = samples::opaque(count, 64.min(count));
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter_batched(
                || (Network::new(4, None, VoteTopology::Relay), transactions.clone()),
                |(mut network, transactions)| network.execute(transactions),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(agreement, cores, nodes);
criterion_main!(agreement);
