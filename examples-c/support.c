/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "support.h"

#include <string.h>

struct arguments arguments(int argc, char **argv, const char *default_topic) {
    struct arguments given;
    given.topic = argc > 1 ? argv[1] : default_topic;
    given.count = argc > 2 ? strtoull(argv[2], NULL, 10) : 10;
    int length = snprintf(given.ack_topic, sizeof given.ack_topic, "%s.ack", given.topic);
    if (length < 0 || (size_t)length >= sizeof given.ack_topic) {
        fprintf(stderr, "the topic's name is too long\n");
        exit(1);
    }
    return given;
}

void check(int32_t status, const char *what) {
    if (status == SHM_OK) return;
    fprintf(stderr, "%s: %s", what, shm_status_string(status));
    if (status < 0) fprintf(stderr, ": %s", shm_last_error_message());
    fprintf(stderr, "\n");
    exit(1);
}

shm_subscriber *ack_subscriber(const struct arguments *arguments) {
    shm_subscriber_options options;
    check(shm_subscriber_options_init(&options), "options");
    options.history = SHM_HISTORY_ALL;
    shm_subscriber *acks;
    check(shm_subscriber_create(arguments->ack_topic, &options, &acks), arguments->ack_topic);
    return acks;
}

void await(shm_subscriber *acks, const char *word) {
    int same;
    do {
        shm_sample *sample;
        check(shm_subscriber_receive_timeout(acks, TEN_SECONDS, &sample), word);
        size_t size = shm_sample_size(sample);
        same = size == strlen(word) && memcmp(shm_sample_data(sample), word, size) == 0;
        shm_sample_release(sample);
    } while (!same);
}

void acknowledge(shm_publisher *acks, const char *word) {
    check(shm_publisher_publish(acks, word, strlen(word), NULL), word);
}
