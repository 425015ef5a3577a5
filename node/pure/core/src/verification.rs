//! One batch of signatures at a time for all instances of a node.
//!
//! Checked together signatures cost half, and it does not matter whose they are: what the instances have waiting goes
//! into one job, and what arrives meanwhile makes the next one. Each instance gets its share of the job: one that is
//! flooded delays another by one job at most.

use crate::job::JobId;

/// Most claims of one job: about 40 ms of work.
pub(crate) const CLAIMS_MAX: usize = 2048;

/// The job that runs, if one does.
#[derive(Debug, Default)]
pub(crate) struct Verification {
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    job: JobId,
    /// Instances with the number of claims of each, in the order of the job.
    parts: Vec<(usize, usize)>,
}

impl Verification {
    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_none()
    }

    pub(crate) fn started(&mut self, job: JobId, parts: Vec<(usize, usize)>) {
        self.running = Some(Running { job, parts });
    }

    /// What the job was made of, if `job` is the one that runs.
    pub(crate) fn finish(&mut self, job: JobId) -> Option<Vec<(usize, usize)>> {
        let running = self.running.take_if(|running| running.job == job)?;
        Some(running.parts)
    }
}

/// How many of each backlog fit into a job of `room`: equal shares, and what one does not need goes to the others.
pub(crate) fn shares(backlogs: &[usize], room: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..backlogs.len()).collect();
    order.sort_by_key(|&place| backlogs[place]);
    let mut shares = vec![0; backlogs.len()];
    let mut left = room;
    for (done, place) in order.into_iter().enumerate() {
        let share = (left / (backlogs.len() - done)).min(backlogs[place]);
        shares[place] = share;
        left -= share;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_one_does_not_need_goes_to_the_others() {
        assert_eq!(shares(&[10, 3, 10_000], 100), [10, 3, 87]);
        assert_eq!(shares(&[1000, 5000, 7], 100), [46, 47, 7]);
        assert_eq!(shares(&[7], 100), [7]);
        assert_eq!(shares(&[], 100), [0; 0]);
    }

    #[test]
    fn a_result_belongs_to_the_job_that_runs() {
        let mut verification = Verification::default();
        verification.started(3, vec![(1, 5)]);
        assert_eq!(verification.finish(2), None);
        assert!(!verification.is_idle());
        assert_eq!(verification.finish(3), Some(vec![(1, 5)]));
        assert!(verification.is_idle());
    }

    proptest! {
        #[test]
        fn a_flood_takes_nothing_of_the_others_share(backlogs in proptest::collection::vec(0usize..5000, 1..8), room in 8usize..3000) {
            let shares = shares(&backlogs, room);
            prop_assert!(shares.iter().sum::<usize>() <= room);
            let fair = room / backlogs.len();
            for (share, backlog) in shares.iter().zip(&backlogs) {
                prop_assert!(*share >= fair.min(*backlog) && share <= backlog);
            }
        }
    }
}
