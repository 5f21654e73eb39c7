// SPDX-License-Identifier: MIT OR Apache-2.0
#include <shm/publisher.hpp>
#include <shm/server.hpp>
#include <shm/subscriber.hpp>
#include <shm/upkeep.hpp>

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <new>
#include <string>
#include <system_error>
#include <utility>

#include "check.hpp"
#include "process.hpp"

using namespace std::string_literals;

static_assert(noexcept(shm::gc(std::declval<std::error_code&>())));
static_assert(noexcept(shm::gc({}, std::declval<std::error_code&>())));
static_assert(noexcept(shm::audit(std::declval<std::error_code&>())));
static_assert(noexcept(shm::audit({}, std::declval<std::error_code&>())));

namespace {

constexpr long unlimited = -1;
long allocations_left = unlimited;

std::string path_of(const std::string& name) {
    return std::getenv("SHM_ROOT") + "/"s + name;
}

// Files in the topic's directory that don't belong there: each is a finding.
void plant_strangers(const std::string& topic, int count) {
    for (int i = 0; i < count; ++i) {
        std::ofstream(path_of(topic + "/stranger" + std::to_string(i))) << "mine";
    }
}

void remove_strangers(const std::string& topic, int count) {
    for (int i = 0; i < count; ++i) {
        CHECK(std::filesystem::remove(path_of(topic + "/stranger" + std::to_string(i))));
    }
}

}  // namespace

// So that the memory for C++, though not the library's own, can run out at any place.
void* operator new(std::size_t size) {
    if (allocations_left == 0) throw std::bad_alloc();
    if (allocations_left > 0) --allocations_left;
    if (void* memory = std::malloc(size)) return memory;
    throw std::bad_alloc();
}
// Inlined, they make GCC warn of a mismatch that isn't there.
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

ROLE(user) {
    shm::publisher publisher(arguments.at(0));
    shm::subscriber subscriber(arguments.at(0));
    publisher.publish("x", 1).value();
    const shm::sample held = subscriber.try_receive().value();
    std::cout << "there" << std::endl;
    std::string line;
    std::getline(std::cin, line);
}

// A participant in the topic that was killed.
static void die_in(const std::string& topic) {
    check::process user(check::this_executable, check::in_role("user", {topic}));
    CHECK_EQUAL(user.read_line(), "there");
    user.kill();
}

TEST(what_the_dead_left_is_seen_and_goes) {
    const shm::publisher publisher("used");
    die_in("used");
    die_in("/unused");
    std::filesystem::create_directory(path_of(".dead-0123456789abcdef"));
    std::filesystem::create_directory(path_of("a b"));
    const shm::audit_report before = shm::audit();
    CHECK_EQUAL(before.topics, 2U);
    CHECK_EQUAL(before.living, 1U);
    CHECK_EQUAL(before.dead, 4U);
    CHECK_EQUAL(before.abandoned, 1U);
    CHECK_EQUAL(before.foreign, 1U);
    CHECK(before.findings.empty());

    const shm::collected collected = shm::gc();
    CHECK_EQUAL(collected.removed, 1U);
    CHECK_EQUAL(collected.in_use, 1U);
    CHECK_EQUAL(collected.recovered, 2U);
    CHECK_EQUAL(collected.swept, 1U);
    CHECK_EQUAL(collected.refused, 0U);
    const shm::audit_report after = shm::audit();
    CHECK_EQUAL(after.topics, 1U);
    CHECK_EQUAL(after.living, 1U);
    CHECK_EQUAL(after.dead, 0U);
    CHECK(after.orphans > 0);
    CHECK_EQUAL(after.abandoned, 0U);
}

TEST(what_should_not_be_is_told_by_topic) {
    const shm::publisher one("one");
    const shm::publisher two("two");
    plant_strangers("one", 1);
    plant_strangers("two", 2);
    const shm::audit_report report = shm::audit();
    CHECK_EQUAL(report.findings.size(), 3U);
    CHECK_EQUAL(report.findings[0].name, "one");
    CHECK(report.findings[0].kind == shm::kind::topic);
    CHECK_EQUAL(report.findings[0].what, "the file stranger0 isn't the library's (layout)");
    CHECK_EQUAL(report.findings[2].name, "two");
    remove_strangers("one", 1);
    remove_strangers("two", 2);
}

TEST(topics_and_services_are_told_apart) {
    const shm::publisher topic("s");
    const shm::publisher other("rpc:s");
    const shm::server service("s");
    plant_strangers("s", 1);
    plant_strangers("+s", 1);
    plant_strangers("rpc%3As", 1);
    const shm::audit_report report = shm::audit();
    CHECK_EQUAL(report.topics, 2U);
    CHECK_EQUAL(report.services, 1U);
    CHECK_EQUAL(report.living, 3U);
    CHECK_EQUAL(report.findings.size(), 3U);
    for (const shm::finding& found : report.findings) {
        CHECK(found.name == "s" || (found.name == "rpc:s" && found.kind == shm::kind::topic));
    }
    const auto is_service = [](const shm::finding& found) { return found.kind == shm::kind::service; };
    CHECK_EQUAL(std::count_if(report.findings.begin(), report.findings.end(), is_service), 1);
    CHECK_EQUAL(shm::gc().in_use, 3U);
    remove_strangers("s", 1);
    remove_strangers("+s", 1);
    remove_strangers("rpc%3As", 1);
}

TEST(a_damaged_topic_is_left_alone) {
    die_in("damaged");
    std::filesystem::resize_file(path_of("damaged/peers"), 1);
    const shm::collected collected = shm::gc();
    CHECK_EQUAL(collected.refused, 1U);
    CHECK_EQUAL(collected.removed, 0U);
    CHECK_EQUAL(shm::audit().findings.at(0).name, "damaged");
}

TEST(another_root_may_be_a_groups) {
    shm::root_options options;
    options.root = path_of("group");
    CHECK_EQUAL(shm::audit(options).topics, 0U);
    shm::publisher_options there;
    there.root = options.root;
    there.group = ::getegid();
    const shm::publisher publisher("shared", there);
    CHECK_STATUS(not_trusted, shm::gc(options));
    CHECK_STATUS(not_trusted, shm::audit(options));
    options.group = ::getegid();
    CHECK_EQUAL(shm::gc(options).in_use, 1U);
    CHECK_EQUAL(shm::audit(options).living, 1U);
}

TEST(a_root_that_cannot_be_is_thrown) {
    shm::root_options options;
    options.root = "a\0b"s;
    CHECK_STATUS(invalid_option, shm::gc(options));
    CHECK_STATUS(invalid_option, shm::audit(options));
    options.root = path_of("group");
    options.group = UINT32_MAX;
    CHECK_STATUS(invalid_option, shm::gc(options));
    CHECK_STATUS(invalid_option, shm::audit(options));
    options.group.reset();
    options.root = "/proc/self/stat";
    try {
        shm::gc(options);
        CHECK(false);
    } catch (const std::system_error& e) {
        CHECK(e.code() == shm::status::not_trusted);
        CHECK_EQUAL(e.what(), std::string(shm_last_error_message()));
    }
}

TEST(or_is_an_error_code) {
    const shm::publisher publisher("topic");
    std::error_code ec = shm::status::internal;
    CHECK_EQUAL(shm::gc(ec).in_use, 1U);
    CHECK(ec == std::error_code());
    ec = shm::status::internal;
    CHECK_EQUAL(shm::audit(ec).living, 1U);
    CHECK(ec == std::error_code());
    shm::root_options options;
    options.root = "a\0b"s;
    CHECK_EQUAL(shm::gc(options, ec).in_use, 0U);
    CHECK(ec == shm::status::invalid_option);
    ec.clear();
    CHECK_EQUAL(shm::audit(options, ec).topics, 0U);
    CHECK(ec == shm::status::invalid_option);
}

TEST(no_memory_for_a_finding_is_said_in_cxx) {
    const shm::publisher publisher("topic");
    plant_strangers("topic", 3);
    long enough = 0;
    for (bool ended = false; !ended; ++enough) {
        shm::audit_report report;
        std::error_code ec;
        allocations_left = enough;
        const shm::audit_report quiet = shm::audit(ec);
        allocations_left = enough;
        try {
            report = shm::audit();
            ended = true;
        } catch (const std::bad_alloc&) {
        }
        allocations_left = unlimited;
        CHECK_EQUAL(report.findings.size(), ended ? 3U : 0U);
        CHECK_EQUAL(report.topics, ended ? 1U : 0U);
        CHECK_EQUAL(quiet.findings.size(), report.findings.size());
        CHECK(ended ? !ec : ec == std::errc::not_enough_memory);
    }
    CHECK(enough > 3);
    remove_strangers("topic", 3);
}
