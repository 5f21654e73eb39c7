// SPDX-License-Identifier: MIT OR Apache-2.0
// Both units hold all of the headers: what isn't inline there doesn't link.
#include "../root.hpp"
#include "unit.hpp"

int main() {
    const check::temporary_root root;
    const auto publisher = make_publisher();
    int value = 0;
    shm::subscriber_options options;
    options.history = shm::history_all;
    shm::pubsub::Subscriber<Shared, 16> subscriber(
        "units", [&](const std::shared_ptr<Shared>& message) { value = message->value; }, options);
    const bool received = subscriber.spin_once() && value == 42;
    const bool again = publisher->publish(Shared()) && subscriber.spin_once() && value == 0;
    // What one unit's copier throws is the other's to catch.
    class Throwing : public shm::memory::DefaultCopier {
        void* alloc(std::size_t) override { throw 42; }
    } throwing;
    int thrown = 0;
    try {
        static_cast<void>(make_copier(throwing)->alloc(1));
    } catch (int caught) {
        thrown = caught;
    }
    const auto adder = make_adder();
    std::thread serving([&] { adder->serve_once(); });
    Shared more;
    more.value = 2;
    const bool called = shm::rpc::FunctionCaller("adder").call<int>(40, more) == 42;
    serving.join();
    return received && again && called && thrown == 42 && &shm::category() == category_elsewhere() ? 0 : 1;
}
