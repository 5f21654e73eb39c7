// SPDX-License-Identifier: MIT OR Apache-2.0
// Publishes from a GPU's memory, and receives into it. Without a GPU it says why.

#include "example.hpp"

#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <system_error>

namespace {

shm::copier cuda_copier() {
    shm_copier* handle = nullptr;
    const auto status = static_cast<shm::status>(shm_copier_cuda_create(nullptr, &handle));  // the first GPU
    if (status != shm::status::ok) throw shm::error(status);
    return shm::copier(handle);
}

void check(shm::status status) {
    if (status != shm::status::ok) throw shm::error(status);
}

// Stands in for a kernel's work, by way of a loan that isn't published. A program with CUDA code has
// memory of cudaMalloc, which does as well.
void* on_device(shm::publisher& publisher, const shm::copier& copier, const std::string& text) {
    shm::loan loan = publisher.loan(text.size()).value();
    std::memcpy(loan.data(), text.data(), text.size());
    void* memory = copier.alloc(text.size()).value();
    check(copier.shm_to_user(memory, loan.data(), text.size()));
    return memory;
}

std::string text_at(shm::publisher& publisher, const shm::copier& copier, const void* memory,
                    std::size_t size) {
    shm::loan loan = publisher.loan(size).value();
    check(copier.user_to_shm(loan.data(), memory, size));
    return {static_cast<const char*>(loan.data()), size};
}

void run(const example::arguments& args, const shm::copier& copier) {
    shm::subscriber subscriber(args.topic);
    shm::publisher publisher(args.topic);
    for (unsigned long n = 0; n < args.count; ++n) {
        const std::string text = "hello " + std::to_string(n);
        void* from = on_device(publisher, copier, text);
        publisher.publish_from(copier, from, text.size()).value();
        check(copier.dealloc(from, text.size()));

        const shm::sample sample = subscriber.receive_for(example::patience).value();
        void* received = copier.copy_out(sample.data(), sample.size()).value();
        std::printf("received %lu %s\n", n, text_at(publisher, copier, received, sample.size()).c_str());
        check(copier.dealloc(received, sample.size()));
    }
}

}  // namespace

int main(int argc, char** argv) try {
    const example::arguments args(argc, argv, "/gpu");
    run(args, cuda_copier());
} catch (const shm::error& e) {
    if (e.status() == shm::status::no_device) {
        std::printf("%s\n", e.what());
        return 0;
    }
    std::fprintf(stderr, "gpu: %s\n", e.what());
    return 1;
} catch (const std::exception& e) {
    std::fprintf(stderr, "gpu: %s\n", e.what());
    return 1;
}
