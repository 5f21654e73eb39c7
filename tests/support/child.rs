// SPDX-License-Identifier: MIT OR Apache-2.0
//! Children: the test binary run again, in a role. Lines on stdin and stdout are all that synchronises.
//!
//! A binary that starts children has one ignored test named `child`, which calls [`run`] with its roles.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

const ROLE: &str = "SHM_TEST_ROLE";
const ARGUMENTS: &str = "SHM_TEST_ARGUMENTS";
/// Begins each line that is meant for the parent; the test harness prints others.
const MARK: char = '\u{1}';
/// Seconds after which a child that nobody ended ends itself.
const LIMIT: u32 = 100;

/// A started child, as its parent sees it. Killed when dropped.
pub struct Child {
    process: std::process::Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    role: String,
}

impl Child {
    pub fn start(role: &str, arguments: &[&dyn ToString]) -> Child {
        Self::start_with(Command::new(std::env::current_exe().unwrap()), role, arguments)
    }

    /// Starts with `command`, to which the words that select the role are added.
    pub fn start_with(mut command: Command, role: &str, arguments: &[&dyn ToString]) -> Child {
        let arguments: Vec<String> = arguments.iter().map(|argument| argument.to_string()).collect();
        let mut process = command
            .args(["child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(ARGUMENTS, arguments.join("\n"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().unwrap());
        Child { process, input, output, role: role.to_owned() }
    }

    pub fn pid(&self) -> i32 {
        self.process.id() as i32
    }

    pub fn say(&mut self, line: impl ToString) {
        // A child that is gone shows when it is heard or ended.
        let _ = writeln!(self.input.as_mut().unwrap(), "{}", line.to_string());
    }

    /// The child's next line, `None` when it ended.
    pub fn try_hear(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 {
            if let Some((_, said)) = line.trim_end_matches('\n').split_once(MARK) {
                return Some(said.to_owned());
            }
            line.clear();
        }
        None
    }

    #[track_caller]
    pub fn hear(&mut self) -> String {
        match self.try_hear() {
            Some(line) => line,
            None => panic!("{} ended: {:?}", self.role, self.process.wait()),
        }
    }

    /// The number that the child says next.
    #[track_caller]
    pub fn hear_number(&mut self) -> u64 {
        self.hear().parse().unwrap()
    }

    #[track_caller]
    pub fn expect(&mut self, line: &str) {
        assert_eq!(self.hear(), line, "said by {}", self.role);
    }

    /// SIGKILL, reaped. The child must have been alive.
    #[track_caller]
    pub fn kill(mut self) {
        let _ = self.process.kill();
        let status = self.process.wait().unwrap();
        assert_eq!(status.signal(), Some(libc::SIGKILL), "{} ended before: {status}", self.role);
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: a plain system call; the process isn't reaped yet, so its id is its own.
        assert_eq!(unsafe { libc::kill(self.pid(), signal) }, 0);
    }

    /// Stops all threads of the child.
    pub fn stop(&self) {
        self.signal(libc::SIGSTOP);
        let tasks = || std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let runs = |task: std::io::Result<std::fs::DirEntry>| {
            let stat = std::fs::read_to_string(task.unwrap().path().join("stat"));
            // One that ended meanwhile doesn't run.
            stat.is_ok_and(|stat| !stat.contains(") T "))
        };
        while tasks().any(runs) {
            std::thread::yield_now();
        }
    }

    /// Whether `thread` of the child is in futex(2).
    fn is_asleep(&self, thread: u64) -> bool {
        let call = std::fs::read_to_string(format!("/proc/{}/task/{thread}/syscall", self.pid())).unwrap();
        call.split(' ').next().and_then(|number| number.parse().ok()) == Some(libc::SYS_futex)
    }

    /// Waits until `thread` of the child is in futex(2).
    pub fn wait_until_asleep(&self, thread: u64) {
        while !self.is_asleep(thread) {
            std::thread::yield_now();
        }
    }

    /// Stops the child when `thread` is in futex(2).
    pub fn stop_asleep(&self, thread: u64) {
        let state = || std::fs::read_to_string(format!("/proc/{}/task/{thread}/stat", self.pid())).unwrap();
        loop {
            self.wait_until_asleep(thread);
            self.signal(libc::SIGSTOP);
            while !state().contains(") T ") {
                std::thread::yield_now();
            }
            if self.is_asleep(thread) {
                return;
            }
            self.signal(libc::SIGCONT);
        }
    }

    pub fn is_alive(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// Waits for the child to end by itself, its input closed, and for its success.
    #[track_caller]
    pub fn finish(mut self) {
        let status = self.wait();
        assert!(status.success(), "{}: {status}", self.role);
    }

    pub fn wait(&mut self) -> ExitStatus {
        drop(self.input.take());
        // Whatever it still says must not fill the pipe.
        while self.try_hear().is_some() {}
        self.process.wait().unwrap()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A child's view of its parent.
pub struct Parent {
    arguments: std::vec::IntoIter<String>,
}

impl Parent {
    /// The next argument.
    pub fn text(&mut self) -> String {
        self.arguments.next().unwrap()
    }

    pub fn number(&mut self) -> u64 {
        self.text().parse().unwrap()
    }

    pub fn say(&self, line: impl ToString) {
        let mut out = std::io::stdout().lock();
        // One write: strace and others may write between two.
        out.write_all(format!("{MARK}{}\n", line.to_string()).as_bytes()).unwrap();
        out.flush().unwrap();
    }

    /// The parent's next line, `None` when it closed the input.
    pub fn hear(&self) -> Option<String> {
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line).unwrap();
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// Says `line`, then waits to be spoken to. A child whose parent is gone ends.
    pub fn say_and_wait(&self, line: &str) -> String {
        self.say(line);
        self.hear().unwrap_or_else(|| std::process::exit(3))
    }
}

/// What a child can be, by name.
pub type Role = (&'static str, fn(Parent));

/// The thread that a role runs in: the test harness has one more.
pub fn this_thread() -> i32 {
    // SAFETY: a plain system call.
    unsafe { libc::gettid() }
}

/// What this process is, if it is a child.
pub fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// The body of the ignored test `child`.
pub fn run(roles: &[Role]) {
    let Some(role) = role() else {
        return;
    };
    // SAFETY: plain system calls. The signal comes when the thread that started this process is gone.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::alarm(LIMIT * super::factor() as u32);
    }
    let arguments = std::env::var(ARGUMENTS).unwrap();
    let arguments: Vec<String> = arguments.lines().map(str::to_owned).collect();
    let found = roles.iter().find(|(name, _)| *name == role);
    let (_, body) = found.unwrap_or_else(|| panic!("no role {role}"));
    body(Parent { arguments: arguments.into_iter() });
}
