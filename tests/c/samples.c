/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The life of a sample. */
#define _GNU_SOURCE /* sched_setaffinity */
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>

static char marker;
#define UNTOUCHED ((void *)&marker)
#define HOLDS 4
#define MANY 128

static shm_subscriber *subscriber_with_holds(const char *topic, uint32_t holds) {
    shm_subscriber_options options = subscriber_defaults();
    options.holds = holds;
    return new_subscriber(topic, &options);
}

/* What is held stays as it is and where it is, whatever is published meanwhile. */
static void held_samples(void) {
    shm_subscriber *subscriber = subscriber_with_holds("/held", HOLDS);
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
    shm_subscriber *subscriber = subscriber_with_holds("/threads", HOLDS);
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
        shm_subscriber *subscriber = subscriber_with_holds("/destroyed", HOLDS);
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

struct parting {
    shm_sample *samples[MANY];
    int count;
    int given, begun, released; /* rounds; with __atomic, which C99 lacks */
};

/* Keeps the calling thread on the first or the last of the cores that there are. */
static void stay_on_core(int last) {
    cpu_set_t cores, one;
    CHECK(sched_getaffinity(0, sizeof cores, &cores) == 0);
    int core = last ? CPU_SETSIZE - 1 : 0;
    while (!CPU_ISSET(core, &cores)) core += last ? -1 : 1;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
}

/* Waits hot, so as to be there in time; but there may be one core only. False: it is the end. */
static int is_reached(const int *rounds, int round) {
    int reached;
    for (int spins = 1; (reached = __atomic_load_n(rounds, __ATOMIC_ACQUIRE)) != round; spins++) {
        if (reached < 0) return 0;
        if (spins % 10000 == 0) sched_yield();
    }
    return 1;
}

static void *release_each_round(void *argument) {
    struct parting *parting = argument;
    stay_on_core(1);
    for (int round = 1;; round++) {
        if (!is_reached(&parting->given, round)) return NULL;
        __atomic_store_n(&parting->begun, round, __ATOMIC_RELEASE);
        for (int n = 0; n < parting->count; n++) shm_sample_release(parting->samples[n]);
        __atomic_store_n(&parting->released, round, __ATOMIC_RELEASE);
    }
}

static double seconds(void) {
    struct timespec now;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* A subscriber is destroyed while another thread releases its samples: whoever is last frees it. The topic has room for
   one subscriber at a time, so one that is never freed is noticed in the round after. */
static void destroyed_meanwhile(int rounds) {
    shm_publisher_options options = publisher_defaults();
    options.participants = 2;
    options.holds = MANY;
    shm_publisher *publisher = new_publisher("/meanwhile", &options);
    struct parting parting = {.count = 0};
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, release_each_round, &parting) == 0);
    /* A busy machine might keep both threads on one core, where they hardly ever meet. */
    stay_on_core(0);
    double end = seconds() + 1;
    for (int round = 1; round <= rounds && seconds() < end; round++) {
        shm_subscriber *subscriber = subscriber_with_holds("/meanwhile", MANY);
        parting.count = 1 + round % MANY;
        for (int n = 0; n < parting.count; n++) {
            publish_number(publisher, (uint64_t)n);
            parting.samples[n] = next_sample(subscriber);
        }
        __atomic_store_n(&parting.given, round, __ATOMIC_RELEASE);
        is_reached(&parting.begun, round);
        /* At the first release, after the last one, and at those between them. */
        for (volatile int spins = round * 7 % 500; spins > 0; spins--) continue;
        shm_subscriber_destroy(subscriber);
        is_reached(&parting.released, round);
    }
    __atomic_store_n(&parting.given, -1, __ATOMIC_RELEASE);
    CHECK(pthread_join(thread, NULL) == 0);
    shm_publisher_destroy(publisher);
}

/* Usage: samples [messages that other threads release, and subscribers that are destroyed meanwhile] */
int main(int argc, char **argv) {
    int count = argc > 1 ? atoi(argv[1]) : 20000;
    fresh_root();
    held_samples();
    released_elsewhere((uint64_t)count);
    destroyed_subscriber();
    destroyed_meanwhile(count);
    check_root_is_empty();
    return 0;
}
