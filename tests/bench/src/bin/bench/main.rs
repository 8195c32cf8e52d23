//! The benchmark's driver. Measures ggend and the bare relay side by side in short turns, so that
//! whatever else the machine does hits both, and checks every answer. Exit code 1: an answer was
//! wrong, missing or somebody else's; 2 with `--strict`: a floor was missed.

mod client;
mod era;
mod load;
mod pipe;
mod processes;
mod report;
mod targets;

use clap::Parser;
use era::Era;
use load::{Pool, Slice};
use report::{Cell, Report, Round};
use std::{
    error::Error,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};
use targets::{Ggend, Relay};

/// Anything that keeps the benchmark from being run.
type Failure = Box<dyn Error>;

/// Calls per second, latency, processor time per call and memory of ggend, beside a bare relay.
#[derive(Parser)]
struct Arguments {
    /// The folder of the programs; otherwise the driver's own.
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    /// Turns of each of the two per line of the table.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Length of a turn.
    #[arg(long, default_value_t = 400, value_name = "MS")]
    turn: u64,
    /// Connections, each with one call in flight.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,256")]
    concurrency: Vec<usize>,
    /// Clients and servers of these revisions.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "legacy,modern"
    )]
    era: Vec<Era>,
    /// `server.workers` of ggend.
    #[arg(long, default_value_t = 2)]
    workers: u32,
    /// Everything as JSON instead of the table.
    #[arg(long)]
    json: bool,
    /// Fail when a floor is missed.
    #[arg(long)]
    strict: bool,
}

fn main() -> Result<ExitCode, Failure> {
    let arguments = Arguments::parse();
    let programs = match &arguments.programs {
        Some(folder) => folder.clone(),
        None => std::env::current_exe()?.with_file_name(""),
    };
    let ggend = Ggend::start(&programs, arguments.workers)?;
    let relays = arguments
        .era
        .iter()
        .map(|era| Relay::start(&programs, *era))
        .collect::<Result<Vec<_>, _>>()?;
    // The processes measured go where the kernel likes; only the driver stays where it is.
    processes::keep_to_last_core();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut report = Report::default();
    runtime.block_on(async {
        for (era, relay) in arguments.era.iter().zip(&relays) {
            let reach = ggend.reach(*era).await?;
            if report.idle.is_empty() {
                // What the daemon does right after its start is not what it does when idle.
                tokio::time::sleep(Duration::from_secs(1)).await;
                report.idle = ggend.processes()?.memory()?;
            }
            for concurrency in &arguments.concurrency {
                let through = Pool::open(reach.clone(), *concurrency).await?;
                let beside = Pool::open(relay.reach(*era), *concurrency).await?;
                let mut pipe = pipe::Raw::start(&programs, *era)?;
                report.cells.push(
                    measure(
                        &arguments,
                        *era,
                        (through, &ggend),
                        (beside, relay),
                        &mut pipe,
                    )
                    .await?,
                );
            }
        }
        report.loaded = ggend.processes()?.memory()?;
        Ok::<_, Failure>(())
    })?;
    let mut out = io::stdout().lock();
    if arguments.json {
        serde_json::to_writer_pretty(&mut out, &report.to_json())?;
        writeln!(out)?;
    } else {
        write!(out, "{report}")?;
    }
    Ok(if report.cells.iter().any(|cell| cell.wrong() > 0) {
        ExitCode::from(1)
    } else if arguments.strict && !report.floors_met() {
        ExitCode::from(2)
    } else {
        ExitCode::SUCCESS
    })
}

/// One line of the table.
async fn measure(
    arguments: &Arguments,
    era: Era,
    (mut through, ggend): (Pool, &Ggend),
    (mut beside, relay): (Pool, &Relay),
    pipe: &mut pipe::Raw,
) -> Result<Cell, Failure> {
    let turn = Duration::from_millis(arguments.turn);
    let mut cell = Cell::new(era, through.size());
    // The first calls meet cold caches and lists that are not fetched yet.
    through.run(turn / 4, &ggend.processes()?).await?;
    beside.run(turn / 4, &relay.processes()?).await?;
    for round in 0..arguments.rounds {
        let (ours, floor): (Slice, Slice);
        if round % 2 == 0 {
            floor = beside.run(turn, &relay.processes()?).await?;
            ours = through.run(turn, &ggend.processes()?).await?;
        } else {
            ours = through.run(turn, &ggend.processes()?).await?;
            floor = beside.run(turn, &relay.processes()?).await?;
        }
        let raw = if cell.concurrency == 1 {
            Some(pipe.run(turn / 4)?)
        } else {
            None
        };
        cell.rounds.push(Round { ours, floor, raw });
    }
    Ok(cell)
}
