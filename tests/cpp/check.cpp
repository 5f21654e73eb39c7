// SPDX-License-Identifier: MIT OR Apache-2.0
#include "check.hpp"

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <map>
#include <string>

#include "root.hpp"

namespace check {
namespace {

std::map<std::string, void (*)()>& tests() {
    static std::map<std::string, void (*)()> all;
    return all;
}

std::map<std::string, void (*)(const arguments&)>& roles() {
    static std::map<std::string, void (*)(const arguments&)> all;
    return all;
}

bool passes(const std::string& name, void (*run)()) {
    try {
        const temporary_root root;
        run();
        std::fprintf(stderr, "%s passed\n", name.c_str());
        return true;
    } catch (const std::exception& e) {
        std::fprintf(stderr, "%s FAILED: %s\n", name.c_str(), e.what());
        return false;
    }
}

int play(const std::string& name, const arguments& rest) {
    try {
        roles().at(name)(rest);
        return 0;
    } catch (const std::exception& e) {
        std::fprintf(stderr, "role %s FAILED: %s\n", name.c_str(), e.what());
        return 1;
    }
}

}  // namespace

test::test(const char* name, void (*run)()) { tests().emplace(name, run); }
role::role(const char* name, void (*play)(const arguments&)) { roles().emplace(name, play); }

}  // namespace check

// No argument: all tests. "--role NAME ARGUMENT...": what a test's child does. Else: the named tests.
int main(int argc, char** argv) {
    check::arguments given(argv + 1, argv + argc);
    if (given.size() > 1 && given[0] == "--role") {
        return check::play(given[1], {given.begin() + 2, given.end()});
    }
    int failed = 0;
    for (const auto& one : given) {
        if (check::tests().count(one) != 0) continue;
        std::fprintf(stderr, "%s FAILED: there is no such test\n", one.c_str());
        ++failed;
    }
    for (const auto& [name, run] : check::tests()) {
        bool wanted = given.empty();
        for (const auto& one : given) wanted = wanted || one == name;
        if (wanted && !check::passes(name, run)) ++failed;
    }
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
