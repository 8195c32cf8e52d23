//! Closed-loop load: so many connections, one call in flight on each, every answer checked.

use super::{
    Failure,
    client::{Answer, Client},
    era::Era,
    processes::Group,
};
use std::{
    cell::RefCell,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// No answer within this time is a failed call.
const PATIENCE: Duration = Duration::from_secs(10);
/// Complaints that are kept.
const SAMPLES: usize = 5;

/// Where to send calls, and with which headers.
#[derive(Clone)]
pub(crate) struct Reach {
    /// The server.
    pub(crate) address: SocketAddr,
    /// Which calls.
    pub(crate) era: Era,
    /// The headers of each.
    pub(crate) headers: Rc<str>,
}

/// Connections to one server.
pub(crate) struct Pool {
    reach: Reach,
    clients: Vec<Caller>,
}

/// One connection, which numbers its calls from 1.
struct Caller {
    client: Option<Client>,
    number: usize,
    calls: u64,
    body: Vec<u8>,
    expected: String,
}

/// What came of one turn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slice {
    /// From the first call to the last answer.
    pub(crate) elapsed: Duration,
    /// Times of the calls that were answered rightly, in nanoseconds, sorted.
    pub(crate) latencies: Vec<u64>,
    /// Calls that were answered wrongly or not at all.
    pub(crate) wrong: u64,
    /// Some of the reasons.
    pub(crate) complaints: Vec<String>,
    /// Processor time per process of the group, in nanoseconds.
    pub(crate) cpu: Vec<(String, u64)>,
}

impl Slice {
    /// Calls per second.
    pub(crate) fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// Processor time per call of the processes whose name `counts`, in microseconds.
    pub(crate) fn cpu(&self, counts: impl Fn(&str) -> bool) -> f64 {
        let sum: u64 = self
            .cpu
            .iter()
            .filter(|(name, _)| counts(name))
            .map(|(_, time)| time)
            .sum();
        sum as f64 / 1000.0 / self.latencies.len() as f64
    }

    /// A quantile of the latency, in microseconds.
    pub(crate) fn latency(&self, quantile: f64) -> f64 {
        let at = (self.latencies.len() as f64 * quantile) as usize;
        self.latencies
            .get(at)
            .map_or(f64::NAN, |time| *time as f64 / 1000.0)
    }
}

impl Pool {
    /// Opens the connections.
    ///
    /// # Errors
    /// One of them could not be opened.
    pub(crate) async fn open(reach: Reach, size: usize) -> Result<Self, Failure> {
        let mut clients = Vec::with_capacity(size);
        for number in 0..size {
            let client = Some(Client::connect(reach.address).await?);
            clients.push(Caller {
                client,
                number,
                calls: 0,
                body: Vec::new(),
                expected: String::new(),
            });
        }
        Ok(Self { reach, clients })
    }

    /// Number of connections.
    pub(crate) const fn size(&self) -> usize {
        self.clients.len()
    }

    /// Calls for so long, and reads what the group's processes took for it.
    ///
    /// # Errors
    /// A connection could not be opened again, or a process is gone.
    pub(crate) async fn run(&mut self, turn: Duration, group: &Group) -> Result<Slice, Failure> {
        for caller in &mut self.clients {
            if caller.client.is_none() {
                caller.client = Some(Client::connect(self.reach.address).await?);
            }
        }
        let slice = Rc::new(RefCell::new(Slice::default()));
        let local = tokio::task::LocalSet::new();
        let mut tasks = JoinSet::new();
        let before = group.cpu()?;
        let began = Instant::now();
        for mut caller in self.clients.drain(..) {
            let (reach, slice) = (self.reach.clone(), Rc::clone(&slice));
            let work = async move {
                caller.run(&reach, began + turn, &slice).await;
                caller
            };
            tasks.spawn_local_on(work, &local);
        }
        self.clients = local.run_until(tasks.join_all()).await;
        let mut slice = slice.take();
        slice.elapsed = began.elapsed();
        slice.cpu = group
            .cpu()?
            .into_iter()
            .zip(before)
            .map(|((name, after), (_, before))| (name, after - before))
            .collect();
        slice.latencies.sort_unstable();
        Ok(slice)
    }
}

impl Caller {
    async fn run(&mut self, reach: &Reach, until: Instant, slice: &RefCell<Slice>) {
        loop {
            let began = Instant::now();
            if began >= until {
                return;
            }
            let called = tokio::time::timeout(PATIENCE, self.call(reach)).await;
            let mut slice = slice.borrow_mut();
            match called.unwrap_or_else(|_| Err("no answer".to_owned())) {
                Ok(()) => slice
                    .latencies
                    .push(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)),
                Err(complaint) => {
                    slice.wrong += 1;
                    if slice.complaints.len() < SAMPLES {
                        slice.complaints.push(complaint);
                    }
                    // What else comes on this connection cannot be told apart any more.
                    self.client = None;
                    return;
                }
            }
        }
    }

    async fn call(&mut self, reach: &Reach) -> Result<(), String> {
        use std::fmt::Write;
        self.calls += 1;
        let id = self.calls;
        self.expected.clear();
        self.body.clear();
        // As long as a short sentence; no two connections of the run ever send the same.
        let client = self.client.as_mut().ok_or("not connected")?;
        let nonce = (self.number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            ^ id.wrapping_mul(0xd1b5_4a32_d192_ed03);
        write!(
            self.expected,
            "connection {} call {id} of this run, nonce {nonce:016x}",
            self.number
        )
        .map_err(|error| error.to_string())?;
        reach
            .era
            .call(id, format_args!("{}", self.expected), &mut self.body);
        let (status, _, body) = client
            .post(&reach.headers, &self.body)
            .await
            .map_err(|error| error.to_string())?;
        let text = || String::from_utf8_lossy(body).into_owned();
        if status != 200 {
            return Err(format!("status {status}: {}", text()));
        }
        let answer: Answer<'_> =
            serde_json::from_slice(body).map_err(|error| format!("{error}: {}", text()))?;
        if answer.id != id || answer.text() != self.expected {
            return Err(format!("asked {} ({id}), got {}", self.expected, text()));
        }
        Ok(())
    }
}
