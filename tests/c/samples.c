/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The life of a sample. */
#include "check.h"

#include <pthread.h>
#include <sched.h>

static char marker;
#define UNTOUCHED ((void *)&marker)
#define HOLDS 4

static shm_subscriber *subscriber_with_holds(const char *topic) {
    shm_subscriber_options options = subscriber_defaults();
    options.holds = HOLDS;
    return new_subscriber(topic, &options);
}

/* What is held stays as it is and where it is, whatever is published meanwhile. */
static void held_samples(void) {
    shm_subscriber *subscriber = subscriber_with_holds("/held");
    shm_publisher *publisher = new_publisher("/held", NULL);
    for (uint64_t n = 0; n < HOLDS + 2; n++) publish_number(publisher, n);
    shm_sample *held[HOLDS + 1];
    for (uint64_t n = 0; n < HOLDS; n++) held[n] = next_sample(subscriber);
    held[HOLDS] = UNTOUCHED;
    CHECK_STATUS(shm_subscriber_try_receive(subscriber, &held[HOLDS]), SHM_ERR_NO_HOLD);
    CHECK_STATUS(shm_subscriber_receive(subscriber, &held[HOLDS]), SHM_ERR_NO_HOLD);
    CHECK_STATUS(shm_subscriber_receive_timeout(subscriber, 0, &held[HOLDS]), SHM_ERR_NO_HOLD);
    CHECK(held[HOLDS] == UNTOUCHED);
    for (uint64_t n = 0; n < 500; n++) publish_number(publisher, 1000 + n);
    for (uint64_t n = 0; n < HOLDS; n++) CHECK(number_in(held[n]) == n);

    /* Any of them makes room for another. */
    for (int n = HOLDS - 1; n >= 0; n--) {
        shm_sample_release(held[n]);
        held[n] = next_sample(subscriber);
        CHECK(number_in(held[n]) >= 1000);
        CHECK_STATUS(shm_subscriber_try_receive(subscriber, &held[HOLDS]), SHM_ERR_NO_HOLD);
    }
    for (int n = 0; n < HOLDS; n++) shm_sample_release(held[n]);
    shm_publisher_destroy(publisher);
    shm_subscriber_destroy(subscriber);
}

struct handover {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    shm_sample *samples[HOLDS];
    size_t count;
    int end;
};

static void *release_all(void *argument) {
    struct handover *handover = argument;
    CHECK(pthread_mutex_lock(&handover->mutex) == 0);
    while (handover->count > 0 || !handover->end) {
        if (handover->count == 0) {
            CHECK(pthread_cond_wait(&handover->changed, &handover->mutex) == 0);
            continue;
        }
        shm_sample *sample = handover->samples[--handover->count];
        CHECK(pthread_mutex_unlock(&handover->mutex) == 0);
        shm_sample_release(sample);
        CHECK(pthread_mutex_lock(&handover->mutex) == 0);
    }
    CHECK(pthread_mutex_unlock(&handover->mutex) == 0);
    return NULL;
}

/* Samples go to other threads, which release them while this one receives. */
static void released_elsewhere(uint64_t count) {
    shm_subscriber *subscriber = subscriber_with_holds("/threads");
    shm_publisher *publisher = new_publisher("/threads", NULL);
    struct handover handover = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, {NULL}, 0, 0};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) CHECK(pthread_create(&threads[i], NULL, release_all, &handover) == 0);
    for (uint64_t n = 0; n < count; n++) {
        publish_number(publisher, n);
        shm_sample *sample;
        int32_t status;
        while ((status = shm_subscriber_try_receive(subscriber, &sample)) == SHM_ERR_NO_HOLD) sched_yield();
        CHECK_STATUS(status, SHM_OK);
        CHECK(number_in(sample) == n);
        CHECK(pthread_mutex_lock(&handover.mutex) == 0);
        CHECK(handover.count < HOLDS);
        handover.samples[handover.count++] = sample;
        CHECK(pthread_cond_signal(&handover.changed) == 0);
        CHECK(pthread_mutex_unlock(&handover.mutex) == 0);
    }
    CHECK(pthread_mutex_lock(&handover.mutex) == 0);
    handover.end = 1;
    CHECK(pthread_cond_broadcast(&handover.changed) == 0);
    CHECK(pthread_mutex_unlock(&handover.mutex) == 0);
    for (int i = 0; i < 2; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    shm_publisher_destroy(publisher);
    shm_subscriber_destroy(subscriber);
}

static void *release_one(void *sample) {
    shm_sample_release(sample);
    return NULL;
}

/* Samples outlive their subscriber, wherever they are released. */
static void destroyed_subscriber(void) {
    for (int round = 0; round < 50; round++) {
        shm_subscriber *subscriber = subscriber_with_holds("/destroyed");
        shm_publisher *publisher = new_publisher("/destroyed", NULL);
        for (uint64_t n = 0; n < 3; n++) publish_number(publisher, n);
        shm_sample *held[3];
        for (int n = 0; n < 3; n++) held[n] = next_sample(subscriber);
        shm_sample_release(held[1]);
        shm_subscriber_destroy(subscriber);
        for (uint64_t n = 0; n < 200; n++) publish_number(publisher, 1000 + n);
        shm_publisher_destroy(publisher);
        CHECK(number_in(held[0]) == 0 && number_in(held[2]) == 2);

        pthread_t threads[2];
        CHECK(pthread_create(&threads[0], NULL, release_one, held[0]) == 0);
        CHECK(pthread_create(&threads[1], NULL, release_one, held[2]) == 0);
        for (int i = 0; i < 2; i++) CHECK(pthread_join(threads[i], NULL) == 0);
        check_root_is_empty();
    }
}

/* Usage: samples [messages that other threads release] */
int main(int argc, char **argv) {
    fresh_root();
    held_samples();
    released_elsewhere(argc > 1 ? strtoull(argv[1], NULL, 10) : 20000);
    destroyed_subscriber();
    check_root_is_empty();
    return 0;
}
