// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cases, carried out.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::acts::{Act, Memory, Size, User};
use super::place::TOPIC;
use super::{template, Case};

/// More of these would only make a case slow.
const MOST_EDITS: usize = 32;
const MOST_ACTS: usize = 24;
const MOST_SHAPES: usize = 4;

impl Case {
    /// Runs `body` on the files of the case, and looks what it left open.
    fn on_files(&self, root: &Path, body: impl FnOnce(&Path)) {
        let topic = root.join(TOPIC);
        template::put(self.template, &topic);
        let alive = template::keep_alive(self.alive, &topic);
        body(&topic);
        drop(alive);
        // What is left of a damaged topic is the user's to remove.
        for left in std::fs::read_dir(root).into_iter().flatten().flatten() {
            std::fs::remove_dir_all(left.path()).unwrap();
        }
        assert_eq!(open_below(root), 0, "descriptors were left open");
    }

    fn change(&self, topic: &Path) {
        self.shapes.iter().take(MOST_SHAPES).for_each(|shape| _ = shape.apply(topic));
        self.edits.iter().take(MOST_EDITS).for_each(|edit| _ = edit.apply(topic));
    }

    fn act(&self, user: &mut User) {
        self.acts.iter().take(MOST_ACTS).for_each(|act| _ = user.act(act));
    }
}

/// The files are changed, then used.
pub fn attach(root: &Path, case: &Case) {
    case.on_files(root, |topic| {
        case.change(topic);
        let mut user = User::new(root);
        for _ in 0..2 {
            user.join_as_subscriber(u8::MAX, false);
            user.act(&Act::ReceiveAll(0));
            user.join_as_publisher(Memory::Enough);
            for size in [Size::Tiny(1), Size::Small(5000), Size::Small(20_000)] {
                user.act(&Act::Publish(0, size));
            }
            user.act(&Act::Hold(0));
            user.act(&Act::LeaveAsPublisher(0));
            user.act(&Act::LeaveAsSubscriber(0));
        }
        case.act(&mut user);
    });
}

/// The files are changed, then looked at from beside, and what the dead left is taken away: before, while and after they are used.
pub fn audit(root: &Path, case: &Case) {
    case.on_files(root, |topic| {
        case.change(topic);
        let mut user = User::new(root);
        let look =
            |user: &mut User| [Act::Audit, Act::Collect, Act::Audit].iter().for_each(|act| _ = user.act(act));
        look(&mut user);
        user.join_as_subscriber(u8::MAX, false);
        user.join_as_publisher(Memory::Little);
        case.act(&mut user);
        look(&mut user);
        drop(user);
        look(&mut User::new(root));
    });
}

/// The files are used, and changed meanwhile, between the calls.
pub fn in_use(root: &Path, case: &Case) {
    case.on_files(root, |topic| {
        let mut user = joined(root);
        case.edits.iter().take(MOST_EDITS).for_each(|edit| _ = edit.apply(topic));
        case.act(&mut user);
    });
}

/// The files are changed over and over by another thread while they are used.
pub fn live(root: &Path, case: &Case) {
    case.on_files(root, |topic| {
        let mut user = joined(root);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let changes = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    case.edits.iter().take(MOST_EDITS).for_each(|edit| _ = edit.apply(topic));
                    std::thread::yield_now();
                }
            });
            {
                let _done = Set(&done);
                case.act(&mut user);
            }
            // The scope alone doesn't wait for the end of the thread, and what it still has looks like a leak.
            changes.join().unwrap();
        });
    });
}

/// Sets a flag at the end, also when that is a panic.
pub struct Set<'a>(pub &'a AtomicBool);

impl Drop for Set<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One who publishes and one who receives.
fn joined(root: &Path) -> User<'_> {
    let mut user = User::new(root);
    user.join_as_subscriber(2, false);
    user.join_as_publisher(Memory::Little);
    user.act(&Act::Publish(0, Size::Tiny(100)));
    user.act(&Act::Publish(0, Size::Small(3000)));
    user
}

/// Descriptors of this process that are open on something below `root`.
pub fn open_below(root: &Path) -> usize {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    entries
        .filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to.starts_with(root) && to != root))
        .count()
}
