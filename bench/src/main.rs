// SPDX-License-Identifier: MIT OR Apache-2.0
//! Measures shm beside the floor that the machine sets and beside its peers: all of them in the same run, taking
//! turns, so that a figure is a ratio of two things that met the same noise.
//!
//! Each side of a measurement is a process of its own. This one only gives orders and waits: see `process`.

mod floor;
mod machine;
mod peers;
mod process;
mod report;
mod room;
mod scenarios;
mod stats;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lexopt::prelude::*;

use room::{Lease, Room};
use scenarios::{Bench, Scenario, SCENARIOS};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const RESULTS: &str = "results/latest.json";

struct Arguments {
    quick: bool,
    scenarios: Vec<&'static Scenario>,
    json: PathBuf,
}

enum Command {
    Measure(Arguments),
    Help,
    Side { room: String, task: String },
    Janitor { room: String },
}

fn main() -> ExitCode {
    match parse().and_then(obey) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shm-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn obey(command: Command) -> Result<()> {
    match command {
        Command::Measure(arguments) => measure(&arguments),
        Command::Help => {
            print!("{}", help());
            Ok(())
        }
        Command::Side { room, task } => {
            scenarios::side(serde_json::from_str(&task)?, &serde_json::from_str(&room)?)
        }
        Command::Janitor { room } => room::janitor(&serde_json::from_str(&room)?),
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    let room = Room::new(machine::two_cpus()?);
    println!("{}", machine::describe(room.cpus));
    if let Some(load) = machine::load().filter(|&load| load > 0.5) {
        println!("load average {load}: others are at work, trust ratios more than times");
    }
    let _lease = Lease::open(&room)?;
    let bench = Bench { room, quick: arguments.quick };
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    for scenario in &arguments.scenarios {
        eprintln!("{} …", scenario.name);
        match (scenario.run)(&bench) {
            Ok(measured) => rows.extend(measured),
            Err(error) => {
                eprintln!("{}: {error}", scenario.name);
                failed.push(scenario.name);
            }
        }
    }
    print!("\n{}", report::table(&rows));
    report::write(&rows, &arguments.json)?;
    println!("{}", arguments.json.display());
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("not measured: {}", failed.join(", ")).into())
    }
}

fn parse() -> Result<Command> {
    let mut arguments =
        Arguments { quick: false, scenarios: SCENARIOS.iter().collect(), json: default_results() };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("quick") => arguments.quick = true,
            Long("scenario") => arguments.scenarios = chosen(&parser.value()?.string()?)?,
            Long("json") => arguments.json = parser.value()?.into(),
            Long("help") | Short('h') => return Ok(Command::Help),
            Value(word) if word == process::SIDE => {
                return Ok(Command::Side {
                    room: parser.value()?.string()?,
                    task: parser.value()?.string()?,
                });
            }
            Value(word) if word == room::JANITOR => {
                return Ok(Command::Janitor { room: parser.value()?.string()? });
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Command::Measure(arguments))
}

fn chosen(names: &str) -> Result<Vec<&'static Scenario>> {
    let find = |name| {
        let found = SCENARIOS.iter().find(|scenario| scenario.name == name);
        found.ok_or_else(|| format!("no scenario is called {name:?}").into())
    };
    names.split(',').map(find).collect()
}

/// Beside the sources, so that the figures are kept with what made them; else where the program is run.
fn default_results() -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    if sources.is_dir() {
        sources.join(RESULTS)
    } else {
        PathBuf::from("latest.json")
    }
}

fn help() -> String {
    let names: Vec<String> =
        SCENARIOS.iter().map(|scenario| format!("  {:<12}{}\n", scenario.name, scenario.what)).collect();
    format!(
        "Usage: shm-bench [--quick] [--scenario NAME,…] [--json PATH]\n\n\
         Measures shm, the machine's floor and iceoryx2 in turns, prints a table and writes the figures\n\
         to PATH ({}).\n\nScenarios:\n{}",
        default_results().display(),
        names.concat()
    )
}
