/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Receives `count` messages as msgpack. Usage: message_subscriber [topic] [count]
 *
 * On the wire: [seq, timestamp, val, values, name, [seq, timestamp, inner_val, inner_str]] */
#include "support.h"

#include <msgpack.h>

/* The object itself, if it is of this type: whatever comes over a topic has to be checked. */
static const msgpack_object *expect(const msgpack_object *object, msgpack_object_type type) {
    if (object->type != type) check(SHM_ERR_DECODE, "message");
    return object;
}

static const msgpack_object *fields(const msgpack_object *object, uint32_t count) {
    if (expect(object, MSGPACK_OBJECT_ARRAY)->via.array.size != count) check(SHM_ERR_DECODE, "message");
    return object->via.array.ptr;
}

/* Numbers of either sign; those that aren't below 0 are unsigned on the wire. */
static int64_t number(const msgpack_object *object) {
    if (object->type == MSGPACK_OBJECT_NEGATIVE_INTEGER) return object->via.i64;
    return (int64_t)expect(object, MSGPACK_OBJECT_POSITIVE_INTEGER)->via.u64;
}

static void print_text(const msgpack_object *object) {
    msgpack_object_str text = expect(object, MSGPACK_OBJECT_STR)->via.str;
    printf("%.*s", (int)text.size, text.ptr);
}

static void print_message(const msgpack_object *message) {
    const msgpack_object *field = fields(message, 6);
    printf("seq=%" PRId64 " val=%" PRId64 " values=", number(&field[0]), number(&field[2]));
    const msgpack_object_array values = expect(&field[3], MSGPACK_OBJECT_ARRAY)->via.array;
    for (uint32_t i = 0; i < values.size; i++) {
        printf(i == 0 ? "%" PRId64 : ",%" PRId64, number(&values.ptr[i]));
    }
    printf(" name=");
    print_text(&field[4]);
    const msgpack_object *inner = fields(&field[5], 4);
    printf(" inner=%" PRId64 ",", number(&inner[2]));
    print_text(&inner[3]);
    printf("\n");
}

int main(int argc, char **argv) {
    struct arguments given = arguments(argc, argv, "/message");
    shm_subscriber *subscriber;
    check(shm_subscriber_create(given.topic, NULL, &subscriber), given.topic);
    shm_publisher *acks;
    check(shm_publisher_create(given.ack_topic, NULL, &acks), given.ack_topic);
    acknowledge(acks, "ready");

    msgpack_unpacked message;
    msgpack_unpacked_init(&message);
    for (uint64_t n = 0; n < given.count; n++) {
        shm_sample *sample;
        check(shm_subscriber_receive_timeout(subscriber, TEN_SECONDS, &sample), "receive");
        size_t read = 0;
        if (msgpack_unpack_next(&message, shm_sample_data(sample), shm_sample_size(sample), &read) !=
            MSGPACK_UNPACK_SUCCESS) {
            check(SHM_ERR_DECODE, "message");
        }
        printf("received %" PRIu64 " ", n);
        print_message(&message.data);
        shm_sample_release(sample);
    }
    msgpack_unpacked_destroy(&message);

    acknowledge(acks, "done");
    shm_publisher_destroy(acks);
    shm_subscriber_destroy(subscriber);
    return 0;
}
