// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <shm/copier.hpp>
#include <shm/error.hpp>
#include <shm/message.hpp>
#include <shm/tensor.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

/// @file
/// Publishing: `shm::publisher` for bytes, plain data and messages, in place or copied; and
/// Shadesmar's `shm::pubsub::Publisher` and `PublisherBin`.

namespace shm {

/// How a publisher is made. A topic that exists already and is smaller than what is asked for is a
/// `mismatch`.
struct publisher_options {
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
    /// Bytes of shared memory that this publisher may take. 0: 256 MiB.
    std::uint64_t memory = 0;
    /// Whether each message carries the time of its publishing.
    bool timestamps = false;
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

struct publisher_deleter {
    void operator()(shm_publisher* p) const noexcept { shm_publisher_destroy(p); }
};
struct loan_deleter {
    void operator()(shm_loan* l) const noexcept { shm_loan_destroy(l); }
};
using publisher_handle = std::unique_ptr<shm_publisher, publisher_deleter>;

// Checks what was given and fills `c` in.
inline status to_c(const std::string& topic, const publisher_options& options,
                   shm_publisher_options& c) noexcept {
    const status converted = convert(topic, options, shm_publisher_options_init, c);
    c.memory = options.memory;
    c.timestamps = options.timestamps ? 1 : 0;
    return converted;
}

inline status open(const std::string& topic, const publisher_options& options,
                   publisher_handle& handle) noexcept {
    shm_publisher_options c{};
    if (const status s = to_c(topic, options, c); s != status::ok) return s;
    shm_publisher* created = nullptr;
    const status s = from_c(shm_publisher_create(topic.c_str(), &c, &created));
    if (s == status::ok) handle.reset(created);
    return s;
}

}  // namespace detail

/// A message being written, in the shared memory that its readers will read it from. Move-only.
///
/// Dropping it discards it. It counts as part of its publisher: one thread at a time uses both. When
/// the publisher is destroyed first, the loan can still be written to but no more published.
class loan {
public:
    /// Takes over a loan of the C ABI.
    explicit loan(shm_loan* handle) noexcept : handle_(handle) {}

    /// Where the message starts: `size()` bytes on a 64-byte boundary, with whatever was there
    /// before. Null when the loan was published or moved from.
    [[nodiscard]] void* data() const noexcept { return shm_loan_data(handle_.get()); }

    /// The message's length in bytes.
    [[nodiscard]] std::size_t size() const noexcept { return shm_loan_size(handle_.get()); }

    /// The length in bytes to which it can grow without moving.
    [[nodiscard]] std::size_t capacity() const noexcept {
        return shm_loan_capacity(handle_.get());
    }

    /// Makes the message `size` bytes long and keeps what is in it. Growing past `capacity()`
    /// copies it to a bigger place, so `data()` may change; shrinking never moves it. On an error
    /// the loan is what it was.
    [[nodiscard]] shm::status resize(std::size_t size) noexcept {
        return detail::from_c(shm_loan_resize(handle_.get(), size));
    }

    /// The loan's memory as a tensor, to be filled in place. It is only a view, which dropping it
    /// ends and not the loan, and which mustn't be used after the loan was published, resized or
    /// dropped. Fails with `wrong_size` when the loan hasn't exactly as many bytes, with
    /// `invalid_option` or `too_large` for what no tensor can be.
    [[nodiscard]] result<dlpack_tensor> to_dlpack(const std::vector<std::int64_t>& shape,
                                                  data_type type) const noexcept {
        return detail::tensor_of(handle_.get(), shape, type, shm_loan_to_dlpack);
    }

    /// The same in the form since DLPack 1.0.
    [[nodiscard]] result<dlpack_tensor_versioned> to_dlpack_versioned(
        const std::vector<std::int64_t>& shape, data_type type) const noexcept {
        return detail::tensor_of(handle_.get(), shape, type, shm_loan_to_dlpack_versioned);
    }

    /// Publishes the message without a copy and returns its position in the topic's order. Waits
    /// while a reliable subscriber has yet to read what would be overwritten: for ever, if that one
    /// lives and doesn't read. The loan is empty then, and also after an error.
    result<std::uint64_t> publish() noexcept {
        std::uint64_t position = 0;
        const std::int32_t code = shm_loan_publish(handle_.get(), &position);
        return ended(code, position);
    }

    /// The same without waiting: `would_block` when a reliable subscriber has yet to read what would
    /// be overwritten. The loan is what it was then.
    result<std::uint64_t> try_publish() noexcept {
        std::uint64_t position = 0;
        const std::int32_t code = shm_loan_try_publish(handle_.get(), &position);
        return ended(code, position);
    }

    /// The same, waiting for reliable subscribers up to `timeout`: `timed_out` when one hadn't read
    /// by then what would be overwritten. The loan is what it was then.
    template <typename Rep, typename Period>
    result<std::uint64_t> publish_for(std::chrono::duration<Rep, Period> timeout) noexcept {
        std::uint64_t position = 0;
        const std::int32_t code =
            shm_loan_publish_timeout(handle_.get(), detail::nanoseconds(timeout), &position);
        return ended(code, position);
    }

    /// Whether there is something to publish.
    explicit operator bool() const noexcept { return handle_ != nullptr; }

private:
    // What a publish came to: but for `would_block` and `timed_out` nothing is left of the loan.
    result<std::uint64_t> ended(std::int32_t code, std::uint64_t position) noexcept {
        const shm::status s = detail::from_c(code);
        if (s == shm::status::ok) {
            static_cast<void>(handle_.release());
            return position;
        }
        if (is_error(s)) handle_.reset();
        return s;
    }

    std::unique_ptr<shm_loan, detail::loan_deleter> handle_;
};

/// A `T` being written in place; otherwise as `loan`.
template <typename T>
class plain_loan {
    static_assert(std::is_nothrow_default_constructible_v<T>,
                  "a loan's type must have a default constructor that cannot throw");

public:
    /// Makes a `T` in `bytes`, which are `sizeof(T)` long: default-initialised, so what has no
    /// initialiser, padding included, is whatever was there before.
    explicit plain_loan(loan bytes) noexcept
        : value_(::new (bytes.data()) T), bytes_(std::move(bytes)) {
        detail::require_plain<T>();
    }

    plain_loan(plain_loan&& other) noexcept
        : value_(std::exchange(other.value_, nullptr)), bytes_(std::move(other.bytes_)) {}
    plain_loan& operator=(plain_loan&& other) noexcept {
        value_ = std::exchange(other.value_, nullptr);
        bytes_ = std::move(other.bytes_);
        return *this;
    }

    /// The data. There is none, and `->` is null, when the loan was published or moved from: what
    /// subscribers hold is not to be written to.
    T& operator*() const noexcept { return *value_; }
    T* operator->() const noexcept { return value_; }

    /// As `loan::publish`.
    result<std::uint64_t> publish() noexcept { return ended(bytes_.publish()); }

    /// As `loan::try_publish`.
    result<std::uint64_t> try_publish() noexcept { return ended(bytes_.try_publish()); }

    /// As `loan::publish_for`.
    template <typename Rep, typename Period>
    result<std::uint64_t> publish_for(std::chrono::duration<Rep, Period> timeout) noexcept {
        return ended(bytes_.publish_for(timeout));
    }

    /// Whether there is something to publish.
    explicit operator bool() const noexcept { return value_ != nullptr; }

private:
    // What subscribers hold is not to be written to.
    result<std::uint64_t> ended(result<std::uint64_t> published) noexcept {
        if (!bytes_) value_ = nullptr;
        return published;
    }

    T* value_;
    loan bytes_;
};

/// Publishes messages on a topic. Move-only; used by one thread at a time, in no signal handler, and
/// dead in the child of a fork.
///
/// Who comes first makes the topic, who leaves last removes it. What was published stays for the
/// subscribers that are there.
class publisher {
public:
    /// Joins `topic`, making it when it doesn't exist. Throws `shm::error`.
    explicit publisher(const std::string& topic, const publisher_options& options = {}) {
        const shm::status s = detail::open(topic, options, handle_);
        if (s != shm::status::ok) detail::throw_not_open(s, topic, options);
    }

    /// The same without exceptions: sets `ec`, and leaves an empty publisher on an error. Calls on
    /// an empty one return `status::null_argument`.
    publisher(const std::string& topic, const publisher_options& options,
              std::error_code& ec) noexcept {
        ec = make_error_code(detail::open(topic, options, handle_));
    }
    publisher(const std::string& topic, std::error_code& ec) noexcept
        : publisher(topic, publisher_options{}, ec) {}

    /// Takes over a publisher of the C ABI.
    explicit publisher(shm_publisher* handle) noexcept : handle_(handle) {}

    /// Lends `size` bytes of shared memory to write a message into: no copy is made when it is
    /// published. Fails with `out_of_memory` when the publisher's memory is used up by loans, by held
    /// samples and by what reliable subscribers have yet to read, with `no_space`, `no_segment` or
    /// `too_large`.
    result<shm::loan> loan(std::size_t size) noexcept {
        shm_loan* lent = nullptr;
        const shm::status s = detail::from_c(shm_publisher_loan(handle_.get(), size, &lent));
        if (s != shm::status::ok) return s;
        return shm::loan(lent);
    }

    /// Lends a `T`, which must be trivially copyable and have a default constructor that can't
    /// throw. Write it through `->`, then `publish()`.
    template <typename T>
    result<plain_loan<T>> loan_as() noexcept {
        result<shm::loan> bytes = loan(sizeof(T));
        if (!bytes) return bytes.status();
        return plain_loan<T>(std::move(*bytes));
    }

    /// Publishes a copy of the `size` bytes at `data` and returns the message's position in the
    /// topic's order. Waits while a reliable subscriber has yet to read what would be overwritten:
    /// for ever, if that one lives and doesn't read. Fails as `loan` does.
    result<std::uint64_t> publish(const void* data, std::size_t size) noexcept {
        std::uint64_t position = 0;
        const shm::status s =
            detail::from_c(shm_publisher_publish(handle_.get(), data, size, &position));
        if (s != shm::status::ok) return s;
        return position;
    }

    /// The same without waiting: `would_block` when a reliable subscriber has yet to read what would
    /// be overwritten.
    result<std::uint64_t> try_publish(const void* data, std::size_t size) noexcept {
        std::uint64_t position = 0;
        const shm::status s =
            detail::from_c(shm_publisher_try_publish(handle_.get(), data, size, &position));
        if (s != shm::status::ok) return s;
        return position;
    }

    /// Publishes a copy of the `size` bytes at `data`, in the memory of `by`'s kind. Otherwise as
    /// `publish`. Fails with `copier` as well; what a `memory::Copier` throws is passed on. Nothing is
    /// published then.
    result<std::uint64_t> publish_from(const copier& by, const void* data, std::size_t size) {
        std::uint64_t position = 0;
        const shm::status s = detail::unless_thrown(
            [&] { return shm_publisher_publish_from(handle_.get(), by.get(), data, size, &position); });
        if (s != shm::status::ok) return s;
        return position;
    }

    /// Publishes a copy of a `DLTensor` of <dlpack/dlpack.h>, in memory that the processor reads:
    /// its elements in row-major order without gaps, however they lie there. Fails as `loan` does,
    /// with `invalid_option` for a tensor that can't be, and with `no_device` for one in a device's
    /// memory.
    template <typename Tensor>
    result<std::uint64_t> publish_dlpack(const Tensor& tensor) noexcept {
        static_assert(sizeof(tensor.byte_offset) == 8 && sizeof tensor == 48,
                      "what is published must be a DLTensor");
        std::uint64_t position = 0;
        const shm::status s =
            detail::from_c(shm_publisher_publish_dlpack(handle_.get(), &tensor, &position));
        if (s != shm::status::ok) return s;
        return position;
    }

    /// Publishes a copy of `value`, which must be trivially copyable.
    template <typename T>
    result<std::uint64_t> publish_plain(const T& value) noexcept {
        detail::require_plain<T>();
        return publish(&value, sizeof value);
    }

    /// Publishes a message with `SHM_PACK`, written straight into shared memory. Fails as `loan`
    /// does, and with `encode` when packing one of its fields throws.
    template <typename Msg>
    result<std::uint64_t> publish_message(const Msg& message) noexcept {
        result<shm::loan> room = loan(message_size_);
        if (!room && message_size_ > detail::first_guess) room = loan(detail::first_guess);
        if (!room) return room.status();
        detail::loan_sink sink(*room);
        try {
            msgpack::pack(sink, message);
        } catch (...) {
            return shm::status::encode;
        }
        if (const shm::status s = sink.finish(); s != shm::status::ok) return s;
        message_size_ = std::max(room->size(), detail::first_guess);
        return room->publish();
    }

    /// What the topic is. Throws `shm::error` when the publisher is empty.
    [[nodiscard]] topic_info info() const {
        return detail::read_info<shm_publisher>(handle_.get(), shm_publisher_info);
    }

    /// The C ABI's handle, still owned here; null when empty.
    [[nodiscard]] shm_publisher* get() const noexcept { return handle_.get(); }

    /// Whether it publishes to a topic.
    explicit operator bool() const noexcept { return handle_ != nullptr; }

private:
    detail::publisher_handle handle_;
    // The last message's, as the next one's first guess.
    std::size_t message_size_ = detail::first_guess;
};

namespace memory {

/// Bytes that a `pubsub::Publisher` or `PublisherBin` may take for its messages when its options
/// don't say. Shadesmar's spelling: set it before creating them, from one thread.
inline std::size_t max_buffer_size = std::size_t{1} << 28;

}  // namespace memory

namespace pubsub {

/// What `Publisher` and `PublisherBin` have in common.
class PublisherBase {
public:
    /// Why the last `publish` returned false; false when it returned true.
    [[nodiscard]] std::error_code last_error() const noexcept { return make_error_code(last_); }

    /// What the topic is. Throws `shm::error` when the publisher is empty.
    [[nodiscard]] topic_info info() const { return publisher_.info(); }

protected:
    // `least` is the capacity that the type asks for.
    PublisherBase(const std::string& topic, publisher_options options, std::uint32_t least)
        : publisher_(topic, complete(options, least)) {}
    PublisherBase(const std::string& topic, publisher_options options, std::uint32_t least,
                  std::error_code& ec) noexcept
        : publisher_(topic, complete(options, least), ec) {}

    bool done(const result<std::uint64_t>& published) noexcept {
        last_ = published.status();
        return published.has_value();
    }

    publisher publisher_;

private:
    static const publisher_options& complete(publisher_options& options,
                                             std::uint32_t least) noexcept {
        if (options.memory == 0) options.memory = memory::max_buffer_size;
        options.capacity = std::max(options.capacity, least);
        return options;
    }

    shm::status last_ = shm::status::ok;
};

/// Publishes messages of one type. `Msg` derives from `BaseMsg` and has `SHM_PACK`; `Capacity`, a
/// power of two, is how many messages the topic keeps at least (0: as the topic has it, 64 when it
/// is made here). Used by one thread at a time.
template <typename Msg, std::uint32_t Capacity = 0>
class Publisher : public PublisherBase {
    static_assert(std::is_base_of_v<BaseMsg, Msg>, "a message derives from shm::BaseMsg");
    static_assert((Capacity & (Capacity - 1)) == 0, "the capacity must be a power of two");

public:
    /// Joins `topic`, making it when it doesn't exist. Throws `shm::error`.
    explicit Publisher(const std::string& topic, publisher_options options = {})
        : PublisherBase(topic, std::move(options), Capacity) {}

    /// The same without exceptions: sets `ec`; on an error every `publish` returns false.
    Publisher(const std::string& topic, std::error_code& ec) noexcept
        : Publisher(topic, publisher_options{}, ec) {}
    Publisher(const std::string& topic, publisher_options options, std::error_code& ec) noexcept
        : PublisherBase(topic, std::move(options), Capacity, ec) {}

    /// Publishes `message`, written straight into shared memory. Returns whether it was published;
    /// `last_error()` says why not. Waits for reliable subscribers as `publisher::publish` does.
    bool publish(const Msg& message) noexcept { return done(publisher_.publish_message(message)); }

    /// The same; a null pointer is not published.
    bool publish(const Msg* message) noexcept {
        return message == nullptr ? done(shm::status::null_argument) : publish(*message);
    }
    bool publish(const std::shared_ptr<const Msg>& message) noexcept {
        return publish(message.get());
    }
};

/// Publishes bytes, through a copier if one is given. `Capacity` as for `Publisher`.
template <std::uint32_t Capacity = 0>
class PublisherBin : public PublisherBase {
    static_assert((Capacity & (Capacity - 1)) == 0, "the capacity must be a power of two");

public:
    /// Joins `topic`, making it when it doesn't exist. `copier` must outlive the publisher; null
    /// means `memcpy`. Throws `shm::error`.
    explicit PublisherBin(const std::string& topic, memory::Copier* copier = nullptr,
                          publisher_options options = {})
        : PublisherBase(topic, std::move(options), Capacity) {
        if (copier != nullptr) copier_.emplace(*copier);
    }

    /// The same without exceptions: sets `ec`; on an error every `publish` returns false.
    PublisherBin(const std::string& topic, memory::Copier* copier, std::error_code& ec) noexcept
        : PublisherBin(topic, copier, publisher_options{}, ec) {}
    PublisherBin(const std::string& topic, memory::Copier* copier, publisher_options options,
                 std::error_code& ec) noexcept
        : PublisherBase(topic, std::move(options), Capacity, ec) {
        if (copier != nullptr && !ec) copier_.emplace(*copier, ec);
    }

    /// Publishes `size` bytes, which the copier's `user_to_shm` copies straight into shared memory.
    /// Returns whether they were published; `last_error()` says why not. What the copier throws is
    /// passed on, and nothing is published then.
    bool publish(const void* data, std::size_t size) {
        if (!copier_) return done(publisher_.publish(data, size));
        result<loan> room = publisher_.loan(size);
        if (!room) return done(room.status());
        const shm::status s = copier_->user_to_shm(room->data(), data, size);
        return done(s == shm::status::ok ? room->publish() : s);
    }

private:
    std::optional<detail::bin_copier> copier_;
};

}  // namespace pubsub
}  // namespace shm
