// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <shm/error.hpp>
#include <shm/message.hpp>
#include <shm/request.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

/// @file
/// Serving: `shm::server` for bytes, in place or copied, with one reply or several; and
/// `shm::rpc::Function` and `shm::rpc::Service`, which call a function per request.
///
/// Memory of another kind, with a `shm::copier`: `copier.shm_to_user(memory, request.data(), request.size())`
/// or `copier.copy_out` reads a request, `copier.user_to_shm(loan.data(), memory, loan.size())` fills a
/// reply loan.

namespace shm {

/// How a server is made. A service that exists already and is smaller than what is asked for is a
/// `mismatch`.
struct server_options {
    /// Directory of the services. Empty: `$SHM_ROOT`, else `/dev/shm/shm-<uid>`.
    std::string root;
    /// Requests that the service's queue takes, a power of two. 0: as the service has it, 256 when it is
    /// made here.
    std::uint32_t capacity = 0;
    /// Clients and servers that the service can have, at most 1024. 0: as the service has it, 64 when it
    /// is made here.
    std::uint32_t participants = 0;
    /// Replies that a client, and requests that a server, may hold, at most 256. 0: as the service has
    /// it, 64 when it is made here.
    std::uint32_t holds = 0;
    /// Calls that a client may have in flight, at most 256. 0: as the service has it, 64 when it is made
    /// here.
    std::uint32_t calls = 0;
    /// Bytes of shared memory that this server's replies may take. 0: 256 MiB.
    std::uint64_t memory = 0;
    /// The permission bits of the service's files, as `publisher_options::mode`.
    std::uint32_t mode = 0;
    /// The group, by its id, whose members share the service, as `publisher_options::group`.
    std::optional<std::uint32_t> group = {};
};

namespace detail {

struct server_deleter {
    void operator()(shm_server* s) const noexcept { shm_server_destroy(s); }
};
using server_handle = std::unique_ptr<shm_server, server_deleter>;

inline status open(const std::string& service, const server_options& options,
                   server_handle& handle) noexcept {
    shm_server_options c{};
    const status converted = convert(service, options, shm_server_options_init, c);
    if (converted != status::ok) return converted;
    c.calls = options.calls;
    c.memory = options.memory;
    shm_server* created = nullptr;
    const status s = from_c(shm_server_create(service.c_str(), &c, &created));
    if (s == status::ok) handle.reset(created);
    return s;
}

}  // namespace detail

/// Serves the requests of a service, each of which goes to exactly one of its servers. Move-only; used
/// by one thread at a time, in no signal handler, and dead in the child of a fork: threads that share
/// the load have one each. Several requests may be in hand, and end in any order.
///
/// Who comes first makes the service, who leaves last removes it.
class server {
public:
    /// Joins `service`, making it when it doesn't exist. Throws `shm::error`.
    explicit server(const std::string& service, const server_options& options = {}) {
        const shm::status s = detail::open(service, options, handle_);
        if (s != shm::status::ok) detail::throw_not_open(s, service, options);
    }

    /// The same without exceptions: sets `ec`, and leaves an empty server on an error. Calls on an
    /// empty one return `status::null_argument`.
    server(const std::string& service, const server_options& options, std::error_code& ec) noexcept {
        ec = make_error_code(detail::open(service, options, handle_));
    }
    server(const std::string& service, std::error_code& ec) noexcept
        : server(service, server_options{}, ec) {}

    /// Takes over a server of the C ABI.
    explicit server(shm_server* handle) noexcept : handle_(handle) {}

    /// The next request, or `would_block` when there is none now. Fails with `no_hold` when as many
    /// requests are held as may be, with `corrupt` or `os` when the request can't be read: it is given
    /// up then.
    result<request> try_receive() noexcept {
        shm_request* received = nullptr;
        const std::int32_t code = shm_server_try_receive(handle_.get(), &received);
        return wrap(code, received);
    }

    /// The next request, waiting for it as long as it takes. Otherwise as `try_receive`.
    result<request> receive() noexcept {
        shm_request* received = nullptr;
        const std::int32_t code = shm_server_receive(handle_.get(), &received);
        return wrap(code, received);
    }

    /// The next request, or `timed_out` when there is none for `timeout`. Otherwise as `try_receive`.
    template <typename Rep, typename Period>
    result<request> receive_for(std::chrono::duration<Rep, Period> timeout) noexcept {
        shm_request* received = nullptr;
        const std::int32_t code =
            shm_server_receive_timeout(handle_.get(), detail::nanoseconds(timeout), &received);
        return wrap(code, received);
    }

    /// The C ABI's handle, still owned here; null when empty.
    [[nodiscard]] shm_server* get() const noexcept { return handle_.get(); }

    /// Whether it serves a service.
    explicit operator bool() const noexcept { return handle_ != nullptr; }

private:
    static result<request> wrap(std::int32_t code, shm_request* received) noexcept {
        if (const shm::status s = detail::from_c(code); s != shm::status::ok) return s;
        return request(received);
    }

    detail::server_handle handle_;
};

namespace detail {

// Replies with `given`; where that can't be written, its caller is told.
template <typename T>
status send_result(request& asked, const std::string& name, const T& given) {
    result<reply_loan> room = asked.loan(first_guess);
    if (!room) return room.status();
    std::string words = "its result can't be written";
    try {
        loan_sink sink(*room);
        msgpack::pack(sink, given);
        const status s = sink.finish();
        if (s == status::ok) return room->send();
        words += ": " + describe(s);
    } catch (const std::exception& e) {
        words += std::string(": ") + e.what();
    } catch (...) {
    }
    return room->fail(rpc::code::failed, name + ": " + words);
}

// A function that is called with a request's arguments.
template <typename Signature>
struct callee;

template <typename R, typename... Args>
struct callee<R(Args...)> {
    static_assert(((!std::is_lvalue_reference_v<Args> ||
                    std::is_const_v<std::remove_reference_t<Args>>) && ...),
                  "a reference to an argument must be const: its caller won't see it change");
    static_assert((!borrows<std::decay_t<Args>>::value && ...),
                  "an argument must own what it holds: the bytes that it is read from go back");
    static_assert((std::is_default_constructible_v<std::decay_t<Args>> && ...),
                  "an argument must have a default constructor to be read into");

    using arguments = std::tuple<std::decay_t<Args>...>;

    std::string name;
    std::function<R(Args...)> function;

    status operator()(request& asked) const {
        std::optional<arguments> values;
        try {
            read(asked, values);
        } catch (const std::exception& e) {
            return asked.fail(rpc::code::invalid_arguments, name + e.what());
        } catch (...) {
            return asked.fail(rpc::code::invalid_arguments, name + ": an argument can't be read");
        }
        try {
            if constexpr (std::is_void_v<R>) {
                call(*values);
                return send_result(asked, name, msgpack::type::nil_t());
            } else {
                return send_result(asked, name, call(*values));
            }
        } catch (const remote_error& e) {
            return asked.fail(e.remote_code(), e.what());
        } catch (const std::exception& e) {
            return asked.fail(rpc::code::failed, name + " threw: " + e.what());
        } catch (...) {
            return asked.fail(rpc::code::failed, name + " threw: without words");
        }
    }

private:
    // Throws what goes behind the function's name.
    static void read(const request& asked, std::optional<arguments>& values) {
        std::size_t number = 0;
        try {
            msgpack::zone zone;
            const msgpack::object root = parse(asked.data(), asked.size(), zone);
            require_array(root);
            convert(root.via.array.ptr, values.emplace(), number);
        } catch (const mistaken&) {
            throw;
        } catch (const msgpack::type_error&) {
            throw mistaken(": argument " + std::to_string(number) + " has another type");
        } catch (const std::exception& e) {
            throw mistaken(std::string(": ") + e.what());
        }
    }

    struct mistaken : std::runtime_error {
        using std::runtime_error::runtime_error;
    };

    static void require_array(const msgpack::object& root) {
        const std::string count = std::to_string(sizeof...(Args));
        if (root.type != msgpack::type::ARRAY) {
            throw mistaken(" takes an array of " + count + " arguments, but the request isn't one");
        }
        if (root.via.array.size != sizeof...(Args)) {
            throw mistaken(" takes " + count + " arguments, but " +
                           std::to_string(root.via.array.size) + " were given");
        }
    }

    // `number` is that of the argument which is being read.
    static void convert([[maybe_unused]] const msgpack::object* object, arguments& values,
                        std::size_t& number) {
        const auto one = [&](auto& value) {
            ++number;
            object++->convert(value);
        };
        std::apply([&](auto&... each) { (one(each), ...); }, values);
    }

    decltype(auto) call(arguments& values) const {
        return std::apply(
            [this](auto&... each) -> R { return function(static_cast<Args&&>(each)...); }, values);
    }
};

}  // namespace detail

namespace rpc {

/// Several functions under one name, with one queue. Neither copyable nor movable.
///
///     shm::rpc::Service service("calculator");
///     service.add<int(int, int)>("add", [](int a, int b) { return a + b; });
///     service.serve();
///
/// Each is called with the arguments that its caller gave, in whatever language that is written, as far
/// as msgpack-cxx reads them; what is wrong with them is said to the caller (`code::invalid_arguments`).
/// What the function throws reaches its caller as well (`code::failed` and its `what()`; a
/// `shm::remote_error` with the code and the words that it has), and serving goes on.
///
/// All but `stop` is called from one thread at a time; the destructor stops the serving that is under way
/// elsewhere and waits for it, so no function destroys its service. Clients can ask for the functions'
/// names: `FunctionCaller::list`.
class Service {
public:
    /// Joins the service `name`, with nothing to call yet. Throws `shm::error`.
    explicit Service(const std::string& name, const server_options& options = {})
        : name_(name), options_(options), server_(name, options) {}

    /// The same without exceptions: sets `ec`; on an error serving throws.
    Service(const std::string& name, const server_options& options, std::error_code& ec) noexcept
        : name_(name), options_(options), server_(name, options, ec) {}
    Service(const std::string& name, std::error_code& ec) noexcept
        : Service(name, server_options{}, ec) {}

    Service(const Service&) = delete;
    Service& operator=(const Service&) = delete;
    ~Service() {
        stop();
        std::unique_lock<std::mutex> lock(mutex_);
        idle_.wait(lock, [this] { return serving_ == 0; });
    }

    /// Adds `function` as `name`; not while serving. `serve(threads)` calls it from several threads at
    /// once. Throws `shm::error`: `invalid_name` for an empty name, one that is taken already, or one
    /// whose number another has; `null_argument` for a function that is empty.
    template <typename Signature>
    Service& add(const std::string& name, std::function<Signature> function) {
        const std::uint64_t number = function_number(name);
        const char* reason = nullptr;
        if (name.empty()) reason = "it is empty";
        else if (number == 0) reason = "it isn't UTF-8, or has a NUL byte";
        else if (name == list_name || functions_.count(number) != 0) reason = "it is taken already";
        if (reason != nullptr) {
            throw error(shm::status::invalid_name, "function name \"" + name + "\": " + reason);
        }
        insert<Signature>(number, name, name_ + "." + name, std::move(function));
        return *this;
    }

    /// Serves one call; waits for it. False: `stop` ended the wait. Throws `shm::error` where receiving
    /// or replying fails.
    bool serve_once() {
        const serving in_use(*this);
        while (!is_stopped()) {
            if (served_one(stop_latency)) return true;
        }
        return false;
    }

    /// The same, but waits no longer than `timeout`.
    template <typename Rep, typename Period>
    bool serve_once(std::chrono::duration<Rep, Period> timeout) {
        const serving in_use(*this);
        using clock = std::chrono::steady_clock;
        const std::chrono::nanoseconds wait(detail::nanoseconds(timeout));
        const clock::time_point start = clock::now();
        while (!is_stopped()) {
            const auto left = wait - (clock::now() - start);
            if (served_one(std::min<std::chrono::nanoseconds>(left, stop_latency))) return true;
            if (left <= left.zero()) break;
        }
        return false;
    }

    /// Serves calls until `stop`. One request that fails, as when there is no memory for its reply, is
    /// given up, and its client gets `no_reply`. Throws `shm::error` when errors don't cease, and in the
    /// child of a fork; nothing is served any more then.
    void serve() {
        const serving in_use(*this);
        run(server_);
    }

    /// The same in `threads` threads, of which this is one; the first of them that fails stops the
    /// others.
    void serve(std::size_t threads) {
        const serving in_use(*this);
        std::vector<server> others;
        for (std::size_t i = 1; i < threads; ++i) others.emplace_back(name_, options_);
        std::vector<std::exception_ptr> failures(others.size() + 1);
        const auto guarded = [this](server& own, std::exception_ptr& failure) {
            try {
                run(own);
            } catch (...) {
                failure = std::current_exception();
            }
        };
        std::vector<std::thread> running;
        running.reserve(others.size());
        try {
            for (std::size_t i = 0; i < others.size(); ++i) {
                running.emplace_back(guarded, std::ref(others[i]), std::ref(failures[i]));
            }
            run(server_);
        } catch (...) {
            stop();
            failures.back() = std::current_exception();
        }
        for (std::thread& one : running) one.join();
        for (const std::exception_ptr& one : failures) {
            if (one) std::rethrow_exception(one);
        }
    }

    /// Ends serving for good: once the functions that run have returned, and at latest 20 ms later. From
    /// any thread, also from a function.
    void stop() noexcept { stop_.store(true, std::memory_order_release); }

private:
    template <typename Signature>
    friend class Function;

    struct entry {
        std::string name;
        std::function<shm::status(request&)> call;
    };

    // Counts those that serve, for the destructor to wait for.
    class serving {
    public:
        explicit serving(Service& service) : service_(service) {
            const std::lock_guard<std::mutex> lock(service_.mutex_);
            ++service_.serving_;
        }
        serving(const serving&) = delete;
        serving& operator=(const serving&) = delete;
        ~serving() {
            const std::lock_guard<std::mutex> lock(service_.mutex_);
            if (--service_.serving_ == 0) service_.idle_.notify_all();
        }

    private:
        Service& service_;
    };

    // Nothing but a request ends a wait, so serving looks up this often.
    static constexpr std::chrono::milliseconds stop_latency{20};
    // Requests in a row that may be damaged: as many as the largest queue of one client's calls, and then
    // some; and how long nothing else may come, when each takes a while.
    static constexpr int most_failures = 10'000;
    static constexpr std::chrono::seconds longest_failing{2};
    static constexpr const char* list_name = "shm.list";

    template <typename Signature>
    void insert(std::uint64_t number, const std::string& name, const std::string& full_name,
                std::function<Signature> function) {
        if (!function) throw error(shm::status::null_argument, full_name + " is an empty function");
        functions_.emplace(number,
                           entry{name, detail::callee<Signature>{full_name, std::move(function)}});
    }

    [[nodiscard]] bool is_stopped() const noexcept { return stop_.load(std::memory_order_acquire); }

    // What fails about one request is that one's: it is given up, which is all that its client can be told. But
    // failures to receive that go on and on aren't about requests.
    void run(server& own) {
        try {
            int failures = 0;
            std::chrono::steady_clock::time_point since;
            while (!is_stopped()) {
                result<request> received = own.receive_for(stop_latency);
                if (received) static_cast<void>(dispatch(*received));
                if (!is_error(received.status())) {
                    failures = 0;
                    continue;
                }
                const auto now = std::chrono::steady_clock::now();
                if (failures++ == 0) since = now;
                if (failures > most_failures || now - since > longest_failing ||
                    received.status() == shm::status::forked) {
                    detail::raise(received.status());
                }
            }
        } catch (...) {
            stop();
            throw;
        }
    }

    // A request that fails is given up.
    bool served_one(std::chrono::nanoseconds timeout) {
        result<request> received = server_.receive_for(timeout);
        const shm::status s = received ? dispatch(*received) : received.status();
        if (is_error(s)) detail::raise(s);
        return s != shm::status::timed_out;
    }

    shm::status dispatch(request& asked) const {
        const std::uint64_t number = asked.function();
        const auto found = functions_.find(number);
        if (found != functions_.end()) return found->second.call(asked);
        if (number == function_number(list_name)) {
            return detail::send_result(asked, list_name, names());
        }
        return asked.fail(code::no_such_function, name_ + " has no function of that name");
    }

    [[nodiscard]] std::vector<std::string> names() const {
        std::vector<std::string> all;
        for (const auto& [number, one] : functions_) {
            if (number != 0) all.push_back(one.name);
        }
        std::sort(all.begin(), all.end());
        return all;
    }

    std::string name_;
    server_options options_;
    server server_;
    std::map<std::uint64_t, entry> functions_;  // by number; 0: what is called when no name is said
    std::atomic<bool> stop_{false};
    std::mutex mutex_;
    std::condition_variable idle_;
    std::size_t serving_ = 0;  // guarded by mutex_
};

/// A function that clients call by name, with arguments of their own languages. `Signature` is as in
/// `std::function`; otherwise as a `Service` with this one function.
///
///     int add(int a, int b) { return a + b; }
///     shm::rpc::Function<int(int, int)> fn("add_fn", add);
///     fn.serve();
template <typename Signature>
class Function {
public:
    /// Offers `function` as `name`. Throws `shm::error`.
    Function(const std::string& name, std::function<Signature> function,
             const server_options& options = {})
        : service_(name, options) {
        service_.insert<Signature>(0, {}, name, std::move(function));
    }

    /// The same without exceptions: sets `ec`; on an error serving throws.
    Function(const std::string& name, std::function<Signature> function,
             const server_options& options, std::error_code& ec) noexcept
        : service_(function ? name : std::string(), options, ec) {  // without a name it joins nothing
        if (!function) ec = shm::status::null_argument;
        else service_.insert<Signature>(0, {}, name, std::move(function));
    }
    Function(const std::string& name, std::function<Signature> function,
             std::error_code& ec) noexcept
        : Function(name, std::move(function), server_options{}, ec) {}

    /// As of `Service`.
    bool serve_once() { return service_.serve_once(); }
    template <typename Rep, typename Period>
    bool serve_once(std::chrono::duration<Rep, Period> timeout) {
        return service_.serve_once(timeout);
    }
    /// The same as `serve_once`.
    bool serveOnce() { return serve_once(); }

    /// As of `Service`.
    void serve() { service_.serve(); }
    void serve(std::size_t threads) { service_.serve(threads); }

    /// As of `Service`.
    void stop() noexcept { service_.stop(); }

private:
    Service service_;
};

}  // namespace rpc
}  // namespace shm
