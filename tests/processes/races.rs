// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several come or go at once: there is always exactly one topic of a name, and those who use it are in it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use shm::{Publisher, PublisherOptions, Subscriber};

use crate::support::child::{Child, Parent};
use crate::support::random::Random;
use crate::support::shared::{dawdle, Shared};
use crate::support::{assert_nothing_in, files_below, publishing, subscribing, Root};

const TOPIC: &str = "the topic";
/// Longer than anything takes here, and shorter than a test may.
const LONG: Duration = Duration::from_secs(60);
/// How long, in turns, one may be behind another: about as long as making a topic takes.
const BEHIND: u64 = 3_000;
/// The shared words: each party's instance.
const INSTANCES: usize = 0;

/// One end of the topic: of the two processes, each is by turns the publisher and the subscriber.
enum End {
    Publisher(Box<Publisher>),
    Subscriber(Subscriber),
}

impl End {
    fn open(root: &Path, publishes: bool) -> End {
        if publishes {
            End::Publisher(Box::new(Publisher::with_options(TOPIC, &publishing(root)).unwrap()))
        } else {
            End::Subscriber(Subscriber::with_options(TOPIC, &subscribing(root)).unwrap())
        }
    }

    fn instance(&self) -> u64 {
        match self {
            End::Publisher(publisher) => publisher.info().instance,
            End::Subscriber(subscriber) => subscriber.info().instance,
        }
    }

    /// Sends `round`, or receives it and nothing else.
    fn exchange(&self, round: u64) {
        match self {
            End::Publisher(publisher) => {
                publisher.publish(&round.to_le_bytes()).unwrap();
            }
            End::Subscriber(subscriber) => {
                let sample = subscriber.receive_timeout(LONG).unwrap().expect("a message");
                assert_eq!(*sample, round.to_le_bytes());
            }
        }
    }
}

/// What each of the two children is given: root, shared file, which it is, rounds.
struct Party {
    root: PathBuf,
    shared: Shared,
    me: u64,
    rounds: u64,
    random: Random,
}

impl Party {
    fn new(parent: &mut Parent) -> Party {
        let root = parent.text().into();
        let shared = Shared::open(Path::new(&parent.text()));
        let (me, rounds) = (parent.number(), parent.number());
        Party { root, shared, me, rounds, random: Random::new(me) }
    }

    /// Both are here; then one goes on a little before the other.
    fn meet(&mut self) {
        self.shared.meet(2);
        dawdle(self.random.below(BEHIND));
    }

    fn assert_alone_in_the_root(&self, topics: usize) {
        let names = files_below(&self.root);
        assert_eq!(names.iter().filter(|path| path.is_dir()).count(), topics, "{names:?}");
    }

    /// Both tell where they are, and must be in one topic; then a message goes across.
    fn check_together(&mut self, end: &End, round: u64) {
        self.shared.set(INSTANCES + self.me as usize, end.instance());
        self.shared.meet(2);
        assert_eq!(self.shared.get(INSTANCES), self.shared.get(INSTANCES + 1), "round {round}: two topics");
        end.exchange(round);
        self.assert_alone_in_the_root(1);
        self.shared.meet(2);
    }

    /// Nobody is there any more: nothing may be.
    fn check_left(&mut self) {
        self.shared.meet(2);
        assert_nothing_in(&self.root);
        self.shared.meet(2);
    }
}

fn run_two(role: &str, rounds: u64) {
    let root = Root::new();
    let beside = tempfile::tempdir().unwrap();
    let shared = beside.path().join("shared");
    drop(Shared::open(&shared));
    let children: Vec<Child> = (0..2)
        .map(|me| Child::start(role, &[&root.text(), &shared.to_str().unwrap(), &me, &rounds]))
        .collect();
    children.into_iter().for_each(Child::finish);
    root.assert_empty();
}

#[test]
fn two_who_create_a_topic_at_once_are_in_the_same() {
    run_two("races::meeting", 1000);
}

/// Opens together, talks, leaves together.
pub fn meeting(mut parent: Parent) {
    let mut party = Party::new(&mut parent);
    for round in 0..party.rounds {
        party.meet();
        let end = End::open(&party.root, (round + party.me).is_multiple_of(2));
        party.shared.meet(2);
        party.check_together(&end, round);
        dawdle(party.random.below(BEHIND));
        drop(end);
        party.check_left();
    }
}

/// Dead participants, and as many who come: there is a place for each, though each of them finds the dead as well.
#[test]
fn two_who_come_into_a_topic_full_of_dead_both_get_in() {
    let (root, beside) = (Root::new(), tempfile::tempdir().unwrap());
    let file = beside.path().join("shared");
    drop(Shared::open(&file));
    let rounds = 120;
    let start = |role| {
        (0..2).map(|me| Child::start(role, &[&root.text(), &file.to_str().unwrap(), &me, &rounds])).collect()
    };
    let options = PublisherOptions { participants: 3, ..publishing(root.path()) };
    let host = Publisher::with_options(TOPIC, &options).unwrap();
    let mut comers: Vec<Child> = start("races::comer");
    for _ in 0..rounds {
        let mut dead: Vec<Child> = start("races::dying");
        dead.iter_mut().for_each(|child| child.expect("in"));
        dead.into_iter().for_each(Child::kill);
        comers.iter_mut().for_each(|child| child.say("come"));
        comers.iter_mut().for_each(|child| child.expect("was in"));
    }
    comers.into_iter().for_each(Child::finish);
    drop(host);
    root.assert_empty();
}

pub fn dying(mut parent: Parent) {
    let party = Party::new(&mut parent);
    let _end = End::open(&party.root, party.me == 0);
    parent.say_and_wait("in");
}

pub fn comer(mut parent: Parent) {
    let mut party = Party::new(&mut parent);
    for _ in 0..party.rounds {
        parent.hear();
        party.shared.meet(2);
        dawdle(party.random.below(BEHIND / 20));
        let end = End::open(&party.root, party.random.below(2) == 0);
        // Neither makes room for the other.
        party.shared.meet(2);
        drop(end);
        party.shared.meet(2);
        parent.say("was in");
    }
}

#[test]
fn who_comes_while_the_last_one_leaves_is_in_a_topic_that_others_find() {
    run_two("races::succession", 1000);
}

/// One leaves as the last, while the other comes; then the first comes back and must find the other.
pub fn succession(mut parent: Parent) {
    let mut party = Party::new(&mut parent);
    for round in 0..party.rounds {
        let publishes = (round / 2 + party.me).is_multiple_of(2);
        let leaves = (round + party.me).is_multiple_of(2);
        let old = leaves.then(|| End::open(&party.root, round.is_multiple_of(3)));
        party.meet();
        let end = if leaves {
            drop(old);
            party.shared.meet(2);
            End::open(&party.root, publishes)
        } else {
            let end = End::open(&party.root, publishes);
            party.shared.meet(2);
            end
        };
        party.shared.meet(2);
        party.check_together(&end, round);
        drop(end);
        party.check_left();
    }
}
