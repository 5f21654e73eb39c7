// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rows, their goals, the table that people read and the file that programs read.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::stats::Measured;
use crate::Result;

/// A figure, as the results file has it.
#[derive(Debug, Serialize)]
pub struct Row {
    scenario: &'static str,
    system: String,
    params: Map<String, Value>,
    median: Option<f64>,
    p99: Option<f64>,
    unit: &'static str,
    ratio_to_floor: Option<f64>,
    /// Why there is no figure.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<String>,
    #[serde(skip)]
    quartiles: Option<(f64, f64)>,
    #[serde(skip)]
    goals: Vec<Goal>,
}

/// A value that was promised a limit.
#[derive(Debug)]
pub struct Goal {
    text: String,
    value: f64,
    met: bool,
}

impl Goal {
    /// `what` completes the sentence "`value` times …", or "`value` …".
    pub fn at_most(value: f64, limit: f64, what: &str) -> Goal {
        Goal { text: format!("<= {limit} {what}"), value, met: value <= limit }
    }

    pub fn at_least(value: f64, limit: f64, what: &str) -> Goal {
        Goal { text: format!(">= {limit} {what}"), value, met: value >= limit }
    }
}

impl Row {
    /// `params` is a JSON object.
    pub fn new(
        scenario: &'static str,
        system: impl Into<String>,
        params: Value,
        measured: &Measured,
        unit: &'static str,
    ) -> Row {
        let Value::Object(params) = params else { panic!("the parameters of a row are an object") };
        Row {
            scenario,
            system: system.into(),
            params,
            median: Some(measured.median()),
            p99: Some(measured.p99()),
            unit,
            ratio_to_floor: None,
            skipped: None,
            quartiles: Some(measured.quartiles()),
            goals: Vec::new(),
        }
    }

    /// Nothing was measured, since this machine lacks what it takes; no failure of the run.
    pub fn skipped(scenario: &'static str, reason: impl Into<String>) -> Row {
        Row {
            scenario,
            system: "shm".into(),
            params: Map::new(),
            median: None,
            p99: None,
            unit: "",
            ratio_to_floor: None,
            skipped: Some(reason.into()),
            quartiles: None,
            goals: Vec::new(),
        }
    }

    pub fn over_floor(mut self, ratio: f64) -> Row {
        self.ratio_to_floor = Some(ratio);
        self
    }

    pub fn goal(mut self, goal: Goal) -> Row {
        self.goals.push(goal);
        self
    }

    fn cells(&self) -> [String; 8] {
        let params: Vec<String> =
            self.params.iter().map(|(name, value)| format!("{name}={}", plain(value))).collect();
        [
            self.scenario.into(),
            self.system.clone(),
            params.join(" "),
            self.median.map(number).unwrap_or_default(),
            self.quartiles
                .map(|(low, high)| format!("{}..{}", number(low), number(high)))
                .unwrap_or_default(),
            self.p99.map(number).unwrap_or_default(),
            self.unit.into(),
            self.ratio_to_floor.map(number).unwrap_or_default(),
        ]
    }

    fn verdict(&self) -> String {
        if let Some(reason) = &self.skipped {
            return format!("SKIPPED: {reason}");
        }
        let verdict = |goal: &Goal| {
            format!("{} {}: {}", if goal.met { "pass" } else { "MISS" }, goal.text, number(goal.value))
        };
        self.goals.iter().map(verdict).collect::<Vec<_>>().join("; ")
    }
}

const HEAD: [&str; 9] =
    ["scenario", "system", "params", "median", "quartiles", "p99", "unit", "x floor", "goals"];

/// The table, with a last line that counts the goals.
pub fn table(rows: &[Row]) -> String {
    let body: Vec<[String; 8]> = rows.iter().map(Row::cells).collect();
    let width = |column: usize| {
        let cells = body.iter().map(|cells| cells[column].chars().count());
        cells.chain([HEAD[column].len()]).max().unwrap_or_default()
    };
    let widths: [usize; 8] = std::array::from_fn(width);
    let mut text = String::new();
    let head: [String; 8] = std::array::from_fn(|column| HEAD[column].into());
    line(&mut text, &head, &widths, HEAD[8]);
    for (cells, row) in body.iter().zip(rows) {
        line(&mut text, cells, &widths, &row.verdict());
    }
    let goals: Vec<&Goal> = rows.iter().flat_map(|row| &row.goals).collect();
    let met = goals.iter().filter(|goal| goal.met).count();
    let _ = writeln!(text, "\n{met} of {} goals met", goals.len());
    text
}

fn line(text: &mut String, cells: &[String; 8], widths: &[usize; 8], last: &str) {
    let mut full = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        // Words to the left, numbers to the right.
        let _ = match column {
            3..=5 | 7 => write!(full, "{cell:>width$}  "),
            _ => write!(full, "{cell:<width$}  "),
        };
    }
    full.push_str(last);
    text.push_str(full.trim_end());
    text.push('\n');
}

pub fn write(rows: &[Row], path: &Path) -> Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut text = serde_json::to_string_pretty(rows)?;
    text.push('\n');
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}

/// Three significant digits or, beyond them, whole numbers.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.01 => format!("{value:.2}"),
        _ => format!("{value:.1e}"),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stats::Better;

    fn row() -> Row {
        let mut measured = Measured::new(Better::Less);
        measured.round(&[90.0, 100.0, 2000.0]);
        Row::new("pingpong", "shm", json!({"size": 64}), &measured, "ns").over_floor(1.6)
    }

    #[test]
    fn the_file_has_the_agreed_fields() {
        let value = serde_json::to_value(row().goal(Goal::at_most(1.6, 1.8, "x floor"))).unwrap();
        let fields: Vec<&String> = value.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["median", "p99", "params", "ratio_to_floor", "scenario", "system", "unit"]);
        assert_eq!(value["median"], 100.0);
        assert_eq!(value["params"]["size"], 64);
    }

    #[test]
    fn the_table_says_what_was_missed() {
        let rows = [
            row().goal(Goal::at_most(1.6, 1.8, "x floor")),
            row().goal(Goal::at_least(2.0, 2.5, "x faster")),
        ];
        let text = table(&rows);
        assert!(text.contains("pass <= 1.8 x floor: 1.60"), "{text}");
        assert!(text.contains("MISS >= 2.5 x faster: 2.00"), "{text}");
        assert!(text.ends_with("1 of 2 goals met\n"), "{text}");
    }

    #[test]
    fn what_was_skipped_is_no_figure() {
        let rows = [Row::skipped("gpu", "no device")];
        let value = serde_json::to_value(&rows[0]).unwrap();
        assert_eq!((&value["median"], &value["skipped"]), (&Value::Null, &json!("no device")));
        let text = table(&rows);
        assert!(text.contains("SKIPPED: no device\n"), "{text}");
        assert!(text.ends_with("0 of 0 goals met\n"), "{text}");
    }

    #[test]
    fn numbers_are_as_long_as_they_are_precise() {
        assert_eq!([0.0, 0.001, 1.234, 12.34, 123.4].map(number), ["0", "1.0e-3", "1.23", "12.3", "123"]);
    }
}
