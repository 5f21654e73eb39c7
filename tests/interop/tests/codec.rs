// SPDX-License-Identifier: MIT OR Apache-2.0
//! SHM_PACK and serde write the same bytes for the same message, and each reads what the other wrote: shown for
//! random messages that a C++ and a Rust publisher send through one topic.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use shm::{ClientOptions, Function, FunctionCaller, ServerOptions};
use shm::{Publisher, PublisherOptions, Subscriber, SubscriberOptions};
use shm_interop_tests::bridge::{self, Count, Everything, Inner, Numbered, Peer};
use tempfile::TempDir;

/// A topic with both languages' publishers and subscribers on it, in a root of its own.
struct Room {
    cxx: cxx::UniquePtr<Peer>,
    publisher: Publisher,
    subscriber: Subscriber,
    _root: TempDir,
}

impl Room {
    fn new() -> Room {
        let dir = TempDir::new().expect("a temporary folder");
        let root = Some(dir.path().to_path_buf());
        let publisher =
            Publisher::with_options("m", &PublisherOptions { root: root.clone(), ..Default::default() });
        let subscriber = Subscriber::with_options("m", &SubscriberOptions { root, ..Default::default() });
        Room {
            cxx: bridge::open("m", dir.path().to_str().expect("UTF-8")).expect("a C++ peer"),
            publisher: publisher.expect("a publisher"),
            subscriber: subscriber.expect("a subscriber"),
            _root: dir,
        }
    }

    /// Sends `message` from Rust and from C++. Either side must read both; gives back the two messages' bytes.
    fn exchange(&mut self, message: &Everything) -> [Vec<u8>; 2] {
        self.publisher.publish_message(message).expect("Rust publishes");
        self.cxx.pin_mut().publish(message).expect("C++ publishes");
        [(); 2].map(|()| {
            let sample = self.subscriber.try_receive().expect("Rust receives").expect("a message");
            assert_same(&sample.message().expect("Rust reads the message"), message);
            assert_same(&self.cxx.pin_mut().receive().expect("C++ receives and reads the message"), message);
            sample.to_vec()
        })
    }
}

/// Calls a function of each language from each, with `message` and a number, and gives back what they gave.
fn call_around(message: &Everything) -> [Everything; 4] {
    let dir = TempDir::new().expect("a temporary folder");
    let (place, root) = (dir.path().to_str().expect("UTF-8"), Some(dir.path().to_path_buf()));
    let echo = |message: Everything, more: u32| Everything { u32: message.u32.wrapping_add(more), ..message };
    let of_rust =
        Function::with_options("rust", &ServerOptions { root: root.clone(), ..Default::default() }, echo);
    let of_rust = of_rust.expect("a function");
    let _of_cxx = bridge::offer("cxx", place).expect("a C++ function");
    let call = |name: &str| -> shm::Result<Everything> {
        let options = ClientOptions { root: root.clone(), ..Default::default() };
        FunctionCaller::with_options(name, None, &options)?.call((message, 7))
    };
    let stop = of_rust.stopper();
    std::thread::scope(|scope| {
        let calling = scope.spawn(|| {
            let from_cxx = ["rust", "cxx"].map(|name| bridge::call(name, place, message, 7));
            let from_rust = ["rust", "cxx"].map(call);
            stop.stop();
            let ([a, b], [c, d]) = (from_cxx, from_rust);
            [
                a.expect("C++ calls Rust"),
                b.expect("C++ calls C++"),
                c.expect("Rust calls Rust"),
                d.expect("Rust calls C++"),
            ]
        });
        of_rust.serve().expect("serving");
        calling.join().expect("the calls")
    })
}

/// Equality by bits, since a NaN equals nothing.
#[track_caller]
fn assert_same(received: &Everything, sent: &Everything) {
    assert_eq!(bytes(received), bytes(sent), "received {received:?}\nsent {sent:?}");
}

/// What rmp-serde, without this library, makes of a message.
fn bytes(message: &Everything) -> Vec<u8> {
    rmp_serde::to_vec(message).expect("a message that can be encoded")
}

/// Integers of all lengths that msgpack knows, where one becomes the next above all.
fn integer() -> impl Strategy<Value = i64> {
    let edge = (0u32..63, -1i64..=1, any::<bool>())
        .prop_map(|(bit, off, negative)| ((1i64 << bit) + off) * if negative { -1 } else { 1 });
    prop_oneof![any::<i64>(), edge, -40i64..300]
}

/// Doubles of every kind: NaN, infinities, subnormal, both zeros, and those that are whole numbers.
fn double() -> impl Strategy<Value = f64> {
    prop_oneof![prop::num::f64::ANY, integer().prop_map(|n| n as f64), Just(0.0), Just(-0.0)]
}

/// Text of any script, of lengths around those where msgpack's header grows.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[a-z]{30,33}", "[а-я]{127,129}"]
}

fn inner() -> impl Strategy<Value = Inner> {
    (any::<u32>(), any::<u64>(), integer(), text()).prop_map(|(seq, timestamp, value, text)| Inner {
        seq,
        timestamp,
        value: value as i32,
        text,
    })
}

prop_compose! {
    fn everything()(
        numbers in [integer(), integer(), integer(), integer(), integer(), integer(), integer(), integer()],
        (seq, timestamp, flag, f64) in (any::<u32>(), any::<u64>(), any::<bool>(), double()),
        (f32, point) in (double(), [double(), double(), double()]),
        (text, blob, texts) in (text(), vec(any::<u8>(), 0..300), vec(text(), 0..4)),
        (integers, doubles) in (vec(integer(), 0..20), vec(double(), 0..20)),
        (inner, inners) in (inner(), vec(inner(), 0..4)),
        counts in btree_map(text(), integer(), 0..20),
        numbered in btree_map(any::<u32>(), inner(), 0..4),
    ) -> Everything {
        let [i8, i16, i32, i64, u8, u16, u32, u64] = numbers;
        Everything {
            seq, timestamp, flag,
            i8: i8 as i8, i16: i16 as i16, i32: i32 as i32, i64,
            u8: u8 as u8, u16: u16 as u16, u32: u32 as u32, u64: u64 as u64,
            f32: f32 as f32, f64, text, blob, integers, doubles, texts,
            point: point.map(|coordinate| coordinate as f32),
            inner, inners,
            counts: counts.into_iter().map(|(key, value)| Count { key, value }).collect(),
            numbered: numbered.into_iter().map(|(key, value)| Numbered { key, value }).collect(),
        }
    }
}

#[test]
fn random_messages_are_the_same_bytes_in_both_languages() {
    let room = std::cell::RefCell::new(Room::new());
    let config = ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(message in everything())| {
        let [from_rust, from_cxx] = room.borrow_mut().exchange(&message);
        prop_assert_eq!(&from_rust, &bytes(&message));
        prop_assert_eq!(from_cxx, from_rust);
    });
}

fn empty() -> Everything {
    let inner = Inner { seq: 0, timestamp: 0, value: 0, text: String::new() };
    Everything {
        seq: 0,
        timestamp: 0,
        flag: false,
        i8: 0,
        i16: 0,
        i32: 0,
        i64: 0,
        u8: 0,
        u16: 0,
        u32: 0,
        u64: 0,
        f32: 0.0,
        f64: 0.0,
        text: String::new(),
        blob: Vec::new(),
        integers: Vec::new(),
        doubles: Vec::new(),
        texts: Vec::new(),
        point: [0.0; 3],
        inner,
        inners: Vec::new(),
        counts: Vec::new(),
        numbered: Vec::new(),
    }
}

#[test]
fn an_empty_message_is_the_same_bytes_in_both_languages() {
    let [from_rust, from_cxx] = Room::new().exchange(&empty());
    assert_eq!(from_cxx, from_rust);
}

/// Beyond 65,535 elements msgpack's headers grow for the last time, and the C++ side's first guess at the size of
/// a message is too small.
#[test]
fn a_large_message_is_the_same_bytes_in_both_languages() {
    let message = Everything {
        text: "я".repeat(40_000),
        blob: vec![0x5a; 70_000],
        integers: (-35_000..35_000).collect(),
        counts: (0..70_000).map(|n| Count { key: format!("{n:06}"), value: n }).collect(),
        inners: vec![empty().inner; 70_000],
        ..empty()
    };
    let [from_rust, from_cxx] = Room::new().exchange(&message);
    assert!(from_cxx == from_rust, "{} bytes from C++, {} from Rust", from_cxx.len(), from_rust.len());
}

#[test]
fn messages_are_arguments_and_results_in_both_languages() {
    let inner = Inner { seq: 1, timestamp: 2, value: -3, text: "four".into() };
    let numbered = vec![Numbered { key: 5, value: inner.clone() }];
    let counts = vec![Count { key: "six".into(), value: -6 }];
    let texts = vec!["я".repeat(40_000), String::new()];
    let message = Everything { u32: 35, f64: -0.0, inners: vec![inner], numbered, counts, texts, ..empty() };
    for given in call_around(&message) {
        assert_same(&given, &Everything { u32: 42, ..message.clone() });
    }
}
