//! The round trip to the same server over bare pipes, without HTTP: what nobody who puts a gateway
//! in front of it can beat.

use super::{Failure, era::Era, targets};
use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

/// An echo server of its own.
pub(crate) struct Raw {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    calls: u64,
    // The last, so that its end is seen only after stdin is closed.
    _process: targets::Process,
}

impl Raw {
    /// Starts the server.
    ///
    /// # Errors
    /// It could not be started.
    pub(crate) fn start(programs: &Path, era: Era) -> Result<Self, Failure> {
        let mut command = Command::new(programs.join("echo-server"));
        command
            .args(["--era", era.name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let (input, output) = child
            .stdin
            .take()
            .zip(child.stdout.take())
            .ok_or("no pipes")?;
        processes_elsewhere(child.id());
        Ok(Self {
            input,
            output: BufReader::new(output),
            calls: 0,
            _process: targets::Process::new(child),
        })
    }

    /// Calls for so long. Latencies in nanoseconds, sorted. Blocks the driver, which has nothing
    /// else to do meanwhile.
    ///
    /// # Errors
    /// The server is gone, or its answer is not the one to the question.
    pub(crate) fn run(&mut self, turn: Duration) -> Result<Vec<u64>, Failure> {
        let (mut latencies, mut line, mut expected, mut answer) =
            (Vec::new(), Vec::new(), String::new(), String::new());
        let began = Instant::now();
        while began.elapsed() < turn {
            let started = Instant::now();
            self.calls += 1;
            line.clear();
            expected.clear();
            answer.clear();
            write!(
                expected,
                "a call over bare pipes that is as long as the others are: {:016x}",
                self.calls
            )?;
            Era::Legacy.call(self.calls, format_args!("{expected}"), &mut line);
            line.push(b'\n');
            self.input.write_all(&line)?;
            self.output.read_line(&mut answer)?;
            if !answer.contains(&expected) {
                return Err(format!("bare pipe: asked {expected}, got {answer}").into());
            }
            latencies.push(u64::try_from(started.elapsed().as_nanos())?);
        }
        latencies.sort_unstable();
        Ok(latencies)
    }
}

/// The server must not share the driver's core, as those behind the gateways do not have to.
fn processes_elsewhere(pid: u32) {
    super::processes::allow_all_cores(pid);
}
