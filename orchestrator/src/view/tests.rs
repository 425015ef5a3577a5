//! Tests of what is drawn and of what keys do.

use super::{
    Shared,
    draw::draw,
    keys::{Effect, Overlay, Ui},
    setting,
};
use crate::{
    runner::{Observer, Order, Orders, Progress},
    testing::{block_on, node, plan},
    view::Panel,
};
use proptest::prelude::*;
use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
};
use regatta_plan::scenario::{FaultKind, Role};
use regatta_report::{
    live::{Board, Glimpse, Life, LoadNow, NodeGlimpse, NodeState, OpenFault, Place, Setting},
    model::{Event, EventKind, PhaseKind, Sample},
};
use std::{sync::Arc, time::Duration};

fn glimpse(at_ms: u64, nodes: usize) -> Glimpse {
    let node = |index: u64| NodeGlimpse {
        life: Life::Running,
        sample: Some(Sample {
            at_ms,
            cpu_s: at_ms as f64 / 10_000.0 * (index + 1) as f64,
            rss_bytes: (9 + index) << 20,
            height: at_ms / 50 - index % 2,
            peers: 3,
            mempool: index * 7,
            ..Sample::default()
        }),
        ..NodeGlimpse::default()
    };
    Glimpse {
        at_ms,
        phase: PhaseKind::Measure,
        phase_left_ms: Some(11_000_u64.saturating_sub(at_ms)),
        nodes: (0..nodes as u64).map(node).collect(),
        lab: Some(Sample {
            at_ms,
            cpu_s: at_ms as f64 / 20_000.0,
            rss_bytes: 41 << 20,
            ..Sample::default()
        }),
        load: Some(LoadNow {
            offered_per_s: 300,
            final_per_s: 280 + at_ms / 500 % 20,
            p50_us: 21_000,
            p99_us: 48_000,
            lag_p99_us: 400,
            in_flight: 7,
            finalised: at_ms * 3 / 10,
            troubled: 0,
        }),
        ..Glimpse::default()
    }
}

/// Eight nodes in two regions, of which one is paused by hand, one down, and one behind.
fn board() -> Board {
    let mut plan = plan(4);
    for index in 4..8 {
        plan.nodes.push(node(index, "full", Role::Full));
    }
    for node in &mut plan.nodes {
        node.region = Some(if node.index % 2 == 0 { "eu" } else { "us" }.to_owned());
    }
    plan.edges = (0..8).map(|index| (index, (index + 1) % 8)).collect();
    plan.phases.measure_ms = 10_000;
    let mut board = Board::new(setting(&plan));
    "quick-1".clone_into(&mut board.setting.run);
    board.add_line("step", "", "build main (12.31 s)");
    board.add_line("step", "", "spawn 8 nodes (0.21 s)");
    for second in 1..=6 {
        board.look(&glimpse(second * 1000, 8));
    }
    let mut last = glimpse(7000, 8);
    last.nodes[1].life = Life::Paused;
    last.nodes[5].life = Life::Ended;
    last.nodes[6].sample.as_mut().unwrap().height = 20;
    last.faults.push(OpenFault {
        id: 0,
        text: "pause val-1, by hand".to_owned(),
        nodes: vec![1],
        since_ms: 6500,
        until_ms: Some(11_500),
        by_hand: true,
        ..OpenFault::default()
    });
    last.events.push(Event {
        start_ms: 6800,
        end_ms: 6800,
        kind: EventKind::Crash,
        node: "full-1".to_owned(),
        text: "killed by signal 9".to_owned(),
    });
    board.look(&last);
    board
}

/// The screen as text: colours are not in it, signs are.
fn picture(board: &Board, ui: &Ui, log: &[String], width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| {
            let area = frame.area();
            draw(board, ui, log, area, frame.buffer_mut());
        })
        .unwrap();
    terminal.backend().to_string()
}

fn with(overlay: Overlay) -> Ui {
    Ui {
        overlay,
        ..Ui::default()
    }
}

#[test]
fn a_run_on_a_small_terminal() {
    insta::assert_snapshot!(picture(&board(), &Ui::default(), &[], 80, 24));
}

#[test]
fn a_run_on_a_large_terminal() {
    insta::assert_snapshot!(picture(&board(), &Ui::default(), &[], 140, 45));
}

#[test]
fn before_the_first_node_the_step_is_shown() {
    let mut board = Board::new(setting(&plan(4)));
    board.step_begins("Compiling regatta-node");
    insta::assert_snapshot!(picture(&board, &Ui::default(), &[], 80, 24));
}

#[test]
fn help_lies_over_the_board() {
    insta::assert_snapshot!(picture(&board(), &with(Overlay::Help), &[], 80, 24));
}

#[test]
fn a_fault_is_chosen_for_the_chosen_node() {
    let mut ui = with(Overlay::Fault);
    ui.node = 2;
    insta::assert_snapshot!(picture(&board(), &ui, &[], 80, 24));
}

#[test]
fn the_newest_lines_of_a_log_are_shown() {
    let log: Vec<String> = (0..100).map(|number| format!("line {number}")).collect();
    let text = picture(&board(), &with(Overlay::Log), &log, 80, 24);
    assert!(
        text.contains("log of val-0") && text.contains("line 99") && text.contains("line 82"),
        "{text}"
    );
    assert!(!text.contains("line 81"), "{text}");
}

#[test]
fn the_chosen_one_of_a_thousand_nodes_is_on_the_screen() {
    let place = |index: u32| Place {
        name: format!("full-{index}"),
        ..Place::default()
    };
    let mut board = Board::new(Setting {
        nodes: (0..1000).map(place).collect(),
        ..Setting::default()
    });
    board.look(&glimpse(1000, 1000));
    for chosen in [0, 500, 999] {
        let name = format!("full-{chosen} ");
        let ui = Ui {
            node: chosen,
            ..Ui::default()
        };
        let text = picture(&board, &ui, &[], 100, 30);
        assert!(text.contains(&name), "{name} in {text}");
    }
}

fn press(ui: &mut Ui, board: &Board, keys: &[KeyCode]) -> Vec<Effect> {
    let event = |code: &KeyCode| KeyEvent::new(*code, KeyModifiers::NONE);
    keys.iter().filter_map(|code| ui.key(event(code), board)).collect()
}

#[test]
fn keys_break_the_chosen_node_for_as_long_as_was_chosen() {
    let (mut ui, board) = (Ui::default(), board());
    let keys = [
        KeyCode::Down,
        KeyCode::Down,
        KeyCode::Char('f'),
        KeyCode::Right,
        KeyCode::Char('c'),
    ];
    let order = Order::Break {
        kind: FaultKind::Crash,
        node: 2,
        lasts: Some(Duration::from_secs(6)),
    };
    assert_eq!(press(&mut ui, &board, &keys), [Effect::Give(order)]);
    assert_eq!(ui.overlay, Overlay::None);
}

#[test]
fn p_pauses_a_node_that_runs_and_mends_one_that_is_paused() {
    let (mut ui, board) = (Ui::default(), board());
    assert_eq!(board.nodes[1].state, NodeState::Paused);
    let effects = press(
        &mut ui,
        &board,
        &[KeyCode::Char('p'), KeyCode::Down, KeyCode::Char('p')],
    );
    let pause = Order::Break {
        kind: FaultKind::Pause,
        node: 0,
        lasts: None,
    };
    assert_eq!(effects, [Effect::Give(pause), Effect::Give(Order::Mend { node: 1 })]);
}

#[test]
fn q_closes_what_lies_over_the_board_before_it_stops_the_run() {
    let (mut ui, board) = (Ui::default(), board());
    for over in ['?', 'l', 'f'] {
        let q = KeyCode::Char('q');
        assert_eq!(press(&mut ui, &board, &[KeyCode::Char(over), q]), [], "{over}");
        assert_eq!(ui.overlay, Overlay::None);
    }
    assert_eq!(press(&mut ui, &board, &[KeyCode::Char('q')]), [Effect::Stop]);
    ui.overlay = Overlay::Help;
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(ui.key(interrupt, &board), Some(Effect::Stop));
}

#[test]
fn nothing_is_broken_from_where_nothing_may_be() {
    let (mut ui, board) = (Ui::default(), board());
    ui.may_break = false;
    assert_eq!(
        press(
            &mut ui,
            &board,
            &[KeyCode::Char('f'), KeyCode::Char('c'), KeyCode::Char('p')]
        ),
        []
    );
    assert!(!picture(&board, &ui, &[], 80, 24).contains(" f "));
}

#[test]
fn orders_reach_the_run_once_it_has_nodes() {
    let shared = Shared::new(&plan(4));
    shared.give(Order::Mend { node: 0 });
    assert_eq!(shared.lock().board.events[0].kind, "refused");
    let panel = Panel::new(Arc::clone(&shared), true, false);
    let (orders, mut inbox) = Orders::channel();
    panel.tell(&Progress::Orders(&orders));
    shared.give(Order::Mend { node: 1 });
    assert_eq!(block_on(inbox.recv()), Some(Order::Mend { node: 1 }));
}

fn any_key() -> impl Strategy<Value = KeyCode> {
    prop_oneof![
        proptest::char::range('!', '~').prop_map(KeyCode::Char),
        Just(KeyCode::Up),
        Just(KeyCode::Down),
        Just(KeyCode::PageDown),
        Just(KeyCode::End),
        Just(KeyCode::Left),
        Just(KeyCode::Right),
        Just(KeyCode::Esc),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_size_and_any_keys_are_drawn_without_a_panic(
        width in 1u16..200, height in 1u16..70, keys in proptest::collection::vec(any_key(), 0..30), empty in any::<bool>()
    ) {
        let board = if empty { Board::default() } else { board() };
        let mut ui = Ui::default();
        press(&mut ui, &board, &keys);
        prop_assert!(ui.node <= board.nodes.len());
        picture(&board, &ui, &["a line".to_owned()], width, height);
    }
}
