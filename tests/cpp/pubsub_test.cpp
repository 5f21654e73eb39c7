// SPDX-License-Identifier: MIT OR Apache-2.0
#include <shm/shm.hpp>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <future>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.hpp"
#include "messages.hpp"

using namespace std::chrono_literals;

namespace {

// Counts what goes through it, and can fail.
class CountingCopier : public shm::memory::Copier {
public:
    int allocs = 0, deallocs = 0, to_user = 0, to_shm = 0;
    bool no_memory = false, broken = false;
    const void* last_source = nullptr;

    void* alloc(std::size_t size) override {
        if (no_memory) return nullptr;
        ++allocs;
        return std::malloc(size + 1);
    }
    void dealloc(void* ptr) override {
        if (ptr != nullptr) ++deallocs;
        std::free(ptr);
    }
    // Turns every bit, so that bytes which went another way are noticed.
    void shm_to_user(void* dst, void* src, std::size_t size) override {
        ++to_user;
        copy(dst, src, size);
    }
    void user_to_shm(void* dst, void* src, std::size_t size) override {
        ++to_shm;
        copy(dst, src, size);
    }

private:
    void copy(void* dst, void* src, std::size_t size) {
        if (broken) throw std::runtime_error("broken copier");
        last_source = src;
        for (std::size_t i = 0; i < size; ++i) {
            static_cast<unsigned char*>(dst)[i] =
                static_cast<unsigned char>(~static_cast<unsigned char*>(src)[i]);
        }
    }
};

std::string text_of(const void* data, std::size_t size) {
    return {static_cast<const char*>(data), size};
}

template <typename Call>
std::string message_thrown_by(Call call) {
    try {
        call();
    } catch (const std::runtime_error& e) {
        return e.what();
    }
    return {};
}

}  // namespace

TEST(messages_are_published_in_every_way) {
    shm::pubsub::Publisher<Outer, 16> publisher("ways");
    std::vector<std::shared_ptr<Outer>> received;
    shm::pubsub::Subscriber<Outer, 16> subscriber(
        "ways", [&](const std::shared_ptr<Outer>& message) { received.push_back(message); });
    Outer message;
    message.name = "lvalue";
    CHECK(publisher.publish(message));
    const Outer constant = message;
    CHECK(publisher.publish(constant));
    CHECK(publisher.publish(&message));
    CHECK(publisher.publish(&constant));
    CHECK(publisher.publish(std::make_shared<Outer>(message)));
    CHECK(publisher.publish(std::make_shared<const Outer>(message)));
    CHECK(publisher.publish(Outer(message)));
    while (subscriber.spin_once()) {
    }
    CHECK_EQUAL(received.size(), 7U);
    for (const auto& one : received) CHECK_EQUAL(one->name, "lvalue");
    CHECK(!publisher.last_error());
    CHECK(publisher.last_error() == shm::status::ok);
    CHECK(publisher.last_error() == std::error_code());
}

TEST(what_is_not_published_has_a_reason) {
    shm::publisher_options options;
    options.memory = 4 << 20;
    shm::pubsub::Publisher<Outer, 16> publisher("reason", options);
    CHECK(!publisher.publish(static_cast<Outer*>(nullptr)));
    CHECK(publisher.last_error() == shm::status::null_argument);
    CHECK(!publisher.publish(std::shared_ptr<Outer>()));
    Outer message;
    message.name = std::string(30'000'000, 'n');
    CHECK(!publisher.publish(message));
    CHECK(publisher.last_error() == shm::status::out_of_memory);
    message.name.clear();
    CHECK(publisher.publish(message));
    CHECK(!publisher.last_error());
}

TEST(max_buffer_size_is_what_a_publisher_may_take) {
    const std::size_t before = shm::memory::max_buffer_size;
    shm::memory::max_buffer_size = 4 << 20;
    shm::pubsub::PublisherBin<16> small("buffer");
    shm::memory::max_buffer_size = before;
    shm::pubsub::PublisherBin<16> usual("buffer");
    const std::string large(30'000'000, 'x');
    CHECK(!small.publish(large.data(), large.size()));
    CHECK(usual.publish(large.data(), large.size()));
}

TEST(the_number_in_the_type_is_the_least_capacity) {
    shm::pubsub::Publisher<Empty, 16> made("capacity");
    CHECK_EQUAL(made.info().capacity, 16U);
    shm::pubsub::PublisherBin<8> smaller("capacity");
    shm::pubsub::Publisher<Empty> any("capacity");
    CHECK_EQUAL(any.info().capacity, 16U);
    CHECK_STATUS(mismatch, (shm::pubsub::PublisherBin<32>("capacity")));
    shm::publisher_options more;
    more.capacity = 128;
    CHECK_EQUAL((shm::pubsub::Publisher<Empty, 16>("more", more)).info().capacity, 128U);
    shm::subscriber_options less;
    less.capacity = 4;
    const auto ignore = [](shm::memory::Ptr*) {};
    CHECK_EQUAL((shm::pubsub::SubscriberBin<16>("less", ignore, less)).info().capacity, 16U);
}

TEST(seq_and_timestamp_arrive_as_sent_and_the_position_is_known) {
    shm::pubsub::Publisher<Empty> publisher("seq");
    std::vector<std::uint32_t> seqs;
    shm::pubsub::Subscriber<Empty> subscriber(
        "seq", [&](const std::shared_ptr<Empty>& message) { seqs.push_back(message->seq); }, true);
    Empty message;
    std::vector<std::uint64_t> positions;
    for (const std::uint32_t seq : {9U, 4U}) {
        message.seq = seq;
        CHECK(publisher.publish(message));
        CHECK(subscriber.spinOnce());
        positions.push_back(subscriber.position());
    }
    CHECK((seqs == std::vector<std::uint32_t>{9, 4}));
    CHECK_EQUAL(positions[1], positions[0] + 1);
    CHECK_EQUAL(subscriber.lost(), 0U);
}

TEST(spinning_once_does_not_wait_unless_told) {
    shm::pubsub::SubscriberBin<> subscriber("once", [](shm::memory::Ptr*) {});
    CHECK(!subscriber.spin_once());
    CHECK(!subscriber.spin_once(10ms));
    shm::pubsub::PublisherBin<> publisher("once");
    const auto later = std::async(std::launch::async, [&] { publisher.publish("x", 1); });
    CHECK(subscriber.spin_once(1min));
}

TEST(spinning_ends_when_stopped_by_another_thread) {
    shm::pubsub::PublisherBin<> publisher("stop");
    std::promise<void> first;
    shm::pubsub::SubscriberBin<> subscriber("stop", [&](shm::memory::Ptr*) { first.set_value(); });
    const auto spinning = std::async(std::launch::async, [&] { subscriber.spin(); });
    publisher.publish("x", 1);
    first.get_future().wait();
    subscriber.stop();
    spinning.wait();
    subscriber.stop();  // before it spins: that ends at once
    subscriber.spin();
}

TEST(spinning_ends_when_stopped_by_the_callback) {
    shm::pubsub::PublisherBin<> publisher("stop");
    int calls = 0;
    shm::pubsub::SubscriberBase* self = nullptr;
    shm::pubsub::SubscriberBin<> subscriber("stop", [&](shm::memory::Ptr*) {
        if (++calls % 2 == 0) self->stop();
    });
    self = &subscriber;
    for (int i = 0; i < 5; ++i) CHECK(publisher.publish("x", 1));
    subscriber.spin();
    CHECK_EQUAL(calls, 2);
    subscriber.spin();
    CHECK_EQUAL(calls, 4);
    CHECK(subscriber.spin_once());
}

TEST(a_callback_may_spin_itself) {
    int calls = 0;
    shm::pubsub::SubscriberBase* self = nullptr;
    shm::subscriber_options options;
    options.holds = 1;
    shm::pubsub::Subscriber<Empty> subscriber(
        "nested", [&](const std::shared_ptr<Empty>&) { ++calls, self->spin_once(); }, options);
    self = &subscriber;
    shm::pubsub::Publisher<Empty> publisher("nested");
    for (int i = 0; i < 5; ++i) CHECK(publisher.publish(Empty()));
    CHECK(subscriber.spin_once());
    CHECK_EQUAL(calls, 5);
}

TEST(what_a_callback_throws_reaches_the_caller) {
    shm::subscriber_options options;
    options.holds = 1;
    shm::pubsub::Subscriber<Inner, 64> subscriber(
        "throws",
        [](const std::shared_ptr<Inner>& message) { throw std::runtime_error(message->inner_str); },
        options);
    shm::pubsub::Publisher<Inner, 64> publisher("throws");
    Inner message;
    for (int i = 0; i < 20; ++i) {
        message.inner_str = std::to_string(i);
        CHECK(publisher.publish(message));
        CHECK_EQUAL(message_thrown_by([&] { subscriber.spin_once(); }), message.inner_str);
    }
    CHECK(publisher.publish(message));
    CHECK_EQUAL(message_thrown_by([&] { subscriber.spin(); }), "19");
    CHECK(!subscriber.spin_once());
}

TEST(a_message_that_is_none_is_an_error_and_the_next_one_is_received) {
    shm::pubsub::PublisherBin<> bytes("mixed");
    shm::pubsub::Publisher<Inner> messages("mixed");
    int calls = 0;
    shm::pubsub::Subscriber<Inner> subscriber("mixed",
                                              [&](const std::shared_ptr<Inner>&) { ++calls; });
    for (int i = 0; i < 20; ++i) {
        CHECK(bytes.publish("\xc1", 1));
        CHECK_STATUS(decode, subscriber.spin_once());
    }
    CHECK(messages.publish(Inner()));
    CHECK(subscriber.spin_once());
    CHECK_EQUAL(calls, 1);
}

TEST(bytes_go_through_the_copier_given) {
    CountingCopier out, in;
    shm::pubsub::PublisherBin<16> publisher("copier", &out);
    shm::subscriber raw("copier");
    std::string received;
    shm::pubsub::SubscriberBin<16> subscriber(
        "copier", &in, [&](shm::memory::Ptr* p) { received = text_of(p->ptr, p->size); });
    char data[] = "hello";
    CHECK(publisher.publish(data, 5));
    CHECK_EQUAL(out.to_shm, 1);
    CHECK(out.last_source == data);
    const shm::sample on_the_wire = raw.try_receive().value();
    CHECK_EQUAL(int{static_cast<const signed char*>(on_the_wire.data())[0]}, ~'h');
    CHECK(subscriber.spin_once());
    CHECK_EQUAL(received, "hello");
    CHECK_EQUAL(in.allocs, 1);
    CHECK_EQUAL(in.to_user, 1);
    CHECK_EQUAL(in.deallocs, 1);
    CHECK_EQUAL(out.allocs + out.deallocs + out.to_user + in.to_shm, 0);
}

TEST(bytes_are_copied_straight_from_the_sample_into_the_loan) {
    CountingCopier out, in;
    shm::pubsub::PublisherBin<16> publisher("straight", &out);
    shm::pubsub::SubscriberBin<16> first("straight", &in, [](shm::memory::Ptr*) {});
    shm::subscriber raw("straight");
    CHECK(publisher.publish("x", 1));
    CHECK(first.spin_once());
    // Both of this process's subscribers map the sample, each where it likes: the same page offset.
    const auto offset = [](const void* p) { return reinterpret_cast<std::uintptr_t>(p) % 4096; };
    CHECK_EQUAL(offset(in.last_source), offset(raw.try_receive().value().data()));
}

TEST(without_a_copier_bytes_are_malloced) {
    shm::pubsub::PublisherBin<16> publisher("plain");
    void* kept = nullptr;
    std::size_t size = 0;
    shm::pubsub::SubscriberBin<16> subscriber("plain", [&](shm::memory::Ptr* p) {
        p->no_delete();
        kept = p->ptr;
        size = p->size;
    });
    void* data = std::malloc(1024);
    std::memset(data, 'd', 1024);
    CHECK(publisher.publish(data, 1024));
    std::free(data);
    CHECK(subscriber.spin_once());
    CHECK(text_of(kept, size) == std::string(1024, 'd'));
    std::free(kept);
}

TEST(what_is_not_deleted_is_the_callbacks) {
    CountingCopier copier;
    shm::pubsub::PublisherBin<16> publisher("kept", &copier);
    void* kept = nullptr;
    shm::pubsub::SubscriberBin<16> subscriber("kept", &copier, [&](shm::memory::Ptr* p) {
        p->no_delete();
        kept = p->ptr;
    });
    CHECK(publisher.publish("kept", 4));
    CHECK(subscriber.spin_once());
    CHECK_EQUAL(copier.deallocs, 0);
    CHECK_EQUAL(text_of(kept, 4), "kept");
    copier.dealloc(kept);
}

TEST(a_copy_is_freed_when_the_callback_throws) {
    CountingCopier copier;
    shm::subscriber_options options;
    options.holds = 1;
    shm::pubsub::SubscriberBin<16> subscriber(
        "throws", &copier,
        [](shm::memory::Ptr* p) {
            p->ptr = nullptr;  // what is freed doesn't depend on this
            throw std::runtime_error("callback");
        },
        options);
    shm::pubsub::PublisherBin<16> publisher("throws", &copier);
    for (int i = 0; i < 20; ++i) {
        CHECK(publisher.publish("x", 1));
        CHECK_EQUAL(message_thrown_by([&] { subscriber.spin_once(); }), "callback");
    }
    CHECK_EQUAL(copier.allocs, 20);
    CHECK_EQUAL(copier.deallocs, 20);
}

TEST(a_copier_that_fails_leaves_nothing_behind) {
    CountingCopier copier;
    shm::subscriber_options options;
    options.holds = 1;
    int calls = 0;
    shm::pubsub::SubscriberBin<16> subscriber(
        "fails", &copier, [&](shm::memory::Ptr*) { ++calls; }, options);
    shm::pubsub::PublisherBin<16> publisher("fails", &copier);
    copier.broken = true;
    CHECK_EQUAL(message_thrown_by([&] { publisher.publish("x", 1); }), "broken copier");
    CHECK(!subscriber.spin_once());
    copier.broken = false;
    for (int i = 0; i < 3; ++i) CHECK(publisher.publish("x", 1));
    copier.broken = true;
    CHECK_EQUAL(message_thrown_by([&] { subscriber.spin_once(); }), "broken copier");
    CHECK_EQUAL(copier.allocs, copier.deallocs);
    copier.broken = false;
    copier.no_memory = true;
    bool no_memory = false;
    try {
        subscriber.spin_once();
    } catch (const std::bad_alloc&) {
        no_memory = true;
    }
    CHECK(no_memory);
    copier.no_memory = false;
    CHECK(subscriber.spin_once());
    CHECK_EQUAL(calls, 1);
    CHECK_EQUAL(copier.allocs, copier.deallocs);
}

TEST(nothing_is_a_message_too) {
    CountingCopier copier;
    shm::pubsub::PublisherBin<16> publisher("nothing", &copier);
    std::size_t size = 1;
    shm::pubsub::SubscriberBin<16> subscriber("nothing", &copier,
                                              [&](shm::memory::Ptr* p) { size = p->size; });
    CHECK(publisher.publish(nullptr, 0));
    CHECK(subscriber.spin_once());
    CHECK_EQUAL(size, 0U);
    CHECK_EQUAL(copier.allocs, copier.deallocs);
}

TEST(creation_can_do_without_exceptions) {
    const auto message = [](const std::shared_ptr<Inner>&) {};
    const auto bytes = [](shm::memory::Ptr*) {};
    std::error_code ec;
    shm::pubsub::Publisher<Inner> publisher("", ec);
    CHECK(ec == shm::status::invalid_name);
    CHECK(!publisher.publish(Inner()));
    CHECK(publisher.last_error() == shm::status::null_argument);
    shm::pubsub::Subscriber<Inner> subscriber("", message, ec);
    CHECK(ec == shm::status::invalid_name);
    CHECK_STATUS(null_argument, subscriber.spin_once());
    shm::pubsub::PublisherBin<> publisher_bin("", nullptr, ec);
    CHECK(ec == shm::status::invalid_name);
    CHECK(!publisher_bin.publish("x", 1));
    shm::pubsub::SubscriberBin<> subscriber_bin("", nullptr, bytes, ec);
    CHECK(ec == shm::status::invalid_name);
    CHECK_STATUS(null_argument, subscriber_bin.spin_once());
    shm::pubsub::Publisher<Inner> made("made", ec);
    CHECK(!ec && made.publish(Inner()));
    CHECK_STATUS(invalid_name, (shm::pubsub::Publisher<Inner>("")));
    CHECK_STATUS(invalid_name, (shm::pubsub::Subscriber<Inner>("", message)));
    CHECK_STATUS(invalid_name, (shm::pubsub::PublisherBin<>("")));
    CHECK_STATUS(invalid_name, (shm::pubsub::SubscriberBin<>("", bytes)));
}
