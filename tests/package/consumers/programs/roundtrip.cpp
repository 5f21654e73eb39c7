// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Publishes a message, receives it, has its text fetched by a function that threads serve, and prints the
// library's version and what came.

#include <shm/shm.hpp>

#include <iostream>
#include <memory>
#include <string>
#include <thread>

#include "greeting.hpp"

int main() {
  std::string received;
  shm::pubsub::Subscriber<Greeting, 16> subscriber("greetings", [&](const std::shared_ptr<Greeting>& greeting) {
    received = greeting->text;
  });
  shm::pubsub::Publisher<Greeting, 16> publisher("greetings");
  if (!greet(publisher, "hello")) {
    return 1;
  }
  subscriber.spin_once();

  shm::rpc::Function<std::string()> function("greeting", [&] { return received; });
  std::thread serving([&] { function.serve(2); });
  const auto text = shm::rpc::FunctionCaller("greeting").call<std::string>();
  function.stop();
  serving.join();
  std::cout << shm_version() << ' ' << text << '\n';
  return 0;
}
