//! Budgets of what is counted, and benchmarks of what is timed.
