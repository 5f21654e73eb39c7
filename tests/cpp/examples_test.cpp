// SPDX-License-Identifier: MIT OR Apache-2.0
// Runs the examples and checks what they print.

#include <string>

#include "check.hpp"
#include "process.hpp"

namespace {

const std::string folder = std::string(EXAMPLES) + "/";

template <typename Line>
void exchange(const std::string& kind, bool publisher_first, Line line_of) {
    const std::string first = kind + (publisher_first ? "_publisher" : "_subscriber");
    const std::string second = kind + (publisher_first ? "_subscriber" : "_publisher");
    check::process one(folder + first, {"/test/" + kind, "12"});
    check::process other(folder + second, {"/test/" + kind, "12"});
    std::string expected;
    for (int n = 0; n < 12; ++n) expected += "received " + std::to_string(n) + " " + line_of(n) + "\n";
    check::process& publisher = publisher_first ? one : other;
    check::process& subscriber = publisher_first ? other : one;
    CHECK_EQUAL(subscriber.finish(), expected);
    CHECK_EQUAL(publisher.finish(), "published 12\n");
}

template <typename Line>
void exchange(const std::string& kind, Line line_of) {
    exchange(kind, true, line_of);
    exchange(kind, false, line_of);
}

// As %g has it, of n halves.
std::string halves(int n) { return std::to_string(n / 2) + (n % 2 != 0 ? ".5" : ""); }

}  // namespace

TEST(raw_bytes) {
    exchange("raw", [](int n) { return "hello " + std::to_string(n); });
}

TEST(messages) {
    exchange("message", [](int n) {
        const auto text = [](int number) { return std::to_string(number); };
        return "seq=" + text(n) + " val=" + text(n) + " values=" + text(n) + "," + text(n + 1) + "," +
               text(n + 2) + " name=message " + text(n) + " inner=" + text(2 * n) + ",inner " + text(n);
    });
}

TEST(plain_data) {
    exchange("plain", [](int n) {
        return "id=" + std::to_string(n) + " x=" + halves(n) + " y=" + halves(3 * n) +
               " z=" + halves(5 * n);
    });
}

TEST(an_example_that_fails_says_so) {
    bool failed = false;
    try {
        check::process(folder + "raw_subscriber", {"", "1"}).finish();
    } catch (const std::runtime_error&) {
        failed = true;
    }
    CHECK(failed);
}
