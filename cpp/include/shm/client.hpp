// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <shm/error.hpp>
#include <shm/message.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

/// @file
/// Calling: `shm::client` for bytes, in place or copied, several calls in flight; and
/// `shm::rpc::FunctionCaller`, which calls a function with arguments, in whatever language it is written.
///
/// A call ends in exactly one of these: its replies, an error of the function that was called, an
/// error of the library, or its cancellation; whatever dies, and whenever.
///
/// Memory of another kind, with a `shm::copier`: `copier.user_to_shm(loan.data(), memory, loan.size())`
/// fills a request loan, `copier.shm_to_user(memory, reply.data(), reply.size())` or `copier.copy_out`
/// reads a reply.

namespace shm {

/// How a client is made. A service that exists already and is smaller than what is asked for is a
/// `mismatch`.
struct client_options {
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
    /// Bytes of shared memory that this client's requests may take. 0: 256 MiB.
    std::uint64_t memory = 0;
    /// Whether a call waits for a server to come when there is none, instead of failing with
    /// `no_server`.
    bool wait_for_server = false;
    /// Whether a request whose server died is sent once more, to another one, instead of failing with
    /// `peer_died`: only for functions that may be carried out twice.
    bool idempotent = false;
    /// The permission bits of the service's files, as `publisher_options::mode`.
    std::uint32_t mode = 0;
    /// The group, by its id, whose members share the service, as `publisher_options::group`.
    std::optional<std::uint32_t> group = {};
};

namespace detail {

struct client_deleter {
    void operator()(shm_client* c) const noexcept { shm_client_destroy(c); }
};
struct request_loan_deleter {
    void operator()(shm_request_loan* l) const noexcept { shm_request_loan_destroy(l); }
};
struct pending_deleter {
    void operator()(shm_pending* p) const noexcept { shm_pending_destroy(p); }
};
struct reply_deleter {
    void operator()(shm_reply* r) const noexcept { shm_reply_release(r); }
};
using client_handle = std::unique_ptr<shm_client, client_deleter>;

inline status open(const std::string& service, const client_options& options,
                   client_handle& handle) noexcept {
    shm_client_options c{};
    const status converted = convert(service, options, shm_client_options_init, c);
    if (converted != status::ok) return converted;
    c.calls = options.calls;
    c.memory = options.memory;
    c.wait_for_server = options.wait_for_server ? 1 : 0;
    c.idempotent = options.idempotent ? 1 : 0;
    shm_client* created = nullptr;
    const status s = from_c(shm_client_create(service.c_str(), &c, &created));
    if (s == status::ok) handle.reset(created);
    return s;
}

}  // namespace detail

/// A reply that a client holds: it stays as it is, where it is in shared memory, until it is released.
/// Move-only; dropping it releases it. It may be kept past its client, and counts as part of it: one
/// thread at a time uses both.
class reply {
public:
    /// Takes over a reply of the C ABI.
    explicit reply(shm_reply* handle) noexcept : handle_(handle) {}

    /// The reply: `size()` bytes on a 64-byte boundary, only to be read. Null when moved from or
    /// released.
    [[nodiscard]] const void* data() const noexcept { return shm_reply_data(handle_.get()); }

    /// The reply's length in bytes.
    [[nodiscard]] std::size_t size() const noexcept { return shm_reply_size(handle_.get()); }

    /// The reply as a `T`, which must be trivially copyable, without a copy: valid as long as the
    /// reply. Null when it isn't `sizeof(T)` bytes long.
    template <typename T>
    [[nodiscard]] const T* as() const noexcept {
        detail::require_plain<T>();
        return size() == sizeof(T) ? static_cast<const T*>(data()) : nullptr;
    }

    /// The reply as a `T` that msgpack-cxx reads, such as a message with `SHM_PACK`; it is a copy.
    /// Throws `shm::error` (`decode`) when the bytes are no such thing.
    template <typename T>
    [[nodiscard]] T message() const {
        T read{};
        detail::decode(data(), size(), read);
        return read;
    }

    /// Gives the reply's memory back now.
    void release() noexcept { handle_.reset(); }

    /// Whether there is a reply; not after a move or `release`.
    explicit operator bool() const noexcept { return handle_ != nullptr; }

private:
    std::unique_ptr<shm_reply, detail::reply_deleter> handle_;
};

/// A call in flight. Move-only; dropping it cancels the call: a server that hasn't begun with it never
/// sees it, and one that has can ask. It counts as part of its client: one thread at a time uses both.
class pending {
public:
    /// Takes over a call of the C ABI.
    explicit pending(shm_pending* handle) noexcept : handle_(handle) {}

    /// The reply if it is there, or `would_block`; of several replies the next one, and `end` when no
    /// further one comes.
    ///
    /// Fails with `remote` when the function failed (`value()` throws `shm::remote_error` then), with
    /// `peer_died` or `no_reply`; the call is over then. Fails with `no_hold` when as many replies are
    /// held as may be: release one and ask again.
    result<reply> try_reply() noexcept {
        shm_reply* received = nullptr;
        const std::int32_t code = shm_pending_try_reply(handle_.get(), &received);
        return wrap(code, received);
    }

    /// The same, waiting as long as it takes. Fails with `no_server` as well, when the last server
    /// went before one had begun with the request, unless the option `wait_for_server` is set.
    result<reply> wait() noexcept {
        shm_reply* received = nullptr;
        const std::int32_t code = shm_pending_wait(handle_.get(), SHM_WAIT_FOREVER, &received);
        return wrap(code, received);
    }

    /// The same, waiting up to `timeout`: `timed_out` when there was none by then. The call goes on.
    template <typename Rep, typename Period>
    result<reply> wait_for(std::chrono::duration<Rep, Period> timeout) noexcept {
        shm_reply* received = nullptr;
        const std::int32_t code =
            shm_pending_wait(handle_.get(), detail::nanoseconds(timeout), &received);
        return wrap(code, received);
    }

    /// Ends the call now. Replies stay valid.
    void cancel() noexcept { handle_.reset(); }

    /// Whether there is a call; not after a move or `cancel`.
    explicit operator bool() const noexcept { return handle_ != nullptr; }

private:
    static result<reply> wrap(std::int32_t code, shm_reply* received) noexcept {
        if (const shm::status s = detail::from_c(code); s != shm::status::ok) return s;
        return reply(received);
    }

    std::unique_ptr<shm_pending, detail::pending_deleter> handle_;
};

/// A request being written, in the shared memory that its server will read it from. Move-only; dropping
/// it discards it. It counts as part of its client: one thread at a time uses both.
class request_loan {
public:
    /// Takes over a request loan of the C ABI.
    explicit request_loan(shm_request_loan* handle) noexcept : handle_(handle) {}

    /// Where the request starts: `size()` bytes on a 64-byte boundary, with whatever was there before.
    /// Null when it was sent or moved from.
    [[nodiscard]] void* data() const noexcept { return shm_request_loan_data(handle_.get()); }

    /// The request's length in bytes.
    [[nodiscard]] std::size_t size() const noexcept {
        return shm_request_loan_size(handle_.get());
    }

    /// The length in bytes to which it can grow without moving.
    [[nodiscard]] std::size_t capacity() const noexcept {
        return shm_request_loan_capacity(handle_.get());
    }

    /// Makes the request `size` bytes long and keeps what is in it, as `shm::loan::resize`.
    [[nodiscard]] shm::status resize(std::size_t size) noexcept {
        return detail::from_c(shm_request_loan_resize(handle_.get(), size));
    }

    /// Says which of a service's functions is meant, by its name. Not needed for a service with only
    /// one.
    [[nodiscard]] shm::status set_function(const std::string& name) noexcept {
        if (detail::has_nul(name)) return shm::status::invalid_name;
        return detail::from_c(shm_request_loan_set_function(handle_.get(), name.c_str()));
    }

    /// Sends the request without a copy; the reply is for later. Never waits.
    ///
    /// Fails with `no_server` when nobody serves, unless the option `wait_for_server` is set, with
    /// `too_many_calls`, `queue_full` or `closed`. The loan is what it was then.
    result<pending> send() noexcept {
        shm_pending* sent = nullptr;
        const shm::status s = detail::from_c(shm_request_loan_send(handle_.get(), &sent));
        if (s != shm::status::ok) return s;
        static_cast<void>(handle_.release());
        return pending(sent);
    }

    /// Sends the request without a copy and waits for the reply as long as it takes, as `client::call`.
    /// The loan is empty then, whatever is returned.
    result<reply> call() noexcept { return call_within(SHM_WAIT_FOREVER); }

    /// The same, waiting up to `timeout`, as `client::call_for`.
    template <typename Rep, typename Period>
    result<reply> call_for(std::chrono::duration<Rep, Period> timeout) noexcept {
        return call_within(detail::nanoseconds(timeout));
    }

    /// Whether there is something to send.
    explicit operator bool() const noexcept { return handle_ != nullptr; }

private:
    result<reply> call_within(std::uint64_t ns) noexcept {
        shm_reply* received = nullptr;
        const std::int32_t code = shm_request_loan_call(handle_.release(), ns, &received);
        if (const shm::status s = detail::from_c(code); s != shm::status::ok) return s;
        return reply(received);
    }

    std::unique_ptr<shm_request_loan, detail::request_loan_deleter> handle_;
};

/// Calls the functions of a service. Move-only; used by one thread at a time, in no signal handler, and
/// dead in the child of a fork.
///
/// Who comes first makes the service, who leaves last removes it.
class client {
public:
    /// Joins `service`, making it when it doesn't exist. Throws `shm::error`.
    explicit client(const std::string& service, const client_options& options = {}) {
        const shm::status s = detail::open(service, options, handle_);
        if (s != shm::status::ok) detail::throw_not_open(s, service, options);
    }

    /// The same without exceptions: sets `ec`, and leaves an empty client on an error. Calls on an
    /// empty one return `status::null_argument`.
    client(const std::string& service, const client_options& options, std::error_code& ec) noexcept {
        ec = make_error_code(detail::open(service, options, handle_));
    }
    client(const std::string& service, std::error_code& ec) noexcept
        : client(service, client_options{}, ec) {}

    /// Takes over a client of the C ABI.
    explicit client(shm_client* handle) noexcept : handle_(handle) {}

    /// Lends `size` bytes of shared memory to write a request into: no copy is made when it is sent.
    /// Fails with `out_of_memory` when the client's memory is used up by loans and by requests that
    /// servers hold, with `no_space`, `no_segment` or `too_large`.
    result<request_loan> loan(std::size_t size) noexcept {
        shm_request_loan* lent = nullptr;
        const shm::status s = detail::from_c(shm_client_loan(handle_.get(), size, &lent));
        if (s != shm::status::ok) return s;
        return request_loan(lent);
    }

    /// Sends a copy of the `size` bytes at `data` as a request; the reply is for later. Never waits.
    /// As many calls may be in flight as the option `calls` says. Fails as `loan` and
    /// `request_loan::send` do.
    result<pending> send(const void* data, std::size_t size) noexcept {
        shm_pending* sent = nullptr;
        const shm::status s = detail::from_c(shm_client_send(handle_.get(), data, size, &sent));
        if (s != shm::status::ok) return s;
        return pending(sent);
    }

    /// Sends a copy of the `size` bytes at `data` as a request and waits for the reply as long as it
    /// takes, in a full queue for room, too: without end, if the living take none of what is there. Of
    /// several replies it is the first, and no other one comes. Fails as `send`, but for `queue_full`,
    /// and `pending::wait` do; with `no_hold` before anything is sent.
    result<reply> call(const void* data, std::size_t size) noexcept {
        return call_within(data, size, SHM_WAIT_FOREVER);
    }

    /// The same, waiting up to `timeout`: `timed_out` when there was no reply by then, or no room, and
    /// the call is cancelled.
    template <typename Rep, typename Period>
    result<reply> call_for(const void* data, std::size_t size,
                           std::chrono::duration<Rep, Period> timeout) noexcept {
        return call_within(data, size, detail::nanoseconds(timeout));
    }

    /// The C ABI's handle, still owned here; null when empty.
    [[nodiscard]] shm_client* get() const noexcept { return handle_.get(); }

    /// Whether it calls a service.
    explicit operator bool() const noexcept { return handle_ != nullptr; }

private:
    result<reply> call_within(const void* data, std::size_t size, std::uint64_t ns) noexcept {
        shm_reply* received = nullptr;
        const std::int32_t code = shm_client_call(handle_.get(), data, size, ns, &received);
        if (const shm::status s = detail::from_c(code); s != shm::status::ok) return s;
        return reply(received);
    }

    detail::client_handle handle_;
};

namespace rpc {

/// What a function gave. Move-only; it keeps the reply's memory until it is dropped.
class Result {
public:
    /// Takes over a reply that is msgpack.
    explicit Result(reply given) noexcept : reply_(std::move(given)) {}

    /// The result as an `R` that msgpack-cxx reads; `void` when there must be none. Throws `shm::error`
    /// (`decode`) when it is something else.
    template <typename R>
    [[nodiscard]] R as() const {
        if constexpr (std::is_void_v<R>) {
            static_cast<void>(reply_.message<msgpack::type::nil_t>());
        } else {
            static_assert(!detail::borrows<R>::value,
                          "a result must own what it holds: the bytes that it is read from go back");
            return reply_.message<R>();
        }
    }

private:
    reply reply_;
};

/// Calls a `Function`, or one of a `Service`, in whatever language it is written. Move-only; used by one
/// thread at a time.
///
///     shm::rpc::FunctionCaller add("add_fn");
///     int sum = add(4, 5).as<int>();
///
/// Arguments are whatever msgpack-cxx writes, messages with `SHM_PACK` included. A call throws
/// `shm::remote_error` when the function failed, or the arguments aren't its: `remote_code()` is one of
/// `rpc::code` when the library says so. It throws `shm::error` where the library failed: `no_server`
/// when nobody serves, unless the option `wait_for_server` is set, `peer_died` when the server did,
/// `encode` when an argument can't be written, `decode` when the result isn't what was asked for, and
/// what else `client` and `pending` fail with.
class FunctionCaller {
public:
    /// Calls the function `name`. Throws `shm::error`.
    explicit FunctionCaller(const std::string& name, const client_options& options = {})
        : client_(name, options) {}

    /// Calls the function `function` of `service`. Throws `shm::error`.
    FunctionCaller(const std::string& service, const std::string& function,
                   const client_options& options = {})
        : client_(service, options), function_(function) {
        if (detail::has_nul(function)) {
            throw error(shm::status::invalid_name, "a name holds a NUL byte");
        }
    }

    /// The same without exceptions: sets `ec`; on an error every call throws.
    FunctionCaller(const std::string& name, const client_options& options,
                   std::error_code& ec) noexcept
        : client_(name, options, ec) {}
    FunctionCaller(const std::string& name, std::error_code& ec) noexcept
        : client_(name, ec) {}
    FunctionCaller(const std::string& service, const std::string& function,
                   const client_options& options, std::error_code& ec) noexcept
        : client_(service, options, ec), function_(function) {
        if (detail::has_nul(function)) ec = shm::status::invalid_name;
    }
    FunctionCaller(const std::string& service, const std::string& function,
                   std::error_code& ec) noexcept
        : FunctionCaller(service, function, client_options{}, ec) {}

    /// Calls the function and waits for its result as long as it takes.
    template <typename... Args>
    Result operator()(const Args&... args) {
        return Result(take(write(args...).call()));
    }

    /// The same, with the result read.
    template <typename R, typename... Args>
    R call(const Args&... args) {
        return (*this)(args...).template as<R>();
    }

    /// The same, but waits no longer than `timeout`: nothing, or for `void` false, when there was no
    /// result by then, or no room in the queue, and the call is cancelled.
    template <typename R, typename Rep, typename Period, typename... Args>
    auto call_for(std::chrono::duration<Rep, Period> timeout, const Args&... args)
        -> std::conditional_t<std::is_void_v<R>, bool, std::optional<R>> {
        result<reply> waited = write(args...).call_for(timeout);
        if (waited.status() == shm::status::timed_out) return {};
        const Result given(take(std::move(waited)));
        if constexpr (std::is_void_v<R>) {
            given.as<void>();
            return true;
        } else {
            return given.as<R>();
        }
    }

    /// The names of the functions that `service` has. Throws as a call does.
    [[nodiscard]] static std::vector<std::string> list(const std::string& service,
                                                       const client_options& options = {}) {
        return FunctionCaller(service, "shm.list", options).call<std::vector<std::string>>();
    }

private:
    template <typename... Args>
    request_loan write(const Args&... args) {
        request_loan loan = client_.loan(detail::first_guess).value();
        if (function_) require(loan.set_function(*function_));
        detail::loan_sink sink(loan);
        try {
            msgpack::packer<detail::loan_sink> packer(sink);
            packer.pack_array(static_cast<std::uint32_t>(sizeof...(Args)));
            (static_cast<void>(packer.pack(args)), ...);
        } catch (const std::exception& e) {
            throw error(shm::status::encode, std::string("an argument can't be written: ") + e.what());
        }
        require(sink.finish());
        return loan;
    }

    static void require(shm::status s) {
        if (s != shm::status::ok) detail::raise(s);
    }

    static reply take(result<reply> waited) {
        // The end of a stream that had nothing in it.
        if (waited.status() == shm::status::end) {
            throw error(shm::status::no_reply, shm_status_string(SHM_ERR_NO_REPLY));
        }
        return std::move(waited).value();
    }

    client client_;
    std::optional<std::string> function_;
};

}  // namespace rpc
}  // namespace shm
