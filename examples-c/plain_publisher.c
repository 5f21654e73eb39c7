/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Publishes `count` plain structs, each written in place. Usage: plain_publisher [topic] [count] */
#include "pose.h"
#include "support.h"

int main(int argc, char **argv) {
    struct arguments given = arguments(argc, argv, "/plain");
    shm_publisher *publisher;
    check(shm_publisher_create(given.topic, NULL, &publisher), given.topic);
    shm_subscriber *acks = ack_subscriber(&given);
    await(acks, "ready");

    for (uint64_t n = 0; n < given.count; n++) {
        shm_loan *loan;
        check(shm_publisher_loan(publisher, sizeof(struct pose), &loan), "loan");
        struct pose *pose = shm_loan_data(loan);
        pose->id = n;
        pose->x = (double)n * 0.5;
        pose->y = (double)n * 1.5;
        pose->z = (double)n * 2.5;
        check(shm_loan_publish(loan, NULL), "publish");
    }
    printf("published %" PRIu64 "\n", given.count);

    await(acks, "done");
    shm_subscriber_destroy(acks);
    shm_publisher_destroy(publisher);
    return 0;
}
