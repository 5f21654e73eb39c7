// SPDX-License-Identifier: MIT OR Apache-2.0
// Device topics where nothing drives a GPU.
#include <shm/device.hpp>

#include <string>
#include <system_error>

#include "check.hpp"

TEST(without_a_driver_there_is_no_device_and_it_is_said_what_to_do) {
    try {
        const shm::device_subscriber subscriber("none");
        check::fail(__FILE__, __LINE__, "it joined");
    } catch (const shm::error& e) {
        CHECK(e.status() == shm::status::no_device);
        const std::string words = e.what();
        CHECK(words.find("libcuda.so.1") != std::string::npos);
        CHECK(words.find("install it, or in a container") != std::string::npos);
    }
    shm::device_options device;
    device.largest = 1;
    CHECK_STATUS(no_device, shm::device_publisher("none", device));
}

TEST(without_a_driver_and_without_exceptions_both_are_empty) {
    shm::device_options device;
    device.largest = 1;
    std::error_code ec;
    shm::device_publisher publisher("none", device, {}, ec);
    CHECK(ec == shm::status::no_device && !publisher);
    ec.clear();
    shm::device_subscriber subscriber("none", 0, {}, ec);
    CHECK(ec == shm::status::no_device && !subscriber);
    CHECK(publisher.loan(1).status() == shm::status::null_argument);
    CHECK(publisher.wait() == shm::status::null_argument);
    CHECK(subscriber.try_receive().status() == shm::status::null_argument);
    CHECK_STATUS(null_argument, subscriber.lost());
    CHECK_STATUS(null_argument, publisher.info());
}
