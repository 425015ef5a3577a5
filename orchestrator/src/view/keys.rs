//! What keys do: a small state machine beside the board.

use crate::runner::Order;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use regatta_plan::scenario::FaultKind;
use regatta_report::live::{Board, NodeState};
use std::time::Duration;

/// Seconds that a fault by hand lasts, unless another length is chosen.
const SECONDS: u64 = 5;
/// Longest fault that can be chosen, in seconds.
const SECONDS_MAX: u64 = 60;
/// Nodes that one page of the list is said to have.
const PAGE: usize = 10;

/// What lies over the board.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Overlay {
    /// Nothing.
    #[default]
    None,
    /// The keys explained.
    Help,
    /// The choice of a fault.
    Fault,
    /// A node's log.
    Log,
}

/// What happens to what is watched when a person leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// The run ends, with a report.
    EndsRun,
    /// The cluster that is being started is taken down.
    EndsStart,
    /// Nothing: the cluster goes on.
    Nothing,
}

/// What a person has chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ui {
    /// Index of the chosen node.
    pub(super) node: usize,
    /// What lies over the board.
    pub(super) overlay: Overlay,
    /// How long a fault is to last.
    pub(super) seconds: u64,
    /// Whether nodes can be broken from here.
    pub(super) may_break: bool,
    /// What leaving does.
    pub(super) leaving: Leaving,
}

/// What a key asks others for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// To end.
    Stop,
    /// To break or mend a node.
    Give(Order),
}

impl Default for Ui {
    fn default() -> Self {
        Self {
            node: 0,
            overlay: Overlay::None,
            seconds: SECONDS,
            may_break: true,
            leaving: Leaving::EndsRun,
        }
    }
}

impl Ui {
    /// Takes a key.
    pub(super) fn key(&mut self, key: KeyEvent, board: &Board) -> Option<Effect> {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return (key.code == KeyCode::Char('c')).then_some(Effect::Stop);
        }
        if self.moves(key.code, board.nodes.len()) {
            return None;
        }
        match (self.overlay, key.code) {
            (Overlay::None, KeyCode::Char('q')) => return Some(Effect::Stop),
            (Overlay::None, KeyCode::Char('?')) => self.overlay = Overlay::Help,
            (Overlay::None, KeyCode::Char('l') | KeyCode::Enter) => self.overlay = Overlay::Log,
            (Overlay::None, KeyCode::Char('f')) if self.may_break => self.overlay = Overlay::Fault,
            (Overlay::None, KeyCode::Char('p')) if self.may_break => return self.pause_or_resume(board),
            (Overlay::None, _) => {}
            (Overlay::Fault, code) => return self.fault_key(code),
            (Overlay::Help | Overlay::Log, KeyCode::Esc | KeyCode::Enter | KeyCode::Char('q' | 'l' | '?')) => {
                self.overlay = Overlay::None;
            }
            (Overlay::Help | Overlay::Log, _) => {}
        }
        None
    }

    /// Whether `code` chooses another node.
    fn moves(&mut self, code: KeyCode, nodes: usize) -> bool {
        let last = nodes.saturating_sub(1);
        self.node = match code {
            KeyCode::Up | KeyCode::Char('k') => self.node.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.node + 1,
            KeyCode::PageUp => self.node.saturating_sub(PAGE),
            KeyCode::PageDown => self.node + PAGE,
            KeyCode::Home => 0,
            KeyCode::End => last,
            _ => return false,
        }
        .min(last);
        true
    }

    fn fault_key(&mut self, code: KeyCode) -> Option<Effect> {
        match code {
            KeyCode::Char('c') => return Some(self.break_node(FaultKind::Crash)),
            KeyCode::Char('p') => return Some(self.break_node(FaultKind::Pause)),
            KeyCode::Right | KeyCode::Char('+') => self.seconds = (self.seconds + 1).min(SECONDS_MAX),
            KeyCode::Left | KeyCode::Char('-') => self.seconds = (self.seconds - 1).max(1),
            KeyCode::Esc | KeyCode::Char('q' | 'f') => self.overlay = Overlay::None,
            _ => {}
        }
        None
    }

    fn break_node(&mut self, kind: FaultKind) -> Effect {
        self.overlay = Overlay::None;
        Effect::Give(Order::Break {
            kind,
            node: self.node as u32,
            lasts: Some(Duration::from_secs(self.seconds)),
        })
    }

    fn pause_or_resume(&self, board: &Board) -> Option<Effect> {
        let node = self.node as u32;
        let is_paused = board.nodes.get(self.node)?.state == NodeState::Paused;
        Some(Effect::Give(match is_paused {
            true => Order::Mend { node },
            false => Order::Break {
                kind: FaultKind::Pause,
                node,
                lasts: None,
            },
        }))
    }
}
