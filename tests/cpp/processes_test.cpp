// SPDX-License-Identifier: MIT OR Apache-2.0
#include <shm/shm.hpp>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "check.hpp"
#include "messages.hpp"
#include "process.hpp"

using namespace std::chrono_literals;

namespace {

constexpr std::uint32_t capacity = 4096;
constexpr int messages_each = 1000;
constexpr int publishers = 2;

void say(const std::string& line) {
    std::cout << line << std::endl;  // flushed: someone waits for it
}

void await_line() {
    std::string line;
    CHECK(std::getline(std::cin, line));
}

std::unique_ptr<check::process> start(const std::string& role, std::vector<std::string> arguments) {
    return std::make_unique<check::process>(check::this_executable,
                                            check::in_role(role, std::move(arguments)));
}

}  // namespace

// Publishes messages that carry its number, when told to.
ROLE(publish) {
    shm::pubsub::Publisher<Outer, capacity> publisher("processes");
    say("ready");
    await_line();
    Outer message;
    message.val = std::stoi(arguments.at(0));
    for (int i = 0; i < messages_each; ++i) {
        message.seq = static_cast<std::uint32_t>(i);
        message.values.assign(static_cast<std::size_t>(i % 50), i);
        message.inner.inner_str = std::to_string(i);
        CHECK(publisher.publish(message));
    }
    say("published");
    await_line();
}

// Receives all of them, each publisher's in its order, and says where the last one was.
ROLE(receive) {
    std::vector<std::uint32_t> next(publishers, 0);
    shm::pubsub::Subscriber<Outer, capacity> subscriber(
        "processes", [&](const std::shared_ptr<Outer>& message) {
            const auto i = static_cast<int>(message->seq);
            CHECK_EQUAL(message->seq, next.at(static_cast<std::size_t>(message->val))++);
            CHECK(message->values == std::vector<int>(static_cast<std::size_t>(i % 50), i));
            CHECK_EQUAL(message->inner.inner_str, std::to_string(i));
        });
    say("ready");
    for (int i = 0; i < publishers * messages_each; ++i) CHECK(subscriber.spin_once(20s));
    CHECK(!subscriber.spin_once());
    CHECK_EQUAL(subscriber.lost(), 0U);
    say(std::to_string(subscriber.position()));
}

TEST(all_subscribers_get_all_messages_of_all_publishers) {
    std::vector<std::unique_ptr<check::process>> senders, receivers;
    for (int i = 0; i < 2; ++i) receivers.push_back(start("receive", {}));
    for (int i = 0; i < publishers; ++i) senders.push_back(start("publish", {std::to_string(i)}));
    for (const auto& one : receivers) CHECK_EQUAL(one->read_line(), "ready");
    for (const auto& one : senders) CHECK_EQUAL(one->read_line(), "ready");
    for (const auto& one : senders) one->write_line("go");
    const std::string last = receivers[0]->read_line();
    CHECK_EQUAL(receivers[1]->read_line(), last);
    for (const auto& one : receivers) one->finish();
    for (const auto& one : senders) {
        CHECK_EQUAL(one->read_line(), "published");
        one->write_line("leave");
        one->finish();
    }
}

// Publishes its argument and ends.
ROLE(publish_and_leave) {
    shm::publisher publisher("left");
    publisher.publish(arguments.at(0).data(), arguments.at(0).size()).value();
}

TEST(what_a_process_published_stays_when_it_is_gone) {
    shm::subscriber subscriber("left");
    start("publish_and_leave", {"a legacy"})->finish();
    const shm::sample sample = subscriber.receive_for(20s).value();
    const std::string text(static_cast<const char*>(sample.data()), sample.size());
    CHECK_EQUAL(text, "a legacy");
}
