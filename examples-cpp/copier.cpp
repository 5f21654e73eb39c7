// SPDX-License-Identifier: MIT OR Apache-2.0
// Publishes from memory that only a copier of one's own reaches, and receives into such memory: here that
// of a "device" that keeps all bytes inverted.

#include "example.hpp"

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>

namespace {

class Device : public shm::memory::Copier {
public:
    int blocks = 0, written = 0, read = 0;

    void* alloc(std::size_t size) override {
        void* memory = std::malloc(size);
        if (memory != nullptr) ++blocks;
        return memory;
    }
    void dealloc(void* memory) override {
        std::free(memory);
        --blocks;
    }
    void shm_to_user(void* dst, void* src, std::size_t size) override { invert(dst, src, size); }
    void user_to_shm(void* dst, void* src, std::size_t size) override { invert(dst, src, size); }

    // What a real one would tell its driver.
    [[nodiscard]] bool wants_pins() const override { return true; }
    bool pin(void*, std::size_t, bool is_writable) override {
        ++(is_writable ? written : read);
        return true;
    }

    static void invert(void* dst, const void* src, std::size_t size) {
        for (std::size_t i = 0; i < size; ++i) {
            static_cast<unsigned char*>(dst)[i] =
                static_cast<unsigned char>(~static_cast<const unsigned char*>(src)[i]);
        }
    }
};

}  // namespace

int main(int argc, char** argv) try {
    const example::arguments args(argc, argv, "/copier");
    Device device;
    {
        unsigned long received = 0;
        shm::pubsub::SubscriberBin<> subscriber(args.topic, &device, [&](shm::memory::Ptr* message) {
            std::string text(message->size, '\0');
            Device::invert(text.data(), message->ptr, message->size);
            std::printf("received %lu %s\n", received++, text.c_str());
        });
        shm::pubsub::PublisherBin<> publisher(args.topic, &device);
        for (unsigned long n = 0; n < args.count; ++n) {
            const std::string text = "hello " + std::to_string(n);
            void* from = device.alloc(text.size());
            if (from == nullptr) throw std::bad_alloc();
            Device::invert(from, text.data(), text.size());
            const bool published = publisher.publish(from, text.size());
            device.dealloc(from);
            if (!published) throw std::system_error(publisher.last_error());
            subscriber.spin_once(example::patience);
        }
        if (received != args.count) throw std::runtime_error("not all messages came");
    }
    std::printf("mappings: %d to write, %d to read; blocks left: %d\n", device.written, device.read,
                device.blocks);
} catch (const std::exception& e) {
    std::fprintf(stderr, "copier: %s\n", e.what());
    return 1;
}
