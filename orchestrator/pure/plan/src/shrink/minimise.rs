//! Delta debugging: a small part of a list that is still enough.
//!
//! After "Simplifying and isolating failure-inducing input" (Zeller and Hildebrandt, 2002): first each part of the list
//! alone, then everything but one part, in parts that become smaller. What is left is 1-minimal: no single item of it can
//! go. Each answer is asked for once.

use std::collections::BTreeMap;

/// What a test says about a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It still fails in the same way.
    Fails,
    /// It does not, or it fails in another way, or it cannot be.
    Passes,
    /// No more candidates are to be tried.
    Stop,
}

/// The positions, out of `count`, of a part that still fails; all of them when none can go. `test` is never asked about
/// the whole, which fails.
pub async fn minimise(count: usize, mut test: impl AsyncFnMut(&[usize]) -> Answer) -> Vec<usize> {
    let mut kept: Vec<usize> = (0..count).collect();
    let mut asked: BTreeMap<Vec<usize>, bool> = BTreeMap::new();
    let mut parts = 2;
    while !kept.is_empty() {
        let mut found = None;
        for candidate in candidates(&kept, parts) {
            let known = asked.get(&candidate).copied();
            let fails = match known {
                Some(fails) => fails,
                None => match test(&candidate).await {
                    Answer::Stop => return kept,
                    answer => answer == Answer::Fails,
                },
            };
            asked.insert(candidate.clone(), fails);
            if fails {
                found = Some(candidate);
                break;
            }
        }
        match found {
            Some(smaller) => {
                // What is left is looked at in parts of about the size that just went.
                parts = parts.saturating_sub(1).clamp(2, smaller.len().max(2));
                kept = smaller;
            }
            None if parts >= kept.len() => break,
            None => parts = (2 * parts).min(kept.len()),
        }
    }
    kept
}

/// Each part alone, the smallest candidates first, then everything but each part.
fn candidates(kept: &[usize], parts: usize) -> Vec<Vec<usize>> {
    let size = kept.len().div_ceil(parts.max(1)).max(1);
    let chunks: Vec<&[usize]> = kept.chunks(size).collect();
    let alone = chunks.iter().map(|chunk| chunk.to_vec());
    let without = chunks.iter().map(|chunk| {
        let others = kept.iter().filter(|item| !chunk.contains(item));
        others.copied().collect::<Vec<usize>>()
    });
    let smaller = |candidate: &Vec<usize>| candidate.len() < kept.len();
    // With one item, "everything but it" is nothing at all: a candidate like others.
    alone.chain(without).filter(smaller).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shrink::tests::ready;
    use proptest::prelude::*;

    /// Minimises where exactly the supersets of `needed` fail; gives back what is left and the number of questions.
    fn minimised(count: usize, needed: &[usize]) -> (Vec<usize>, usize) {
        let mut questions = 0;
        let kept = ready(minimise(count, async |candidate: &[usize]| {
            questions += 1;
            if needed.iter().all(|item| candidate.contains(item)) {
                Answer::Fails
            } else {
                Answer::Passes
            }
        }));
        (kept, questions)
    }

    #[test]
    fn one_culprit_of_many_is_found_in_a_logarithm_of_questions() {
        let (kept, questions) = minimised(64, &[37]);
        assert_eq!(kept, [37]);
        assert!(questions <= 24, "{questions}");
    }

    #[test]
    fn where_nothing_is_needed_nothing_is_kept() {
        assert_eq!(minimised(20, &[]).0, [0; 0]);
        assert_eq!(minimised(0, &[]), (vec![], 0));
        assert_eq!(minimised(1, &[0]).0, [0]);
    }

    #[test]
    fn a_stop_keeps_what_was_found_so_far() {
        let mut questions = 0;
        let kept = ready(minimise(16, async |candidate: &[usize]| {
            questions += 1;
            match (questions, candidate.contains(&3)) {
                (4.., _) => Answer::Stop,
                (_, true) => Answer::Fails,
                _ => Answer::Passes,
            }
        }));
        assert!(kept.len() < 16 && kept.contains(&3), "{kept:?}");
        assert_eq!(questions, 4);
    }

    proptest! {
        #[test]
        fn exactly_what_is_needed_is_left(count in 1_usize..40, needed in proptest::collection::btree_set(0_usize..40, 0..6)) {
            let needed: Vec<usize> = needed.into_iter().filter(|item| *item < count).collect();
            let (kept, questions) = minimised(count, &needed);
            prop_assert_eq!(&kept, &needed);
            prop_assert!(questions <= count * count + 3 * count + 2, "{} questions", questions);
        }
    }
}
