/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Has sums made by plain_server: `count` of them, of which the last is too large. Usage: plain_client [service] [count] */
#include "sum.h"
#include "support.h"

int main(int argc, char **argv) {
    struct arguments given = arguments(argc, argv, "/sum");
    shm_client_options options;
    check(shm_client_options_init(&options), "options");
    options.wait_for_server = 1;
    shm_client *client;
    check(shm_client_create(given.topic, &options, &client), given.topic);

    for (uint64_t n = 0; n < given.count; n++) {
        struct sum_request asked = {(int32_t)n, (int32_t)n + 1};
        if (n + 1 == given.count) asked.b = INT32_MAX;
        printf("%" PRId32 " + %" PRId32 " ", asked.a, asked.b);
        shm_reply *reply;
        int32_t status = shm_client_call(client, &asked, sizeof asked, TEN_SECONDS, &reply);
        if (status == SHM_ERR_REMOTE && shm_last_error_code() == SUM_OVERFLOW) {
            printf("failed: %s\n", shm_last_error_message());
            continue;
        }
        check(status, "call");
        const struct sum_reply *replied = shm_reply_data(reply);
        printf("= %" PRId32 "\n", replied->sum);
        shm_reply_release(reply);
    }

    shm_client_destroy(client);
    return 0;
}
