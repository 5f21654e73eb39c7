// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <shm/copier.hpp>
#include <shm/error.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <type_traits>

/// @file
/// Copiers of the process's own memory: the ways to copy that the processor has, and several threads.

namespace shm::memory {

/// Copies the process's own memory in a way of one's choice, of any length and alignment. Thread-safe.
///
/// What it allocates begins at a cache line and is freed by `dealloc` or `std::free`.
class CpuCopier : public Copier {
public:
    /// What the memory is made of, as wrappers around a copier ask for it.
    using PtrT = std::uint8_t;

    /// `copy` is one of `SHM_CPU_COPY_*`: what this machine's processor lacks is done by the next best
    /// that it has, and `SHM_CPU_COPY_AUTO` is the fastest at each size. `threads`, the caller's
    /// among them, copy what has at least `threshold` bytes (0: 8 MiB); 0 threads: as many as there are
    /// processors, at most 4. Throws `shm::error`.
    explicit CpuCopier(std::uint32_t copy = SHM_CPU_COPY_AUTO, std::uint32_t threads = 1,
                       std::uint64_t threshold = 0) {
        shm_cpu_copier_options options{};
        shm_cpu_copier_options_init(&options);
        options.copy = copy;
        options.threads = threads;
        options.threshold = threshold;
        shm_copier* created = nullptr;
        const status s = detail::from_c(shm_copier_cpu_create(&options, &created));
        if (s != status::ok) throw error(s);
        handle_.reset(created);
    }

    void* alloc(std::size_t size) override {
        // The size must be a multiple of the alignment.
        return size > SIZE_MAX - line ? nullptr : std::aligned_alloc(line, (size + line - 1) / line * line);
    }
    void dealloc(void* ptr) override { std::free(ptr); }

    void shm_to_user(void* dst, void* src, std::size_t size) override {
        require(shm_copier_shm_to_user(handle_.get(), dst, src, size));
    }
    void user_to_shm(void* dst, void* src, std::size_t size) override {
        require(shm_copier_user_to_shm(handle_.get(), dst, src, size));
    }

private:
    static constexpr std::size_t line = 64;

    static void require(std::int32_t code) {
        if (const status s = detail::from_c(code); s != status::ok) throw error(s);
    }

    detail::copier_handle handle_;
};

/// Shadesmar's names for ways to copy. There each reads and writes up to a multiple of its vectors; here none does.
namespace dragons {

/// A way to copy, by its number in the C ABI.
template <std::uint32_t Copy>
class Way : public CpuCopier {
public:
    /// Its number.
    static constexpr std::uint32_t copy = Copy;

    Way() : CpuCopier(Copy) {}
};

using RepMovsbCopier = Way<SHM_CPU_COPY_REP_MOVSB>;
using AvxCopier = Way<SHM_CPU_COPY_AVX>;
using AvxUnrollCopier = Way<SHM_CPU_COPY_AVX_UNROLL>;
using AvxAsyncCopier = Way<SHM_CPU_COPY_AVX_ASYNC>;
using AvxAsyncPFCopier = Way<SHM_CPU_COPY_AVX_ASYNC_PF>;
using AvxAsyncUnrollCopier = Way<SHM_CPU_COPY_AVX_ASYNC_UNROLL>;
using AvxAsyncPFUnrollCopier = Way<SHM_CPU_COPY_AVX_ASYNC_PF_UNROLL>;

/// Several threads that copy in one of the ways above, or by `DefaultCopier`'s `memcpy`.
template <typename Base, std::uint32_t Threads>
class MTCopier : public CpuCopier {
public:
    explicit MTCopier(std::uint32_t threads = Threads) : CpuCopier(way<Base>(), threads) {}

private:
    template <typename Of>
    static constexpr auto way() -> decltype(Of::copy) {
        return Of::copy;
    }
    template <typename Of>
    static constexpr std::enable_if_t<std::is_same_v<Of, DefaultCopier>, std::uint32_t> way() {
        return SHM_CPU_COPY_LIBC;
    }
};

}  // namespace dragons
}  // namespace shm::memory
