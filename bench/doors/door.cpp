// SPDX-License-Identifier: MIT OR Apache-2.0
// The C++ door, as a C++ program uses it. See door.c for the language that it speaks with the bench.

#include <shm/publisher.hpp>
#include <shm/subscriber.hpp>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>

namespace {

constexpr std::size_t size = 64;
constexpr std::uint32_t capacity = 1024;

struct ends {
    shm::publisher publisher;
    shm::subscriber subscriber;
    unsigned char payload[size];
};

void loan(ends& e, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        auto next = e.publisher.loan(size);
        if (!next) throw shm::error(next.status());
        std::memcpy(next->data(), e.payload, sizeof(std::uint64_t));
        if (auto published = next->publish(); !published) throw shm::error(published.status());
    }
}

void publish(ends& e, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        if (auto published = e.publisher.publish(e.payload, size); !published)
            throw shm::error(published.status());
    }
}

void receive(ends& e, unsigned count) {
    std::uint64_t sum = 0;
    std::uint64_t word = 0;
    for (unsigned i = 0; i < count; i++) {
        auto sample = e.subscriber.try_receive();
        if (!sample) throw shm::error(sample.status());
        std::memcpy(&word, sample->data(), sizeof word);
        sum += word;
    }
    std::memcpy(&word, e.payload, sizeof word);
    if (sum != word * count) throw std::runtime_error("received something else than was published");
}

double timed(void (*operation)(ends&, unsigned), ends& e, unsigned count) {
    const auto start = std::chrono::steady_clock::now();
    operation(e, count);
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
    return took.count() / count;
}

void obey(ends& e, const std::string& operation, unsigned batches, unsigned count) {
    for (unsigned batch = 0; batch < batches; batch++) {
        const double produced = timed(operation == "publish" ? publish : loan, e, count);
        const double received = timed(receive, e, count);
        std::printf("%c%.3f", batch == 0 ? '[' : ',', operation == "receive" ? received : produced);
    }
    std::puts("]");
    std::fflush(stdout);
}

void serve(const std::string& topic) {
    shm::publisher_options publishes;
    shm::subscriber_options subscribes;
    publishes.capacity = subscribes.capacity = capacity;
    ends e{shm::publisher(topic, publishes), shm::subscriber(topic, subscribes), {}};
    std::memset(e.payload, 1, size);
    std::puts("\"Ready\"");
    std::fflush(stdout);

    char line[128];
    char operation[16];
    unsigned batches = 0;
    unsigned count = 0;
    while (std::fgets(line, sizeof line, stdin) != nullptr) {
        if (std::sscanf(line, "[\"%15[a-z]\",%u,%u]", operation, &batches, &count) != 3 || count > capacity)
            throw std::runtime_error("not an order: " + std::string(line));
        obey(e, operation, batches, count);
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: door TOPIC\n");
        return 2;
    }
    try {
        serve(argv[1]);
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "door.cpp: %s\n", failure.what());
        return 1;
    }
}
