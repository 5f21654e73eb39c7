// SPDX-License-Identifier: MIT OR Apache-2.0
// Ways to copy with the CPU, by Shadesmar's names and by number.
#include <shadesmar/memory/dragons.h>
#include <shm/publisher.hpp>
#include <shm/subscriber.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "check.hpp"

namespace dragons = shm::memory::dragons;

namespace {

// Every length and alignment around the vectors' sizes, and nothing beyond the length.
void check_copies(shm::memory::Copier& copier) {
    constexpr std::size_t room = 8192, guard = 64;
    std::vector<unsigned char> from(room), to(room);
    for (std::size_t at = 0; at < room; ++at) from[at] = static_cast<unsigned char>(at * 7 + 1);
    for (std::size_t size : {1, 31, 32, 33, 63, 64, 65, 127, 128, 129, 1000, 4097}) {
        for (std::size_t shift : {0, 1, 13, 31}) {
            for (bool into_shm : {false, true}) {
                to.assign(room, 0xee);
                unsigned char* dst = to.data() + guard + shift;
                if (into_shm) {
                    copier.user_to_shm(dst, from.data() + shift, size);
                } else {
                    copier.shm_to_user(dst, from.data() + shift, size);
                }
                bool right = true;
                for (std::size_t at = 0; at < room; ++at) {
                    const bool inside = at >= guard + shift && at < guard + shift + size;
                    right = right && to[at] == (inside ? from[at - guard] : 0xee);
                }
                CHECK(right);
            }
        }
    }
    void* const memory = copier.alloc(100);
    CHECK(memory != nullptr && reinterpret_cast<std::uintptr_t>(memory) % 64 == 0);
    copier.dealloc(memory);
    CHECK(copier.alloc(SIZE_MAX) == nullptr);
}

template <typename Copier>
void check_way() {
    Copier copier;
    check_copies(copier);
    // As programs use it.
    shm::pubsub::PublisherBin<16> publisher("bytes", &copier);
    std::string received;
    shm::pubsub::SubscriberBin<16> subscriber("bytes", &copier, [&](shm::memory::Ptr* p) {
        received.assign(static_cast<const char*>(p->ptr), p->size);
    });
    std::string text(100000, 'x');
    CHECK(publisher.publish(text.data(), text.size()));
    CHECK(subscriber.spin_once());
    CHECK(received == text);
}

}  // namespace

TEST(shadesmars_ways_to_copy) {
    check_way<shm::memory::CpuCopier>();
    check_way<dragons::RepMovsbCopier>();
    check_way<dragons::AvxCopier>();
    check_way<dragons::AvxUnrollCopier>();
    check_way<dragons::AvxAsyncCopier>();
    check_way<dragons::AvxAsyncPFCopier>();
    check_way<dragons::AvxAsyncUnrollCopier>();
    check_way<dragons::AvxAsyncPFUnrollCopier>();
    check_way<dragons::MTCopier<shm::memory::DefaultCopier, 2>>();
    check_way<dragons::MTCopier<dragons::RepMovsbCopier, 2>>();
}

TEST(every_way_by_its_number) {
    for (std::uint32_t copy = SHM_CPU_COPY_AUTO; copy <= SHM_CPU_COPY_NEON; ++copy) {
        shm::memory::CpuCopier copier(copy);
        check_copies(copier);
        shm::memory::CpuCopier threads(copy, 3, 64);
        check_copies(threads);
        CHECK(shm_cpu_copy_implementation(copy, 1000) != SHM_CPU_COPY_AUTO);
    }
}

TEST(what_there_is_not_is_an_error) {
    CHECK_STATUS(invalid_option, shm::memory::CpuCopier(SHM_CPU_COPY_NEON + 1));
    CHECK_STATUS(invalid_option, shm::memory::CpuCopier(SHM_CPU_COPY_AUTO, 257));
    CHECK_STATUS(null_argument, shm::memory::CpuCopier().shm_to_user(nullptr, nullptr, 1));
}
