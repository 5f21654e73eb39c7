// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <shadesmar/memory/copier.h>
#include <shadesmar/message.h>
#include <shadesmar/pubsub/publisher.h>
#include <shadesmar/pubsub/subscriber.h>
#include <shadesmar/rpc/client.h>
#include <shadesmar/rpc/server.h>
#include <shm/shm.hpp>

class Shared : public shm::BaseMsg {
public:
    int value{};
    SHM_PACK(value);
};

using Publisher = shm::pubsub::Publisher<Shared, 16>;

using Adder = shm::rpc::Function<int(int, Shared)>;

std::unique_ptr<Publisher> make_publisher();
std::unique_ptr<shm::copier> make_copier(shm::memory::Copier& user);
std::unique_ptr<Adder> make_adder();
const void* category_elsewhere();
