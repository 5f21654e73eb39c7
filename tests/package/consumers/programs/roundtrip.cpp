// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Publishes a message, receives it, and prints the library's version and what came.

#include <shm/shm.hpp>

#include <iostream>
#include <memory>

#include "greeting.hpp"

int main() {
  shm::pubsub::Subscriber<Greeting, 16> subscriber("greetings", [](const std::shared_ptr<Greeting>& greeting) {
    std::cout << shm_version() << ' ' << greeting->text << '\n';
  });
  shm::pubsub::Publisher<Greeting, 16> publisher("greetings");
  if (!greet(publisher, "hello")) {
    return 1;
  }
  subscriber.spin_once();
  return 0;
}
