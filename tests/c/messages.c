/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* From publish to receive within one process. */
#include "check.h"

#include <time.h>

static char marker;
#define UNTOUCHED ((void *)&marker)

static uint64_t now(clockid_t clock) {
    struct timespec time;
    CHECK(clock_gettime(clock, &time) == 0);
    return (uint64_t)time.tv_sec * UINT64_C(1000000000) + (uint64_t)time.tv_nsec;
}

static void order_and_content(void) {
    shm_publisher *first = new_publisher("/order", NULL);
    shm_publisher *second = new_publisher("/order", NULL);
    shm_subscriber *subscriber = new_subscriber("/order", NULL);
    uint64_t start = publish_number(first, 0);
    for (uint64_t n = 1; n < 50; n++) {
        CHECK(publish_number(n % 3 == 0 ? first : second, n) == start + n);
    }
    for (uint64_t n = 0; n < 50; n++) {
        shm_sample *sample = next_sample(subscriber);
        CHECK(number_in(sample) == n);
        CHECK(shm_sample_position(sample) == start + n);
        CHECK(shm_sample_timestamp(sample) == 0);
        CHECK((uintptr_t)shm_sample_data(sample) % 64 == 0);
        shm_sample_release(sample);
    }
    shm_subscriber_destroy(subscriber);
    shm_publisher_destroy(second);
    shm_publisher_destroy(first);
}

static void sizes(void) {
    shm_publisher *publisher = new_publisher("/sizes", NULL);
    shm_subscriber *subscriber = new_subscriber("/sizes", NULL);
    size_t largest = (size_t)3 << 20;
    unsigned char *bytes = malloc(largest);
    CHECK(bytes != NULL);
    for (size_t i = 0; i < largest; i++) bytes[i] = (unsigned char)(i * 31 >> 3);
    const size_t lengths[] = {0, 1, 63, 64, 65, 4095, 4096, 4097, 100000, largest};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        CHECK_STATUS(shm_publisher_publish(publisher, bytes, lengths[i], NULL), SHM_OK);
        shm_sample *sample = next_sample(subscriber);
        CHECK(shm_sample_size(sample) == lengths[i]);
        CHECK(lengths[i] == 0 || memcmp(shm_sample_data(sample), bytes, lengths[i]) == 0);
        shm_sample_release(sample);
    }
    free(bytes);

    uint64_t position = 7;
    CHECK_STATUS(shm_publisher_publish(publisher, "x", SIZE_MAX, &position), SHM_ERR_TOO_LARGE);
    CHECK_STATUS(shm_publisher_publish(publisher, "x", SIZE_MAX / 2 + 1, &position), SHM_ERR_TOO_LARGE);
    CHECK(position == 7);
    shm_subscriber_destroy(subscriber);
    shm_publisher_destroy(publisher);
}

static void nothing_there(void) {
    shm_publisher *publisher = new_publisher("/nothing", NULL);
    shm_subscriber *subscriber = new_subscriber("/nothing", NULL);
    shm_sample *sample = UNTOUCHED;
    CHECK_STATUS(shm_subscriber_try_receive(subscriber, &sample), SHM_WOULD_BLOCK);
    CHECK_STATUS(shm_subscriber_receive_timeout(subscriber, 0, &sample), SHM_TIMED_OUT);
    uint64_t start = now(CLOCK_MONOTONIC);
    CHECK_STATUS(shm_subscriber_receive_timeout(subscriber, 20000000, &sample), SHM_TIMED_OUT);
    CHECK(now(CLOCK_MONOTONIC) - start >= 20000000);
    CHECK(sample == UNTOUCHED);

    /* What is there is received, however the waiting is asked for. */
    for (uint64_t n = 0; n < 4; n++) publish_number(publisher, n);
    CHECK_STATUS(shm_subscriber_try_receive(subscriber, &sample), SHM_OK);
    shm_sample_release(sample);
    CHECK_STATUS(shm_subscriber_receive(subscriber, &sample), SHM_OK);
    shm_sample_release(sample);
    CHECK_STATUS(shm_subscriber_receive_timeout(subscriber, 0, &sample), SHM_OK);
    shm_sample_release(sample);
    CHECK_STATUS(shm_subscriber_receive_timeout(subscriber, UINT64_MAX, &sample), SHM_OK);
    CHECK(number_in(sample) == 3);
    shm_sample_release(sample);
    shm_subscriber_destroy(subscriber);
    shm_publisher_destroy(publisher);
}

static uint64_t count_all(const char *topic, uint32_t history) {
    shm_subscriber_options options = subscriber_defaults();
    options.history = history;
    shm_subscriber *subscriber = new_subscriber(topic, &options);
    shm_sample *sample;
    uint64_t count = 0;
    while (shm_subscriber_try_receive(subscriber, &sample) == SHM_OK) {
        shm_sample_release(sample);
        count++;
    }
    shm_subscriber_destroy(subscriber);
    return count;
}

static void history(void) {
    shm_publisher *publisher = new_publisher("/history", NULL);
    for (uint64_t n = 0; n < 5; n++) publish_number(publisher, n);
    CHECK(count_all("/history", 0) == 0);
    CHECK(count_all("/history", 3) == 3);
    CHECK(count_all("/history", SHM_HISTORY_ALL) == 5);
    shm_publisher_destroy(publisher);
}

static void lost(void) {
    shm_publisher_options options = publisher_defaults();
    options.capacity = 8;
    shm_publisher *publisher = new_publisher("/lost", &options);
    shm_subscriber *subscriber = new_subscriber("/lost", NULL);
    uint64_t lost = 7;
    CHECK_STATUS(shm_subscriber_lost(subscriber, &lost), SHM_OK);
    CHECK(lost == 0);
    for (uint64_t n = 0; n < 20; n++) publish_number(publisher, n);

    uint64_t received = 0;
    shm_sample *sample;
    while (shm_subscriber_try_receive(subscriber, &sample) == SHM_OK) {
        uint64_t number = number_in(sample);
        shm_sample_release(sample);
        received++;
        CHECK_STATUS(shm_subscriber_lost(subscriber, &lost), SHM_OK);
        CHECK(number == lost + received - 1);
    }
    CHECK(received > 0 && lost >= 12 && received + lost == 20);
    shm_subscriber_destroy(subscriber);
    shm_publisher_destroy(publisher);
}

static void timestamps(void) {
    shm_publisher_options options = publisher_defaults();
    options.timestamps = 1;
    shm_publisher *publisher = new_publisher("/time", &options);
    shm_subscriber *subscriber = new_subscriber("/time", NULL);
    uint64_t before = now(CLOCK_REALTIME);
    publish_number(publisher, 1);
    uint64_t after = now(CLOCK_REALTIME);
    shm_sample *sample = next_sample(subscriber);
    CHECK(before <= shm_sample_timestamp(sample) && shm_sample_timestamp(sample) <= after);
    shm_sample_release(sample);
    shm_subscriber_destroy(subscriber);
    shm_publisher_destroy(publisher);
}

int main(void) {
    fresh_root();
    order_and_content();
    sizes();
    nothing_there();
    history();
    lost();
    timestamps();
    check_root_is_empty();
    return 0;
}
