// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <shm/error.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <system_error>
#include <utility>

/// @file
/// How bytes get between a topic's shared memory and the user's: with `memcpy`, or with whatever
/// reaches memory that isn't the CPU's.
///
/// `shm::memory::Copier` is what a program derives from, `shm::copier` one in use: for topics
/// (`publisher::publish_from`, `sample::copy_on_stream`, `stream_publisher`), and for services, where
/// `copier::user_to_shm` fills a request or a reply that was lent and `copier::shm_to_user` reads one
/// that was received.

namespace shm::memory {

/// To be called when a copy on a stream has ended. Move-only; exactly once: one that is dropped
/// without a call says that the copy failed.
class Done {
public:
    /// Of the C ABI.
    Done(shm_done then, void* data) noexcept : then_(then), data_(data) {}

    Done(Done&& other) noexcept : then_(std::exchange(other.then_, nullptr)), data_(other.data_) {}
    Done& operator=(Done&& other) noexcept {
        std::swap(then_, other.then_);
        std::swap(data_, other.data_);
        return *this;
    }
    ~Done() { (*this)(-1); }

    /// 0: the bytes are there. Otherwise a number of the copier's own. From any thread; the first call
    /// counts. It may end the copier.
    void operator()(std::int32_t status = 0) noexcept {
        if (const shm_done then = std::exchange(then_, nullptr)) then(data_, status);
    }

private:
    shm_done then_;
    void* data_;
};

/// Allocates the user's memory and copies between it and a topic's.
///
/// Derive from it for memory of another kind (a GPU's) or another way to copy, and give it to
/// `pubsub::PublisherBin` and `pubsub::SubscriberBin`, or to a `shm::copier`; it must outlive them. They
/// call it from the thread that publishes or spins, so one copier serves several of them only if it is
/// thread-safe. What it throws reaches the caller of `publish` or `spin_once`. It must not itself call
/// this library. For no bytes it isn't called.
class Copier {
public:
    virtual ~Copier() = default;

    /// Allocates `size` bytes of the user's memory. Null means that there is none: `spin_once` then
    /// throws `std::bad_alloc`.
    virtual void* alloc(std::size_t size) = 0;

    /// Frees what `alloc` returned, unless that was null. Must not throw.
    virtual void dealloc(void* ptr) = 0;

    /// Copies `size` bytes of a message to the user's memory. `src` lies in shared memory and must
    /// not be written to.
    virtual void shm_to_user(void* dst, void* src, std::size_t size) = 0;

    /// Copies `size` bytes of the user's memory into a message. `dst` lies in shared memory, on a
    /// 64-byte boundary. `src` is what `publish` was given.
    virtual void user_to_shm(void* dst, void* src, std::size_t size) = 0;

    /// As `shm_to_user`, when `stream` comes to it, without waiting for that: `done` is called when
    /// the copy has ended. Where it isn't overridden, and for what it throws, at once.
    virtual void shm_to_user_on_stream(void* dst, void* src, std::size_t size,
                                       [[maybe_unused]] void* stream, Done done) {
        shm_to_user(dst, src, size);
        done();
    }

    /// The same the other way.
    virtual void user_to_shm_on_stream(void* dst, void* src, std::size_t size,
                                       [[maybe_unused]] void* stream, Done done) {
        user_to_shm(dst, src, size);
        done();
    }

    /// Whether it is to be told of mappings. Asked once, when it is put to use.
    [[nodiscard]] virtual bool wants_pins() const { return false; }

    /// Told of a mapping of `size` bytes of shared memory, once, before the first copy from or to it;
    /// copies go there, too, when it `is_writable`. True: `unpin` is to be called before it is unmapped.
    virtual bool pin([[maybe_unused]] void* memory, [[maybe_unused]] std::size_t size,
                     [[maybe_unused]] bool is_writable) {
        return false;
    }

    /// The mapping goes, or the copier does. When it throws the mapping stays for ever, so that the device
    /// doesn't write to what comes to be there next.
    virtual void unpin([[maybe_unused]] void* memory, [[maybe_unused]] std::size_t size) {}
};

/// `malloc`, `free` and `memcpy`. Thread-safe.
class DefaultCopier : public Copier {
public:
    /// What the memory is made of, as wrappers around a copier ask for it.
    using PtrT = std::uint8_t;

    void* alloc(std::size_t size) override { return std::malloc(size); }
    void dealloc(void* ptr) override { std::free(ptr); }
    void shm_to_user(void* dst, void* src, std::size_t size) override { copy(dst, src, size); }
    void user_to_shm(void* dst, void* src, std::size_t size) override { copy(dst, src, size); }

private:
    // memcpy takes no null pointer, not even for 0 bytes.
    static void copy(void* dst, const void* src, std::size_t size) noexcept {
        if (size != 0) std::memcpy(dst, src, size);
    }
};

/// A received message in the user's memory, as `pubsub::SubscriberBin` hands it to its callback.
struct Ptr {
    void* ptr = nullptr;   ///< What the copier's `alloc` returned, filled by its `shm_to_user`.
    std::size_t size = 0;  ///< In bytes.
    bool free = true;      ///< Whether the memory is freed after the callback.

    /// Keeps the memory: the callback's owner frees it, with the copier's `dealloc` (`std::free`
    /// where no copier was given).
    void no_delete() noexcept { free = false; }
};

}  // namespace shm::memory

namespace shm {
namespace detail {

struct copier_deleter {
    void operator()(shm_copier* c) const noexcept { shm_copier_destroy(c); }
};
using copier_handle = std::unique_ptr<shm_copier, copier_deleter>;

// What a copier threw in this thread, until the call of the C ABI that it was made for is over.
inline std::exception_ptr& thrown() noexcept {
    static thread_local std::exception_ptr pending;
    return pending;
}

template <typename Call>
std::int32_t keep_thrown(Call call) noexcept {
    try {
        call();
        return 0;
    } catch (...) {
        thrown() = std::current_exception();
        return 1;
    }
}

// Runs a call of the C ABI; what it came to, unless the copier threw.
template <typename Call>
status unless_thrown(Call call) {
    thrown() = nullptr;
    const std::int32_t code = call();
    if (code == SHM_ERR_COPIER) {
        if (const std::exception_ptr pending = std::exchange(thrown(), nullptr)) {
            std::rethrow_exception(pending);
        }
    }
    return from_c(code);
}

inline memory::Copier& copier_of(void* data) noexcept { return *static_cast<memory::Copier*>(data); }

// The C ABI's copier that calls `user`.
inline shm_copier_ops ops_of(memory::Copier& user) {
    shm_copier_ops ops{};
    shm_copier_ops_init(&ops);
    ops.user_data = &user;
    ops.alloc = [](void* data, std::size_t size, void** memory) {
        return keep_thrown([=] {
            *memory = copier_of(data).alloc(size);
            if (*memory == nullptr) throw std::bad_alloc();
        });
    };
    ops.dealloc = [](void* data, void* memory, std::size_t) {
        return keep_thrown([=] { copier_of(data).dealloc(memory); });
    };
    ops.shm_to_user = [](void* data, void* dst, const void* src, std::size_t size) {
        return keep_thrown([=] { copier_of(data).shm_to_user(dst, const_cast<void*>(src), size); });
    };
    ops.user_to_shm = [](void* data, void* dst, const void* src, std::size_t size) {
        return keep_thrown([=] { copier_of(data).user_to_shm(dst, const_cast<void*>(src), size); });
    };
    // `Done` says how it ended, also when something is thrown: nobody who could catch it waits.
    ops.shm_to_user_on_stream = [](void* data, void* dst, const void* src, std::size_t size,
                                   void* stream, shm_done done, void* done_data) -> std::int32_t {
        try {
            copier_of(data).shm_to_user_on_stream(dst, const_cast<void*>(src), size, stream,
                                                  memory::Done(done, done_data));
        } catch (...) {
        }
        return 0;
    };
    ops.user_to_shm_on_stream = [](void* data, void* dst, const void* src, std::size_t size,
                                   void* stream, shm_done done, void* done_data) -> std::int32_t {
        try {
            copier_of(data).user_to_shm_on_stream(dst, const_cast<void*>(src), size, stream,
                                                  memory::Done(done, done_data));
        } catch (...) {
        }
        return 0;
    };
    if (user.wants_pins()) {
        ops.pin = [](void* data, void* memory, std::size_t size, std::int32_t is_writable) -> std::int32_t {
            try {
                return copier_of(data).pin(memory, size, is_writable != 0) ? 0 : 1;
            } catch (...) {
                return 1;
            }
        };
        ops.unpin = [](void* data, void* memory, std::size_t size) -> std::int32_t {
            try {
                copier_of(data).unpin(memory, size);
                return 0;
            } catch (...) {
                return 1;
            }
        };
    }
    return ops;
}

inline status open(const shm_copier_ops& ops, copier_handle& handle) noexcept {
    shm_copier* created = nullptr;
    const status s = from_c(shm_copier_create(&ops, &created));
    if (s == status::ok) handle.reset(created);
    return s;
}

}  // namespace detail

/// A copier in use. Move-only. Any threads use it at once, as far as the `memory::Copier` behind it
/// permits that; dead in the child of a fork.
///
/// What the `memory::Copier` behind it throws reaches the caller. Otherwise a failure is the status
/// `copier`.
class copier {
public:
    /// Of `user`, which must outlive this, the stream publishers made with it and the copies that they
    /// began. Throws `shm::error`.
    explicit copier(memory::Copier& user) {
        const shm::status s = detail::open(detail::ops_of(user), handle_);
        if (s != shm::status::ok) throw error(s);
    }

    /// The same without exceptions: sets `ec`, and leaves an empty copier on an error. Calls with an
    /// empty one return `status::null_argument`.
    copier(memory::Copier& user, std::error_code& ec) noexcept {
        ec = make_error_code(detail::open(detail::ops_of(user), handle_));
    }

    /// Of `user`, which isn't null and is deleted when nothing uses it any more. Throws `shm::error`.
    explicit copier(std::unique_ptr<memory::Copier> user) {
        if (user == nullptr) throw error(shm::status::null_argument, "a copier of nothing");
        shm_copier_ops ops = detail::ops_of(*user);
        ops.destroy = [](void* data) { delete static_cast<memory::Copier*>(data); };
        const shm::status s = detail::open(ops, handle_);
        if (s != shm::status::ok) throw error(s);
        static_cast<void>(user.release());
    }

    /// Takes over a copier of the C ABI.
    explicit copier(shm_copier* handle) noexcept : handle_(handle) {}

    /// Allocates `size` bytes of the copier's memory, to be given to `dealloc` with the same size; null
    /// for none.
    result<void*> alloc(std::size_t size) const {
        void* memory = nullptr;
        const shm::status s =
            detail::unless_thrown([&] { return shm_copier_alloc(handle_.get(), size, &memory); });
        if (s != shm::status::ok) return s;
        return memory;
    }

    /// Frees `size` bytes that the copier allocated; null is none.
    shm::status dealloc(void* memory, std::size_t size) const {
        return detail::unless_thrown([&] { return shm_copier_dealloc(handle_.get(), memory, size); });
    }

    /// Copies `size` bytes of a sample, a request or a reply to the copier's memory at `dst`.
    [[nodiscard]] shm::status shm_to_user(void* dst, const void* src, std::size_t size) const {
        return detail::unless_thrown(
            [&] { return shm_copier_shm_to_user(handle_.get(), dst, src, size); });
    }

    /// Copies `size` bytes of the copier's memory into a loan of a message, a request or a reply.
    [[nodiscard]] shm::status user_to_shm(void* dst, const void* src, std::size_t size) const {
        return detail::unless_thrown(
            [&] { return shm_copier_user_to_shm(handle_.get(), dst, src, size); });
    }

    /// Copies `size` bytes of a sample, a request or a reply to memory that is allocated for them, to be
    /// given to `dealloc` with the same size.
    result<void*> copy_out(const void* src, std::size_t size) const {
        void* memory = nullptr;
        const shm::status s =
            detail::unless_thrown([&] { return shm_copier_copy_out(handle_.get(), src, size, &memory); });
        if (s != shm::status::ok) return s;
        return memory;
    }

    /// The C ABI's handle, still owned here; null when empty.
    [[nodiscard]] shm_copier* get() const noexcept { return handle_.get(); }

    /// Whether there is a copier.
    explicit operator bool() const noexcept { return handle_ != nullptr; }

private:
    detail::copier_handle handle_;
};

namespace detail {

// What `pubsub::PublisherBin` and `SubscriberBin` copy with: a `copier` where there are mappings to tell of. Otherwise,
// to the same contract, the virtual functions themselves: through the C ABI a message of 64 bytes
// takes 60 ns instead of 40 to publish, and 105 instead of 50 to receive.
class bin_copier {
public:
    explicit bin_copier(memory::Copier& user) : user_(&user) {
        if (user.wants_pins()) pinning_ = copier(user);
    }
    bin_copier(memory::Copier& user, std::error_code& ec) noexcept : user_(&user) {
        if (!ec && user.wants_pins()) pinning_ = copier(user, ec);
    }

    [[nodiscard]] status user_to_shm(void* dst, const void* src, std::size_t size) const {
        if (pinning_) return pinning_.user_to_shm(dst, src, size);
        if (size == 0) return status::ok;
        if (src == nullptr) return status::null_argument;
        user_->user_to_shm(dst, const_cast<void*>(src), size);
        return status::ok;
    }

    result<void*> copy_out(const void* src, std::size_t size) const {
        if (pinning_) return pinning_.copy_out(src, size);
        if (size == 0) return nullptr;
        void* const memory = user_->alloc(size);
        if (memory == nullptr) throw std::bad_alloc();
        try {
            user_->shm_to_user(memory, const_cast<void*>(src), size);
        } catch (...) {
            user_->dealloc(memory);
            throw;
        }
        return memory;
    }

    void dealloc(void* memory) const {
        if (memory != nullptr) user_->dealloc(memory);
    }

private:
    memory::Copier* user_;
    copier pinning_{static_cast<shm_copier*>(nullptr)};  // empty where there is nothing to tell of
};

}  // namespace detail
}  // namespace shm
