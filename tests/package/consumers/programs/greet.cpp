// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The second unit of the program: it includes every header once more, those with Shadesmar's names too.

#include <shadesmar/memory/copier.h>
#include <shadesmar/message.h>
#include <shadesmar/pubsub/publisher.h>
#include <shadesmar/pubsub/subscriber.h>
#include <shadesmar/rpc/client.h>
#include <shadesmar/rpc/server.h>
#include <shm/shm.hpp>

#include "greeting.hpp"

bool greet(shm::pubsub::Publisher<Greeting, 16>& publisher, const std::string& text) {
  Greeting greeting;
  greeting.text = text;
  return publisher.publish(greeting);
}
