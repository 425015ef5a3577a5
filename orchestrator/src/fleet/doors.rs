//! Doors to nodes whose control ports the lab does not reach: a listener here for each node, and from there through the SSH
//! connection of its host.
//!
//! ```text
//! client -> listener of the lab -> socket of the SSH client's master ~~ SSH ~~ sshd -> control port of the node
//! ```
//! A listener stays when a connection is lost: whoever comes meanwhile waits for the next one. The master's sockets lie beside
//! the one that the lab talks to it through, and go with it.

use super::{client::HostClient, crew::Crew};
use regatta_plan::{Plan, PlannedNode};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
};

/// Most connections to the nodes of one host at a time; more wait for their turn.
const CONNECTIONS_MAX: usize = 512;
/// How long one may wait for a host that is just being reached again.
const DEADLINE: Duration = Duration::from_secs(30);
/// Pause when this machine has no descriptor left for one more.
const PAUSE: Duration = Duration::from_millis(100);

/// The doors of a fleet, which close with this value, and all connections with them.
#[derive(Debug, Default)]
pub(crate) struct Doors(Vec<JoinHandle<()>>);

impl Doors {
    /// Opens one for each node whose host is there, and notes in the plan where.
    ///
    /// # Errors
    /// What the system said.
    pub(crate) async fn open(crew: &Crew, plan: &mut Plan) -> io::Result<Self> {
        let mut doors = Self::default();
        for client in crew.clients() {
            let host = client.target().index;
            let turns = Arc::new(Semaphore::new(CONNECTIONS_MAX));
            for node in plan.nodes.iter_mut().filter(|node| node.host == Some(host)) {
                let (listener, to) = listen(node).await?;
                let serving = serve(listener, to, Arc::clone(client), Arc::clone(&turns));
                doors.0.push(tokio::spawn(serving));
            }
        }
        Ok(doors)
    }
}

impl Drop for Doors {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// A listener for one node, and where the node listens.
async fn listen(node: &mut PlannedNode) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    node.control = Some(listener.local_addr()?);
    Ok((listener, SocketAddr::new(IpAddr::V4(node.address), node.http_port)))
}

/// Lets everybody through, until the door is closed.
async fn serve(listener: TcpListener, to: SocketAddr, client: Arc<HostClient>, turns: Arc<Semaphore>) {
    let mut passing = JoinSet::new();
    loop {
        while passing.try_join_next().is_some() {}
        // Nobody closes it.
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let client = Arc::clone(&client);
                passing.spawn(async move {
                    pass(stream, to, &client).await;
                    drop(turn);
                });
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Joins a client's connection with one to its node. What goes wrong ends both, which is what the client sees.
async fn pass(mut near: TcpStream, to: SocketAddr, client: &HostClient) {
    if let Ok(mut far) = client.reach_port(to, DEADLINE).await {
        let _ = near.set_nodelay(true);
        let _ = copy_bidirectional(&mut near, &mut far).await;
    }
}
