// SPDX-License-Identifier: MIT OR Apache-2.0
#include <shm/publisher.hpp>
#include <shm/subscriber.hpp>

#include <sys/resource.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "check.hpp"
#include "messages.hpp"
#include "process.hpp"

using namespace std::string_literals;

namespace {

// Bytes and messages of one topic, so that what one wrapper writes the other reads.
struct wire {
    shm::publisher publisher{"wire"};
    shm::subscriber subscriber{"wire"};

    template <typename Msg>
    std::string bytes_of(const Msg& message) {
        publisher.publish_message(message).value();
        const shm::sample sample = subscriber.try_receive().value();
        return {static_cast<const char*>(sample.data()), sample.size()};
    }

    template <typename Msg>
    Msg read(const std::string& bytes) {
        publisher.publish(bytes.data(), bytes.size()).value();
        return subscriber.try_receive().value().template message<Msg>();
    }
};

Outer outer() {
    Outer message;
    message.seq = 1;
    message.timestamp = 2;
    message.val = -3;
    message.values = {1, 300};
    message.name = "ab";
    message.inner.seq = 5;
    message.inner.timestamp = 6;
    message.inner.inner_val = 7;
    message.inner.inner_str = "x";
    return message;
}

const std::string outer_bytes =
    "\x96\x01\x02\xfd\x92\x01\xcd\x01\x2c\xa2"
    "ab\x94\x05\x06\x07\xa1x"s;

std::string repeat(const std::string& text, std::size_t times) {
    std::string all;
    for (std::size_t i = 0; i < times; ++i) all += text;
    return all;
}

Everything everything() {
    Everything message;
    message.seq = std::numeric_limits<std::uint32_t>::max();
    message.timestamp = std::numeric_limits<std::uint64_t>::max();
    message.flag = true;
    message.small = -128;
    message.big = std::numeric_limits<std::uint64_t>::max();
    message.single = 1.5F;
    message.real = -0.1;
    message.bytes = {0, 255};
    message.triple = {1, 2, 3};
    message.counts = {{"a", 1}, {"b", -1}};
    message.inners.resize(2);
    message.inners[1].inner_str = "second";
    message.groups[4].resize(1);
    message.groups[4][0].inner_val = 44;
    message.extension = msgpack::type::ext(5, "\x2a", 1);
    return message;
}

// A byte on the wire, a MiB in memory.
class Roomy : public shm::BaseMsg {
public:
    std::array<char, 1 << 20> room{};
    SHM_PACK()
};
class Hall : public shm::BaseMsg {
public:
    std::vector<Roomy> rooms;
    SHM_PACK(rooms)
};

// Fails to be read as a field that wants too much does.
template <typename Exception>
struct Greedy {
    void msgpack_unpack(const msgpack::object&) { throw Exception(); }
    template <typename Packer>
    void msgpack_pack(Packer& packer) const {
        packer.pack_nil();
    }
};
struct too_long : std::length_error {
    too_long() : std::length_error("too long") {}
};
template <typename Exception>
class Needy : public shm::BaseMsg {
public:
    Greedy<Exception> field;
    SHM_PACK(field)
};

template <typename... Fields>
constexpr bool all_borrow = (shm::detail::borrows<Fields>::value && ...);
template <typename... Fields>
constexpr bool some_borrow = (shm::detail::borrows<Fields>::value || ...);

static_assert(all_borrow<std::string_view, const std::wstring_view, const char*, msgpack::object,
                         msgpack::object_kv, msgpack::type::raw_ref, msgpack::type::v4raw_ref,
                         msgpack::type::ext_ref>);
static_assert(all_borrow<std::vector<std::string_view>, std::optional<msgpack::object>,
                         std::map<std::string, std::string_view>, std::array<const char*, 2>,
                         std::map<std::string_view, int>, std::string_view[2],
                         std::tuple<int, std::vector<std::pair<int, msgpack::type::raw_ref>>>>);
static_assert(!some_borrow<int, char[2], std::string, std::vector<std::uint8_t>, std::vector<Inner>,
                           std::map<int, std::vector<Tree>>, std::unique_ptr<int>,
                           std::shared_ptr<std::string>, std::optional<std::array<Inner, 2>>,
                           msgpack::type::ext, Everything>);

}  // namespace

TEST(messages_are_arrays_of_seq_timestamp_and_fields) {
    wire wire;
    CHECK(wire.bytes_of(outer()) == outer_bytes);
    CHECK(wire.bytes_of(Empty()) == "\x92\x00\x00"s);
}

TEST(every_field_has_msgpacks_shortest_form) {
    wire wire;
    const std::string expected =
        "\x9e\xce\xff\xff\xff\xff\xcf\xff\xff\xff\xff\xff\xff\xff\xff"
        "\xc3\xd0\x80\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xca\x3f\xc0\x00\x00"
        "\xcb\xbf\xb9\x99\x99\x99\x99\x99\x9a\xc4\x02\x00\xff\x93\x01\x02\x03"
        "\x82\xa1"
        "a\x01\xa1"
        "b\xff"
        "\x92\x94\x00\x00\x00\xa0\x94\x00\x00\x00\xa6second"
        "\x81\x04\x91\x94\x00\x00\x2c\xa0\xc0\xd4\x05\x2a"s;
    CHECK(wire.bytes_of(everything()) == expected);
}

TEST(messages_come_back_as_they_were) {
    wire wire;
    const auto read = wire.read<Everything>(wire.bytes_of(everything()));
    CHECK_EQUAL(read.seq, std::numeric_limits<std::uint32_t>::max());
    CHECK_EQUAL(read.timestamp, std::numeric_limits<std::uint64_t>::max());
    CHECK(read.flag);
    CHECK_EQUAL(int{read.small}, -128);
    CHECK_EQUAL(read.big, std::numeric_limits<std::uint64_t>::max());
    CHECK_EQUAL(read.single, 1.5F);
    CHECK_EQUAL(read.real, -0.1);
    CHECK(read.bytes == everything().bytes);
    CHECK(read.triple == everything().triple);
    CHECK(read.counts == everything().counts);
    CHECK_EQUAL(read.inners.at(1).inner_str, "second");
    CHECK_EQUAL(read.groups.at(4).at(0).inner_val, 44);
    CHECK(!read.maybe);
    CHECK(read.extension == everything().extension);
    CHECK(wire.bytes_of(read) == wire.bytes_of(everything()));
}

TEST(msgpack_objects_are_made_of_messages) {
    wire wire;
    msgpack::zone zone;
    const msgpack::object object(outer(), zone);
    CHECK(wire.bytes_of(object) == outer_bytes);
}

TEST(messages_may_grow_at_the_end) {
    wire wire;
    Inner inner;
    inner.inner_val = 3;
    inner.inner_str = "s";
    const auto later = wire.read<Later>(wire.bytes_of(inner));
    CHECK_EQUAL(later.inner_val, 3);
    CHECK_EQUAL(later.inner_str, "s");
    CHECK_EQUAL(later.added, 7);
    CHECK_EQUAL(wire.read<Earlier>(wire.bytes_of(inner)).inner_val, 3);
    CHECK_EQUAL(wire.read<Earlier>("\x90"s).seq, 0U);
}

TEST(init_time_reads_the_clock_asked_for) {
    const auto now = [](auto clock) {
        const auto since = decltype(clock)::now().time_since_epoch();
        return static_cast<std::uint64_t>(
            std::chrono::duration_cast<std::chrono::nanoseconds>(since).count());
    };
    Empty message;
    const std::uint64_t before_system = now(std::chrono::system_clock());
    message.init_time();
    CHECK(message.timestamp >= before_system);
    message.timestamp = 0;
    message.init_time(shm::SYSTEM);
    CHECK(message.timestamp >= before_system);
    CHECK(message.timestamp <= now(std::chrono::system_clock()));
    const std::uint64_t before_steady = now(std::chrono::steady_clock());
    message.init_time(shm::STEADY);
    CHECK(message.timestamp >= before_steady);
    CHECK(message.timestamp <= now(std::chrono::steady_clock()));
}

TEST(no_part_of_a_message_is_a_message) {
    wire wire;
    for (std::size_t size = 0; size < outer_bytes.size(); ++size) {
        CHECK_STATUS(decode, wire.read<Outer>(outer_bytes.substr(0, size)));
    }
    CHECK_STATUS(decode, wire.read<Outer>(outer_bytes + '\x00'));
    CHECK_STATUS(decode, wire.read<Outer>(outer_bytes + outer_bytes));
    CHECK_EQUAL(wire.read<Outer>(outer_bytes).name, "ab");
}

TEST(other_types_are_no_message) {
    wire wire;
    const std::vector<std::string> wrong = {
        "\xc1"s,                              // no msgpack
        "\xc0"s,                              // nil
        "\x07"s,                              // a number
        "\xa1x"s,                             // a string
        "\x80"s,                              // a map
        "\x81\x00\x00"s,                      // a map with something in it
        "\x93\x00\x00\xa1x"s,                 // a string for a number
        "\x93\x00\x00\xc0"s,                  // nil for a number
        "\x93\x00\x00\xce\xff\xff\xff\xff"s,  // more than an int
        "\x91\xff"s,                          // less than 0 for seq
        "\x91\xcf\xff\xff\xff\xff\xff\xff\xff\xff"s,  // more than 32 bits for seq
        "\x94\x00\x00\x00\x07"s,                      // a number for a vector
        "\x94\x00\x00\x00\x80"s,                      // a map for a vector
        "\x96\x00\x00\x00\x90\xa0\x07"s,              // a number for a message
        "\x96\x00\x00\x00\x90\xa0\x93\x00\x00\xa0"s,  // a string for its number
        "\xd4\x05\x00"s,                              // an extension
        "\x93\x00\x00\xd4\x05\x00"s,
    };
    for (const auto& bytes : wrong) CHECK_STATUS(decode, wire.read<Outer>(bytes));
}

TEST(the_error_says_what_is_wrong) {
    wire wire;
    const auto message_of = [&](const std::string& bytes) -> std::string {
        try {
            static_cast<void>(wire.read<Outer>(bytes));
        } catch (const shm::error& e) {
            return e.what();
        }
        return {};
    };
    CHECK(message_of("\x93"s).find("cut short") != std::string::npos);
    CHECK(message_of("\xa5x"s).find("cut short") != std::string::npos);
    CHECK(message_of("\x90\x00"s).find("longer than one message") != std::string::npos);
    CHECK(message_of("\x91\xa1x"s).find("another type") != std::string::npos);
    CHECK(message_of("\xc1"s).find("not msgpack") != std::string::npos);
    CHECK(message_of(repeat("\x91", 200)).find("nested too deep") != std::string::npos);
}

TEST(errors_come_without_exceptions_too) {
    wire wire;
    std::error_code ec;
    Outer read;
    wire.publisher.publish("\x93", 1).value();
    wire.subscriber.try_receive().value().message(read, ec);
    CHECK(ec == shm::status::decode);
    CHECK(ec == std::errc::bad_message);
    wire.publisher.publish(outer_bytes.data(), outer_bytes.size()).value();
    wire.subscriber.try_receive().value().message(read, ec);
    CHECK(!ec);
    CHECK_EQUAL(read.inner.inner_str, "x");
}

TEST(depth_is_bounded) {
    wire wire;
    const auto nested = [](std::size_t trees) {  // two arrays each
        return repeat("\x93\x00\x00\x91"s, trees - 1) + "\x93\x00\x00\x90"s;
    };
    CHECK_EQUAL(wire.read<Tree>(nested(64)).children.size(), 1U);
    CHECK_STATUS(decode, wire.read<Tree>(nested(65)));
    CHECK_STATUS(decode, wire.read<Tree>(nested(1'000'000)));
    CHECK_STATUS(decode, wire.read<Outer>(repeat("\x81\x00"s, 1'000'000)));
}

// Reads with little memory to spare, so that believing any of the counts is a bad_alloc.
ROLE(read_large_counts) {
    wire wire;
    const std::string big(1 << 20, '\x00');
    const std::vector<std::string> liars = {
        "\xdd\xff\xff\xff\xff"s,
        "\xdf\xff\xff\xff\xff"s,
        "\x93\x00\x00\xdd\xff\xff\xff\xff"s,
        "\x93\x00\x00\xdf\xff\xff\xff\xff"s,
        "\x93\x00\x00\xdb\xff\xff\xff\xff"s,
        "\x93\x00\x00\xc6\xff\xff\xff\xff"s,
        "\x93\x00\x00\xc9\xff\xff\xff\xff"s,
        // Each count alone could be true, but not all of them.
        repeat("\xdd\x00\x0f\xff\xff"s, 100) + big,
        repeat("\xdf\x00\x07\xff\xff\x00"s, 100) + big,
    };
    for (const auto& bytes : liars) wire.publisher.publish(bytes.data(), bytes.size()).value();
    const rlimit limit{256U << 20, 256U << 20};
    CHECK_EQUAL(::setrlimit(RLIMIT_DATA, &limit), 0);
    for (std::size_t i = 0; i < liars.size(); ++i) {
        CHECK_STATUS(decode, wire.subscriber.try_receive().value().message<Outer>());
    }
}

// Has what the message asks for refused, whatever the machine has.
ROLE(read_large_elements) {
    wire wire;
    shm::pubsub::Subscriber<Hall> subscriber("wire", [](const std::shared_ptr<Hall>&) {});
    const std::string bytes = "\x93\x00\x00\xdd\x00\x10\x00\x00"s + repeat("\x90", 1 << 20);
    wire.publisher.publish(bytes.data(), bytes.size()).value();
    const rlimit limit{256U << 20, 256U << 20};
    CHECK_EQUAL(::setrlimit(RLIMIT_DATA, &limit), 0);
    CHECK_STATUS(decode, wire.subscriber.try_receive().value().message<Hall>());
    CHECK_STATUS(decode, subscriber.spin_once());
}

#ifndef __SANITIZE_ADDRESS__  // which takes more memory than that for itself
TEST(elements_may_be_larger_than_memory) {
    check::process(check::this_executable, check::in_role("read_large_elements", {})).finish();
}
TEST(memory_is_never_taken_on_a_counts_word) {
    check::process(check::this_executable, check::in_role("read_large_counts", {})).finish();
}
#endif

TEST(a_message_that_memory_does_not_hold_is_no_message) {
    wire wire;
    const std::string bytes = "\x93\x00\x00\xc0"s;
    try {
        static_cast<void>(wire.read<Needy<std::bad_alloc>>(bytes));
        CHECK(false);
    } catch (const shm::error& e) {
        CHECK(e.status() == shm::status::decode);
        CHECK(std::string(e.what()).find("more memory than there is") != std::string::npos);
    }
    CHECK_STATUS(decode, wire.read<Needy<too_long>>(bytes));
    std::error_code ec;
    Needy<std::bad_alloc> read;
    wire.publisher.publish(bytes.data(), bytes.size()).value();
    wire.subscriber.try_receive().value().message(read, ec);
    CHECK(ec == shm::status::decode);
}

TEST(damaged_messages_are_read_or_refused) {
    wire wire;
    const std::string whole = wire.bytes_of(everything());
    std::mt19937 random(20200501);
    for (int i = 0; i < 20'000; ++i) {
        std::string damaged = whole;
        for (unsigned hits = random() % 4; hits != 0; --hits) {
            damaged[random() % damaged.size()] = static_cast<char>(random());
        }
        damaged.resize(damaged.size() - random() % 2 * (random() % damaged.size()));
        const shm::status status =
            check::thrown_by([&] { static_cast<void>(wire.read<Everything>(damaged)); });
        CHECK(status == shm::status::ok || status == shm::status::decode);
    }
}
