/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* In the child of a fork the parent's handles are dead, say so, and can be destroyed without harm to the parent. */
#include "check.h"

#include <sys/wait.h>
#include <unistd.h>

struct handles {
    shm_publisher *publisher;
    shm_subscriber *subscriber;
    shm_loan *loan;
    shm_sample *sample;
    uint64_t position;
};

struct service_handles {
    shm_client *client;
    shm_server *server;
    shm_request_loan *loan, *other_loan;
    shm_pending *pending, *asked;
    shm_reply *reply;
    shm_request *request;
    shm_reply_loan *reply_loan;
};

static void child(struct handles ours) {
    uint64_t position = 7;
    shm_loan *loan = NULL;
    shm_sample *sample = NULL;
    CHECK_STATUS(shm_publisher_publish(ours.publisher, "x", 1, &position), SHM_ERR_FORKED);
    CHECK_STATUS(shm_publisher_loan(ours.publisher, 1, &loan), SHM_ERR_FORKED);
    CHECK_STATUS(shm_subscriber_try_receive(ours.subscriber, &sample), SHM_ERR_FORKED);
    CHECK_STATUS(shm_subscriber_receive(ours.subscriber, &sample), SHM_ERR_FORKED);
    CHECK_STATUS(shm_subscriber_receive_timeout(ours.subscriber, 0, &sample), SHM_ERR_FORKED);
    CHECK_STATUS(shm_loan_resize(ours.loan, 1), SHM_ERR_FORKED);
    CHECK_STATUS(shm_loan_resize(ours.loan, 1 << 20), SHM_ERR_FORKED);
    CHECK_STATUS(shm_loan_publish(ours.loan, &position), SHM_ERR_FORKED);
    CHECK(position == 7 && loan == NULL && sample == NULL);

    CHECK(strlen(shm_last_error_message()) > 0);

    /* These need no topic, and no memory of it. */
    shm_topic_info info = {.struct_size = sizeof info};
    CHECK_STATUS(shm_publisher_info(ours.publisher, &info), SHM_OK);
    uint64_t instance = info.instance, lost = 7;
    CHECK_STATUS(shm_subscriber_info(ours.subscriber, &info), SHM_OK);
    CHECK(info.instance == instance);
    CHECK_STATUS(shm_subscriber_lost(ours.subscriber, &lost), SHM_OK);
    CHECK(lost == 0);
    CHECK(shm_loan_size(ours.loan) == sizeof(uint64_t) && shm_loan_capacity(ours.loan) >= sizeof(uint64_t));
    CHECK(shm_loan_data(ours.loan) != NULL && shm_sample_data(ours.sample) != NULL);
    CHECK(shm_sample_size(ours.sample) == sizeof(uint64_t) && shm_sample_timestamp(ours.sample) == 0);
    CHECK(shm_sample_position(ours.sample) == ours.position);
    shm_loan_destroy(ours.loan);
    shm_sample_release(ours.sample);
    shm_publisher_destroy(ours.publisher);
    shm_subscriber_destroy(ours.subscriber);

    /* New handles work. */
    shm_publisher *publisher = new_publisher("/fork", NULL);
    publish_number(publisher, 2);
    shm_publisher_destroy(publisher);
}

static void child_of_services(struct service_handles ours) {
    shm_request_loan *loan = NULL;
    shm_pending *pending = NULL;
    shm_reply *reply = NULL;
    shm_request *request = NULL;
    shm_reply_loan *reply_loan = NULL;
    CHECK_STATUS(shm_client_loan(ours.client, 1, &loan), SHM_ERR_FORKED);
    CHECK_STATUS(shm_client_send(ours.client, "x", 1, &pending), SHM_ERR_FORKED);
    CHECK_STATUS(shm_client_call(ours.client, "x", 1, 0, &reply), SHM_ERR_FORKED);
    CHECK_STATUS(shm_request_loan_resize(ours.loan, 1 << 20), SHM_ERR_FORKED);
    CHECK_STATUS(shm_request_loan_send(ours.loan, &pending), SHM_ERR_FORKED);
    CHECK_STATUS(shm_pending_try_reply(ours.pending, &reply), SHM_ERR_FORKED);
    CHECK_STATUS(shm_pending_wait(ours.pending, SHM_WAIT_FOREVER, &reply), SHM_ERR_FORKED);
    CHECK_STATUS(shm_server_try_receive(ours.server, &request), SHM_ERR_FORKED);
    CHECK_STATUS(shm_server_receive(ours.server, &request), SHM_ERR_FORKED);
    CHECK_STATUS(shm_server_receive_timeout(ours.server, 0, &request), SHM_ERR_FORKED);
    CHECK_STATUS(shm_request_reply(ours.request, "x", 1), SHM_ERR_FORKED);
    CHECK_STATUS(shm_request_fail(ours.request, 1, "x"), SHM_ERR_FORKED);
    CHECK_STATUS(shm_request_fail_timeout(ours.request, 1, "x", 0), SHM_ERR_FORKED);
    CHECK_STATUS(shm_request_send_part(ours.request, "x", 1), SHM_ERR_FORKED);
    CHECK_STATUS(shm_request_send_part_timeout(ours.request, "x", 1, 0), SHM_ERR_FORKED);
    CHECK_STATUS(shm_request_finish(ours.request), SHM_ERR_FORKED);
    CHECK_STATUS(shm_request_finish_timeout(ours.request, 0), SHM_ERR_FORKED);
    CHECK_STATUS(shm_reply_loan_create(ours.request, 1, &reply_loan), SHM_ERR_FORKED);
    CHECK_STATUS(shm_reply_loan_resize(ours.reply_loan, 1 << 20), SHM_ERR_FORKED);
    CHECK_STATUS(shm_reply_loan_send_part(ours.reply_loan), SHM_ERR_FORKED);
    CHECK_STATUS(shm_reply_loan_send_part_timeout(ours.reply_loan, 0), SHM_ERR_FORKED);
    CHECK_STATUS(shm_reply_loan_send(ours.reply_loan), SHM_ERR_FORKED);
    CHECK(loan == NULL && pending == NULL && reply == NULL && request == NULL && reply_loan == NULL);

    /* These need no service, and no memory of it. */
    CHECK(shm_request_is_cancelled(ours.request) == 1);
    CHECK(shm_request_loan_size(ours.loan) == sizeof(uint64_t) && shm_request_size(ours.request) == sizeof(uint64_t));
    CHECK(shm_reply_size(ours.reply) == 1 && shm_reply_loan_size(ours.reply_loan) == 1);
    CHECK(shm_request_loan_data(ours.loan) != NULL && shm_request_data(ours.request) != NULL);
    CHECK(shm_reply_data(ours.reply) != NULL && shm_reply_loan_data(ours.reply_loan) != NULL);
    /* Ends the loan. */
    CHECK_STATUS(shm_request_loan_call(ours.other_loan, 0, &reply), SHM_ERR_FORKED);
    CHECK(reply == NULL);
    shm_client_destroy(ours.client);
    shm_server_destroy(ours.server);
    shm_request_loan_destroy(ours.loan);
    shm_pending_destroy(ours.pending);
    shm_pending_destroy(ours.asked);
    shm_reply_release(ours.reply);
    shm_request_destroy(ours.request);
    shm_reply_loan_destroy(ours.reply_loan);

    /* New handles work. */
    shm_client *client = new_client("/fork", NULL);
    shm_server *server = new_server("/fork", NULL);
    shm_server_destroy(server);
    shm_client_destroy(client);
}

static pid_t forked(void) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    return pid;
}

static void check_success(pid_t pid) {
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void services(void) {
    struct service_handles ours = {.client = new_client("/fork", NULL), .server = new_server("/fork", NULL)};
    shm_pending *replied = send_number(ours.client, 1);
    CHECK_STATUS(shm_request_reply(next_request(ours.server), "1", 1), SHM_OK);
    ours.reply = next_reply(replied);
    shm_pending_destroy(replied);
    ours.asked = send_number(ours.client, 2);
    ours.request = next_request(ours.server);
    CHECK_STATUS(shm_reply_loan_create(ours.request, 1, &ours.reply_loan), SHM_OK);
    *(char *)shm_reply_loan_data(ours.reply_loan) = '2';
    ours.pending = send_number(ours.client, 3);
    CHECK_STATUS(shm_client_loan(ours.client, sizeof(uint64_t), &ours.loan), SHM_OK);
    CHECK_STATUS(shm_client_loan(ours.client, 1, &ours.other_loan), SHM_OK);

    pid_t pid = forked();
    if (pid == 0) {
        child_of_services(ours);
        _exit(0);
    }
    check_success(pid);

    CHECK(*(const char *)shm_reply_data(ours.reply) == '1');
    shm_reply_release(ours.reply);
    CHECK(!shm_request_is_cancelled(ours.request) && number_asked(ours.request) == 2);
    CHECK_STATUS(shm_reply_loan_send(ours.reply_loan), SHM_OK);
    shm_reply *reply = next_reply(ours.asked);
    CHECK(*(const char *)shm_reply_data(reply) == '2');
    shm_reply_release(reply);
    shm_pending_destroy(ours.asked);
    uint64_t number = 4;
    CHECK_STATUS(shm_request_reply(next_request(ours.server), &number, sizeof number), SHM_OK);
    CHECK(number_replied(ours.pending) == 4);
    CHECK_STATUS(shm_request_loan_send(ours.loan, &ours.pending), SHM_OK);
    shm_request_loan_destroy(ours.other_loan);
    shm_pending_destroy(ours.pending);
    shm_server_destroy(ours.server);
    shm_client_destroy(ours.client);
}

int main(void) {
    fresh_root();
    struct handles ours = {.publisher = new_publisher("/fork", NULL), .subscriber = new_subscriber("/fork", NULL)};
    ours.position = publish_number(ours.publisher, 1);
    ours.sample = next_sample(ours.subscriber);
    uint64_t number = 3;
    CHECK_STATUS(shm_publisher_loan(ours.publisher, sizeof number, &ours.loan), SHM_OK);
    memcpy(shm_loan_data(ours.loan), &number, sizeof number);

    pid_t pid = forked();
    if (pid == 0) {
        child(ours);
        _exit(0);
    }
    check_success(pid);

    CHECK(number_in(ours.sample) == 1);
    shm_sample_release(ours.sample);
    CHECK(receive_number(ours.subscriber) == 2);
    CHECK_STATUS(shm_loan_publish(ours.loan, NULL), SHM_OK);
    CHECK(receive_number(ours.subscriber) == 3);
    shm_subscriber_destroy(ours.subscriber);
    shm_publisher_destroy(ours.publisher);
    services();
    check_root_is_empty();
    return 0;
}
