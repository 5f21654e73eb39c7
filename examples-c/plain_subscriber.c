/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Receives `count` plain structs and reads them in place. Usage: plain_subscriber [topic] [count] */
#include "pose.h"
#include "support.h"

int main(int argc, char **argv) {
    struct arguments given = arguments(argc, argv, "/plain");
    shm_subscriber *subscriber;
    check(shm_subscriber_create(given.topic, NULL, &subscriber), given.topic);
    shm_publisher *acks;
    check(shm_publisher_create(given.ack_topic, NULL, &acks), given.ack_topic);
    acknowledge(acks, "ready");

    for (uint64_t n = 0; n < given.count; n++) {
        shm_sample *sample;
        check(shm_subscriber_receive_timeout(subscriber, TEN_SECONDS, &sample), "receive");
        if (shm_sample_size(sample) != sizeof(struct pose)) {
            check(SHM_ERR_WRONG_SIZE, "pose");
        }
        const struct pose *pose = shm_sample_data(sample);
        printf("received %" PRIu64 " id=%" PRIu64 " x=%g y=%g z=%g\n", n, pose->id, pose->x, pose->y,
               pose->z);
        shm_sample_release(sample);
    }

    acknowledge(acks, "done");
    shm_publisher_destroy(acks);
    shm_subscriber_destroy(subscriber);
    return 0;
}
