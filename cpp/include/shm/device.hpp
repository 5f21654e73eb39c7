// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <shm/error.hpp>
#include <shm/publisher.hpp>
#include <shm/subscriber.hpp>
#include <shm/tensor.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

/// @file
/// Messages that stay in a GPU's memory: `shm::device_publisher` and `shm::device_subscriber`.

namespace shm {

/// Where a payload is.
enum class placement : std::uint32_t {
    /// The device's memory where other processes can map that and no subscriber said that it couldn't,
    /// else the host's.
    automatic = SHM_PLACEMENT_AUTO,
    /// In the device's memory.
    device = SHM_PLACEMENT_DEVICE,
    /// In the topic's shared memory, which the device reads and writes over the bus.
    host = SHM_PLACEMENT_HOST,
};

/// What a device publisher publishes from.
struct device_options {
    /// Bytes of the largest message, at least 1. A block of device memory takes as many, rounded up to
    /// what the device maps at a time: 2 MiB.
    std::size_t largest = 0;
    /// The GPU, as CUDA counts them, from 0.
    std::uint32_t device = 0;
    /// How many messages there is memory for, loaned, in the topic, and held: up to 64. When all are
    /// taken the oldest message in the topic makes room. 0: 8.
    std::uint32_t blocks = 0;
    /// Where payloads are.
    shm::placement placement = shm::placement::automatic;
};

namespace detail {

struct device_publisher_deleter {
    void operator()(shm_device_publisher* p) const noexcept { shm_device_publisher_destroy(p); }
};
struct device_loan_deleter {
    void operator()(shm_device_loan* l) const noexcept { shm_device_loan_destroy(l); }
};
struct device_subscriber_deleter {
    void operator()(shm_device_subscriber* s) const noexcept { shm_device_subscriber_destroy(s); }
};
struct device_sample_deleter {
    void operator()(shm_device_sample* s) const noexcept { shm_device_sample_release(s); }
};
using device_publisher_handle = std::unique_ptr<shm_device_publisher, device_publisher_deleter>;
using device_subscriber_handle = std::unique_ptr<shm_device_subscriber, device_subscriber_deleter>;

inline status open(const std::string& topic, const device_options& device,
                   const publisher_options& options, device_publisher_handle& handle) noexcept {
    shm_publisher_options c{};
    if (const status s = to_c(topic, options, c); s != status::ok) return s;
    shm_device_options d{};
    if (const status s = from_c(shm_device_options_init(&d)); s != status::ok) return s;
    d.largest = device.largest;
    d.device = device.device;
    d.blocks = device.blocks;
    d.placement = static_cast<std::uint32_t>(device.placement);
    shm_device_publisher* created = nullptr;
    const status s = from_c(shm_device_publisher_create(topic.c_str(), &c, &d, &created));
    if (s == status::ok) handle.reset(created);
    return s;
}

inline status open(const std::string& topic, std::uint32_t device,
                   const subscriber_options& options, device_subscriber_handle& handle) noexcept {
    shm_subscriber_options c{};
    const status converted = convert(topic, options, shm_subscriber_options_init, c);
    if (converted != status::ok) return converted;
    c.history = options.history;
    c.reliable = options.reliable ? 1 : 0;
    shm_device_subscriber* created = nullptr;
    const status s = from_c(shm_device_subscriber_create(topic.c_str(), &c, device, &created));
    if (s == status::ok) handle.reset(created);
    return s;
}

}  // namespace detail

/// A message being written in memory that a GPU reads and writes, and nobody else. Move-only.
///
/// Dropping it discards it; the GPU's work on it must have ended then. One thread at a time uses it.
class device_loan {
public:
    /// Takes over a loan of the C ABI.
    explicit device_loan(shm_device_loan* handle) noexcept : handle_(handle) {}

    /// Where the GPU reads and writes it: a CUdeviceptr, aligned to 64. Null when it has ended.
    [[nodiscard]] void* data() const noexcept { return shm_device_loan_data(handle_.get()); }

    /// Its length in bytes.
    [[nodiscard]] std::size_t size() const noexcept { return shm_device_loan_size(handle_.get()); }

    /// Where it is: `placement::device` or `placement::host`.
    [[nodiscard]] shm::placement placement() const noexcept {
        return static_cast<shm::placement>(shm_device_loan_placement(handle_.get()));
    }

    /// Publishes the message and returns its position. All work on it has ended; otherwise
    /// `publish_on_stream`. Waits while a reliable subscriber has yet to read what would be
    /// overwritten. On an error the message is discarded.
    [[nodiscard]] result<std::uint64_t> publish() noexcept {
        std::uint64_t position = 0;
        return ended(shm_device_loan_publish(handle_.get(), &position), position);
    }

    /// Has the message published when `stream`, a CUstream of the GPU's primary context, comes to it:
    /// when all that is on it by now has been done. Doesn't wait; how it ended says
    /// `device_publisher::wait`. `stream` lives until then. On an error the message is discarded.
    [[nodiscard]] shm::status publish_on_stream(void* stream) noexcept {
        const std::int32_t s = shm_device_loan_publish_on_stream(handle_.get(), stream);
        end(s);
        return detail::from_c(s);
    }

    /// The C ABI's handle, still owned here; null when it has ended.
    [[nodiscard]] shm_device_loan* get() const noexcept { return handle_.get(); }

    /// Whether there is one.
    explicit operator bool() const noexcept { return handle_ != nullptr; }

private:
    // On success the C ABI has ended the handle.
    void end(std::int32_t s) noexcept {
        if (s == SHM_OK)
            (void)handle_.release();
        else
            handle_.reset();
    }
    result<std::uint64_t> ended(std::int32_t s, const std::uint64_t& position) noexcept {
        end(s);
        if (s != SHM_OK) return detail::from_c(s);
        return position;
    }

    std::unique_ptr<shm_device_loan, detail::device_loan_deleter> handle_;
};

/// Publishes messages whose payload is in the memory of a GPU, and stays there. Move-only. Any threads
/// use it at once; dead in the child of a fork.
///
/// Dropping it waits until all that was begun on streams has ended. What it published goes with it, but
/// for what subscribers have mapped.
class device_publisher {
public:
    /// Joins `topic`, making it when it doesn't exist, to publish from the memory that `device` says;
    /// `options.memory` must be 0. Throws `shm::error`: `no_device` when there is no driver or no such
    /// GPU, `copier` with `placement::device` where other processes can't map this GPU's memory.
    device_publisher(const std::string& topic, const device_options& device,
                     const publisher_options& options = {}) {
        const shm::status s = detail::open(topic, device, options, handle_);
        if (s != shm::status::ok) detail::throw_not_open(s, topic, options);
    }

    /// The same without exceptions: sets `ec`, and leaves an empty one on an error. Calls on an empty one
    /// return `status::null_argument`.
    device_publisher(const std::string& topic, const device_options& device,
                     const publisher_options& options, std::error_code& ec) noexcept {
        ec = make_error_code(detail::open(topic, device, options, handle_));
    }

    /// Takes over a device publisher of the C ABI.
    explicit device_publisher(shm_device_publisher* handle) noexcept : handle_(handle) {}

    /// Lends memory for a message of `size` bytes, whose content is unspecified. `too_large` beyond the
    /// option `largest`; `out_of_memory` when all blocks are loaned, held by subscribers, or have yet to
    /// be read by a reliable one; `copier` when the GPU has no memory for a block.
    [[nodiscard]] result<device_loan> loan(std::size_t size) noexcept {
        shm_device_loan* lent = nullptr;
        const std::int32_t s = shm_device_publisher_loan(handle_.get(), size, &lent);
        if (s != SHM_OK) return detail::from_c(s);
        return device_loan(lent);
    }

    /// Waits until everything that was begun on streams before has ended. Fails with what the first of
    /// those failed with that weren't reported yet; what failed isn't published.
    [[nodiscard]] shm::status wait() noexcept {
        constexpr auto for_ever = std::numeric_limits<std::uint64_t>::max();
        return detail::from_c(shm_device_publisher_wait(handle_.get(), for_ever));
    }

    /// The same, up to `timeout`: `timed_out` when not everything had ended by then.
    template <typename Rep, typename Period>
    [[nodiscard]] shm::status wait_for(std::chrono::duration<Rep, Period> timeout) noexcept {
        return detail::from_c(
            shm_device_publisher_wait(handle_.get(), detail::nanoseconds(timeout)));
    }

    /// Where the next loan is: `placement::device` or `placement::host`.
    [[nodiscard]] shm::placement placement() const noexcept {
        return static_cast<shm::placement>(shm_device_publisher_placement(handle_.get()));
    }

    /// What the topic is. Throws `shm::error` when the device publisher is empty.
    [[nodiscard]] topic_info info() const {
        return detail::read_info<shm_device_publisher>(handle_.get(), shm_device_publisher_info);
    }

    /// The C ABI's handle, still owned here; null when empty.
    [[nodiscard]] shm_device_publisher* get() const noexcept { return handle_.get(); }

    /// Whether it publishes to a topic.
    explicit operator bool() const noexcept { return handle_ != nullptr; }

private:
    detail::device_publisher_handle handle_;
};

/// A message in memory that a GPU reads: it stays as it is, where it is, until it is released. Move-only;
/// dropping it releases it, and the GPU's work on it must have ended then: otherwise `release_on_stream`.
///
/// It may be kept past its subscriber. Each may be used and dropped by any thread, at any time.
class device_sample {
public:
    /// Takes over a sample of the C ABI.
    explicit device_sample(shm_device_sample* handle) noexcept : handle_(handle) {}

    /// Where the GPU reads it: a CUdeviceptr, aligned to 64. Null when moved from or released.
    [[nodiscard]] const void* data() const noexcept {
        return shm_device_sample_data(handle_.get());
    }

    /// Its length in bytes.
    [[nodiscard]] std::size_t size() const noexcept {
        return shm_device_sample_size(handle_.get());
    }

    /// The message's place in the topic's order.
    [[nodiscard]] std::uint64_t position() const noexcept {
        return shm_device_sample_position(handle_.get());
    }

    /// When the message was published, in nanoseconds since the Unix epoch, if its publisher's options
    /// asked for `timestamps`.
    [[nodiscard]] std::optional<std::uint64_t> timestamp() const noexcept {
        const std::uint64_t ns = shm_device_sample_timestamp(handle_.get());
        return ns == 0 ? std::nullopt : std::optional<std::uint64_t>(ns);
    }

    /// Where it is: `placement::device` or `placement::host`.
    [[nodiscard]] shm::placement placement() const noexcept {
        return static_cast<shm::placement>(shm_device_sample_placement(handle_.get()));
    }

    /// Releases the sample when `stream`, a CUstream of the GPU's primary context, comes to it: when all
    /// that is on it by now has been done. Doesn't wait; `stream` lives until then. On an error, for
    /// instance when the stream is being captured into a graph, it is released at once.
    shm::status release_on_stream(void* stream) noexcept {
        return detail::from_c(shm_device_sample_release_on_stream(handle_.release(), stream));
    }

    /// Hands the sample over as a tensor of the GPU, in place: `std::move(sample).to_dlpack(...)`. The
    /// tensor holds it as long as it lives, also past its subscriber; the GPU's work on it must have
    /// ended when it ends. It is only to be read, on any stream, which this form can't say. Errors are
    /// those of `shm::sample::to_dlpack`; the sample is what it was then.
    result<dlpack_tensor> to_dlpack(const std::vector<std::int64_t>& shape,
                                    data_type type) && noexcept {
        return detail::handed_over(handle_, shape, type, shm_device_sample_to_dlpack);
    }

    /// The same in the form since DLPack 1.0, marked as read-only.
    result<dlpack_tensor_versioned> to_dlpack_versioned(const std::vector<std::int64_t>& shape,
                                                        data_type type) && noexcept {
        return detail::handed_over(handle_, shape, type, shm_device_sample_to_dlpack_versioned);
    }

    /// Releases it. Does nothing when it was before.
    void release() noexcept { handle_.reset(); }

    /// The C ABI's handle, still owned here; null when released.
    [[nodiscard]] shm_device_sample* get() const noexcept { return handle_.get(); }

    /// Whether there is one.
    explicit operator bool() const noexcept { return handle_ != nullptr; }

private:
    std::unique_ptr<shm_device_sample, detail::device_sample_deleter> handle_;
};

/// Receives the messages of a device publisher's topic, as pointers for a GPU's work. Move-only. One
/// thread at a time uses it; dead in the child of a fork.
class device_subscriber {
public:
    /// Joins `topic` for the GPU that CUDA counts as `device`, from 0, making the topic when it doesn't
    /// exist. Throws `shm::error`: `no_device` when there is no driver or no such GPU.
    explicit device_subscriber(const std::string& topic, std::uint32_t device = 0,
                               const subscriber_options& options = {}) {
        const shm::status s = detail::open(topic, device, options, handle_);
        if (s != shm::status::ok) detail::throw_not_open(s, topic, options);
    }

    /// The same without exceptions: sets `ec`, and leaves an empty one on an error. Calls on an empty one
    /// return `status::null_argument`.
    device_subscriber(const std::string& topic, std::uint32_t device,
                      const subscriber_options& options, std::error_code& ec) noexcept {
        ec = make_error_code(detail::open(topic, device, options, handle_));
    }

    /// Takes over a device subscriber of the C ABI.
    explicit device_subscriber(shm_device_subscriber* handle) noexcept : handle_(handle) {}

    /// The next message if there is one: `would_block`. Doesn't wait, but for the first message of each
    /// block of a publisher, which is asked for it: a second, if that is stopped.
    ///
    /// A message of a publisher that is gone, and whose block wasn't mapped before, is passed over and
    /// counted as `lost`. So is one of which this fails with `copier`, when its memory can't be mapped
    /// here, `os`, when its publisher doesn't answer, or `decode`, when it isn't a device message.
    [[nodiscard]] result<device_sample> try_receive() noexcept {
        shm_device_sample* taken = nullptr;
        return received(shm_device_subscriber_try_receive(handle_.get(), &taken), taken);
    }

    /// The next message; waits for it. Otherwise as `try_receive`.
    [[nodiscard]] result<device_sample> receive() noexcept {
        shm_device_sample* taken = nullptr;
        return received(shm_device_subscriber_receive(handle_.get(), &taken), taken);
    }

    /// The next message; waits for it up to `timeout`: `timed_out`. Otherwise as `try_receive`.
    template <typename Rep, typename Period>
    [[nodiscard]] result<device_sample> receive_for(
        std::chrono::duration<Rep, Period> timeout) noexcept {
        shm_device_sample* taken = nullptr;
        return received(shm_device_subscriber_receive_timeout(
                            handle_.get(), detail::nanoseconds(timeout), &taken),
                        taken);
    }

    /// How many messages it was too slow for, or couldn't reach, since it joined. Throws `shm::error`
    /// when the subscriber is empty.
    [[nodiscard]] std::uint64_t lost() const {
        std::uint64_t count = 0;
        const shm::status s = detail::from_c(shm_device_subscriber_lost(handle_.get(), &count));
        if (s != shm::status::ok) throw error(s);
        return count;
    }

    /// What the topic is. Throws `shm::error` when the device subscriber is empty.
    [[nodiscard]] topic_info info() const {
        return detail::read_info<shm_device_subscriber>(handle_.get(), shm_device_subscriber_info);
    }

    /// The C ABI's handle, still owned here; null when empty.
    [[nodiscard]] shm_device_subscriber* get() const noexcept { return handle_.get(); }

    /// Whether it receives from a topic.
    explicit operator bool() const noexcept { return handle_ != nullptr; }

private:
    // `taken` is written before this looks at it.
    static result<device_sample> received(std::int32_t s, shm_device_sample* const& taken) noexcept {
        if (s != SHM_OK) return detail::from_c(s);
        return device_sample(taken);
    }

    detail::device_subscriber_handle handle_;
};

}  // namespace shm
