//! Nodes that leave and return on the timeline, beside everything else.

use super::{StepError, steps::Runner};
use crate::cluster::{Cluster, ClusterError, Patience, STOP_GRACE};
use regatta_api::view::InstanceLatest;
use regatta_base::{Height, InstanceId};
use regatta_client::Client;
use regatta_plan::{Plan, PlannedAbsence, scenario::Leave};
use regatta_report::model::{Absence, Churn, Fetched};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Pause between two questions how far it is.
const PAUSE: Duration = Duration::from_millis(20);
/// Short forms of blocks asked for in one request.
const RANGE: usize = 1000;
/// Nodes that are asked how far the network is.
const ASKED: usize = 4;

/// What became of each absence so far, by its position in the plan.
#[derive(Debug, Default)]
pub(super) struct Absences(Mutex<BTreeMap<u32, Absence>>);

impl Absences {
    /// Notes that a node leaves, or that it was not started with the others.
    pub(super) fn left(&self, plan: &Plan, absence: &PlannedAbsence, at_ms: u64) {
        let name = plan.nodes.get(absence.node as usize).map(|node| node.name.clone());
        let how = if absence.is_late_start() {
            "not started".to_owned()
        } else {
            absence.leave.to_string()
        };
        let entry = Absence {
            node: name.unwrap_or_default(),
            left_ms: at_ms,
            how,
            returns: absence.until_ms.is_some(),
            ..Absence::default()
        };
        self.locked().insert(absence.index, entry);
    }

    /// Changes what is known of one absence.
    pub(super) fn note(&self, absence: u32, change: impl FnOnce(&mut Absence)) {
        if let Some(entry) = self.locked().get_mut(&absence) {
            change(entry);
        }
    }

    /// Absences whose node was to return and has not.
    pub(super) fn open(&self) -> Vec<u32> {
        let locked = self.locked();
        let open = locked
            .iter()
            .filter(|(_, entry)| entry.returns && entry.returned_ms.is_none());
        open.map(|(index, _)| *index).collect()
    }

    /// Everything for the report; none where nobody comes and goes.
    pub(super) fn finish(&self, plan: &Plan) -> Option<Churn> {
        let absences = self.locked().values().cloned().collect();
        (!plan.churn.is_none()).then_some(Churn {
            put_off: u64::from(plan.churn.put_off),
            absences,
        })
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, Absence>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Runner {
    pub(super) fn absence(&self, absence: u32) -> Result<PlannedAbsence, StepError> {
        let planned = self.plan.churn.absences.get(absence as usize);
        planned.cloned().ok_or(StepError::OutOfOrder)
    }

    /// Notes who is not there from the beginning.
    pub(super) fn note_late_starts(&self) {
        let late = self
            .plan
            .churn
            .absences
            .iter()
            .filter(|absence| absence.is_late_start());
        late.for_each(|absence| self.absences.left(&self.plan, absence, 0));
    }

    /// Ends a node, beside the timeline: one that takes its time to stop must not move what follows.
    pub(super) async fn leave(&mut self, absence: PlannedAbsence) -> Result<(), StepError> {
        let field = self.field()?;
        // The counters as they are before.
        field.live.sample().await;
        self.absences.left(&self.plan, &absence, field.live.clock.now_ms());
        let cluster = Arc::clone(&field.cluster);
        let leaving = async move {
            match absence.leave {
                Leave::Kill => cluster.end(absence.node, None).await,
                Leave::Stop => cluster.end(absence.node, Some(STOP_GRACE)).await,
            }
        };
        self.moves.push(tokio::spawn(leaving));
        Ok(())
    }

    /// Starts a node, beside the timeline, and measures how long it takes to catch up.
    pub(super) fn come_back(&mut self, absence: &PlannedAbsence) {
        let Some(field) = &self.field else { return };
        let (cluster, clock) = (Arc::clone(&field.cluster), field.live.clock);
        let (absences, index, node) = (Arc::clone(&self.absences), absence.index, absence.node);
        let new = absence.is_late_start();
        self.moves.push(tokio::spawn(async move {
            let target = highest(&cluster, node).await;
            if let Err(error) = cluster.begin(node).await {
                return absences.note(index, |entry| entry.error = Some(error.to_string()));
            }
            let returned = clock.now_ms();
            absences.note(index, |entry| entry.returned_ms = Some(returned));
            match catch_up(&cluster, (node, new), &target).await {
                Ok((behind, fetched)) => absences.note(index, |entry| {
                    entry.caught_up_ms = Some(clock.now_ms());
                    entry.blocks_behind = Some(behind);
                    entry.fetched = Some(fetched);
                }),
                Err(error) => absences.note(index, |entry| entry.error = Some(error)),
            }
        }));
    }
}

/// The heights that the network has, by instance: of the first neighbours of `node` that answer.
async fn highest(cluster: &Cluster, node: u32) -> BTreeMap<InstanceId, Height> {
    let mut heights = BTreeMap::new();
    let mut answers = 0;
    let peers = cluster.plan().peers(node);
    for peer in peers.into_iter().filter(|peer| cluster.is_running(*peer)) {
        let Ok(latest) = cluster.client(peer).latest().await else {
            continue;
        };
        for row in latest.instances {
            let highest: &mut Height = heights.entry(row.instance).or_default();
            *highest = row.height.max(*highest);
        }
        answers += 1;
        if answers == ASKED {
            break;
        }
    }
    heights
}

/// Waits until a node has every block of `target`. Gives back how many it lacked when it first answered, and what it
/// fetched; one that is `new` had nothing before.
async fn catch_up(
    cluster: &Cluster,
    (node, new): (u32, bool),
    target: &BTreeMap<InstanceId, Height>,
) -> Result<(u64, Fetched), String> {
    let (client, mut patience) = (cluster.client(node), Patience::new(Instant::now()));
    let mut lacked = None;
    let mut began: BTreeMap<InstanceId, Height> = BTreeMap::new();
    loop {
        if let Ok(latest) = client.latest().await {
            let lacks = latest.instances.iter().map(|row| {
                let wanted = target.get(&row.instance).copied().unwrap_or(0);
                wanted.saturating_sub(row.height)
            });
            let lacks = lacks.max().unwrap_or(0);
            patience.saw(Instant::now(), latest.instances.iter().map(|row| row.height).sum());
            let first = *lacked.get_or_insert(lacks);
            for row in &latest.instances {
                let had = if new { 0 } else { row.height };
                began.entry(row.instance.clone()).or_insert(had);
            }
            if lacks == 0 {
                let fetched = fetched(&client, &latest.instances, (&began, target)).await;
                return Ok((first, fetched));
            }
        }
        if !cluster.is_running(node) {
            return Err("it ended first".to_owned());
        }
        if let Some(why) = patience.over(Instant::now()) {
            return Err(why);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What a node that has caught up fetched of the heights from those that it `began` with up to `target`.
async fn fetched(
    client: &Client,
    rows: &[InstanceLatest],
    (began, target): (&BTreeMap<InstanceId, Height>, &BTreeMap<InstanceId, Height>),
) -> Fetched {
    let mut fetched = Fetched::default();
    for row in rows {
        let had = began.get(&row.instance).copied().unwrap_or(0);
        let last = target.get(&row.instance).copied().unwrap_or(0);
        let mut next = add_snapshot(&mut fetched, row, had) + 1;
        fetched.blocks += last.saturating_sub(next - 1);
        let client = client.clone().with_instance(row.instance.clone());
        while next <= last {
            let count = usize::try_from(last - next + 1).unwrap_or(RANGE).min(RANGE);
            // It has them, or had a moment ago: what it does not tell any more counts without its bytes.
            let Ok(range) = client.blocks(next, count).await else {
                break;
            };
            let Some(end) = range.blocks.last().map(|block| block.height) else {
                break;
            };
            fetched.block_bytes += range.blocks.iter().map(|block| block.bytes).sum::<u64>();
            next = end + 1;
        }
    }
    fetched
}

/// Adds the snapshot that a node with blocks up to `had` went on from, if it did; returns the height that it then had.
pub(super) fn add_snapshot(fetched: &mut Fetched, row: &InstanceLatest, had: Height) -> Height {
    if row.snapshot_height <= had {
        return had;
    }
    fetched.snapshot_height = Some(fetched.snapshot_height.unwrap_or(0).max(row.snapshot_height));
    fetched.snapshot_bytes += row.snapshot_bytes;
    row.snapshot_height
}

impl Cluster {
    /// Starts a node that does not run; a node of which nothing is on disk yet starts as a new one.
    async fn begin(&self, node: u32) -> Result<(), ClusterError> {
        let _life = self.life(node).await;
        self.spawn(&[node]).await
    }

    /// Ends a node: at once, or by itself within `grace`. One that is being started again is waited for.
    async fn end(&self, node: u32, grace: Option<Duration>) {
        let _life = self.life(node).await;
        self.end_process(node, grace).await;
    }
}
