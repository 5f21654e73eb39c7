// SPDX-License-Identifier: MIT OR Apache-2.0
// What Shadesmar's README shows, as a program: built once with its include lines and once with
// those of this library, and nothing else changed.

#ifdef SHADESMAR_NAMES
#include <shadesmar/memory/copier.h>
#include <shadesmar/pubsub/publisher.h>
#include <shadesmar/pubsub/subscriber.h>
#else
#include <shm/copier.hpp>
#include <shm/publisher.hpp>
#include <shm/subscriber.hpp>
#endif

#include <cstdlib>
#include <cstring>
#include <functional>
#include <iostream>
#include <map>
#include <string>

#include "custom_message.h"

namespace {

constexpr int count = 10;
const uint32_t data_size = 1024;

// Between a subscriber that is there and a publisher that begins, the test passes on these lines.
void say_ready() { std::cout << "ready" << std::endl; }
void await_go() {
  std::string line;
  std::getline(std::cin, line);
}

int received = 0;
std::function<void()> stop;

void callback(const std::shared_ptr<CustomMessage>& msg) {
  std::cout << msg->val << " " << msg->arr.size() << " " << msg->im.inner_val << " "
            << msg->im.inner_str << " " << (msg->timestamp != 0) << std::endl;
  if (++received == count) stop();
}

void bin_callback(shm::memory::Ptr *msg) {
  std::cout << msg->size << " " << static_cast<char *>(msg->ptr)[data_size - 1] << std::endl;
  if (received == 0) {
    msg->no_delete();
    free(msg->ptr);
  }
  if (++received == count) stop();
}

class MyCopier : public shm::memory::Copier {
 public:
  using PtrT = uint8_t;
  void *alloc(size_t size) override { return malloc(size); }
  void dealloc(void *ptr) override { free(ptr); }
  void shm_to_user(void *dst, void *src, size_t size) override { std::memcpy(dst, src, size); }
  void user_to_shm(void *dst, void *src, size_t size) override { std::memcpy(dst, src, size); }
};

void publisher() {
    shm::pubsub::Publisher<CustomMessage, 16 /* buffer size */ > pub("topic_name");
    await_go();

    CustomMessage msg;
    msg.val = 0;

    for (int i = 0; i < count; ++i) {
        msg.init_time(i % 2 ? shm::SYSTEM : shm::STEADY);
        msg.arr.assign(static_cast<size_t>(i), i);
        msg.im.inner_str = "inner";
        if (i == 0) pub.publish(&msg);
        else if (i == 1) pub.publish(std::make_shared<CustomMessage>(msg));
        else pub.publish(msg);
        msg.val++;
    }
    await_go();
}

void subscriber() {
    shm::pubsub::Subscriber<CustomMessage, 16 /* buffer size */ > sub("topic_name", callback);
    stop = [&] { sub.stop(); };
    say_ready();
    while (received < 2) {
        sub.spinOnce();
        sub.spin_once();
    }
    sub.spin();
}

void subscriber_with_extra_copy() {
    shm::pubsub::Subscriber<CustomMessage, 16> sub("topic_name", callback, true);
    stop = [&] { sub.stop(); };
    say_ready();
    sub.spin();
}

template <typename Publisher>
void publish_bytes(Publisher& p) {
    await_go();
    void *data = malloc(data_size);
    std::memset(data, 'x', data_size);
    for (int i = 0; i < count; ++i) {
        p.publish(data, data_size);
    }
    free(data);
    await_go();
}

void bin_publisher() {
    shm::memory::DefaultCopier cpy;
    shm::pubsub::PublisherBin<16 /* buffer size */ > pub("topic_name", &cpy);
    publish_bytes(pub);
}

void bin_publisher_without_copier() {
    shm::pubsub::PublisherBin<16 /* buffer size */ > pub("topic_name");
    publish_bytes(pub);
}

template <typename Copier>
void bin_subscriber() {
    Copier cpy;
    shm::pubsub::SubscriberBin<16 /* buffer size */ > sub("topic_name", &cpy, bin_callback);
    stop = [&] { sub.stop(); };
    say_ready();
    sub.spin();
}

}  // namespace

int main(int argc, char **argv) {
  const std::map<std::string, void (*)()> parts = {
      {"publisher", publisher},
      {"subscriber", subscriber},
      {"subscriber_with_extra_copy", subscriber_with_extra_copy},
      {"bin_publisher", bin_publisher},
      {"bin_publisher_without_copier", bin_publisher_without_copier},
      {"bin_subscriber", bin_subscriber<shm::memory::DefaultCopier>},
      {"bin_subscriber_with_own_copier", bin_subscriber<MyCopier>},
  };
  parts.at(argc > 1 ? argv[1] : "")();
}
