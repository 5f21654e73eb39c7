/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Publishes `count` texts as raw bytes. Usage: raw_publisher [topic] [count] */
#include "support.h"

int main(int argc, char **argv) {
    struct arguments given = arguments(argc, argv, "/raw");
    shm_publisher *publisher;
    check(shm_publisher_create(given.topic, NULL, &publisher), given.topic);
    shm_subscriber *acks = ack_subscriber(&given);
    await(acks, "ready");

    for (uint64_t n = 0; n < given.count; n++) {
        char text[32];
        int length = snprintf(text, sizeof text, "hello %" PRIu64, n);
        check(shm_publisher_publish(publisher, text, (size_t)length, NULL), "publish");
    }
    printf("published %" PRIu64 "\n", given.count);

    await(acks, "done");
    shm_subscriber_destroy(acks);
    shm_publisher_destroy(publisher);
    return 0;
}
