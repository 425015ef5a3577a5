//! A terminal for a program: a pseudo-terminal, and what a person would see on it.

use super::wait::until;
use nix::{
    pty::{Winsize, openpty},
    sys::termios::{LocalFlags, tcgetattr},
};
use std::{
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

const COLUMNS: u16 = 120;
const ROWS: u16 = 40;

/// A program on a terminal of its own. Killed when dropped.
pub struct Terminal {
    child: Child,
    keyboard: File,
    /// Everything that the program wrote to the terminal.
    written: Arc<Mutex<Vec<u8>>>,
    /// Whoever reads it.
    reader: JoinHandle<()>,
    stdout: PathBuf,
}

impl Terminal {
    /// Starts `program` with stdin and stderr on a new terminal that is its controlling one; stdout goes to a file.
    pub fn start(program: &Path, arguments: &[&str], folder: &Path, environment: &[(&str, &str)]) -> Self {
        let size = Winsize {
            ws_row: ROWS,
            ws_col: COLUMNS,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pair = openpty(Some(&size), None).unwrap();
        // Copies are closed in programs that are started: whoever goes on in the background holds no terminal.
        let (master, slave) = (pair.master.try_clone().unwrap(), pair.slave.try_clone().unwrap());
        drop(pair);
        let stdout = folder.join("terminal.stdout");
        // A session of its own, so that whoever runs the tests keeps their terminal.
        let child = Command::new("setsid")
            .args(["--ctty", "--wait"])
            .arg(program)
            .args(arguments)
            .current_dir(regatta_tests::workspace_root())
            .env_remove("NO_COLOR")
            .env("TERM", "xterm-256color")
            .envs(environment.iter().copied())
            .stdin(Stdio::from(slave.try_clone().unwrap()))
            .stdout(File::create(&stdout).unwrap())
            .stderr(Stdio::from(slave))
            .spawn()
            .expect("setsid of util-linux starts");
        let keyboard = File::from(master);
        let written = Arc::new(Mutex::new(Vec::new()));
        let (mut from, into) = (keyboard.try_clone().unwrap(), Arc::clone(&written));
        // Ends when the last process closes the terminal.
        let reader = std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut chunk) {
                into.lock().unwrap().extend(&chunk[..count]);
            }
        });
        Self {
            child,
            keyboard,
            written,
            reader,
            stdout,
        }
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Everything that was written, with its control sequences.
    pub fn written(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }

    /// What a person sees.
    pub fn screen(&self) -> String {
        picture(&self.written())
    }

    /// Waits until a person sees `text`.
    pub fn until_shows(&mut self, text: &str) {
        until(&format!("`{text}` on the terminal"), || {
            let has_ended = self.child.try_wait().unwrap().is_some();
            let screen = self.screen();
            assert!(
                !has_ended || screen.contains(text),
                "it ended without `{text}`: {screen}"
            );
            if screen.contains(text) { Ok(()) } else { Err(screen) }
        });
    }

    /// Whether the terminal takes lines and shows what is typed, as a shell wants it.
    pub fn is_as_shells_want_it(&self) -> bool {
        let flags = tcgetattr(&self.keyboard).unwrap().local_flags;
        flags.contains(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
    }

    /// Waits until the program ends and returns its exit code and what it printed to stdout.
    pub fn wait(&mut self) -> (Option<i32>, String) {
        let status = until("the program on the terminal to end", || {
            let status = self.child.try_wait().unwrap();
            status.ok_or_else(|| self.screen())
        });
        // Its last words may still be on their way.
        until("the end of what was written", || {
            self.reader.is_finished().then_some(()).ok_or_else(|| self.screen())
        });
        (status.code(), std::fs::read_to_string(&self.stdout).unwrap())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The cells of a terminal after `written`: moves of the cursor are followed, colours are not.
fn picture(written: &str) -> String {
    let (columns, rows) = (usize::from(COLUMNS), usize::from(ROWS));
    let mut cells = vec![vec![' '; columns]; rows];
    let (mut row, mut column) = (0, 0);
    let mut characters = written.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => {
                if characters.next_if_eq(&'[').is_none() {
                    continue;
                }
                let mut parameters = String::new();
                while let Some(next) = characters.next_if(|next| !next.is_ascii_alphabetic()) {
                    parameters.push(next);
                }
                match characters.next() {
                    Some('H') => {
                        let mut numbers = parameters.split(';').map(|number| number.parse().unwrap_or(1_usize));
                        row = numbers.next().unwrap_or(1).saturating_sub(1);
                        column = numbers.next().unwrap_or(1).saturating_sub(1);
                    }
                    Some('J') => cells = vec![vec![' '; columns]; rows],
                    _ => {}
                }
            }
            '\r' => column = 0,
            '\n' => row += 1,
            _ => {
                if let Some(cell) = cells.get_mut(row).and_then(|row| row.get_mut(column)) {
                    *cell = character;
                }
                column += 1;
            }
        }
    }
    let lines = cells.into_iter().map(String::from_iter);
    lines.map(|line| line.trim_end().to_owned() + "\n").collect()
}
