//! The plan as text for people, and as JSON for programs.

use super::{Plan, PlannedFault, PlannedLoad};
use crate::{
    scenario::{Behaviour, Rate},
    units::{Duration, Size},
};
use std::fmt::Write;

/// Nodes and edges that are written out; of more, the first ones and how many there are.
const ROWS_MAX: usize = 24;

impl Plan {
    /// What `regatta plan` prints: nodes with their addresses and peers, the graph, loads, faults, steps, digest.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text);
        text
    }

    /// The plan with its digest and costs as one JSON object.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "digest": self.digest(), "estimate": self.estimate(), "plan": self })
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "plan      {}  seed {}  provider {}",
            self.name, self.seed, self.provider
        )?;
        if !self.question.is_empty() {
            writeln!(out, "question  {}", self.question)?;
        }
        writeln!(out, "digest    {}", self.digest())?;
        self.write_costs(out)?;
        self.write_hosts(out, ROWS_MAX)?;
        self.write_nodes(out)?;
        self.write_processes(out)?;
        self.write_graph(out)?;
        self.write_directions(out)?;
        self.write_instances(out)?;
        for load in &self.loads {
            self.write_load(out, load)?;
        }
        for fault in &self.faults {
            self.write_fault(out, fault)?;
        }
        self.write_churn(out)?;
        for objective in &self.objectives {
            writeln!(out, "objective {} {}", objective.metric, objective.text)?;
        }
        self.write_steps(out)
    }

    fn write_nodes(&self, out: &mut String) -> std::fmt::Result {
        let width = self.nodes.iter().map(|node| node.name.len()).max().unwrap_or(0).max(4);
        writeln!(
            out,
            "\n{:width$}  role       address          p2p    http   peers",
            "node"
        )?;
        for node in self.nodes.iter().take(ROWS_MAX) {
            let (name, role, address) = (&node.name, node.role, node.address.to_string());
            write!(
                out,
                "{name:width$}  {role:9}  {address:15}  {:5}  {:5}  ",
                node.p2p_port, node.http_port
            )?;
            let behaviour = match node.behaviour {
                Behaviour::Honest => String::new(),
                behaviour => format!("  ({behaviour})"),
            };
            writeln!(out, "{}{behaviour}", self.names(&self.peers(node.index)))?;
        }
        match self.nodes.len().saturating_sub(ROWS_MAX) {
            0 => Ok(()),
            more => writeln!(out, "... and {more} more nodes"),
        }
    }

    fn write_processes(&self, out: &mut String) -> std::fmt::Result {
        for process in self.processes.iter().take(ROWS_MAX) {
            let (name, address) = (&process.name, process.address);
            writeln!(
                out,
                "program   {name} at {address}, {}: {}",
                process.start,
                process.command.join(" ")
            )?;
        }
        match self.processes.len().saturating_sub(ROWS_MAX) {
            0 => Ok(()),
            more => writeln!(out, "          ... and {more} more programs of others"),
        }
    }

    /// Directions that are not like their links.
    fn write_directions(&self, out: &mut String) -> std::fmt::Result {
        let real = self.links.iter().flat_map(|links| &links.directions);
        let simulated = self.world.iter().flat_map(|world| &world.directions);
        for direction in real.chain(simulated) {
            let (from, to) = (self.names(&direction.from), self.names(&direction.to));
            writeln!(out, "direction {from} -> {to}: {direction}")?;
        }
        Ok(())
    }

    fn write_graph(&self, out: &mut String) -> std::fmt::Result {
        let graph = &self.graph;
        writeln!(
            out,
            "\ngraph     {} nodes, {} edges, diameter {}, mean path {:.2}, degree {} to {}, mean {:.1}",
            self.nodes.len(),
            self.edges.len(),
            graph.diameter,
            graph.mean_path,
            graph.degree_min,
            graph.degree_max,
            graph.degree_mean,
        )?;
        if !graph.cut_vertices.is_empty() {
            writeln!(out, "          cut vertices: {}", self.names(&graph.cut_vertices))?;
        }
        let name = |node: u32| &self.nodes[node as usize].name;
        let edges: Vec<String> = self
            .edges
            .iter()
            .take(ROWS_MAX)
            .map(|&(a, b)| format!("{} - {}", name(a), name(b)))
            .collect();
        let more = self.edges.len().saturating_sub(ROWS_MAX);
        let more = if more == 0 {
            String::new()
        } else {
            format!(", and {more} more")
        };
        writeln!(out, "edges     {}{more}", edges.join(", "))
    }

    fn write_instances(&self, out: &mut String) -> std::fmt::Result {
        for instance in &self.instances {
            let (count, total) = (instance.validators.len(), instance.total_weight());
            let interval = Duration::from_millis(instance.block_interval_ms);
            let timeout = Duration::from_millis(instance.round_timeout_ms);
            write!(out, "instance  {}: {count} validators, weight {total}, ", instance.id)?;
            if self.instances.len() > 1 {
                write!(out, "{} followers, ", instance.followers.len())?;
            }
            let votes = instance.vote_topology.name();
            let blocks = if instance.empty_blocks {
                "empty blocks too, "
            } else {
                ""
            };
            writeln!(
                out,
                "{blocks}block interval {interval}, round timeout {timeout}, votes {votes}"
            )?;
        }
        Ok(())
    }

    fn write_load(&self, out: &mut String, load: &PlannedLoad) -> std::fmt::Result {
        // Shares of several generators are no round numbers.
        let digits = |rate: f64| (rate * 10.0).round() / 10.0;
        let rate = match load.rate {
            Rate::Constant(rate) => format!("{} tx/s", digits(rate)),
            Rate::Ramp { ramp: (from, to), over } => format!("{} to {} tx/s over {over}", digits(from), digits(to)),
        };
        let mix: Vec<String> = load
            .mix
            .iter()
            .map(|(kind, share)| format!("{:.0}% {kind}", share * 100.0))
            .collect();
        let arrivals = format!("{:?}", load.arrivals).to_lowercase();
        write!(
            out,
            "load      {}: {arrivals} {rate}, {}, {}, ",
            load.index,
            mix.join(" + "),
            Size(u64::from(load.size))
        )?;
        let host = load.host.and_then(|host| self.hosts.get(host as usize));
        let from = host.map_or_else(String::new, |host| format!(" from {}", host.name));
        writeln!(
            out,
            "{} transactions to {} nodes{from}",
            load.expected,
            load.targets.len()
        )
    }

    fn write_fault(&self, out: &mut String, fault: &PlannedFault) -> std::fmt::Result {
        let (at, until) = (
            Duration::from_millis(fault.at_ms),
            Duration::from_millis(fault.until_ms),
        );
        let what = self.describe_fault(fault);
        writeln!(out, "fault     {}: {what} from {at} to {until}", fault.index)
    }

    /// A fault in words: what, to whom, how much.
    #[must_use]
    pub fn describe_fault(&self, fault: &PlannedFault) -> String {
        let name = |place: &u32| self.name_at(*place);
        let list = |nodes: &[u32]| match nodes.len().saturating_sub(ROWS_MAX) {
            0 => nodes.iter().map(name).collect::<Vec<&str>>().join(", "),
            more => {
                let first: Vec<&str> = nodes.iter().take(ROWS_MAX).map(name).collect();
                format!("{} and {more} more", first.join(", "))
            }
        };
        let sides: Vec<String> = fault.sets.iter().map(|side| list(side)).collect();
        let whom = match &fault.leads {
            Some(instance) if fault.nodes.is_empty() => format!("the next leader of `{instance}`"),
            _ if sides.is_empty() => list(&fault.nodes),
            _ => sides.join(if fault.one_way { " -> " } else { " | " }),
        };
        let to = fault.build.as_ref().map(|build| format!(" to `{build}`"));
        format!("{} {whom}{}{}", fault.kind, fault.extent, to.unwrap_or_default())
    }

    fn write_churn(&self, out: &mut String) -> std::fmt::Result {
        let churn = &self.churn;
        for absence in churn.absences.iter().take(ROWS_MAX) {
            let name = self.names(&[absence.node]);
            let (at, left) = (Duration::from_millis(absence.at_ms), absence.leave);
            match (absence.is_late_start(), absence.until_ms.map(Duration::from_millis)) {
                (true, Some(until)) => writeln!(out, "churn     {}: {name} starts at {until}", absence.index)?,
                (true, None) => writeln!(out, "churn     {}: {name} does not start", absence.index)?,
                (false, Some(until)) => {
                    writeln!(
                        out,
                        "churn     {}: {name} is {left} at {at} and returns at {until}",
                        absence.index
                    )?;
                }
                (false, None) => writeln!(out, "churn     {}: {name} is {left} at {at} for good", absence.index)?,
            }
        }
        match churn.absences.len().saturating_sub(ROWS_MAX) {
            0 => {}
            more => writeln!(out, "          ... and {more} more absences")?,
        }
        match churn.put_off {
            0 => Ok(()),
            count => writeln!(
                out,
                "          {count} departures put off, for the quorum or for faults"
            ),
        }
    }

    fn write_steps(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "\nstep  at       limit    what")?;
        for step in &self.steps {
            let at = step
                .at_ms
                .map_or_else(|| "-".to_owned(), |at| Duration::from_millis(at).to_string());
            let limit = Duration::from_millis(step.deadline_ms);
            writeln!(out, "{:4}  {at:7}  {limit:7}  {}", step.id, step.step)?;
        }
        Ok(())
    }

    /// Names of `nodes`, or of the first of them.
    fn names(&self, nodes: &[u32]) -> String {
        let names = nodes.iter().take(ROWS_MAX).map(|&place| self.name_at(place));
        let names: Vec<&str> = names.collect();
        let more = nodes.len().saturating_sub(ROWS_MAX);
        if more == 0 {
            names.join(" ")
        } else {
            format!("{} and {more} more", names.join(" "))
        }
    }
}
