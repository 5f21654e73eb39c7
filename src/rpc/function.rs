// SPDX-License-Identifier: MIT OR Apache-2.0
//! Typed functions: arguments and results as msgpack, straight into and out of shared memory.
//!
//! A request is the array of the arguments, a reply the result; nil when there is none. Several functions may share one service: then the
//! request's header says which one is meant, by a hash of its name.

use std::collections::BTreeMap;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::Serialize;

use super::request::{ReplyLoan, Request};
use super::server::Server;
use super::Client;
use crate::error::{Error, Result};
use crate::message::{encode_into, FIRST_GUESS};
use crate::options::{ClientOptions, ServerOptions};

/// Codes of [`Error::Remote`] that the library itself gives: those of JSON-RPC 2.0, section 5.1.
pub mod code {
    /// The service has no function of that name.
    pub const NO_SUCH_FUNCTION: i32 = -32601;
    /// The arguments aren't those that the function takes.
    pub const INVALID_ARGUMENTS: i32 = -32602;
    /// The function panicked, threw an exception, or gave something that can't be written as msgpack.
    pub const FAILED: i32 = -32603;
}

/// How long a server sleeps before it looks whether it is to stop.
const PATIENCE: Duration = Duration::from_millis(20);
/// Requests in a row that may be damaged: as many as the largest queue of one client's calls, and then some ...
const MOST_FAILURES: u32 = 10_000;
/// ... and how long nothing else may come, when each takes a while.
const LONGEST_FAILING: Duration = Duration::from_secs(2);
/// The function that every [`Service`] has: gives the names of the others.
const LIST: &str = "shm.list";

/// What can be called with arguments `A`: functions and closures with up to eight parameters that serde can read, and a result that it can
/// write.
pub trait Callable<A>: Send + Sync + 'static {
    /// How many arguments there are.
    #[doc(hidden)]
    const COUNT: u32;
    /// What it gives.
    type Output: Serialize;
    /// Reads the arguments from msgpack.
    #[doc(hidden)]
    fn read(arguments: &[u8]) -> std::result::Result<A, rmp_serde::decode::Error>;
    /// Calls it.
    #[doc(hidden)]
    fn call(&self, arguments: A) -> Self::Output;
}

macro_rules! callable {
    ($count:literal: $($argument:ident),*) => {
        impl<F, R, $($argument),*> Callable<($($argument,)*)> for F
        where
            F: Fn($($argument),*) -> R + Send + Sync + 'static,
            R: Serialize,
            $($argument: DeserializeOwned,)*
        {
            const COUNT: u32 = $count;
            type Output = R;

            fn read(arguments: &[u8]) -> std::result::Result<($($argument,)*), rmp_serde::decode::Error> {
                callable!(@read arguments $($argument)*)
            }

            #[allow(non_snake_case)]
            fn call(&self, ($($argument,)*): ($($argument,)*)) -> R {
                self($($argument),*)
            }
        }
    };
    // The unit is nil in msgpack, and no arguments are an empty array.
    (@read $from:ident) => { rmp_serde::from_slice::<[u8; 0]>($from).map(|[]| ()) };
    (@read $from:ident $($argument:ident)+) => { rmp_serde::from_slice($from) };
}

callable!(0:);
callable!(1: A);
callable!(2: A, B);
callable!(3: A, B, C);
callable!(4: A, B, C, D);
callable!(5: A, B, C, D, E);
callable!(6: A, B, C, D, E, G);
callable!(7: A, B, C, D, E, G, H);
callable!(8: A, B, C, D, E, G, H, I);

type Handler = dyn Fn(Request<'_>) -> Result<bool> + Send + Sync;

fn handler<A: 'static>(name: &str, function: impl Callable<A>) -> Arc<Handler> {
    let name = name.to_owned();
    Arc::new(move |request| handle(&name, &function, request))
}

fn handle<A, F: Callable<A>>(name: &str, function: &F, request: Request<'_>) -> Result<bool> {
    let arguments = match arguments::<A, F>(name, &request) {
        Ok(arguments) => arguments,
        Err(words) => return request.fail(code::INVALID_ARGUMENTS, &words),
    };
    let result = match catch_unwind(AssertUnwindSafe(|| function.call(arguments))) {
        Ok(result) => result,
        Err(panic) => return request.fail(code::FAILED, &format!("{name} panicked: {}", words_of(&*panic))),
    };
    reply(name, request, &result)
}

/// The arguments, or what is wrong with them.
fn arguments<A, F: Callable<A>>(name: &str, request: &[u8]) -> std::result::Result<A, String> {
    let count = F::COUNT;
    match rmp::decode::read_array_len(&mut &*request) {
        Ok(found) if found == count => F::read(request).map_err(|error| format!("{name}: {error}")),
        Ok(found) => Err(format!("{name} takes {count} arguments, but {found} were given")),
        Err(_) => Err(format!("{name} takes an array of {count} arguments, but the request isn't one")),
    }
}

fn reply(name: &str, request: Request<'_>, result: &(impl Serialize + ?Sized)) -> Result<bool> {
    let mut loan: ReplyLoan<'_> = request.loan(FIRST_GUESS)?;
    match encode_into(&mut loan, result) {
        Ok(()) => loan.send(),
        Err(error) => loan.fail(code::FAILED, &format!("{name}: {error}")),
    }
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without words")
}

/// Ends [`Function::serve`] and its like, from any thread.
#[derive(Clone, Default, Debug)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Lets the servers finish what they have in hand, and return; those that start later as well.
    pub fn stop(&self) {
        // Relaxed: it carries nothing but itself.
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A function that clients call by name, with arguments of their own languages.
///
/// ```
/// # let root = tempfile::tempdir()?; std::env::set_var("SHM_ROOT", root.path());
/// let add = shm::Function::new("add_fn", |a: i32, b: i32| a + b)?;
/// let stop = add.stopper();
/// std::thread::spawn(move || add.serve());          // or in another process, or in C++
/// let caller = shm::FunctionCaller::new("add_fn")?;
/// assert_eq!(caller.call::<i32>((4, 5))?, 9);
/// stop.stop();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Function {
    service: Service,
}

impl Function {
    /// Offers `function` as `name`.
    ///
    /// # Errors
    /// Those of [`Server::with_options`].
    pub fn new<A: 'static>(name: &str, function: impl Callable<A>) -> Result<Function> {
        Self::with_options(name, &ServerOptions::default(), function)
    }

    /// Offers `function` as `name`, with `options`.
    ///
    /// # Errors
    /// Those of [`Server::with_options`].
    pub fn with_options<A: 'static>(
        name: &str,
        options: &ServerOptions,
        function: impl Callable<A>,
    ) -> Result<Function> {
        let mut service = Service::with_options(name, options)?;
        service.functions.insert(0, (String::new(), handler(name, function)));
        Ok(Function { service })
    }

    /// Serves one call; waits for it.
    ///
    /// # Errors
    /// Those of [`Server::receive`] and [`Request::reply`].
    pub fn serve_once(&self) -> Result<()> {
        self.service.serve_once()
    }

    /// Serves calls until it is stopped.
    ///
    /// # Errors
    /// Those of [`serve_once`](Self::serve_once), when they don't cease; one request that fails is given up.
    ///
    /// # Panics
    /// When the caller's own code does outside of the function, such as the drop of a result: serving has ended then. A panic of the
    /// function itself is its caller's error.
    pub fn serve(&self) -> Result<()> {
        self.service.serve()
    }

    /// Serves calls in `threads` threads until it is stopped.
    ///
    /// # Errors
    /// Those of [`Server::with_options`] and [`serve_once`](Self::serve_once), of whichever thread had one first: the others are stopped.
    ///
    /// # Panics
    /// As [`serve`](Self::serve), in whichever thread: the others are stopped.
    pub fn serve_threads(&self, threads: usize) -> Result<()> {
        self.service.serve_threads(threads)
    }

    /// Ends serving, from any thread.
    pub fn stopper(&self) -> Stop {
        self.service.stopper()
    }
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Function").field("name", &self.service.name).finish_non_exhaustive()
    }
}

/// Several functions under one name, with one queue.
///
/// ```
/// # let root = tempfile::tempdir()?; std::env::set_var("SHM_ROOT", root.path());
/// let mut service = shm::Service::new("calculator")?;
/// service.function("add", |a: i32, b: i32| a + b)?;
/// service.function("upper", |text: String| text.to_uppercase())?;
/// let stop = service.stopper();
/// std::thread::spawn(move || service.serve());
/// let upper = shm::FunctionCaller::of("calculator", "upper")?;
/// assert_eq!(upper.call::<String>(("abc",))?, "ABC");
/// assert_eq!(shm::FunctionCaller::list("calculator")?, ["add", "upper"]);
/// stop.stop();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Service {
    name: String,
    options: ServerOptions,
    server: Server,
    /// By the hash of the name; 0 is what is called when no name is said.
    functions: BTreeMap<u64, (String, Arc<Handler>)>,
    stop: Stop,
}

impl Service {
    /// Joins the service `name`, with nothing to call yet.
    ///
    /// # Errors
    /// Those of [`Server::with_options`].
    pub fn new(name: &str) -> Result<Service> {
        Self::with_options(name, &ServerOptions::default())
    }

    /// Joins the service `name`, with `options`.
    ///
    /// # Errors
    /// Those of [`Server::with_options`].
    pub fn with_options(name: &str, options: &ServerOptions) -> Result<Service> {
        let server = Server::with_options(name, options)?;
        let (name, options) = (name.to_owned(), options.clone());
        Ok(Service { name, options, server, functions: BTreeMap::new(), stop: Stop::default() })
    }

    /// Adds `function` as `name`.
    ///
    /// # Errors
    /// [`Error::InvalidName`] for an empty name, one that is taken already, or one that the hash can't tell from another.
    pub fn function<A: 'static>(&mut self, name: &str, function: impl Callable<A>) -> Result<&mut Self> {
        let hash = hash(name);
        let reason = if name.is_empty() {
            "it is empty; give it one character at least"
        } else if name == LIST || self.functions.contains_key(&hash) {
            "the service has a function of this name, or one with the same hash, already; choose another"
        } else {
            let full = format!("{}.{name}", self.name);
            self.functions.insert(hash, (name.to_owned(), handler(&full, function)));
            return Ok(self);
        };
        Err(Error::InvalidName { name: name.chars().take(64).collect(), reason })
    }

    /// Serves one call; waits for it.
    ///
    /// # Errors
    /// Those of [`Server::receive`] and [`Request::reply`].
    pub fn serve_once(&self) -> Result<()> {
        self.dispatch(self.server.receive()?)
    }

    /// Serves calls until it is stopped.
    ///
    /// # Errors
    /// Those of [`serve_once`](Self::serve_once), when they don't cease; one request that fails is given up.
    ///
    /// # Panics
    /// When the caller's own code does outside of the function, such as the drop of a result: serving has ended then. A panic of the
    /// function itself is its caller's error.
    pub fn serve(&self) -> Result<()> {
        self.serve_with(&self.server)
    }

    /// Serves calls in `threads` threads until it is stopped.
    ///
    /// # Errors
    /// Those of [`Server::with_options`] and [`serve_once`](Self::serve_once), of whichever thread had one first: the others are stopped.
    ///
    /// # Panics
    /// As [`serve`](Self::serve), in whichever thread: the others are stopped.
    pub fn serve_threads(&self, threads: usize) -> Result<()> {
        let others: Result<Vec<Server>> =
            (1..threads).map(|_| Server::with_options(&self.name, &self.options)).collect();
        let dispatch = Dispatch { name: &self.name, functions: &self.functions, stop: &self.stop };
        std::thread::scope(|scope| {
            let others: Vec<_> =
                others?.into_iter().map(|server| scope.spawn(move || dispatch.serve(&server))).collect();
            let mine = dispatch.serve(&self.server);
            let others =
                others.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
            others.fold(mine, Result::and)
        })
    }

    /// Ends serving, from any thread.
    pub fn stopper(&self) -> Stop {
        self.stop.clone()
    }

    fn serve_with(&self, server: &Server) -> Result<()> {
        Dispatch { name: &self.name, functions: &self.functions, stop: &self.stop }.serve(server)
    }

    fn dispatch(&self, request: Request<'_>) -> Result<()> {
        Dispatch { name: &self.name, functions: &self.functions, stop: &self.stop }.dispatch(request)
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What the threads of a service share.
#[derive(Clone, Copy)]
struct Dispatch<'a> {
    name: &'a str,
    functions: &'a BTreeMap<u64, (String, Arc<Handler>)>,
    stop: &'a Stop,
}

impl Dispatch<'_> {
    /// [`serve_calls`](Self::serve_calls); a panic, which isn't the library's, ends all threads and is the caller's.
    fn serve(&self, server: &Server) -> Result<()> {
        catch_unwind(AssertUnwindSafe(|| self.serve_calls(server))).unwrap_or_else(|panic| {
            self.stop.stop();
            resume_unwind(panic)
        })
    }

    /// What fails about one request, such as memory for its reply, is that one's: it is given up, its client gets
    /// [`Error::NoReply`], and serving goes on. Failures to receive that go on and on aren't about requests; they end all threads.
    fn serve_calls(&self, server: &Server) -> Result<()> {
        let mut failing: Option<(u32, Instant)> = None;
        while !self.stop.is_set() {
            match server.receive_timeout(PATIENCE) {
                Ok(received) => {
                    failing = None;
                    // The request was given up, which is all that its client can be told.
                    let _ = received.map(|request| self.dispatch(request));
                }
                Err(error) => {
                    let (count, since) = failing.get_or_insert_with(|| (0, Instant::now()));
                    *count += 1;
                    let goes_on = *count > MOST_FAILURES || since.elapsed() > LONGEST_FAILING;
                    if goes_on || matches!(error, Error::Forked) {
                        self.stop.stop();
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    fn dispatch(&self, request: Request<'_>) -> Result<()> {
        match self.functions.get(&request.function()) {
            Some((_, handler)) => handler(request).map(drop),
            None if request.function() == hash(LIST) => {
                let names: Vec<&str> = self.functions.values().map(|(name, _)| name.as_str()).collect();
                let mut names: Vec<&str> = names.into_iter().filter(|name| !name.is_empty()).collect();
                names.sort_unstable();
                reply(LIST, request, &names).map(drop)
            }
            None => {
                let words = format!("{} has no function of that name", self.name);
                request.fail(code::NO_SUCH_FUNCTION, &words).map(drop)
            }
        }
    }
}

/// FNV-1a of a function's name (<http://www.isthe.com/chongo/tech/comp/fnv/>), never 0.
pub(crate) fn hash(name: &str) -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    name.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, step).max(1)
}

/// Calls a [`Function`], or one of a [`Service`], in whatever language it is written.
pub struct FunctionCaller {
    client: Client,
    /// The hash of its name within the service; 0: the only one.
    function: u64,
}

impl FunctionCaller {
    /// Calls the function `name`.
    ///
    /// # Errors
    /// Those of [`Client::with_options`].
    pub fn new(name: &str) -> Result<FunctionCaller> {
        Self::with_options(name, None, &ClientOptions::default())
    }

    /// Calls the function `name` of `service`.
    ///
    /// # Errors
    /// Those of [`Client::with_options`].
    pub fn of(service: &str, name: &str) -> Result<FunctionCaller> {
        Self::with_options(service, Some(name), &ClientOptions::default())
    }

    /// Calls the function `name` of `service`, or the only one that it has, with `options`.
    ///
    /// # Errors
    /// Those of [`Client::with_options`].
    pub fn with_options(
        service: &str,
        name: Option<&str>,
        options: &ClientOptions,
    ) -> Result<FunctionCaller> {
        Ok(FunctionCaller { client: Client::with_options(service, options)?, function: name.map_or(0, hash) })
    }

    /// The names of the functions that `service` has.
    ///
    /// # Errors
    /// Those of [`Client::with_options`] and [`call`](Self::call).
    pub fn list(service: &str) -> Result<Vec<String>> {
        Self::of(service, LIST)?.call([0u8; 0])
    }

    /// Calls the function with `arguments`, a tuple of them (no arguments: `[(); 0]`), and waits for its result as long as it takes.
    ///
    /// # Errors
    /// [`Error::Remote`] when the function failed, or the arguments aren't its, with a code of [`code`] when the library says so;
    /// [`Error::Encode`], [`Error::Decode`] when serde can't write the arguments or read the result; those of [`Client::call`].
    pub fn call<R: DeserializeOwned>(&self, arguments: impl Serialize) -> Result<R> {
        loop {
            if let Some(result) = self.call_timeout(&arguments, Duration::MAX)? {
                return Ok(result);
            }
        }
    }

    /// The same, but waits no longer than `timeout`. `None`: there was no result in that time, or no room in the queue, and the call is
    /// cancelled.
    ///
    /// # Errors
    /// Those of [`call`](Self::call).
    pub fn call_timeout<R: DeserializeOwned>(
        &self,
        arguments: impl Serialize,
        timeout: Duration,
    ) -> Result<Option<R>> {
        let mut loan = self.client.loan(FIRST_GUESS)?;
        loan.set_function(self.function);
        encode_into(&mut loan, &arguments)?;
        let Some(reply) = loan.call_timeout(timeout)? else { return Ok(None) };
        rmp_serde::from_slice(&reply).map(Some).map_err(|error| Error::Decode(error.to_string()))
    }
}

impl std::fmt::Debug for FunctionCaller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FunctionCaller").field("client", &self.client).finish_non_exhaustive()
    }
}
