// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <dlfcn.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "check.hpp"

namespace check {

// The driver made for tests (tests/cuda/fake_driver.c), which LD_LIBRARY_PATH leads to, as a program with
// CUDA code of its own uses it, and through its back door.
class fake_cuda {
public:
    fake_cuda() : library_(::dlopen("libcuda.so.1", RTLD_NOW)) {
        if (library_ == nullptr) throw failure(::dlerror());
        CHECK_EQUAL(function<int (*)(unsigned)>("cuInit")(0), 0);
    }

    std::uint64_t count(const std::string& name) const {
        return function<std::uint64_t (*)(const char*)>("fake_counter")(name.c_str());
    }

    // Streams stand still, or go on.
    void hold(bool are_held) const { function<void (*)(int)>("fake_hold")(are_held ? 1 : 0); }

    void capture(void* stream, bool is_capturing) const {
        function<void (*)(void*, int)>("fake_capture")(stream, is_capturing ? 1 : 0);
    }

    // What the device's memory has in it; host memory is where it is.
    unsigned char* behind(const void* memory) const {
        const auto at = reinterpret_cast<std::uintptr_t>(memory);
        void* const found = function<void* (*)(unsigned long long)>("fake_behind")(at);
        return static_cast<unsigned char*>(found != nullptr ? found : const_cast<void*>(memory));
    }

    void fill(void* memory, std::size_t size, unsigned char byte) const {
        std::fill_n(behind(memory), size, byte);
    }

    bool is_all(const void* memory, std::size_t size, unsigned char byte) const {
        const unsigned char* const start = behind(memory);
        return std::all_of(start, start + size, [=](unsigned char found) { return found == byte; });
    }

    // A stream of the primary context of the first device, which becomes this thread's.
    void* make_stream() const {
        void* context = nullptr;
        void* stream = nullptr;
        CHECK_EQUAL(function<int (*)(void**, int)>("cuDevicePrimaryCtxRetain")(&context, 0), 0);
        CHECK_EQUAL(function<int (*)(void*)>("cuCtxPushCurrent_v2")(context), 0);
        CHECK_EQUAL(function<int (*)(void**, unsigned)>("cuStreamCreate")(&stream, 1), 0);
        return stream;
    }

private:
    // `Function` is the signature that the driver has it with.
    template <typename Function>
    Function function(const char* name) const {
        void* const found = ::dlsym(library_, name);
        if (found == nullptr) throw failure(std::string("the driver has no ") + name);
        return reinterpret_cast<Function>(found);
    }

    void* library_;  // never closed: the library uses it, too
};

}  // namespace check
