// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <shm/error.hpp>

#include <sstream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

// A test executable: each TEST runs in a fresh SHM_ROOT, each ROLE is what a process that a test
// starts does. A failed check ends the test.

namespace check {

struct failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

using arguments = std::vector<std::string>;

struct test {
    test(const char* name, void (*run)());
};
struct role {
    role(const char* name, void (*play)(const arguments&));
};

[[noreturn]] inline void fail(const char* file, int line, const std::string& what) {
    throw failure(std::string(file) + ":" + std::to_string(line) + ": " + what);
}

template <typename T>
std::string show(const T& value) {
    std::ostringstream out;
    if constexpr (std::is_enum_v<T>) out << static_cast<long long>(value);
    else out << value;
    return out.str();
}

template <typename A, typename B>
void equal(const A& a, const B& b, const char* text, const char* file, int line) {
    if (a == b) return;
    fail(file, line, std::string(text) + ": " + show(a) + " isn't " + show(b));
}

template <typename T>
constexpr bool moves_only = !std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T> &&
                            std::is_nothrow_move_constructible_v<T> &&
                            std::is_nothrow_move_assignable_v<T>;

// The status of the shm::error that `call` throws.
template <typename Call>
shm::status thrown_by(Call call) {
    try {
        call();
    } catch (const shm::error& e) {
        return e.status();
    }
    return shm::status::ok;
}

}  // namespace check

#define CHECK(condition) \
    (static_cast<bool>(condition) ? void() : ::check::fail(__FILE__, __LINE__, #condition))
#define CHECK_EQUAL(a, b) ::check::equal((a), (b), #a, __FILE__, __LINE__)
#define CHECK_STATUS(expected, expression) \
    CHECK_EQUAL(::check::thrown_by([&] { static_cast<void>(expression); }), shm::status::expected)

#define TEST(name)                                     \
    static void name();                                \
    static const ::check::test test_##name{#name, name}; \
    static void name()
#define ROLE(name)                                         \
    static void name(const ::check::arguments& arguments); \
    static const ::check::role role_##name{#name, name};   \
    static void name([[maybe_unused]] const ::check::arguments& arguments)
