// SPDX-License-Identifier: MIT OR Apache-2.0
#include <shm/publisher.hpp>
#include <shm/subscriber.hpp>
#include <shm/tensor.hpp>

#include <dlpack/dlpack.h>

#include <array>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "check.hpp"

namespace {

constexpr auto floats = shm::data_type::of<float>();

// A subscriber that may hold one sample, so that a sample that isn't released is noticed.
shm::subscriber_options one_hold() {
    shm::subscriber_options options;
    options.holds = 1;
    return options;
}

}  // namespace

static_assert(std::is_nothrow_move_constructible_v<shm::dlpack_tensor>);
static_assert(shm::data_type::of<bool>().code == 6 && shm::data_type::of<bool>().bits == 8);
static_assert(shm::data_type::of<std::uint16_t>().code == kDLUInt);
static_assert(shm::data_type::of<long long>().code == kDLInt);
static_assert(floats.code == kDLFloat && floats.bits == 32 && floats.lanes == 1);

TEST(a_sample_becomes_a_tensor_in_place) {
    shm::subscriber subscriber("in_place", one_hold());
    shm::publisher publisher("in_place");
    const auto publish = [&](float n) {
        publisher.publish_plain(std::array<float, 6>{n, 1, 2, 3, 4, 5}).value();
    };
    publish(0);
    for (float n = 0; n < 5; ++n) {
        // There is always another one to be received.
        publish(n + 1);
        shm::sample sample = subscriber.try_receive().value();
        const void* data = sample.data();
        const auto check_tensor = [&](const DLTensor& tensor) {
            CHECK(!sample);
            CHECK(tensor.data == data);
            CHECK_EQUAL(*static_cast<const float*>(tensor.data), n);
            CHECK(tensor.ndim == 2 && tensor.shape[0] == 2 && tensor.shape[1] == 3);
            CHECK(subscriber.try_receive().error() == shm::status::no_hold);
        };
        if (static_cast<int>(n) % 2 == 0) {
            const auto tensor = std::move(sample).to_dlpack({2, 3}, floats).value();
            check_tensor(tensor->dl_tensor);
        } else {
            const auto tensor = std::move(sample).to_dlpack_versioned({2, 3}, floats).value();
            CHECK_EQUAL(tensor->flags, DLPACK_FLAG_BITMASK_READ_ONLY);
            check_tensor(tensor->dl_tensor);
        }
    }
}

TEST(a_sample_of_another_size_stays_what_it_is) {
    shm::subscriber subscriber("size", one_hold());
    shm::publisher publisher("size");
    publisher.publish_plain(1.0F).value();
    shm::sample sample = subscriber.try_receive().value();
    CHECK(std::move(sample).to_dlpack({2}, floats).status() == shm::status::wrong_size);
    CHECK(std::move(sample).to_dlpack_versioned({}, {2, 32, 0}).status() ==
          shm::status::invalid_option);
    CHECK(sample && sample.size() == sizeof(float));
    CHECK(std::move(sample).to_dlpack({}, floats).status() == shm::status::ok);
    CHECK(std::move(sample).to_dlpack({}, floats).status() == shm::status::null_argument);
}

TEST(a_tensor_is_ended_by_any_thread_after_its_subscriber) {
    shm::publisher publisher("later");
    auto subscriber = std::make_unique<shm::subscriber>("later", one_hold());
    publisher.publish_plain(7.0F).value();
    auto tensor = subscriber->try_receive().value().to_dlpack({1}, floats).value();
    subscriber.reset();
    for (int n = 0; n < 200; ++n) publisher.publish_plain(8.0F).value();
    std::thread([tensor = tensor.release()] {
        CHECK_EQUAL(*static_cast<const float*>(tensor->dl_tensor.data), 7.0F);
        tensor->deleter(tensor);
    }).join();
}

TEST(a_loan_is_filled_as_a_tensor) {
    shm::subscriber subscriber("loan", one_hold());
    shm::publisher publisher("loan");
    shm::loan loan = publisher.loan(2 * sizeof(float)).value();
    CHECK(loan.to_dlpack({3}, floats).status() == shm::status::wrong_size);
    const auto view = loan.to_dlpack({2}, floats).value();
    static_cast<float*>(view->dl_tensor.data)[1] = 3;
    CHECK(loan.to_dlpack_versioned({2}, floats).value()->dl_tensor.data == loan.data());
    loan.publish().value();
    CHECK_EQUAL(static_cast<const float*>(subscriber.receive().value().data())[1], 3.0F);
}

TEST(a_tensor_is_published_in_row_major_order) {
    shm::subscriber subscriber("strided", one_hold());
    shm::publisher publisher("strided");
    std::array<float, 6> numbers{0, 1, 2, 3, 4, 5};
    std::array<std::int64_t, 2> shape{3, 2};
    std::array<std::int64_t, 2> strides{1, 3};
    DLTensor tensor{numbers.data(), {kDLCPU, 0}, 2, {kDLFloat, 32, 1}, shape.data(), strides.data(), 0};
    publisher.publish_dlpack(tensor).value();
    const std::array<float, 6> expected{0, 3, 1, 4, 2, 5};
    const shm::sample sample = subscriber.receive().value();
    CHECK((*sample.as<std::array<float, 6>>() == expected));
    tensor.device.device_type = kDLCUDA;
    CHECK(publisher.publish_dlpack(tensor).status() == shm::status::no_device);
}
