/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Calls the function of add_server `count` times, the last time with an argument too few. Usage: add_client [service] [count]
 *
 * On the wire: the arguments as a msgpack array, the result as msgpack. */
#include "support.h"

#include <msgpack.h>

static void pack_arguments(msgpack_sbuffer *buffer, int64_t n, size_t count) {
    msgpack_packer packer;
    msgpack_sbuffer_clear(buffer);
    msgpack_packer_init(&packer, buffer, msgpack_sbuffer_write);
    msgpack_pack_array(&packer, count);
    msgpack_pack_int64(&packer, n);
    if (count > 1) msgpack_pack_int64(&packer, n + 1);
}

static int64_t unpack_sum(msgpack_unpacked *unpacked, const shm_reply *reply) {
    size_t read = 0;
    if (msgpack_unpack_next(unpacked, shm_reply_data(reply), shm_reply_size(reply), &read) != MSGPACK_UNPACK_SUCCESS) {
        check(SHM_ERR_DECODE, "reply");
    }
    if (unpacked->data.type == MSGPACK_OBJECT_NEGATIVE_INTEGER) return unpacked->data.via.i64;
    if (unpacked->data.type != MSGPACK_OBJECT_POSITIVE_INTEGER) check(SHM_ERR_DECODE, "reply");
    return (int64_t)unpacked->data.via.u64;
}

int main(int argc, char **argv) {
    struct arguments given = arguments(argc, argv, "/add");
    shm_client_options options;
    check(shm_client_options_init(&options), "options");
    options.wait_for_server = 1;
    shm_client *client;
    check(shm_client_create(given.topic, &options, &client), given.topic);
    msgpack_sbuffer buffer;
    msgpack_sbuffer_init(&buffer);
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);

    for (int64_t n = 0; n < (int64_t)given.count; n++) {
        pack_arguments(&buffer, n, n + 1 < (int64_t)given.count ? 2 : 1);
        shm_reply *reply;
        int32_t status = shm_client_call(client, buffer.data, buffer.size, TEN_SECONDS, &reply);
        if (status == SHM_ERR_REMOTE) {
            printf("add(%" PRId64 ") failed: %" PRId32 " %s\n", n, shm_last_error_code(), shm_last_error_message());
            continue;
        }
        check(status, "call");
        printf("add(%" PRId64 ", %" PRId64 ") = %" PRId64 "\n", n, n + 1, unpack_sum(&unpacked, reply));
        shm_reply_release(reply);
    }

    msgpack_unpacked_destroy(&unpacked);
    msgpack_sbuffer_destroy(&buffer);
    shm_client_destroy(client);
    return 0;
}
