// SPDX-License-Identifier: MIT OR Apache-2.0
#include <shm/publisher.hpp>
#include <shm/subscriber.hpp>

#include <chrono>
#include <cstdint>
#include <future>
#include <limits>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "check.hpp"

using namespace std::chrono_literals;
using namespace std::string_literals;

namespace {

void publish(shm::publisher& publisher, const std::string& text) {
    publisher.publish(text.data(), text.size()).value();
}

std::string text_of(const shm::sample& sample) {
    return {static_cast<const char*>(sample.data()), sample.size()};
}

shm::subscriber_options with_history(std::uint32_t messages) {
    shm::subscriber_options options;
    options.history = messages;
    return options;
}

}  // namespace

static_assert(std::is_nothrow_move_constructible_v<shm::subscriber>);
static_assert(std::is_nothrow_move_constructible_v<shm::sample>);
static_assert(!std::is_copy_constructible_v<shm::subscriber>);
static_assert(!std::is_copy_constructible_v<shm::sample>);
static_assert(noexcept(std::declval<shm::subscriber&>().try_receive()));
static_assert(noexcept(std::declval<shm::subscriber&>().receive_for(
    std::declval<std::chrono::milliseconds>())));

TEST(waiting_ends_with_a_message_or_in_time) {
    shm::publisher publisher("waiting");
    shm::subscriber subscriber("waiting");
    const auto start = std::chrono::steady_clock::now();
    const auto none = subscriber.receive_for(30ms);
    CHECK(none.status() == shm::status::timed_out);
    CHECK(!none.error());
    CHECK(std::chrono::steady_clock::now() - start >= 30ms);
    CHECK(subscriber.receive_for(0s).status() == shm::status::timed_out);
    CHECK(subscriber.receive_for(-1h).status() == shm::status::timed_out);
    const auto later = std::async(std::launch::async, [&] { publish(publisher, "now"); });
    CHECK_EQUAL(text_of(subscriber.receive().value()), "now");
}

TEST(the_longest_times_are_long) {
    CHECK_EQUAL(shm::detail::nanoseconds(1500us), 1'500'000U);
    CHECK_EQUAL(shm::detail::nanoseconds(std::chrono::duration<double>(0.5)), 500'000'000U);
    CHECK_EQUAL(shm::detail::nanoseconds(std::chrono::nanoseconds::min()), 0U);
    const auto longest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    CHECK_EQUAL(shm::detail::nanoseconds(std::chrono::hours::max()), longest);
    CHECK_EQUAL(shm::detail::nanoseconds(std::chrono::duration<double>(1e300)), longest);
    shm::publisher publisher("long");
    shm::subscriber subscriber("long");
    const auto later = std::async(std::launch::async, [&] { publish(publisher, "now"); });
    CHECK_EQUAL(text_of(subscriber.receive_for(std::chrono::hours::max()).value()), "now");
}

TEST(samples_are_kept_past_their_subscriber) {
    shm::publisher publisher("kept");
    auto subscriber = std::make_unique<shm::subscriber>("kept");
    publish(publisher, "first");
    std::vector<shm::sample> kept;
    kept.push_back(subscriber->try_receive().value());
    for (int i = 0; i < 500; ++i) publish(publisher, "another");
    subscriber.reset();
    for (int i = 0; i < 500; ++i) publish(publisher, "another");
    CHECK_EQUAL(text_of(kept[0]), "first");
    auto elsewhere = std::async(std::launch::async, [sample = std::move(kept[0])]() mutable {
        std::string text = text_of(sample);
        sample.release();
        return text;
    });
    CHECK_EQUAL(elsewhere.get(), "first");
    CHECK(!kept[0]);
    CHECK(kept[0].data() == nullptr);
}

TEST(a_subscriber_holds_so_many_samples) {
    shm::subscriber_options options;
    options.holds = 2;
    shm::subscriber subscriber("holds", options);
    shm::publisher publisher("holds");
    for (int i = 0; i < 3; ++i) publish(publisher, std::to_string(i));
    shm::sample first = subscriber.try_receive().value();
    const shm::sample second = subscriber.try_receive().value();
    const auto refused = subscriber.try_receive();
    CHECK(refused.error() == shm::status::no_hold);
    first.release();
    CHECK(!first);
    CHECK_EQUAL(text_of(subscriber.try_receive().value()), "2");
}

TEST(what_a_slow_subscriber_misses_is_counted) {
    shm::publisher_options options;
    options.capacity = 4;
    shm::publisher publisher("slow", options);
    shm::subscriber subscriber("slow");
    for (int i = 0; i < 10; ++i) publish(publisher, std::to_string(i));
    std::uint64_t received = 0;
    std::string last;
    while (const auto sample = subscriber.try_receive()) {
        ++received;
        last = text_of(*sample);
    }
    CHECK(received >= 1 && received <= 4);
    CHECK_EQUAL(received + subscriber.lost(), 10U);
    CHECK_EQUAL(last, "9");
}

TEST(history_is_received_as_asked_for) {
    shm::publisher publisher("history");
    for (int i = 0; i < 5; ++i) publish(publisher, std::to_string(i));
    shm::subscriber none("history");
    shm::subscriber two("history", with_history(2));
    shm::subscriber all("history", with_history(shm::history_all));
    CHECK(none.try_receive().status() == shm::status::would_block);
    CHECK_EQUAL(text_of(two.try_receive().value()), "3");
    CHECK_EQUAL(text_of(all.try_receive().value()), "0");
    CHECK_EQUAL(all.lost(), 0U);
}

TEST(subscribers_share_positions) {
    shm::publisher publisher("positions");
    shm::subscriber one("positions");
    shm::subscriber other("positions");
    for (int i = 0; i < 3; ++i) {
        const std::uint64_t position = publisher.publish("x", 1).value();
        CHECK_EQUAL(one.try_receive().value().position(), position);
        CHECK_EQUAL(other.try_receive().value().position(), position);
    }
}

TEST(timestamps_come_when_asked_for) {
    shm::publisher without("times");
    shm::publisher_options options;
    options.timestamps = true;
    shm::publisher with("times", options);
    shm::subscriber subscriber("times");
    publish(without, "x");
    publish(with, "x");
    CHECK(!subscriber.try_receive().value().timestamp());
    const auto published = subscriber.try_receive().value().timestamp();
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const std::chrono::nanoseconds age = now - std::chrono::nanoseconds(published.value());
    CHECK(age >= 0s && age < 10s);
}

TEST(what_a_subscriber_cannot_be_made_of_is_thrown) {
    CHECK_STATUS(invalid_name, shm::subscriber(""));
    CHECK_STATUS(invalid_name, shm::subscriber("a\0b"s));
    shm::subscriber_options options;
    options.capacity = 3;
    CHECK_STATUS(invalid_option, shm::subscriber("topic", options));
    std::error_code ec;
    const shm::subscriber there("topic", ec);
    CHECK(!ec && there);
    CHECK(ec == shm::status::ok && ec == std::error_code());
    options.capacity = 1024;
    shm::subscriber refused("topic", options, ec);
    CHECK(ec == shm::status::mismatch);
    CHECK(!refused && refused.get() == nullptr);
    CHECK(refused.try_receive().status() == shm::status::null_argument);
    CHECK(refused.receive().status() == shm::status::null_argument);
    CHECK(refused.receive_for(1h).status() == shm::status::null_argument);
    CHECK_STATUS(null_argument, refused.lost());
    CHECK_STATUS(null_argument, refused.info());
}
