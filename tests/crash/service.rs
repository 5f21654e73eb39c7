// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who is there beside a victim that calls or serves, and what must hold when it is dead.

use std::time::Duration;

use shm::{Error, RootOptions};

use crate::calls::{reply_to, Calling, Serving};
use crate::operations::Around;
use crate::support::payload::Id;
use crate::support::Root;
use crate::world::{timed, World, NEWCOMER, OWN};

/// A client and a server of this process, who check all that they see.
pub struct Pair {
    calling: Calling,
    serving: Serving,
    id: u64,
    sequence: u64,
    slowest: Duration,
}

/// How long a call may take to end, with its server dead: three of a client's sleeps, where all others sleep, too.
const PATIENCE: Duration = Duration::from_millis(90);

impl Pair {
    fn join(root: &Root, id: u64) -> Pair {
        let mut slowest = Duration::ZERO;
        let calling = timed(&mut slowest, || Calling::join(root.path())).unwrap();
        let serving = timed(&mut slowest, || Serving::join(root.path())).unwrap();
        Pair { calling, serving, id, sequence: 0, slowest }
    }

    /// One of its calls is in its own server's hands, and some are queued.
    pub fn busy(root: &Root, id: u64, queued: u32) -> Pair {
        let mut pair = Pair::join(root, id);
        pair.go_on(5);
        (0..=queued).for_each(|_| pair.send());
        assert!(pair.serving.take());
        pair
    }

    fn send(&mut self) {
        let id = Id { publisher: self.id, sequence: self.sequence };
        self.sequence += 1;
        timed(&mut self.slowest, || self.calling.try_send(id)).unwrap();
    }

    /// Serves all that waits, others' requests too.
    fn serve(&mut self) {
        // What it has in its hands is its own client's, which waits for it: nobody else can have ended that.
        while !self.serving.requests.is_empty() {
            assert!(timed(&mut self.slowest, || self.serving.reply()));
        }
        while timed(&mut self.slowest, || self.serving.take()) {
            // False for a dead one's that was recovered meanwhile.
            timed(&mut self.slowest, || self.serving.reply());
        }
    }

    /// Each call that others may have had in their hands ends somehow, and soon.
    fn settle(&mut self) {
        for (id, mut pending) in std::mem::take(&mut self.calling.pending) {
            match timed(&mut self.slowest, || pending.wait_timeout(PATIENCE)) {
                Ok(Some(reply)) => assert_eq!(Id::of(&reply), reply_to(id)),
                Err(Error::PeerDied | Error::NoReply | Error::Remote { code: 1, .. }) => {}
                other => panic!("{id:?}: {other:?}"),
            }
        }
    }

    /// Calls `count` times, each of which is answered at once.
    fn go_on(&mut self, count: u32) {
        for _ in 0..count {
            self.send();
            self.serve();
            let (id, mut pending) = self.calling.pending.remove(0);
            let reply = timed(&mut self.slowest, || pending.try_reply()).unwrap().expect("a reply");
            assert_eq!(Id::of(&reply), reply_to(id));
        }
    }
}

impl World {
    /// Everybody who is left goes on, newcomers come, nothing is amiss or left over.
    pub fn check_calls(mut self) -> Duration {
        let mut own = self.pair.take().unwrap_or_else(|| Pair::join(&self.root, OWN));
        own.serve();
        own.settle();
        own.go_on(5);
        let mut newcomer = Pair::join(&self.root, NEWCOMER);
        newcomer.go_on(2);
        own.go_on(5);
        self.wake_sleeper(&mut own);
        let slowest = own.slowest.max(newcomer.slowest);
        drop(newcomer);
        // Nothing of the dead is in use: who comes now takes it away.
        drop(Calling::join(self.root.path()).unwrap());
        self.audit_calls(&own);
        drop(own);
        self.root.assert_empty();
        slowest
    }

    fn wake_sleeper(&mut self, own: &mut Pair) {
        let Some(mut sleeper) = self.sleeper.take() else { return };
        sleeper.signal(libc::SIGCONT);
        if self.around == Around::SleepingServer {
            own.send();
            own.settle();
        } else {
            // It had been waiting for what the victim had.
            let ended = sleeper.hear();
            assert!(["answered", "died", "given up"].contains(&&*ended), "{ended}");
        }
        sleeper.kill();
        own.go_on(2);
    }

    fn audit_calls(&self, own: &Pair) {
        let options = RootOptions { root: Some(self.root.path().into()), ..Default::default() };
        let audit = shm::audit(&options).unwrap();
        assert!(audit.abandoned.is_empty() && audit.foreign.is_empty(), "{audit:?}");
        let [service] = &audit.topics[..] else { panic!("{audit:?}") };
        assert!(service.findings.is_empty(), "{:?}", service.findings);
        assert_eq!((service.living, service.dead, service.orphans), (2, 0, 0), "{service:?}");
        for memory in [own.calling.client.memory().unwrap(), own.serving.server.memory().unwrap()] {
            assert_eq!(memory.free, memory.chunks, "{memory:?}");
        }
    }
}
