// SPDX-License-Identifier: MIT OR Apache-2.0
#include "unit.hpp"

std::unique_ptr<Publisher> make_publisher() {
    auto publisher = std::make_unique<Publisher>("units");
    Shared message;
    message.value = 42;
    if (!publisher->publish(message)) throw std::system_error(publisher->last_error());
    return publisher;
}

std::unique_ptr<shm::copier> make_copier(shm::memory::Copier& user) {
    return std::make_unique<shm::copier>(user);
}

std::unique_ptr<Adder> make_adder() {
    return std::make_unique<Adder>("adder", [](int n, const Shared& more) { return n + more.value; });
}

const void* category_elsewhere() { return &shm::category(); }
