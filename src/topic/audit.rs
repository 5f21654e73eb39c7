// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether what lies in shared memory is as the invariants say. Changes nothing and takes no part.
//!
//! What is private to a publisher, its free chunks above all, can't be seen from here: `Publisher::memory` tells.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::join::{open_dir, open_peers, open_ring};
use super::layout::{segment_name, status, SegmentState, SegmentWord, SLOTS_OFFSET, TAIL_OFFSET};
use super::name::{self, Kind, Named};
use super::{create, segments_of, Files, Place, Role};
use crate::error::Result;
use crate::options::RootOptions;
use crate::os::dir::{Access, Dir};
use crate::pool::{NotMapped, Segment};
use crate::ring::{ChunkId, Ring};
use crate::sync::{load_acquire, Ordering};

/// What [`audit`] found in a root.
#[derive(Clone, Default, Debug)]
#[non_exhaustive]
pub struct Audit {
    /// The topics and services, in the order of their directories' names.
    pub topics: Vec<TopicAudit>,
    /// Directories of topics or services that were never put in place, or are being taken away, and whose maker is dead.
    pub abandoned: Vec<String>,
    /// Names in the root that aren't the library's.
    pub foreign: Vec<String>,
}

/// What [`audit`] found of one topic or service.
#[derive(Clone, Default, Debug)]
#[non_exhaustive]
pub struct TopicAudit {
    /// Which of them.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Participants that are alive.
    pub living: u32,
    /// Entries of the dead, which the next to join, or [`gc`](crate::gc), frees.
    pub dead: u32,
    /// Segments of participants that are gone, which the next publisher, client or server takes or deletes once nothing in them is needed.
    pub orphans: u32,
    /// What contradicts the library's invariants. Empty unless something is broken.
    pub findings: Vec<Finding>,
}

/// Something that should not be.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// Which of the invariants in ARCHITECTURE.md, or `layout`.
    pub rule: &'static str,
    /// What was found, and where.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.rule)
    }
}

/// Looks through all topics and services of a root, and at the files and the words of each.
///
/// It may run at any time and disturbs nobody, but is exact only while nobody joins, leaves, publishes, receives or calls: what is in
/// motion while it looks may be reported though nothing is wrong.
///
/// ```
/// # let root = tempfile::tempdir()?; std::env::set_var("SHM_ROOT", root.path());
/// let publisher = shm::Publisher::new("/greetings")?;
/// let audit = shm::audit(&Default::default())?;
/// let topic = &audit.topics[0];
/// assert_eq!((topic.kind, topic.name.as_str(), topic.living), (shm::Kind::Topic, "/greetings", 1));
/// assert!(topic.findings.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::NotTrusted`](crate::Error::NotTrusted) and [`Error::Os`](crate::Error::Os) for the root. What can't be read of one of them is
/// a finding, and a root that isn't there has none.
pub fn audit(options: &RootOptions) -> Result<Audit> {
    let root_path = options.path()?;
    let mut audit = Audit::default();
    let Some(root) = root_path.open_existing()? else { return Ok(audit) };
    let mut names: Vec<_> =
        root.names()?.into_iter().map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    for file in names {
        if let Some(named) = name::unescape(&file) {
            let place = Place { root: root_path.clone(), name: file };
            match audit_topic(named, &place, &root) {
                Some(topic) => audit.topics.push(topic),
                // A directory without `peers` is what a removal leaves last.
                None if root.open_dir(&place.name).is_ok() => audit.abandoned.push(place.name),
                None => {}
            }
        } else if create::is_temporary(&file) {
            if create::is_abandoned(&root, &file) {
                audit.abandoned.push(file);
            }
        } else {
            audit.foreign.push(file);
        }
    }
    Ok(audit)
}

/// `None` when the topic is gone.
fn audit_topic(Named { kind, name }: Named, place: &Place, root: &Dir) -> Option<TopicAudit> {
    let mut report = TopicAudit { kind, name, ..TopicAudit::default() };
    match open(place, root) {
        Ok(Some(files)) => Look { files: &files, report: &mut report }.at_everything(),
        Ok(None) => return None,
        Err(error) => report.findings.push(Finding { rule: "layout", what: error.to_string() }),
    }
    Some(report)
}

fn open(place: &Place, root: &Dir) -> Result<Option<Files>> {
    let role = Role::Subscriber;
    let Some(dir) = open_dir(place, root)? else { return Ok(None) };
    let Some(peers) = open_peers(&dir)? else { return Ok(None) };
    let ring = open_ring(&dir, &peers, role)?;
    Ok(ring.map(|ring| Files { place: place.clone(), dir, peers, ring, role }))
}

/// A topic that is damaged all over isn't listed word for word.
const MOST: usize = 100;

pub(super) struct Look<'a> {
    pub(super) files: &'a Files,
    report: &'a mut TopicAudit,
}

impl Look<'_> {
    fn at_everything(&mut self) {
        self.at_participants();
        let files = self.segment_files();
        let segments = self.at_segments(files);
        self.at_ring(&segments);
        self.at_holds(&segments);
    }

    pub(super) fn found(&mut self, rule: &'static str, what: impl Into<String>) {
        let findings = &mut self.report.findings;
        match findings.len() {
            0..MOST => findings.push(Finding { rule, what: what.into() }),
            MOST => findings.push(Finding { rule: "layout", what: "and more of the like".into() }),
            _ => {}
        }
    }

    pub(super) fn status(&self, q: u32) -> Option<u64> {
        self.files.peers.status().get(q as usize).map(|word| word.load(Ordering::Acquire))
    }

    pub(super) fn is_alive(&self, q: u32) -> bool {
        self.files.peers.lock.others_alive(q, 1).unwrap_or(false)
    }

    fn at_participants(&mut self) {
        let peers = &self.files.peers;
        let joined = peers.joined();
        for q in 0..peers.geometry.participants {
            let word = peers.status()[q as usize].load(Ordering::Acquire);
            let state = status::state(word);
            let is_free = state == status::FREE;
            // Beyond `joined` nobody looks, alive or dead.
            if !is_free && q as usize >= joined {
                self.found("I3", format!("participant {q} is beyond the {joined} whose holds are looked at"));
            }
            match peers.lock.others_alive(q, 1) {
                Err(error) => self.found("layout", error.to_string()),
                Ok(true) => self.report.living += u32::from(state == status::LIVE),
                Ok(false) => self.report.dead += u32::from(!is_free),
            }
            if state > status::RECOVERING {
                self.found("layout", format!("participant {q} has the status {word:#x}, which is none"));
            }
            let holds = peers.holds(q).iter().filter(|hold| hold.load(Ordering::Acquire) != 0).count();
            if holds > 0 && (is_free || status::is_publisher(word)) {
                self.found("I6", format!("participant {q} has {holds} holds, but isn't a subscriber"));
            }
            let waiters = peers.waiters()[q as usize / 64].load(Ordering::Acquire);
            if is_free && waiters >> (q % 64) & 1 == 1 {
                self.found("I6", format!("participant {q} is free, but its waiter bit is set"));
            }
        }
    }

    /// The segments' files, by number and generation. Other files than the library's are findings.
    fn segment_files(&mut self) -> BTreeSet<(u32, u32)> {
        let mut segments = BTreeSet::new();
        let names = match self.files.dir.names() {
            Ok(names) => names,
            Err(error) => {
                self.found("layout", error.to_string());
                return segments;
            }
        };
        for name in names {
            let name = name.to_string_lossy();
            let numbers = name.strip_prefix("seg.").and_then(|rest| rest.split_once('.'));
            let numbers = numbers.and_then(|(segment, generation)| {
                Some((segment.parse::<u32>().ok()?, generation.parse::<u32>().ok()?))
            });
            match numbers {
                Some((segment, generation)) if name == segment_name(segment, generation) => {
                    segments.insert((segment, generation));
                }
                _ if name == "ring" || name == "peers" => {}
                _ => self.found("layout", format!("the file {name} isn't the library's")),
            }
        }
        segments
    }

    /// Compares the segment table with the files; returns the segments that can be read.
    fn at_segments(&mut self, mut files: BTreeSet<(u32, u32)>) -> BTreeMap<u32, Segment> {
        let mut segments = BTreeMap::new();
        for (segment, word) in (0..).zip(segments_of(&self.files.ring, &self.files.peers.geometry)) {
            let word = SegmentWord(load_acquire(word));
            let generation = word.generation();
            let state = word.state();
            let is_owned =
                matches!(state, SegmentState::Creating | SegmentState::Ready | SegmentState::Dying);
            if is_owned {
                self.check_owner(segment, word.owner());
            }
            match state {
                SegmentState::Empty => continue,
                SegmentState::Unknown => {
                    self.found(
                        "layout",
                        format!("segment {segment} has the word {:#x}, which is none", word.0),
                    );
                }
                SegmentState::Orphan => self.report.orphans += 1,
                SegmentState::Creating | SegmentState::Ready | SegmentState::Dying => {}
            }
            files.remove(&(segment, generation));
            if matches!(state, SegmentState::Ready | SegmentState::Orphan) {
                let Files { dir, peers, .. } = self.files;
                match Segment::open(dir, peers.instance, segment, generation, Access::ReadOnly) {
                    Ok(view) => drop(segments.insert(segment, view)),
                    // An orphan's file is missing when its publisher died in destroying it.
                    Err(NotMapped::Gone) if state == SegmentState::Orphan => {}
                    Err(NotMapped::Gone) => self.found("layout", format!("segment {segment} has no file")),
                    Err(NotMapped::Failed(error)) => self.found("layout", error.to_string()),
                }
            }
        }
        for (segment, generation) in files {
            let name = segment_name(segment, generation);
            self.found("I4", format!("the file {name} belongs to no entry of the segment table"));
        }
        segments
    }

    fn check_owner(&mut self, segment: u32, owner: u32) {
        match self.status(owner) {
            Some(word) if status::state(word) == status::FREE => {
                self.found("I6", format!("segment {segment} belongs to participant {owner}, which is free"));
            }
            Some(word) if status::owns_segments(word) => {}
            Some(_) | None => {
                self.found("I2", format!("segment {segment} belongs to {owner}, which has none"));
            }
        }
    }

    fn at_ring(&mut self, segments: &BTreeMap<u32, Segment>) {
        let geometry = &self.files.peers.geometry;
        let slots = self.files.ring.words(SLOTS_OFFSET, geometry.capacity as usize);
        let [tail] = self.files.ring.words(TAIL_OFFSET, 1) else { return };
        let ring = Ring::new(slots, tail);
        for position in ring.gaps() {
            self.found("I1", format!("position {position} isn't filled, but a later one is"));
        }
        let behind = ring.hint_lag();
        if !(0..=1).contains(&behind) {
            self.found("I1", format!("the tail is {behind} behind the messages' end"));
        }
        if geometry.calls > 0 {
            self.at_calls(ring, segments);
            return;
        }
        self.at_cursors(ring);
        let mut places = BTreeMap::new();
        for (position, chunk) in ring.chunks() {
            if let Some(other) = places.insert(chunk, position) {
                self.found("I2", format!("{chunk:?} is at {other} and at {position}"));
            }
            let header = segments.get(&chunk.segment()).map(|view| (view.header(chunk.index()), view));
            match header {
                Some((Some((_, [at, len, _])), view)) if at == position && len <= view.payload_size() => {}
                Some((Some((_, [at, len, _])), _)) => {
                    let what = format!("the message at {position} says that it is at {at}, {len} bytes");
                    self.found("I2", what);
                }
                Some((None, _)) | None => {
                    self.found("I2", format!("{chunk:?} at {position} isn't in any segment"));
                }
            }
        }
    }

    /// Publishers keep what is between a reliable subscriber's cursor and the end. Both only grow, so each is compared with the other as
    /// it was before or after.
    fn at_cursors(&mut self, ring: Ring<'_>) {
        let peers = &self.files.peers;
        for q in 0..peers.geometry.participants {
            let word = peers.status()[q as usize].load(Ordering::Acquire);
            if !status::gates(word) || status::state(word) != status::LIVE {
                continue;
            }
            let oldest = ring.end().saturating_sub(ring.capacity());
            let cursor = peers.cursor(q).load(Ordering::Acquire);
            // One that left, but for samples, is ahead of all.
            if cursor < oldest || cursor > ring.end() && cursor != u64::MAX {
                let end = ring.end();
                self.found(
                    "I7",
                    format!("participant {q} is reliable and at {cursor}, though the end is {end}"),
                );
            }
        }
    }

    fn at_holds(&mut self, segments: &BTreeMap<u32, Segment>) {
        let peers = &self.files.peers;
        for q in peers.subscribers() {
            for hold in peers.holds(q) {
                let word = hold.load(Ordering::Acquire);
                let chunk = ChunkId::from_hold_word(word);
                let is_there = |view: &Segment| chunk.index() < view.count();
                if word != 0 && !segments.get(&chunk.segment()).is_some_and(is_there) {
                    self.found("I3", format!("participant {q} holds {chunk:?}, which isn't in any segment"));
                }
            }
        }
    }
}
