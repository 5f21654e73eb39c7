// SPDX-License-Identifier: MIT OR Apache-2.0
//! A message with a field of every kind, once as a Rust struct with serde and once, in `messages.hpp`, as a C++
//! class with `SHM_PACK`; and a [`Peer`](bridge::Peer) that publishes and receives the latter, and functions that take and give it. Values cross
//! between the two languages by `cxx`, apart from the codecs that the tests compare.

/// What both sides see: plain values.
#[cxx::bridge(namespace = "interop")]
pub mod bridge {
    #[derive(Clone, Debug, Serialize, Deserialize)]
    struct Inner {
        seq: u32,
        timestamp: u64,
        value: i32,
        text: String,
    }

    #[derive(Clone, Debug)]
    struct Count {
        key: String,
        value: i64,
    }

    #[derive(Clone, Debug)]
    struct Numbered {
        key: u32,
        value: Inner,
    }

    #[derive(Clone, Debug, Serialize, Deserialize)]
    struct Everything {
        seq: u32,
        timestamp: u64,
        flag: bool,
        i8: i8,
        i16: i16,
        i32: i32,
        i64: i64,
        u8: u8,
        u16: u16,
        u32: u32,
        u64: u64,
        f32: f32,
        f64: f64,
        text: String,
        #[serde(with = "serde_bytes")]
        blob: Vec<u8>,
        integers: Vec<i64>,
        doubles: Vec<f64>,
        texts: Vec<String>,
        point: [f32; 3],
        inner: Inner,
        inners: Vec<Inner>,
        #[serde(with = "crate::map")]
        counts: Vec<Count>,
        #[serde(with = "crate::map")]
        numbered: Vec<Numbered>,
    }

    unsafe extern "C++" {
        include!("shm-interop-tests/src/peer.hpp");

        /// A C++ publisher and subscriber of one topic.
        type Peer;

        fn open(topic: &str, root: &str) -> Result<UniquePtr<Peer>>;
        fn publish(self: Pin<&mut Peer>, message: &Everything) -> Result<()>;
        /// The next message, which must be there.
        fn receive(self: Pin<&mut Peer>) -> Result<Everything>;

        /// A C++ function, served in a thread of its own: gives a message back with `more` in its number `u32`.
        type Echo;

        fn offer(name: &str, root: &str) -> Result<UniquePtr<Echo>>;
        /// Calls a function like it, from C++.
        fn call(name: &str, root: &str, message: &Everything, more: u32) -> Result<Everything>;
    }
}

/// Pairs that travel as a msgpack map, in the order of their keys.
mod map {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::bridge::{Count, Inner, Numbered};

    pub trait Pair {
        type Key: Serialize + Ord;
        type Value: Serialize;
        fn new(key: Self::Key, value: Self::Value) -> Self;
        fn parts(&self) -> (&Self::Key, &Self::Value);
    }

    impl Pair for Count {
        type Key = String;
        type Value = i64;
        fn new(key: String, value: i64) -> Count {
            Count { key, value }
        }
        fn parts(&self) -> (&String, &i64) {
            (&self.key, &self.value)
        }
    }

    impl Pair for Numbered {
        type Key = u32;
        type Value = Inner;
        fn new(key: u32, value: Inner) -> Numbered {
            Numbered { key, value }
        }
        fn parts(&self) -> (&u32, &Inner) {
            (&self.key, &self.value)
        }
    }

    pub fn serialize<P: Pair, S: Serializer>(pairs: &[P], serializer: S) -> Result<S::Ok, S::Error> {
        pairs.iter().map(Pair::parts).collect::<BTreeMap<_, _>>().serialize(serializer)
    }

    pub fn deserialize<'de, P, D>(deserializer: D) -> Result<Vec<P>, D::Error>
    where
        P: Pair<Key: Deserialize<'de>, Value: Deserialize<'de>>,
        D: Deserializer<'de>,
    {
        let map = BTreeMap::<P::Key, P::Value>::deserialize(deserializer)?;
        Ok(map.into_iter().map(|(key, value)| P::new(key, value)).collect())
    }
}
