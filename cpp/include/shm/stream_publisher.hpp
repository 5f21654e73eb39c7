// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <shm/copier.hpp>
#include <shm/error.hpp>
#include <shm/publisher.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <system_error>

/// @file
/// `shm::stream_publisher`: publishing what a device copies in its own time.

namespace shm {
namespace detail {

struct stream_publisher_deleter {
    void operator()(shm_stream_publisher* p) const noexcept { shm_stream_publisher_destroy(p); }
};
using stream_publisher_handle = std::unique_ptr<shm_stream_publisher, stream_publisher_deleter>;

inline status open(const std::string& topic, const copier& by, const publisher_options& options,
                   stream_publisher_handle& handle) noexcept {
    shm_publisher_options c{};
    if (const status s = to_c(topic, options, c); s != status::ok) return s;
    shm_stream_publisher* created = nullptr;
    const status s = from_c(shm_stream_publisher_create(topic.c_str(), &c, by.get(), &created));
    if (s == status::ok) handle.reset(created);
    return s;
}

}  // namespace detail

/// Publishes messages that a copier copies on streams: each becomes visible when its stream has come to
/// it. Move-only. Any threads use it at once; dead in the child of a fork.
///
/// Dropping it waits until all that was begun has ended: for ever, if a stream never comes to it.
class stream_publisher {
public:
    /// Joins `topic` as a publisher that copies with `by`, in which it has a share, making the topic when
    /// it doesn't exist. Throws `shm::error`.
    stream_publisher(const std::string& topic, const copier& by,
                     const publisher_options& options = {}) {
        const shm::status s = detail::open(topic, by, options, handle_);
        if (s != shm::status::ok) detail::throw_not_open(s, topic, options);
    }

    /// The same without exceptions: sets `ec`, and leaves an empty one on an error. Calls on an empty one
    /// return `status::null_argument`.
    stream_publisher(const std::string& topic, const copier& by, const publisher_options& options,
                     std::error_code& ec) noexcept {
        ec = make_error_code(detail::open(topic, by, options, handle_));
    }

    /// Takes over a stream publisher of the C ABI.
    explicit stream_publisher(shm_stream_publisher* handle) noexcept : handle_(handle) {}

    /// Has the `size` bytes of the copier's memory at `data` copied and published when `stream` comes to
    /// it. Doesn't wait for that. `stream` is what that kind of memory calls one, for CUDA a CUstream.
    ///
    /// Until it has ended nothing writes to `data` but what is before or behind this on `stream`. How it
    /// ended says `wait`. While a reliable subscriber has yet to read what would be overwritten, this
    /// publisher's messages wait, and streams go on. A copier that has no copies on streams of its own
    /// copies at once. A message of no bytes isn't copied. Fails as `publisher::loan` does.
    [[nodiscard]] shm::status publish(const void* data, std::size_t size, void* stream) noexcept {
        return detail::from_c(shm_stream_publisher_publish(handle_.get(), data, size, stream));
    }

    /// Waits until everything that was begun before has ended. Fails with what the first of those failed
    /// with that weren't reported yet: `copier`, also for what a `memory::Copier` throws. What failed isn't
    /// published.
    [[nodiscard]] shm::status wait() noexcept {
        constexpr auto for_ever = std::numeric_limits<std::uint64_t>::max();
        return detail::from_c(shm_stream_publisher_wait(handle_.get(), for_ever));
    }

    /// The same, up to `timeout`: `timed_out` when not everything had ended by then.
    template <typename Rep, typename Period>
    [[nodiscard]] shm::status wait_for(std::chrono::duration<Rep, Period> timeout) noexcept {
        return detail::from_c(
            shm_stream_publisher_wait(handle_.get(), detail::nanoseconds(timeout)));
    }

    /// What the topic is. Throws `shm::error` when the stream publisher is empty.
    [[nodiscard]] topic_info info() const {
        return detail::read_info<shm_stream_publisher>(handle_.get(), shm_stream_publisher_info);
    }

    /// The C ABI's handle, still owned here; null when empty.
    [[nodiscard]] shm_stream_publisher* get() const noexcept { return handle_.get(); }

    /// Whether it publishes to a topic.
    explicit operator bool() const noexcept { return handle_ != nullptr; }

private:
    detail::stream_publisher_handle handle_;
};

}  // namespace shm
