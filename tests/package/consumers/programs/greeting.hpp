// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <shm/message.hpp>
#include <shm/publisher.hpp>

#include <string>

class Greeting : public shm::BaseMsg {
 public:
  std::string text{};
  SHM_PACK(text);
  Greeting() = default;
};

bool greet(shm::pubsub::Publisher<Greeting, 16>& publisher, const std::string& text);
