//! Real processes: announcements, logs, stops, and that nothing outlives its keeper.

use crate::{Keeper, Process, ProcessSpec, StartError, start_ticks};
use std::{path::Path, time::Duration};

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(work)
}

fn shell(folder: &Path, script: &str) -> ProcessSpec {
    ProcessSpec {
        name: "sh".to_owned(),
        program: "/bin/sh".into(),
        held: None,
        folder: Some(folder.to_owned()),
        arguments: vec!["-c".into(), script.into()],
        log: folder.join("sh.log"),
        log_bytes_max: 1 << 20,
        foreign: None,
    }
}

async fn start(folder: &tempfile::TempDir, script: &str) -> (Keeper, Process) {
    let keeper = Keeper::start().unwrap();
    let process = keeper.spawn(shell(folder.path(), script), None).await.unwrap();
    (keeper, process)
}

#[test]
fn the_first_line_is_the_announcement_and_the_rest_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let (_keeper, process) = start(
            &folder,
            "trap '' TERM; echo ready; echo more; echo oops >&2; read line; exit 3",
        )
        .await;
        assert_eq!(process.announced().await, Ok("ready".to_owned()));
        let exit = process.stop(Duration::from_secs(60)).await;
        assert!(exit.ordered && !exit.forced, "{exit:?}");
    });
    let log = std::fs::read_to_string(folder.path().join("sh.log")).unwrap();
    assert!(
        ["ready\n", "more\n", "oops\n"].iter().all(|line| log.contains(line)),
        "{log}"
    );
}

#[test]
fn the_kernel_takes_what_was_started_before_its_starter() {
    let folder = tempfile::tempdir().unwrap();
    let score = |pid: &str| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
        text.trim().parse::<i32>().unwrap()
    };
    block_on(async {
        let (_keeper, process) = start(&folder, "echo ready; read line").await;
        process.announced().await.unwrap();
        let own = score("self");
        assert!(score(&process.pid().to_string()) > own.max(0) || own == 1000);
    });
}

#[test]
fn a_process_that_dies_early_says_how_and_shows_its_last_lines() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let (_keeper, process) = start(&folder, "echo 'no such key' >&2; exit 7").await;
        let exit = process.announced().await.unwrap_err();
        assert_eq!((exit.code, exit.signal, exit.ordered), (Some(7), None, false));
        assert_eq!(exit.tail, ["no such key"]);
        assert_eq!(exit.to_string(), "exit code 7");
    });
}

#[test]
fn closing_stdin_stops_a_process_that_ignores_signals() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let (_keeper, process) = start(&folder, "trap '' TERM; echo ready; read line; exit 5").await;
        process.announced().await.unwrap();
        let exit = process.stop(Duration::from_secs(60)).await;
        assert_eq!((exit.code, exit.forced), (Some(5), false));
    });
}

#[test]
fn a_process_that_does_not_stop_is_killed_after_the_grace_period() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let (_keeper, process) = start(&folder, "trap '' TERM; echo ready; while :; do sleep 1; done").await;
        process.announced().await.unwrap();
        let exit = process.stop(Duration::from_millis(50)).await;
        assert_eq!((exit.signal, exit.ordered, exit.forced), (Some(9), true, true));
        assert_eq!(process.exit(), Some(exit));
    });
}

#[test]
fn a_process_that_somebody_stopped_still_ends_when_told() {
    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let (_keeper, process) = start(&folder, "echo ready; cat").await;
        process.announced().await.unwrap();
        kill(Pid::from_raw(process.pid().cast_signed()), Signal::SIGSTOP).unwrap();
        assert!(!process.stop(Duration::from_secs(60)).await.forced);
    });
}

#[test]
fn nothing_outlives_the_keeper() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let (keeper, process) = start(&folder, "trap '' TERM; echo ready; while :; do sleep 1; done").await;
        process.announced().await.unwrap();
        drop(keeper);
        assert_eq!(process.exit().and_then(|exit| exit.signal), Some(9));
        assert_ne!(start_ticks(process.pid()), Some(process.start_ticks()));
    });
}

#[test]
fn a_program_that_cannot_be_executed_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let keeper = Keeper::start().unwrap();
        let mut spec = shell(folder.path(), "");
        spec.program = folder.path().join("absent");
        let error = keeper.spawn(spec, None).await.unwrap_err();
        assert!(matches!(error, StartError::Refused { .. }), "{error}");
    });
}

#[test]
fn long_lines_are_split_and_endless_output_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let keeper = Keeper::start().unwrap();
        let mut spec = shell(folder.path(), "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo end");
        spec.log_bytes_max = 100_000;
        let process = keeper.spawn(spec, None).await.unwrap();
        let exit = process.ended().await;
        assert_eq!(exit.tail.last().map(String::as_str), Some("end"));
    });
    let size = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().len();
    assert!(size("sh.log") + size("sh.log.1") <= 100_000);
}
