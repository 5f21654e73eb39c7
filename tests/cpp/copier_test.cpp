// SPDX-License-Identifier: MIT OR Apache-2.0
// Copiers in use: on topics, on services, and on streams. What goes through PublisherBin and SubscriberBin is in pubsub_test.cpp.
#include <shm/shm.hpp>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "check.hpp"

using namespace std::chrono_literals;

namespace {

static_assert(check::moves_only<shm::copier> && check::moves_only<shm::stream_publisher>);
static_assert(check::moves_only<shm::memory::Done>);
static_assert(!std::is_convertible_v<shm::memory::Copier&, shm::copier>);

// Turns every bit, so that bytes which went another way are noticed. Copies on streams wait until `run`.
class Device : public shm::memory::Copier {
public:
    struct mapping {
        void* memory;
        std::size_t size;
        bool is_writable;
    };

    int allocs = 0, deallocs = 0, to_user = 0, to_shm = 0, unpins = 0;
    bool pins = false, broken = false, no_memory = false, waits = false;
    int* destroyed = nullptr;
    std::vector<mapping> pinned;

    Device() = default;
    explicit Device(bool with_pins) : pins(with_pins) {}
    ~Device() override {
        if (destroyed != nullptr) ++*destroyed;
    }

    void* alloc(std::size_t size) override {
        if (no_memory) return nullptr;
        ++allocs;
        return std::malloc(size);
    }
    void dealloc(void* ptr) override {
        ++deallocs;
        std::free(ptr);
    }
    void shm_to_user(void* dst, void* src, std::size_t size) override {
        ++to_user;
        copy(dst, src, size);
    }
    void user_to_shm(void* dst, void* src, std::size_t size) override {
        ++to_shm;
        copy(dst, src, size);
    }
    void shm_to_user_on_stream(void* dst, void* src, std::size_t size, void* stream,
                               shm::memory::Done done) override {
        if (!waits) return Copier::shm_to_user_on_stream(dst, src, size, stream, std::move(done));
        queue_.push_back({dst, src, size, std::move(done)});
    }
    void user_to_shm_on_stream(void* dst, void* src, std::size_t size, void* stream,
                               shm::memory::Done done) override {
        if (!waits) return Copier::user_to_shm_on_stream(dst, src, size, stream, std::move(done));
        queue_.push_back({dst, src, size, std::move(done)});
    }
    [[nodiscard]] bool wants_pins() const override { return pins; }
    bool pin(void* memory, std::size_t size, bool is_writable) override {
        pinned.push_back({memory, size, is_writable});
        if (broken) throw std::runtime_error("nobody hears this");
        return true;
    }
    void unpin(void* memory, std::size_t size) override {
        ++unpins;
        bool known = false;
        for (const mapping& one : pinned) known |= one.memory == memory && one.size == size;
        CHECK(known);
    }

    // Ends the next copy; with `forget` without a word.
    void run(int status = 0, bool forget = false) {
        job next = std::move(queue_.front());
        queue_.pop_front();
        if (status == 0 && !forget) copy(next.dst, next.src, next.size);
        if (!forget) next.done(status);
    }

private:
    struct job {
        void* dst;
        void* src;
        std::size_t size;
        shm::memory::Done done;
    };

    void copy(void* dst, void* src, std::size_t size) {
        if (broken) throw std::runtime_error("broken device");
        for (std::size_t i = 0; i < size; ++i) {
            static_cast<unsigned char*>(dst)[i] =
                static_cast<unsigned char>(~static_cast<unsigned char*>(src)[i]);
        }
    }

    std::deque<job> queue_;
};

// As the device has it.
std::string turned(std::string text) {
    for (char& byte : text) byte = static_cast<char>(~byte);
    return text;
}

std::string text_of(const void* data, std::size_t size) {
    return {static_cast<const char*>(data), size};
}

template <typename Bytes>
std::string text_of(const Bytes& bytes) {
    return text_of(bytes.data(), bytes.size());
}

template <typename Call>
std::string message_thrown_by(Call call) {
    try {
        static_cast<void>(call());
    } catch (const std::runtime_error& e) {
        return e.what();
    }
    return {};
}

}  // namespace

TEST(a_copier_allocates_and_copies) {
    Device device;
    shm::copier copier(device);
    CHECK(copier && copier.get() != nullptr);
    shm::publisher publisher("copies");
    shm::subscriber subscriber("copies");
    const std::string text = turned("hello");
    const std::uint64_t first = publisher.publish_from(copier, text.data(), 5).value();
    const shm::sample sample = subscriber.try_receive().value();
    CHECK_EQUAL(text_of(sample), "hello");

    void* memory = copier.alloc(5).value();
    CHECK_EQUAL(copier.shm_to_user(memory, sample.data(), 5), shm::status::ok);
    CHECK_EQUAL(text_of(memory, 5), text);
    CHECK_EQUAL(copier.dealloc(memory, 5), shm::status::ok);
    memory = copier.copy_out(sample.data(), sample.size()).value();
    CHECK_EQUAL(text_of(memory, 5), text);

    shm::loan loan = publisher.loan(5).value();
    CHECK_EQUAL(copier.user_to_shm(loan.data(), memory, 5), shm::status::ok);
    CHECK_EQUAL(loan.publish().value(), first + 1);
    CHECK_EQUAL(copier.dealloc(memory, 5), shm::status::ok);
    CHECK_EQUAL(text_of(subscriber.try_receive().value()), "hello");
    CHECK(device.allocs == 2 && device.deallocs == 2 && device.to_user == 2 && device.to_shm == 2);
    CHECK(device.pinned.empty());
}

TEST(nothing_is_asked_of_a_copier_for_no_bytes) {
    Device device(true);
    shm::copier copier(device);
    shm::publisher publisher("nothing");
    CHECK(copier.alloc(0).value() == nullptr && copier.copy_out(nullptr, 0).value() == nullptr);
    CHECK_EQUAL(copier.dealloc(nullptr, 0), shm::status::ok);
    CHECK_EQUAL(copier.shm_to_user(nullptr, nullptr, 0), shm::status::ok);
    CHECK_EQUAL(copier.user_to_shm(nullptr, nullptr, 0), shm::status::ok);
    CHECK(publisher.publish_from(copier, nullptr, 0).has_value());
    CHECK(device.allocs + device.deallocs + device.to_user + device.to_shm == 0 && device.pinned.empty());
}

TEST(what_a_copier_throws_reaches_the_caller) {
    Device device;
    shm::copier copier(device);
    shm::publisher publisher("throws");
    shm::subscriber subscriber("throws");
    char byte = 'x';
    device.broken = true;
    CHECK_EQUAL(message_thrown_by([&] { return publisher.publish_from(copier, &byte, 1); }), "broken device");
    CHECK_EQUAL(message_thrown_by([&] { return copier.shm_to_user(&byte, &byte, 1); }), "broken device");
    CHECK_EQUAL(message_thrown_by([&] { return copier.user_to_shm(&byte, &byte, 1); }), "broken device");
    CHECK_EQUAL(message_thrown_by([&] { return copier.copy_out(&byte, 1); }), "broken device");
    CHECK(device.allocs == 1 && device.deallocs == 1);
    device.no_memory = true;
    bool no_memory = false;
    try {
        static_cast<void>(copier.alloc(1));
    } catch (const std::bad_alloc&) {
        no_memory = true;
    }
    CHECK(no_memory);
    device.broken = device.no_memory = false;
    CHECK(!subscriber.try_receive());
    CHECK(publisher.publish_from(copier, &byte, 1).has_value());
}

TEST(a_copier_of_the_c_abi_fails_with_a_status) {
    shm_copier_ops ops{};
    shm_copier_ops_init(&ops);
    ops.shm_to_user = [](void*, void*, const void*, std::size_t) { return 42; };
    ops.user_to_shm = [](void*, void*, const void*, std::size_t) { return 43; };
    shm_copier* handle = nullptr;
    CHECK_EQUAL(shm_copier_create(&ops, &handle), SHM_OK);
    shm::copier copier(handle);
    char byte = 'x';
    CHECK_EQUAL(copier.shm_to_user(&byte, &byte, 1), shm::status::copier);
    CHECK_EQUAL(shm_last_error_code(), 42);
    CHECK_STATUS(copier, copier.alloc(1).value());
    CHECK_STATUS(copier, shm::publisher("status").publish_from(copier, &byte, 1).value());
}

TEST(an_empty_copier_says_so) {
    Device device;
    std::error_code ec = shm::status::os;
    shm::copier copier(device, ec);
    CHECK(!ec && copier);
    const shm::copier moved = std::move(copier);
    CHECK(moved && !copier && copier.get() == nullptr);
    char byte = 'x';
    CHECK_EQUAL(copier.alloc(1).status(), shm::status::null_argument);
    CHECK_EQUAL(copier.copy_out(&byte, 1).status(), shm::status::null_argument);
    CHECK_EQUAL(copier.dealloc(&byte, 1), shm::status::null_argument);
    CHECK_EQUAL(copier.shm_to_user(&byte, &byte, 1), shm::status::null_argument);
    CHECK_EQUAL(copier.user_to_shm(&byte, &byte, 1), shm::status::null_argument);
    CHECK_EQUAL(shm::publisher("empty").publish_from(copier, &byte, 1).status(), shm::status::null_argument);
    CHECK_STATUS(null_argument, shm::copier(std::unique_ptr<shm::memory::Copier>()));
    CHECK_STATUS(null_argument, shm::stream_publisher("empty", copier));
}

TEST(a_copier_that_is_given_away_ends_with_its_last_use) {
    int destroyed = 0;
    auto device = std::make_unique<Device>();
    device->destroyed = &destroyed;
    {
        shm::copier copier(std::move(device));
        shm::stream_publisher publisher("given", copier);
        copier = shm::copier(std::make_unique<Device>());
        CHECK_EQUAL(destroyed, 0);
        CHECK_EQUAL(publisher.publish("x", 1, nullptr), shm::status::ok);
    }
    CHECK_EQUAL(destroyed, 1);
}

TEST(mappings_are_pinned_once_by_a_copier_that_wants_that) {
    Device out(true), in(true), failing(true);
    shm::subscriber raw("pins");
    {
        shm::pubsub::PublisherBin<> publisher("pins", &out);
        std::string received;
        shm::pubsub::SubscriberBin<> subscriber("pins", &in, [&](shm::memory::Ptr* p) {
            received = text_of(p->ptr, p->size);
        });
        for (int i = 0; i < 20; ++i) {
            CHECK(publisher.publish("hello", 5));
            CHECK(subscriber.spin_once());
            CHECK_EQUAL(received, "hello");
        }
        CHECK(out.pinned.size() == 1 && out.pinned[0].is_writable && out.unpins == 0);
        CHECK(in.pinned.size() == 1 && !in.pinned[0].is_writable && in.unpins == 0);
        // A copier that can't goes on without.
        const shm::sample sample = raw.try_receive().value();
        failing.broken = true;
        shm::copier copier(failing);
        CHECK_EQUAL(message_thrown_by([&] { return copier.copy_out(sample.data(), 5); }), "broken device");
        CHECK(failing.pinned.size() == 1);
    }
    CHECK(out.unpins == 1 && in.unpins == 1 && failing.unpins == 0);
}

TEST(bins_can_do_without_exceptions_when_they_are_made) {
    Device device;
    std::error_code ec;
    shm::pubsub::PublisherBin<> publisher("made", &device, ec);
    CHECK(!ec);
    int received = 0;
    shm::pubsub::SubscriberBin<> subscriber(
        "made", &device, [&](shm::memory::Ptr*) { ++received; }, ec);
    CHECK(!ec && publisher.publish("x", 1) && subscriber.spin_once() && received == 1);
    shm::pubsub::PublisherBin<> none("", &device, ec);
    CHECK(ec == shm::status::invalid_name && !none.publish("x", 1));
    CHECK(none.last_error() == shm::status::null_argument);
}

// The same contract, whether the copier wants to be told of mappings or not.
TEST(bins_leave_nothing_of_what_fails) {
    for (const bool pins : {false, true}) {
        Device out(pins), in(pins);
        shm::subscriber_options options;
        options.holds = 1;
        int received = 0;
        shm::pubsub::SubscriberBin<> subscriber(
            "leaves", &in, [&](shm::memory::Ptr*) { ++received; }, options);
        shm::pubsub::PublisherBin<> publisher("leaves", &out);
        out.broken = true;
        CHECK_EQUAL(message_thrown_by([&] { return publisher.publish("x", 1); }), "broken device");
        out.broken = false;
        CHECK(!subscriber.spin_once());
        CHECK(!publisher.publish(nullptr, 1));
        CHECK(publisher.last_error() == shm::status::null_argument);
        for (int i = 0; i < 3; ++i) CHECK(publisher.publish("x", 1));
        in.broken = true;
        CHECK_EQUAL(message_thrown_by([&] { return subscriber.spin_once(); }), "broken device");
        in.broken = false;
        in.no_memory = true;
        bool no_memory = false;
        try {
            subscriber.spin_once();
        } catch (const std::bad_alloc&) {
            no_memory = true;
        }
        in.no_memory = false;
        CHECK(no_memory && subscriber.spin_once() && received == 1);
        CHECK(in.allocs == 2 && in.deallocs == 2 && in.to_user == 2);

        // For no bytes nothing is asked.
        CHECK(publisher.publish(nullptr, 0) && subscriber.spin_once() && received == 2);
        CHECK(in.allocs == 2 && in.deallocs == 2 && in.to_user == 2 && out.to_shm == 4);
    }
}

// What client.hpp and server.hpp say of copiers.
TEST(calls_through_copiers) {
    Device calling, serving;
    shm::copier callers(calling), servers(serving);
    shm::client client("calls");
    shm::server server("calls");
    const std::string asked = turned("question"), answered = turned("answer");
    shm::request_loan loan = client.loan(asked.size()).value();
    CHECK_EQUAL(callers.user_to_shm(loan.data(), asked.data(), asked.size()), shm::status::ok);
    shm::pending pending = loan.send().value();

    shm::request request = server.try_receive().value();
    CHECK_EQUAL(text_of(request), "question");
    void* got = servers.copy_out(request.data(), request.size()).value();
    CHECK_EQUAL(text_of(got, request.size()), asked);
    CHECK_EQUAL(servers.dealloc(got, request.size()), shm::status::ok);
    shm::reply_loan room = request.loan(answered.size()).value();
    CHECK_EQUAL(servers.user_to_shm(room.data(), answered.data(), answered.size()), shm::status::ok);
    CHECK_EQUAL(room.send(), shm::status::ok);

    const shm::reply reply = pending.wait().value();
    std::string copied(reply.size(), '\0');
    CHECK_EQUAL(callers.shm_to_user(copied.data(), reply.data(), reply.size()), shm::status::ok);
    CHECK_EQUAL(copied, answered);
}

TEST(a_sample_is_given_back_when_its_copy_on_a_stream_has_ended) {
    std::vector<shm::status> ended;
    std::string memory(5, '\0');
    Device device;
    shm::copier copier(device);
    shm::subscriber_options options;
    options.holds = 1;
    shm::subscriber subscriber("streams", options);
    shm::publisher publisher("streams");
    const auto done = [&](shm::status s) { ended.push_back(s); };
    const auto begin = [&] {
        CHECK(publisher.publish("hello", 5).has_value());
        shm::sample sample = subscriber.try_receive().value();
        CHECK_EQUAL(sample.copy_on_stream(copier, memory.data(), nullptr, done), shm::status::ok);
        CHECK(!sample);
    };
    begin();  // at once
    CHECK_EQUAL(memory, turned("hello"));
    device.broken = true;
    begin();
    device.broken = false;
    device.waits = true;
    CHECK((ended == std::vector<shm::status>{shm::status::ok, shm::status::copier}));
    memory.assign(5, '\0');
    begin();
    CHECK(publisher.publish("next", 4).has_value());
    CHECK_EQUAL(subscriber.try_receive().status(), shm::status::no_hold);
    CHECK_EQUAL(ended.size(), 2U);
    device.run();
    CHECK_EQUAL(text_of(subscriber.try_receive().value()), "next");
    CHECK_EQUAL(memory, turned("hello"));
    begin();
    device.run(5);
    begin();
    device.run(0, true);
    CHECK((ended == std::vector<shm::status>{shm::status::ok, shm::status::copier, shm::status::ok,
                                             shm::status::copier, shm::status::copier}));

    // Without its arguments the sample stays.
    CHECK(publisher.publish("hello", 5).has_value());
    shm::sample sample = subscriber.try_receive().value();
    CHECK_EQUAL(sample.copy_on_stream(copier, nullptr, nullptr, done), shm::status::null_argument);
    CHECK(text_of(sample) == "hello" && ended.size() == 5);
    sample.release();
    CHECK_EQUAL(sample.copy_on_stream(copier, memory.data(), nullptr, done), shm::status::null_argument);
}

TEST(a_stream_publisher_publishes_when_the_copy_has_ended) {
    Device device;
    device.waits = true;
    shm::copier copier(device);
    shm::subscriber subscriber("publishes");
    shm::stream_publisher publisher("publishes", copier);
    CHECK(publisher && publisher.get() != nullptr);
    CHECK_EQUAL(publisher.info().capacity, 64U);
    CHECK_EQUAL(publisher.wait(), shm::status::ok);
    std::string one = turned("one"), two = turned("two");
    CHECK_EQUAL(publisher.publish(one.data(), 3, nullptr), shm::status::ok);
    CHECK_EQUAL(publisher.publish(two.data(), 3, nullptr), shm::status::ok);
    CHECK_EQUAL(publisher.publish(two.data(), 3, nullptr), shm::status::ok);
    CHECK_EQUAL(publisher.wait_for(1ms), shm::status::timed_out);
    CHECK(!subscriber.try_receive());
    device.run();
    CHECK_EQUAL(text_of(subscriber.try_receive().value()), "one");
    device.run(7);
    CHECK_EQUAL(publisher.wait_for(0ms), shm::status::timed_out);
    device.run();
    CHECK_EQUAL(publisher.wait_for(10s), shm::status::copier);
    CHECK_EQUAL(shm_last_error_code(), 7);
    CHECK_EQUAL(publisher.wait(), shm::status::ok);
    CHECK_EQUAL(text_of(subscriber.try_receive().value()), "two");
    CHECK(!subscriber.try_receive());

    device.waits = false;
    device.broken = true;
    CHECK_EQUAL(publisher.publish(one.data(), 3, nullptr), shm::status::ok);
    CHECK_EQUAL(publisher.wait(), shm::status::copier);
    CHECK(!subscriber.try_receive());
    const shm::stream_publisher moved = std::move(publisher);
    CHECK(moved && !publisher);
    CHECK_EQUAL(publisher.publish(one.data(), 3, nullptr), shm::status::null_argument);
    CHECK_EQUAL(publisher.wait(), shm::status::null_argument);
}

TEST(a_stream_publisher_is_made_without_exceptions) {
    Device device;
    shm::copier copier(device);
    std::error_code ec;
    shm::stream_publisher made("made", copier, {}, ec);
    CHECK(!ec && made);
    shm::stream_publisher none("", copier, {}, ec);
    CHECK(ec == shm::status::invalid_name && !none);
    CHECK_STATUS(invalid_name, shm::stream_publisher("", copier));
    CHECK_STATUS(null_argument, none.info());
}
