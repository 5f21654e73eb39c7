// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <rust/cxx.h>
#include <shm/publisher.hpp>
#include <shm/subscriber.hpp>

#include <memory>
#include <string>

#include "messages.hpp"

namespace interop {

struct Everything;  // cxx's, from lib.rs

class Peer {
public:
    explicit Peer(const std::string& topic, const std::string& root);

    void publish(const Everything& message);
    Everything receive();

private:
    shm::pubsub::Publisher<EverythingMessage, 16> publisher_;
    std::shared_ptr<EverythingMessage> received_;
    shm::pubsub::Subscriber<EverythingMessage, 16> subscriber_;
};

std::unique_ptr<Peer> open(rust::Str topic, rust::Str root);

}  // namespace interop
