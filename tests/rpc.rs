// SPDX-License-Identifier: MIT OR Apache-2.0
//! Remote procedure calls within one process, through the public door.

#[path = "support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use shm::{Client, ClientOptions, Error, Server, ServerOptions};
use support::Root;

const SERVICE: &str = "service";

fn client_options(root: &Root) -> ClientOptions {
    ClientOptions { root: Some(root.path().into()), ..Default::default() }
}

fn server_options(root: &Root) -> ServerOptions {
    ServerOptions { root: Some(root.path().into()), ..Default::default() }
}

fn client(root: &Root) -> Client {
    Client::with_options(SERVICE, &client_options(root)).unwrap()
}

fn server(root: &Root) -> Server {
    Server::with_options(SERVICE, &server_options(root)).unwrap()
}

/// Serves what is there with what it says, backwards.
fn serve(server: &Server) -> bool {
    let Some(request) = server.try_receive().unwrap() else { return false };
    let reply: Vec<u8> = request.iter().rev().copied().collect();
    request.reply(&reply).unwrap()
}

#[test]
fn each_request_gets_its_reply() {
    let root = Root::new();
    let (server, client) = (server(&root), client(&root));
    for round in 0..1000 {
        let pending: Vec<_> = (0..10u8).map(|n| client.send(&[n, round as u8]).unwrap()).collect();
        while serve(&server) {}
        for (n, pending) in (0..).zip(pending) {
            assert_eq!(&*pending.wait().unwrap(), &[round as u8, n]);
        }
    }
    let (of_client, of_server) = (client.memory().unwrap(), server.memory().unwrap());
    assert_eq!((of_client.free, of_client.held), (of_client.chunks, 0));
    assert_eq!((of_server.free, of_server.held), (of_server.chunks, 0));
    drop((server, client));
    root.assert_empty();
}

#[test]
fn requests_and_replies_are_written_and_read_in_place() {
    let root = Root::new();
    let (server, client) = (server(&root), client(&root));
    let mut loan = client.loan(1 << 20).unwrap();
    loan.fill(3);
    loan.resize(3 << 20).unwrap();
    loan[1 << 20..].fill(4);
    let pending = loan.send().unwrap();
    let mut reply = server.receive().unwrap().loan(10).unwrap();
    assert_eq!((reply.request()[0], reply.request()[3 << 19]), (3, 4));
    assert_eq!(reply.request().len(), 3 << 20);
    reply.fill(5);
    reply.resize(1000).unwrap();
    reply[10..].fill(6);
    assert!(reply.send().unwrap());
    let reply = pending.wait().unwrap();
    assert_eq!((reply.len(), reply[9], reply[10]), (1000, 5, 6));
}

#[test]
fn without_a_server_a_call_fails_at_once_or_waits_for_one() {
    let root = Root::new();
    let hasty = client(&root);
    match hasty.call(b"1") {
        Err(Error::NoServer { service }) => assert_eq!(service, SERVICE),
        other => panic!("{other:?}"),
    }
    let options = ClientOptions { wait_for_server: true, ..client_options(&root) };
    let patient = Client::with_options(SERVICE, &options).unwrap();
    let pending = patient.send(b"12").unwrap();
    let server = server(&root);
    assert!(serve(&server));
    assert_eq!(&*pending.wait().unwrap(), b"21");
    // One that was sent while there was a server, which left without it.
    let mut pending = hasty.send(b"3").unwrap();
    drop(server);
    assert!(matches!(pending.next(), Err(Error::NoServer { .. })));
    assert!(pending.is_over() && pending.next().unwrap().is_none());
}

#[test]
fn a_call_ends_at_its_deadline_and_its_server_learns_that() {
    let root = Root::new();
    let (server, client) = (server(&root), client(&root));
    let from = Instant::now();
    assert!(client.call_timeout(b"1", Duration::from_millis(5)).unwrap().is_none());
    assert!(from.elapsed() >= Duration::from_millis(5));
    assert!(server.try_receive().unwrap().is_none(), "a server that hasn't begun never sees it");
    let mut pending = client.send(b"2").unwrap();
    let request = server.receive().unwrap();
    assert!(pending.wait_timeout(Duration::from_millis(1)).unwrap().is_none());
    assert!(!request.is_cancelled());
    pending.cancel();
    assert!(request.is_cancelled());
    assert!(!request.reply(b"too late").unwrap());
    let pending = client.send(b"34").unwrap();
    assert!(serve(&server));
    assert_eq!(&*pending.wait().unwrap(), b"43");
}

#[test]
fn errors_of_the_function_reach_the_caller() {
    let root = Root::new();
    let (server, client) = (server(&root), client(&root));
    let pending = client.send(b"?").unwrap();
    assert!(server.receive().unwrap().fail(-7, "größer").unwrap());
    match pending.wait() {
        Err(Error::Remote { code, message }) => assert_eq!((code, &*message), (-7, "größer")),
        other => panic!("{other:?}"),
    }
    let pending = client.send(b"?").unwrap();
    drop(server.receive().unwrap());
    assert!(matches!(pending.wait(), Err(Error::NoReply)));
    let pending = client.send(b"?").unwrap();
    let _request = server.receive().unwrap();
    drop(_request);
    assert!(matches!(pending.wait(), Err(Error::NoReply)));
}

#[test]
fn limits_are_errors_and_pass() {
    let root = Root::new();
    let options = ClientOptions { capacity: 2, calls: 3, holds: 1, ..client_options(&root) };
    let client = Client::with_options(SERVICE, &options).unwrap();
    let server = server(&root);
    let (first, second) = (client.send(b"1").unwrap(), client.send(b"2").unwrap());
    assert!(matches!(client.send(b"3"), Err(Error::QueueFull { capacity: 2 })));
    let in_hand = server.receive().unwrap();
    assert!(matches!(server.try_receive(), Err(Error::NoHold { limit: 1 })));
    let third = client.send(b"3").unwrap();
    assert!(matches!(client.send(b"4"), Err(Error::TooManyCalls { limit: 3 })));
    in_hand.reply(b"one").unwrap();
    while serve(&server) {}
    let (one, mut second) = (first.wait().unwrap(), second);
    assert!(matches!(second.try_reply(), Err(Error::NoHold { limit: 1 })));
    assert_eq!(&*one, b"one");
    drop(one);
    assert_eq!(&*second.try_reply().unwrap().unwrap(), b"2");
    assert_eq!(&*third.wait().unwrap(), b"3");
}

#[test]
fn cancelled_calls_fill_no_queue() {
    let root = Root::new();
    let options = ClientOptions { capacity: 4, wait_for_server: true, ..client_options(&root) };
    let client = Client::with_options(SERVICE, &options).unwrap();
    for _ in 0..20 {
        assert!(client.call_timeout(b"1", Duration::ZERO).unwrap().is_none());
    }
    let kept: Vec<_> = (0..4).map(|n| client.send(&[n, 9]).unwrap()).collect();
    assert!(matches!(client.send(b"5"), Err(Error::QueueFull { capacity: 4 })));
    let server = server(&root);
    while serve(&server) {}
    for (n, pending) in (0..).zip(kept) {
        assert_eq!(&*pending.wait().unwrap(), &[9, n]);
    }
}

#[test]
fn a_client_that_leaves_a_reply_lying_keeps_back_no_more_than_that() {
    let root = Root::new();
    let options = ServerOptions { memory: 1 << 20, ..server_options(&root) };
    let server = Server::with_options(SERVICE, &options).unwrap();
    let (slow, quick) = (client(&root), client(&root));
    let call = |client: &Client| {
        let mut loan = client.loan(100_000).unwrap();
        loan.fill(1);
        // Forgotten is as good as stopped.
        std::mem::forget(loan.send().unwrap());
        assert!(serve(&server));
    };
    call(&slow);
    for _ in 0..100 {
        let pending = quick.send(&[1; 100_000]).unwrap();
        assert!(serve(&server));
        assert_eq!(pending.wait().unwrap().len(), 100_000);
    }
    let memory = server.memory().unwrap();
    assert_eq!(memory.chunks - memory.free, 1, "{memory:?}");
}

#[test]
fn a_server_that_leaves_keeps_back_only_what_was_not_taken() {
    let root = Root::new();
    let (server, client) = (server(&root), client(&root));
    let (first, second) = (client.send(b"1").unwrap(), client.send(&[2; 100_000]).unwrap());
    assert!(serve(&server) && serve(&server));
    drop(second.wait().unwrap());
    drop(server);
    let options = shm::RootOptions { root: Some(root.path().into()), ..Default::default() };
    let audit = shm::audit(&options).unwrap();
    assert_eq!(audit.topics[0].orphans, 1, "{audit:?}");
    assert_eq!(&*first.wait().unwrap(), b"1");
}

#[test]
fn a_stream_of_replies_ends_by_its_end_or_an_error() {
    let root = Root::new();
    let (server, client) = (server(&root), client(&root));
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for way in 0..4 {
                let mut request = server.receive().unwrap();
                for part in 0..100u8 {
                    if !request.send_part(&[part]).unwrap() {
                        assert_eq!(way, 3, "only the last one is cancelled");
                        assert!(request.is_cancelled());
                        break;
                    }
                }
                match way {
                    0 => assert!(request.finish().unwrap()),
                    1 => assert!(request.fail(5, "no more").unwrap()),
                    _ => drop(request),
                }
            }
        });
        for way in 0..4 {
            let mut pending = client.send(b"all").unwrap();
            for part in 0..if way == 3 { 10 } else { 100u8 } {
                assert_eq!(&*pending.next().unwrap().unwrap(), &[part]);
            }
            match way {
                0 => assert!(pending.next().unwrap().is_none() && pending.is_over()),
                1 => assert!(matches!(pending.next(), Err(Error::Remote { code: 5, .. }))),
                2 => assert!(matches!(pending.next(), Err(Error::NoReply))),
                _ => drop(pending),
            }
        }
    });
}

#[test]
fn many_clients_and_servers_share_the_load() {
    const CALLS: u64 = 20_000;
    let root = Root::new();
    let (clients, servers): (Vec<_>, Vec<_>) =
        ((0..3).map(|_| client(&root)).collect(), (0..3).map(|_| server(&root)).collect());
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for server in servers {
            let done = &done;
            scope.spawn(move || {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    if let Some(request) = server.receive_timeout(Duration::from_millis(10)).unwrap() {
                        let number = u64::from_le_bytes(request[..].try_into().unwrap());
                        request.reply(&(number * 2).to_le_bytes()).unwrap();
                    }
                }
            });
        }
        let calling: Vec<_> = clients
            .into_iter()
            .map(|client| {
                scope.spawn(move || {
                    for number in 0..CALLS {
                        let reply = client.call(&number.to_le_bytes()).unwrap();
                        assert_eq!(reply[..], (number * 2).to_le_bytes());
                    }
                })
            })
            .collect();
        calling.into_iter().for_each(|thread| thread.join().unwrap());
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    root.assert_empty();
}

/// Calls with what `call` gives, while `service` is served.
fn while_served<T>(function: &shm::Function, call: impl FnOnce() -> T + Send) -> T
where
    T: Send,
{
    let stop = function.stopper();
    std::thread::scope(|scope| {
        let calling = scope.spawn(move || {
            let result = call();
            stop.stop();
            result
        });
        function.serve().unwrap();
        calling.join().unwrap()
    })
}

fn caller(root: &Root, name: &str, function: Option<&str>) -> shm::FunctionCaller {
    shm::FunctionCaller::with_options(name, function, &client_options(root)).unwrap()
}

#[test]
fn arguments_and_results_are_those_of_the_function() {
    let root = Root::new();
    let options = server_options(&root);
    let join = |texts: Vec<String>, with: String, times: u8| (texts.join(&with).repeat(times.into()), times);
    let function = shm::Function::with_options("join", &options, join).unwrap();
    let (text, times): (String, u8) =
        while_served(&function, || caller(&root, "join", None).call((["a", "b"], "-", 2)).unwrap());
    assert_eq!((&*text, times), ("a-ba-b", 2));
    let nothing = shm::Function::with_options("nothing", &options, || ()).unwrap();
    while_served(&nothing, || caller(&root, "nothing", None).call::<()>([0u8; 0]).unwrap());
    let large = shm::Function::with_options("large", &options, |len: usize| "x".repeat(len)).unwrap();
    let text: String = while_served(&large, || caller(&root, "large", None).call((1 << 20,)).unwrap());
    assert_eq!(text.len(), 1 << 20);
}

#[test]
fn what_is_wrong_with_a_typed_call_is_said_to_the_caller() {
    let root = Root::new();
    let divide = |a: i32, b: i32| a / b;
    let function = shm::Function::with_options("divide", &server_options(&root), divide).unwrap();
    let failures = while_served(&function, || {
        let caller = caller(&root, "divide", None);
        let failure = |result: shm::Result<i32>| match result {
            Err(Error::Remote { code, message }) => (code, message),
            other => panic!("{other:?}"),
        };
        let failures = [
            failure(caller.call((1,))),
            failure(caller.call(("one", 2))),
            failure(caller.call(7)),
            failure(caller.call((1, 0))),
        ];
        assert_eq!(caller.call::<i32>((6, 3)).unwrap(), 2, "it serves on");
        assert!(matches!(caller.call::<String>((6, 3)), Err(Error::Decode(_))));
        failures
    });
    let codes = failures.each_ref().map(|(code, _)| *code);
    let [arguments, failed] = [shm::code::INVALID_ARGUMENTS, shm::code::FAILED];
    assert_eq!(codes, [arguments, arguments, arguments, failed]);
    assert_eq!(failures[0].1, "divide takes 2 arguments, but 1 were given");
    assert!(failures[3].1.starts_with("divide panicked: attempt to divide by zero"), "{}", failures[3].1);
}

/// A stream that has no reply at all isn't called for again and again.
#[test]
fn a_typed_call_of_an_empty_stream_ends() {
    let root = Root::new();
    let server = server(&root);
    std::thread::scope(|scope| {
        let calling = scope.spawn(|| caller(&root, SERVICE, None).call::<i32>((1,)));
        server.receive().unwrap().finish().unwrap();
        let again = server.receive_timeout(Duration::from_millis(100)).unwrap();
        let is_called_again = again.is_some_and(|request| request.reply(&[0]).is_ok());
        assert!(matches!(calling.join().unwrap(), Err(Error::NoReply)));
        assert!(!is_called_again);
    });
}

#[test]
fn a_call_that_ends_without_a_reply_is_not_made_again() {
    let root = Root::new();
    let (server, client) = (server(&root), client(&root));
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..2 {
                assert!(server.receive().unwrap().finish().unwrap());
            }
            // Another one would get an error.
            while let Some(request) = server.receive_timeout(Duration::from_millis(200)).unwrap() {
                request.fail(1, "again").unwrap();
            }
        });
        let ended = caller(&root, SERVICE, None).call::<i32>((1,));
        assert!(matches!(ended, Err(Error::NoReply)), "{ended:?}");
        let ended = client.call_timeout(b"1", Duration::from_secs(5));
        assert!(matches!(ended, Err(Error::NoReply)), "{ended:?}");
    });
}

#[test]
fn several_functions_share_a_service() {
    let root = Root::new();
    let mut service = shm::Service::with_options("calculator", &server_options(&root)).unwrap();
    service.function("add", |a: i32, b: i32| a + b).unwrap().function("negate", |a: i32| -a).unwrap();
    assert!(matches!(service.function("add", || ()), Err(Error::InvalidName { .. })));
    let stop = service.stopper();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let call = |function| caller(&root, "calculator", Some(function));
            for n in 0..1000 {
                assert_eq!(call("add").call::<i32>((n, 1)).unwrap(), n + 1);
            }
            assert_eq!(call("negate").call::<i32>((3,)).unwrap(), -3);
            let names: Vec<String> = call("shm.list").call([0u8; 0]).unwrap();
            assert_eq!(names, ["add", "negate"]);
            match call("multiply").call::<i32>((1, 2)) {
                Err(Error::Remote { code, .. }) => assert_eq!(code, shm::code::NO_SUCH_FUNCTION),
                other => panic!("{other:?}"),
            }
            stop.stop();
        });
        service.serve_threads(3).unwrap();
    });
    drop(service);
    root.assert_empty();
}

/// A result whose drop, after the reply was sent, panics.
#[derive(serde::Serialize)]
struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("meant to: a result that panics when it is dropped");
    }
}

/// Serves in three threads until a result's drop panics in the first of them, or in another; what comes of that.
fn serve_until_a_panic(in_first: bool) -> std::thread::Result<shm::Result<()>> {
    let root = Root::new();
    let is_first = || std::thread::current().name() == Some("first");
    let panic_here = move || (is_first() == in_first).then_some(PanicsWhenDropped);
    let function = shm::Function::with_options("f", &server_options(&root), panic_here).unwrap();
    let (stop, caller) = (function.stopper(), caller(&root, "f", None));
    let serving = std::thread::Builder::new().name("first".into()).spawn(move || function.serve_threads(3));
    let serving = serving.unwrap();
    let from = Instant::now();
    while !serving.is_finished() && from.elapsed() < Duration::from_secs(5) {
        let _ = caller.call_timeout::<()>([0u8; 0], Duration::from_millis(20));
    }
    let has_ended = serving.is_finished();
    stop.stop();
    let ended = serving.join();
    assert!(has_ended, "the other threads serve on");
    ended
}

#[test]
fn a_panic_of_a_serving_thread_is_the_caller_s() {
    for in_first in [true, false] {
        let panic = serve_until_a_panic(in_first).expect_err("it is hushed up");
        let words = panic.downcast_ref::<&str>().copied();
        assert_eq!(words, Some("meant to: a result that panics when it is dropped"), "in_first: {in_first}");
    }
}

/// Runs `future` on this thread.
fn block_on<F: std::future::Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn replies_can_be_awaited() {
    let root = Root::new();
    let (server, client) = (server(&root), client(&root));
    std::thread::scope(|scope| {
        let (replied, wait) = std::sync::mpsc::channel::<()>();
        scope.spawn(move || {
            for n in 0..200u8 {
                let request = server.receive().unwrap();
                if n.is_multiple_of(2) {
                    wait.recv_timeout(Duration::from_millis(2)).unwrap_err();
                }
                request.reply(&[n]).unwrap();
            }
            let mut request = server.receive().unwrap();
            (0..10).for_each(|part| assert!(request.send_part(&[part]).unwrap()));
            request.finish().unwrap();
            let _given_up = server.receive().unwrap();
        });
        block_on(async {
            for n in 0..200u8 {
                assert_eq!(*client.send(b"?").unwrap().await.unwrap(), [n]);
            }
            let mut stream = client.send(b"all").unwrap();
            for part in 0..10 {
                assert_eq!(*(&mut stream).await.unwrap(), [part]);
            }
            assert!(matches!((&mut stream).await, Err(Error::NoReply)) && stream.is_over());
            assert!(matches!(client.send(b"?").unwrap().await, Err(Error::NoReply)));
        });
        drop(replied);
    });
}

#[test]
fn what_is_held_stays_as_it_is() {
    let root = Root::new();
    let (server, client) = (server(&root), client(&root));
    let pending = client.send(b"held").unwrap();
    let held_request = server.receive().unwrap();
    let reply = client.send(b"first").and_then(|pending| {
        assert!(serve(&server));
        pending.wait()
    });
    let held_reply = reply.unwrap();
    for n in 0..500u32 {
        let pending = client.send(&n.to_le_bytes()).unwrap();
        assert!(serve(&server));
        assert_eq!(*pending.wait().unwrap(), n.to_be_bytes());
        assert_eq!((&*held_request, &*held_reply), (&b"held"[..], &b"tsrif"[..]));
    }
    assert!(held_request.reply(b"at last").unwrap());
    assert_eq!(&*pending.wait().unwrap(), b"at last");
}

#[test]
fn a_reply_without_memory_is_one_request_s_affair() {
    let root = Root::new();
    let options = ServerOptions { memory: 17 << 10, ..server_options(&root) };
    let large = shm::Function::with_options("large", &options, |len: usize| "x".repeat(len)).unwrap();
    let (too_large, unanswered, after) = while_served(&large, || {
        let caller = caller(&root, "large", None);
        let too_large = caller.call::<String>((1 << 20,));
        // Replies that nobody takes, until there is no room for one more.
        let client = Client::with_options("large", &client_options(&root)).unwrap();
        let asked = [0x91, 10]; // the array of one argument, in msgpack
        let pending: Vec<_> = (0..60).map(|_| client.send(&asked).unwrap()).collect();
        // Served behind them, if there is memory for its reply.
        let _ = caller.call::<String>((1,));
        let unanswered = pending.into_iter().filter_map(|pending| pending.wait().err()).count();
        (too_large.map(drop), unanswered, caller.call::<String>((10,)).map(|text| text.len()))
    });
    assert!(matches!(too_large, Err(Error::Remote { code: shm::code::FAILED, .. })), "{too_large:?}");
    assert!(unanswered > 0);
    assert_eq!(after.unwrap(), 10, "it serves on");
}

#[test]
fn want_of_memory_is_said_in_words_for_all_who_have_a_budget() {
    let root = Root::new();
    let memory = 17 << 10;
    let server = Server::with_options(SERVICE, &ServerOptions { memory, ..server_options(&root) }).unwrap();
    let client = Client::with_options(SERVICE, &ClientOptions { memory, ..client_options(&root) }).unwrap();
    let pending = client.send(b"1").unwrap();
    let of_server = server.receive().unwrap().reply(&[1; 1 << 20]).unwrap_err().to_string();
    let of_client = client.send(&[1; 1 << 20]).unwrap_err().to_string();
    for words in [of_server, of_client] {
        assert!(words.contains("of the budget of 17408 bytes"), "{words}");
        assert!(words.contains("requests or replies") && words.contains("yet to take"), "{words}");
        assert!(!words.contains("publisher"), "{words}");
    }
    drop(pending);
}

#[test]
fn a_damaged_head_is_said_and_keeps_nobody() {
    let root = Root::new();
    let (server, client) = (server(&root), client(&root));
    let mut pending = client.send(b"1").unwrap();
    // The head lies a cache line behind the tail: see src/topic/layout.rs.
    let ring = std::fs::File::options().write(true).open(root.path().join("+service/ring")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&ring, &(1u64 << 40).to_ne_bytes(), 256 + 64).unwrap();
    assert!(matches!(server.receive(), Err(Error::Corrupt { .. })));
    assert!(matches!(pending.next(), Err(Error::Corrupt { .. })));
}
