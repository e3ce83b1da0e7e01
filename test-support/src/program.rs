//! A program of ours as its user starts it: with arguments and an environment, to its end or until it is stopped.

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::client::Client;

/// How long a program may take for what it is asked, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a program said, and how it ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ended {
    /// Asserts that it did what it was asked.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// Asserts that it refused, with one line on standard error that has all of these in it.
    #[track_caller]
    pub fn refuses(self, saying: &[&str]) -> Self {
        assert!(self.code.is_some_and(|code| code != 0), "{self:?}");
        assert_eq!(self.stderr.trim_end().lines().count(), 1, "{self:?}");
        for part in saying {
            assert!(self.stderr.contains(part), "no {part:?} in {self:?}");
        }
        self
    }
}

/// A program and what it is started with. It sees nothing of this process's environment.
#[derive(Clone, Debug)]
pub struct Program {
    binary: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    folder: PathBuf,
    log: PathBuf,
}

impl Program {
    /// The program at this path, to be run in this folder.
    pub fn new(binary: impl Into<PathBuf>, folder: impl Into<PathBuf>) -> Self {
        let (binary, folder) = (binary.into(), folder.into());
        Self {
            binary,
            arguments: Vec::new(),
            environment: Vec::new(),
            log: folder.join("stderr.log"),
            folder,
        }
    }

    /// With more arguments.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments
            .extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// With an environment variable.
    #[must_use]
    pub fn setting(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// With its standard error somewhere else than in its folder.
    #[must_use]
    pub fn logging_to(mut self, file: impl Into<PathBuf>) -> Self {
        self.log = file.into();
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.clone())
            .current_dir(&self.folder);
        command
    }

    /// Runs to its end.
    #[must_use]
    pub fn run(&self) -> Ended {
        self.run_with("")
    }

    /// Runs to its end, reading this. A program that does not end is stopped, and the test with it.
    #[must_use]
    pub fn run_with(&self, input: &str) -> Ended {
        let mut command = self.command();
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        // A program that does not read has closed the pipe: that is its right.
        let _ = child
            .stdin
            .take()
            .expect("its input is a pipe")
            .write_all(input.as_bytes());
        wait(&mut child);
        let output = child
            .wait_with_output()
            .expect("the program's output can be read");
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// Starts it, with its output in files of this folder.
    #[must_use]
    pub fn start(&self) -> Running {
        let (stdout, stderr) = (self.folder.join("stdout.log"), self.log.clone());
        let mut command = self.command();
        command
            .stdin(Stdio::null())
            .stdout(append(&stdout))
            .stderr(append(&stderr));
        Running {
            child: command.spawn().expect("the program starts"),
            stdout,
            stderr,
        }
    }
}

/// A running program, killed when it is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    /// Waits until a server of it is ready.
    pub async fn is_ready(&mut self, client: &Client) {
        let started = Instant::now();
        while !client.answers("/health/ready").await {
            if let Some(status) = self
                .child
                .try_wait()
                .expect("the program can be waited for")
            {
                panic!("it ended with {status}: {}", self.log());
            }
            assert!(
                started.elapsed() < PATIENCE,
                "it did not become ready: {}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it with SIGKILL, as a power cut would.
    pub fn kill(mut self) {
        self.child.kill().expect("a program of ours can be killed");
        self.child.wait().expect("the program can be waited for");
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args(["-s", signal, &pid])
            .status()
            .expect("kill is there");
        assert!(sent.success());
    }

    /// Asks it to end with a signal (`TERM`, `INT`) and waits until it has.
    pub fn stop(&mut self, signal: &str) -> ExitStatus {
        self.signal(signal);
        wait(&mut self.child)
    }

    /// What it wrote to standard output so far.
    #[must_use]
    pub fn output(&self) -> String {
        fs::read_to_string(&self.stdout).expect("its output is in a file")
    }

    /// What it wrote to standard error so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.stderr).expect("its log is in a file")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait(child: &mut Child) -> ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("the program can be waited for") {
            return status;
        }
        if started.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("the program did not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn append(file: &Path) -> File {
    File::options()
        .create(true)
        .append(true)
        .open(file)
        .expect("a file for the program's output")
}

/// An address that nobody listens on just now, for a program that has to be told one.
#[must_use]
pub fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener
        .local_addr()
        .expect("a bound listener has an address")
        .to_string()
}
