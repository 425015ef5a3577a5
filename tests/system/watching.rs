//! Live views of a run: a real terminal that is drawn, takes keys and is given back.

use super::support::{lab::Lab, programs, terminal::Terminal, wait::until};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
};

/// Sequences by which a program takes the whole screen and gives it back.
const TAKEN: &str = "\u{1b}[?1049h";
const GIVEN_BACK: &str = "\u{1b}[?1049l";

fn loaded(lab: &Lab, measure: &str) -> String {
    lab.scenario(&format!(
        "[phases]\nwarmup = \"1s\"\nmeasure = \"{measure}\"\ncooldown = \"1s\"\ndrain = \"10s\"\n\
         [[load]]\nrate = 30\nmix = {{ opaque = 1.0 }}\nsize = 128\ntarget = \"full\"\n"
    ))
}

/// `regatta run` on a terminal.
fn run_on_terminal(lab: &Lab, scenario: &str, more: &[&str], environment: &[(&str, &str)]) -> Terminal {
    let (runs, node) = (lab.runs(), programs::node());
    let arguments = [
        &[
            "run",
            scenario,
            "--binary",
            node.to_str().unwrap(),
            "--runs",
            runs.to_str().unwrap(),
        ],
        more,
    ]
    .concat();
    Terminal::start(programs::lab(), &arguments, &lab.path(""), environment)
}

fn assert_given_back(terminal: &Terminal) {
    let written = terminal.written();
    let (taken, given) = (written.rfind(TAKEN), written.rfind(GIVEN_BACK));
    assert!(taken.is_some() && taken < given, "{written}");
    assert!(terminal.is_as_shells_want_it());
    let (_, after) = written.rsplit_once(GIVEN_BACK).unwrap();
    assert!(after.contains("\u{1b}[?25h"), "the cursor is hidden: {after:?}");
}

#[test]
fn a_run_is_drawn_and_a_person_may_interfere_but_not_in_secret() {
    let lab = Lab::new();
    let mut terminal = run_on_terminal(&lab, &loaded(&lab, "15s"), &[], &[]);
    terminal.until_shows("5 ready");
    terminal.until_shows("measure");
    assert!(!terminal.is_as_shells_want_it(), "keys arrive one by one");
    terminal.press("?");
    terminal.until_shows("choose a node");
    terminal.press("q");
    terminal.press("l");
    terminal.until_shows("log of val-0");
    terminal.press("q");
    // Two ways to break a node: for some seconds, and until it is asked to go on.
    terminal.press("\u{1b}[B");
    terminal.press("f");
    terminal.until_shows("crash val-1, start it again after 5 s");
    terminal.press("\u{1b}[D\u{1b}[D\u{1b}[D");
    terminal.until_shows("crash val-1, start it again after 2 s");
    terminal.press("c");
    terminal.until_shows("1 down");
    terminal.until_shows("ended: crash val-1, by hand");
    terminal.press("\u{1b}[B\u{1b}[B\u{1b}[Bp");
    terminal.until_shows("1 paused");
    terminal.press("p");
    terminal.until_shows("ended: pause full-0, by hand");
    terminal.press("p");
    terminal.until_shows("1 paused");
    let (code, stdout) = terminal.wait();
    assert_given_back(&terminal);
    assert_eq!(code, Some(6), "{stdout}");
    let interfered = "interfered with by hand: crash val-1, pause full-0, pause full-0";
    assert!(stdout.contains(interfered), "{stdout}");

    // The last pause was undone when the load ended: all agree, and the books close.
    let run = lab.latest();
    run.assert_correct();
    let result = run.result();
    let events = result["record"]["events"].as_array().unwrap();
    let faults: Vec<&Value> = events.iter().filter(|event| event["kind"] == "fault").collect();
    assert_eq!(faults.len(), 3, "{faults:#?}");
    assert!(
        faults
            .iter()
            .all(|fault| fault["end_ms"].as_u64() > fault["start_ms"].as_u64())
    );
    let journal = run.journal();
    for kind in ["fault_by_hand", "fault_by_hand_ended"] {
        let count = journal.iter().filter(|line| line["kind"] == kind).count();
        assert_eq!(count, 3, "{kind} in {journal:#?}");
    }
    run.wait_until_nobody_is_left();
}

#[test]
fn ctrl_c_on_the_drawn_screen_ends_the_run_in_order() {
    let lab = Lab::new();
    let mut terminal = run_on_terminal(&lab, &loaded(&lab, "60s"), &[], &[]);
    terminal.until_shows("measure");
    terminal.press("\u{3}");
    let (code, _) = terminal.wait();
    assert_eq!(code, Some(6), "{}", terminal.written());
    assert_given_back(&terminal);
    let run = lab.latest();
    assert_eq!(run.result()["record"]["partial"], true);
    run.wait_until_nobody_is_left();
}

#[test]
fn the_terminal_is_given_back_before_an_error_is_shown() {
    let lab = Lab::new();
    let scenario = loaded(&lab, "5s");
    let missing = lab.path("no-such-program");
    let runs = lab.runs();
    let arguments = [
        "run",
        &scenario,
        "--binary",
        missing.to_str().unwrap(),
        "--runs",
        runs.to_str().unwrap(),
    ];
    let mut terminal = Terminal::start(programs::lab(), &arguments, &lab.path(""), &[]);
    let (code, _) = terminal.wait();
    assert_eq!(code, Some(1), "{}", terminal.written());
    assert_given_back(&terminal);
    let written = terminal.written();
    let (_, after) = written.rsplit_once(GIVEN_BACK).unwrap();
    assert!(after.contains("no-such-program"), "{written}");
}

#[test]
fn lines_are_printed_where_nobody_wants_a_drawn_screen() {
    for (option, variable) in [
        (Some("--plain"), None),
        (None, Some(("NO_COLOR", "1"))),
        (None, Some(("TERM", "dumb"))),
    ] {
        let lab = Lab::new();
        let (more, environment) = (option.as_slice(), variable.as_slice());
        let mut terminal = run_on_terminal(&lab, &loaded(&lab, "1s"), more, environment);
        terminal.wait();
        let written = terminal.written();
        assert!(!written.contains(TAKEN), "{written}");
        assert!(written.contains("spawn 5 nodes"), "{written}");
    }
}

/// What a browser without a window shows of a page after some time, and what it complained of.
fn browse(url: &str) -> (String, String) {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let profile = tempfile::tempdir().unwrap();
    let found = names.iter().find_map(|name| {
        Command::new(name)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
            ])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args([
                "--enable-logging=stderr",
                "--virtual-time-budget=2500",
                "--dump-dom",
                url,
            ])
            .stdin(Stdio::null())
            .output()
            .ok()
    });
    let output = found.expect("this test needs a browser; help: install chromium (Debian: apt-get install chromium)");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// The text of the element called `id`.
fn element(page: &str, id: &str) -> String {
    let (_, after) = page.split_once(&format!("id=\"{id}\"")).unwrap_or_default();
    let text = after.split_once('>').and_then(|(_, rest)| rest.split_once('<'));
    text.map_or_else(String::new, |(text, _)| text.to_owned())
}

#[test]
fn a_browser_shows_all_nodes_of_a_run_and_heights_that_grow() {
    let lab = Lab::new();
    let scenario = loaded(&lab, "120s");
    let node = programs::node().to_str().unwrap();
    let running = lab.start(&["run", &scenario, "--binary", node, "--web", "127.0.0.1:0"]);
    let url = until("the page's address", || {
        let stderr = running.stderr();
        let url = stderr.lines().find_map(|line| line.strip_prefix("page "));
        url.map(|url| url.trim().to_owned()).ok_or(stderr)
    });
    let run = lab.run_of(&running);
    run.wait_for_step("measure", &running);
    let mut heights: Vec<u64> = Vec::new();
    until("two heights on the page", || {
        let (page, complaints) = browse(&url);
        assert!(!complaints.contains("CONSOLE"), "{complaints}");
        for name in ["val-0", "val-1", "val-2", "val-3", "full-0"] {
            assert!(page.contains(&format!(">{name}</th>")), "{name} is not in {page}");
        }
        assert!(!page.contains("Programs of others"), "there are none: {page}");
        let height = element(&page, "height").replace(',', "").parse().unwrap_or(0);
        if heights.last().is_none_or(|last| height > *last) && height > 0 {
            heights.push(height);
        }
        if heights.len() > 1 { Ok(()) } else { Err(page) }
    });
    running.signal(Signal::SIGINT);
    running.wait();
    let address: SocketAddr = url.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
    assert!(TcpStream::connect(address).is_err(), "the page outlives the run");
    run.wait_until_nobody_is_left();
}

/// The cells of the row of the page that `name` heads.
fn row(page: &str, name: &str) -> Vec<String> {
    let (_, after) = page.split_once(&format!(">{name}</th>")).unwrap_or_default();
    let (row, _) = after.split_once("</tr>").unwrap_or_default();
    let cells = row
        .split("<td")
        .skip(1)
        .filter_map(|cell| cell.split_once('>')?.1.split_once("</td>"));
    cells.map(|(text, _)| text.to_owned()).collect()
}

#[test]
fn a_browser_shows_programs_of_others_how_they_are_and_what_they_use() {
    let lab = Lab::new();
    let scenario = lab.scenario(
        "[[process]]\nname = \"idle\"\ncommand = [\"sh\", \"-c\", \"echo begun; sleep 3000 & wait\"]\n\
         ready = { line = \"begun\" }\n\
         [[process]]\nname = \"brief\"\ncommand = [\"sh\", \"-c\", \"echo begun\"]\nready = { line = \"begun\" }\n\
         [phases]\nwarmup = \"1s\"\nmeasure = \"120s\"\ncooldown = \"0s\"\n[[load]]\nrate = 20\ntarget = \"full\"\n\
         [[fault]]\nat = \"2s\"\nfor = \"100s\"\nkind = \"pause\"\nnodes = [\"idle\"]\n",
    );
    let node = programs::node().to_str().unwrap();
    let running = lab.start(&["run", &scenario, "--binary", node, "--web", "127.0.0.1:0"]);
    let url = until("the page's address", || {
        let stderr = running.stderr();
        let url = stderr.lines().find_map(|line| line.strip_prefix("page "));
        url.map(|url| url.trim().to_owned()).ok_or(stderr)
    });
    let run = lab.run_of(&running);
    run.wait_for_step("inject", &running);
    until("the program that was paused, and the one that has ended", || {
        let (page, complaints) = browse(&url);
        assert!(!complaints.contains("CONSOLE"), "{complaints}");
        let (idle, brief) = (row(&page, "idle-0"), row(&page, "brief-0"));
        let is_paused = idle.first().is_some_and(|state| state == "‖ paused");
        let uses = idle
            .get(3)
            .is_some_and(|memory| memory.ends_with("kB") || memory.ends_with("MB"));
        let is_over =
            brief.first().is_some_and(|state| state == "✕ down") && brief.get(3).is_some_and(|memory| memory == "–");
        let counts = element(&page, "programs-count") == "2";
        if is_paused && uses && is_over && counts {
            Ok(())
        } else {
            Err(format!("{idle:?} {brief:?}\n{page}"))
        }
    });
    running.signal(Signal::SIGINT);
    running.wait();
    run.wait_until_nobody_is_left();
}

/// Two instances, of which the full node follows one, and a program beside the nodes.
fn shared_by_several(lab: &Lab) -> String {
    lab.scenario(
        "followers = [\"full\"]\n\
         [[consensus]]\nid = \"side\"\nblock_interval = \"100ms\"\nempty_blocks = true\nfollowers = []\n\
         [[process]]\nname = \"idle\"\ncommand = [\"sh\", \"-c\", \"echo begun; sleep 3000 & wait\"]\n\
         ready = { line = \"begun\" }\n[budget]\nlease = \"10m\"\n",
    )
}

/// `regatta up` on a terminal.
fn up_on_terminal(lab: &Lab, scenario: &str) -> Terminal {
    let (runs, node) = (lab.runs(), programs::node().to_str().unwrap());
    let arguments = ["up", scenario, "--binary", node, "--runs", runs.to_str().unwrap()];
    Terminal::start(programs::lab(), &arguments, &lab.path(""), &[])
}

/// The words of a screen's line about a node that follow its state.
fn words_after_ready(screen: &str, node: &str) -> Vec<String> {
    let line = screen.lines().find(|line| line.contains(&format!(" {node} ")));
    let words = line.unwrap_or_default().split_whitespace();
    words
        .skip_while(|word| *word != "ready")
        .skip(1)
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_cluster_is_drawn_while_it_starts_and_goes_on_when_a_person_leaves() {
    let mut lab = Lab::new();
    lab.ends_clusters();
    let mut terminal = up_on_terminal(&lab, &shared_by_several(&lab));
    terminal.until_shows("5 ready");
    terminal.until_shows("lease ends in");
    terminal.until_shows("programs of others 1");
    terminal.until_shows("idle-0 runs");
    terminal.until_shows("main    side");
    until(
        "blocks of the second instance, which the full node does not run",
        || {
            let screen = terminal.screen();
            let [val, full] = ["val-1", "full-0"].map(|node| words_after_ready(&screen, node));
            let height = val.get(1).and_then(|word| word.parse::<u64>().ok());
            match (height, full.get(1).map(String::as_str)) {
                (Some(4..), Some("-")) => Ok(()),
                _ => Err(screen),
            }
        },
    );
    // There is nothing to break from here.
    terminal.press("f?");
    terminal.until_shows("leave; the cluster goes on");
    terminal.press("ql");
    terminal.until_shows("log of val-0");
    terminal.press("qq");
    let (code, stdout) = terminal.wait();
    assert_given_back(&terminal);
    assert_eq!(code, Some(0), "{}", terminal.written());
    assert!(stdout.contains("is up: 5 nodes"), "{stdout}");
    assert!(terminal.written().contains("goes on; `regatta watch"));

    // From another terminal: who dies is seen, and leaving leaves everything as it is.
    let runs = lab.runs();
    let watch = ["watch", "--runs", runs.to_str().unwrap()];
    let mut other = Terminal::start(programs::lab(), &watch, &lab.path(""), &[]);
    other.until_shows("5 ready");
    let status = lab.command(&["status", "latest", "--json"]);
    let status: Value = serde_json::from_str(status.success()).unwrap();
    assert!(
        status["nodes"][0]["usage"]["rss_bytes"].as_u64() > Some(0),
        "{status:#}"
    );
    let pid = i32::try_from(status["nodes"][4]["pid"].as_u64().unwrap()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    other.until_shows("1 down");
    other.until_shows("full-0 killed by signal 9");
    other.press("\u{3}");
    let (code, _) = other.wait();
    assert_eq!(code, Some(0), "{}", other.written());
    assert_given_back(&other);

    // Where nothing is drawn: lines, until the cluster is gone.
    let lines = lab.start(&["watch", "latest"]);
    until("a line about the cluster", || {
        let told = lines.stderr();
        let parts = ["4 ready, 1 down", "  side ", "programs 1 of 1"];
        if parts.iter().all(|part| told.contains(part)) {
            Ok(())
        } else {
            Err(told)
        }
    });
    lab.command(&["down"]).success();
    let ended = lines.wait();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("is not up any more") && !ended.stderr.contains(TAKEN));
    lab.command(&["watch", "latest"])
        .failure(2, &["no cluster that is up", "help:"]);
}

#[test]
fn a_start_that_a_person_ends_on_the_screen_leaves_nothing() {
    let mut lab = Lab::new();
    lab.ends_clusters();
    // The program is never ready: the cluster stays where it starts.
    let scenario =
        lab.scenario("[[process]]\nname = \"idle\"\ncommand = [\"sleep\", \"3000\"]\nstart = \"after_nodes\"\nready = { line = \"never\" }\n");
    let mut terminal = up_on_terminal(&lab, &scenario);
    terminal.until_shows("idle-0 runs");
    terminal.press("q");
    let (code, _) = terminal.wait();
    assert_given_back(&terminal);
    assert_eq!(code, Some(1), "{}", terminal.written());
    let written = terminal.written();
    let (_, after) = written.rsplit_once(GIVEN_BACK).unwrap();
    assert!(
        after.contains("interrupted by SIGINT; nothing is left running"),
        "{after}"
    );
    lab.latest().wait_until_nobody_is_left();
}

#[test]
fn heights_of_every_instance_and_programs_are_drawn_beside_a_run() {
    let lab = Lab::new();
    let scenario = lab.scenario(
        "[[consensus]]\nid = \"side\"\nblock_interval = \"100ms\"\nempty_blocks = true\n\
         [[process]]\nname = \"idle\"\ncommand = [\"sh\", \"-c\", \"echo begun; sleep 3000 & wait\"]\n\
         ready = { line = \"begun\" }\n\
         [phases]\nwarmup = \"1s\"\nmeasure = \"8s\"\ncooldown = \"0s\"\n\
         [[load]]\nconsensus = \"main\"\nrate = 20\ntarget = \"full\"\n",
    );
    let mut terminal = run_on_terminal(&lab, &scenario, &[], &[]);
    terminal.until_shows("main    side");
    terminal.until_shows("idle-0 runs");
    until("heights of both instances", || {
        let screen = terminal.screen();
        let words = words_after_ready(&screen, "val-1");
        let heights = words.iter().take(2).filter_map(|word| word.parse::<u64>().ok());
        if heights.filter(|height| *height > 3).count() == 2 {
            Ok(())
        } else {
            Err(screen)
        }
    });
    let (_, stdout) = terminal.wait();
    assert!(stdout.contains("program ") && stdout.contains("idle-0"), "{stdout}");
    let run = lab.latest();
    run.assert_correct();
    let page = run.text("report.html");
    assert!(
        page.contains("id=\"programs\"") && page.contains(">idle-0<"),
        "no table of programs"
    );
    run.wait_until_nobody_is_left();
}
