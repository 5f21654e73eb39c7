// SPDX-License-Identifier: MIT OR Apache-2.0
// Device topics, against the driver made for tests.
#include <shm/device.hpp>

#include <dlpack/dlpack.h>

#include <chrono>
#include <iostream>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "check.hpp"
#include "fake_cuda.hpp"
#include "process.hpp"

using namespace std::chrono_literals;

namespace {

static_assert(check::moves_only<shm::device_publisher> && check::moves_only<shm::device_loan>);
static_assert(check::moves_only<shm::device_subscriber> && check::moves_only<shm::device_sample>);

constexpr std::size_t largest = 3 << 20;
constexpr auto floats = shm::data_type::of<float>();

shm::device_options device_options(std::uint32_t blocks = 4,
                                   shm::placement placement = shm::placement::automatic) {
    shm::device_options options;
    options.largest = largest;
    options.blocks = blocks;
    options.placement = placement;
    return options;
}

std::uint64_t publish(const check::fake_cuda& driver, shm::device_publisher& publisher,
                      unsigned char byte, std::size_t size = 100) {
    shm::device_loan loan = publisher.loan(size).value();
    CHECK_EQUAL(loan.size(), size);
    driver.fill(loan.data(), size, byte);
    return loan.publish().value();
}

void check_sample(const check::fake_cuda& driver, const shm::device_sample& sample,
                  unsigned char byte, std::size_t size = 100) {
    CHECK_EQUAL(sample.size(), size);
    CHECK(driver.is_all(sample.data(), size, byte));
}

// That nothing is left of what was mapped, and that no rule of the driver's was broken.
void check_clean(const check::fake_cuda& driver) {
    // What was released on a stream goes when that has come to it.
    for (int n = 0; n < 2000 && driver.count("vmm_mappings") != 0; ++n) {
        std::this_thread::sleep_for(1ms);
    }
    for (const char* name : {"vmm_mappings", "vmm_memories", "vmm_reservations", "registrations",
                             "calls_in_callbacks", "calls_without_context"}) {
        if (driver.count(name) != 0) check::fail(__FILE__, __LINE__, name);
    }
}

// What the error says that `call` throws.
template <typename Call>
std::string words_of(Call call) {
    try {
        call();
    } catch (const shm::error& e) {
        return e.what();
    }
    return "";
}

bool has(const std::string& words, const std::string& part) {
    return words.find(part) != std::string::npos;
}

}  // namespace

TEST(messages_stay_in_device_memory) {
    const check::fake_cuda driver;
    {
        shm::publisher_options options;
        options.timestamps = true;
        shm::device_publisher publisher("there", device_options(), options);
        shm::device_subscriber subscriber("there");
        CHECK(publisher.placement() == shm::placement::device);
        CHECK_EQUAL(publisher.info().instance, subscriber.info().instance);
        CHECK(subscriber.try_receive().status() == shm::status::would_block);
        CHECK(subscriber.receive_for(1ms).status() == shm::status::timed_out);
        unsigned char byte = 0;
        for (std::size_t size : {std::size_t{1}, std::size_t{4096}, std::size_t{2 << 20}, largest}) {
            const std::uint64_t position = publish(driver, publisher, ++byte, size);
            const shm::device_sample sample = subscriber.receive().value();
            check_sample(driver, sample, byte, size);
            CHECK(sample.placement() == shm::placement::device);
            CHECK_EQUAL(sample.position(), position);
            CHECK(sample.timestamp().has_value());
        }
        // All blocks have been around, and more.
        for (; byte < 40; ++byte) {
            publish(driver, publisher, byte);
            check_sample(driver, subscriber.try_receive().value(), byte);
        }
        publisher.loan(0).value().publish().value();
        CHECK_EQUAL(subscriber.receive_for(20s).value().size(), 0U);
        CHECK_EQUAL(subscriber.lost(), 0U);
    }
    check_clean(driver);
}

TEST(positions_are_the_topics_order) {
    const check::fake_cuda driver;
    shm::device_publisher first("order", device_options());
    shm::device_publisher second("order", device_options());
    shm::device_subscriber subscriber("order");
    const std::uint64_t begin = publish(driver, first, 1);
    CHECK_EQUAL(publish(driver, second, 2), begin + 1);
    CHECK_EQUAL(publish(driver, first, 3), begin + 2);
    for (unsigned char n = 0; n < 3; ++n) {
        const shm::device_sample sample = subscriber.try_receive().value();
        CHECK_EQUAL(sample.position(), begin + n);
        CHECK(!sample.timestamp());
        check_sample(driver, sample, static_cast<unsigned char>(n + 1));
    }
}

TEST(messages_may_be_in_host_memory) {
    const check::fake_cuda driver;
    {
        shm::device_publisher publisher("host", device_options(4, shm::placement::host));
        shm::device_subscriber subscriber("host");
        CHECK(publisher.placement() == shm::placement::host);
        const shm::device_loan loan = publisher.loan(10).value();
        CHECK(loan.placement() == shm::placement::host);
        publish(driver, publisher, 7, largest);
        const shm::device_sample sample = subscriber.receive_for(20s).value();
        CHECK(sample.placement() == shm::placement::host);
        check_sample(driver, sample, 7, largest);
        CHECK_EQUAL(driver.count("vmm_mappings"), 0U);
    }
    check_clean(driver);
}

TEST(streams_order_the_messages) {
    const check::fake_cuda driver;
    void* const stream = driver.make_stream();
    {
        shm::device_publisher publisher("streams", device_options(1));
        shm::device_subscriber subscriber("streams");
        driver.hold(true);
        shm::device_loan loan = publisher.loan(100).value();
        driver.fill(loan.data(), 100, 1);
        CHECK(loan.publish_on_stream(stream) == shm::status::ok);
        CHECK(!loan);
        CHECK(publisher.wait_for(10ms) == shm::status::timed_out);
        CHECK(subscriber.try_receive().status() == shm::status::would_block);
        driver.hold(false);
        CHECK(publisher.wait() == shm::status::ok);
        shm::device_sample sample = subscriber.try_receive().value();
        check_sample(driver, sample, 1);
        driver.hold(true);
        CHECK(sample.release_on_stream(stream) == shm::status::ok);
        CHECK(!sample);
        CHECK(publisher.loan(1).status() == shm::status::out_of_memory);
        driver.hold(false);
        shm::result<shm::device_loan> next = publisher.loan(1);
        while (next.status() == shm::status::out_of_memory) {
            std::this_thread::yield();
            next = publisher.loan(1);
        }
        CHECK(next.status() == shm::status::ok);
    }
    check_clean(driver);
}

TEST(what_can_not_go_on_a_stream_ends_at_once) {
    const check::fake_cuda driver;
    void* const stream = driver.make_stream();
    {
        shm::device_publisher publisher("captured", device_options(1));
        shm::device_subscriber subscriber("captured");
        publish(driver, publisher, 1);
        shm::device_sample sample = subscriber.try_receive().value();
        driver.capture(stream, true);
        CHECK(sample.release_on_stream(stream) == shm::status::copier);
        CHECK(!sample);
        shm::device_loan loan = publisher.loan(1).value();
        CHECK(loan.publish_on_stream(stream) == shm::status::copier);
        CHECK(!loan);
        driver.capture(stream, false);
        CHECK(publisher.loan(1).status() == shm::status::ok);
        CHECK(publisher.wait() == shm::status::ok);
        CHECK(subscriber.try_receive().status() == shm::status::would_block);
    }
    check_clean(driver);
}

TEST(a_sample_outlives_its_subscriber_and_publisher) {
    const check::fake_cuda driver;
    auto publisher = std::make_unique<shm::device_publisher>("later", device_options());
    auto subscriber = std::make_unique<shm::device_subscriber>("later");
    publish(driver, *publisher, 5);
    shm::device_sample sample = subscriber->try_receive().value();
    subscriber.reset();
    // As many as would use each block again.
    for (int n = 0; n < 20; ++n) publish(driver, *publisher, 6);
    check_sample(driver, sample, 5);
    publisher.reset();
    CHECK_EQUAL(driver.count("vmm_mappings"), 1U);
    std::thread([&driver, sample = std::move(sample)]() mutable {
        check_sample(driver, sample, 5);
        sample.release();
        sample.release();
        CHECK(!sample && sample.data() == nullptr && sample.size() == 0);
    }).join();
    check_clean(driver);
}

TEST(a_loan_that_is_dropped_is_discarded) {
    const check::fake_cuda driver;
    {
        auto publisher = std::make_unique<shm::device_publisher>("dropped", device_options(1));
        shm::device_subscriber subscriber("dropped");
        for (int n = 0; n < 3; ++n) {
            const shm::device_loan loan = publisher->loan(10).value();
            const auto second = publisher->loan(10);
            CHECK(second.status() == shm::status::out_of_memory);
            const std::string words = words_of([&] { second.value(); });
            CHECK(has(words, "all 1 blocks") && has(words, "option `blocks`"));
        }
        CHECK(subscriber.try_receive().status() == shm::status::would_block);
        shm::device_loan loan = publisher->loan(10).value();
        loan.publish().value();
        CHECK(!loan && loan.data() == nullptr);
        CHECK(loan.publish().status() == shm::status::null_argument);
        CHECK(loan.publish_on_stream(nullptr) == shm::status::null_argument);
        loan = publisher->loan(10).value();
        publisher.reset();
        CHECK(loan.publish().status() == shm::status::closed);
        CHECK(!loan);
    }
    check_clean(driver);
}

TEST(what_is_moved_from_is_empty) {
    const check::fake_cuda driver;
    {
        shm::device_publisher publisher("moved", device_options(1));
        shm::device_publisher other = std::move(publisher);
        CHECK(other && !publisher);
        CHECK(publisher.loan(1).status() == shm::status::null_argument);
        CHECK(publisher.wait_for(1ms) == shm::status::null_argument);
        CHECK_STATUS(null_argument, publisher.info());
        shm::device_subscriber first("moved");
        shm::device_subscriber subscriber = std::move(first);
        CHECK(subscriber && !first);
        CHECK(first.receive().status() == shm::status::null_argument);
        CHECK(first.receive_for(1ms).status() == shm::status::null_argument);
        CHECK_STATUS(null_argument, first.lost());
        CHECK_STATUS(null_argument, first.info());
        shm::device_loan loan = other.loan(100).value();
        void* const data = loan.data();
        shm::device_loan same = std::move(loan);
        CHECK(same.data() == data && !loan);
        driver.fill(data, 100, 1);
        same.publish().value();
        shm::device_sample sample = subscriber.try_receive().value();
        shm::device_sample kept = std::move(sample);
        check_sample(driver, kept, 1);
        CHECK(!sample && sample.position() == 0 && !sample.timestamp());
        CHECK(sample.release_on_stream(nullptr) == shm::status::null_argument);
        // What another one is moved over is released: the only block is there again.
        CHECK(other.loan(1).status() == shm::status::out_of_memory);
        kept = shm::device_sample(nullptr);
        loan = other.loan(1).value();
        loan = shm::device_loan(nullptr);
        CHECK(other.loan(1).status() == shm::status::ok);
    }
    check_clean(driver);
}

TEST(bad_options_are_refused) {
    const auto make = [](const shm::device_options& device,
                         const shm::publisher_options& options = {}, const std::string& topic = "bad") {
        return [=] { shm::device_publisher publisher(topic, device, options); };
    };
    CHECK_STATUS(invalid_option, make({})());
    CHECK(has(words_of(make({})), "option largest is 0, but must be at least 1"));
    CHECK_STATUS(invalid_option, make(device_options(65))());
    CHECK(has(words_of(make(device_options(65))), "option blocks is 65, but must be at most 64"));
    CHECK_STATUS(invalid_option, make(device_options(1, static_cast<shm::placement>(3)))());
    shm::publisher_options with_memory;
    with_memory.memory = 1 << 30;
    CHECK_STATUS(invalid_option, make(device_options(), with_memory)());
    CHECK(has(words_of(make(device_options(), with_memory)), "option memory is 1073741824"));
    shm::device_options no_such = device_options();
    no_such.device = 7;
    CHECK_STATUS(no_device, make(no_such)());
    CHECK(has(words_of(make(no_such)), "device 7 was asked for, and there are 2"));
    CHECK_STATUS(invalid_name, make(device_options(), {}, "")());
    const std::string with_nul("bad\0name", 8);
    CHECK_STATUS(invalid_name, make(device_options(), {}, with_nul)());
    CHECK_EQUAL(words_of(make(device_options(), {}, with_nul)), "a name holds a NUL byte");
    CHECK_STATUS(no_device, shm::device_subscriber("bad", 7));
    CHECK_STATUS(invalid_name, shm::device_subscriber(with_nul));
    std::error_code ec;
    const shm::device_publisher publisher("bad", device_options(65), {}, ec);
    CHECK(ec == shm::status::invalid_option && !publisher);
    const shm::device_subscriber none("bad", 7, {}, ec);
    CHECK(ec == shm::status::no_device && !none);
    const shm::device_subscriber subscriber("bad", 1, {}, ec);
    CHECK(!ec && subscriber);
}

TEST(a_message_that_is_too_large_is_refused) {
    shm::device_publisher publisher("large", device_options());
    const auto loan = publisher.loan(largest + 1);
    CHECK(loan.status() == shm::status::too_large);
    CHECK(has(words_of([&] { loan.value(); }), "the limit of " + std::to_string(largest)));
    CHECK(publisher.loan(largest).status() == shm::status::ok);
}

TEST(what_is_no_device_message_is_an_error) {
    shm::device_subscriber subscriber("plain");
    shm::publisher publisher("plain");
    publisher.publish_plain(1).value();
    CHECK(subscriber.try_receive().status() == shm::status::decode);
    CHECK_EQUAL(subscriber.lost(), 1U);
    CHECK(subscriber.try_receive().status() == shm::status::would_block);
}

TEST(a_sample_becomes_a_tensor_of_its_device) {
    const check::fake_cuda driver;
    {
        shm::subscriber_options one_hold;
        one_hold.holds = 1;
        shm::device_subscriber subscriber("tensor", 1, one_hold);
        shm::device_options options = device_options();
        options.device = 1;
        shm::device_publisher publisher("tensor", options);
        for (unsigned char n = 0; n < 6; ++n) {
            publish(driver, publisher, n, 24);
            shm::device_sample sample = subscriber.try_receive().value();
            const void* const data = sample.data();
            CHECK(std::move(sample).to_dlpack({5}, floats).status() == shm::status::wrong_size);
            CHECK(std::move(sample).to_dlpack_versioned({}, {2, 32, 0}).status() ==
                  shm::status::invalid_option);
            CHECK(sample && sample.data() == data);
            const auto check_tensor = [&](const DLTensor& tensor) {
                CHECK(!sample);
                CHECK(tensor.device.device_type == kDLCUDA && tensor.device.device_id == 1);
                CHECK(tensor.data == data && tensor.byte_offset == 0);
                CHECK(tensor.ndim == 2 && tensor.shape[0] == 2 && tensor.shape[1] == 3);
                CHECK(driver.is_all(tensor.data, 24, n));
                // It has the only hold, which is given back by its end.
                publish(driver, publisher, 100, 24);
                CHECK(subscriber.try_receive().status() == shm::status::no_hold);
            };
            if (n % 2 == 0) {
                check_tensor(std::move(sample).to_dlpack({2, 3}, floats).value()->dl_tensor);
            } else {
                const auto tensor =
                    std::move(sample).to_dlpack_versioned({2, 3}, floats).value();
                CHECK_EQUAL(tensor->flags, DLPACK_FLAG_BITMASK_READ_ONLY);
                check_tensor(tensor->dl_tensor);
            }
            check_sample(driver, subscriber.try_receive().value(), 100, 24);
            CHECK(std::move(sample).to_dlpack({2, 3}, floats).status() ==
                  shm::status::null_argument);
        }
    }
    check_clean(driver);
}

// Publishes what it is told to, a message of such bytes a line.
ROLE(publish_lines) {
    const check::fake_cuda driver;
    shm::device_publisher publisher("processes", device_options());
    std::cout << "ready" << std::endl;
    for (std::string line; std::getline(std::cin, line);) {
        publish(driver, publisher, static_cast<unsigned char>(std::stoi(line)));
        std::cout << "published" << std::endl;
    }
}

TEST(what_is_mapped_outlives_the_process_that_published_it) {
    const check::fake_cuda driver;
    {
        check::process publisher(check::this_executable, check::in_role("publish_lines", {}));
        CHECK_EQUAL(publisher.read_line(), "ready");
        shm::device_subscriber subscriber("processes");
        const auto tell = [&](const char* byte) {
            publisher.write_line(byte);
            CHECK_EQUAL(publisher.read_line(), "published");
        };
        tell("1");
        const shm::device_sample sample = subscriber.receive_for(20s).value();
        check_sample(driver, sample, 1);
        tell("2");
        publisher.kill();
        check_sample(driver, sample, 1);
        // Its block was never mapped here, and can't be any more.
        CHECK(subscriber.try_receive().status() == shm::status::would_block);
        CHECK_EQUAL(subscriber.lost(), 1U);
    }
    check_clean(driver);
}
