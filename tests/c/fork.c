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

int main(void) {
    fresh_root();
    struct handles ours = {.publisher = new_publisher("/fork", NULL), .subscriber = new_subscriber("/fork", NULL)};
    ours.position = publish_number(ours.publisher, 1);
    ours.sample = next_sample(ours.subscriber);
    uint64_t number = 3;
    CHECK_STATUS(shm_publisher_loan(ours.publisher, sizeof number, &ours.loan), SHM_OK);
    memcpy(shm_loan_data(ours.loan), &number, sizeof number);

    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        child(ours);
        _exit(0);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);

    CHECK(number_in(ours.sample) == 1);
    shm_sample_release(ours.sample);
    CHECK(receive_number(ours.subscriber) == 2);
    CHECK_STATUS(shm_loan_publish(ours.loan, NULL), SHM_OK);
    CHECK(receive_number(ours.subscriber) == 3);
    shm_subscriber_destroy(ours.subscriber);
    shm_publisher_destroy(ours.publisher);
    check_root_is_empty();
    return 0;
}
