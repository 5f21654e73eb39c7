// SPDX-License-Identifier: MIT OR Apache-2.0
//! Device topics and processes of other users, who can see abstract names.

use std::io::ErrorKind;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use shm::copier::cuda::Placement;
use shm::{Error, Publisher, Subscriber};

use crate::device::{publish, publisher, receive, subscriber};
use crate::driver::{root, Driver};
use crate::support::child::{Child, Parent};
use crate::support::{publishing, subscribing};
use crate::{run, with_driver, TOPIC};

const STRANGER: u32 = 12003;

/// Where a descriptor has the number of its publisher's door, and the id of its block.
const DOOR: usize = 64;
const ID: usize = 24;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn socket(name: &str) -> (std::os::fd::OwnedFd, SocketAddrUnix) {
    let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None).unwrap();
    (socket, SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap())
}

fn become_stranger() {
    // SAFETY: plain system calls.
    assert_eq!(unsafe { libc::setgroups(0, std::ptr::null()) }, 0);
    // SAFETY: as above.
    assert_eq!(unsafe { libc::setgid(STRANGER) | libc::setuid(STRANGER) }, 0);
}

fn door(descriptor: &[u8]) -> String {
    let number = u64::from_le_bytes(descriptor[DOOR..][..8].try_into().unwrap());
    format!("shm-device-{number:016x}")
}

/// Asks at a door for a block with a good id, and says how many bytes came.
pub fn asks(mut parent: Parent) {
    let (name, ids) = (parent.text(), [parent.number(), parent.number()]);
    if parent.text() == "as a stranger" {
        become_stranger();
    }
    let (socket, address) = socket(&name);
    rustix::net::connect(&socket, &address).unwrap();
    let asked: Vec<u8> = [1, ids[0], ids[1]].iter().flat_map(|word: &u64| word.to_le_bytes()).collect();
    // The other end may be closed by now.
    let _ = rustix::net::send(&socket, &asked, SendFlags::NOSIGNAL);
    let mut answer = [0; 24];
    let received = rustix::net::recv(&socket, &mut answer, RecvFlags::empty());
    parent.say(received.map_or(0, |(bytes, _)| bytes));
}

/// Listens as somebody else where a publisher was.
pub fn listens(mut parent: Parent) {
    let name = parent.text();
    become_stranger();
    let (socket, address) = socket(&name);
    rustix::net::bind(&socket, &address).unwrap();
    rustix::net::listen(&socket, 1).unwrap();
    parent.say_and_wait("listens");
}

#[test]
fn strangers_get_nothing_and_are_asked_for_nothing() {
    if is_root() {
        run("device_strangers::meets_strangers", &[]);
    }
}

pub fn meets_strangers(mut parent: Parent) {
    let (root, driver) = (root(&mut parent), Driver::open());
    let (publisher, subscriber) = (publisher(&root, 2, Placement::Device), subscriber(&root));
    let plain = Subscriber::with_options(TOPIC, &subscribing(&root)).unwrap();
    let ordinary = Publisher::with_options(TOPIC, &publishing(&root)).unwrap();
    publish(&driver, &publisher, 1, 10);
    let mut descriptor = plain.receive().unwrap().to_vec();
    drop(receive(&subscriber));
    let exports = || driver.count("cuMemExportToShareableHandle");
    let before = exports();
    let word = |at: usize| u64::from_le_bytes(descriptor[at..][..8].try_into().unwrap());
    for (who, bytes, exported) in [("as a stranger", 0, 0), ("as one of us", 24, 1)] {
        let arguments: [&dyn ToString; 4] = [&door(&descriptor), &word(ID), &word(ID + 8), &who];
        let mut asking = Child::start("device_strangers::asks", &arguments);
        assert_eq!(asking.hear_number(), bytes, "{who}");
        asking.finish();
        assert_eq!(exports() - before, exported, "{who}");
    }
    descriptor[DOOR] ^= 1;
    descriptor[ID] ^= 1;
    let mut listening = Child::start("device_strangers::listens", &[&door(&descriptor)]);
    listening.expect("listens");
    ordinary.publish(&descriptor).unwrap();
    let error = subscriber.try_receive().expect_err("it isn't asked");
    assert!(matches!(error, Error::NotTrusted { .. }), "{error}");
    drop((publisher, subscriber, plain, ordinary));
    driver.assert_clean();
}

#[test]
fn a_publisher_without_descriptors_waits_for_some() {
    run("device_strangers::has_no_descriptors", &[]);
}

/// Takes all descriptors that the process may have.
fn exhaust() -> Vec<std::fs::File> {
    let mut taken = Vec::new();
    loop {
        match std::fs::File::open("/dev/null") {
            Ok(file) => taken.push(file),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
                return taken;
            }
        }
    }
}

/// Processor time of this process, in clock ticks.
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

pub fn has_no_descriptors(mut parent: Parent) {
    let (root, driver) = (root(&mut parent), Driver::open());
    let publisher = publisher(&root, 2, Placement::Device);
    let limit = libc::rlimit { rlim_cur: 200, rlim_max: 200 };
    // SAFETY: a plain system call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
    let mut other = Child::start_with(with_driver(&[]), "device_strangers::receives_one", &[&root.display()]);
    other.expect("ready");
    publish(&driver, &publisher, 7, 10);
    let mut taken = exhaust();
    other.say("");
    other.expect("Some(TimedOut)");
    let before = {
        taken.pop();
        let ticks = ticks();
        taken.extend(exhaust());
        ticks
    };
    std::thread::sleep(std::time::Duration::from_millis(500));
    drop(taken);
    assert!(ticks() - before < 25, "it doesn't turn in circles meanwhile");
    // It may be late once more: nobody waits for that.
    loop {
        publish(&driver, &publisher, 7, 10);
        other.say("");
        if other.hear() == "None" {
            break;
        }
    }
    other.finish();
    drop(publisher);
    driver.assert_clean();
}

/// Receives messages when it is told to, and says what went wrong.
pub fn receives_one(mut parent: Parent) {
    let root = root(&mut parent);
    let subscriber = subscriber(&root);
    parent.say("ready");
    while parent.hear().is_some() {
        let failed: Option<ErrorKind> = match subscriber.receive_timeout(crate::LONG) {
            Ok(sample) => {
                assert!(sample.is_some());
                None
            }
            Err(Error::Os { source, .. }) => Some(source.kind()),
            Err(error) => panic!("{error}"),
        };
        parent.say(format!("{failed:?}"));
    }
}
