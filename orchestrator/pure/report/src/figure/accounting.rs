//! Where every intended transaction ended, as a waterfall.

use super::{
    Figure, Table, WIDE,
    scene::{Anchor, Ink, Scene, text_width},
};
use crate::{format, model::Accounting, result::RunResult};

const ROW: f64 = 26.0;
const BAR: f64 = 14.0;
const LEFT: f64 = 190.0;

/// From everything intended down to what succeeded; each loss hangs where it was taken off.
pub(super) fn waterfall(result: &RunResult) -> Option<Figure> {
    let accounting = &result.record.accounting;
    if accounting.intended == 0 {
        return None;
    }
    let losses = losses(accounting);
    let mut scene = Scene::new(WIDE, (losses.len() + 2) as f64 * ROW + 8.0);
    let unit = (WIDE - LEFT - 190.0) / accounting.intended as f64;
    let mut table = Table::new(&["end", "transactions", "share"]);
    let mut left = accounting.intended;
    let first = ("intended".to_owned(), accounting.intended, Ink::Muted);
    let last = ("final, succeeded".to_owned(), accounting.finalised_ok, Ink::Good);
    let total = losses.len() + 2;
    for (index, (name, count, ink)) in std::iter::once(first).chain(losses).chain([last]).enumerate() {
        let y = 4.0 + (index as f64 + 0.5) * ROW;
        let is_loss = index > 0 && index + 1 < total;
        if is_loss {
            left = left.saturating_sub(count);
        }
        let from = if is_loss { LEFT + left as f64 * unit } else { LEFT };
        let width = (count as f64 * unit).max(if count > 0 { 1.5 } else { 0.0 });
        scene.label((LEFT - 12.0, y), name.as_str(), Ink::Text, Anchor::End);
        scene.rect(
            (from, y - BAR / 2.0),
            (width, BAR),
            ink,
            if ink == Ink::Muted { 0.45 } else { 0.9 },
        );
        let share = format::percent(count as f64 / accounting.intended as f64);
        let text = format!("{}  ({share})", format::integer(count));
        // The number of a loss stands before its bar, so that the column of totals stays clear.
        if is_loss && from - LEFT > text_width(&text, 12.0) + 20.0 {
            scene.label((from - 8.0, y), text, Ink::Text, Anchor::End);
        } else {
            scene.label((from + width + 8.0, y), text, Ink::Text, Anchor::Start);
        }
        table.row([name, format::integer(count), share]);
    }
    Some(Figure {
        id: "accounting".to_owned(),
        title: "Where every transaction ended".to_owned(),
        description: sentence(result),
        context: String::new(),
        table,
        scene,
    })
}

/// Every end but success that at least one transaction had, in the order of the identity.
fn losses(accounting: &Accounting) -> Vec<(String, u64, Ink)> {
    let mut losses = vec![("not sent".to_owned(), accounting.not_sent, Ink::Bad)];
    let rejected = accounting
        .rejected
        .iter()
        .map(|r| (format!("rejected: {}", r.reason), r.count, Ink::Series(1)));
    losses.extend(rejected);
    losses.push(("timed out".to_owned(), accounting.timed_out, Ink::Bad));
    losses.push(("unknown".to_owned(), accounting.unknown, Ink::Bad));
    losses.push(("final, failed".to_owned(), accounting.finalised_failed, Ink::Series(1)));
    losses.retain(|(_, count, _)| *count > 0);
    losses
}

/// The waterfall in words.
fn sentence(result: &RunResult) -> String {
    let check = &result.summary.accounting;
    let closes = if check.closes {
        "The identity closes: every intended transaction has exactly one end.".to_owned()
    } else {
        format!("The identity does not close: it is off by {}.", check.difference)
    };
    format!(
        "Of {} intended transactions {} became final and {} were lost or refused. {closes}",
        format::integer(result.record.accounting.intended),
        format::integer(check.finalised),
        format::percent(check.lost_share)
    )
}
