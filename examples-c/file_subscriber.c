/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Receives a file: writes each piece from shared memory. Usage: file_subscriber number topic output */
#include "support.h"

#include <string.h>

/* What stands before the bytes of each piece. */
struct piece {
    uint64_t index;
    uint64_t count;
};

/* A subscriber's word: it has all pieces before `next`. */
struct progress {
    uint64_t subscriber;
    uint64_t next;
};

static void fail(const char *what) {
    fprintf(stderr, "file_subscriber: %s\n", what);
    exit(1);
}

/* Writes the bytes of the piece, which is to be number `next`; returns how many pieces there are. */
static uint64_t write_piece(const shm_sample *sample, uint64_t next, FILE *output) {
    struct piece piece;
    size_t size = shm_sample_size(sample);
    if (size < sizeof piece) {
        fail("a message is too short for a piece");
    }
    const unsigned char *data = shm_sample_data(sample);
    memcpy(&piece, data, sizeof piece);
    if (piece.index != next) {
        fail("a piece is missing");
    }
    if (fwrite(data + sizeof piece, 1, size - sizeof piece, output) != size - sizeof piece) {
        fail("cannot write the output");
    }
    return piece.count;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fail("usage: file_subscriber number topic output");
    }
    char ack_topic[256];
    if ((size_t)snprintf(ack_topic, sizeof ack_topic, "%s.ack", argv[2]) >= sizeof ack_topic) {
        fail("the topic's name is too long");
    }
    FILE *output = fopen(argv[3], "wb");
    if (output == NULL) {
        fail("cannot open the output");
    }
    shm_subscriber *subscriber;
    check(shm_subscriber_create(argv[2], NULL, &subscriber), argv[2]);
    shm_publisher *acks;
    check(shm_publisher_create(ack_topic, NULL, &acks), ack_topic);
    struct progress progress = {strtoull(argv[1], NULL, 10), 0};
    check(shm_publisher_publish(acks, &progress, sizeof progress, NULL), "acknowledge");

    uint64_t count;
    do {
        shm_sample *sample;
        check(shm_subscriber_receive_timeout(subscriber, TEN_SECONDS, &sample), "receive");
        count = write_piece(sample, progress.next, output);
        shm_sample_release(sample);
        progress.next++;
        check(shm_publisher_publish(acks, &progress, sizeof progress, NULL), "acknowledge");
    } while (progress.next < count);

    shm_publisher_destroy(acks);
    shm_subscriber_destroy(subscriber);
    if (fclose(output) != 0) {
        fail("cannot write the output");
    }
    return 0;
}
