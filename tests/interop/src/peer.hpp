// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <rust/cxx.h>
#include <shm/client.hpp>
#include <shm/publisher.hpp>
#include <shm/server.hpp>
#include <shm/subscriber.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <thread>

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

class Echo {
public:
    explicit Echo(const std::string& name, const std::string& root);
    ~Echo();

private:
    shm::rpc::Function<EverythingMessage(EverythingMessage, std::uint32_t)> function_;
    std::thread thread_;
};

std::unique_ptr<Echo> offer(rust::Str name, rust::Str root);
Everything call(rust::Str name, rust::Str root, const Everything& message, std::uint32_t more);

std::unique_ptr<Peer> open(rust::Str topic, rust::Str root);

}  // namespace interop
