/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "check.h"

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[] = "/dev/shm/shm-test-c-XXXXXX";
static pid_t root_maker;

void check_failed(const char *file, int line, const char *what) {
    fprintf(stderr, "%s:%d: %s\n", file, line, what);
    exit(1);
}

void check_status(const char *file, int line, const char *call, int32_t status, int32_t expected) {
    if (status == expected) return;
    fprintf(stderr, "%s:%d: %s\n  gave %" PRId32 " (%s; last error: %s), not %" PRId32 " (%s)\n", file, line, call,
            status, shm_status_string(status), shm_last_error_message(), expected, shm_status_string(expected));
    exit(1);
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk) {
    (void)status, (void)type, (void)walk;
    return remove(path);
}

static void remove_root(void) {
    if (getpid() == root_maker) nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *fresh_root(void) {
    CHECK(mkdtemp(root) != NULL);
    root_maker = getpid();
    CHECK(atexit(remove_root) == 0);
    CHECK(setenv("SHM_ROOT", root, 1) == 0);
    return root;
}

void check_root_is_empty(void) {
    CHECK(rmdir(root) == 0);
    CHECK(mkdir(root, 0700) == 0);
}

shm_publisher *new_publisher(const char *topic, const shm_publisher_options *options) {
    shm_publisher *publisher = NULL;
    CHECK_STATUS(shm_publisher_create(topic, options, &publisher), SHM_OK);
    CHECK(publisher != NULL);
    return publisher;
}

shm_subscriber *new_subscriber(const char *topic, const shm_subscriber_options *options) {
    shm_subscriber *subscriber = NULL;
    CHECK_STATUS(shm_subscriber_create(topic, options, &subscriber), SHM_OK);
    CHECK(subscriber != NULL);
    return subscriber;
}

shm_client *new_client(const char *service, const shm_client_options *options) {
    shm_client *client = NULL;
    CHECK_STATUS(shm_client_create(service, options, &client), SHM_OK);
    CHECK(client != NULL);
    return client;
}

shm_server *new_server(const char *service, const shm_server_options *options) {
    shm_server *server = NULL;
    CHECK_STATUS(shm_server_create(service, options, &server), SHM_OK);
    CHECK(server != NULL);
    return server;
}

shm_publisher_options publisher_defaults(void) {
    shm_publisher_options options;
    CHECK_STATUS(shm_publisher_options_init(&options), SHM_OK);
    return options;
}

shm_subscriber_options subscriber_defaults(void) {
    shm_subscriber_options options;
    CHECK_STATUS(shm_subscriber_options_init(&options), SHM_OK);
    return options;
}

shm_client_options client_defaults(void) {
    shm_client_options options;
    CHECK_STATUS(shm_client_options_init(&options), SHM_OK);
    return options;
}

shm_server_options server_defaults(void) {
    shm_server_options options;
    CHECK_STATUS(shm_server_options_init(&options), SHM_OK);
    return options;
}

uint64_t publish_number(shm_publisher *publisher, uint64_t number) {
    uint64_t position = 0;
    CHECK_STATUS(shm_publisher_publish(publisher, &number, sizeof number, &position), SHM_OK);
    return position;
}

shm_sample *next_sample(shm_subscriber *subscriber) {
    shm_sample *sample = NULL;
    CHECK_STATUS(shm_subscriber_receive_timeout(subscriber, TEN_SECONDS, &sample), SHM_OK);
    CHECK(sample != NULL);
    return sample;
}

uint64_t number_in(const shm_sample *sample) {
    uint64_t number;
    CHECK(shm_sample_size(sample) == sizeof number);
    memcpy(&number, shm_sample_data(sample), sizeof number);
    return number;
}

uint64_t receive_number(shm_subscriber *subscriber) {
    shm_sample *sample = next_sample(subscriber);
    uint64_t number = number_in(sample);
    shm_sample_release(sample);
    return number;
}

shm_pending *send_number(shm_client *client, uint64_t number) {
    shm_pending *pending = NULL;
    CHECK_STATUS(shm_client_send(client, &number, sizeof number, &pending), SHM_OK);
    CHECK(pending != NULL);
    return pending;
}

shm_request *next_request(shm_server *server) {
    shm_request *request = NULL;
    CHECK_STATUS(shm_server_receive_timeout(server, TEN_SECONDS, &request), SHM_OK);
    CHECK(request != NULL);
    return request;
}

uint64_t number_asked(const shm_request *request) {
    uint64_t number;
    CHECK(shm_request_size(request) == sizeof number);
    memcpy(&number, shm_request_data(request), sizeof number);
    return number;
}

shm_reply *next_reply(shm_pending *pending) {
    shm_reply *reply = NULL;
    CHECK_STATUS(shm_pending_wait(pending, TEN_SECONDS, &reply), SHM_OK);
    CHECK(reply != NULL);
    return reply;
}

uint64_t number_replied(shm_pending *pending) {
    shm_reply *reply = next_reply(pending);
    shm_pending_destroy(pending);
    uint64_t number;
    CHECK(shm_reply_size(reply) == sizeof number);
    memcpy(&number, shm_reply_data(reply), sizeof number);
    shm_reply_release(reply);
    return number;
}
