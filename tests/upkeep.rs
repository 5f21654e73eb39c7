// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shm::audit` and `shm::gc`: what they say of a root, what gc takes away, and that it takes nothing that is in use.

#[path = "support/mod.rs"]
mod support;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use shm::{Audit, ClientOptions, Collected, Error, Kind, Named, RootOptions, ServerOptions, TopicAudit};
use support::child::{Child, Parent};
use support::{publishing, rounds, subscribing, Root};

#[test]
#[ignore = "a child's part: the other tests start it"]
fn child() {
    support::child::run(&[("user", user), ("caller", caller)]);
}

/// Takes part in the topics that it is told, with messages in the ring and samples held, until it is killed.
fn user(mut parent: Parent) {
    let root = PathBuf::from(parent.text());
    let topics = parent.text();
    let all: Vec<_> = topics.split(',').map(|topic| take_part(&root, topic)).collect();
    parent.say_and_wait("there");
    drop(all);
}

fn take_part(root: &Path, topic: &str) -> (shm::Publisher, shm::Subscriber, shm::Sample<'static>) {
    let publisher = shm::Publisher::with_options(topic, &publishing(root)).unwrap();
    let subscriber = shm::Subscriber::with_options(topic, &subscribing(root)).unwrap();
    publisher.publish(&[1; 100]).unwrap();
    publisher.publish(&[2; 20_000]).unwrap();
    let sample = subscriber.try_receive().unwrap().unwrap().keep();
    (publisher, subscriber, sample)
}

/// A client and a server with a call in each of its states: answered, claimed and queued.
fn calls(root: &Path, client: &shm::Client, server: &shm::Server) {
    let send = || std::mem::forget(client.send(&[1; 100]).unwrap());
    (0..3).for_each(|_| send());
    server.receive().unwrap().reply(&[2; 100]).unwrap();
    std::mem::forget(server.receive().unwrap());
    assert_eq!(server.waiting(), 1, "{root:?}");
}

fn join_service(root: &Path) -> (shm::Client, shm::Server) {
    let (root, capacity, participants, holds, calls) = (Some(root.into()), 4, 4, 2, 4);
    let options = ServerOptions { root, capacity, participants, holds, calls, ..Default::default() };
    let server = shm::Server::with_options("s", &options).unwrap();
    let options = ClientOptions { root: options.root, ..Default::default() };
    (shm::Client::with_options("s", &options).unwrap(), server)
}

/// Takes part in a service until it is killed.
fn caller(mut parent: Parent) {
    let root = PathBuf::from(parent.text());
    let (client, server) = join_service(&root);
    calls(&root, &client, &server);
    parent.say_and_wait("there");
}

fn die_in(root: &Root, topics: &str) {
    let mut user = Child::start("user", &[&root.text(), &topics]);
    user.expect("there");
    user.kill();
}

fn options(root: &Root) -> RootOptions {
    RootOptions { root: Some(root.path().into()), ..Default::default() }
}

fn audit(root: &Root) -> Audit {
    shm::audit(&options(root)).unwrap()
}

fn gc(root: &Root) -> Collected {
    shm::gc(&options(root)).unwrap()
}

fn shown(all: &[Named]) -> Vec<String> {
    all.iter().map(Named::to_string).collect()
}

#[test]
fn topics_of_the_dead_go_and_those_of_the_living_stay() {
    let root = Root::new();
    die_in(&root, "/one,two");
    let (publisher, subscriber) = (root.publisher("two"), root.subscriber("three"));
    let collected = gc(&root);
    assert_eq!(shown(&collected.removed), ["topic /one"]);
    assert_eq!(shown(&collected.in_use), ["topic three", "topic two"]);
    assert!(collected.refused.is_empty());
    let names: Vec<_> = audit(&root).topics.into_iter().map(|topic| (topic.name, topic.living)).collect();
    assert_eq!(names, [("three".into(), 1), ("two".into(), 1)]);
    publisher.publish(b"on").unwrap();
    drop((publisher, subscriber));
    root.assert_empty();
}

#[test]
fn the_dead_in_a_topic_that_is_in_use_are_recovered() {
    let root = Root::new();
    let (publisher, subscriber) = (root.publisher("t"), root.subscriber("t"));
    die_in(&root, "t");
    let [topic] = &audit(&root).topics[..] else { panic!() };
    assert_eq!((topic.living, topic.dead, topic.orphans), (2, 2, 0));
    assert_eq!(gc(&root).recovered, 2);
    let [topic] = &audit(&root).topics[..] else { panic!() };
    assert_eq!((topic.living, topic.dead), (2, 0));
    assert!(topic.orphans > 0 && topic.findings.is_empty(), "{topic:?}");
    assert_eq!(gc(&root).recovered, 0);
    // What the dead had published is still there.
    assert_eq!(subscriber.try_receive().unwrap().unwrap().len(), 100);
    drop((publisher, subscriber));
    root.assert_empty();
}

#[test]
fn a_root_that_is_not_there_has_nothing_and_is_not_made() {
    let root = Root::new();
    let options = RootOptions { root: Some(root.path().join("none")), ..Default::default() };
    assert!(shm::audit(&options).unwrap().topics.is_empty());
    assert!(shm::gc(&options).unwrap().removed.is_empty());
    root.assert_empty();
}

#[test]
fn what_is_not_the_librarys_stays() {
    let root = Root::new();
    for name in ["notes", "a b"] {
        std::fs::create_dir(root.path().join(name)).unwrap();
        std::fs::write(root.path().join(name).join("ring"), "mine").unwrap();
    }
    std::fs::write(root.path().join("file"), "mine").unwrap();
    let before = root.files();
    let collected = gc(&root);
    assert!(collected.removed.is_empty() && collected.refused.len() == 2, "{collected:?}");
    assert_eq!(root.files(), before);
    assert_eq!(audit(&root).foreign, ["a b"]);
    assert_eq!(audit(&root).abandoned, ["notes"], "it may be what a removal left");
}

#[test]
fn names_that_only_begin_like_the_librarys_stay() {
    let root = Root::new();
    for name in [".new-stuff", ".dead-letters", ".new-", ".dead-00000000000000zz"] {
        std::fs::create_dir(root.path().join(name)).unwrap();
        std::fs::write(root.path().join(name).join("peers"), "mine").unwrap();
    }
    let before = root.files();
    assert_eq!(gc(&root).swept, 0);
    drop(root.publisher("t"));
    assert_eq!(root.files(), before);
    assert_eq!(audit(&root).foreign.len(), 4);
}

#[test]
fn a_damaged_topic_is_refused_and_named() {
    let root = Root::new();
    die_in(&root, "t");
    let peers = root.path().join("t/peers");
    std::fs::File::options().write(true).open(&peers).unwrap().write_all_at(&[0; 8], 0).unwrap();
    let refused = gc(&root).refused;
    assert!(
        matches!(&refused[..], [Error::Corrupt { file, .. }] if file.ends_with("t/peers")),
        "{refused:?}"
    );
    let [TopicAudit { findings, .. }] = &audit(&root).topics[..] else { panic!() };
    assert!(findings[0].to_string().contains("peers is damaged"), "{findings:?}");
}

/// Writes `bytes` over a file of the topic, and gives the rules that the audit then finds broken.
fn rules_broken_by(file: &str, offset: u64, bytes: &[u8]) -> Vec<&'static str> {
    let root = Root::new();
    let publisher = shm::Publisher::with_options("t", &publishing(root.path())).unwrap();
    let subscriber = root.subscriber("t");
    (0..3).for_each(|_| assert!(publisher.publish(&[1; 100]).unwrap() > 0));
    let sample = subscriber.try_receive().unwrap().unwrap().keep();
    assert!(audit(&root).topics[0].findings.is_empty());
    let file =
        std::fs::File::options().read(true).write(true).open(root.path().join("t").join(file)).unwrap();
    let mut saved = vec![0; bytes.len()];
    file.read_exact_at(&mut saved, offset).unwrap();
    file.write_all_at(bytes, offset).unwrap();
    let rules = audit(&root).topics[0].findings.iter().map(|finding| finding.rule).collect();
    file.write_all_at(&saved, offset).unwrap();
    assert!(audit(&root).topics[0].findings.is_empty());
    drop((sample, publisher, subscriber));
    root.assert_empty();
    rules
}

#[test]
fn an_audit_finds_what_is_broken() {
    // Offsets as in src/topic/layout.rs, for a topic of 64 messages, 128 participants and 8 holds.
    let (tail, slots, table) = (256, 384, 384 + 64 * 8);
    let (joined, waiters, status) = (264, 384, 640);
    let entry = |q: u64| status + 128 * 8 + q * 128;
    assert_eq!(rules_broken_by("ring", tail, &200u64.to_ne_bytes()), ["I1"]);
    assert!(rules_broken_by("ring", slots + 8, &[0; 8]).contains(&"I1"), "a gap");
    // The second message names the chunk of the first.
    let first_chunk = |tag: u32| [0u32.to_ne_bytes(), tag.to_ne_bytes()].concat();
    assert!(rules_broken_by("ring", slots + 8, &first_chunk(9)).contains(&"I1"));
    let nowhere = [(77u32 << 20).to_ne_bytes(), 1u32.to_ne_bytes()].concat();
    assert_eq!(rules_broken_by("ring", slots + 8, &nowhere), ["I2"]);
    // Segment 1 has no owner, then no state, then no entry.
    let entry_of_segment = table + 8;
    assert_eq!(rules_broken_by("ring", entry_of_segment, &(2u64 | 9 << 16).to_ne_bytes()), ["I6"]);
    assert!(rules_broken_by("ring", entry_of_segment, &0x77u64.to_ne_bytes()).contains(&"layout"));
    assert!(rules_broken_by("ring", entry_of_segment, &[0; 8]).contains(&"I4"));
    // Participants.
    assert_eq!(rules_broken_by("peers", joined, &1u64.to_ne_bytes()), ["I3"]);
    assert!(rules_broken_by("peers", status + 8 * 5, &9u64.to_ne_bytes()).contains(&"layout"));
    assert_eq!(rules_broken_by("peers", waiters, &(1u64 << 7).to_ne_bytes()), ["I6"]);
    assert_eq!(rules_broken_by("peers", entry(7) + 16, &(1u64 << 20).to_ne_bytes()), ["I6"]);
    assert_eq!(rules_broken_by("peers", entry(1) + 24, &(99u64 << 20).to_ne_bytes()), ["I3"]);
}

#[test]
fn services_are_looked_after_as_topics_are() {
    let root = Root::new();
    let (client, server) = join_service(root.path());
    let mut dead = Child::start("caller", &[&root.text()]);
    dead.expect("there");
    dead.kill();
    let [service] = &audit(&root).topics[..] else { panic!() };
    assert_eq!((service.kind, &*service.name), (Kind::Service, "s"));
    assert_eq!((service.living, service.dead), (2, 2));
    assert!(service.findings.is_empty(), "{service:?}");
    let collected = gc(&root);
    assert_eq!((collected.recovered, shown(&collected.in_use)), (2, vec!["service s".into()]));
    let [service] = &audit(&root).topics[..] else { panic!() };
    assert_eq!((service.living, service.dead), (2, 0));
    assert!(service.findings.is_empty(), "{service:?}");
    // What the dead had sent is nobody's.
    assert!(server.try_receive().unwrap().is_none());
    calls(root.path(), &client, &server);
    drop((client, server));
    root.assert_empty();
    let mut dead = Child::start("caller", &[&root.text()]);
    dead.expect("there");
    dead.kill();
    assert_eq!(shown(&gc(&root).removed), ["service s"]);
    root.assert_empty();
}

/// Whatever a topic is called, it is no service, and the other way round.
#[test]
fn topics_and_services_are_told_apart() {
    let root = Root::new();
    let names = ["s", "rpc:s", "+s", "%2Bs"];
    let topics: Vec<_> = names.iter().map(|name| root.publisher(name)).collect();
    let options = |root: &Root| ServerOptions { root: Some(root.path().into()), ..Default::default() };
    let serve = |name: &&str| shm::Server::with_options(name, &options(&root)).unwrap();
    let services: Vec<_> = names.iter().map(serve).collect();
    let audit = audit(&root);
    for kind in [Kind::Topic, Kind::Service] {
        let found = audit.topics.iter().filter(|found| found.kind == kind);
        let mut found: Vec<_> = found.map(|found| (&*found.name, found.living)).collect();
        found.sort_unstable();
        assert_eq!(found, [("%2Bs", 1), ("+s", 1), ("rpc:s", 1), ("s", 1)], "{kind}");
    }
    assert!(audit.foreign.is_empty(), "{audit:?}");
    assert_eq!(gc(&root).in_use.len(), 8);
    drop((topics, services));
    root.assert_empty();
}

/// The same as `rules_broken_by` for a service.
fn rules_of_calls_broken_by(file: &str, offset: u64, word: u64) -> Vec<&'static str> {
    let root = Root::new();
    let (client, server) = join_service(root.path());
    calls(root.path(), &client, &server);
    let findings = || audit(&root).topics.remove(0).findings;
    assert!(findings().is_empty(), "{:?}", findings());
    let path = root.path().join("+s").join(file);
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut saved = [0; 8];
    file.read_exact_at(&mut saved, offset).unwrap();
    file.write_all_at(&word.to_ne_bytes(), offset).unwrap();
    let rules = findings().iter().map(|finding| finding.rule).collect();
    file.write_all_at(&saved, offset).unwrap();
    assert!(findings().is_empty());
    drop((client, server));
    root.assert_empty();
    rules
}

#[test]
fn an_audit_finds_what_is_broken_in_a_service() {
    // Offsets as in src/topic/layout.rs, for 4 requests, 4 participants, 2 holds and 4 calls. The server is participant 0.
    let (tail, head, table, status) = (256, 320, 512, 640);
    let entry = |q: u64| 768 + q * 384;
    let call = |q: u64, index: u64| entry(q) + 128 + index * 64;
    let (token, queued, claimed) = (1 << 32, 1 << 16, 2 << 16);
    assert!(rules_of_calls_broken_by("ring", tail, 200).contains(&"I1"));
    assert!(rules_of_calls_broken_by("ring", head, 200).contains(&"C1"));
    assert_eq!(rules_of_calls_broken_by("peers", call(1, 2), 5 << 32 | queued), ["C1", "C3"]);
    assert_eq!(rules_of_calls_broken_by("peers", call(1, 1), token | claimed | 1), ["C2"]);
    assert_eq!(rules_of_calls_broken_by("peers", call(1, 1), token | claimed | 999), ["C2"]);
    assert_eq!(rules_of_calls_broken_by("peers", call(1, 1) + 8, 77 << 20), ["C3"]);
    assert_eq!(rules_of_calls_broken_by("peers", call(1, 0), token | 77 << 20), ["C3"]);
    assert_eq!(rules_of_calls_broken_by("peers", call(1, 0), (2 * token) | (1 << 20)), ["C3"]);
    assert_eq!(rules_of_calls_broken_by("peers", call(1, 0), token | 9 << 16), ["layout"]);
    assert_eq!(rules_of_calls_broken_by("peers", call(1, 0), token | 3 << 16), ["layout"]);
    assert_eq!(rules_of_calls_broken_by("peers", call(3, 3), token | queued), ["I6"]);
    assert_eq!(rules_of_calls_broken_by("peers", call(0, 0), token | queued), ["I6"]);
    assert_eq!(rules_of_calls_broken_by("ring", table + 8, 2 | 3 << 16), ["I6"]);
    assert_eq!(rules_of_calls_broken_by("peers", entry(0) + 24, 99 << 20), ["I3"]);
    assert!(rules_of_calls_broken_by("peers", status + 8 * 3, 9).contains(&"layout"));
}

/// Several collectors beside processes that come, go and die: nobody loses a topic that is in use, nobody fails.
#[test]
fn collectors_race_with_all_others() {
    let root = Root::new();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let refused = gc(&root).refused;
                    assert!(refused.is_empty(), "{refused:?}");
                }
            });
        }
        let users: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..rounds(300) {
                        let (publisher, subscriber, sample) = take_part(root.path(), "t");
                        publisher.publish(b"more").unwrap();
                        drop((publisher, subscriber, sample));
                    }
                })
            })
            .collect();
        for _ in 0..rounds(10) {
            die_in(&root, "t,u");
        }
        users.into_iter().for_each(|user| user.join().unwrap());
        over.store(true, Ordering::Relaxed);
    });
    gc(&root);
    root.assert_empty();
}

#[test]
fn an_audit_finds_a_reliable_subscriber_that_cant_be_where_it_says() {
    let root = Root::new();
    let options = shm::SubscriberOptions { capacity: 4, reliable: true, ..subscribing(root.path()) };
    let subscriber = shm::Subscriber::with_options("t", &options).unwrap();
    let publisher = root.publisher("t");
    (0..40).for_each(|_| {
        publisher.publish(b"1").unwrap();
        subscriber.receive().unwrap();
    });
    assert!(audit(&root).topics[0].findings.is_empty());
    // The first entry, behind 128 status words, as in src/topic/layout.rs.
    let peers = std::fs::File::options().read(true).write(true).open(root.path().join("t/peers")).unwrap();
    for (cursor, rules) in [(44u64, &[][..]), (40, &[]), (39, &["I7"]), (45, &["I7"]), (u64::MAX, &[])] {
        peers.write_all_at(&cursor.to_ne_bytes(), 640 + 128 * 8).unwrap();
        let found: Vec<_> = audit(&root).topics[0].findings.iter().map(|finding| finding.rule).collect();
        assert_eq!(found, rules, "{cursor}");
    }
}
