// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

/// @file
/// How bytes get between a topic's shared memory and the user's: with `memcpy`, or with whatever
/// reaches memory that isn't the CPU's.

namespace shm::memory {

/// Allocates the user's memory and copies between it and a topic's.
///
/// Derive from it for memory of another kind (a GPU's) or another way to copy, and give it to
/// `pubsub::PublisherBin` and `pubsub::SubscriberBin`; it must outlive them. They call it from the
/// thread that publishes or spins, so one copier serves several of them only if it is thread-safe.
/// What it throws reaches the caller of `publish` or `spin_once`.
class Copier {
public:
    virtual ~Copier() = default;

    /// Allocates `size` bytes of the user's memory. Null (when `size` isn't 0) means that there is
    /// none: `spin_once` then throws `std::bad_alloc`.
    virtual void* alloc(std::size_t size) = 0;

    /// Frees what `alloc` returned, unless that was null. Must not throw.
    virtual void dealloc(void* ptr) = 0;

    /// Copies `size` bytes of a message to the user's memory. `src` lies in shared memory and must
    /// not be written to.
    virtual void shm_to_user(void* dst, void* src, std::size_t size) = 0;

    /// Copies `size` bytes of the user's memory into a message. `dst` lies in shared memory, on a
    /// 64-byte boundary. `src` is what `publish` was given.
    virtual void user_to_shm(void* dst, void* src, std::size_t size) = 0;
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
