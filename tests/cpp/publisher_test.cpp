// SPDX-License-Identifier: MIT OR Apache-2.0
#include <shm/publisher.hpp>
#include <shm/subscriber.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "check.hpp"
#include "messages.hpp"

using namespace std::chrono_literals;
using namespace std::string_literals;

namespace {

struct Pose {
    std::uint64_t id;
    double x, y, z;
};

std::string text_of(const shm::sample& sample) {
    return {static_cast<const char*>(sample.data()), sample.size()};
}

shm::publisher_options with_memory(std::uint64_t bytes) {
    shm::publisher_options options;
    options.memory = bytes;
    return options;
}

shm::subscriber_options reliably(std::uint32_t capacity) {
    shm::subscriber_options options;
    options.capacity = capacity;
    options.reliable = true;
    return options;
}

}  // namespace

static_assert(std::is_nothrow_move_constructible_v<shm::publisher>);
static_assert(std::is_nothrow_move_assignable_v<shm::loan>);
static_assert(!std::is_copy_constructible_v<shm::publisher>);
static_assert(!std::is_copy_constructible_v<shm::loan>);
static_assert(noexcept(std::declval<shm::publisher&>().publish(nullptr, 0)));
static_assert(noexcept(std::declval<shm::publisher&>().loan(0)));
static_assert(noexcept(std::declval<shm::publisher&>().publish_message(Outer())));
static_assert(noexcept(std::declval<shm::publisher&>().try_publish(nullptr, 0)));
static_assert(noexcept(std::declval<shm::loan&>().publish()));
static_assert(noexcept(std::declval<shm::loan&>().try_publish()));
static_assert(noexcept(std::declval<shm::loan&>().publish_for(
    std::declval<std::chrono::milliseconds>())));

TEST(copies_are_published_in_order) {
    shm::publisher publisher("bytes");
    shm::subscriber subscriber("bytes");
    const std::uint64_t first = publisher.publish("one", 3).value();
    CHECK_EQUAL(publisher.publish("two", 3).value(), first + 1);
    CHECK_EQUAL(publisher.publish(nullptr, 0).value(), first + 2);
    for (const auto* text : {"one", "two", ""}) {
        CHECK_EQUAL(text_of(subscriber.try_receive().value()), text);
    }
    CHECK(subscriber.try_receive().status() == shm::status::would_block);
}

TEST(loans_are_written_in_place) {
    shm::publisher publisher("loans");
    shm::subscriber subscriber("loans");
    shm::loan loan = publisher.loan(5).value();
    CHECK_EQUAL(loan.size(), 5U);
    CHECK(loan.capacity() >= 5);
    CHECK_EQUAL(reinterpret_cast<std::uintptr_t>(loan.data()) % 64, 0U);
    std::memcpy(loan.data(), "hello", 5);
    shm::loan moved = std::move(loan);
    CHECK(moved && !loan);
    CHECK(moved.publish());
    CHECK(!moved);
    CHECK(moved.data() == nullptr);
    CHECK(moved.publish().status() == shm::status::null_argument);
    CHECK_EQUAL(text_of(subscriber.try_receive().value()), "hello");
}

TEST(a_dropped_loan_is_not_published) {
    shm::publisher publisher("loans");
    shm::subscriber subscriber("loans");
    { const shm::loan dropped = publisher.loan(5).value(); }
    CHECK(subscriber.try_receive().status() == shm::status::would_block);
}

TEST(a_loan_keeps_its_content_when_resized) {
    shm::publisher publisher("loans");
    shm::subscriber subscriber("loans");
    shm::loan loan = publisher.loan(10).value();
    std::memcpy(loan.data(), "0123456789", 10);
    CHECK(loan.resize(1'000'000) == shm::status::ok);
    CHECK_EQUAL(loan.size(), 1'000'000U);
    CHECK_EQUAL(std::memcmp(loan.data(), "0123456789", 10), 0);
    const void* place = loan.data();
    CHECK(loan.resize(4) == shm::status::ok);
    CHECK(loan.data() == place);
    loan.publish().value();
    CHECK_EQUAL(text_of(subscriber.try_receive().value()), "0123");
}

TEST(a_loan_outlives_its_publisher_but_is_not_published) {
    shm::loan loan = shm::publisher("loans").loan(100).value();
    std::memset(loan.data(), 1, loan.size());
    CHECK(loan.publish().status() == shm::status::closed);
    CHECK(!loan);
}

TEST(plain_data_is_written_and_read_in_place) {
    shm::publisher publisher("plain");
    shm::subscriber subscriber("plain");
    auto loan = publisher.loan_as<Pose>().value();
    loan->id = 1;
    (*loan).x = 0.5;
    loan->y = 1.5;
    loan->z = 2.5;
    loan.publish().value();
    publisher.publish_plain(Pose{2, 3, 4, 5}).value();
    const shm::sample first = subscriber.try_receive().value();
    CHECK(first.as<Pose>() == first.data());
    CHECK_EQUAL(first.as<Pose>()->z, 2.5);
    CHECK_EQUAL(subscriber.try_receive().value().as<Pose>()->id, 2U);
    CHECK(first.as<float>() == nullptr);
    CHECK(first.as<char[33]>() == nullptr);
}

TEST(a_plain_loan_lets_go_of_what_it_published) {
    shm::publisher publisher("plain");
    auto loan = publisher.loan_as<Pose>().value();
    CHECK(loan && loan.operator->() != nullptr);
    auto moved = std::move(loan);
    CHECK(!loan && loan.operator->() == nullptr);
    CHECK(moved && moved.operator->() != nullptr);
    loan = std::move(moved);
    CHECK(!moved && moved.operator->() == nullptr);
    loan.publish().value();
    CHECK(!loan && loan.operator->() == nullptr);
    CHECK(loan.publish().status() == shm::status::null_argument);
}

TEST(what_waits_for_a_reliable_subscriber_is_kept) {
    shm::subscriber subscriber("full", reliably(2));
    shm::publisher publisher("full");
    const std::uint64_t first = publisher.try_publish("one", 3).value();
    publisher.publish("two", 3).value();
    const auto refused = publisher.try_publish("no", 2);
    CHECK(refused.status() == shm::status::would_block && !refused.error());

    shm::loan loan = publisher.loan(5).value();
    std::memcpy(loan.data(), "three", 5);
    const void* place = loan.data();
    CHECK(loan.try_publish().status() == shm::status::would_block);
    const auto start = std::chrono::steady_clock::now();
    CHECK(loan.publish_for(3ms).status() == shm::status::timed_out);
    CHECK(std::chrono::steady_clock::now() - start >= 3ms);
    CHECK(loan.publish_for(-1h).status() == shm::status::timed_out);
    CHECK(loan && loan.data() == place && loan.size() == 5);

    CHECK_EQUAL(text_of(subscriber.try_receive().value()), "one");
    CHECK_EQUAL(loan.try_publish().value(), first + 2);
    CHECK(!loan && loan.data() == nullptr);
    CHECK(loan.try_publish().status() == shm::status::null_argument);
    CHECK(loan.publish_for(1ms).status() == shm::status::null_argument);

    auto plain = publisher.loan_as<Pose>().value();
    plain->id = 4;
    CHECK(plain.try_publish().status() == shm::status::would_block);
    CHECK(plain.publish_for(1ms).status() == shm::status::timed_out);
    CHECK(plain && plain->id == 4);
    CHECK_EQUAL(text_of(subscriber.try_receive().value()), "two");
    CHECK_EQUAL(plain.publish_for(1h).value(), first + 3);
    CHECK(!plain && plain.operator->() == nullptr);
    CHECK_EQUAL(text_of(subscriber.try_receive().value()), "three");
    plain = publisher.loan_as<Pose>().value();
    CHECK_EQUAL(plain.try_publish().value(), first + 4);
    CHECK(!plain);
    CHECK_EQUAL(subscriber.lost(), 0U);
}

TEST(a_loan_that_fails_to_publish_is_empty_whichever_way) {
    shm::loan tried = shm::publisher("loans").loan(100).value();
    CHECK(tried.try_publish().status() == shm::status::closed);
    CHECK(!tried);
    shm::loan waited = shm::publisher("loans").loan(100).value();
    CHECK(waited.publish_for(1ms).status() == shm::status::closed);
    CHECK(!waited);
}

TEST(a_message_grows_its_loan) {
    shm::publisher publisher("growing");
    shm::subscriber subscriber("growing");
    Outer message;
    for (const std::size_t size : {0U, 300U, 70'000U, 5'000'000U, 3U, 1'000'000U}) {
        message.name = std::string(size, 'n');
        message.values.assign(size / 5, 1 << 20);
        publisher.publish_message(message).value();
        const auto read = subscriber.try_receive().value().message<Outer>();
        CHECK(read.name == message.name);
        CHECK(read.values == message.values);
    }
}

TEST(a_message_is_no_longer_than_its_bytes) {
    shm::publisher publisher("length");
    shm::subscriber subscriber("length");
    for (const std::size_t size : {100'000U, 1U, 250U, 260U}) {
        Inner message;
        message.inner_str = std::string(size, 's');
        publisher.publish_message(message).value();
        const std::size_t header = size < 32 ? 1 : size < 256 ? 2 : size < 65'536 ? 3 : 5;
        CHECK_EQUAL(subscriber.try_receive().value().size(), 4 + header + size);
    }
}

TEST(a_full_publisher_says_so_and_goes_on) {
    shm::publisher publisher("full", with_memory(4 << 20));
    shm::subscriber subscriber("full");
    Outer message;
    message.values.assign(3'000'000, 1 << 20);
    CHECK(publisher.publish_message(message).status() == shm::status::out_of_memory);
    message.values.assign(1, 1);
    message.name = std::string(30'000'000, 'n');
    const auto refused = publisher.publish_message(message);
    CHECK(refused.error() == std::errc::not_enough_memory);
    CHECK(refused.error() == shm::status::out_of_memory);
    CHECK(publisher.loan(30'000'000).status() == shm::status::out_of_memory);
    CHECK(subscriber.try_receive().status() == shm::status::would_block);
    message.name = "fits";
    CHECK(publisher.publish_message(message));
    CHECK_EQUAL(subscriber.try_receive().value().message<Outer>().name, "fits");
}

TEST(a_large_last_message_does_not_keep_a_small_one_out) {
    shm::publisher publisher("guess", with_memory(4 << 20));
    shm::subscriber subscriber("guess");
    Inner message;
    message.inner_str = std::string(1'500'000, 's');
    publisher.publish_message(message).value();
    std::vector<shm::sample> held;
    held.push_back(subscriber.try_receive().value());
    std::vector<shm::loan> loans;
    while (auto loan = publisher.loan(1'000'000)) loans.push_back(std::move(*loan));
    message.inner_str = "small";
    CHECK(publisher.publish_message(message));
}

class Throwing : public shm::BaseMsg {
public:
    template <typename Packer>
    void msgpack_pack(Packer& packer) const {
        packer.pack_array(1);
        throw std::bad_alloc();
    }
};

TEST(a_message_that_does_not_pack_is_not_published) {
    shm::publisher publisher("throwing");
    shm::subscriber subscriber("throwing");
    CHECK(publisher.publish_message(Throwing()).status() == shm::status::encode);
    CHECK(subscriber.try_receive().status() == shm::status::would_block);
}

TEST(what_a_publisher_cannot_be_made_of_is_thrown) {
    CHECK_STATUS(invalid_name, shm::publisher(""));
    CHECK_STATUS(invalid_name, shm::publisher("a\0b"s));
    shm::publisher_options options;
    options.capacity = 3;
    CHECK_STATUS(invalid_option, shm::publisher("topic", options));
    options = {};
    options.root = "a\0b"s;
    CHECK_STATUS(invalid_option, shm::publisher("topic", options));
    try {
        const shm::publisher refused("");
        CHECK(false);
    } catch (const std::system_error& e) {
        CHECK(e.code() == shm::status::invalid_name);
        CHECK(e.code() == std::errc::invalid_argument);
        CHECK_EQUAL(e.code().value(), SHM_ERR_INVALID_NAME);
        CHECK_EQUAL(e.code().message(), shm_status_string(SHM_ERR_INVALID_NAME));
        CHECK_EQUAL(e.code().category().name(), "shm"s);
        CHECK_EQUAL(e.what(), std::string(shm_last_error_message()));
        CHECK(e.what() != ""s);
    }
}

TEST(or_is_an_error_code) {
    std::error_code ec = shm::status::internal;
    shm::publisher made("topic", ec);
    CHECK(!ec && made);
    CHECK(ec == shm::status::ok && ec == std::error_code());
    shm::publisher refused("a\0b"s, ec);
    CHECK(ec == shm::status::invalid_name);
    CHECK(!refused);
    CHECK(refused.publish("x", 1).status() == shm::status::null_argument);
    CHECK(refused.loan(1).status() == shm::status::null_argument);
    CHECK(refused.loan_as<Pose>().status() == shm::status::null_argument);
    CHECK(refused.publish_message(Outer()).status() == shm::status::null_argument);
    CHECK_STATUS(null_argument, refused.publish("x", 1).value());
    CHECK_STATUS(null_argument, refused.info());
    CHECK(refused.get() == nullptr);
}

TEST(a_topic_is_shared_with_a_group) {
    const std::string root = std::string(std::getenv("SHM_ROOT")) + "/group";
    shm::publisher_options options;
    options.root = root;
    options.group = ::getegid();
    shm::subscriber_options theirs;
    theirs.root = root;
    theirs.group = ::getegid();
    theirs.mode = 0660;
    {
        const shm::publisher publisher("shared", options);
        const shm::subscriber subscriber("shared", theirs);
        struct ::stat status {};
        CHECK_EQUAL(::stat((root + "/shared/peers").c_str(), &status), 0);
        CHECK_EQUAL(status.st_mode & 07777U, 0660U);
        CHECK_EQUAL(status.st_gid, ::getegid());
        theirs.group.reset();
        CHECK_STATUS(invalid_option, shm::subscriber("shared", theirs));
        theirs.mode = 0;
        CHECK_STATUS(not_trusted, shm::subscriber("shared", theirs));
        options.mode = 0640;
        CHECK_STATUS(invalid_option, shm::publisher("shared", options));
        const shm::publisher own("own");
        options.root.clear();
        options.group.reset();
        CHECK_STATUS(mismatch, shm::publisher("own", options));
        options.mode = 0666;
        CHECK_STATUS(invalid_option, shm::publisher("shared", options));
    }
    CHECK_EQUAL(::rmdir(root.c_str()), 0);
}

TEST(options_reach_the_topic) {
    shm::publisher_options options;
    options.capacity = 16;
    options.participants = 5;
    options.holds = 3;
    const shm::publisher publisher("options", options);
    const shm::subscriber subscriber("options");
    CHECK_EQUAL(publisher.info().capacity, 16U);
    CHECK_EQUAL(publisher.info().participants, 5U);
    CHECK_EQUAL(publisher.info().holds, 3U);
    CHECK_EQUAL(subscriber.info().capacity, 16U);
    CHECK_EQUAL(subscriber.info().instance, publisher.info().instance);
    CHECK(publisher.info().instance != shm::publisher("other").info().instance);
}

TEST(a_result_holds_a_value_or_says_why_not) {
    shm::result<int> some = 3;
    CHECK(some && some.has_value() && *some == 3 && some.value() == 3);
    CHECK(some.status() == shm::status::ok && !some.error());
    CHECK(some.error() == shm::status::ok && some.error() == std::error_code());
    const shm::result<int> outcome = shm::status::timed_out;
    CHECK(!outcome && outcome.status() == shm::status::timed_out && !outcome.error());
    CHECK_STATUS(timed_out, outcome.value());
    CHECK(std::error_code(shm::status::timed_out) == std::errc::timed_out);
    const shm::result<int> failed = shm::status::no_space;
    CHECK(failed.error() == std::errc::no_space_on_device);
    CHECK(failed.error() != shm::status::ok);
}
