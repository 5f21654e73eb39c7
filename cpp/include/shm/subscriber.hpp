// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <shm/copier.hpp>
#include <shm/error.hpp>
#include <shm/message.hpp>
#include <shm/tensor.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

/// @file
/// Receiving: `shm::subscriber` for bytes, plain data and messages, borrowed in place; and
/// Shadesmar's `shm::pubsub::Subscriber` and `SubscriberBin`, which call a function per message.

namespace shm {

/// `subscriber_options::history` for all the messages that the topic still has.
inline constexpr std::uint32_t history_all = SHM_HISTORY_ALL;

/// How a subscriber is made. A topic that exists already and is smaller than what is asked for is a
/// `mismatch`.
struct subscriber_options {
    /// Directory of the topics. Empty: `$SHM_ROOT`, else `/dev/shm/shm-<uid>`.
    std::string root;
    /// Messages that the topic's ring keeps, a power of two. 0: as the topic has it, 64 when it is
    /// made here.
    std::uint32_t capacity = 0;
    /// Publishers and subscribers that the topic can have, at most 1024. 0: as the topic has it, 128
    /// when it is made here.
    std::uint32_t participants = 0;
    /// Samples that one subscriber may hold, at most 256. 0: as the topic has it, 8 when it is made
    /// here.
    std::uint32_t holds = 0;
    /// Messages from before the join that are received too. `history_all`: all that the topic still
    /// has.
    std::uint32_t history = 0;
    /// Whether publishers wait for this subscriber instead of overwriting what it has yet to read:
    /// from the join on it loses nothing, and what it does when it is slow or stopped is the
    /// publishers' delay. Its death isn't: they find that within 100 ms. What `history` gives may still
    /// be lost.
    bool reliable = false;
    /// The permission bits of the topic's files, whatever the umask says. Without a `group` 0600, or
    /// 0640: then the members of the files' group can look at them with other tools, where the root
    /// lets them in, but not join. With a `group` always 0660. An existing topic must have the same. 0:
    /// as the topic has it; when it is made 0600, with a `group` 0660.
    std::uint32_t mode = 0;
    /// The group, by its id, whose members share the topic: they may join, recover and remove it, each
    /// with this option. They need a `root` of their own, which is made for them when it isn't there
    /// (mode 0770, with that group), as the default root is its user's alone; and they are trusted not
    /// to be malicious. None: the topic is this user's alone, and one that a group may write to is
    /// refused.
    std::optional<std::uint32_t> group = {};
};

namespace detail {

struct subscriber_deleter {
    void operator()(shm_subscriber* s) const noexcept { shm_subscriber_destroy(s); }
};
struct sample_deleter {
    void operator()(shm_sample* s) const noexcept { shm_sample_release(s); }
};
using subscriber_handle = std::unique_ptr<shm_subscriber, subscriber_deleter>;

inline status open(const std::string& topic, const subscriber_options& options,
                   subscriber_handle& handle) noexcept {
    shm_subscriber_options c{};
    const status converted = convert(topic, options, shm_subscriber_options_init, c);
    if (converted != status::ok) return converted;
    c.history = options.history;
    c.reliable = options.reliable ? 1 : 0;
    shm_subscriber* created = nullptr;
    const status s = from_c(shm_subscriber_create(topic.c_str(), &c, &created));
    if (s == status::ok) handle.reset(created);
    return s;
}

}  // namespace detail

/// A message that a subscriber holds: it stays as it is, where it is in shared memory, until it is
/// released. Move-only; dropping it releases it.
///
/// It may be kept as long as one likes, also past its subscriber, at the price of its memory and of
/// one of the subscriber's holds. Each may be read and dropped by any thread, at any time.
class sample {
public:
    /// Takes over a sample of the C ABI.
    explicit sample(shm_sample* handle) noexcept : handle_(handle) {}

    /// The message: `size()` bytes on a 64-byte boundary, only to be read. Null when moved
    /// from or released.
    [[nodiscard]] const void* data() const noexcept { return shm_sample_data(handle_.get()); }

    /// The message's length in bytes.
    [[nodiscard]] std::size_t size() const noexcept { return shm_sample_size(handle_.get()); }

    /// The message's place in the topic's order, which all subscribers share: consecutive messages
    /// have consecutive positions.
    [[nodiscard]] std::uint64_t position() const noexcept {
        return shm_sample_position(handle_.get());
    }

    /// When the message was published, in nanoseconds since the Unix epoch, if its publisher's
    /// options asked for `timestamps`.
    [[nodiscard]] std::optional<std::uint64_t> timestamp() const noexcept {
        const std::uint64_t ns = shm_sample_timestamp(handle_.get());
        return ns == 0 ? std::nullopt : std::optional<std::uint64_t>(ns);
    }

    /// The message as a `T`, which must be trivially copyable, without a copy: valid as long as the
    /// sample. Null when the message isn't `sizeof(T)` bytes long; that it is a `T` is the topic's
    /// promise.
    template <typename T>
    [[nodiscard]] const T* as() const noexcept {
        detail::require_plain<T>();
        return size() == sizeof(T) ? static_cast<const T*>(data()) : nullptr;
    }

    /// The message as a `Msg` with `SHM_PACK`, read straight from shared memory; it is a copy, and
    /// doesn't need the sample any more. Throws `shm::error` (`decode`) when the bytes are no such
    /// message.
    template <typename Msg>
    [[nodiscard]] Msg message() const {
        Msg read;
        detail::decode(data(), size(), read);
        return read;
    }

    /// The same without exceptions: sets `ec`. After an error `read` may be half read.
    template <typename Msg>
    void message(Msg& read, std::error_code& ec) const noexcept {
        try {
            detail::decode(data(), size(), read);
            ec.clear();
        } catch (...) {
            ec = shm::status::decode;
        }
    }

    /// Copies the message to memory of `by`'s kind at `dst` when `stream` comes to it, and gives it back
    /// then. Doesn't wait for that. `stream` is what that kind of memory calls one, for CUDA a CUstream.
    ///
    /// Until it has ended `dst` is used by nothing but this, and what is behind it on `stream`.
    /// `done(shm::status)` is called when it has, once and by any thread, if `ok` was returned, with
    /// `copier` when the copy failed; it must not throw. Fails with `null_argument` or `forked`: the sample
    /// is what it was then; otherwise it isn't there any more.
    template <typename Done>
    shm::status copy_on_stream(const copier& by, void* dst, void* stream, Done done) {
        auto told = std::make_unique<Done>(std::move(done));
        const auto tell = [](void* data, std::int32_t code) {
            const std::unique_ptr<Done> whom(static_cast<Done*>(data));
            (*whom)(detail::from_c(code));
        };
        const std::int32_t code = shm_sample_copy_on_stream(handle_.get(), by.get(), dst, stream,
                                                            tell, told.get());
        if (code == SHM_OK) {
            static_cast<void>(handle_.release());
            static_cast<void>(told.release());
        }
        return detail::from_c(code);
    }

    /// Hands the sample over as a tensor of this shape, in place: `std::move(sample).to_dlpack(...)`.
    /// The tensor holds it as long as it lives, also past its subscriber. It is only to be read,
    /// which this form can't say: a write ends the process. Fails with `wrong_size` when the
    /// message hasn't exactly as many bytes, with `invalid_option` or `too_large` for what no
    /// tensor can be; the sample is what it was then.
    result<dlpack_tensor> to_dlpack(const std::vector<std::int64_t>& shape,
                                    data_type type) && noexcept {
        return detail::handed_over(handle_, shape, type, shm_sample_to_dlpack);
    }

    /// The same in the form since DLPack 1.0, marked as read-only.
    result<dlpack_tensor_versioned> to_dlpack_versioned(const std::vector<std::int64_t>& shape,
                                                        data_type type) && noexcept {
        return detail::handed_over(handle_, shape, type, shm_sample_to_dlpack_versioned);
    }

    /// Gives the message back now.
    void release() noexcept { handle_.reset(); }

    /// Whether there is a message; not after a move or `release`.
    explicit operator bool() const noexcept { return handle_ != nullptr; }

private:
    std::unique_ptr<shm_sample, detail::sample_deleter> handle_;
};

/// Receives the messages of a topic. Move-only; used by one thread at a time, in no signal handler,
/// and dead in the child of a fork.
///
/// A subscriber that is slower than the topic's publishers doesn't hold them up: it goes on with a
/// later message, and `lost()` counts those in between. One made with the option `reliable` loses
/// none: publishers wait for it.
class subscriber {
public:
    /// Joins `topic`, making it when it doesn't exist. Throws `shm::error`.
    explicit subscriber(const std::string& topic, const subscriber_options& options = {}) {
        const shm::status s = detail::open(topic, options, handle_);
        if (s != shm::status::ok) detail::throw_not_open(s, topic, options);
    }

    /// The same without exceptions: sets `ec`, and leaves an empty subscriber on an error. Calls on
    /// an empty one return `status::null_argument`.
    subscriber(const std::string& topic, const subscriber_options& options,
               std::error_code& ec) noexcept {
        ec = make_error_code(detail::open(topic, options, handle_));
    }
    subscriber(const std::string& topic, std::error_code& ec) noexcept
        : subscriber(topic, subscriber_options{}, ec) {}

    /// Takes over a subscriber of the C ABI.
    explicit subscriber(shm_subscriber* handle) noexcept : handle_(handle) {}

    /// The next message, or `would_block` when there is none now. Fails with `no_hold` when as many
    /// samples are held as may be.
    result<sample> try_receive() noexcept {
        shm_sample* received = nullptr;
        const std::int32_t code = shm_subscriber_try_receive(handle_.get(), &received);
        return wrap(code, received);
    }

    /// The next message, waiting for it as long as it takes. Otherwise as `try_receive`.
    result<sample> receive() noexcept {
        shm_sample* received = nullptr;
        const std::int32_t code = shm_subscriber_receive(handle_.get(), &received);
        return wrap(code, received);
    }

    /// The next message, or `timed_out` when there is none for `timeout`. Otherwise as
    /// `try_receive`.
    template <typename Rep, typename Period>
    result<sample> receive_for(std::chrono::duration<Rep, Period> timeout) noexcept {
        shm_sample* received = nullptr;
        const std::int32_t code = shm_subscriber_receive_timeout(
            handle_.get(), detail::nanoseconds(timeout), &received);
        return wrap(code, received);
    }

    /// The messages that this subscriber was too slow for, exactly, since it joined. Throws
    /// `shm::error` when the subscriber is empty.
    [[nodiscard]] std::uint64_t lost() const {
        std::uint64_t count = 0;
        const shm::status s = detail::from_c(shm_subscriber_lost(handle_.get(), &count));
        if (s != shm::status::ok) throw error(s);
        return count;
    }

    /// What the topic is. Throws `shm::error` when the subscriber is empty.
    [[nodiscard]] topic_info info() const {
        return detail::read_info<shm_subscriber>(handle_.get(), shm_subscriber_info);
    }

    /// The C ABI's handle, still owned here; null when empty.
    [[nodiscard]] shm_subscriber* get() const noexcept { return handle_.get(); }

    /// Whether it receives from a topic.
    explicit operator bool() const noexcept { return handle_ != nullptr; }

private:
    static result<sample> wrap(std::int32_t code, shm_sample* received) noexcept {
        if (const shm::status s = detail::from_c(code); s != shm::status::ok) return s;
        return sample(received);
    }

    detail::subscriber_handle handle_;
};

namespace pubsub {

/// What `Subscriber` and `SubscriberBin` have in common: calling the callback.
///
/// Neither copyable nor movable. All but `stop` is called from one thread at a time; the callback
/// runs in that thread, and may itself spin or stop the subscriber, but not destroy it.
///
/// What the callback throws reaches the caller of `spin_once` or `spin`. The message counts as
/// received then, and nothing of it is held any more.
class SubscriberBase {
public:
    SubscriberBase(const SubscriberBase&) = delete;
    SubscriberBase& operator=(const SubscriberBase&) = delete;

    /// Calls the callback with the next message if there is one now, and returns whether there was.
    /// Throws `shm::error` when receiving fails or the bytes are no such message; the next call goes
    /// on with the next message.
    bool spin_once() { return take(subscriber_.try_receive()); }
    /// The same.
    bool spinOnce() { return spin_once(); }

    /// The same, but waits up to `timeout` for the message.
    template <typename Rep, typename Period>
    bool spin_once(std::chrono::duration<Rep, Period> timeout) {
        return take(subscriber_.receive_for(timeout));
    }

    /// Calls the callback with every message, until `stop`. Throws as `spin_once` does, and can be
    /// called again then.
    void spin() {
        while (!stop_.exchange(false, std::memory_order_acquire)) spin_once(stop_latency);
    }

    /// Ends the `spin` that is under way: once the callback has returned, and at latest 20 ms later.
    /// When there is none, the next one ends at once. From any thread, also from the callback.
    void stop() noexcept { stop_.store(true, std::memory_order_release); }

    /// The messages that the callback was too slow for, exactly, since the join.
    [[nodiscard]] std::uint64_t lost() const { return subscriber_.lost(); }

    /// Position in the topic of the message that the callback was last called with.
    [[nodiscard]] std::uint64_t position() const noexcept { return position_; }

    /// What the topic is. Throws `shm::error` when the subscriber is empty.
    [[nodiscard]] topic_info info() const { return subscriber_.info(); }

protected:
    // `least` is the capacity that the type asks for.
    SubscriberBase(const std::string& topic, subscriber_options options, std::uint32_t least)
        : subscriber_(topic, complete(options, least)) {}
    SubscriberBase(const std::string& topic, subscriber_options options, std::uint32_t least,
                   std::error_code& ec) noexcept
        : subscriber_(topic, complete(options, least), ec) {}
    virtual ~SubscriberBase() = default;

    // Takes what it needs from the message, gives the sample back, then calls the callback.
    virtual void deliver(sample received) = 0;

private:
    // Nothing but a message ends a wait, so `spin` looks up this often.
    static constexpr std::chrono::milliseconds stop_latency{20};

    static const subscriber_options& complete(subscriber_options& options,
                                              std::uint32_t least) noexcept {
        options.capacity = std::max(options.capacity, least);
        return options;
    }

    bool take(result<sample> received) {
        if (!received) {
            if (is_error(received.status())) throw error(received.status());
            return false;
        }
        position_ = received->position();
        deliver(std::move(*received));
        return true;
    }

    subscriber subscriber_;
    std::uint64_t position_ = 0;
    std::atomic<bool> stop_{false};
};

/// Receives messages of one type. `Msg` derives from `BaseMsg`, has `SHM_PACK` and a default
/// constructor; `Capacity`, a power of two, is how many messages the topic keeps at least (0: as the
/// topic has it, 64 when it is made here).
template <typename Msg, std::uint32_t Capacity = 0>
class Subscriber : public SubscriberBase {
    static_assert(std::is_base_of_v<BaseMsg, Msg>, "a message derives from shm::BaseMsg");
    static_assert((Capacity & (Capacity - 1)) == 0, "the capacity must be a power of two");

public:
    /// Called with each message, which it may keep.
    using Callback = std::function<void(const std::shared_ptr<Msg>&)>;

    /// Joins `topic`, making it when it doesn't exist. Throws `shm::error`. `extra_copy` chose how
    /// Shadesmar read its messages and is ignored: they are always read in place.
    Subscriber(const std::string& topic, Callback callback, [[maybe_unused]] bool extra_copy = false)
        : Subscriber(topic, std::move(callback), subscriber_options{}) {}
    Subscriber(const std::string& topic, Callback callback, subscriber_options options)
        : SubscriberBase(topic, std::move(options), Capacity), callback_(std::move(callback)) {}

    /// The same without exceptions: sets `ec`; on an error every `spin_once` throws.
    Subscriber(const std::string& topic, Callback callback, std::error_code& ec) noexcept
        : Subscriber(topic, std::move(callback), subscriber_options{}, ec) {}
    Subscriber(const std::string& topic, Callback callback, subscriber_options options,
               std::error_code& ec) noexcept
        : SubscriberBase(topic, std::move(options), Capacity, ec), callback_(std::move(callback)) {}

private:
    void deliver(sample received) override {
        auto message = std::make_shared<Msg>();
        detail::decode(received.data(), received.size(), *message);
        received.release();
        callback_(message);
    }

    Callback callback_;
};

/// Receives bytes, copied by a copier into memory of its own. `Capacity` as for `Subscriber`.
template <std::uint32_t Capacity = 0>
class SubscriberBin : public SubscriberBase {
    static_assert((Capacity & (Capacity - 1)) == 0, "the capacity must be a power of two");

public:
    /// Called with each message, whose memory is freed afterwards unless it calls `no_delete()`.
    using Callback = std::function<void(memory::Ptr*)>;

    /// Joins `topic`, making it when it doesn't exist. `copier` must outlive the subscriber; null
    /// means `malloc`, `memcpy` and `free`. Throws `shm::error`.
    SubscriberBin(const std::string& topic, memory::Copier* copier, Callback callback,
                  subscriber_options options = {})
        : SubscriberBase(topic, std::move(options), Capacity),
          copier_(copier == nullptr ? default_copier_ : *copier),
          callback_(std::move(callback)) {}
    SubscriberBin(const std::string& topic, Callback callback, subscriber_options options = {})
        : SubscriberBin(topic, nullptr, std::move(callback), std::move(options)) {}

    /// The same without exceptions: sets `ec`; on an error every `spin_once` throws.
    SubscriberBin(const std::string& topic, memory::Copier* copier, Callback callback,
                  std::error_code& ec) noexcept
        : SubscriberBin(topic, copier, std::move(callback), subscriber_options{}, ec) {}
    SubscriberBin(const std::string& topic, memory::Copier* copier, Callback callback,
                  subscriber_options options, std::error_code& ec) noexcept
        : SubscriberBase(topic, std::move(options), Capacity, ec),
          copier_(copier == nullptr ? default_copier_ : *copier, ec),
          callback_(std::move(callback)) {}

private:
    // A message in the copier's memory, freed however the callback ends, unless it wants to keep it.
    class allocation : public memory::Ptr {
    public:
        allocation(const detail::bin_copier& by, const sample& received)
            : by_(by), allocated_(by.copy_out(received.data(), received.size()).value()) {
            ptr = allocated_;
            size = received.size();
        }
        allocation(const allocation&) = delete;
        allocation& operator=(const allocation&) = delete;
        ~allocation() {
            if (free) by_.dealloc(allocated_);
        }

    private:
        const detail::bin_copier& by_;
        void* allocated_;
    };

    void deliver(sample received) override {
        allocation copy(copier_, received);
        received.release();
        callback_(&copy);
    }

    memory::DefaultCopier default_copier_;
    detail::bin_copier copier_;
    Callback callback_;
};

}  // namespace pubsub
}  // namespace shm
