/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Copiers: what their functions are called with and when, what fails, and what is left then. */
#include "fake_copier.h"

#include <sys/wait.h>
#include <unistd.h>

static char marker;
#define UNTOUCHED ((void *)&marker)
#define SIZES 5

static const size_t sizes[SIZES] = {1, 64, 1000, 70000, 300000};
static unsigned char content[300000];

static int32_t try_create(const shm_copier_ops *ops) {
    shm_copier *copier = UNTOUCHED;
    int32_t status = shm_copier_create(ops, &copier);
    if (status == SHM_OK) {
        shm_copier_destroy(copier);
    } else {
        CHECK(copier == UNTOUCHED);
    }
    return status;
}

static void ops(void) {
    shm_copier_ops nothing;
    memset(&nothing, 0xff, sizeof nothing);
    CHECK_STATUS(shm_copier_ops_init(&nothing), SHM_OK);
    CHECK(nothing.struct_size == sizeof nothing && nothing.user_data == NULL);
    CHECK(nothing.alloc == NULL && nothing.dealloc == NULL && nothing.shm_to_user == NULL && nothing.user_to_shm == NULL);
    CHECK(nothing.shm_to_user_on_stream == NULL && nothing.user_to_shm_on_stream == NULL);
    CHECK(nothing.pin == NULL && nothing.unpin == NULL && nothing.destroy == NULL);
    CHECK_STATUS(try_create(&nothing), SHM_ERR_INVALID_OPTION);

    struct fake fake;
    fake_init(&fake);
    const shm_copier_ops whole = fake_ops(&fake, FAKE_PINS | FAKE_STREAMED);
    shm_copier_ops ops = whole;
    ops.shm_to_user = NULL;
    CHECK_STATUS(try_create(&ops), SHM_ERR_INVALID_OPTION);
    CHECK(strstr(shm_last_error_message(), "shm_to_user") != NULL);
    ops = whole;
    ops.user_to_shm = NULL;
    CHECK_STATUS(try_create(&ops), SHM_ERR_INVALID_OPTION);
    CHECK(strstr(shm_last_error_message(), "user_to_shm") != NULL);
    ops = whole;
    ops.dealloc = NULL;
    CHECK_STATUS(try_create(&ops), SHM_ERR_INVALID_OPTION);
    CHECK(strstr(shm_last_error_message(), "dealloc") != NULL);
    ops = whole;
    ops.pin = NULL;
    CHECK_STATUS(try_create(&ops), SHM_ERR_INVALID_OPTION);
    CHECK(strstr(shm_last_error_message(), "pin") != NULL);

    /* A shorter struct lacks what comes after its end; a longer one may not ask for what isn't known. */
    ops = whole;
    for (size_t size = 0; size < offsetof(shm_copier_ops, shm_to_user_on_stream); size++) {
        ops.struct_size = size;
        CHECK_STATUS(try_create(&ops), SHM_ERR_INVALID_OPTION);
    }
    struct {
        shm_copier_ops ops;
        void *more[2];
    } longer = {whole, {NULL, NULL}};
    longer.ops.struct_size = sizeof longer;
    longer.more[1] = &longer;
    CHECK_STATUS(try_create(&longer.ops), SHM_ERR_INVALID_OPTION);
    CHECK(fake_counts(&fake).destroy == 0);
    longer.more[1] = NULL;
    CHECK_STATUS(try_create(&longer.ops), SHM_OK);
    CHECK(fake_counts(&fake).destroy == 1);

    fake_init(&fake);
    ops.struct_size = sizeof ops - 1;
    CHECK_STATUS(try_create(&ops), SHM_OK);
    ops.struct_size = offsetof(shm_copier_ops, shm_to_user_on_stream);
    CHECK_STATUS(try_create(&ops), SHM_OK);
    CHECK(fake_counts(&fake).destroy == 0);

    /* Without alloc it copies only. */
    ops = whole;
    ops.alloc = NULL;
    ops.dealloc = NULL;
    shm_copier *copier = NULL;
    void *memory = UNTOUCHED;
    CHECK_STATUS(shm_copier_create(&ops, &copier), SHM_OK);
    CHECK_STATUS(shm_copier_alloc(copier, 1, &memory), SHM_ERR_COPIER);
    CHECK_STATUS(shm_copier_copy_out(copier, content, 1, &memory), SHM_ERR_COPIER);
    CHECK_STATUS(shm_copier_dealloc(copier, &marker, 1), SHM_ERR_COPIER);
    CHECK(memory == UNTOUCHED && shm_last_error_code() == 0);
    CHECK(fake_counts(&fake).alloc == 0 && fake_counts(&fake).dealloc == 0);
    shm_copier_destroy(copier);
    fake_end(&fake);
}

static void no_arguments(void) {
    struct fake fake;
    shm_copier *copier = fake_create(&fake, FAKE_PINS), *none = UNTOUCHED;
    shm_publisher *publisher = new_publisher("/null", NULL);
    shm_copier_ops ops = fake_ops(&fake, FAKE_PLAIN);
    void *memory = UNTOUCHED;
    uint64_t position = 7;
    CHECK_STATUS(shm_copier_ops_init(NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_copier_create(NULL, &none), SHM_ERR_NULL);
    CHECK_STATUS(shm_copier_create(&ops, NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_copier_alloc(NULL, 1, &memory), SHM_ERR_NULL);
    CHECK(strcmp(shm_last_error_message(), "copier is NULL") == 0);
    CHECK_STATUS(shm_copier_alloc(copier, 1, NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_copier_dealloc(NULL, UNTOUCHED, 1), SHM_ERR_NULL);
    CHECK_STATUS(shm_copier_shm_to_user(NULL, &marker, &marker, 1), SHM_ERR_NULL);
    CHECK_STATUS(shm_copier_shm_to_user(copier, NULL, &marker, 1), SHM_ERR_NULL);
    CHECK(strcmp(shm_last_error_message(), "dst is NULL") == 0);
    CHECK_STATUS(shm_copier_shm_to_user(copier, &marker, NULL, 1), SHM_ERR_NULL);
    CHECK(strcmp(shm_last_error_message(), "src is NULL") == 0);
    CHECK_STATUS(shm_copier_user_to_shm(NULL, &marker, &marker, 1), SHM_ERR_NULL);
    CHECK_STATUS(shm_copier_user_to_shm(copier, NULL, &marker, 1), SHM_ERR_NULL);
    CHECK(strcmp(shm_last_error_message(), "dst is NULL") == 0);
    CHECK_STATUS(shm_copier_user_to_shm(copier, &marker, NULL, 1), SHM_ERR_NULL);
    CHECK(strcmp(shm_last_error_message(), "src is NULL") == 0);
    CHECK_STATUS(shm_copier_copy_out(NULL, &marker, 1, &memory), SHM_ERR_NULL);
    CHECK_STATUS(shm_copier_copy_out(copier, NULL, 1, &memory), SHM_ERR_NULL);
    CHECK_STATUS(shm_copier_copy_out(copier, &marker, 1, NULL), SHM_ERR_NULL);
    CHECK_STATUS(shm_copier_copy_out(copier, &marker, SIZE_MAX, &memory), SHM_ERR_TOO_LARGE);
    CHECK_STATUS(shm_publisher_publish_from(NULL, copier, &marker, 1, &position), SHM_ERR_NULL);
    CHECK_STATUS(shm_publisher_publish_from(publisher, NULL, &marker, 1, &position), SHM_ERR_NULL);
    CHECK_STATUS(shm_publisher_publish_from(publisher, copier, NULL, 1, &position), SHM_ERR_NULL);
    CHECK(strcmp(shm_last_error_message(), "src is NULL") == 0);
    CHECK_STATUS(shm_publisher_publish_from(publisher, copier, &marker, SIZE_MAX, &position), SHM_ERR_TOO_LARGE);
    CHECK(none == UNTOUCHED && memory == UNTOUCHED && position == 7);
    shm_copier_destroy(NULL);

    const struct counts nothing = {0}, counted = fake_counts(&fake);
    CHECK(memcmp(&counted, &nothing, sizeof nothing) == 0);
    shm_publisher_destroy(publisher);
    shm_copier_destroy(copier);
    fake_end(&fake);
}

/* Nothing is asked of a copier for no bytes. */
static void no_bytes(void) {
    struct fake fake;
    shm_copier *copier = fake_create(&fake, FAKE_PINS);
    shm_publisher *publisher = new_publisher("/nothing", NULL);
    shm_subscriber *subscriber = new_subscriber("/nothing", NULL);
    void *memory = UNTOUCHED;
    uint64_t position = UINT64_MAX;
    CHECK_STATUS(shm_copier_alloc(copier, 0, &memory), SHM_OK);
    CHECK(memory == NULL);
    CHECK_STATUS(shm_copier_dealloc(copier, memory, 0), SHM_OK);
    CHECK_STATUS(shm_copier_dealloc(copier, NULL, 5), SHM_OK);
    CHECK_STATUS(shm_copier_shm_to_user(copier, NULL, NULL, 0), SHM_OK);
    CHECK_STATUS(shm_copier_user_to_shm(copier, NULL, NULL, 0), SHM_OK);
    memory = UNTOUCHED;
    CHECK_STATUS(shm_copier_copy_out(copier, NULL, 0, &memory), SHM_OK);
    CHECK(memory == NULL);
    CHECK_STATUS(shm_publisher_publish_from(publisher, copier, NULL, 0, &position), SHM_OK);
    shm_sample *sample = next_sample(subscriber);
    CHECK(shm_sample_size(sample) == 0 && shm_sample_position(sample) == position);
    CHECK_STATUS(shm_copier_copy_out(copier, shm_sample_data(sample), 0, &memory), SHM_OK);
    shm_sample_release(sample);

    const struct counts nothing = {0}, counted = fake_counts(&fake);
    CHECK(memcmp(&counted, &nothing, sizeof nothing) == 0);
    shm_subscriber_destroy(subscriber);
    shm_publisher_destroy(publisher);
    shm_copier_destroy(copier);
    fake_end(&fake);
}

static void publish_content(shm_publisher *publisher, shm_copier *copier, struct fake *fake, size_t size) {
    void *memory = fake_fill(fake, content, size);
    int before = fake_counts(fake).user_to_shm;
    CHECK_STATUS(shm_publisher_publish_from(publisher, copier, memory, size, NULL), SHM_OK);
    CHECK(fake_counts(fake).user_to_shm == before + 1 && fake->last_size == size);
    fake_check(fake, memory, content, size);
}

static void copy_content_out(shm_subscriber *subscriber, shm_copier *copier, struct fake *fake, size_t size) {
    shm_sample *sample = next_sample(subscriber);
    CHECK(shm_sample_size(sample) == size && memcmp(shm_sample_data(sample), content, size) == 0);
    void *memory = NULL;
    struct counts before = fake_counts(fake);
    CHECK_STATUS(shm_copier_copy_out(copier, shm_sample_data(sample), size, &memory), SHM_OK);
    struct counts after = fake_counts(fake);
    CHECK(after.alloc == before.alloc + 1 && after.shm_to_user == before.shm_to_user + 1 && fake->last_size == size);
    shm_sample_release(sample);
    CHECK(after.dealloc == before.dealloc);
    fake_check(fake, memory, content, size);
}

/* Told of each mapping once, however many messages there are, and of its end before that. */
static void pinned_mappings(int is_copier_first) {
    struct fake out, in;
    shm_copier *to_shm = fake_create(&out, FAKE_PINS), *to_user = fake_create(&in, FAKE_PINS);
    shm_publisher *publisher = new_publisher("/pins", NULL);
    shm_subscriber *subscriber = new_subscriber("/pins", NULL);
    for (int round = 0; round < 100; round++) {
        publish_content(publisher, to_shm, &out, 64);
        copy_content_out(subscriber, to_user, &in, 64);
        CHECK(out.counts.pin == 1 && in.counts.pin == 1);
    }
    for (int i = 0; i < 2 * SIZES; i++) {
        publish_content(publisher, to_shm, &out, sizes[i % SIZES]);
        copy_content_out(subscriber, to_user, &in, sizes[i % SIZES]);
    }
    CHECK(out.counts.pin > 1 && in.counts.pin == out.counts.pin);
    int pins = out.counts.pin;
    for (int i = 0; i < pins; i++) {
        CHECK(out.mappings[i].is_writable == 1 && in.mappings[i].is_writable == 0);
        CHECK(out.mappings[i].size == in.mappings[i].size && out.mappings[i].start != in.mappings[i].start);
    }
    CHECK(out.counts.unpin == 0 && in.counts.unpin == 0);
    if (is_copier_first) {
        shm_copier_destroy(to_user);
        shm_copier_destroy(to_shm);
        CHECK(out.counts.destroy == 1 && in.counts.destroy == 1);
    }
    CHECK(out.counts.unpin == (is_copier_first ? pins : 0) && in.counts.unpin == out.counts.unpin);
    shm_subscriber_destroy(subscriber);
    shm_publisher_destroy(publisher);
    CHECK(out.counts.unpin == pins && in.counts.unpin == pins);
    if (!is_copier_first) {
        CHECK(out.counts.destroy == 0 && in.counts.destroy == 0);
        shm_copier_destroy(to_user);
        shm_copier_destroy(to_shm);
    }
    CHECK(out.counts.unpin == pins && in.counts.unpin == pins);
    fake_end(&out);
    fake_end(&in);
}

/* One copier for both sides, two copiers for one mapping, and copiers that don't pin or can't. */
static void copiers_of_one_mapping(void) {
    struct fake both, other, plain, unpinned;
    shm_copier *copier = fake_create(&both, FAKE_PINS), *second = fake_create(&other, FAKE_PINS);
    shm_copier *simple = fake_create(&plain, FAKE_PLAIN), *failing = fake_create(&unpinned, FAKE_PINS);
    unpinned.fails.pin = 5;
    shm_publisher *publisher = new_publisher("/shared", NULL);
    shm_subscriber *subscriber = new_subscriber("/shared", NULL);
    for (int round = 0; round < 3; round++) {
        publish_content(publisher, copier, &both, 100);
        copy_content_out(subscriber, copier, &both, 100);
        publish_content(publisher, second, &other, 100);
        copy_content_out(subscriber, simple, &plain, 100);
        publish_content(publisher, failing, &unpinned, 100);
        copy_content_out(subscriber, failing, &unpinned, 100);
    }
    CHECK(both.counts.pin == 2 && both.mappings[0].is_writable == 1 && both.mappings[1].is_writable == 0);
    CHECK(other.counts.pin == 1 && plain.counts.pin == 0);
    CHECK(other.mappings[0].start == both.mappings[0].start);
    CHECK(unpinned.counts.pin == 2);
    shm_copier_destroy(second);
    CHECK(other.counts.unpin == 1 && both.counts.unpin == 0);
    shm_publisher_destroy(publisher);
    CHECK(both.counts.unpin == 1);
    shm_subscriber_destroy(subscriber);
    CHECK(both.counts.unpin == 2 && unpinned.counts.unpin == 0);
    shm_copier_destroy(copier);
    shm_copier_destroy(simple);
    shm_copier_destroy(failing);
    fake_end(&both);
    fake_end(&other);
    fake_end(&plain);
    fake_end(&unpinned);
}

/* A held sample keeps its mapping, and with it the pin. */
static void held_sample(void) {
    struct fake fake;
    shm_copier *copier = fake_create(&fake, FAKE_PINS);
    shm_publisher *publisher = new_publisher("/held", NULL);
    shm_subscriber *subscriber = new_subscriber("/held", NULL);
    CHECK_STATUS(shm_publisher_publish(publisher, content, 100, NULL), SHM_OK);
    shm_sample *sample = next_sample(subscriber);
    shm_publisher_destroy(publisher);
    shm_subscriber_destroy(subscriber);
    for (int round = 0; round < 2; round++) {
        void *memory = fake_fill(&fake, content + 200, 100);
        CHECK_STATUS(shm_copier_shm_to_user(copier, memory, shm_sample_data(sample), 100), SHM_OK);
        fake_check(&fake, memory, content, 100);
    }
    CHECK(fake.counts.pin == 1 && fake.counts.unpin == 0);
    shm_sample_release(sample);
    CHECK(fake.counts.unpin == 1);
    shm_copier_destroy(copier);
    fake_end(&fake);
}

static void check_failed_with(int32_t code, const char *call) {
    CHECK(shm_last_error_code() == code);
    CHECK(strstr(shm_last_error_message(), call) != NULL);
}

static void failures(void) {
    struct fake fake;
    shm_copier *copier = fake_create(&fake, FAKE_PINS);
    shm_publisher_options options = publisher_defaults();
    options.memory = 4 << 20;
    shm_publisher *publisher = new_publisher("/fails", &options);
    shm_subscriber *subscriber = new_subscriber("/fails", NULL);
    void *memory = UNTOUCHED;

    fake.fails.alloc = -7;
    CHECK_STATUS(shm_copier_alloc(copier, 10, &memory), SHM_ERR_COPIER);
    check_failed_with(-7, "alloc");
    CHECK_STATUS(shm_copier_copy_out(copier, content, 10, &memory), SHM_ERR_COPIER);
    check_failed_with(-7, "alloc");
    fake.fails.alloc = 0;
    fake.gives_null = 1;
    CHECK_STATUS(shm_copier_alloc(copier, 10, &memory), SHM_ERR_COPIER);
    check_failed_with(0, "alloc");
    fake.gives_null = 0;
    CHECK(memory == UNTOUCHED && fake.counts.alloc == 3 && fake.counts.dealloc == 0 && fake.counts.shm_to_user == 0);

    /* What was allocated for a copy that fails is freed. */
    fake.fails.shm_to_user = 700;
    CHECK_STATUS(shm_copier_copy_out(copier, content, 10, &memory), SHM_ERR_COPIER);
    check_failed_with(700, "shm_to_user");
    CHECK(memory == UNTOUCHED && fake.counts.dealloc == 1);
    void *device = fake_fill(&fake, content, 2000);
    CHECK_STATUS(shm_copier_shm_to_user(copier, device, content + 1, 10), SHM_ERR_COPIER);
    check_failed_with(700, "shm_to_user");
    fake.fails.shm_to_user = 0;

    /* What isn't copied isn't published, and its place is lent again. */
    fake.fails.user_to_shm = 1;
    uint64_t position = 7;
    for (int round = 0; round < 3000; round++) {
        CHECK_STATUS(shm_publisher_publish_from(publisher, copier, device, 2000, &position), SHM_ERR_COPIER);
    }
    check_failed_with(1, "user_to_shm");
    shm_loan *loan = NULL;
    CHECK_STATUS(shm_publisher_loan(publisher, 10, &loan), SHM_OK);
    memset(shm_loan_data(loan), 'x', 10);
    CHECK_STATUS(shm_copier_user_to_shm(copier, shm_loan_data(loan), device, 10), SHM_ERR_COPIER);
    fake.fails.user_to_shm = 0;
    CHECK(position == 7);
    shm_sample *sample = UNTOUCHED;
    CHECK_STATUS(shm_subscriber_try_receive(subscriber, &sample), SHM_WOULD_BLOCK);

    /* The loan is good for another try. */
    CHECK_STATUS(shm_copier_user_to_shm(copier, shm_loan_data(loan), device, 10), SHM_OK);
    CHECK_STATUS(shm_loan_publish(loan, &position), SHM_OK);
    copy_content_out(subscriber, copier, &fake, 10);

    CHECK_STATUS(shm_copier_alloc(copier, 10, &memory), SHM_OK);
    fake.fails.dealloc = 3;
    CHECK_STATUS(shm_copier_dealloc(copier, memory, 10), SHM_ERR_COPIER);
    check_failed_with(3, "dealloc");
    fake.fails.dealloc = 0;
    CHECK_STATUS(shm_copier_dealloc(copier, memory, 10), SHM_OK);
    fake_check(&fake, device, content, 2000);
    fake.fails.unpin = 9; /* says nothing to anybody */
    shm_subscriber_destroy(subscriber);
    shm_publisher_destroy(publisher);
    CHECK(fake.counts.pin == fake.counts.unpin);
    shm_copier_destroy(copier);
    fake_end(&fake);
}

/* A request filled from a device's memory, its reply from and into such memory. */
static void calls(void) {
    struct fake callers, servers;
    shm_copier *calling = fake_create(&callers, FAKE_PINS), *serving = fake_create(&servers, FAKE_PINS);
    shm_client *client = new_client("/calls", NULL);
    shm_server *server = new_server("/calls", NULL);
    for (int round = 0; round < 5; round++) {
        void *asked = fake_fill(&callers, content, 1000), *got = NULL, *answer = NULL;
        shm_request_loan *loan = NULL;
        shm_pending *pending = NULL;
        CHECK_STATUS(shm_client_loan(client, 1000, &loan), SHM_OK);
        CHECK_STATUS(shm_copier_user_to_shm(calling, shm_request_loan_data(loan), asked, 1000), SHM_OK);
        CHECK_STATUS(shm_request_loan_send(loan, &pending), SHM_OK);

        shm_request *request = next_request(server);
        CHECK_STATUS(shm_copier_copy_out(serving, shm_request_data(request), shm_request_size(request), &got), SHM_OK);
        shm_reply_loan *reply_loan = NULL;
        CHECK_STATUS(shm_reply_loan_create(request, 1000, &reply_loan), SHM_OK);
        CHECK_STATUS(shm_copier_user_to_shm(serving, shm_reply_loan_data(reply_loan), got, 1000), SHM_OK);
        CHECK_STATUS(shm_reply_loan_send(reply_loan), SHM_OK);
        fake_check(&servers, got, content, 1000);

        shm_reply *reply = next_reply(pending);
        CHECK_STATUS(shm_copier_alloc(calling, shm_reply_size(reply), &answer), SHM_OK);
        CHECK_STATUS(shm_copier_shm_to_user(calling, answer, shm_reply_data(reply), shm_reply_size(reply)), SHM_OK);
        shm_reply_release(reply);
        shm_pending_destroy(pending);
        fake_check(&callers, asked, content, 1000);
        fake_check(&callers, answer, content, 1000);
    }
    CHECK(callers.counts.pin == 2 && callers.mappings[0].is_writable == 1 && callers.mappings[1].is_writable == 0);
    CHECK(servers.counts.pin == 2 && servers.mappings[0].is_writable == 0 && servers.mappings[1].is_writable == 1);
    shm_server_destroy(server);
    shm_client_destroy(client);
    CHECK(callers.counts.unpin == 2 && servers.counts.unpin == 2);
    shm_copier_destroy(calling);
    shm_copier_destroy(serving);
    fake_end(&callers);
    fake_end(&servers);
}

struct user {
    shm_copier *copier;
    struct fake *fake;
    const shm_sample *sample;
    int rounds;
};

static void *use(void *argument) {
    const struct user *user = argument;
    for (int round = 0; round < user->rounds; round++) {
        void *memory = NULL;
        const void *bytes = shm_sample_data(user->sample);
        CHECK_STATUS(shm_copier_copy_out(user->copier, bytes, 100, &memory), SHM_OK);
        CHECK_STATUS(shm_copier_dealloc(user->copier, memory, 100), SHM_OK);
    }
    return NULL;
}

/* One copier, used by several threads at once: a mapping is pinned once all the same. */
static void threads(int rounds) {
    struct fake fake;
    shm_copier *copier = fake_create(&fake, FAKE_PINS);
    shm_publisher *publisher = new_publisher("/threads", NULL);
    shm_subscriber *subscriber = new_subscriber("/threads", NULL);
    CHECK_STATUS(shm_publisher_publish(publisher, content, 100, NULL), SHM_OK);
    shm_sample *sample = next_sample(subscriber);
    struct user user = {copier, &fake, sample, rounds};
    pthread_t users[4];
    for (int i = 0; i < 4; i++) CHECK(pthread_create(&users[i], NULL, use, &user) == 0);
    for (int i = 0; i < 4; i++) CHECK(pthread_join(users[i], NULL) == 0);
    CHECK(fake.counts.pin == 1 && fake.counts.alloc == 4 * rounds && fake.counts.dealloc == 4 * rounds);
    shm_sample_release(sample);
    shm_subscriber_destroy(subscriber);
    shm_publisher_destroy(publisher);
    shm_copier_destroy(copier);
    fake_end(&fake);
}

/* In the child of a fork the parent's copier is dead, and nothing of it is called. */
static void forked(void) {
    struct fake fake;
    shm_copier *copier = fake_create(&fake, FAKE_PINS);
    shm_publisher *publisher = new_publisher("/fork", NULL);
    void *memory = fake_fill(&fake, content, 10), *none = UNTOUCHED;
    CHECK_STATUS(shm_publisher_publish_from(publisher, copier, memory, 10, NULL), SHM_OK);
    const struct counts before = fake.counts;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK_STATUS(shm_copier_alloc(copier, 10, &none), SHM_ERR_FORKED);
        CHECK_STATUS(shm_copier_copy_out(copier, content, 10, &none), SHM_ERR_FORKED);
        CHECK_STATUS(shm_copier_dealloc(copier, memory, 10), SHM_ERR_FORKED);
        CHECK_STATUS(shm_copier_shm_to_user(copier, memory, content, 10), SHM_ERR_FORKED);
        CHECK_STATUS(shm_copier_user_to_shm(copier, content, memory, 10), SHM_ERR_FORKED);
        CHECK_STATUS(shm_publisher_publish_from(publisher, copier, memory, 10, NULL), SHM_ERR_FORKED);
        shm_publisher_destroy(publisher);
        shm_copier_destroy(copier);
        CHECK(none == UNTOUCHED && memcmp(&before, &fake.counts, sizeof before) == 0);

        /* New ones work. */
        struct fake another;
        copier = fake_create(&another, FAKE_PINS);
        publisher = new_publisher("/fork", NULL);
        publish_content(publisher, copier, &another, 10);
        shm_publisher_destroy(publisher);
        shm_copier_destroy(copier);
        CHECK(another.counts.pin == 1 && another.counts.unpin == 1);
        fake_end(&another);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    publish_content(publisher, copier, &fake, 10);
    CHECK(fake.counts.pin == 1 && fake.counts.destroy == 0);
    fake_check(&fake, memory, content, 10);
    shm_publisher_destroy(publisher);
    shm_copier_destroy(copier);
    CHECK(fake.counts.unpin == 1);
    fake_end(&fake);
}

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 2000;
    fresh_root();
    for (size_t i = 0; i < sizeof content; i++) content[i] = (unsigned char)(i * 31 + i / 251);
    ops();
    no_arguments();
    no_bytes();
    pinned_mappings(0);
    pinned_mappings(1);
    copiers_of_one_mapping();
    held_sample();
    failures();
    calls();
    threads(rounds);
    forked();
    check_root_is_empty();
    return 0;
}
