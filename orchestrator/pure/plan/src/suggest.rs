//! The nearest name: what somebody who mistyped probably meant.

/// Longest text that is compared; beyond it nothing is a slip of the finger.
const LENGTH_MAX: usize = 64;

/// The nearest of `known` to `word`, when near enough to be a slip: at most a third of its letters differ.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LENGTH_MAX {
        return None;
    }
    let budget = (word.chars().count() / 3).clamp(1, 3);
    let distances = known.into_iter().map(|name| (distance(word, name), name));
    distances
        .filter(|(distance, _)| *distance <= budget)
        .min()
        .map(|(_, name)| name)
}

/// "did you mean `x`?" when there is a near name, otherwise the list of all.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    /// Names in a list; more would hide the message.
    const LISTED_MAX: usize = 20;
    let known: Vec<&str> = known.into_iter().collect();
    if let Some(name) = nearest(word, known.iter().copied()) {
        return Some(format!("did you mean `{name}`?"));
    }
    let listed: Vec<String> = known.iter().take(LISTED_MAX).map(|name| format!("`{name}`")).collect();
    let more = if known.len() > LISTED_MAX { ", ..." } else { "" };
    (!listed.is_empty()).then(|| format!("use one of {}{more}", listed.join(", ")))
}

/// Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().take(LENGTH_MAX).collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let substitution = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substitution.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let known = ["count", "role", "regions", "behaviour", "build"];
        assert_eq!(nearest("cuont", known), Some("count"));
        assert_eq!(nearest("behavior", known), Some("behaviour"));
        assert_eq!(nearest("region", known), Some("regions"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(did_you_mean("xyz", ["a", "b"]), Some("use one of `a`, `b`".into()));
        assert_eq!(did_you_mean("x", []), None);
    }

    proptest! {
        #[test]
        fn distance_is_a_symmetric_premetric(a in "[a-c]{0,8}", b in "[a-c]{0,8}") {
            prop_assert_eq!(distance(&a, &b), distance(&b, &a));
            prop_assert_eq!(distance(&a, &b) == 0, a == b);
            prop_assert!(distance(&a, &b) <= a.len().max(b.len()));
        }
    }
}
