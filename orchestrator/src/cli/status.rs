//! `regatta status`: clusters that are up, or the nodes of one.

use super::{
    CliError, Global, Outcome,
    output::{print, print_json, table},
    runs::{live_clusters, the_cluster},
};
use crate::supervisor::{ClusterStatus, InstanceStatus, NodeStatus, ProgramStatus};
use clap::Args;

/// Show the clusters that are up, or the nodes of one
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  regatta status
  regatta status latest --json")]
pub(super) struct Status {
    /// Run, by id, unique prefix or `latest`
    run: Option<String>,
}

impl Status {
    pub(super) async fn execute(&self, global: &Global) -> Outcome {
        match &self.run {
            Some(name) => {
                let (_, status) = the_cluster(&global.runs, Some(name)).await?;
                if global.json {
                    print_json(&status)?;
                } else {
                    print(&(headline(&status) + &nodes(&status)))?;
                }
            }
            None => list(global).await?,
        }
        Ok(0)
    }
}

async fn list(global: &Global) -> Result<(), CliError> {
    let live: Vec<ClusterStatus> = live_clusters(&global.runs)
        .await?
        .into_iter()
        .map(|(_, status)| status)
        .collect();
    if global.json {
        return print_json(&live);
    }
    match live.as_slice() {
        [] => print("no cluster is up\n"),
        [one] => print(&(headline(one) + &nodes(one))),
        many => print(&many.iter().map(headline).collect::<String>()),
    }
}

fn headline(status: &ClusterStatus) -> String {
    let running = status.nodes.iter().filter(|node| node.state == "running").count();
    format!(
        "{}: {} of {} nodes run, up {} s, lease ends in {} s{}\n",
        status.run,
        running,
        status.nodes.len(),
        status.up_s,
        status.lease_left_s,
        if status.ready { "" } else { ", still starting" }
    )
}

fn nodes(status: &ClusterStatus) -> String {
    let head = ["node", "role", "control", "pid", "height", "links", "pending", "state"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(status.nodes.iter().map(row));
    table(&rows) + &programs(&status.programs)
}

/// A table of the programs of others, where there are any.
fn programs(programs: &[ProgramStatus]) -> String {
    if programs.is_empty() {
        return String::new();
    }
    let mut rows = vec![["program", "address", "pid", "state"].map(str::to_owned).to_vec()];
    rows.extend(programs.iter().map(|program| {
        let pid = program.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        vec![
            program.name.clone(),
            program.address.clone(),
            pid,
            program.state.clone(),
        ]
    }));
    format!("\n{}", table(&rows))
}

fn row(node: &NodeStatus) -> Vec<String> {
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    vec![
        node.name.clone(),
        node.role.clone(),
        node.http.clone(),
        or_dash(node.pid.map(|pid| pid.to_string())),
        of_instances(node, |instance| instance.height),
        or_dash(node.links.map(|(up, all)| format!("{up}/{all}"))),
        of_instances(node, |instance| instance.pending),
        node.state.clone(),
    ]
}

/// A number of each instance of a node, by name where there are several.
fn of_instances(node: &NodeStatus, number: impl Fn(&InstanceStatus) -> u64) -> String {
    match node.instances.as_slice() {
        [] => "-".to_owned(),
        [one] => number(one).to_string(),
        many => {
            let each = many
                .iter()
                .map(|instance| format!("{} {}", instance.id, number(instance)));
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_node_has_dashes_and_its_end() {
        let status = ClusterStatus {
            run: "small-1".to_owned(),
            pid: 1,
            ready: true,
            up_s: 3,
            lease_left_s: 9,
            namespace: None,
            programs: vec![ProgramStatus {
                name: "web-0".to_owned(),
                address: "127.60.0.9".to_owned(),
                pid: Some(78),
                state: "running".to_owned(),
                usage: None,
            }],
            usage: None,
            nodes: vec![NodeStatus {
                name: "val-0".to_owned(),
                role: "validator".to_owned(),
                http: "127.60.0.1:7001".to_owned(),
                pid: Some(77),
                state: "killed by signal 9".to_owned(),
                height: None,
                links: None,
                pending: None,
                instances: Vec::new(),
                usage: None,
            }],
        };
        assert!(headline(&status).contains("0 of 1 nodes run"));
        let table = nodes(&status);
        assert!(
            table
                .lines()
                .nth(1)
                .unwrap()
                .ends_with("77   -       -      -        killed by signal 9"),
            "{table}"
        );
        assert!(table.ends_with("web-0    127.60.0.9  78   running\n"), "{table}");
    }

    #[test]
    fn a_node_of_several_instances_tells_of_each() {
        let instance = |id: &str, height| InstanceStatus {
            id: id.to_owned(),
            height,
            pending: 1,
        };
        let node = NodeStatus {
            name: "val-0".to_owned(),
            role: "validator".to_owned(),
            http: "127.60.0.1:7001".to_owned(),
            pid: Some(77),
            state: "running".to_owned(),
            height: Some(12),
            links: Some((3, 3)),
            pending: Some(1),
            instances: vec![instance("main", 12), instance("side", 30)],
            usage: None,
        };
        let cells = row(&node);
        assert_eq!(cells[4], "main 12, side 30");
        assert_eq!(cells[6], "main 1, side 1");
    }
}
