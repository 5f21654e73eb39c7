/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Publishes `count` messages as msgpack, packed in place. Usage: message_publisher [topic] [count]
 *
 * On the wire: [seq, timestamp, val, values, name, [seq, timestamp, inner_val, inner_str]] */
#include "support.h"

#include <msgpack.h>
#include <string.h>

struct writer {
    shm_loan *loan;
    size_t used;
};

/* Where msgpack-c puts bytes: behind those in the loan, which grows as it has to. */
static int append(void *data, const char *bytes, size_t size) {
    struct writer *writer = data;
    size_t wanted = writer->used + size;
    if (wanted > shm_loan_size(writer->loan)) {
        check(shm_loan_resize(writer->loan, 2 * wanted), "resize");
    }
    memcpy((char *)shm_loan_data(writer->loan) + writer->used, bytes, size);
    writer->used = wanted;
    return 0;
}

static void pack_text(msgpack_packer *packer, const char *format, uint64_t n) {
    char text[32];
    size_t length = (size_t)snprintf(text, sizeof text, format, n);
    msgpack_pack_str(packer, length);
    msgpack_pack_str_body(packer, text, length);
}

static void pack_message(msgpack_packer *packer, uint64_t n) {
    msgpack_pack_array(packer, 6);
    msgpack_pack_uint32(packer, (uint32_t)n);
    msgpack_pack_uint64(packer, 0);
    msgpack_pack_int64(packer, (int64_t)n);
    msgpack_pack_array(packer, 3);
    for (uint64_t value = n; value < n + 3; value++) {
        msgpack_pack_int64(packer, (int64_t)value);
    }
    pack_text(packer, "message %" PRIu64, n);
    msgpack_pack_array(packer, 4);
    msgpack_pack_uint32(packer, 0);
    msgpack_pack_uint64(packer, 0);
    msgpack_pack_int64(packer, (int64_t)n * 2);
    pack_text(packer, "inner %" PRIu64, n);
}

int main(int argc, char **argv) {
    struct arguments given = arguments(argc, argv, "/message");
    shm_publisher *publisher;
    check(shm_publisher_create(given.topic, NULL, &publisher), given.topic);
    shm_subscriber *acks = ack_subscriber(&given);
    await(acks, "ready");

    for (uint64_t n = 0; n < given.count; n++) {
        struct writer writer = {NULL, 0};
        check(shm_publisher_loan(publisher, 64, &writer.loan), "loan");
        msgpack_packer packer;
        msgpack_packer_init(&packer, &writer, append);
        pack_message(&packer, n);
        check(shm_loan_resize(writer.loan, writer.used), "resize");
        check(shm_loan_publish(writer.loan, NULL), "publish");
    }
    printf("published %" PRIu64 "\n", given.count);

    await(acks, "done");
    shm_subscriber_destroy(acks);
    shm_publisher_destroy(publisher);
    return 0;
}
