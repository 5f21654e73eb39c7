/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Copies that a device makes in its own time: of samples, and of messages to publish. */
#include "fake_copier.h"

#include <sched.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char marker;
#define UNTOUCHED ((void *)&marker)
#define MS UINT64_C(1000000)

/* How often `done` was called, and with what. */
struct told {
    int count;
    int32_t status;
};

static void tell(void *done_data, int32_t status) {
    struct told *told = done_data;
    told->status = status;
    __atomic_add_fetch(&told->count, 1, __ATOMIC_RELEASE);
}

static int times_told(const struct told *told) {
    return __atomic_load_n(&told->count, __ATOMIC_ACQUIRE);
}

static void wait_a_moment(void) {
    const struct timespec moment = {0, 20000000};
    nanosleep(&moment, NULL);
}

static shm_subscriber *subscriber_with(const char *topic, uint32_t holds, uint32_t reliable, uint32_t capacity) {
    shm_subscriber_options options = subscriber_defaults();
    options.holds = holds;
    options.reliable = reliable;
    options.capacity = capacity;
    return new_subscriber(topic, &options);
}

static shm_stream_publisher *new_stream_publisher(const char *topic, const shm_copier *copier) {
    shm_stream_publisher *publisher = NULL;
    CHECK_STATUS(shm_stream_publisher_create(topic, NULL, copier, &publisher), SHM_OK);
    CHECK(publisher != NULL);
    return publisher;
}

/* Device memory of one number. */
static void *device_number(struct fake *fake, uint64_t number) {
    return fake_fill(fake, &number, sizeof number);
}

static void free_number(struct fake *fake, void *memory, uint64_t number) {
    fake_check(fake, memory, &number, sizeof number);
}

static void no_message(shm_subscriber *subscriber) {
    shm_sample *sample = UNTOUCHED;
    CHECK_STATUS(shm_subscriber_try_receive(subscriber, &sample), SHM_WOULD_BLOCK);
    CHECK(sample == UNTOUCHED);
}

/* A sample is held until its copy has ended, and no longer. */
static void samples_are_released_when_done(void) {
    struct fake fake;
    shm_copier *copier = fake_create(&fake, FAKE_PINS | FAKE_STREAMED);
    shm_subscriber *subscriber = subscriber_with("/done", 1, 0, 0);
    shm_publisher *publisher = new_publisher("/done", NULL);
    for (uint64_t n = 0; n < 50; n++) {
        publish_number(publisher, n);
        publish_number(publisher, n);
        shm_sample *sample = next_sample(subscriber), *second = UNTOUCHED;
        void *memory = device_number(&fake, 0);
        struct told told = {0, 0};
        void *stream = fake_stream(&fake, (int)(n % FAKE_STREAMS));
        CHECK_STATUS(shm_sample_copy_on_stream(sample, copier, memory, stream, tell, &told), SHM_OK);
        for (uint64_t more = 0; more < 30; more++) publish_number(publisher, 1000);
        CHECK(times_told(&told) == 0);
        CHECK_STATUS(shm_subscriber_try_receive(subscriber, &second), SHM_ERR_NO_HOLD);
        fake_allow(&fake, (int)(n % FAKE_STREAMS), 1);
        fake_await(&fake, (int)(n % FAKE_STREAMS));
        CHECK(times_told(&told) == 1 && told.status == SHM_OK);
        free_number(&fake, memory, n);
        while (shm_subscriber_try_receive(subscriber, &second) == SHM_OK) shm_sample_release(second);
        no_message(subscriber);
    }
    CHECK(fake.counts.pin == 1 && fake.counts.shm_to_user_on_stream == 50 && fake.counts.shm_to_user == 0);
    CHECK(fake.last_size == sizeof(uint64_t));
    shm_subscriber_destroy(subscriber);
    shm_publisher_destroy(publisher);
    shm_copier_destroy(copier);
    fake_end(&fake);
}

/* Neither subscriber nor copier is needed until then; with the last copy they go. */
static void samples_outlive_the_rest(void) {
    struct fake fake;
    shm_copier *copier = fake_create(&fake, FAKE_PINS | FAKE_STREAMED);
    shm_publisher *publisher = new_publisher("/outlive", NULL);
    shm_subscriber *subscriber = subscriber_with("/outlive", 2, 0, 0);
    struct told told[2] = {{0, 0}, {0, 0}};
    void *memory[2];
    for (uint64_t n = 0; n < 2; n++) {
        publish_number(publisher, n);
        memory[n] = device_number(&fake, 7);
        /* Nobody needs to be told. */
        shm_done done = n == 0 ? NULL : tell;
        CHECK_STATUS(shm_sample_copy_on_stream(next_sample(subscriber), copier, memory[n], NULL, done, &told[n]), SHM_OK);
    }
    shm_subscriber_destroy(subscriber);
    shm_publisher_destroy(publisher);
    shm_copier_destroy(copier);
    CHECK(fake_counts(&fake).destroy == 0 && fake_counts(&fake).unpin == 0);
    fake_allow(&fake, 0, 1);
    fake_await(&fake, 0);
    CHECK(fake_counts(&fake).destroy == 0 && fake_counts(&fake).unpin == 0);
    fake_allow(&fake, 0, 1);
    fake_await(&fake, 0);
    CHECK(fake_counts(&fake).destroy == 1 && fake_counts(&fake).unpin == 1);
    CHECK(times_told(&told[0]) == 0 && times_told(&told[1]) == 1 && told[1].status == SHM_OK);
    check_root_is_empty();
    for (uint64_t n = 0; n < 2; n++) free_number(&fake, memory[n], n);
    fake_end(&fake);
}

static void samples_whose_copy_fails(void) {
    struct fake fake;
    shm_copier *copier = fake_create(&fake, FAKE_STREAMED);
    shm_subscriber *subscriber = subscriber_with("/fails", 1, 0, 0);
    shm_publisher *publisher = new_publisher("/fails", NULL);
    void *memory = device_number(&fake, 7);
    struct told told = {0, 0};
    publish_number(publisher, 1);
    publish_number(publisher, 2);
    CHECK_STATUS(shm_publisher_publish(publisher, NULL, 0, NULL), SHM_OK);
    publish_number(publisher, 3);

    /* Arguments: the sample stays the caller's. */
    shm_sample *sample = next_sample(subscriber);
    CHECK_STATUS(shm_sample_copy_on_stream(NULL, copier, memory, NULL, tell, &told), SHM_ERR_NULL);
    CHECK(strcmp(shm_last_error_message(), "sample is NULL") == 0);
    CHECK_STATUS(shm_sample_copy_on_stream(sample, NULL, memory, NULL, tell, &told), SHM_ERR_NULL);
    CHECK_STATUS(shm_sample_copy_on_stream(sample, copier, NULL, NULL, tell, &told), SHM_ERR_NULL);
    CHECK(strcmp(shm_last_error_message(), "dst is NULL") == 0);
    CHECK(number_in(sample) == 1 && fake.counts.shm_to_user_on_stream == 0);

    /* It doesn't even begin. */
    fake.fails.shm_to_user_on_stream = 4;
    CHECK_STATUS(shm_sample_copy_on_stream(sample, copier, memory, NULL, tell, &told), SHM_OK);
    CHECK(times_told(&told) == 1 && told.status == SHM_ERR_COPIER);
    CHECK_STATUS(shm_sample_copy_on_stream(sample, copier, memory, NULL, tell, &told), SHM_ERR_CLOSED);
    fake.fails.shm_to_user_on_stream = 0;

    /* It ends badly. */
    fake.ends_with = -5;
    CHECK_STATUS(shm_sample_copy_on_stream(next_sample(subscriber), copier, memory, NULL, tell, &told), SHM_OK);
    CHECK(times_told(&told) == 1);
    fake_allow(&fake, 0, 1);
    fake_await(&fake, 0);
    CHECK(times_told(&told) == 2 && told.status == SHM_ERR_COPIER);

    /* Nothing is copied of nothing. */
    CHECK_STATUS(shm_sample_copy_on_stream(next_sample(subscriber), copier, NULL, NULL, tell, &told), SHM_OK);
    CHECK(times_told(&told) == 3 && told.status == SHM_OK && fake.counts.shm_to_user_on_stream == 2);
    CHECK(receive_number(subscriber) == 3);
    free_number(&fake, memory, 7);
    shm_subscriber_destroy(subscriber);
    shm_publisher_destroy(publisher);
    shm_copier_destroy(copier);
    fake_end(&fake);
}

/* A copier that knows no streams copies at once. */
static void at_once(void) {
    struct fake fake;
    shm_copier *copier = fake_create(&fake, FAKE_PINS);
    shm_subscriber *subscriber = subscriber_with("/once", 1, 0, 0);
    shm_stream_publisher *publisher = new_stream_publisher("/once", copier);
    void *memory = device_number(&fake, 1), *copied = device_number(&fake, 0);
    struct told told = {0, 0};
    CHECK_STATUS(shm_stream_publisher_publish(publisher, memory, sizeof(uint64_t), NULL), SHM_OK);
    shm_sample *sample = next_sample(subscriber);
    CHECK(number_in(sample) == 1);
    CHECK_STATUS(shm_sample_copy_on_stream(sample, copier, copied, NULL, tell, &told), SHM_OK);
    CHECK(times_told(&told) == 1 && told.status == SHM_OK);
    fake.fails.user_to_shm = 8;
    CHECK_STATUS(shm_stream_publisher_publish(publisher, memory, sizeof(uint64_t), NULL), SHM_OK);
    CHECK_STATUS(shm_stream_publisher_wait(publisher, 0), SHM_ERR_COPIER);
    CHECK(shm_last_error_code() == 8);
    CHECK_STATUS(shm_stream_publisher_wait(publisher, 0), SHM_OK);
    no_message(subscriber);
    free_number(&fake, memory, 1);
    free_number(&fake, copied, 1);
    shm_stream_publisher_destroy(publisher);
    shm_subscriber_destroy(subscriber);
    shm_copier_destroy(copier);
    fake_end(&fake);
}

/* A message is there when its stream has come to it, in the stream's order. */
static void messages_in_the_order_of_streams(void) {
    struct fake fake;
    shm_copier *copier = fake_create(&fake, FAKE_PINS | FAKE_STREAMED);
    shm_subscriber *subscriber = subscriber_with("/order", 0, 0, 0);
    shm_stream_publisher *publisher = new_stream_publisher("/order", copier);
    shm_topic_info info = {.struct_size = sizeof info};
    CHECK_STATUS(shm_stream_publisher_info(publisher, &info), SHM_OK);
    CHECK(info.capacity == 64 && info.participants == 128 && info.holds == 8 && info.instance != 0);
    CHECK_STATUS(shm_stream_publisher_wait(publisher, UINT64_MAX), SHM_OK);

    void *memory[30];
    for (uint64_t n = 0; n < 30; n++) {
        memory[n] = device_number(&fake, 1000);
        void *stream = fake_stream(&fake, (int)(n % 3));
        CHECK_STATUS(shm_stream_publisher_publish(publisher, memory[n], sizeof n, stream), SHM_OK);
    }
    /* The device reads when it comes to it, not before. */
    for (uint64_t n = 0; n < 30; n++) fake_write(&fake, memory[n], &n, sizeof n);
    CHECK_STATUS(shm_stream_publisher_wait(publisher, 20 * MS), SHM_TIMED_OUT);
    no_message(subscriber);
    const int order[] = {1, 1, 0, 2, 1, 2, 0, 0, 2, 2};
    int ended[3] = {0, 0, 0};
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        int stream = order[i];
        fake_allow(&fake, stream, 1);
        fake_await(&fake, stream);
        CHECK(receive_number(subscriber) == (uint64_t)(stream + 3 * ended[stream]++));
        no_message(subscriber);
    }
    CHECK_STATUS(shm_stream_publisher_wait(publisher, 0), SHM_TIMED_OUT);
    for (int stream = 0; stream < 3; stream++) fake_allow(&fake, stream, 10 - ended[stream]);
    CHECK_STATUS(shm_stream_publisher_wait(publisher, TEN_SECONDS), SHM_OK);
    for (int n = 10; n < 30; n++) receive_number(subscriber);
    no_message(subscriber);
    CHECK(fake_counts(&fake).pin == 1 && fake.mappings[0].is_writable == 1);
    CHECK(fake.counts.user_to_shm_on_stream == 30 && fake.counts.user_to_shm == 0);
    CHECK(fake.last_size == sizeof(uint64_t));
    for (uint64_t n = 0; n < 30; n++) free_number(&fake, memory[n], n);
    shm_stream_publisher_destroy(publisher);
    shm_subscriber_destroy(subscriber);
    shm_copier_destroy(copier);
    fake_end(&fake);
}

struct waiting {
    shm_stream_publisher *publisher;
    int begun, over;
};

static void *wait_for_all(void *argument) {
    struct waiting *waiting = argument;
    __atomic_store_n(&waiting->begun, 1, __ATOMIC_RELEASE);
    CHECK_STATUS(shm_stream_publisher_wait(waiting->publisher, TEN_SECONDS), SHM_OK);
    __atomic_store_n(&waiting->over, 1, __ATOMIC_RELEASE);
    return NULL;
}

/* What is begun later and ends sooner, on another stream, doesn't count for what is waited for. */
static void waits_for_what_was_begun_before(void) {
    struct fake fake;
    shm_copier *copier = fake_create(&fake, FAKE_STREAMED);
    shm_stream_publisher *publisher = new_stream_publisher("/before", copier);
    void *memory = device_number(&fake, 1);
    CHECK_STATUS(shm_stream_publisher_publish(publisher, memory, sizeof(uint64_t), fake_stream(&fake, 1)), SHM_OK);
    struct waiting waiting = {publisher, 0, 0};
    pthread_t waiter;
    CHECK(pthread_create(&waiter, NULL, wait_for_all, &waiting) == 0);
    while (!__atomic_load_n(&waiting.begun, __ATOMIC_ACQUIRE)) sched_yield();
    wait_a_moment();
    for (int i = 0; i < 3; i++) {
        CHECK_STATUS(shm_stream_publisher_publish(publisher, memory, sizeof(uint64_t), fake_stream(&fake, 2)), SHM_OK);
    }
    fake_allow(&fake, 2, 2);
    fake_await(&fake, 2);
    wait_a_moment();
    CHECK(!__atomic_load_n(&waiting.over, __ATOMIC_ACQUIRE));
    CHECK_STATUS(shm_stream_publisher_wait(publisher, 0), SHM_TIMED_OUT);
    fake_allow(&fake, 1, 1);
    CHECK(pthread_join(waiter, NULL) == 0); /* though one on the other stream hasn't ended */
    CHECK_STATUS(shm_stream_publisher_wait(publisher, 0), SHM_TIMED_OUT);
    fake_allow(&fake, 2, 1);
    CHECK_STATUS(shm_stream_publisher_wait(publisher, TEN_SECONDS), SHM_OK);
    free_number(&fake, memory, 1);
    shm_stream_publisher_destroy(publisher);
    shm_copier_destroy(copier);
    fake_end(&fake);
}

static void failed_copies(void) {
    struct fake fake;
    shm_copier *copier = fake_create(&fake, FAKE_PINS | FAKE_STREAMED);
    shm_subscriber *subscriber = subscriber_with("/failed", 0, 0, 0);
    shm_stream_publisher *publisher = NULL;
    shm_publisher_options options = publisher_defaults();
    options.memory = 4 << 20;
    CHECK_STATUS(shm_stream_publisher_create("/failed", &options, copier, &publisher), SHM_OK);
    static char large[100000];
    void *memory = device_number(&fake, 1), *more = fake_fill(&fake, large, sizeof large);
    /* So often that it would be noticed if their places weren't lent again. */
    for (int round = 0; round < 100; round++) {
        for (int way = 0; way < 2; way++) {
            fake.ends_with = way == 0 ? 17 : 0;
            fake.fails.user_to_shm_on_stream = way == 0 ? 0 : 18;
            CHECK_STATUS(shm_stream_publisher_publish(publisher, more, sizeof large, NULL), SHM_OK);
            if (way == 0) fake_allow(&fake, 0, 1);
            CHECK_STATUS(shm_stream_publisher_wait(publisher, TEN_SECONDS), SHM_ERR_COPIER);
            CHECK(shm_last_error_code() == 17 + way);
            fake_await(&fake, 0);
        }
    }
    CHECK_STATUS(shm_stream_publisher_wait(publisher, TEN_SECONDS), SHM_OK);
    no_message(subscriber);

    /* Of several the first is reported, and only that. */
    for (int code = 1; code <= 3; code++) {
        fake.fails.user_to_shm_on_stream = code;
        CHECK_STATUS(shm_stream_publisher_publish(publisher, memory, sizeof(uint64_t), NULL), SHM_OK);
    }
    fake.fails.user_to_shm_on_stream = 0;
    CHECK_STATUS(shm_stream_publisher_publish(publisher, memory, sizeof(uint64_t), NULL), SHM_OK);
    CHECK_STATUS(shm_stream_publisher_wait(publisher, 0), SHM_TIMED_OUT);
    fake_allow(&fake, 0, 1);
    CHECK_STATUS(shm_stream_publisher_wait(publisher, TEN_SECONDS), SHM_ERR_COPIER);
    CHECK(shm_last_error_code() == 1);
    CHECK_STATUS(shm_stream_publisher_wait(publisher, TEN_SECONDS), SHM_OK);
    CHECK(receive_number(subscriber) == 1);
    no_message(subscriber);

    /* What can't even be lent is an error at once. */
    CHECK_STATUS(shm_stream_publisher_publish(publisher, memory, 5 << 20, NULL), SHM_ERR_OUT_OF_MEMORY);
    CHECK_STATUS(shm_stream_publisher_wait(publisher, 0), SHM_OK);
    free_number(&fake, memory, 1);
    fake_check(&fake, more, large, sizeof large);
    shm_stream_publisher_destroy(publisher);
    shm_subscriber_destroy(subscriber);
    shm_copier_destroy(copier);
    fake_end(&fake);
}

static void arguments(void) {
    struct fake fake;
    shm_copier *copier = fake_create(&fake, FAKE_STREAMED);
    shm_stream_publisher *publisher = UNTOUCHED;
    CHECK_STATUS(shm_stream_publisher_create(NULL, NULL, copier, &publisher), SHM_ERR_NULL);
    CHECK_STATUS(shm_stream_publisher_create("/arguments", NULL, NULL, &publisher), SHM_ERR_NULL);
    CHECK_STATUS(shm_stream_publisher_create("/arguments", NULL, copier, NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_stream_publisher_create("", NULL, copier, &publisher), SHM_ERR_INVALID_NAME);
    CHECK(publisher == UNTOUCHED);
    CHECK_STATUS(shm_stream_publisher_publish(NULL, &marker, 1, NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_stream_publisher_wait(NULL, 0), SHM_ERR_NULL);
    shm_topic_info info = {.struct_size = sizeof info, .capacity = 7};
    CHECK_STATUS(shm_stream_publisher_info(NULL, &info), SHM_ERR_NULL);
    shm_stream_publisher_destroy(NULL);
    check_root_is_empty();

    publisher = new_stream_publisher("/arguments", copier);
    shm_subscriber *subscriber = subscriber_with("/arguments", 0, 0, 0);
    CHECK_STATUS(shm_stream_publisher_info(publisher, NULL), SHM_ERR_NULL);
    info.struct_size = 3;
    CHECK_STATUS(shm_stream_publisher_info(publisher, &info), SHM_ERR_INVALID_OPTION);
    CHECK(info.capacity == 7);
    CHECK_STATUS(shm_stream_publisher_publish(publisher, NULL, 1, NULL), SHM_ERR_NULL);
    CHECK(strcmp(shm_last_error_message(), "src is NULL") == 0);
    no_message(subscriber);
    CHECK_STATUS(shm_stream_publisher_publish(publisher, NULL, 0, NULL), SHM_OK);
    shm_sample *sample = next_sample(subscriber);
    CHECK(shm_sample_size(sample) == 0 && fake_counts(&fake).user_to_shm_on_stream == 0);
    shm_sample_release(sample);
    shm_stream_publisher_destroy(publisher);
    shm_subscriber_destroy(subscriber);
    shm_copier_destroy(copier);
    fake_end(&fake);
}

/* A full reliable subscriber holds up neither the stream nor who publishes. */
static void full_reliable_subscriber(void) {
    struct fake fake;
    shm_copier *copier = fake_create(&fake, FAKE_STREAMED);
    shm_subscriber *subscriber = subscriber_with("/reliable", 0, 1, 4);
    shm_stream_publisher *publisher = new_stream_publisher("/reliable", copier);
    void *memory[20];
    fake_allow(&fake, 0, 20);
    for (uint64_t n = 0; n < 20; n++) {
        memory[n] = device_number(&fake, n);
        CHECK_STATUS(shm_stream_publisher_publish(publisher, memory[n], sizeof n, NULL), SHM_OK);
    }
    CHECK_STATUS(shm_stream_publisher_wait(publisher, 50 * MS), SHM_TIMED_OUT);
    for (uint64_t n = 0; n < 20; n++) CHECK(receive_number(subscriber) == n);
    CHECK_STATUS(shm_stream_publisher_wait(publisher, TEN_SECONDS), SHM_OK);
    no_message(subscriber);
    uint64_t lost = 7;
    CHECK_STATUS(shm_subscriber_lost(subscriber, &lost), SHM_OK);
    CHECK(lost == 0);
    for (uint64_t n = 0; n < 20; n++) free_number(&fake, memory[n], n);
    shm_stream_publisher_destroy(publisher);
    shm_subscriber_destroy(subscriber);
    shm_copier_destroy(copier);
    fake_end(&fake);
}

static void *allow_later(void *argument) {
    wait_a_moment();
    fake_allow(argument, 0, 3);
    return NULL;
}

/* It has a share in the copier, ends when all has, and leaves nothing. */
static void the_end(int rounds) {
    for (int round = 0; round < rounds; round++) {
        struct fake fake;
        shm_copier *copier = fake_create(&fake, FAKE_PINS | FAKE_STREAMED);
        shm_stream_publisher *publisher = new_stream_publisher("/end", copier);
        shm_copier_destroy(copier);
        void *memory = device_number(&fake, 1);
        for (int i = 0; i < 3; i++) {
            CHECK_STATUS(shm_stream_publisher_publish(publisher, memory, sizeof(uint64_t), NULL), SHM_OK);
        }
        CHECK(fake_counts(&fake).destroy == 0);
        pthread_t later;
        CHECK(pthread_create(&later, NULL, allow_later, &fake) == 0);
        shm_stream_publisher_destroy(publisher);
        const struct counts counts = fake_counts(&fake);
        CHECK(counts.pin == 1 && counts.unpin == 1 && counts.destroy == 1);
        check_root_is_empty();
        CHECK(pthread_join(later, NULL) == 0);
        free_number(&fake, memory, 1);
        fake_end(&fake);
    }
}

/* In the child of a fork nobody ends what was begun, and nobody waits for it. */
static void forked(void) {
    struct fake fake;
    shm_copier *copier = fake_create(&fake, FAKE_PINS | FAKE_STREAMED);
    shm_publisher *plain = new_publisher("/fork", NULL);
    shm_subscriber *subscriber = subscriber_with("/fork", 0, 0, 0);
    shm_stream_publisher *publisher = new_stream_publisher("/fork", copier);
    publish_number(plain, 3);
    shm_sample *sample = next_sample(subscriber);
    void *memory = device_number(&fake, 1);
    CHECK_STATUS(shm_stream_publisher_publish(publisher, memory, sizeof(uint64_t), NULL), SHM_OK);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(20);
        CHECK_STATUS(shm_stream_publisher_publish(publisher, memory, sizeof(uint64_t), NULL), SHM_ERR_FORKED);
        CHECK_STATUS(shm_stream_publisher_wait(publisher, UINT64_MAX), SHM_ERR_FORKED);
        shm_topic_info info = {.struct_size = sizeof info};
        CHECK_STATUS(shm_stream_publisher_info(publisher, &info), SHM_OK);
        struct told told = {0, 0};
        CHECK_STATUS(shm_sample_copy_on_stream(sample, copier, memory, NULL, tell, &told), SHM_ERR_FORKED);
        CHECK(told.count == 0);
        shm_sample_release(sample);
        shm_stream_publisher_destroy(publisher);
        shm_subscriber_destroy(subscriber);
        shm_publisher_destroy(plain);
        shm_copier_destroy(copier);
        CHECK(fake.counts.destroy == 0 && fake.counts.unpin == 0 && fake.counts.shm_to_user_on_stream == 0);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    fake_allow(&fake, 0, 1);
    CHECK_STATUS(shm_stream_publisher_wait(publisher, TEN_SECONDS), SHM_OK);
    CHECK(receive_number(subscriber) == 1 && number_in(sample) == 3);
    shm_sample_release(sample);
    free_number(&fake, memory, 1);
    shm_stream_publisher_destroy(publisher);
    shm_subscriber_destroy(subscriber);
    shm_publisher_destroy(plain);
    shm_copier_destroy(copier);
    fake_end(&fake);
}

int main(void) {
    fresh_root();
    samples_are_released_when_done();
    samples_outlive_the_rest();
    samples_whose_copy_fails();
    at_once();
    messages_in_the_order_of_streams();
    waits_for_what_was_begun_before();
    failed_copies();
    arguments();
    full_reliable_subscriber();
    the_end(20);
    forked();
    check_root_is_empty();
    return 0;
}
