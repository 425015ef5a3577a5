//! The one stream of a connection: the dialling side opens it, the other side accepts it.

use libp2p::{
    Stream, StreamProtocol,
    core::upgrade::ReadyUpgrade,
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use std::{
    collections::VecDeque,
    convert::Infallible,
    task::{Context, Poll},
};

/// Most events of one connection that wait for the swarm; more come only from a misbehaving peer.
const EVENTS_MAX: usize = 8;

/// What became of the stream.
#[derive(Debug)]
pub(super) enum StreamNews {
    /// It is open.
    Open(Stream),
    /// It cannot be opened: the other side speaks another protocol or another chain.
    Failed(String),
}

type Request = ConnectionHandlerEvent<ReadyUpgrade<StreamProtocol>, (), StreamNews>;

/// Opens or accepts the stream of one connection.
pub(super) struct LinkHandler {
    protocol: StreamProtocol,
    events: VecDeque<Request>,
}

impl LinkHandler {
    pub(super) fn new(protocol: StreamProtocol, dialled: bool) -> Self {
        let mut events = VecDeque::new();
        if dialled {
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(protocol.clone()), ());
            events.push_back(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Self { protocol, events }
    }

    fn tell(&mut self, news: StreamNews) {
        if self.events.len() < EVENTS_MAX {
            self.events.push_back(ConnectionHandlerEvent::NotifyBehaviour(news));
        }
    }
}

impl ConnectionHandler for LinkHandler {
    type FromBehaviour = Infallible;
    type ToBehaviour = StreamNews;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(self.protocol.clone()), ())
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<Request> {
        // Events are only queued inside calls of the connection, which polls again after each of them.
        self.events.pop_front().map_or(Poll::Pending, Poll::Ready)
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => {
                self.tell(StreamNews::Open(protocol));
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, .. }) => {
                self.tell(StreamNews::Open(protocol));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => {
                self.tell(StreamNews::Failed(describe(&error, &self.protocol)));
            }
            _ => {}
        }
    }
}

fn describe(error: &StreamUpgradeError<Infallible>, protocol: &StreamProtocol) -> String {
    match error {
        StreamUpgradeError::NegotiationFailed => {
            format!("the peer does not speak {protocol}; help: is it a node of the same chain?")
        }
        StreamUpgradeError::Timeout => "the peer did not answer in time".to_owned(),
        StreamUpgradeError::Io(error) => error.to_string(),
        StreamUpgradeError::Apply(never) => match *never {},
    }
}
