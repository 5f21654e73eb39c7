/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Makes sums for plain_client: `count` of them, written and read in place. Usage: plain_server [service] [count] */
#include "sum.h"
#include "support.h"

static int32_t serve(shm_request *request) {
    if (shm_request_size(request) != sizeof(struct sum_request)) {
        return shm_request_fail(request, SUM_BAD_REQUEST, "a request is two int32_t");
    }
    const struct sum_request *asked = shm_request_data(request);
    int64_t sum = (int64_t)asked->a + asked->b;
    if (sum < INT32_MIN || sum > INT32_MAX) return shm_request_fail(request, SUM_OVERFLOW, "the sum is too large");

    shm_reply_loan *loan;
    check(shm_reply_loan_create(request, sizeof(struct sum_reply), &loan), "loan");
    struct sum_reply *reply = shm_reply_loan_data(loan);
    reply->sum = (int32_t)sum;
    return shm_reply_loan_send(loan);
}

int main(int argc, char **argv) {
    struct arguments given = arguments(argc, argv, "/sum");
    shm_server *server;
    check(shm_server_create(given.topic, NULL, &server), given.topic);

    uint64_t cancelled = 0;
    for (uint64_t n = 0; n < given.count; n++) {
        shm_request *request;
        check(shm_server_receive_timeout(server, TEN_SECONDS, &request), "receive");
        int32_t status = serve(request);
        if (status == SHM_CANCELLED) {
            cancelled++;
        } else {
            check(status, "reply");
        }
    }
    printf("served %" PRIu64 ", cancelled %" PRIu64 "\n", given.count, cancelled);

    shm_server_destroy(server);
    return 0;
}
