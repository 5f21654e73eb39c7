/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Status codes and their words. */
#include "check.h"

#include <pthread.h>

static void every_status_has_words(void) {
    const int32_t frozen[][2] = {
        {SHM_OK, 0},
        {SHM_WOULD_BLOCK, 1},
        {SHM_TIMED_OUT, 2},
        {SHM_END, 3},
        {SHM_CANCELLED, 4},
        {SHM_ERR_NULL, -1},
        {SHM_ERR_INVALID_NAME, -2},
        {SHM_ERR_INVALID_OPTION, -3},
        {SHM_ERR_OUT_OF_MEMORY, -4},
        {SHM_ERR_NO_SPACE, -5},
        {SHM_ERR_NO_PARTICIPANT, -6},
        {SHM_ERR_NO_HOLD, -7},
        {SHM_ERR_NO_SEGMENT, -8},
        {SHM_ERR_MISMATCH, -9},
        {SHM_ERR_CORRUPT, -10},
        {SHM_ERR_VERSION, -11},
        {SHM_ERR_NOT_TRUSTED, -12},
        {SHM_ERR_FORKED, -13},
        {SHM_ERR_OS, -14},
        {SHM_ERR_ENCODE, -15},
        {SHM_ERR_DECODE, -16},
        {SHM_ERR_WRONG_SIZE, -17},
        {SHM_ERR_CLOSED, -18},
        {SHM_ERR_INTERNAL, -19},
        {SHM_ERR_TOO_LARGE, -20},
        {SHM_ERR_TOO_MANY_CALLS, -21},
        {SHM_ERR_QUEUE_FULL, -22},
        {SHM_ERR_NO_SERVER, -23},
        {SHM_ERR_PEER_DIED, -24},
        {SHM_ERR_NO_REPLY, -25},
        {SHM_ERR_REMOTE, -26},
        {SHM_ERR_COPIER, -27},
        {SHM_ERR_NO_DEVICE, -28},
    };
    const size_t count = sizeof frozen / sizeof *frozen;
    for (size_t i = 0; i < count; i++) {
        CHECK(frozen[i][0] == frozen[i][1]);
        const char *words = shm_status_string(frozen[i][0]);
        CHECK(words != NULL && *words != '\0' && strcmp(words, "unknown status") != 0);
        for (size_t j = 0; j < i; j++) CHECK(strcmp(words, shm_status_string(frozen[j][0])) != 0);
    }

    size_t known = 0;
    for (int32_t status = -1000; status <= 1000; status++) {
        CHECK(shm_status_string(status) != NULL);
        known += strcmp(shm_status_string(status), "unknown status") != 0;
    }
    CHECK(known == count);
    CHECK(strcmp(shm_status_string(INT32_MIN), "unknown status") == 0);
    CHECK(strcmp(shm_status_string(INT32_MAX), "unknown status") == 0);
}

static void version(void) {
    char header[64];
    snprintf(header, sizeof header, "%d.%d.%d", SHM_VERSION_MAJOR, SHM_VERSION_MINOR, SHM_VERSION_PATCH);
    CHECK(strcmp(shm_version(), header) == 0);
}

static pthread_key_t at_exit;
static int late_calls;

/* Runs when the thread's own storage is gone already. */
static void late_call(void *unused) {
    (void)unused;
    CHECK(shm_publisher_options_init(NULL) == SHM_ERR_NULL);
    CHECK(shm_last_error_message() != NULL && shm_last_error_code() == 0);
    late_calls++;
}

static void *other_thread(void *unused) {
    (void)unused;
    CHECK(strcmp(shm_last_error_message(), "") == 0);
    CHECK_STATUS(shm_loan_publish(NULL, NULL), SHM_ERR_NULL);
    CHECK(strcmp(shm_last_error_message(), "loan is NULL") == 0);
    CHECK(pthread_setspecific(at_exit, &at_exit) == 0);
    return NULL;
}

static void messages_belong_to_threads(void) {
    CHECK(strcmp(shm_last_error_message(), "") == 0);
    CHECK_STATUS(shm_publisher_options_init(NULL), SHM_ERR_NULL);
    CHECK(strcmp(shm_last_error_message(), "options is NULL") == 0);

    pthread_t thread;
    CHECK(pthread_key_create(&at_exit, late_call) == 0);
    CHECK(pthread_create(&thread, NULL, other_thread, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(late_calls == 1);
    CHECK(strcmp(shm_last_error_message(), "options is NULL") == 0);

    shm_publisher_options options;
    CHECK_STATUS(shm_publisher_options_init(&options), SHM_OK);
    CHECK(strcmp(shm_last_error_message(), "options is NULL") == 0);
}

int main(void) {
    every_status_has_words();
    version();
    messages_belong_to_threads();
    return 0;
}
