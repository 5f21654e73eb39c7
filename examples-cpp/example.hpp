// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <shm/publisher.hpp>
#include <shm/subscriber.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <string_view>

// What the examples share: their arguments, and how a publisher and its subscriber wait for each
// other. The subscriber says "ready" and "done" on the topic "<topic>.ack". Its publisher asks that
// topic for its history, so that it makes no difference which of them is started first.
namespace example {

constexpr std::chrono::seconds patience{10};

struct arguments {
    std::string topic;
    unsigned long count = 10;

    arguments(int argc, char** argv, const char* default_topic)
        : topic(argc > 1 ? argv[1] : default_topic) {
        if (argc > 2) count = std::stoul(argv[2]);
        if (argc > 3) throw std::invalid_argument("usage: [topic] [count]");
    }
};

inline std::string_view text_of(const shm::sample& sample) {
    return {static_cast<const char*>(sample.data()), sample.size()};
}

// The publisher's end of the topic of acknowledgements.
class acks {
public:
    explicit acks(const std::string& topic) : subscriber_(topic + ".ack", with_history()) {}

    void wait_for(std::string_view word) {
        while (text_of(subscriber_.receive_for(patience).value()) != word) {
        }
    }

private:
    static shm::subscriber_options with_history() {
        shm::subscriber_options options;
        options.history = shm::history_all;
        return options;
    }

    shm::subscriber subscriber_;
};

// The subscriber's end of it.
class acknowledger {
public:
    explicit acknowledger(const std::string& topic) : publisher_(topic + ".ack") {}

    void say(std::string_view word) { publisher_.publish(word.data(), word.size()).value(); }

private:
    shm::publisher publisher_;
};

}  // namespace example
