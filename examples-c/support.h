/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the examples share: their arguments, and how a publisher learns that its subscriber is there. */
#ifndef SUPPORT_H
#define SUPPORT_H

#include <shm/shm.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define TEN_SECONDS UINT64_C(10000000000)

struct arguments {
    const char *topic;
    char ack_topic[256];
    uint64_t count;
};

/* [topic] [count] */
struct arguments arguments(int argc, char **argv, const char *default_topic);

/* Ends the program unless `status` is SHM_OK. */
void check(int32_t status, const char *what);

/* The publisher's end of the acknowledgements: a subscriber that also gets what was sent before it came. */
shm_subscriber *ack_subscriber(const struct arguments *arguments);

/* Waits until `word` comes. */
void await(shm_subscriber *acks, const char *word);

/* The subscriber's end of the acknowledgements. */
void acknowledge(shm_publisher *acks, const char *word);

#endif
