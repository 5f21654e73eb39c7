// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <shm/error.hpp>
#include <shm/message.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

/// @file
/// What a server receives and replies to: `shm::request`, and `shm::reply_loan` for replies that are
/// written in place.

namespace shm {
namespace detail {

struct request_deleter {
    void operator()(shm_request* r) const noexcept { shm_request_destroy(r); }
};
struct reply_loan_deleter {
    void operator()(shm_reply_loan* l) const noexcept { shm_reply_loan_destroy(l); }
};

}  // namespace detail

class reply_loan;

/// A request that a server holds, to be replied to: it stays as it is, where it is in shared memory,
/// until it ends. Move-only; dropping it gives it up, and its client gets `no_reply`.
///
/// It may be kept past its server, and counts as part of it: one thread at a time uses both. What
/// replies returns `ok`, or `cancelled` when nobody waits for a reply any more; the request has ended
/// then. After an error it is as it was.
class request {
public:
    /// Takes over a request of the C ABI.
    explicit request(shm_request* handle) noexcept : handle_(handle) {}

    /// The request: `size()` bytes on a 64-byte boundary, only to be read. Null when it has ended or
    /// was moved from.
    [[nodiscard]] const void* data() const noexcept { return shm_request_data(handle_.get()); }

    /// The request's length in bytes.
    [[nodiscard]] std::size_t size() const noexcept { return shm_request_size(handle_.get()); }

    /// The request as a `T`, which must be trivially copyable, without a copy: valid as long as the
    /// request. Null when it isn't `sizeof(T)` bytes long.
    template <typename T>
    [[nodiscard]] const T* as() const noexcept {
        detail::require_plain<T>();
        return size() == sizeof(T) ? static_cast<const T*>(data()) : nullptr;
    }

    /// The request as a `T` that msgpack-cxx reads, such as a message with `SHM_PACK`; it is a copy.
    /// Throws `shm::error` (`decode`) when the bytes are no such thing.
    template <typename T>
    [[nodiscard]] T message() const {
        T read{};
        detail::decode(data(), size(), read);
        return read;
    }

    /// Which of the service's functions is meant: the `function_number` of the name that the client
    /// said; 0 when it said none.
    [[nodiscard]] std::uint64_t function() const noexcept {
        return shm_request_function(handle_.get());
    }

    /// Whether nobody waits for a reply any more, so that it isn't worth going on.
    [[nodiscard]] bool is_cancelled() const noexcept {
        return shm_request_is_cancelled(handle_.get()) != 0;
    }

    /// Lends `size` bytes of shared memory to write the reply into: no copy is made when it is sent.
    /// The loan has the request then, and this is empty. Fails with `out_of_memory` when the server's
    /// memory is used up by loans and by replies that clients hold or have yet to take, with
    /// `no_space`, `no_segment` or `too_large`; the request is what it was then.
    result<reply_loan> loan(std::size_t size) noexcept;

    /// Replies with a copy of the `size` bytes at `data`. Fails as `loan` does.
    [[nodiscard]] shm::status reply(const void* data, std::size_t size) noexcept {
        return ended(shm_request_reply(handle_.get(), data, size));
    }

    /// Replies that the function failed: its caller gets `remote` with `code` and `message`. Fails as
    /// `loan` does.
    [[nodiscard]] shm::status fail(std::int32_t code, const std::string& message) noexcept {
        return ended(shm_request_fail(handle_.get(), code, message.c_str()));
    }

    /// The same, after `send_part` waiting for the client up to `timeout`: `timed_out` when it hadn't taken
    /// the one before by then. The request is what it was then.
    template <typename Rep, typename Period>
    [[nodiscard]] shm::status fail_for(std::int32_t code, const std::string& message,
                                       std::chrono::duration<Rep, Period> timeout) noexcept {
        return ended(shm_request_fail_timeout(handle_.get(), code, message.c_str(), detail::nanoseconds(timeout)));
    }

    /// Sends a copy of the `size` bytes at `data` as one of several replies; the last is followed by
    /// `finish` or `fail`. Waits until the client has taken the one before. The request goes on,
    /// whatever is returned. Fails as `loan` does.
    [[nodiscard]] shm::status send_part(const void* data, std::size_t size) noexcept {
        return detail::from_c(shm_request_send_part(handle_.get(), data, size));
    }

    /// The same, waiting for the client up to `timeout`: `timed_out` when it hadn't taken the one before
    /// by then, and this one wasn't sent.
    template <typename Rep, typename Period>
    [[nodiscard]] shm::status send_part_for(const void* data, std::size_t size,
                                            std::chrono::duration<Rep, Period> timeout) noexcept {
        return detail::from_c(shm_request_send_part_timeout(handle_.get(), data, size,
                                                            detail::nanoseconds(timeout)));
    }

    /// Ends several replies: the client gets `end`. Waits as `send_part` does. Fails as `loan` does.
    [[nodiscard]] shm::status finish() noexcept { return ended(shm_request_finish(handle_.get())); }

    /// The same, waiting for the client up to `timeout`: `timed_out` when it hadn't taken the one before
    /// by then. The request is what it was then.
    template <typename Rep, typename Period>
    [[nodiscard]] shm::status finish_for(std::chrono::duration<Rep, Period> timeout) noexcept {
        return ended(shm_request_finish_timeout(handle_.get(), detail::nanoseconds(timeout)));
    }

    /// Gives the request up now.
    void release() noexcept { handle_.reset(); }

    /// Whether there is a request that hasn't ended.
    explicit operator bool() const noexcept { return handle_ != nullptr; }

private:
    friend class reply_loan;

    shm::status ended(std::int32_t code) noexcept {
        const shm::status s = detail::from_c(code);
        if (!is_error(s) && s != shm::status::timed_out) static_cast<void>(handle_.release());
        return s;
    }

    std::unique_ptr<shm_request, detail::request_deleter> handle_;
};

/// A reply being written, in the shared memory that its client will read it from. Move-only; dropping it
/// discards it and gives the request up. It counts as part of its server: one thread at a time uses both.
class reply_loan {
public:
    /// Takes over a reply loan of the C ABI, with the request that it replies to.
    reply_loan(shm_reply_loan* handle, shm::request replied_to) noexcept
        : request_(std::move(replied_to)), handle_(handle) {}

    /// The request, which stays readable while the reply is written.
    [[nodiscard]] const shm::request& request() const noexcept { return request_; }

    /// Where the reply starts: `size()` bytes on a 64-byte boundary, with whatever was there before.
    /// Null when it was sent or moved from.
    [[nodiscard]] void* data() const noexcept { return shm_reply_loan_data(handle_.get()); }

    /// The reply's length in bytes.
    [[nodiscard]] std::size_t size() const noexcept { return shm_reply_loan_size(handle_.get()); }

    /// The length in bytes to which it can grow without moving.
    [[nodiscard]] std::size_t capacity() const noexcept {
        return shm_reply_loan_capacity(handle_.get());
    }

    /// Makes the reply `size` bytes long and keeps what is in it, as `shm::loan::resize`.
    [[nodiscard]] shm::status resize(std::size_t size) noexcept {
        return detail::from_c(shm_reply_loan_resize(handle_.get(), size));
    }

    /// Replies with what was written, without a copy: `ok`, or `cancelled` when nobody waits for it any
    /// more. The loan is empty then; after an error it is what it was.
    [[nodiscard]] shm::status send() noexcept {
        const shm::status s = request_.ended(shm_reply_loan_send(handle_.get()));
        if (!is_error(s)) static_cast<void>(handle_.release());
        return s;
    }

    /// Sends what was written as one of several replies, without a copy, and returns the request for the
    /// next one; `cancelled` when nobody waits for it any more. Waits as `request::send_part` does. The
    /// loan is empty then; after an error it is what it was.
    result<shm::request> send_part() noexcept {
        return part(shm_reply_loan_send_part(handle_.get()));
    }

    /// The same, waiting for the client up to `timeout`: `timed_out` when it hadn't taken the reply
    /// before by then. The loan is what it was then.
    template <typename Rep, typename Period>
    result<shm::request> send_part_for(std::chrono::duration<Rep, Period> timeout) noexcept {
        return part(shm_reply_loan_send_part_timeout(handle_.get(), detail::nanoseconds(timeout)));
    }

    /// Replies that the function failed, in place of what was written, which is gone: as
    /// `request::fail`.
    [[nodiscard]] shm::status fail(std::int32_t code, const std::string& message) noexcept {
        handle_.reset();
        return request_.fail(code, message);
    }

    /// Whether there is something to send.
    explicit operator bool() const noexcept { return handle_ != nullptr; }

private:
    // What sending a part came to.
    result<shm::request> part(std::int32_t code) noexcept {
        const shm::status s = detail::from_c(code);
        if (is_error(s) || s == shm::status::timed_out) return s;
        static_cast<void>(handle_.release());
        if (s == shm::status::ok) return std::move(request_);
        request_.release();
        return s;
    }

    shm::request request_;
    std::unique_ptr<shm_reply_loan, detail::reply_loan_deleter> handle_;
};

inline result<reply_loan> request::loan(std::size_t size) noexcept {
    shm_reply_loan* lent = nullptr;
    const shm::status s = detail::from_c(shm_reply_loan_create(handle_.get(), size, &lent));
    if (s != shm::status::ok) return s;
    return reply_loan(lent, std::move(*this));
}

/// The number that stands for a function's name in requests, the same in all processes and languages.
[[nodiscard]] inline std::uint64_t function_number(const std::string& name) noexcept {
    return detail::has_nul(name) ? 0 : shm_function_number(name.c_str());
}

}  // namespace shm
