/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Offers the function add(a, b) to programs in any language, and serves `count` calls. Usage: add_server [service] [count]
 *
 * On the wire: the arguments as a msgpack array, the result as msgpack. */
#include "support.h"

#include <msgpack.h>

/* As JSON-RPC 2.0 has it, and so the library's interfaces in other languages. */
enum { INVALID_ARGUMENTS = -32602 };

static int is_number(const msgpack_object *object, int64_t *number) {
    *number = object->via.i64;
    return object->type == MSGPACK_OBJECT_NEGATIVE_INTEGER ||
           (object->type == MSGPACK_OBJECT_POSITIVE_INTEGER && object->via.u64 <= INT64_MAX);
}

static int32_t reply_number(shm_request *request, int64_t number) {
    msgpack_sbuffer buffer;
    msgpack_sbuffer_init(&buffer);
    msgpack_packer packer;
    msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
    msgpack_pack_int64(&packer, number);
    int32_t status = shm_request_reply(request, buffer.data, buffer.size);
    msgpack_sbuffer_destroy(&buffer);
    return status;
}

/* Whatever comes has to be checked: anybody may call. */
static int32_t serve(shm_request *request, msgpack_unpacked *unpacked, const char *name) {
    char words[512];
    size_t read = 0;
    int64_t a, b;
    if (msgpack_unpack_next(unpacked, shm_request_data(request), shm_request_size(request), &read) !=
            MSGPACK_UNPACK_SUCCESS ||
        unpacked->data.type != MSGPACK_OBJECT_ARRAY) {
        snprintf(words, sizeof words, "%s takes an array of 2 arguments, but the request isn't one", name);
        return shm_request_fail(request, INVALID_ARGUMENTS, words);
    }
    const msgpack_object_array given = unpacked->data.via.array;
    if (given.size != 2) {
        snprintf(words, sizeof words, "%s takes 2 arguments, but %" PRIu32 " were given", name, given.size);
        return shm_request_fail(request, INVALID_ARGUMENTS, words);
    }
    if (!is_number(&given.ptr[0], &a) || !is_number(&given.ptr[1], &b)) {
        snprintf(words, sizeof words, "%s: the arguments are numbers", name);
        return shm_request_fail(request, INVALID_ARGUMENTS, words);
    }
    return reply_number(request, (int64_t)((uint64_t)a + (uint64_t)b));
}

int main(int argc, char **argv) {
    struct arguments given = arguments(argc, argv, "/add");
    shm_server *server;
    check(shm_server_create(given.topic, NULL, &server), given.topic);
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);

    for (uint64_t n = 0; n < given.count; n++) {
        shm_request *request;
        check(shm_server_receive_timeout(server, TEN_SECONDS, &request), "receive");
        check(serve(request, &unpacked, given.topic), "reply");
    }
    printf("served %" PRIu64 "\n", given.count);

    msgpack_unpacked_destroy(&unpacked);
    shm_server_destroy(server);
    return 0;
}
