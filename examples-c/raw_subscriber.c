/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Receives `count` texts as raw bytes, without a copy. Usage: raw_subscriber [topic] [count] */
#include "support.h"

int main(int argc, char **argv) {
    struct arguments given = arguments(argc, argv, "/raw");
    shm_subscriber *subscriber;
    check(shm_subscriber_create(given.topic, NULL, &subscriber), given.topic);
    shm_publisher *acks;
    check(shm_publisher_create(given.ack_topic, NULL, &acks), given.ack_topic);
    acknowledge(acks, "ready");

    for (uint64_t n = 0; n < given.count; n++) {
        shm_sample *sample;
        check(shm_subscriber_receive_timeout(subscriber, TEN_SECONDS, &sample), "receive");
        int size = (int)shm_sample_size(sample);
        printf("received %" PRIu64 " %.*s\n", n, size, (const char *)shm_sample_data(sample));
        shm_sample_release(sample);
    }

    acknowledge(acks, "done");
    shm_publisher_destroy(acks);
    shm_subscriber_destroy(subscriber);
    return 0;
}
